// The sound of a stream as bytes, in the order in which it is to be played.

import type { AnyEvent } from "./connection";
import { SSEConsumer, type SSEConsumerOptions } from "./consumer";
import { TERMINAL_TYPES, type AudioEvent } from "./events";

/** `n` counts from 0. */
export interface AudioChunk {
  n: number;
  mime: string;
  data: Uint8Array<ArrayBuffer>;
}

export interface AudioStreamConsumerOptions extends SSEConsumerOptions {
  onChunk?: (chunk: AudioChunk) => void;
}

const AHEAD = 64; // chunks that may wait for one before them: by then it is lost

/** An `SSEConsumer` that hands out the chunks of sound, each once and in order, whatever the order in which they came. */
export class AudioStreamConsumer extends SSEConsumer {
  onChunk: ((chunk: AudioChunk) => void) | undefined;
  #next: number | null; // null: whichever comes, because what was before is not told any more
  #waiting = new Map<number, AudioEvent>();

  constructor(url: string, { onChunk, ...options }: AudioStreamConsumerOptions = {}) {
    super(url, {
      ...options,
      onEvent: (event, id) => {
        this.#take(event);
        options.onEvent?.(event, id);
      },
    });
    this.onChunk = onChunk;
    this.#next = this.lastEventId ? null : 0;
  }

  #take(event: AnyEvent): void {
    if (event.type === "audio") {
      const chunk = event as AudioEvent;
      if (chunk.n < (this.#next ??= chunk.n)) return;
      this.#waiting.set(chunk.n, chunk);
      while (this.#waiting.has(this.#next)) this.#give(this.#next);
      if (this.#waiting.size > AHEAD) this.#giveAll();
    } else if (event.type === "reset") {
      this.#giveAll();
      this.#next = null;
    } else if (TERMINAL_TYPES.has(event.type)) {
      this.#giveAll();
    }
  }

  #give(n: number): void {
    const { mime, data } = this.#waiting.get(n) as AudioEvent;
    this.#waiting.delete(n);
    this.#next = n + 1;
    this.tell(this.onChunk, { n, mime, data: Uint8Array.from(atob(data), (byte) => byte.charCodeAt(0)) });
  }

  #giveAll(): void {
    for (const n of [...this.#waiting.keys()].sort((a, b) => a - b)) this.#give(n);
  }
}
