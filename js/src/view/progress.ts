// Bars, nested ones indented below their parent.

import type { ProgressEvent, Snapshot } from "../core/events";
import { h, setAttribute, setText } from "./dom";
import { count, duration, percent, rate } from "./format";

class Bar {
  readonly element: HTMLElement;
  #label = h("span", { class: "jsse-bar-label", dir: "auto" });
  #figures = h("span", { class: "jsse-bar-figures" });
  #fill = h("span", { class: "jsse-bar-fill" });
  #track = h("span", { class: "jsse-bar-track", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, this.#fill);

  constructor() {
    this.element = h("div", { class: "jsse-bar" }, this.#label, this.#track, this.#figures);
  }

  update(bar: ProgressEvent, depth: number, snapshot: Snapshot): void {
    const running = snapshot.status === "running";
    const unit = bar.unit ?? "it";
    const shown = percent(bar);
    const complete = bar.total !== undefined ? bar.n >= bar.total : shown === null ? snapshot.status === "done" : shown === 100;
    const label = bar.message ?? (bar.bar === "main" ? "" : bar.bar);
    setText(this.#label, label);
    this.#label.hidden = !label;
    const figures = [
      shown === null ? "" : `${Math.floor(shown)} %`,
      bar.total !== undefined ? `${count(bar.n)}/${count(bar.total)}` : bar.pct === undefined ? `${count(bar.n)} ${unit}` : "",
      bar.rate !== undefined ? rate(bar.rate, unit) : "",
      running && !complete && bar.eta !== undefined ? `ETA ${duration(bar.eta)}` : "",
    ];
    setText(this.#figures, figures.filter(Boolean).join(" · "));
    const state = complete ? "complete" : running ? (shown === null ? "indeterminate" : "running") : snapshot.status;
    setAttribute(this.element, "data-state", state);
    this.#fill.style.width = complete ? "100%" : state === "indeterminate" ? "" : `${shown ?? 0}%`;
    setAttribute(this.#track, "aria-valuenow", shown === null ? (complete ? 100 : null) : Math.round(shown * 10) / 10);
    setAttribute(this.#track, "aria-label", label || snapshot.title || "Progress");
    setAttribute(this.#track, "aria-valuetext", this.#figures.textContent);
    this.element.style.setProperty("--jsse-depth", String(depth));
  }
}

export class Progress {
  readonly element = h("div", { class: "jsse-progress", "data-sse-part": "progress" });
  #bars = new Map<string, Bar>();

  update(snapshot: Snapshot): void {
    let index = 0;
    for (const [bar, depth] of nested(snapshot.bars)) {
      let view = this.#bars.get(bar.bar);
      if (!view) this.#bars.set(bar.bar, (view = new Bar()));
      view.update(bar, depth, snapshot);
      const standing = this.element.children[index];
      if (standing !== view.element) this.element.insertBefore(view.element, standing ?? null);
      index += 1;
    }
    while (this.element.children.length > index) this.element.lastElementChild?.remove();
  }
}

/** Each bar after its parent, with its depth; a parent that is missing, or a circle of them, counts as none. */
function nested(bars: readonly ProgressEvent[]): [ProgressEvent, number][] {
  const names = new Set(bars.map((bar) => bar.bar));
  const out: [ProgressEvent, number][] = [];
  const seen = new Set<string>();
  const place = (bar: ProgressEvent, depth: number): void => {
    if (seen.has(bar.bar)) return;
    seen.add(bar.bar);
    out.push([bar, depth]);
    for (const child of bars) if (child.parent === bar.bar) place(child, depth + 1);
  };
  for (const bar of bars) if (bar.parent === undefined || !names.has(bar.parent)) place(bar, 0);
  for (const bar of bars) place(bar, 0);
  return out;
}
