// The first line of a view: connection, title, what is going on, how long it has taken, and the way to stop it.

import type { CancelAnswer, StreamSource } from "../core/source";
import type { Snapshot } from "../core/events";
import { h, setAttribute, setText } from "./dom";
import { duration } from "./format";

const WORDS: Record<string, string> = {
  connecting: "Connecting",
  running: "Running",
  reconnecting: "Reconnecting",
  done: "Done",
  error: "Failed",
  cancelled: "Cancelled",
};
const REASONS: Record<string, string> = { timeout: "Timed out", length: "Done, cut at its length limit", closed: "Closed" };

export class Header {
  readonly element: HTMLElement;
  #dot = h("span", { class: "jsse-dot", "aria-hidden": "true" });
  #title = h("span", { class: "jsse-title", dir: "auto" });
  #status = h("span", { class: "jsse-status" });
  #time = h("span", { class: "jsse-time" });
  #note = h("span", { class: "jsse-note" });
  #cancel = h("button", { type: "button", class: "jsse-button", "data-sse-action": "cancel" }, "Cancel");
  #source: StreamSource;
  #asked = false;
  #via: CancelAnswer["via"] | null = null;
  #shown = "";

  constructor(source: StreamSource) {
    this.#source = source;
    this.#cancel.addEventListener("click", () => void this.#press());
    this.element = h(
      "div",
      { class: "jsse-header" },
      this.#dot,
      this.#title,
      h("span", { class: "jsse-state" }, this.#status, this.#time),
      this.#note,
      this.#cancel,
    );
  }

  update(snapshot: Snapshot, status: string, now: number): void {
    setText(this.#title, snapshot.title ?? (snapshot.kind === "answer" ? (snapshot.model ?? "Answer") : ""));
    this.#title.hidden = !this.#title.textContent;
    this.#shown = status;
    setText(this.#status, this.#words(snapshot, status));
    const end = snapshot.ended ?? (snapshot.status === "running" ? now : snapshot.updated);
    setText(this.#time, snapshot.started !== null && end !== null ? duration(end - snapshot.started) : "");
    const stoppable = snapshot.cancellable && snapshot.status === "running" && status !== "error";
    this.#cancel.hidden = !stoppable;
    if (!stoppable) setText(this.#note, "");
    setAttribute(this.#note, "hidden", !this.#note.textContent);
  }

  #words(snapshot: Snapshot, status: string): string {
    if (status === "running" && this.#asked) return "Cancelling…";
    if (status === "cancelled" && this.#via === "interrupt") return "Cancelled, kernel interrupted";
    if (status === "done") return REASONS[snapshot.reason ?? ""] ?? "Done";
    return WORDS[status] ?? status;
  }

  async #press(): Promise<void> {
    this.#asked = true;
    setText(this.#status, this.#words(this.#source.snapshot, this.#shown));
    setText(this.#cancel, "Interrupt");
    this.#cancel.title = "It has been asked to stop. Press again to interrupt the kernel.";
    const answer: CancelAnswer = await this.#source.cancel();
    this.#via = answer.via;
    if (answer.via === "failed") {
      this.#asked = false;
      setText(this.#cancel, "Cancel");
      this.#cancel.title = "";
      setText(this.#status, this.#words(this.#source.snapshot, this.#shown));
    }
    // An answer that comes after the end has nothing to say any more.
    const over = answer.via === "ended" || this.#source.snapshot.status !== "running";
    setText(this.#note, over ? "" : answer.message);
    setAttribute(this.#note, "hidden", !this.#note.textContent);
  }
}
