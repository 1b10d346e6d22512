// One message of a chat.

import type { ChatMessage, Conversation } from "../core/conversation";
import type { StreamSource } from "../core/source";
import { field, fit } from "./composer";
import { copyText, h, setAttribute, setText } from "./dom";
import { mount } from "./mount";

export interface MessageOptions {
  /** Another question was sent in the place of this one. */
  edited(): void;
  retried(): void;
  announce(text: string): void;
}

const COPIED_MS = 1500;

export class Message {
  readonly element: HTMLLIElement;
  #conversation: Conversation;
  #options: MessageOptions;
  #message: ChatMessage;
  #author = h("span", { class: "jsse-chat-author" });
  #state = h("span", { class: "jsse-state" });
  #content = h("div", { class: "jsse-chat-content" });
  #error = h("div", { class: "jsse-error", hidden: true });
  #actions: HTMLElement;
  #copy: HTMLButtonElement;
  #edit: HTMLButtonElement | null = null;
  #retry: HTMLButtonElement | null = null;
  #form: HTMLElement | null = null;
  #source: StreamSource | null = null;
  #unmount: () => void = () => undefined;

  constructor(conversation: Conversation, message: ChatMessage, options: MessageOptions) {
    this.#conversation = conversation;
    this.#message = message;
    this.#options = options;
    this.#copy = this.#button("copy", "Copy", () => void this.#copied());
    this.#actions = h("div", { class: "jsse-chat-actions" }, this.#copy);
    if (message.role === "user") {
      this.#edit = this.#button("edit", "Edit", () => this.#startEdit());
      this.#actions.prepend(this.#edit);
      setAttribute(this.#content, "dir", "auto");
    } else {
      this.#retry = this.#button("retry", "Retry", () => {
        conversation.retry();
        options.retried();
      });
      this.#actions.append(this.#retry);
    }
    this.element = h(
      "li",
      { class: "jsse-chat-message", "data-role": message.role, "data-sse-message": message.id },
      h("div", { class: "jsse-chat-line" }, this.#author, this.#state),
      this.#content,
      this.#error,
      this.#actions,
    );
  }

  /** `number` counts from 1. */
  update(message: ChatMessage, number: number, { isLast, isBusy }: { isLast: boolean; isBusy: boolean }): void {
    this.#message = message;
    const { role, content, status = "done", error, model } = message;
    const isUser = role === "user";
    setAttribute(this.element, "data-sse-status", status);
    setText(this.#author, isUser ? "You" : (model ?? "Assistant"));
    setText(this.#state, { running: "Answering", cancelled: "Stopped", error: "Failed" }[status as string] ?? "");
    if (isUser) setText(this.#content, content);
    else this.#show(this.#conversation.source(message));
    this.#error.hidden = !error;
    if (error && this.#error.dataset["drawn"] !== error.message + error.code) {
      this.#error.dataset["drawn"] = error.message + error.code;
      this.#error.replaceChildren(
        h("span", { class: "jsse-error-message", dir: "auto" }, error.message),
        h("code", { class: "jsse-error-code" }, error.code),
      );
    }
    this.#copy.hidden = !content;
    if (this.#edit) this.#edit.hidden = isBusy;
    if (this.#retry) this.#retry.hidden = !isLast || isBusy;
    // There is one of each with every message: which one this is, is read out with it.
    const what = isUser ? "question" : "answer";
    for (const button of [this.#copy, this.#edit, this.#retry]) {
      if (button) setAttribute(button, "aria-label", `${button.dataset["name"]} ${what} ${number}`);
    }
  }

  dispose(): void {
    this.#unmount();
    this.element.remove();
  }

  #show(source: StreamSource): void {
    if (source === this.#source) return;
    this.#unmount();
    this.#source = source;
    this.#unmount = mount(this.#content, { source, bare: true });
  }

  #button(action: string, name: string, press: () => void): HTMLButtonElement {
    const button = h("button", { type: "button", class: "jsse-chat-action", "data-sse-action": action, "data-name": name }, name);
    button.addEventListener("click", press);
    return button;
  }

  async #copied(): Promise<void> {
    const done = await copyText(this.#message.content);
    setText(this.#copy, done ? "Copied" : "Cannot copy");
    this.#options.announce(done ? "Copied." : "It could not be copied.");
    setTimeout(() => setText(this.#copy, "Copy"), COPIED_MS);
  }

  #startEdit(): void {
    const { id, content } = this.#message;
    const send = (): void => {
      const text = area.value.trim();
      if (!text || this.#conversation.running) return;
      this.#conversation.edit(id, text);
      this.#options.edited();
    };
    const cancel = (): void => this.#endEdit();
    const area = field("Edit the question", content, { send, cancel });
    const press = (name: string, action: string, style: string, pressed: () => void): HTMLElement => {
      const button = h("button", { type: "button", class: style, "data-sse-action": action }, name);
      button.addEventListener("click", pressed);
      return button;
    };
    this.#form = h(
      "div",
      { class: "jsse-chat-edit" },
      area,
      h(
        "div",
        { class: "jsse-chat-actions" },
        h("span", { class: "jsse-chat-keys" }, "What followed is replaced."),
        press("Cancel", "cancel-edit", "jsse-chat-action", cancel),
        press("Send", "send", "jsse-chat-send", send),
      ),
    );
    this.#form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented || event.isComposing) return;
      event.preventDefault();
      cancel();
    });
    this.element.append(this.#form);
    this.#content.hidden = this.#actions.hidden = true;
    fit(area);
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
    this.#options.announce("Editing. Escape cancels.");
  }

  #endEdit(): void {
    this.#form?.remove();
    this.#form = null;
    this.#content.hidden = this.#actions.hidden = false;
    this.#edit?.focus();
    this.#options.announce("Not changed.");
  }
}
