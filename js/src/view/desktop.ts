// Notifications of the desktop, where the browser may show them.

import type { Entry } from "../core/listing";
import { newsText } from "./format";

export function mayNotify(): boolean {
  return "Notification" in window && Notification.permission === "granted";
}

/** Tell the news of a stream, which a click opens. */
export function notifyOnDesktop(entry: Entry, open: () => void): void {
  if (!mayNotify()) return;
  try {
    const told = new Notification(newsText(entry), { tag: `jupyter-sse:${entry.stream}` }); // one, however many pages are open
    told.onclick = () => {
      window.focus();
      open();
      told.close();
    };
  } catch {
    // Chrome on Android has leave, but knows only those of service workers: the list of streams goes on without.
  }
}
