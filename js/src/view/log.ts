// Output, line by line: of a log of any length there are as many lines in the page as can be seen, and some around them;
// at its end, where it is followed, the last ones that every state has.
//
// Above and below stands empty space of as many usual heights as there are lines, so that the scrollbar is that of the
// whole log. Lines may be wrapped and so be higher: whenever others are put above what is seen, what is seen is kept in place.

import { LogLines } from "../core/history";
import { LOG_LINES, type LogEvent, type Snapshot } from "../core/events";
import type { StreamSource } from "../core/source";
import { h, haltScroll, setAttribute, setText } from "./dom";
import { count } from "./format";
import { highlight, logLine } from "./logline";
import { Search } from "./search";

const AROUND = 60; // lines above and below what is seen
const SELECTED = 2000; // while something is selected, nothing of it is taken away
const FEW = 10; // lines that need no search
const LINE_PX = 17.5; // until it can be measured
const VIEW_PX = 190;
const NEAR_PX = 24;
const MAX_PX = 8e6; // browsers have no boxes higher than some ten million pixels

interface Row {
  event: LogEvent | undefined;
  element: HTMLElement;
}

export class Log {
  readonly element = h("div", { class: "jsse-log", "data-sse-part": "log" });
  #above = h("div", {});
  #below = h("div", {});
  #box = h("div", { class: "jsse-log-lines", dir: "ltr", tabindex: 0, role: "log", "aria-live": "off", "aria-label": "Output" }, this.#above, this.#below);
  #place = h("span", { class: "jsse-log-place" });
  #note = h("span", { class: "jsse-log-note", role: "status" });
  #retry = h("button", { type: "button", class: "jsse-log-retry", hidden: true }, "Try again");
  #latest = h("button", { type: "button", class: "jsse-log-latest", "data-sse-action": "latest", hidden: true }, "Jump to latest");
  #bar: HTMLElement;
  #search: Search;
  #source: Pick<StreamSource, "history">;
  #lines = new LogLines(() => this.#refresh());
  #rows = new Map<number, Row>();
  #from = 1;
  #to = 1; // the line behind the last one that is in the page
  #following = true; // the end is what is shown, also when there is more
  #pattern: RegExp | null = null;
  #goal: number | null = null; // to be brought into view once it is there
  #linePx = LINE_PX;
  // A page may lay a view out long after it was filled, and only then can it be scrolled.
  #laidOut = new ResizeObserver(() => {
    this.#linePx = parseFloat(getComputedStyle(this.#box).lineHeight) || LINE_PX;
    this.#refresh();
  });

  constructor(source: Pick<StreamSource, "history">) {
    this.#source = source;
    this.#search = new Search({
      find: (text, after) => this.#lines.find(text, after),
      place: () => (this.#following ? this.#lines.count : (this.#topLine() ?? 1)),
      show: (pattern, line) => this.#found(pattern, line),
      leave: () => this.#box.focus({ preventScroll: true }),
    });
    this.#bar = h("div", { class: "jsse-log-bar" }, this.#place, this.#note, this.#retry, this.#search.element);
    this.element.append(this.#bar, h("div", { class: "jsse-log-view" }, this.#box, this.#latest));
    // Browsers tell of it once a frame, and before what is drawn in that frame: lines that come then find it known.
    this.#box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // As the browser does it, but at once: it would be stopped half way by lines that come.
    this.#box.addEventListener("keydown", (event) => {
      if (event.target !== this.#box || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
      if (event.key !== "End" && event.key !== "Home") return;
      haltScroll(this.#box);
      if (event.key === "End") {
        this.#follow();
      } else {
        this.#box.scrollTop = 0;
        this.#scrolled();
      }
      event.preventDefault();
    });
    this.#latest.addEventListener("click", () => {
      haltScroll(this.#box);
      this.#follow();
      this.#box.focus({ preventScroll: true });
    });
    this.#retry.addEventListener("click", () => this.#lines.retry());
    this.#laidOut.observe(this.#box);
  }

  dispose(): void {
    this.#laidOut.disconnect();
    this.#search.dispose();
  }

  update({ log }: Snapshot): void {
    const before = this.#lines.count;
    this.#lines.update(log, this.#source.history ?? null);
    if (log.count < before) this.#following = true; // another log altogether
    this.#refresh();
    this.#search.grown(log.count);
  }

  /** Bring what is in the page in line with what is known. */
  #refresh(): void {
    const { count, first } = this.#lines;
    if (this.#following && this.#selection()) this.#following = false;
    if (this.#following) {
      // The last lines, which every state has, are all in the page: one looks for words in it, and copies from it.
      this.#show(count + 1 - Math.max(LOG_LINES, this.#seen() + AROUND), count + 1);
      this.#box.scrollTop = this.#box.scrollHeight;
    } else {
      this.#show(Math.max(first, this.#from), Math.min(this.#to, count + 1));
      if (this.#goal !== null && this.#lines.at(this.#goal)) this.#reveal(this.#goal);
      this.#fill();
    }
    this.#draw();
  }

  #scrolled(): void {
    const box = this.#box;
    if (!box.clientHeight) return;
    const left = box.scrollHeight - box.scrollTop - box.clientHeight;
    const rows = this.#extent();
    const isEnd = this.#to > this.#lines.count;
    if (left < NEAR_PX && !isEnd) {
      this.#follow();
    } else {
      this.#following = left < NEAR_PX && isEnd && !this.#selection();
      // Far from what is in the page: the scrollbar was dragged.
      if (box.scrollTop > rows.bottom || box.scrollTop + box.clientHeight < rows.top) {
        const line = this.#lines.first + Math.floor(box.scrollTop / this.#height());
        this.#show(line - AROUND, line + this.#seen() + AROUND);
        this.#align(line, 0);
      }
      this.#fill();
    }
    this.#draw();
  }

  /** Have enough lines above and below what is seen. */
  #fill(): void {
    const box = this.#box;
    if (!box.clientHeight) return;
    const near = (AROUND / 2) * this.#linePx;
    const { top, bottom } = this.#extent();
    const up = this.#from > this.#lines.first && box.scrollTop - top < near;
    const down = this.#to <= this.#lines.count && bottom - box.scrollTop - box.clientHeight < near;
    if (!up && !down) {
      this.#lines.want(this.#from, this.#to - 1);
      return;
    }
    const line = this.#topLine() ?? this.#from;
    let [from, to] = [line - AROUND, line + this.#seen() + AROUND];
    if (this.#selection()) {
      from = Math.max(Math.min(from, this.#from), to - SELECTED);
      to = Math.min(Math.max(to, this.#to), from + SELECTED);
    }
    this.#show(from, to);
  }

  #follow(): void {
    this.#following = true;
    this.#goal = null;
    if (this.#selection()) getSelection()?.removeAllRanges();
    this.#refresh();
  }

  #found(pattern: RegExp | null, line: number | null): void {
    this.#pattern = pattern;
    // One in the place of the other: a box that is empty for a moment forgets how far it was scrolled.
    for (const [line, { event, element }] of this.#rows) {
      const marked = this.#row(line, event);
      element.replaceWith(marked);
      this.#rows.set(line, { event, element: marked });
    }
    if (line === null) {
      this.#goal = null;
      this.#refresh();
      return;
    }
    this.#following = false;
    this.#goal = line;
    this.#show(line - AROUND, line + this.#seen() + AROUND);
    this.#refresh();
    this.#reveal(line);
    this.#draw();
  }

  #reveal(line: number): void {
    if (this.#lines.at(line)) this.#goal = null;
    this.#align(line, (this.#box.clientHeight || VIEW_PX) / 3);
  }

  #align(line: number, px: number): void {
    const row = this.#rows.get(line)?.element;
    if (row) this.#box.scrollTop += row.getBoundingClientRect().top - this.#box.getBoundingClientRect().top - px;
  }

  /** Put the lines from one to before another into the page, and leave what is seen where it is. */
  #show(from: number, to: number): void {
    const { first, count } = this.#lines;
    from = Math.min(Math.max(from, first), count + 1);
    to = Math.max(from, Math.min(to, count + 1));
    this.#lines.want(from, to - 1);
    const anchor = this.#following ? null : this.#topLine(from, to);
    const before = anchor === null ? 0 : this.#top(anchor);
    for (const [line, { element }] of this.#rows) {
      if (line >= from && line < to) continue;
      element.remove();
      this.#rows.delete(line);
    }
    let next: ChildNode = this.#above.nextSibling ?? this.#below;
    for (let line = from; line < to; line += 1) {
      const event = this.#lines.at(line);
      let row = this.#rows.get(line);
      // What the server tells of a line that was among the last ones is the same line; until it has, that one stays.
      if (row && event && !isSame(row.event, event)) {
        const element = this.#row(line, event);
        if (next === row.element) next = element;
        row.element.replaceWith(element);
        this.#rows.set(line, (row = { event, element }));
      } else if (!row) {
        this.#rows.set(line, (row = { event, element: this.#row(line, event) }));
      }
      if (row.element === next) next = next.nextSibling ?? this.#below;
      else this.#box.insertBefore(row.element, next);
    }
    this.#from = from;
    this.#to = to;
    this.#above.style.height = `${(from - first) * this.#height()}px`;
    this.#below.style.height = `${(count + 1 - to) * this.#height()}px`;
    if (anchor !== null) {
      const moved = this.#top(anchor) - before;
      // Not for less than can be seen: it would stop a scroll that is under way.
      if (Math.abs(moved) >= 1) this.#box.scrollTop += moved;
    }
  }

  #row(line: number, event: LogEvent | undefined): HTMLElement {
    const element = event ? logLine(event) : h("div", { class: "jsse-line", "data-loading": true }, "…");
    element.dataset["line"] = String(line);
    if (event && this.#pattern) highlight(element, this.#pattern);
    if (line === this.#search.line) setAttribute(element, "aria-current", "true");
    return element;
  }

  #top(line: number): number {
    return this.#rows.get(line)?.element.getBoundingClientRect().top ?? 0;
  }

  /** The first line that is seen, of those from one to before another. */
  #topLine(from = this.#from, to = this.#to): number | null {
    const box = this.#box.getBoundingClientRect();
    for (let line = Math.max(from, this.#from); line < Math.min(to, this.#to); line += 1) {
      const row = this.#rows.get(line)?.element.getBoundingClientRect();
      if (row && row.bottom > box.top) return row.top < box.bottom ? line : null;
    }
    return null;
  }

  /** Where the lines that are in the page begin and end, within what is scrolled. */
  #extent(): { top: number; bottom: number } {
    const offset = this.#box.scrollTop - this.#box.getBoundingClientRect().top;
    return { top: this.#above.getBoundingClientRect().bottom + offset, bottom: this.#below.getBoundingClientRect().top + offset };
  }

  /** How high a line is that is not in the page. */
  #height(): number {
    return Math.min(this.#linePx, MAX_PX / Math.max(1, this.#lines.count));
  }

  /** How many lines are seen at a time, about. */
  #seen(): number {
    return Math.ceil((this.#box.clientHeight || VIEW_PX) / this.#linePx);
  }

  /** Something in here is selected, perhaps to be copied. */
  #selection(): boolean {
    const selection = getSelection();
    return selection !== null && !selection.isCollapsed && this.#box.contains(selection.anchorNode);
  }

  #draw(): void {
    const { count: lines, first, isWhole, problem, retryable } = this.#lines;
    const here = isWhole ? "" : `, the last ${count(lines - first + 1)} here`;
    const top = this.#following ? null : this.#topLine();
    setText(this.#place, top === null ? `${count(lines)} ${lines === 1 ? "line" : "lines"}${here}` : `Line ${count(top)} of ${count(lines)}`);
    setText(this.#note, problem ?? "");
    this.#retry.hidden = problem === null || !retryable;
    this.#bar.hidden = lines <= FEW;
    this.#latest.hidden = this.#following;
  }
}

function isSame(one: LogEvent | undefined, other: LogEvent): boolean {
  return one?.text === other.text && one.level === other.level && one.source === other.source;
}

