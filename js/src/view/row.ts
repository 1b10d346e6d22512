// One stream in the monitor's list.

import type { Entry } from "../core/listing";
import type { Multiplex } from "../core/multiplex";
import { CancelButton } from "./cancel";
import { h, setAttribute, setText } from "./dom";
import { duration, moment, nameOf, percent, stalledFor, statusWord, stepText } from "./format";
import { address } from "./place";

export interface MonitorOptions {
  /** The URL that a notebook's path is appended to, where notebooks can be opened. */
  notebooks: string | null;
  /** Streams that ran for fewer seconds are not told by a notification. */
  notifyAfter: number;
}

const SURE_MS = 4000; // how long "Forget?" waits for a second press

export function notebookUrl({ notebooks }: MonitorOptions, path: string | null): string | null {
  return notebooks && path ? notebooks + path.split("/").map(encodeURIComponent).join("/") : null;
}

export class Row {
  readonly element: HTMLElement;
  isSeen = false;
  #entry: Entry;
  #multiplex: Multiplex;
  #dot = h("span", { class: "jsse-dot", "aria-hidden": "true" });
  #title: HTMLAnchorElement;
  #state = h("span", { class: "jsse-state" });
  #step = h("span", { class: "jsse-row-step", dir: "auto" });
  #kind = h("span", { class: "jsse-row-kind" });
  #problem = h("div", { class: "jsse-note", role: "alert", hidden: true });
  #fill = h("span", { class: "jsse-bar-fill" });
  #track = h("span", { class: "jsse-bar-track", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, hidden: true }, this.#fill);
  #cancel: CancelButton;
  #forget = h("button", { type: "button", class: "jsse-button", "data-sse-action": "forget" }, "Forget");
  #forgetting = false;
  #leave: (() => void) | null = null;
  #frame = 0;
  #day = "";

  constructor(multiplex: Multiplex, options: MonitorOptions, entry: Entry) {
    this.#multiplex = multiplex;
    this.#entry = entry;
    this.#cancel = new CancelButton(
      () => multiplex.cancel(entry.stream),
      () => this.#draw(),
    );
    this.#title = h("a", { class: "jsse-title", href: address({ stream: entry.stream, text: "", state: "all" }), dir: "auto" });
    this.#title.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      history.pushState("opened", "", this.#title.hash);
      window.dispatchEvent(new HashChangeEvent("hashchange"));
    });
    const url = notebookUrl(options, entry.path);
    const path = entry.path && (url ? h("a", { href: url, target: "_blank", rel: "noopener", class: "jsse-row-path", dir: "ltr" }, entry.path) : h("span", { class: "jsse-row-path", dir: "ltr" }, entry.path));
    this.#forget.addEventListener("click", () => void this.#pressForget());
    // There are many of these buttons: which stream one is for is read out with it.
    this.#title.id = `jsse-row-${entry.stream}`;
    for (const button of [this.#cancel.element, this.#forget]) setAttribute(button, "aria-describedby", this.#title.id);
    this.element = h(
      "li",
      { class: "jsse-row", "data-sse-stream": entry.stream },
      h("div", { class: "jsse-row-line" }, this.#dot, this.#title, this.#cancel.element, this.#forget),
      this.#track,
      h("div", { class: "jsse-row-facts" }, this.#state, this.#step, this.#kind, path),
      this.#cancel.note,
      this.#problem,
    );
  }

  get isRunning(): boolean {
    return this.#entry.status === "running";
  }

  update(entry: Entry): void {
    if (this.#day && entry === this.#entry) return;
    this.#entry = entry;
    this.#draw();
  }

  tick(now: Date): void {
    if (this.isRunning || now.toDateString() !== this.#day) this.#draw();
  }

  focus(): void {
    this.#title.focus({ preventScroll: true });
  }

  retry(): void {
    if (this.#leave) this.#multiplex.source(this.#entry.stream).retry();
  }

  follow(on: boolean): void {
    if (on === (this.#leave !== null)) return;
    if (on) {
      this.#leave = this.#multiplex.source(this.#entry.stream).subscribe(() => this.#drawSoon());
      this.#drawSoon(); // what is known from before
    } else {
      this.#leave?.();
      this.#leave = null;
    }
  }

  dispose(): void {
    this.#leave?.();
    cancelAnimationFrame(this.#frame);
  }

  #drawSoon(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw(): void {
    const { status, title, kind, created, updated, stalled, stream } = this.#entry;
    const running = this.isRunning;
    this.#day = new Date().toDateString();
    if (!running) this.follow(false);
    const snapshot = this.#leave ? this.#multiplex.source(stream).snapshot : null;
    setAttribute(this.element, "data-sse-status", status);
    setAttribute(this.element, "data-stalled", running && typeof stalled === "number");
    setText(this.#title, nameOf(this.#entry));
    setText(this.#kind, title && kind && kind !== "task" ? kind : ""); // that says nothing of one among many tasks
    this.#kind.hidden = !this.#kind.textContent;
    this.#cancel.update(running && (snapshot?.cancellable ?? false));
    this.#forget.hidden = running;

    const bar = snapshot?.bars.find((one) => percent(one) !== null);
    const shown = bar ? percent(bar) : null;
    this.#track.hidden = !running || shown === null;
    if (shown !== null) {
      this.#fill.style.width = `${shown}%`;
      setAttribute(this.#track, "aria-valuenow", Math.round(shown));
      setAttribute(this.#track, "aria-label", title || "Progress");
    }
    const word = running && this.#cancel.asked ? "Cancelling…" : statusWord(status);
    const facts = running
      ? [word, shown === null ? "" : `${Math.floor(shown)} %`, duration(Date.now() / 1000 - created), stalledFor(this.#entry)]
      : [word, duration(updated - created), moment(updated)];
    setText(this.#state, facts.filter(Boolean).join(" · "));
    const step = running ? snapshot?.steps.at(-1) : undefined;
    setText(this.#step, step ? stepText(step) : "");
    this.#step.hidden = !step;
  }

  async #pressForget(): Promise<void> {
    if (this.#forgetting) return;
    this.#say("");
    if (this.#forget.textContent === "Forget") {
      setText(this.#forget, "Really forget?");
      setTimeout(() => setText(this.#forget, "Forget"), SURE_MS);
      return;
    }
    // Not disabled meanwhile: that would take the focus away.
    this.#forgetting = true;
    const forgotten = await this.#multiplex.forget(this.#entry.stream);
    if (forgotten) return; // the list says when it is gone
    this.#forgetting = false;
    setText(this.#forget, "Forget");
    this.#say("It could not be forgotten. Try again.");
  }

  #say(problem: string): void {
    setText(this.#problem, problem);
    this.#problem.hidden = !problem;
  }
}
