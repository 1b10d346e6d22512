// Formulas in Markdown: $x$, $$x$$, \(x\) and \[x\]; as source until what draws them is there.

import type { MarkdownIt, StateBlock, StateInline } from "markdown-it";
import { h, styleSheet } from "./dom";
import { load, loaded } from "./extras";
import type { Content, Live } from "./pieces";

/** What ends what is opened. */
const CLOSING: Record<string, string> = { $: "$", $$: "$$", "\\(": "\\)", "\\[": "\\]" };
const BLOCK_OPENING = /^(?:\$\$|\\\[)/;
/** An escaped bracket around nothing to calculate is an escaped bracket. */
const SAYS_SOMETHING = /[\p{L}\p{N}]/u;
/** So that a text of openings alone does not take quadratic time. */
const LONGEST = 4096;

export function addMath(parser: MarkdownIt): void {
  // Before Markdown takes "\(" for an escaped bracket.
  parser.inline.ruler.before("escape", "math", inline);
  parser.block.ruler.before("fence", "math", block, { alt: ["paragraph", "reference", "blockquote", "list"] });
}

function inline(state: StateInline, silent: boolean): boolean {
  const { src, pos } = state;
  const first = src[pos];
  if (first !== "$" && first !== "\\") return false;
  const two = src.slice(pos, pos + 2);
  const opening = two in CLOSING ? two : first;
  const closing = CLOSING[opening];
  if (!closing) return false;
  const start = pos + opening.length;
  const end = find(src, closing, start, Math.min(state.posMax, start + LONGEST));
  const tex = src.slice(start, Math.max(start, end));
  if (end < 0 || !SAYS_SOMETHING.test(tex) || (opening === "$" && !isFormula(src, pos, end))) {
    if (opening !== "$$") return false;
    // Or its second half would open another.
    if (!silent) state.pending += opening;
    state.pos = start;
    return true;
  }
  if (!silent) {
    const token = state.push(opening === "$$" || opening === "\\[" ? "math_display" : "math_inline", "math", 0);
    token.content = tex;
    token.markup = opening;
  }
  state.pos = end + closing.length;
  return true;
}

/** Where a closing mark stands that is not escaped; -1 if none does. */
function find(src: string, closing: string, from: number, max: number): number {
  for (let at = from; at <= max - closing.length; at++) {
    if (src.startsWith(closing, at)) return at;
    if (src[at] === "\\") at++;
  }
  return -1;
}

/** Whether what stands between two dollars is meant: "$5 and $10", "$HOME:$PATH" and "US$5 or 6$" are not. */
function isFormula(src: string, open: number, close: number): boolean {
  const tex = src.slice(open + 1, close);
  const before = src[open - 1] ?? "";
  const after = src[close + 1] ?? "";
  if (/[\p{L}\p{N}$\\]/u.test(before) && !/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u.test(before)) return false;
  if (/^\s|\s$/.test(tex) || /[\d$]/.test(after)) return false;
  if (/[A-Za-z]/.test(after) && !/^[A-Za-z]$|[\\^_{=]/.test(tex)) return false;
  return !/^\d[\d.,]*[kKmMbB]?\s[^\\^_=]*[A-Za-z]{2}/.test(tex);
}

/** A paragraph's worth of lines, because a formula has no empty ones: so what follows cannot turn the page into one. */
function block(state: StateBlock, startLine: number, endLine: number, silent: boolean): boolean {
  if ((state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false;
  const start = (state.bMarks[startLine] ?? 0) + (state.tShift[startLine] ?? 0);
  const opening = BLOCK_OPENING.exec(state.src.slice(start, start + 2))?.[0];
  if (!opening) return false;
  const closing = CLOSING[opening] as string;
  const parts: string[] = [];
  for (let line = startLine; line < endLine; line++) {
    if (line > startLine && (state.isEmpty(line) || (state.sCount[line] ?? 0) < state.blkIndent)) return false;
    const from = line === startLine ? start + opening.length : (state.bMarks[line] ?? 0) + (state.tShift[line] ?? 0);
    const text = state.src.slice(from, state.eMarks[line]);
    const end = find(text, closing, 0, text.length);
    if (end >= 0 && text.slice(end + closing.length).trim()) return false; // in the middle of a sentence
    parts.push(end < 0 ? text : text.slice(0, end));
    if (end < 0) continue;
    const tex = parts.join("\n").trim();
    if (!SAYS_SOMETHING.test(tex)) return false;
    if (silent) return true;
    const token = state.push("math_block", "math", 0);
    token.content = tex;
    token.markup = opening;
    token.block = true;
    token.map = [startLine, line + 1];
    state.line = line + 1;
    return true;
  }
  // Not closed yet: until it is, or an empty line says that it will not be, its lines are no list and no heading.
  const open = Boolean(state.env["open"]) && !state.src.slice(state.eMarks[endLine - 1]).trim();
  if (!open || silent) return open;
  const token = state.push("math_open", "p", 0);
  token.content = opening + parts.join("\n");
  token.block = true;
  token.map = [startLine, endLine];
  state.line = endLine;
  return true;
}

/** One formula. Its source stays in it, unseen: that is what is selected, found and copied. */
export class MathView implements Live {
  #source = h("span");
  readonly element = h("span", { dir: "ltr" }, this.#source);
  #shown = "";
  #drawn: Element | null = null;


  show({ text, info }: Content): void {
    const source = info + text + (CLOSING[info] ?? "");
    if (source === this.#shown) return;
    this.#shown = source;
    this.#source.textContent = source;
    const display = info === "$$" || info === "\\[";
    this.element.className = display ? "jsse-math jsse-display" : "jsse-math";
    const draw = (): void => {
      const math = loaded("math");
      if (!math || this.#shown !== source) return;
      const drawn = math.render(text, display);
      this.#drawn?.remove();
      this.#drawn = drawn;
      this.#source.className = drawn ? "jsse-hidden" : "";
      if (!drawn) return;
      this.#source.ariaHidden = "true";
      addStyles(this.element, math.styles);
      this.element.append(drawn);
    };
    if (loaded("math")) draw();
    else void load("math").then(draw);
  }
}

const styled = new WeakSet<Node>();

/** The drawing's styles, once for each document or shadow root. */
function addStyles(element: HTMLElement, styles: string): void {
  queueMicrotask(() => {
    const root = element.getRootNode();
    const holder = "head" in root ? (root as Document).head : "host" in root ? (root as ShadowRoot) : null;
    if (!holder || styled.has(root)) return;
    styled.add(root);
    holder.append(styleSheet(styles));
  });
}
