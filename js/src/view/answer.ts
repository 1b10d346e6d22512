// The answer's text: Markdown that appears at a reader's pace.

import type { Snapshot } from "../core/events";
import { h } from "./dom";
import { MarkdownView } from "./markdown";
import { Pacer } from "./typewriter";

/** A text that was there before the view and is longer than this comes by and by: its beginning is not to wait for its end. */
const LONG = 64 << 10;
/** How much of it is shown a frame: some ten milliseconds' worth. */
const SLICE = 16 << 10;

export class Answer {
  readonly element = h("div", { class: "jsse-answer", "data-sse-part": "answer" });
  #markdown = new MarkdownView(this.element);
  #pacer: Pacer | null = null;
  #given = "";
  #frame = 0; // until a long text stands
  #finished = false;

  update({ text, status }: Pick<Snapshot, "text" | "status">): void {
    if (this.#finished && text === this.#given) return;
    const known = text.startsWith(this.#given);
    const done = known ? this.#given.length : 0;
    if (!this.#pacer && text.length - done > (this.#frame ? SLICE : LONG)) {
      this.#given = text.slice(0, done + SLICE);
      this.#markdown.set(this.#given);
      cancelAnimationFrame(this.#frame);
      this.#frame = requestAnimationFrame(() => this.update({ text, status }));
      return;
    }
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (status !== "running") {
      this.#pacer?.dispose();
      this.#pacer = null;
      this.#markdown.finish(text);
      this.#finished = true;
    } else if (this.#pacer && known) {
      this.#pacer.append(text.slice(this.#given.length));
    } else {
      // What was there before we came is shown at once; only what is new is paced.
      this.#pacer?.dispose();
      this.#markdown.set(text);
      let shown = text;
      this.#pacer = new Pacer((piece) => this.#markdown.set((shown += piece)));
    }
    this.#given = text;
  }

  dispose(): void {
    cancelAnimationFrame(this.#frame);
    this.#pacer?.dispose();
  }
}
