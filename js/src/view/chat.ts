// A chat: what was said, and where to say more.
//
// Made for a keyboard and a screen reader first: what happens is announced, not what is written, and the focus is never left on a
// button that has gone.

import type { ChatMessage, Conversation } from "../core/conversation";
import { Composer } from "./composer";
import { h, haltScroll, setAttribute, setText, styleSheet } from "./dom";
import { isTyping, keepKeys } from "./keys";
import { Message } from "./message";
import chatStyles from "./chat.css";
import styles from "./style.css";

const AT_END_PX = 24;

let count = 0;

/** Show a chat in an element; returns how to take it away. */
export function mountChat(el: HTMLElement, conversation: Conversation): () => void {
  const panel = new Panel(conversation);
  el.append(panel.element);
  panel.shown();
  return () => panel.dispose();
}

class Panel {
  readonly element: HTMLElement;
  #conversation: Conversation;
  #messages = new Map<string, Message>();
  #title: HTMLElement;
  #picker = h("span", { class: "jsse-chat-picker" });
  #picked = "";
  #empty = h("p", { class: "jsse-chat-empty" }, "Ask something.");
  #list = h("ol", { class: "jsse-chat-list", role: "list" }); // Safari forgets that a list without bullets is one
  #log: HTMLElement;
  #latest = h("button", { type: "button", class: "jsse-chat-latest", "data-sse-action": "latest", hidden: true }, "Latest messages ↓");
  #composer: Composer;
  #said = h("div", { class: "jsse-hidden", role: "status", "aria-live": "polite" });
  #states = new Map<string, string>(); // of each answer, as it was announced
  #isAtEnd = true;
  #end = 0; // where the end was when it was gone to
  #resized: ResizeObserver | null = null;
  #leave: () => void;
  #leaveKeys: () => void;
  #frame = 0;

  constructor(conversation: Conversation) {
    this.#conversation = conversation;
    const name = `jsse-chat-${(count += 1)}`;
    this.#title = h("h2", { class: "jsse-title", id: name, dir: "auto" });
    this.#log = h(
      "div",
      // Focusable, because it scrolls; and not live, because what is written in it is not to be read out word by word.
      { class: "jsse-chat-log", role: "log", "aria-live": "off", "aria-labelledby": name, tabindex: 0 },
      this.#empty,
      this.#list,
    );
    this.#composer = new Composer(name, conversation.draft, {
      send: (text) => this.#send(text),
      stop: () => void this.#stop(),
      typed: (text) => (conversation.draft = text),
    });
    this.element = h(
      "section",
      { class: "jsse jsse-chat", "data-sse-chat": conversation.id, "aria-labelledby": name },
      styleSheet(styles + chatStyles),
      h("div", { class: "jsse-chat-header" }, this.#title, this.#picker),
      h("div", { class: "jsse-chat-frame" }, this.#log, this.#latest),
      this.#composer.element,
      this.#said,
    );
    this.#log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#latest.addEventListener("click", () => {
      haltScroll(this.#log);
      this.#follow();
      this.#toEnd();
      this.#log.focus({ preventScroll: true });
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing || event.defaultPrevented || !conversation.running) return;
      event.preventDefault();
      void this.#stop();
    });
    this.#leaveKeys = keepKeys(this.element, isTyping);
    window.addEventListener("beforeinput", this.#guardInput, true);
    this.#leave = conversation.subscribe(() => this.#draw());
    for (const message of conversation.messages) this.#states.set(message.id, stateOf(message)); // nothing new about those
    this.#draw();
  }

  /** It is in the page. */
  shown(): void {
    if (typeof ResizeObserver === "function") {
      this.#resized = new ResizeObserver(() => this.#toEnd());
      for (const element of [this.#list, this.#log]) this.#resized.observe(element);
    }
    this.#toEnd();
  }

  dispose(): void {
    this.#leaveKeys();
    window.removeEventListener("beforeinput", this.#guardInput, true);
    this.#leave();
    this.#resized?.disconnect();
    cancelAnimationFrame(this.#frame);
    for (const message of this.#messages.values()) message.dispose();
    this.element.remove();
  }

  // JupyterLab also takes line breaks and undoing from every field in a cell, whether it has a use for the key or not.
  #guardInput = (event: InputEvent): void => {
    if (event.composedPath().includes(this.element)) event.stopPropagation();
  };

  // What the reader does

  /** False if it is not the time to send. */
  #send(text: string): boolean {
    if (this.#conversation.running) {
      this.#announce("Wait for the answer, or press Escape to stop it.");
      return false;
    }
    this.#follow();
    this.#conversation.ask(text);
    return true;
  }

  async #stop(): Promise<void> {
    this.#composer.focus();
    this.#announce("Stopping.");
    const { via, message } = await this.#conversation.stop();
    if (via === "failed") this.#announce(message);
    this.#composer.note(via === "failed" ? message : "");
  }

  // What is shown

  #draw(): void {
    const { state, messages, running } = this.#conversation;
    setText(this.#title, state.title ?? "Chat");
    setAttribute(this.element, "data-sse-status", running ? "running" : (messages.at(-1)?.status ?? "done"));
    this.#drawPicker();
    this.#drawMessages(messages);
    this.#empty.hidden = messages.length > 0;
    this.#composer.update(running !== null);
    for (const message of messages) this.#tell(message);
    this.#toEnd();
  }

  #drawMessages(messages: readonly ChatMessage[]): void {
    const wanted = new Set(messages.map(({ id }) => id));
    let lost = false; // the focus was in what is taken away
    for (const [id, view] of this.#messages) {
      if (wanted.has(id)) continue;
      lost ||= view.element.contains(document.activeElement);
      view.dispose();
      this.#messages.delete(id);
    }
    const last = messages.length - 1;
    messages.forEach((message, index) => {
      let view = this.#messages.get(message.id);
      if (!view) {
        view = new Message(this.#conversation, message, {
          edited: () => {
            this.#follow();
            this.#composer.focus();
          },
          retried: () => {
            this.#follow();
            this.#composer.focus();
          },
          announce: (text) => this.#announce(text),
        });
        this.#messages.set(message.id, view);
      }
      const there = this.#list.children[index];
      if (there !== view.element) this.#list.insertBefore(view.element, there ?? null);
      view.update(message, index + 1, { isLast: index === last, isBusy: this.#conversation.running !== null });
    });
    if (lost) this.#composer.focus();
  }

  #drawPicker(): void {
    const { models, model } = this.#conversation;
    const key = JSON.stringify([models, model]);
    if (key === this.#picked || !this.#conversation.isSettled) return;
    this.#picked = key;
    // One that the reader is at stays.
    const standing = this.#picker.querySelector<HTMLSelectElement | HTMLInputElement>("select, input");
    if (standing instanceof HTMLSelectElement && [...standing.options].every(({ value }, index) => value === models[index])) {
      standing.value = model ?? "";
      return;
    }
    if (standing instanceof HTMLInputElement && !models.length) {
      if (standing !== document.activeElement) standing.value = model ?? "";
      return;
    }
    this.#picker.replaceChildren();
    if (models.length === 1) return;
    const control = models.length
      ? h("select", {}, ...models.map((name) => h("option", { value: name, selected: name === model }, name)))
      : h("input", { type: "text", value: model, placeholder: "the usual one", size: 16, spellcheck: "false", autocapitalize: "off", autocomplete: "off" });
    control.addEventListener("change", () => {
      if (control.value.trim()) this.#conversation.setModel(control.value.trim());
    });
    control.dir = "ltr";
    setAttribute(control, "data-sse-action", "model");
    this.#picker.append(h("label", {}, h("span", {}, "Model"), control));
  }

  /** Say what has become of an answer: that it is being written, and how it ended; not what it says. */
  #tell(message: ChatMessage): void {
    if (message.role !== "assistant") return;
    const state = stateOf(message);
    if (this.#states.get(message.id) === state) return;
    this.#states.set(message.id, state);
    this.#announce(
      message.status === "running"
        ? "Sent. The answer is being written."
        : message.status === "error"
          ? `The answer failed: ${message.error?.message ?? "nobody knows why"}`
          : message.status === "cancelled"
            ? "The answer was stopped."
            : "The answer is complete.",
    );
  }

  #announce(text: string): void {
    // The same twice is to be told twice.
    setText(this.#said, this.#said.textContent === text ? `${text}\u00a0` : text);
  }

  // Where it stands

  #scrolled(): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    this.#isAtEnd = scrollHeight - scrollTop - clientHeight < AT_END_PX;
    this.#latest.hidden = this.#isAtEnd;
  }

  #follow(): void {
    this.#isAtEnd = true;
    this.#end = 0;
  }

  /** Go along with what is written, unless the reader has gone back. */
  #toEnd(): void {
    // The event that tells of it comes with the next frame.
    if (this.#isAtEnd && this.#log.scrollTop < this.#end) this.#scrolled();
    if (!this.#isAtEnd) {
      const { scrollHeight, clientHeight } = this.#log;
      if (scrollHeight <= clientHeight + AT_END_PX) this.#scrolled();
      return;
    }
    this.#latest.hidden = true;
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#end = this.#log.scrollTop;
  }
}

function stateOf({ status, error }: ChatMessage): string {
  return `${status ?? "done"} ${error?.code ?? ""}`;
}
