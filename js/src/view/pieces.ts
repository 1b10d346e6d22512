// What is to stand in the page, and the nodes that make it so: those that say it already are kept.

/** An element that draws its content itself. */
export interface Live {
  readonly element: HTMLElement;
  show(content: Content): void;
  /** Its content is whole. */
  settle?(): void;
}
export interface Content {
  text: string;
  info: string;
}

interface TextPiece {
  text: string;
  nodes?: Text[];
}
export interface ElementPiece {
  tag: string;
  attributes: Record<string, string>;
  children: Piece[];
  click?: (event: Event, piece: ElementPiece) => void;
  node?: HTMLElement;
}
interface LivePiece {
  make: new () => Live;
  content: Content;
  live?: Live;
}
export type Piece = TextPiece | ElementPiece | LivePiece;

/** A text node is laid out anew as a whole, so a long text is several; each may be this long. */
const NODE_LENGTH = 1024;

export function element(tag: string, attributes: Record<string, string> = {}, children: Piece[] = []): ElementPiece {
  return { tag, attributes, children };
}

export function addText(parent: ElementPiece, text: string): void {
  const last = parent.children.at(-1);
  if (last && "text" in last) last.text += text;
  else if (text) parent.children.push({ text });
}

/**
 * Makes a parent's children say what `next` says, and keeps the nodes that do so already. Returns what now stands.
 * Where a parent's children are in several elements, `parent` tells in which that of an index is.
 */
export function patch(parent: HTMLElement | ((index: number) => HTMLElement), stands: Piece[], next: Piece[]): Piece[] {
  const result = next.map((piece, index) => {
    const old = stands[index];
    if (old === piece) return piece;
    if (old && keep(old, piece)) return old;
    const nodes = create(piece);
    const [place, ...others] = old ? nodesOf(old) : [];
    if (place) place.replaceWith(...nodes);
    else (typeof parent === "function" ? parent(index) : parent).append(...nodes);
    for (const node of others) node.remove();
    return piece;
  });
  for (const piece of stands.slice(next.length)) for (const node of nodesOf(piece)) node.remove();
  return result;
}

/** Turns a piece that stands into another; false if it takes another node. */
function keep(old: Piece, next: Piece): boolean {
  if ("text" in old || "text" in next) {
    if (!("text" in old && "text" in next && old.nodes)) return false;
    editText(old.nodes, old.text, next.text);
    old.text = next.text;
    return true;
  }
  if ("make" in old || "make" in next) {
    if (!("make" in old && "make" in next && old.make === next.make && old.live)) return false;
    old.content = next.content;
    old.live.show(next.content);
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

/** Puts more text at the end of a piece that stands. */
export function appendText(piece: TextPiece, text: string): boolean {
  if (!piece.nodes) return false;
  editText(piece.nodes, piece.text, piece.text + text);
  piece.text += text;
  return true;
}

/** Only what differs at the end is replaced, so that a selection in what stays survives. */
function editText(nodes: Text[], old: string, next: string): void {
  if (old === next) return;
  let common = 0;
  if (next.startsWith(old)) common = old.length;
  else while (common < next.length && old.charCodeAt(common) === next.charCodeAt(common)) common++;
  let rest = old.length - common;
  let last = nodes.at(-1) as Text;
  while (rest >= last.length && nodes.length > 1) {
    rest -= last.length;
    last.remove();
    nodes.pop();
    last = nodes.at(-1) as Text;
  }
  const added = next.slice(common);
  const [here, ...more] = cut(added, NODE_LENGTH - (last.length - rest));
  last.replaceData(last.length - rest, rest, here as string);
  for (const text of more) {
    const node = document.createTextNode(text);
    last.after(node);
    nodes.push((last = node));
  }
}

/** In parts of which the first leaves room, each ending where a word does: letters that join must be in one node. */
function cut(text: string, room: number): string[] {
  const parts: string[] = [];
  let start = 0;
  for (let limit = Math.max(0, room); text.length - start > limit; limit = NODE_LENGTH) {
    const space = text.slice(start + limit, start + limit + NODE_LENGTH).search(/\s/);
    if (space < 0) break;
    const end = start + limit + space + 1;
    parts.push(text.slice(start, end));
    start = end;
  }
  parts.push(text.slice(start));
  return parts;
}

function nodesOf(piece: Piece): ChildNode[] {
  if ("text" in piece) return piece.nodes ?? [];
  const node = "make" in piece ? piece.live?.element : piece.node;
  return node ? [node] : [];
}

function create(piece: Piece): Node[] {
  if ("text" in piece) return (piece.nodes = cut(piece.text, NODE_LENGTH).map((text) => document.createTextNode(text)));
  if ("make" in piece) {
    piece.live = new piece.make();
    piece.live.show(piece.content);
    return [piece.live.element];
  }
  const node = (piece.node = document.createElement(piece.tag));
  for (const [name, value] of Object.entries(piece.attributes)) setAttribute(node, name, value);
  node.append(...piece.children.flatMap(create));
  const { click } = piece;
  if (click) node.addEventListener("click", (event) => click(event, piece));
  return [node];
}

function setAttribute(node: HTMLElement, name: string, value: string): void {
  // A page's content security policy may forbid style attributes, but not this.
  if (name === "style") node.style.cssText = value;
  else node.setAttribute(name, value);
}

/** Tells what draws itself, in these pieces, that its content is whole. */
export function settle(pieces: Piece[]): void {
  for (const piece of pieces) {
    if ("make" in piece) piece.live?.settle?.();
    else if ("children" in piece) settle(piece.children);
  }
}
