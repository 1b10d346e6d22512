// One stream by its address: no page of Jupyter's is needed, nor a server of ours.

import type { AnyEvent } from "./connection";
import { SSEConsumer, type SSEConsumerOptions } from "./consumer";
import type { DoneEvent, HelloEvent, ResetEvent, Snapshot, StreamEvent } from "./events";
import { absolute, isHere, xsrfHeader } from "./page";
import { StreamStore, type CancelAnswer } from "./source";
import { emptySnapshot } from "./state";

type Connecting = "method" | "body" | "headers" | "credentials" | "lastEventId" | "resume" | "fetch";
type Patience = "heartbeatMs" | "retryMs" | "maxRetryMs" | "maxReconnects";
type Callbacks = "onEvent" | "onMessage" | "onComplete" | "onError";

const ANSWER_MS = 15_000; // how long an answer to a request is waited for

/** Those of an `SSEConsumer` that leave something to say beside the state. */
export type URLSourceOptions = Pick<SSEConsumerOptions, Connecting | Patience | Callbacks>;

/** Follows one stream while somebody watches: the state for a view, over a connection of its own. */
export class URLSource extends StreamStore {
  readonly url: string;
  /** Callbacks may be exchanged at any time; the rest counts from the next connection on. */
  options: URLSourceOptions;
  #consumer: SSEConsumer | null = null;
  #isWatched = false;
  #lastEventId: string;
  #seq = 0; // our own count: others' servers number as they like, or do not

  constructor(url: string, options: URLSourceOptions = {}) {
    super(/\/jupyter-sse\/streams\/([^/?#]+)/.exec(url)?.[1] ?? "");
    this.url = url;
    this.options = options;
    this.#lastEventId = options.lastEventId ?? "";
  }

  protected watched(on: boolean): void {
    this.#isWatched = on;
    // Who leaves may be back at once, as React's StrictMode has it: for that no connection is made and no question asked twice.
    queueMicrotask(() => {
      if (!this.#isWatched) this.#close();
      else if (!this.#consumer && this.snapshot.status === "running") this.#open();
    });
  }

  /** After a failure: go on after what there is. After the end: from the beginning. */
  override retry(): void {
    this.#close();
    if (this.snapshot.status !== "running") this.#begin();
    this.setState("connecting");
    super.retry();
  }

  /** Have the producer stop. A server that knows no cancelling is told by our leaving. */
  async cancel(): Promise<CancelAnswer> {
    if (this.snapshot.status !== "running") return { via: "ended", message: "It has ended already." };
    const url = this.#cancelURL();
    if (url) {
      try {
        const answer = await this.#post(url);
        if (answer.ok) return (await answer.json()) as CancelAnswer;
        if (answer.status !== 404 && answer.status !== 405) {
          const told = (await answer.json().catch(() => ({}))) as { message?: string };
          return { via: "failed", message: told.message ?? `The server answered ${answer.status}.` };
        }
      } catch {
        return { via: "failed", message: "The server could not be reached. Try again." };
      }
    }
    this.#close();
    this.#take({ type: "done", reason: "cancelled", ts: Date.now() / 1000 });
    return { via: "producer", message: "The connection was closed." };
  }

  #cancelURL(): URL | null {
    const root = /^.*\/jupyter-sse\//.exec(absolute(this.url).pathname)?.[0];
    return root && this.stream ? this.#onServer(`${root}streams/${this.stream}/cancel`) : null;
  }

  /** An address on the stream's server, with the token that is in the stream's own. */
  #onServer(path: string): URL {
    const own = absolute(this.url);
    const url = new URL(path, own);
    const token = own.searchParams.get("token");
    if (token && url.origin === own.origin) url.searchParams.set("token", token);
    return url;
  }

  /** A server names what it keeps by a path; the page that loads it may be another server's. */
  #located<T>(media: T): T {
    const { url } = (media ?? {}) as { url?: unknown };
    return typeof url === "string" && /^\/[^/\\]/.test(url) ? { ...media, url: this.#onServer(url).href } : media;
  }

  #post(url: URL): Promise<Response> {
    const { headers, credentials = "same-origin", fetch: send = fetch } = this.options;
    return send(url.href, {
      method: "POST",
      credentials,
      signal: AbortSignal.timeout(ANSWER_MS),
      headers: { ...(isHere(url) && xsrfHeader()), ...(typeof headers === "function" ? headers() : headers) },
    });
  }

  #begin(stream = this.stream): void {
    this.stream = stream;
    this.#lastEventId = "";
    this.#reset(emptySnapshot(stream));
  }

  #reset(snapshot: Snapshot, heard?: number): void {
    this.#seq = snapshot.seq;
    this.reset(snapshot, heard);
  }

  #open(): void {
    const consumer: SSEConsumer = new SSEConsumer(this.url, {
      ...this.options,
      lastEventId: this.#lastEventId,
      onEvent: (event, id) => {
        this.#take(event);
        this.options.onEvent?.(event, id);
      },
      onMessage: (message) => this.options.onMessage?.(message),
      onComplete: (event) => this.options.onComplete?.(event),
      onError: (problem) => {
        if (this.snapshot.status === "running") this.setState("failed", problem);
        this.options.onError?.(problem);
      },
      onState: (state) => {
        // Without an id to go on after, the server begins again.
        if (state === "open" && !consumer.lastEventId && this.#seq) this.#begin();
        if (state !== "closed") this.setState(state);
      },
    });
    this.#consumer = consumer;
    void consumer.connect().finally(() => {
      if (this.#consumer !== consumer) return;
      this.#close();
      // 204: there is no more to tell.
      if (this.state !== "failed" && this.snapshot.status === "running") this.#take({ type: "done", reason: "closed" });
    });
  }

  #close(): void {
    const consumer = this.#consumer;
    this.#consumer = null;
    if (!consumer) return;
    this.#lastEventId = consumer.lastEventId;
    consumer.close();
  }

  #take(event: AnyEvent): void {
    if (event.type === "hello") {
      const { stream } = event as HelloEvent;
      if (stream && stream !== this.stream) this.#begin(stream);
    } else if (event.type === "reset") {
      const { snapshot, ts } = event as ResetEvent & { snapshot: Snapshot };
      const { previews, result } = snapshot;
      this.#reset({ ...snapshot, previews: previews.map((one) => this.#located(one)), result: this.#located(result) }, ts);
    } else if (event.type !== "ping") {
      const { result } = event as DoneEvent;
      const located = event.type === "done" && result ? { ...event, result: this.#located(result) } : this.#located(event);
      this.push((this.#seq += 1), located as StreamEvent);
    }
  }
}
