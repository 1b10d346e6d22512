// What a view shows: a stream's state, from wherever its events come.

import type { AudioEvent, Snapshot, StreamEvent, UnknownEvent } from "./events";
import type { Problem } from "./consumer";
import type { History } from "./history";
import { Tape, type Kept } from "./tape";
import { emptySnapshot, fold, type NumberedEvent } from "./state";

export type SourceState = "connecting" | "open" | "reconnecting" | "failed";

/** How a cancel was passed on. */
export interface CancelAnswer {
  via: "producer" | "interrupt" | "pending" | "ended" | "failed";
  message: string;
}

/** A stream that can be shown. */
export interface StreamSource {
  readonly stream: string;
  readonly snapshot: Snapshot;
  readonly state: SourceState;
  readonly problem: Problem | null;
  /** What those who watch should know of the server. */
  readonly notice: string | null;
  /** When its last event came, in ms since 1970; null where that is not known, or nothing more can come. */
  readonly heard?: number | null;
  /** What of its log is no longer in its state, where there is a server to ask. */
  readonly history?: History | null;
  /** Its sound, by the chunk. */
  readonly tape?: Tape | null;
  /** Called after every change, at most once a task. Returns how to stop it. */
  subscribe(listener: () => void): () => void;
  cancel(): Promise<CancelAnswer>;
  /** After a failure: try again. */
  retry(): void;
}

/** How a stream stands, for those who watch it. */
export type StreamStatus = "connecting" | "running" | "reconnecting" | "done" | "error" | "cancelled";

export function statusOf({ snapshot, state }: StreamSource): StreamStatus {
  if (snapshot.status !== "running") return snapshot.status;
  if (state === "failed") return "error";
  if (state === "connecting" && !snapshot.seq) return "connecting";
  return state === "reconnecting" ? "reconnecting" : "running";
}

/** A stream that has ended, as it was kept. */
export class EndedSource implements StreamSource {
  readonly stream: string;
  readonly state = "open";
  readonly problem = null;
  readonly notice = null;
  readonly tape: Tape | null;

  constructor(
    readonly snapshot: Snapshot,
    readonly history: History | null = null,
  ) {
    this.stream = snapshot.stream;
    this.tape = history && new Tape(history, snapshot.seq);
  }

  subscribe(): () => void {
    return () => undefined;
  }

  cancel(): Promise<CancelAnswer> {
    return Promise.resolve({ via: "ended", message: "It has ended already." });
  }

  retry(): void {}
}

/** A source that can be exchanged while it is shown: the view stays as it is. */
export class ExchangeableSource implements StreamSource {
  readonly stream: string;
  #source: StreamSource;
  #listeners = new Map<() => void, () => void>(); // with how each leaves the present source

  constructor(source: StreamSource) {
    this.stream = source.stream;
    this.#source = source;
  }

  exchange(source: StreamSource): void {
    this.#source = source;
    for (const [listener, leave] of [...this.#listeners]) {
      leave();
      this.#listeners.set(listener, source.subscribe(listener));
      listener();
    }
  }

  get snapshot(): Snapshot {
    return this.#source.snapshot;
  }

  get state(): SourceState {
    return this.#source.state;
  }

  get problem(): Problem | null {
    return this.#source.problem;
  }

  get notice(): string | null {
    return this.#source.notice;
  }

  get heard(): number | null {
    return this.#source.heard ?? null;
  }

  get history(): History | null {
    return this.#source.history ?? null;
  }

  get tape(): Tape | null {
    return this.#source.tape ?? null;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.set(listener, this.#source.subscribe(listener));
    return () => {
      this.#listeners.get(listener)?.();
      this.#listeners.delete(listener);
    };
  }

  cancel(): Promise<CancelAnswer> {
    return this.#source.cancel();
  }

  retry(): void {
    this.#source.retry();
  }
}

/** How the keys of pictures begin that are in the cell's own output, as `kernel/cell.py` gives them. */
const MIRRORED = "output-";

/** A cell's stream beside the cell's own output: without what is there. */
export class SlimSource extends ExchangeableSource {
  #whole: Snapshot | null = null;
  #slim: Snapshot | null = null;

  override get snapshot(): Snapshot {
    const whole = super.snapshot;
    if (whole === this.#whole && this.#slim) return this.#slim;
    this.#whole = whole;
    const previews = whole.previews.filter(({ key }) => !key?.startsWith(MIRRORED));
    return (this.#slim = { ...whole, previews, log: { lines: [], count: 0 }, result: null, error: null });
  }
}

const FOLD_AT = 1000; // events to hold before they are folded though nobody has asked: a hidden tab asks for nothing

/** Keeps one stream's state; the transports push into it. */
export abstract class StreamStore implements StreamSource {
  stream: string;
  state: SourceState = "connecting";
  problem: Problem | null = null;
  notice: string | null = null;
  heard: number | null = null;
  readonly tape: Tape;
  #snapshot: Snapshot;
  #pending: NumberedEvent[] = [];
  #listeners = new Set<() => void>();
  #told = false;

  constructor(stream: string, history: History | null = null) {
    this.stream = stream;
    this.tape = new Tape(history);
    this.#snapshot = emptySnapshot(stream);
  }

  abstract cancel(): Promise<CancelAnswer>;
  /** Somebody watches now, or nobody any more. */
  protected abstract watched(on: boolean): void;

  get snapshot(): Snapshot {
    if (this.#pending.length) {
      this.#snapshot = fold(this.#snapshot, this.#pending);
      this.#pending = [];
    }
    return this.#snapshot;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.watched(true);
    return () => {
      if (this.#listeners.delete(listener) && !this.#listeners.size) this.watched(false);
    };
  }

  retry(): void {
    if (this.#listeners.size) this.watched(true);
  }

  push(seq: number, event: StreamEvent | UnknownEvent): void {
    this.#pending.push([seq, event]);
    if (event.type === "audio") this.tape.push(seq, event as AudioEvent);
    this.heard = Date.now();
    if (this.#pending.length >= FOLD_AT) void this.snapshot;
    this.#changed();
  }

  /** `heard` as the server knows it, in seconds. */
  reset(snapshot: Snapshot, heard?: number, sound?: Kept): void {
    this.#pending = [];
    this.tape.reset(snapshot.seq, snapshot.audio?.last ?? 0, sound);
    this.heard = heard === undefined ? Date.now() : 1000 * heard;
    this.#snapshot = snapshot;
    this.#changed();
  }

  setState(state: SourceState, problem: Problem | null = null): void {
    if (state === this.state && problem === this.problem) return;
    this.state = state;
    this.problem = problem;
    this.#changed();
  }

  setNotice(notice: string | null): void {
    if (notice === this.notice) return;
    this.notice = notice;
    this.#changed();
  }

  #changed(): void {
    if (this.#told) return;
    this.#told = true;
    queueMicrotask(() => {
      this.#told = false;
      for (const listener of [...this.#listeners]) listener();
    });
  }
}
