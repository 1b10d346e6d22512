// Markdown that is still being written, as DOM.
//
// A top-level block is frozen once the first line of the block after it is complete: nothing that comes later can change
// it, but for a link definition, and that is what `finish` parses the whole for. So a call parses the open tail alone.
// The parser's tokens become nodes by createElement and createTextNode only: no text of a stream is ever read as HTML.

import MarkdownIt, { type Env, type Token } from "markdown-it";

type References = NonNullable<Env["references"]>;

interface TextPiece {
  text: string;
  node?: Text;
}
interface ElementPiece {
  tag: string;
  attributes: Record<string, string>;
  children: Piece[];
  node?: HTMLElement;
}
type Piece = TextPiece | ElementPiece;

/** A top-level block; a link definition is one without pieces. */
interface Block {
  line: number;
  tokens: Token[];
  pieces: Piece[];
}

/** One growing text node is laid out anew as a whole; lines in blocks of this many are not. */
const LINES_PER_CHUNK = 40;
/** A tail longer than this is parsed again only when it has grown by 1/256: so one endless block costs linear time. */
const LARGE_TAIL = 8192;
/** What the last line looks like while it may yet become a list, rule, heading, fence or table: not shown so far. */
const MARKERS_ONLY = /(?<=^|[\r\n])[ \t]*[-+*_=#`~|>]+[ \t]*$/;

export const parser = new MarkdownIt({ html: false, linkify: true, typographer: false });
// Bare addresses need their scheme: "main.py" and "README.md" are no hosts.
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
// What is safe is decided where the nodes are made, for links and images apart.
parser.validateLink = () => true;
// They are needed to know which definitions have been frozen.
parser.core.ruler.disable("strip_references");

/** Markdown in an element that it has for itself. `set` is given ever longer text; `finish` the whole. */
export class MarkdownView {
  #root: HTMLElement;
  #text = "";
  /** Where the open tail begins, in `#text`. */
  #from = 0;
  #parsed = 0;
  #frozen: Piece[] = [];
  #open: Piece[] = [];
  #references: References = Object.create(null) as References;

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  set(text: string): void {
    const known = this.#text.length;
    if (text.length === known && text === this.#text) return;
    if (text.slice(0, known) !== this.#text) this.#reopen();
    this.#text = text;
    const tail = text.length - this.#from;
    if (tail > LARGE_TAIL && this.#parsed > this.#from && text.length - this.#parsed < tail / 256) {
      if (appendAsItCame(this.#open, text.slice(known))) return;
    }
    this.#parse(false);
  }

  finish(text: string = this.#text): void {
    this.#reopen();
    this.#text = text;
    this.#parse(true);
  }

  #reopen(): void {
    this.#from = 0;
    this.#parsed = 0;
    this.#references = Object.create(null) as References;
    this.#open = [...this.#frozen, ...this.#open];
    this.#frozen = [];
  }

  #parse(whole: boolean): void {
    const tail = this.#text.slice(this.#from);
    const hidden = whole ? 0 : (MARKERS_ONLY.exec(tail.slice(-200))?.[0].length ?? 0);
    // Definitions of the tail may change yet: they go to a layer above those that are frozen.
    const references = Object.create(this.#references) as References;
    const tokens = parser.parse(tail.slice(0, tail.length - hidden), { references });
    const blocks = toBlocks(tokens);
    this.#open = patch(this.#root, this.#open, blocks.flatMap((block) => block.pieces));
    this.#parsed = this.#text.length;

    const last = lastToOpen(blocks, tail, whole);
    const start = last && lineStart(tail, blocks[last]?.line ?? 0);
    if (!start) return;
    const closed = blocks.slice(0, last);
    const count = closed.reduce((sum, block) => sum + block.pieces.length, 0);
    this.#frozen.push(...this.#open.splice(0, count));
    this.#from += start;
    for (const { tokens } of closed) {
      for (const { type, meta } of tokens) {
        const label = type === "reference_definition" ? String(meta?.["label"]) : "";
        const reference = label && references[label];
        if (reference) this.#references[label] ??= reference;
      }
    }
  }
}

/** The index of the block before which all is settled. */
function lastToOpen(blocks: Block[], tail: string, whole: boolean): number {
  for (let index = blocks.length - 1; index > 0; index--) {
    const { line } = blocks[index] as Block;
    if (!whole && lineStart(tail, line + 1) < 0) continue;
    // What directly follows a definition may be the beginning of its title.
    const before = blocks[index - 1] as Block;
    const definition = before.tokens[0];
    if (definition?.type === "reference_definition" && definition.map?.[1] === line) continue;
    return index;
  }
  return 0;
}

/** The offset at which a line (from 0) begins; -1 if the line before it has not ended. */
function lineStart(text: string, line: number): number {
  if (line === 0) return 0;
  const ends = /\r\n?|\n/g;
  for (let count = 0; ends.exec(text); ) if (++count === line) return ends.lastIndex;
  return -1;
}

const BLOCK = /^(?:p|h[1-6]|ul|ol|li|blockquote|pre|table|thead|tbody|tr|th|td)$/;

/** Puts text at the end of the open blocks, unparsed. False if that is no place for text. */
function appendAsItCame(open: Piece[], text: string): boolean {
  let piece = open.at(-1);
  while (piece && "tag" in piece) {
    const { tag, node, children }: ElementPiece = piece;
    const last = children.at(-1);
    if (last && (!("tag" in last) || BLOCK.test(last.tag) || tag === "pre" || tag === "code")) {
      piece = last;
      continue;
    }
    if (!node || !BLOCK.test(tag)) return false;
    const added = { text, node: document.createTextNode(text) };
    node.append(added.node);
    children.push(added);
    return true;
  }
  if (!piece?.node) return false;
  piece.text += text;
  piece.node.appendData(text);
  return true;
}

// ---- tokens -> pieces

function toBlocks(tokens: Token[]): Block[] {
  const blocks: Block[] = [];
  for (let start = 0, end = 0; start < tokens.length; start = end) {
    let depth = 0;
    do depth += (tokens[end++] as Token).nesting;
    while (depth > 0 && end < tokens.length);
    const block = tokens.slice(start, end);
    blocks.push({ line: block[0]?.map?.[0] ?? 0, tokens: block, pieces: toPieces(block) });
  }
  return blocks;
}

function toPieces(tokens: Token[]): Piece[] {
  const top = element("", {});
  const path = [top];
  for (const token of tokens) {
    const parent = path.at(-1) as ElementPiece;
    if (token.type === "inline") addInline(parent, token.children ?? []);
    else if (token.hidden || token.type === "reference_definition") continue;
    else if (token.nesting > 0) {
      const piece = element(token.tag, blockAttributes(token));
      parent.children.push(piece);
      path.push(piece);
    } else if (token.nesting < 0) close(path.pop() as ElementPiece);
    else if (token.type === "fence" || token.type === "code_block") parent.children.push(codeBlock(token));
    else parent.children.push(element(token.tag, {}));
  }
  return top.children;
}

function blockAttributes(token: Token): Record<string, string> {
  const attributes: Record<string, string> = {};
  if (!/^(?:thead|tbody|tr)$/.test(token.tag)) attributes["dir"] = "auto";
  const start = token.attrGet("start");
  if (start !== null) attributes["start"] = String(start);
  const style = token.attrGet("style"); // a table cell's alignment, and made by the parser
  if (style !== null) attributes["style"] = String(style);
  return attributes;
}

function close(piece: ElementPiece): void {
  // dir="auto" passes over what has a dir of its own, so a container of blocks would always be left to right, and its
  // bullets or border on the wrong side.
  const ofBlocks = piece.children.some((child) => "tag" in child && BLOCK.test(child.tag));
  if (piece.attributes["dir"] && ofBlocks && rightToLeft(piece)) piece.attributes["dir"] = "rtl";
  if (piece.tag === "li") markTask(piece);
}

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** Whether the first letter is of a script that runs right to left; undefined if there is none. */
function rightToLeft(piece: Piece): boolean | undefined {
  if (!("tag" in piece)) {
    const letter = /\p{L}/u.exec(piece.text);
    return letter ? RIGHT_TO_LEFT.test(letter[0]) : undefined;
  }
  if (piece.tag === "code" || piece.tag === "pre") return undefined;
  for (const child of piece.children) {
    const found = rightToLeft(child);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** GFM's task list item: "[ ]" or "[x]" at its beginning. */
function markTask(item: ElementPiece): void {
  const first = item.children[0];
  const holder = first && "tag" in first && first.tag === "p" ? first : item;
  const text = holder.children[0];
  if (!text || "tag" in text) return;
  const mark = /^\[([ xX])\](?=\s)/.exec(text.text);
  if (!mark) return;
  text.text = text.text.slice(mark[0].length);
  const checked: Record<string, string> = mark[1] === " " ? {} : { checked: "" };
  holder.children.unshift(element("input", { type: "checkbox", disabled: "", ...checked }));
  item.attributes["class"] = "task-list-item";
}

function codeBlock(token: Token): ElementPiece {
  const language = /^\S+/.exec(parser.utils.unescapeAll(token.info).trim())?.[0];
  const code = element("code", { dir: "ltr", ...(language ? { class: `language-${language}` } : {}) });
  const { content } = token;
  let lines = 0;
  let start = 0;
  for (let end = 0; end < content.length; ) {
    const newline = content.indexOf("\n", end);
    end = newline < 0 ? content.length : newline + 1;
    if (++lines % LINES_PER_CHUNK === 0 || end === content.length) {
      code.children.push(element("span", { style: "display:block" }, [{ text: content.slice(start, end) }]));
      start = end;
    }
  }
  const attributes = { type: "button", "data-sse-action": "copy", "aria-label": "Copy code" };
  return element("pre", { dir: "ltr" }, [element("button", attributes, [{ text: "Copy" }]), code]);
}

function addInline(holder: ElementPiece, tokens: Token[]): void {
  const path = [holder];
  for (const token of tokens) {
    const parent = path.at(-1) as ElementPiece;
    if (token.type === "softbreak") addText(parent, "\n");
    else if (token.type === "code_inline") parent.children.push(element("code", { dir: "ltr" }, [{ text: token.content }]));
    else if (token.type === "image") parent.children.push(image(token));
    else if (token.nesting > 0) {
      const piece = token.type === "link_open" ? link(token) : element(token.tag, {});
      parent.children.push(piece);
      path.push(piece);
    } else if (token.nesting < 0) path.pop();
    else if (token.tag) parent.children.push(element(token.tag, {}));
    else addText(parent, token.content);
  }
}

function addText(parent: ElementPiece, text: string): void {
  const last = parent.children.at(-1);
  if (last && !("tag" in last)) last.text += text;
  else if (text) parent.children.push({ text });
}

function element(tag: string, attributes: Record<string, string>, children: Piece[] = []): ElementPiece {
  return { tag, attributes, children };
}

// ---- what may be followed or loaded

/** The address if its scheme is one of these, without the characters that a browser would pass over; else null. */
function allowed(url: unknown, schemes: RegExp): string | null {
  const address = String(url ?? "").replace(/[\p{Cc}\p{Cf}\p{Z}]/gu, "");
  return schemes.test(address) ? address : null;
}

function link(token: Token): ElementPiece {
  const written = token.attrGet("href");
  const href = allowed(written, /^(?:https?:\/\/|mailto:|tel:)/i);
  if (!href) return element("span", { title: String(written ?? "") });
  const title = token.attrGet("title");
  return element("a", { href, target: "_blank", rel: "noopener noreferrer", ...(title ? { title: String(title) } : {}) });
}

/** An image loads when it is asked for: an address alone could tell its host what the answer says. */
function image(token: Token): ElementPiece {
  const alt = plainText(token.children ?? []);
  const url = allowed(token.attrGet("src"), /^(?:https?:\/\/|data:image\/(?:png|jpeg|gif|webp)[;,])/i);
  if (!url) return element("span", { title: "This image's address cannot be loaded" }, alt ? [{ text: alt }] : []);
  const host = /^data:/i.test(url) ? "embedded" : (/^https?:\/\/(?:[^/?#]*@)?([^/?#]*)/i.exec(url)?.[1] ?? "");
  const label = alt ? `${alt} (${host})` : host;
  const attributes = { type: "button", "data-sse-image": url, "data-sse-alt": alt, "aria-label": `Load image: ${label}` };
  return element("button", attributes, [{ text: label }]);
}

function plainText(tokens: Token[]): string {
  return tokens
    .map((token) => (token.children ? plainText(token.children) : token.type === "softbreak" ? "\n" : token.content))
    .join("");
}

// ---- pieces -> nodes

/** Makes a parent's children say what `next` says, and keeps the nodes that do so already. Returns what now stands. */
function patch(parent: HTMLElement, stands: Piece[], next: Piece[]): Piece[] {
  const result = next.map((piece, index) => {
    const old = stands[index];
    if (old && keep(old, piece)) return old;
    const node = create(piece);
    if (old?.node) old.node.replaceWith(node);
    else parent.append(node);
    return piece;
  });
  for (const { node } of stands.slice(next.length)) node?.remove();
  return result;
}

/** Turns a piece that stands into another; false if it takes another node. */
function keep(old: Piece, next: Piece): boolean {
  if (!("tag" in old) || !("tag" in next)) {
    if ("tag" in old || "tag" in next || !old.node) return false;
    editText(old.node, old.text, next.text);
    old.text = next.text;
    return true;
  }
  if (old.tag !== next.tag || !old.node) return false;
  // A button answers for what it was made for; an image may stand in its place by now.
  if (old.tag === "button") {
    return ["aria-label", "data-sse-image"].every((name) => old.attributes[name] === next.attributes[name]);
  }
  for (const name in next.attributes) {
    const value = next.attributes[name] as string;
    if (old.attributes[name] !== value) setAttribute(old.node, name, value);
  }
  for (const name in old.attributes) if (!(name in next.attributes)) old.node.removeAttribute(name);
  old.attributes = next.attributes;
  old.children = patch(old.node, old.children, next.children);
  return true;
}

/** Only what differs at the end is replaced, so that a selection in what stays survives. */
function editText(node: Text, old: string, next: string): void {
  if (old === next) return;
  if (next.startsWith(old)) return node.appendData(next.slice(old.length));
  let common = 0;
  while (common < next.length && old.charCodeAt(common) === next.charCodeAt(common)) common++;
  node.replaceData(common, old.length - common, next.slice(common));
}

function create(piece: Piece): HTMLElement | Text {
  if (!("tag" in piece)) return (piece.node = document.createTextNode(piece.text));
  const node = (piece.node = document.createElement(piece.tag));
  for (const [name, value] of Object.entries(piece.attributes)) setAttribute(node, name, value);
  node.append(...piece.children.map(create));
  if (piece.attributes["data-sse-image"]) node.addEventListener("click", (event) => loadImage(event, piece));
  if (piece.attributes["data-sse-action"] === "copy") node.addEventListener("click", () => void copyCode(node));
  return node;
}

function setAttribute(node: HTMLElement, name: string, value: string): void {
  // A page's content security policy may forbid style attributes, but not this.
  if (name === "style") node.style.cssText = value;
  else node.setAttribute(name, value);
}

function loadImage(event: Event, piece: ElementPiece): void {
  event.preventDefault(); // the image may be a link's label
  const img = document.createElement("img");
  img.alt = piece.attributes["data-sse-alt"] ?? "";
  img.referrerPolicy = "no-referrer";
  img.src = piece.attributes["data-sse-image"] ?? "";
  piece.node?.replaceWith(img);
  piece.node = img;
}

async function copyCode(button: HTMLElement): Promise<void> {
  // Without the line's end after the last line: pasted into a terminal it would run at once.
  const code = (button.nextElementSibling?.textContent ?? "").replace(/\n$/, "");
  button.textContent = (await copy(code)) ? "Copied" : "Cannot copy";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A server that is reached by http has no clipboard API in its pages.
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    area.style.opacity = "0";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
