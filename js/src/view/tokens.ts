// The parser, and its tokens as what is to stand in the page: elements and text only, no text of a stream is ever read as HTML.

import MarkdownIt, { type Token } from "markdown-it";
import { CodeView } from "./code";
import { addMath, MathView } from "./math";
import { addText, element, type ElementPiece, type Piece } from "./pieces";

/** A top-level block; a link definition is one without pieces. */
export interface Block {
  line: number;
  tokens: Token[];
  pieces: Piece[];
}

export const BLOCK = /^(?:p|h[1-6]|ul|ol|li|blockquote|pre|table|thead|tbody|tr|th|td)$/;

export const parser = new MarkdownIt({ html: false, linkify: true, typographer: false });
// Bare addresses need their scheme, or "www.": "main.py" and "README.md" are no hosts.
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: true });
parser.linkify.add("www.", {
  validate: (text, pos, linkify) => Math.max(0, linkify.testSchemaAt(`//www.${text.slice(pos)}`, "http:", 0) - "//www.".length),
  normalize: (match) => (match.url = `http://${match.url}`),
});
// What is safe is decided where the nodes are made, for links and images apart.
parser.validateLink = () => true;
// They are needed to know which definitions have been frozen.
parser.core.ruler.disable("strip_references");
addMath(parser);

export function toBlocks(tokens: Token[]): Block[] {
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
  const top = element("");
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
    else if (token.type === "math_block") parent.children.push(element("p", { dir: "ltr" }, [formula(token)]));
    else if (token.type === "math_open") parent.children.push(element("p", { dir: "ltr" }, [{ text: token.content }]));
    else parent.children.push(element(token.tag));
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
  if ("make" in piece) return undefined;
  if ("text" in piece) {
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
  if (!text || !("text" in text)) return;
  const mark = /^\[([ xX])\](?=\s)/.exec(text.text);
  if (!mark) return;
  text.text = text.text.slice(mark[0].length);
  const checked: Record<string, string> = mark[1] === " " ? {} : { checked: "" };
  holder.children.unshift(element("input", { type: "checkbox", disabled: "", ...checked }));
  item.attributes["class"] = "task-list-item";
}

function codeBlock(token: Token): Piece {
  const language = /^[^\s{,]+/.exec(parser.utils.unescapeAll(token.info).trim())?.[0] ?? "";
  return { make: CodeView, content: { text: token.content, info: language } };
}

function formula({ content, markup }: Token): Piece {
  return { make: MathView, content: { text: content, info: markup } };
}

export function inlinePieces(tokens: Token[]): Piece[] {
  const holder = element("");
  addInline(holder, tokens);
  return holder.children;
}

function addInline(holder: ElementPiece, tokens: Token[]): void {
  const path = [holder];
  for (const token of tokens) {
    const parent = path.at(-1) as ElementPiece;
    if (token.type === "softbreak") addText(parent, "\n");
    else if (token.type === "code_inline") parent.children.push(element("code", { dir: "ltr" }, [{ text: token.content }]));
    else if (token.type === "image") parent.children.push(image(token));
    else if (token.tag === "math") parent.children.push(formula(token));
    else if (token.nesting > 0) {
      const piece = token.type === "link_open" ? link(token) : element(token.tag);
      parent.children.push(piece);
      path.push(piece);
    } else if (token.nesting < 0) path.pop();
    else if (token.tag) parent.children.push(element(token.tag));
    else addText(parent, token.content);
  }
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
  return { ...element("button", attributes, [{ text: label }]), click: loadImage };
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

function plainText(tokens: Token[]): string {
  return tokens
    .map((token) => (token.children ? plainText(token.children) : token.type === "softbreak" ? "\n" : token.content))
    .join("");
}

