// The current step on top, the ones before it as history, with the time each took.

import type { Snapshot, StepEvent } from "../core/events";
import { h, setText } from "./dom";
import { duration } from "./format";

const SHOWN = 5;

export class Steps {
  readonly element = h("div", { class: "jsse-steps", "data-sse-part": "steps" });
  #label = h("span", {});
  #time = h("span", { class: "jsse-step-time" });
  #current = h("div", { class: "jsse-step-current", dir: "auto" }, this.#label, this.#time);
  #history = h("ol", { class: "jsse-step-history" });
  #earlier = h("summary", {});
  #more = h("details", { class: "jsse-more" }, this.#earlier);
  #drawn = "";

  constructor() {
    this.element.append(this.#current, this.#history, this.#more);
  }

  update(snapshot: Snapshot): void {
    const last = snapshot.steps.at(-1);
    if (!last) return;
    const running = snapshot.status === "running";
    setText(this.#time, running && last.ts !== undefined ? duration(Date.now() / 1000 - last.ts) : "");
    const key = `${snapshot.steps.length}/${last.step}/${last.message}/${snapshot.status}`;
    if (key === this.#drawn) return;
    this.#drawn = key;
    // In a direction of its own: within Arabic the words of it would change places.
    this.#label.replaceChildren(label(last), last.of ? h("span", { dir: "ltr" }, ` (${last.step} of ${last.of})`) : "");
    const past = running ? snapshot.steps.slice(0, -1) : snapshot.steps;
    this.#current.hidden = !running;
    const items = past.map((step, index) => {
      const until = snapshot.steps[index + 1]?.ts ?? (running ? undefined : (snapshot.ended ?? undefined));
      const took = step.ts !== undefined && until !== undefined ? duration(until - step.ts) : "";
      return h("li", {}, h("span", { dir: "auto" }, label(step)), took && h("span", { class: "jsse-step-time" }, took));
    });
    this.#history.replaceChildren(...items.slice(-SHOWN));
    const earlier = items.slice(0, -SHOWN);
    this.#more.hidden = !earlier.length;
    setText(this.#earlier, `${earlier.length} earlier ${earlier.length === 1 ? "step" : "steps"}`);
    this.#more.replaceChildren(this.#earlier, h("ol", { class: "jsse-step-history" }, ...earlier));
  }
}

function label(step: StepEvent): string {
  return `[${step.step}] ${step.message}`;
}
