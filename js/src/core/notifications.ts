// Tells when a stream ends, or has no news, while nobody looks.

import type { Entry, Listing } from "./listing";

export interface NotificationOptions {
  isHidden: () => boolean;
  notify: (entry: Entry) => void;
}

export class Notifications {
  enabled = true;
  /** Shorter streams are nobody's business. */
  afterSeconds = 60;
  /** Tell of those that have no news too. */
  stalled = false;
  #listing: Listing;
  #options: NotificationOptions;
  #ended: Set<string> | null = null; // null until the list has come
  #stalls = new Map<string, number>();
  #unsubscribe: () => void;

  constructor(listing: Listing, options: NotificationOptions) {
    this.#listing = listing;
    this.#options = options;
    this.#unsubscribe = listing.subscribe(() => this.#look());
  }

  dispose(): void {
    this.#unsubscribe();
  }

  #look(): void {
    if (this.#listing.state !== "open") return;
    this.#lookForStalls();
    const ended = this.#listing.entries.filter(({ status }) => status !== "running");
    for (const entry of ended) if (this.#ended && !this.#ended.has(entry.stream)) this.#tell(entry);
    this.#ended = new Set(ended.map(({ stream }) => stream));
  }

  /** Each stall once. */
  #lookForStalls(): void {
    const before = this.#stalls;
    this.#stalls = new Map();
    for (const entry of this.#listing.entries) {
      if (typeof entry.stalled !== "number") continue;
      this.#stalls.set(entry.stream, entry.stalled);
      const isNew = this.#ended !== null && before.get(entry.stream) !== entry.stalled;
      if (isNew && this.enabled && this.stalled && this.#options.isHidden()) this.#options.notify(entry);
    }
  }

  #tell(entry: Entry): void {
    if (entry.kind === "endpoint") return; // it ends for want of readers as well
    const ran = entry.updated - entry.created;
    if (this.enabled && ran >= this.afterSeconds && this.#options.isHidden()) this.#options.notify(entry);
  }
}
