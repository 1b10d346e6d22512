// Where a message is typed.

import { h, setText } from "./dom";

export interface Keys {
  send(): void;
  cancel?(): void;
}

/** A field that grows with its text: Enter sends, Shift+Enter breaks the line; not while an input method composes. */
export function field(label: string, text: string, keys: Keys): HTMLTextAreaElement {
  const area = h("textarea", { class: "jsse-chat-field", rows: 1, "aria-label": label, dir: "auto", enterkeyhint: "send" });
  area.value = text;
  area.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      keys.send();
    } else if (event.key === "Escape" && keys.cancel) {
      event.preventDefault();
      keys.cancel();
    }
  });
  area.addEventListener("input", () => fit(area));
  return area;
}

/** Safari has ended the composition already when it tells of the Enter that did; 229 is the key that an input method took. */
function isComposing(event: KeyboardEvent): boolean {
  return event.isComposing || event.keyCode === 229;
}

/** As high as its text; CSS says how high at most. */
export function fit(area: HTMLTextAreaElement): void {
  if (CSS.supports?.("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

export interface ComposerOptions {
  /** False if it was not sent: the text stays. */
  send(text: string): boolean;
  stop(): void;
  typed(text: string): void;
}

export class Composer {
  readonly element: HTMLElement;
  #field: HTMLTextAreaElement;
  #button = h("button", { type: "button", class: "jsse-chat-send" });
  #note = h("span", { class: "jsse-note" });
  #isRunning = false;
  #options: ComposerOptions;

  constructor(name: string, draft: string, options: ComposerOptions) {
    this.#options = options;
    this.#field = field("Message", draft, { send: () => this.#send() });
    this.#field.setAttribute("aria-describedby", `${name}-keys`);
    this.#field.placeholder = "Message";
    this.#field.addEventListener("input", () => {
      options.typed(this.#field.value);
      this.#drawButton();
    });
    this.#button.addEventListener("click", () => {
      if (this.#isRunning) options.stop();
      else this.#send();
    });
    this.element = h(
      "div",
      { class: "jsse-chat-composer" },
      h("div", { class: "jsse-chat-box" }, this.#field, this.#button),
      h(
        "div",
        { class: "jsse-chat-foot" },
        h("span", { id: `${name}-keys`, class: "jsse-chat-keys" }, "Enter sends, Shift+Enter breaks the line, Escape stops the answer."),
        this.#note,
      ),
    );
    this.#drawButton();
  }

  update(running: boolean): void {
    if (running === this.#isRunning) return;
    this.#isRunning = running;
    this.note("");
    this.#drawButton();
  }

  note(text: string): void {
    setText(this.#note, text);
  }

  focus(): void {
    this.#field.focus({ preventScroll: true });
  }

  // One button, so that the focus has a place whatever it does now; and never disabled, which would take it away.
  #drawButton(): void {
    setText(this.#button, this.#isRunning ? "Stop" : "Send");
    this.#button.setAttribute("data-sse-action", this.#isRunning ? "cancel" : "send");
    this.#button.toggleAttribute("data-quiet", !this.#isRunning && !this.#field.value.trim());
  }

  #send(): void {
    const text = this.#field.value.trim();
    this.focus();
    if (!text || !this.#options.send(text)) return;
    this.#field.value = "";
    this.#options.typed("");
    fit(this.#field);
    this.#drawButton();
  }
}
