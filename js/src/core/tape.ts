// The sound of a stream by its chunks: the newest ones, as they came, and those before, which the server has in its log.

import type { AudioEvent } from "./events";
import type { History } from "./history";

export type Chunk = readonly [seq: number, event: AudioEvent];

export interface Told {
  chunks: Chunk[];
  /** Up to this event there are no others. */
  seq: number;
  /** Some between are nowhere any more. */
  missed?: boolean;
}

/** Chunks that are there still: all behind one event. */
export interface Kept {
  from: number;
  chunks: Chunk[];
}

/** Characters of base64 that are kept: more where no server has the others. */
const KEPT = 8 << 20;
const KEPT_BESIDE_SERVER = 1 << 20;

export class Tape {
  #history: History | null;
  #tail: Chunk[] = [];
  #size = 0;
  #last = 0; // the newest that is here
  #from: number; // all that came after this event is here

  constructor(history: History | null, from = 0) {
    this.#history = history;
    this.#from = from;
  }

  push(seq: number, event: AudioEvent): void {
    if (seq <= this.#last) return;
    this.#last = seq;
    this.#tail.push([seq, event]);
    this.#size += event.data.length;
    const room = this.#history ? KEPT_BESIDE_SERVER : KEPT;
    while (this.#size > room && this.#tail.length > 1) {
      const [old, { data }] = this.#tail.shift() as Chunk;
      this.#size -= data.length;
      this.#from = old;
    }
  }

  /** The state after this event has come, with sound up to `last`; all of it after `kept.from` may have come with it. */
  reset(seq: number, last: number, kept: Kept = { from: seq, chunks: [] }): void {
    if (last <= this.#last) return;
    if (kept.from > this.#last) {
      this.#tail = [];
      this.#size = 0;
      this.#from = kept.from;
    }
    for (const chunk of kept.chunks) this.push(...chunk);
  }

  /** Chunks behind one event, up to another; not necessarily all. Rejects with a `Problem`. */
  async after(seq: number, last: number): Promise<Told> {
    const from = Math.min(this.#from, last);
    if (seq < from && this.#history) return this.#history.audio(seq, from);
    const chunks = this.#tail.filter(([own]) => own > seq && own <= last);
    return { chunks, seq: last, missed: seq < from };
  }
}
