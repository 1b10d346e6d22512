// What an output of a notebook shows: its stream, from the server while it runs, from the document once it has ended.

import type { Snapshot } from "../../core/events";
import { EndedSource, ExchangeableSource, type StreamSource } from "../../core/source";
import { mount } from "../../view/mount";

export const MIME = "application/vnd.jupyter-sse.v1+json";

/** What the kernel puts into an output. */
export interface Bundle {
  stream: string;
  v: number;
  snapshot?: Snapshot;
}

export class StreamOutput {
  #el: HTMLElement;
  #live: (stream: string) => StreamSource;
  #source: ExchangeableSource | null = null;
  #unmount: () => void = () => undefined;

  /** `live` finds the streams of the server. */
  constructor(el: HTMLElement, live: (stream: string) => StreamSource) {
    this.#el = el;
    this.#live = live;
  }

  /** Show the bundle; the view of the same stream stays and goes on. Null for what is no bundle. */
  show(data: unknown): StreamSource | null {
    if (!isBundle(data)) {
      this.dispose();
      return null;
    }
    const ended = data.snapshot ? new EndedSource(data.snapshot) : null;
    if (this.#source?.stream === data.stream) {
      if (ended) this.#source.exchange(ended);
      return this.#source;
    }
    this.dispose();
    this.#source = new ExchangeableSource(ended ?? this.#live(data.stream));
    this.#unmount = mount(this.#el, { source: this.#source });
    return this.#source;
  }

  dispose(): void {
    this.#unmount();
    this.#unmount = () => undefined;
    this.#source = null;
  }
}

/** A document may have been written by anybody. */
export function isBundle(data: unknown): data is Bundle {
  const { stream, snapshot } = (data ?? {}) as Partial<Bundle>;
  if (typeof stream !== "string" || !/^[\w-]{1,64}$/.test(stream)) return false;
  return snapshot === undefined || (typeof snapshot === "object" && snapshot !== null && snapshot.stream === stream);
}
