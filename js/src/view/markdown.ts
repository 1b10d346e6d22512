// Markdown that is still being written, as DOM.
//
// A top-level block is frozen once the first line of the block after it is complete: nothing that comes later can change
// it, but for a link definition, and that is what `finish` parses the whole for. So a call parses the open tail alone.
// The parser's tokens become nodes by createElement and createTextNode only: no text of a stream is ever read as HTML.

import type { Env } from "markdown-it";
import { begin, type Begun } from "./begun";
import { CodeView } from "./code";
import { h } from "./dom";
import { appendText, patch, settle, type ElementPiece, type Piece } from "./pieces";
import { BLOCK, parser, toBlocks, type Block } from "./tokens";

type References = NonNullable<Env["references"]>;

/** A tail longer than this is parsed again only when it has grown by 1/256: so one endless block costs linear time. */
const LARGE_TAIL = 8192;
/** What the last line looks like while it may yet become a list, rule, heading, fence or table: not shown so far. */
const MARKERS_ONLY = /(?<=^|[\r\n])[ \t]*(?:[-+*_=#`~|>]+|\$\$?|\\)[ \t]*$/;

/** So many blocks are laid out as one, after the first that many: of a long answer's others none is looked at. */
const GROUP = 64;

/** Markdown in an element that it has for itself. `set` is given ever longer text; `finish` the whole. */
export class MarkdownView {
  #root: HTMLElement;
  #text = "";
  /** Where the open tail begins, in `#text`. */
  #from = 0;
  #parsed = 0;
  /** What of the open block, before the tail, stands already. */
  #begun: Begun | null = null;
  #frozen: Piece[] = [];
  #open: Piece[] = [];
  #groups: HTMLElement[] = [];
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
    this.#begun = null;
    this.#references = Object.create(null) as References;
    this.#open = [...this.#frozen, ...this.#open];
    this.#frozen = [];
  }

  #parse(whole: boolean): void {
    const head = this.#begun?.head ?? "";
    const tail = head + this.#text.slice(this.#from);
    const hidden = whole ? 0 : (MARKERS_ONLY.exec(tail.slice(-200))?.[0].length ?? 0);
    // Definitions of the tail may change yet: they go to a layer above those that are frozen.
    const references = Object.create(this.#references) as References;
    const tokens = parser.parse(tail.slice(0, tail.length - hidden), { references, open: !whole });
    const blocks = toBlocks(tokens);
    if (this.#begun && !this.#begun.join(blocks[0])) {
      // It was the beginning of something else.
      this.#from = this.#begun.start;
      this.#begun = null;
      this.#parse(whole);
      return;
    }
    const before = this.#frozen.length;
    this.#open = patch((index) => this.#home(before + index), this.#open, blocks.flatMap((block) => block.pieces));
    const needed = Math.ceil((before + this.#open.length) / GROUP) - 1;
    for (const group of this.#groups.splice(Math.max(0, needed))) group.remove();
    this.#parsed = this.#text.length;
    if (whole) {
      settle(this.#open);
      return;
    }

    const last = lastToOpen(blocks, tail);
    const start = last && lineStart(tail, blocks[last]?.line ?? 0);
    if (start) this.#freeze(blocks.slice(0, last), start - head.length, references);
    else this.#begin(blocks, tail, references);
  }

  /** The element that a block is in. */
  #home(index: number): HTMLElement {
    const group = Math.floor(index / GROUP) - 1;
    if (group < 0) return this.#root;
    let home = this.#groups[group];
    if (!home) {
      this.#groups[group] = home = h("div", { class: "jsse-group" });
      this.#root.append(home);
    }
    return home;
  }

  #freeze(closed: Block[], length: number, references: References): void {
    const count = closed.reduce((sum, block) => sum + block.pieces.length, 0);
    const pieces = this.#open.splice(0, count);
    settle(pieces);
    this.#frozen.push(...pieces);
    this.#from += length;
    this.#begun = null;
    for (const { tokens } of closed) {
      for (const { type, meta } of tokens) {
        const label = type === "reference_definition" ? String(meta?.["label"]) : "";
        const reference = label && references[label];
        if (reference) this.#references[label] ??= reference;
      }
    }
  }

  /** Has the next call parse no more of one long block than its end. */
  #begin(blocks: Block[], tail: string, references: References): void {
    const [block] = blocks;
    const standing = this.#open[0];
    if (blocks.length !== 1 || !block || block.line !== 0 || !standing) return;
    const begun = begin(block, standing, tail, references, this.#begun);
    if (!begun) return;
    const start = this.#begun?.start ?? this.#from;
    this.#from += begun.length - (this.#begun?.head.length ?? 0);
    this.#begun = { ...begun, start };
  }
}

/** The index of the block before which all is settled. */
function lastToOpen(blocks: Block[], tail: string): number {
  for (let index = blocks.length - 1; index > 0; index--) {
    const { line, tokens } = blocks[index] as Block;
    if (lineStart(tail, line + 1) < 0) continue;
    // It may turn out to be no formula, but more of the paragraph before.
    if (tokens[0]?.type === "math_open") continue;
    // What directly follows a definition may be the beginning of its title.
    const before = blocks[index - 1] as Block;
    const definition = before.tokens[0];
    if (definition?.type === "reference_definition" && definition.map?.[1] === line) continue;
    return index;
  }
  return 0;
}

/** The offset at which a line (from 0) begins; -1 if the line before it has not ended. */
export function lineStart(text: string, line: number): number {
  if (line === 0) return 0;
  const ends = /\r\n?|\n/g;
  for (let count = 0; ends.exec(text); ) if (++count === line) return ends.lastIndex;
  return -1;
}

/** Puts text at the end of the open blocks, unparsed. False if that is no place for text. */
function appendAsItCame(open: Piece[], text: string): boolean {
  let piece = open.at(-1);
  while (piece && "tag" in piece) {
    const { tag, node, children }: ElementPiece = piece;
    const last = children.at(-1);
    if (last && (!("tag" in last) || BLOCK.test(last.tag))) {
      piece = last;
      continue;
    }
    if (!node || !BLOCK.test(tag)) return false;
    piece.children = patch(node, children, [...children, { text }]);
    return true;
  }
  if (piece && "make" in piece) {
    if (!piece.live || piece.make !== CodeView) return false;
    piece.content = { ...piece.content, text: piece.content.text + text };
    piece.live.show(piece.content);
    return true;
  }
  return piece !== undefined && appendText(piece, text);
}
