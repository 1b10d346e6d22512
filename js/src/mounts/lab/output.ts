// What an output of a notebook shows: its stream, from the server while it runs, from the document once it has ended.

import type { Snapshot } from "../../core/events";
import type { History } from "../../core/history";
import { EndedSource, ExchangeableSource, SlimSource, type StreamSource } from "../../core/source";
import { mount } from "../../view/mount";

export const MIME = "application/vnd.jupyter-sse.v1+json";

/** What the kernel puts into an output. */
export interface Bundle {
  stream: string;
  v: number;
  /** It stands beside the cell's own output, which says the rest. */
  slim?: boolean;
  snapshot?: Snapshot;
}

export class StreamOutput {
  #el: HTMLElement;
  #live: (stream: string) => StreamSource;
  #history: (stream: string) => History | null;
  #source: ExchangeableSource | null = null;
  #slim = false;
  #unmount: () => void = () => undefined;

  /** `live` finds the streams of the server, `history` what it still has of one that has ended. */
  constructor(el: HTMLElement, live: (stream: string) => StreamSource, history: (stream: string) => History | null = () => null) {
    this.#el = el;
    this.#live = live;
    this.#history = history;
  }

  /** Show the bundle; the view of the same stream stays and goes on. Null for what is no bundle. */
  show(data: unknown): StreamSource | null {
    if (!isBundle(data)) {
      this.dispose();
      return null;
    }
    const slim = data.slim === true;
    const ended = data.snapshot ? new EndedSource(data.snapshot, slim ? null : this.#history(data.stream)) : null;
    const live = (): StreamSource => (slim ? new SlimSource(this.#live(data.stream)) : this.#live(data.stream));
    if (this.#source?.stream === data.stream) {
      if (ended || slim !== this.#slim) this.#source.exchange(ended ?? live());
      this.#slim = slim;
      return this.#source;
    }
    this.dispose();
    this.#slim = slim;
    this.#source = new ExchangeableSource(ended ?? live());
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
