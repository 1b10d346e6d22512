// The server's list of streams, as it changes.

import type { Problem } from "./consumer";
import type { SourceState } from "./source";

/** A stream as the server lists it; times are seconds since 1970, by its clock. */
export interface Entry {
  stream: string;
  url: string;
  status: string;
  kind: string | null;
  title: string | null;
  /** Where it was started: notebook, cell, the execute request's id, kernel. */
  path: string | null;
  cell: string | null;
  execution: string | null;
  kernel: string | null;
  /** Its output was taken out of its cell. */
  dismissed: boolean;
  /** Since when nothing has come from it, if that is longer than it may be. */
  stalled?: number | null;
  seq: number;
  bytes: number;
  created: number;
  updated: number;
}

/** What a connection that asked for the list is told: all of it first, then what changes. */
export interface ListedEvent {
  type: "listed";
  streams: Entry[];
  gone?: string[];
  all?: boolean;
}

export class Listing {
  state: SourceState = "connecting";
  problem: Problem | null = null;
  #entries = new Map<string, Entry>();
  #sorted: Entry[] | null = [];
  #listeners = new Set<() => void>();
  #watched: (on: boolean) => void;

  /** `watched` is told when somebody wants the list, and when nobody does any more. */
  constructor(watched: (on: boolean) => void) {
    this.#watched = watched;
  }

  /** Newest first. */
  get entries(): readonly Entry[] {
    return (this.#sorted ??= [...this.#entries.values()].sort((a, b) => b.created - a.created));
  }

  get isWatched(): boolean {
    return this.#listeners.size > 0;
  }

  /** Called after every change. Returns how to stop it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.#watched(true);
    return () => {
      if (this.#listeners.delete(listener) && !this.#listeners.size) this.#watched(false);
    };
  }

  /** After a failure: try again. */
  retry(): void {
    if (this.isWatched) this.#watched(true);
  }

  take({ streams, gone = [], all = false }: ListedEvent): void {
    if (all) this.#entries.clear();
    for (const entry of streams) this.#entries.set(entry.stream, entry);
    for (const stream of gone) this.#entries.delete(stream);
    this.#sorted = null;
    this.state = "open";
    this.problem = null;
    this.#changed();
  }

  setState(state: SourceState, problem: Problem | null = null): void {
    if (state === this.state && problem === this.problem) return;
    this.state = state;
    this.problem = problem;
    this.#changed();
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
