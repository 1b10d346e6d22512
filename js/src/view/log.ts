// The last lines of output. It stays at the end unless the reader has scrolled up.

import { LOG_LINES, type LogEvent, type Snapshot } from "../core/events";
import { h, setAttribute, setText } from "./dom";

export class Log {
  readonly element = h("div", { class: "jsse-log", "data-sse-part": "log" });
  #earlier = h("div", { class: "jsse-log-earlier" });
  #lines = h("div", { class: "jsse-log-lines", dir: "ltr", tabindex: 0, role: "log", "aria-live": "off", "aria-label": "Output" });
  #shown = 0;
  // A page may lay a view out long after it was filled, and only then can it be scrolled.
  #laidOut = new ResizeObserver(() => {
    if (!this.#lines.clientHeight) return;
    this.#lines.scrollTop = this.#lines.scrollHeight;
    this.#laidOut.disconnect();
  });

  constructor() {
    this.element.append(this.#earlier, this.#lines);
    this.#laidOut.observe(this.#lines);
  }

  dispose(): void {
    this.#laidOut.disconnect();
  }

  update({ log }: Snapshot): void {
    if (log.count === this.#shown) return;
    const box = this.#lines;
    const following = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    const grown = log.count - this.#shown;
    if (grown < 0 || grown >= LOG_LINES) box.replaceChildren();
    box.append(...log.lines.slice(grown > 0 ? -grown : 0).map(line));
    while (box.childElementCount > LOG_LINES) box.firstElementChild?.remove();
    this.#shown = log.count;
    const earlier = log.count - box.childElementCount;
    setText(this.#earlier, earlier > 0 ? `… ${earlier.toLocaleString("en")} earlier lines` : "");
    setAttribute(this.#earlier, "hidden", earlier <= 0);
    if (following) box.scrollTop = box.scrollHeight;
  }
}

function line(event: LogEvent): HTMLElement {
  const level = (event.level ?? (event.source === "stderr" ? "stderr" : "")).toLowerCase();
  return h("div", { class: "jsse-line", "data-level": level || null, dir: "auto" }, event.text || "\u200b");
}
