// A long block that is still open: what cannot change of it is not parsed again.
//
// The parser is given a short beginning of the same kind (the fence's or the table's first lines, a word) before what is
// new, and the block that comes out is joined to what stands.

import type { Env } from "markdown-it";
import { addText, element, type ElementPiece, type Piece } from "./pieces";
import { inlinePieces, parser, type Block } from "./tokens";

export interface Begun {
  /** Where the whole block begins in the text. */
  start: number;
  /** What to put before what is new. */
  head: string;
  /** Makes of the block that came out the whole one; false if it is of another kind. */
  join(block: Block | undefined): boolean;
}
type Beginning = Omit<Begun, "start"> & { length: number };

/** A shorter block is parsed whole. */
const LONG = 2048;
/** So much of a paragraph stays open. */
const OPEN = 512;

/** The beginning of a block: of the length that need not be parsed any more, counted with the head before it. */
export function begin(
  block: Block,
  standing: Piece,
  source: string,
  references: NonNullable<Env["references"]>,
  before: Begun | null,
): Beginning | null {
  if (source.length < LONG + (before?.head.length ?? 0)) return null;
  const type = block.tokens[0]?.type;
  if (type === "fence" && "make" in standing) return fence(block, standing.content.text, source);
  if (!("tag" in standing)) return null;
  if (type === "table_open") return table(block, standing, source);
  if (type === "paragraph_open") return paragraph(standing, source, references, before);
  return null;
}

/** The offset after the last line but one that is complete, and how many lines there are before it. */
function settledLines(source: string): [length: number, count: number] {
  const last = source.lastIndexOf("\n");
  const length = source.lastIndexOf("\n", last - 1) + 1;
  return [length, source.slice(0, length).split("\n").length - 1];
}

function fence(block: Block, content: string, source: string): Beginning | null {
  if (/[\r\0]/.test(source)) return null;
  const [length, count] = settledLines(source);
  if (count < 2) return null;
  const rest = (block.tokens[0]?.content ?? "").split("\n").slice(count - 1).join("\n");
  const kept = content.slice(0, content.length - rest.length);
  return {
    length,
    head: source.slice(0, source.indexOf("\n") + 1),
    join(block) {
      const piece = block?.pieces[0];
      if (!piece || !("make" in piece) || block.tokens[0]?.type !== "fence") return false;
      piece.content = { ...piece.content, text: kept + piece.content.text };
      return true;
    },
  };
}

function table(block: Block, standing: ElementPiece, source: string): Beginning | null {
  if (source.includes("\r")) return null;
  const [length, count] = settledLines(source);
  const [thead, tbody] = standing.children as ElementPiece[];
  const parsed = block.tokens.filter((token) => token.type === "tr_open").length - 1;
  if (count < 3 || !thead || !tbody) return null;
  // The pieces that stand, because they have the nodes.
  const kept = tbody.children.slice(0, tbody.children.length - parsed + count - 2);
  return {
    length,
    head: source.split("\n", 2).join("\n") + "\n",
    join(block) {
      const piece = block?.pieces[0];
      if (!piece || !("tag" in piece) || piece.tag !== "table") return false;
      const rows = (piece.children[1] as ElementPiece | undefined)?.children ?? [];
      piece.children = [thead, element("tbody", {}, [...kept, ...rows])];
      return true;
    },
  };
}

/** Where a paragraph may be cut: before a space or a full stop of Chinese, in a line. */
const PLACE = /(?<=[^\s\\])[ 。，！？](?=[^\s])/g;
/** What looks like a mark, and can neither open nor close anything. */
const HARMLESS = /(?<=[\p{L}\p{N}])_+(?=[\p{L}\p{N}])|(?<=\s)\*(?=\s)|\$\d[\d.,]*[kKmMbB]?\s(?=[A-Za-z]{2})|\[[^[\]]*\]/gu;
const MARK = /[*_`$[\]\\]|~~/;

function paragraph(
  standing: ElementPiece,
  source: string,
  references: NonNullable<Env["references"]>,
  before: Begun | null,
): Beginning | null {
  if (/^\s*\[/.test(source)) return null; // perhaps a definition
  PLACE.lastIndex = source.length - 2 * OPEN;
  const length = PLACE.exec(source)?.index ?? -1;
  if (length < 0 || length > source.length - OPEN) return null;
  const first = source.slice(0, length).trimStart();
  const inline = parser.parseInline(first, { references })[0]?.children ?? [];
  const holder: Block = { line: 0, tokens: [], pieces: [element("p", {}, inlinePieces(inline))] };
  const texts = inline.filter((token) => token.type === "text").map((token) => token.content);
  if (MARK.test(texts.join("\n").replace(HARMLESS, ""))) return null;
  if (before && !before.join(holder)) return null;
  const { children } = holder.pieces[0] as ElementPiece;
  const last = children.at(-1);
  const text = last && "text" in last ? last.text : "";
  const kept = standing.children.slice(0, children.length - (text ? 1 : 0));
  return {
    length,
    head: HEAD,
    join(block) {
      const piece = block?.pieces[0];
      if (!piece || !("tag" in piece) || piece.tag !== "p") return false;
      const [start, ...rest] = piece.children;
      if (!start || !("text" in start)) return false;
      const joined = element("p", {}, [...kept]);
      addText(joined, text);
      addText(joined, start.text.slice(HEAD.length));
      piece.children = [...joined.children, ...rest];
      return true;
    },
  };
}
/** A word, so that what follows it does not begin a line. */
const HEAD = "x";
