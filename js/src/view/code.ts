// A block of code that is still being written: highlighted line by line, never again from its start.

import { copyText, h, say } from "./dom";
import { load, loaded, type Highlighted, type Run } from "./extras";
import type { Content, Live } from "./pieces";

interface Line {
  runs: Run[];
  nodes: Node[];
}

/** One growing block is laid out anew as a whole; lines in blocks of this many are not. */
const LINES_PER_CHUNK = 40;
/** What is inside of one long thing (a string, a comment) is highlighted again only when it has grown by 1/8. */
const LONG = 4096;
/** Above this, code is highlighted as it comes and not once more when it is whole. */
const WHOLE = 128 << 10;

export class CodeView implements Live {
  readonly element: HTMLElement;
  #code = h("code", { dir: "ltr" });
  #language = "";
  #text = "";
  #lines: Line[] = [];
  #chunks: HTMLElement[] = [];
  /** Lines, and their characters, that what comes cannot change. */
  #done = 0;
  #doneLength = 0;
  #tried = 0; // how much was highlighted after those
  #exact = true; // all at once, as it would be if it had come so
  #whole = false;

  constructor() {
    if (selected === undefined) {
      onSelection();
      document.addEventListener("selectionchange", onSelection);
    }
    const button = h("button", { type: "button", "data-sse-action": "copy", "aria-label": "Copy code" }, "Copy");
    button.addEventListener("click", () => void this.#copy(button));
    this.element = h("pre", { dir: "ltr" }, button, this.#code);
  }

  show({ text, info }: Content): void {
    if (info === this.#language && text === this.#text) return;
    if (info !== this.#language || !text.startsWith(this.#text.slice(0, this.#doneLength))) this.#forget();
    if (info !== this.#language) {
      this.#language = info;
      this.#code.className = info && `language-${info}`;
      if (info && !loaded("highlight")) void load("highlight").then(() => this.#again());
    }
    this.#whole = false;
    this.#text = text;
    this.#draw();
  }

  settle(): void {
    if (this.#whole) return;
    this.#whole = true;
    // Where a rule looked further than there was text, it may decide otherwise now.
    if (!this.#exact && this.#text.length <= WHOLE) this.#again();
  }

  #forget(): void {
    this.#done = this.#doneLength = this.#tried = 0;
  }

  #again(): void {
    this.#forget();
    this.#draw();
  }

  #highlight(code: string): Highlighted {
    const known = this.#language ? loaded("highlight")?.(code, this.#language.toLowerCase()) : null;
    return known ?? { lines: plain(code, ""), ended: true };
  }

  #draw(): void {
    const text = this.#text.slice(this.#doneLength);
    if (text.length > LONG && text.length - this.#tried < text.length / 8 && !this.#whole) {
      this.#appendAsItCame(text);
      this.#exact = false;
      return;
    }
    this.#exact = this.#doneLength === 0;
    const lastLine = text.lastIndexOf("\n") + 1;
    const complete = this.#highlight(text.slice(0, lastLine));
    if (!complete.ended) {
      this.#tried = text.length;
      this.#setLines(lastLine < text.length ? this.#highlight(text).lines : complete.lines);
      return;
    }
    this.#tried = 0;
    this.#setLines(complete.lines);
    this.#done += complete.lines.length;
    this.#doneLength += lastLine;
    this.#setLines(this.#highlight(text.slice(lastLine)).lines);
  }

  /** As what it most likely belongs to, until it is looked at. */
  #appendAsItCame(text: string): void {
    const lines = this.#lines.slice(this.#done).map((line) => line.runs);
    const last = lines.pop() ?? [];
    const known = lines.flat().reduce((sum, [, part]) => sum + part.length, 0);
    const [className] = last.at(-1) ?? [""];
    const kept = last.slice(0, -1);
    const from = known + kept.reduce((sum, [, part]) => sum + part.length, 0);
    const [first = [], ...more] = plain(text.slice(from), className);
    this.#setLines([...lines, [...kept, ...first], ...more]);
  }

  /** Makes the lines after those that are done be these. */
  #setLines(lines: Run[][]): void {
    const selected = selectionIn(this.#code);
    let changed = false;
    lines.forEach((runs, index) => {
      changed = this.#setLine(this.#done + index, runs) || changed;
    });
    for (const { nodes } of this.#lines.splice(this.#done + lines.length)) {
      for (const node of nodes as ChildNode[]) node.remove();
    }
    for (const chunk of this.#chunks.splice(Math.ceil(this.#lines.length / LINES_PER_CHUNK))) chunk.remove();
    if (changed) selected?.();
  }

  /** True if text has gone from its node. */
  #setLine(index: number, runs: Run[]): boolean {
    const line = this.#lines[index];
    if (!line) {
      const nodes = runs.map(toNode);
      if (index % LINES_PER_CHUNK === 0) {
        const chunk = h("span");
        chunk.style.display = "block";
        this.#code.append(chunk);
        this.#chunks.push(chunk);
      }
      this.#chunks.at(-1)?.append(...nodes);
      this.#lines.push({ runs, nodes });
      return false;
    }
    let same = 0;
    while (same < runs.length && line.runs[same]?.[0] === runs[same]?.[0] && line.runs[same]?.[1] === runs[same]?.[1]) same++;
    if (same === runs.length && same === line.runs.length) return false;
    const [old, next] = [line.runs[same], runs[same]];
    let from = same;
    let cut = false;
    if (old && next && old[0] === next[0] && (next[1].startsWith(old[1]) || old[1].startsWith(next[1]))) {
      const node = line.nodes[same] as Node;
      const text = (node instanceof Text ? node : node.firstChild) as Text;
      if (next[1].length > old[1].length) text.appendData(next[1].slice(old[1].length));
      else text.deleteData(next[1].length, old[1].length);
      cut = next[1].length < old[1].length;
      from++;
    }
    const replaced = line.nodes.splice(from) as ChildNode[];
    const nodes = runs.slice(from).map(toNode);
    const place = replaced.at(-1) ?? (line.nodes.at(-1) as ChildNode);
    place.after(...nodes);
    for (const node of replaced) node.remove();
    line.nodes.push(...nodes);
    line.runs = runs;
    return cut || replaced.length > 0;
  }

  async #copy(button: HTMLElement): Promise<void> {
    // Without the line's end after the last line: pasted into a terminal it would run at once.
    const said = (await copyText(this.#text.replace(/\n$/, ""))) ? "Copied" : "Cannot copy";
    button.textContent = said;
    say(button, said);
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
}

function plain(text: string, className: string): Run[][] {
  return text ? text.split(/(?<=\n)(?!$)/).map((line) => [[className, line]]) : [];
}

function toNode([className, text]: Run): Node {
  return className ? h("span", { class: className }, text) : document.createTextNode(text);
}

// Not asked for each time, because the page would be laid out for the answer.
let selected: boolean | undefined;
const onSelection = (): void => {
  selected = getSelection()?.isCollapsed === false;
};

/** Puts back what is selected inside of an element after its nodes, but not their text, have changed. */
function selectionIn(root: HTMLElement): (() => void) | null {
  const selection = selected ? getSelection() : null;
  if (!selection) return null;
  const offset = (node: Node | null, at: number): number | null => {
    if (!node || !root.contains(node)) return null;
    const before = document.createRange();
    before.setStart(root, 0);
    before.setEnd(node, at);
    return before.toString().length;
  };
  const { anchorNode, anchorOffset, focusNode, focusOffset } = selection;
  const [anchor, focus] = [offset(anchorNode, anchorOffset), offset(focusNode, focusOffset)];
  if (anchor === null && focus === null) return null;
  const place = (at: number | null, node: Node | null, was: number): [Node, number] => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let rest = at ?? 0; at !== null && walker.nextNode(); ) {
      const { length } = walker.currentNode as Text;
      if (rest <= length) return [walker.currentNode, rest];
      rest -= length;
    }
    return [node ?? root, was];
  };
  return () => {
    selection.setBaseAndExtent(...place(anchor, anchorNode, anchorOffset), ...place(focus, focusNode, focusOffset));
  };
}
