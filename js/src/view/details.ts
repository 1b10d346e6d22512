// What goes with an answer: the model's thinking, tool calls, cost; and how a stream ended.

import type { Problem } from "../core/consumer";
import type { Snapshot, ToolEvent } from "../core/events";
import { ansi } from "./ansi";
import { h, setText } from "./dom";
import { count } from "./format";
import { readable, result } from "./result";

export class Reasoning {
  #text = h("div", { class: "jsse-reasoning-text", dir: "auto" });
  readonly element = h("details", { class: "jsse-fold" }, h("summary", {}, "Thinking"), this.#text);
  #shown = "";

  update({ reasoning }: Snapshot): void {
    if (reasoning.startsWith(this.#shown)) this.#text.append(reasoning.slice(this.#shown.length));
    else this.#text.textContent = reasoning;
    this.#shown = reasoning;
  }
}

export class Tools {
  readonly element = h("div", { class: "jsse-tools", "data-sse-part": "tool" });
  #drawn: ToolEvent[] = [];

  update({ tools }: Snapshot): void {
    tools.forEach((tool, index) => {
      if (this.#drawn[index] === tool) return;
      const made = call(tool);
      const standing = this.element.children[index];
      if (standing instanceof HTMLDetailsElement) made.open = standing.open;
      if (standing) standing.replaceWith(made);
      else this.element.append(made);
    });
    this.#drawn = [...tools];
  }
}

function call(tool: ToolEvent): HTMLDetailsElement {
  const state = tool.phase === "result" ? "✓" : "…";
  return h(
    "details",
    { class: "jsse-fold" },
    h("summary", {}, `${tool.name} ${state}`),
    tool.args !== undefined && h("pre", { dir: "ltr" }, readable(tool.args)),
    tool.result !== undefined && h("pre", { dir: "ltr" }, readable(tool.result)),
  );
}

export class Usage {
  readonly element = h("div", { class: "jsse-muted", "data-sse-part": "usage" });

  update({ usage }: Snapshot): void {
    if (!usage) return;
    const cost = usage.cost === undefined ? "" : ` · $${usage.cost.toPrecision(2)}`;
    setText(this.element, `${count(usage.input_tokens)} tokens in, ${count(usage.output_tokens)} out${cost}`);
  }
}

/** What a code means to the reader, where the message alone does not say. */
const MEANINGS: Record<string, string> = {
  not_found: "The server no longer has this stream, or never had it.",
  gone: "It was deleted, or is older than what the server keeps.",
};

/** The result, or why there is none. */
export class Outcome {
  readonly element = h("div", { class: "jsse-outcome", "data-sse-part": "result" });
  #drawn = "";
  #retry: () => void;

  constructor(retry: () => void) {
    this.#retry = retry;
  }

  update(snapshot: Snapshot, problem: Problem | null): void {
    const error = problem ?? snapshot.error;
    const key = JSON.stringify([error, snapshot.status, snapshot.result]);
    if (key === this.#drawn) return;
    this.#drawn = key;
    this.element.replaceChildren();
    if (error) {
      const message = h("span", { class: "jsse-error-message", dir: "auto" }, ...ansi(error.message));
      this.element.append(
        h(
          "div",
          { class: "jsse-error", role: "alert" },
          message,
          !message.textContent?.startsWith(error.code) && h("code", { class: "jsse-error-code" }, error.code),
          MEANINGS[error.code] && h("span", { class: "jsse-muted" }, MEANINGS[error.code]),
          problem && this.#button(),
        ),
      );
      const trace = problem ? undefined : snapshot.error?.traceback;
      if (trace) this.element.append(traceback(trace));
    } else if (snapshot.status !== "running" && snapshot.result !== null && snapshot.result !== undefined) {
      this.element.append(result(snapshot.result));
    }
  }

  #button(): HTMLElement {
    const button = h("button", { type: "button", class: "jsse-button", "data-sse-action": "retry" }, "Try again");
    button.addEventListener("click", this.#retry);
    return button;
  }
}

/** What went wrong is said above; where, for those who look. */
function traceback(text: string): HTMLElement {
  return h("details", { class: "jsse-fold" }, h("summary", {}, "Traceback"), h("pre", { class: "jsse-traceback", dir: "ltr", tabindex: 0 }, ...ansi(text)));
}
