// The way to stop a stream: asked first, and by a second press interrupted.

import type { CancelAnswer } from "../core/source";
import { h, setAttribute, setText } from "./dom";

export class CancelButton {
  readonly element = h("button", { type: "button", class: "jsse-button", "data-sse-action": "cancel" }, "Cancel");
  /** What the server said to it. */
  readonly note = h("span", { class: "jsse-note", hidden: true });
  /** It has been asked to stop, and nobody knows yet whether it will. */
  asked = false;
  #cancel: () => Promise<CancelAnswer>;
  #changed: () => void;

  constructor(cancel: () => Promise<CancelAnswer>, changed: () => void = () => undefined) {
    this.#cancel = cancel;
    this.#changed = changed;
    this.element.addEventListener("click", () => void this.#press());
  }

  update(stoppable: boolean): void {
    this.element.hidden = !stoppable;
    if (!stoppable) this.#say("");
  }

  async #press(): Promise<void> {
    this.#setAsked(true);
    const answer = await this.#cancel();
    if (answer.via === "failed") this.#setAsked(false);
    // An answer that comes after the end has nothing to say any more.
    this.#say(answer.via === "ended" || this.element.hidden ? "" : answer.message);
  }

  #setAsked(asked: boolean): void {
    this.asked = asked;
    setText(this.element, asked ? "Interrupt" : "Cancel");
    this.element.title = asked ? "It has been asked to stop. Press again to interrupt the kernel." : "";
    this.#changed();
  }

  #say(text: string): void {
    setText(this.note, text);
    setAttribute(this.note, "hidden", !text);
  }
}
