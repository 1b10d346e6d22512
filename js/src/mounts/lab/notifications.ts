// Tells when a stream ends while nobody looks.

import type { Entry, Listing } from "../../core/listing";

export interface NotificationOptions {
  isHidden: () => boolean;
  notify: (entry: Entry) => void;
}

export class Notifications {
  enabled = true;
  /** Shorter streams are nobody's business. */
  afterSeconds = 60;
  #listing: Listing;
  #options: NotificationOptions;
  #running = new Set<string>();
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
    const running = new Set<string>();
    for (const entry of this.#listing.entries) {
      if (entry.status === "running") running.add(entry.stream);
      else if (this.#running.has(entry.stream)) this.#ended(entry);
    }
    this.#running = running;
  }

  #ended(entry: Entry): void {
    const ran = entry.updated - entry.created;
    if (this.enabled && ran >= this.afterSeconds && this.#options.isHidden()) this.#options.notify(entry);
  }
}
