// The first line of a view: connection, title, what is going on, how long it has taken, and the way to stop it.

import type { StreamSource } from "../core/source";
import type { Snapshot } from "../core/events";
import { CancelButton } from "./cancel";
import { h, setText } from "./dom";
import { duration, noNews, statusWord } from "./format";
import { sideBySide } from "./progress";

const REASONS: Record<string, string> = { timeout: "Timed out", length: "Done, cut at its length limit", closed: "Closed" };

/** Which way of stopping it acted. */
const HOW: Record<string, string> = { producer: "Cancelled by the task at its next step", interrupt: "Cancelled, kernel interrupted" };

export class Header {
  readonly element: HTMLElement;
  #dot = h("span", { class: "jsse-dot", "aria-hidden": "true" });
  #title = h("span", { class: "jsse-title", dir: "auto" });
  #status = h("span", { class: "jsse-status" });
  #time = h("span", { class: "jsse-time" });
  #news = h("span", { class: "jsse-news" });
  #cancel: CancelButton;
  #shown = "";

  constructor(source: StreamSource) {
    this.#cancel = new CancelButton(
      () => source.cancel(),
      () => setText(this.#status, this.#words(source.snapshot, this.#shown)),
    );
    this.element = h(
      "div",
      { class: "jsse-header" },
      this.#dot,
      this.#title,
      h("span", { class: "jsse-state" }, this.#status, this.#time, this.#news),
      this.#cancel.note,
      this.#cancel.element,
    );
  }

  /** `heard`: when the last event came; all times in seconds. */
  update(snapshot: Snapshot, status: string, now: number, heard: number | null): void {
    const title = snapshot.title ?? (snapshot.kind === "answer" ? (snapshot.model ?? "Answer") : "");
    setText(this.#title, sideBySide(snapshot) ? "" : title);
    this.#title.hidden = !this.#title.textContent;
    this.#shown = status;
    setText(this.#status, this.#words(snapshot, status));
    const end = snapshot.ended ?? (snapshot.status === "running" ? now : snapshot.updated);
    setText(this.#time, snapshot.started !== null && end !== null ? duration(end - snapshot.started) : "");
    setText(this.#news, status === "running" && heard !== null ? noNews(now - heard, snapshot.stall) : "");
    this.#cancel.update(snapshot.cancellable && snapshot.status === "running" && status !== "error");
  }

  #words(snapshot: Snapshot, status: string): string {
    if (status === "running" && this.#cancel.asked) return "Cancelling…";
    if (status === "cancelled" && snapshot.kind !== "answer") return HOW[snapshot.via ?? ""] ?? "Cancelled";
    if (status === "done") return REASONS[snapshot.reason ?? ""] ?? "Done";
    return statusWord(status);
  }
}
