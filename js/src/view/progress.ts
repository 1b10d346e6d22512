// Bars, nested ones indented below their parent.

import type { ProgressEvent, Snapshot } from "../core/events";
import { h, setAttribute, setText } from "./dom";
import { count, duration, isolated, percent, quantity, rate } from "./format";

class Bar {
  readonly element: HTMLElement;
  #label = h("span", { class: "jsse-bar-label", dir: "auto" });
  #figures = h("span", { class: "jsse-bar-figures" });
  #fill = h("span", { class: "jsse-bar-fill" });
  #track = h("span", { class: "jsse-bar-track", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, this.#fill);

  constructor() {
    this.element = h("div", { class: "jsse-bar" }, this.#label, this.#track, this.#figures);
  }

  /** main : what the main bar is called if it has no other name. */
  update(bar: ProgressEvent, depth: number, snapshot: Snapshot, main: string): void {
    const running = snapshot.status === "running";
    const unit = isolated(bar.unit ?? "it");
    const shown = percent(bar);
    const early = bar.state === "early";
    const full = bar.total !== undefined ? bar.n >= bar.total : shown === null ? snapshot.status === "done" : shown === 100;
    const complete = bar.state === "complete" || (full && !early);
    const name = bar.label ?? (bar.bar === "main" ? main : bar.bar);
    const label = name || (bar.message ?? "");
    setText(this.#label, label);
    this.#label.hidden = !label;
    const figures = [
      shown === null ? "" : `${Math.floor(shown)} %`,
      bar.total !== undefined ? `${count(bar.n, bar.scale)}/${count(bar.total, bar.scale)}` : bar.pct === undefined ? quantity(bar.n, unit, bar.scale) : "",
      bar.rate !== undefined ? rate(bar.rate, unit, bar.scale) : "",
      running && !complete && !early && bar.eta !== undefined ? `ETA ${duration(bar.eta)}` : "",
      name && bar.message ? bar.message : "",
      early ? "stopped early" : "",
    ];
    setText(this.#figures, figures.filter(Boolean).join(" · "));
    const state = complete ? "complete" : early ? "early" : running ? (shown === null ? "indeterminate" : "running") : snapshot.status;
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
    const before = this.#bars;
    this.#bars = new Map();
    const main = sideBySide(snapshot) ? (snapshot.title ?? "") : "";
    for (const [bar, depth] of nested(snapshot.bars)) {
      const view = before.get(bar.bar) ?? new Bar();
      this.#bars.set(bar.bar, view);
      view.update(bar, depth, snapshot, main);
      const standing = this.element.children[index];
      if (standing !== view.element) this.element.insertBefore(view.element, standing ?? null);
      index += 1;
    }
    while (this.element.children.length > index) this.element.lastElementChild?.remove();
  }
}

/** Its title is that of the first of its bars, and of no other one. */
export function sideBySide({ kind, bars }: Snapshot): boolean {
  return kind === "bars" && nested(bars).filter(([, depth]) => !depth).length > 1;
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
