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
  #ended: Set<string> | null = null; // null until the list has come
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
    const ended = this.#listing.entries.filter(({ status }) => status !== "running");
    for (const entry of ended) if (this.#ended && !this.#ended.has(entry.stream)) this.#tell(entry);
    this.#ended = new Set(ended.map(({ stream }) => stream));
  }

  #tell(entry: Entry): void {
    const ran = entry.updated - entry.created;
    if (this.enabled && ran >= this.afterSeconds && this.#options.isHidden()) this.#options.notify(entry);
  }
}
