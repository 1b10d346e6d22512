// A stream's log by its lines: the last ones, which every state has, and those before, which the server tells page by page.

import type { Problem } from "./connection";
import type { LogEvent, LogTail } from "./events";
import type { Told } from "./tape";

export interface LinesTold {
  count: number;
  /** The oldest line that is kept. */
  first: number;
  lines: { line: number; text: string; source: string; level?: string }[];
}

export interface Found {
  /** How many lines the log has. */
  count: number;
  /** How many of them match, and the numbers of the last ones that do. */
  total: number;
  matches: number[];
}

/** What the server can tell of a stream's log. Rejects with a `Problem`. */
export interface History {
  lines(before: number, limit: number): Promise<LinesTold>;
  find(text: string, after: number): Promise<Found>;
  /** Chunks of sound behind one event, up to another; not necessarily all. */
  audio(after: number, last: number): Promise<Told>;
}

const PAGE = 200; // lines
const PAGES = 20; // that are kept

/** What to search for, as the server does. */
export function pattern(text: string): RegExp {
  return new RegExp(text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"), "gi");
}

export class LogLines {
  count = 0;
  /** The oldest line that can be had. */
  first = 1;
  /** Why lines before the last ones cannot be had. */
  problem: string | null = null;
  /** They may be had if one tries again. */
  retryable = false;
  #tail: readonly LogEvent[] = [];
  #history: History | null = null;
  #kept = 1; // the oldest line that the server has
  #pages = new Map<number, { lines: LogEvent[]; before: number }>(); // the one that came last is the last
  #asked = new Set<number>();
  #changed: () => void;

  /** `changed` is called when lines have come that were asked for, or will not come. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  get isWhole(): boolean {
    return this.first === 1;
  }

  update(log: LogTail, history: History | null): void {
    if (history !== this.#history) {
      this.problem = null;
      this.#history = history;
    }
    if (log.count < this.count) this.#pages.clear(); // another log altogether
    this.#tail = log.lines;
    this.count = log.count;
    this.first = this.#first;
  }

  /** A failure that may pass leaves who reads far back where they are. */
  get #first(): number {
    const isThere = this.#history && (this.problem === null || this.retryable);
    return isThere ? Math.min(this.#kept, this.#tailFirst) : this.#tailFirst;
  }

  get #tailFirst(): number {
    return this.count - this.#tail.length + 1;
  }

  /** The line, if it is here. */
  at(line: number): LogEvent | undefined {
    if (line >= this.#tailFirst) return this.#tail[line - this.#tailFirst];
    return this.#pages.get(Math.floor((line - 1) / PAGE))?.lines[(line - 1) % PAGE];
  }

  /** Have these lines come, first to last. */
  want(from: number, to: number): void {
    for (let line = Math.max(from, this.first); line <= Math.min(to, this.#tailFirst - 1); line += 1) {
      if (this.at(line) !== undefined) continue;
      const page = Math.floor((line - 1) / PAGE);
      void this.#fetch(page);
      line = (page + 1) * PAGE; // on to the next one
    }
  }

  async #fetch(page: number): Promise<void> {
    const history = this.#history;
    if (!history || this.problem !== null || this.#asked.has(page)) return;
    // What is among the last lines can still change: it is not kept.
    const before = Math.min((page + 1) * PAGE, this.#tailFirst - 1) + 1;
    // A line that the server has left out would be asked for for ever.
    if (before <= (this.#pages.get(page)?.before ?? 0)) return;
    this.#asked.add(page);
    try {
      const told = await history.lines(before, before - 1 - page * PAGE);
      if (history === this.#history) this.#keep(page, before, told);
    } catch (problem) {
      if (history === this.#history) this.#fail(problem as Partial<Problem>);
    } finally {
      this.#asked.delete(page);
    }
    this.#changed(); // also where another history is to be asked now
  }

  #keep(page: number, before: number, told: LinesTold): void {
    const lines: LogEvent[] = [];
    for (const { line, ...log } of told.lines) lines[line - 1 - page * PAGE] = { type: "log", ...log };
    this.#pages.delete(page);
    this.#pages.set(page, { lines, before });
    for (const old of this.#pages.keys()) if (this.#pages.size > PAGES) this.#pages.delete(old);
    this.#kept = told.first;
    this.first = Math.min(told.first, this.#tailFirst);
  }

  #fail({ code, message }: Partial<Problem>): void {
    this.retryable = code !== "gone" && code !== "not_found" && code !== "http_404";
    this.problem = this.retryable
      ? `Some lines could not be loaded: ${message ?? "unknown error"}`
      : "The server no longer has the lines before these.";
    this.first = this.#first;
  }

  retry(): void {
    this.problem = null;
    this.first = this.#first;
    this.#changed();
  }

  /** The lines after this one that a text is in: of the whole log where there is a server, else of what is here. */
  async find(text: string, after: number): Promise<Found> {
    if (this.#history && this.problem === null) return this.#history.find(text, after);
    const wanted = pattern(text);
    const numbered = this.#tail.map((log, index) => ({ log, line: this.#tailFirst + index }));
    // eslint-disable-next-line no-control-regex
    const matches = numbered.filter(({ log, line }) => line > after && log.text.replace(/\x1b\[[ -?]*[@-~]/g, "").search(wanted) >= 0).map(({ line }) => line);
    return { count: this.count, total: matches.length, matches };
  }
}
