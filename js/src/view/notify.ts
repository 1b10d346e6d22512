// "Notify me": tells by the desktop when a stream ends while the page is hidden, once a person has asked for it.

import type { Listing } from "../core/listing";
import { Notifications } from "../core/notifications";
import { mayNotify, notifyOnDesktop } from "./desktop";
import { h, setAttribute, setText } from "./dom";
import { duration } from "./format";
import { address } from "./place";

const KEPT = "jupyter-sse:notify"; // in localStorage: that it is on in this browser

export class NotifyButton {
  readonly element = h("button", { type: "button", class: "jsse-button", "data-sse-action": "notify" }, "Notify me");
  /** What there is to say about it. */
  readonly note = h("div", { class: "jsse-note", role: "status", hidden: true });
  #notifications: Notifications;

  constructor(listing: Listing, afterSeconds: number) {
    this.#notifications = new Notifications(listing, {
      isHidden: () => document.hidden,
      notify: (entry) => notifyOnDesktop(entry, () => (location.hash = address({ stream: entry.stream, text: "", state: "all" }))),
    });
    this.#notifications.afterSeconds = afterSeconds;
    this.element.title = `A notification when a stream ends that ran for ${duration(afterSeconds)} or longer, while this page is hidden`;
    this.element.addEventListener("click", () => void this.#press());
    this.#set(isKept() && mayNotify());
  }

  dispose(): void {
    this.#notifications.dispose();
  }

  async #press(): Promise<void> {
    if (this.#notifications.enabled) {
      this.#set(false);
      keep(false);
      this.#say("");
      return;
    }
    const problem = await askFor();
    this.#say(problem ?? "");
    this.#set(!problem);
    keep(!problem);
  }

  #set(on: boolean): void {
    this.#notifications.enabled = on;
    setAttribute(this.element, "aria-pressed", String(on));
  }

  #say(text: string): void {
    setText(this.note, text);
    this.note.hidden = !text;
  }
}

/** Ask the browser, which asks the person; returns why there will be no notifications. */
async function askFor(): Promise<string | null> {
  if (!("Notification" in window) || !window.isSecureContext) {
    return window.isSecureContext
      ? "This browser has no notifications. A webhook can tell you instead."
      : "Browsers notify only for pages over https, or on localhost. A webhook can tell you instead.";
  }
  if ((await Notification.requestPermission()) !== "granted") {
    return "The browser does not let this page notify you. Allow it in the browser's settings for this site.";
  }
  try {
    // To see at once whether the system shows them; Chrome on Android knows only those of service workers, and throws.
    new Notification("You will be told here when a stream has ended.", { tag: "jupyter-sse" });
    return null;
  } catch {
    return "This browser shows no notifications of a page. A webhook can tell you instead.";
  }
}

function isKept(): boolean {
  try {
    return localStorage.getItem(KEPT) === "on";
  } catch {
    return false; // a browser that keeps nothing
  }
}

function keep(on: boolean): void {
  try {
    if (on) localStorage.setItem(KEPT, "on");
    else localStorage.removeItem(KEPT);
  } catch {
    // Asked again next time.
  }
}
