// What the hooks of both frameworks give a component.

import type { Snapshot } from "../core/events";
import type { Problem } from "../core/connection";
import { statusOf, type CancelAnswer, type StreamStatus } from "../core/source";
import { emptySnapshot } from "../core/state";
import { URLSource, type URLSourceOptions } from "../core/urlsource";

export type { Snapshot, Problem, CancelAnswer, StreamStatus, URLSourceOptions as UseStreamOptions };

export interface StreamState {
  /** All that the events have told so far: text, bars, steps, log, previews, result, … */
  snapshot: Snapshot;
  /** The answer so far. */
  text: string;
  /** `idle` without a URL. */
  status: StreamStatus | "idle";
  /** Why it failed: the server refused, was lost for good, or ended the stream in an error. */
  problem: Problem | null;
}

export interface StreamControls {
  /** Have the producer stop. */
  cancel: () => Promise<CancelAnswer>;
  /** After a failure: go on after what there is. After the end: from the beginning. */
  retry: () => void;
}

const IDLE: StreamState = { snapshot: emptySnapshot(""), text: "", status: "idle", problem: null };

/** A stream as components see it: its state is another object if, and only if, something has changed. */
export class Watched implements StreamControls {
  readonly source: URLSource | null;
  #state = IDLE;

  constructor(url: string | null | undefined, options: URLSourceOptions) {
    this.source = url ? new URLSource(url, options) : null;
  }

  subscribe = (listener: () => void): (() => void) => this.source?.subscribe(listener) ?? (() => undefined);

  read = (): StreamState => {
    const { source } = this;
    if (!source) return IDLE;
    const { snapshot } = source;
    const status = statusOf(source);
    const problem = source.problem ?? snapshot.error;
    const old = this.#state;
    if (old.snapshot === snapshot && old.status === status && old.problem === problem) return old;
    return (this.#state = { snapshot, text: snapshot.text, status, problem });
  };

  cancel = (): Promise<CancelAnswer> =>
    this.source?.cancel() ?? Promise.resolve({ via: "ended", message: "There is no stream." });

  retry = (): void => this.source?.retry();
}
