// Search in a log: what is looked for, how often it is there, and the way from one place to the next.

import { pattern, type Found } from "../core/history";
import { h, setAttribute, setText } from "./dom";
import { count } from "./format";

const TYPING_MS = 200;
const AGAIN_MS = 1000; // how often lines that have come since are searched

export interface SearchOptions {
  find(text: string, after: number): Promise<Found>;
  /** Where the reader is: the search goes on from there. */
  place(): number;
  /** Another text is looked for (null: none), or another match is the present one. */
  show(pattern: RegExp | null, line: number | null): void;
  leave(): void;
}

export class Search {
  readonly element: HTMLElement;
  /** The line of the present match. */
  line: number | null = null;
  #options: SearchOptions;
  #input = h("input", { type: "search", class: "jsse-find-field", placeholder: "Search", "aria-label": "Search the output", dir: "auto", spellcheck: "false", maxlength: 200 });
  #count = h("span", { class: "jsse-find-count", role: "status" });
  #previous = this.#button("Previous match", "‹", -1);
  #next = this.#button("Next match", "›", 1);
  #text = "";
  #found: Found | null = null;
  #failed = false; // Enter tries again
  #timer: ReturnType<typeof setTimeout> | undefined;
  #again: ReturnType<typeof setTimeout> | undefined;
  #asked = 0; // what is answered later than this is out of date

  constructor(options: SearchOptions) {
    this.#options = options;
    this.element = h("div", { class: "jsse-find", role: "search" }, this.#count, this.#previous, this.#next, this.#input);
    this.#input.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void this.#search(), TYPING_MS);
    });
    this.#input.addEventListener("keydown", (event) => this.#press(event));
    this.#draw();
  }

  /** The log has grown. */
  grown(lines: number): void {
    if (!this.#found || lines <= this.#found.count || this.#again) return;
    this.#again = setTimeout(() => {
      this.#again = undefined;
      void this.#searchNew();
    }, AGAIN_MS);
  }

  dispose(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#again);
    this.#asked += 1;
  }

  #button(label: string, text: string, step: number): HTMLButtonElement {
    const button = h("button", { type: "button", class: "jsse-find-step", "aria-label": label, title: label }, text);
    button.addEventListener("click", () => this.#go(step));
    return button;
  }

  #press(event: KeyboardEvent): void {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      if (this.#input.value === this.#text && !this.#failed) this.#go(event.shiftKey ? -1 : 1);
      else void this.#search();
    } else if (event.key === "Escape") {
      event.preventDefault();
      this.#input.value = "";
      void this.#search();
      this.#options.leave();
    }
    event.stopPropagation(); // the notebook around it has keys of its own
  }

  async #search(): Promise<void> {
    clearTimeout(this.#timer);
    const text = this.#input.value;
    if (text === this.#text && !this.#failed) return;
    this.#text = text;
    this.#found = null;
    this.#failed = false;
    this.line = null;
    this.#options.show(text ? pattern(text) : null, null);
    const asked = (this.#asked += 1);
    this.#draw();
    if (!text) return;
    const found = await this.#options.find(text, 0).catch(() => null);
    if (asked !== this.#asked) return;
    this.#found = found;
    this.#failed = !found;
    this.#draw();
    if (!found?.matches.length) return;
    const from = this.#options.place();
    this.#show(found.matches.find((line) => line >= from) ?? found.matches.at(-1) ?? null);
  }

  async #searchNew(): Promise<void> {
    const before = this.#found;
    if (!before) return;
    const asked = (this.#asked += 1);
    const found = await this.#options.find(this.#text, before.count).catch(() => null); // if it fails, again with the next state
    if (!found || asked !== this.#asked) return;
    this.#found = { ...found, total: before.total + found.total, matches: [...before.matches, ...found.matches] };
    this.#draw();
  }

  #go(step: number): void {
    const { matches = [] } = this.#found ?? {};
    if (!matches.length) return;
    const index = this.line === null ? (step > 0 ? -1 : 0) : matches.indexOf(this.line);
    this.#show(matches[(index + step + matches.length) % matches.length] ?? null);
  }

  #show(line: number | null): void {
    this.line = line;
    this.#options.show(pattern(this.#text), line);
    this.#draw();
  }

  #draw(): void {
    const wanted = this.#input.value !== "";
    const { total = 0, matches = [] } = this.#found ?? {};
    for (const button of [this.#previous, this.#next]) {
      button.hidden = !wanted;
      setAttribute(button, "disabled", !matches.length);
    }
    const place = this.line === null ? -1 : matches.indexOf(this.line);
    const index = place < 0 ? "" : `${count(total - matches.length + place + 1)} of `;
    if (!wanted) setText(this.#count, "");
    else if (this.#found) setText(this.#count, total ? `${index}${count(total)}` : "Not found");
    else setText(this.#count, this.#failed ? "The search failed: Enter tries again" : "Searching…");
  }
}
