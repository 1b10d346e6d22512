// The answer's text: Markdown that appears at a reader's pace.

import type { Snapshot } from "../core/events";
import { h } from "./dom";
import { MarkdownView } from "./markdown";
import { Pacer } from "./typewriter";

export class Answer {
  readonly element = h("div", { class: "jsse-answer", "data-sse-part": "answer" });
  #markdown = new MarkdownView(this.element);
  #pacer: Pacer | null = null;
  #given = "";
  #finished = false;

  update({ text, status }: Snapshot): void {
    if (this.#finished && text === this.#given) return;
    if (status !== "running") {
      this.#pacer?.dispose();
      this.#pacer = null;
      this.#markdown.finish(text);
      this.#finished = true;
    } else if (this.#pacer && text.startsWith(this.#given)) {
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
    this.#pacer?.dispose();
  }
}
