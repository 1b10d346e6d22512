// An event stream read with fetch: what EventSource does, and POST, headers, back-off with jitter, and liveness.

import { createParser, type EventSourceMessage } from "eventsource-parser";
import {
  TERMINAL_TYPES,
  type DeltaEvent,
  type DoneEvent,
  type HelloEvent,
  type PreviewEvent,
  type ProgressEvent,
  type StartEvent,
  type StreamEvent,
  type ConnectionEvent,
  type UnknownEvent,
} from "./events";

export type AnyEvent = StreamEvent | ConnectionEvent | UnknownEvent;
export type ConnectionState = "connecting" | "open" | "reconnecting" | "closed";

/** Why a stream failed. `status` is HTTP's, where the server refused. */
export interface Problem {
  message: string;
  code: string;
  retryable: boolean;
  status?: number;
}

export interface SSEConsumerOptions {
  method?: "GET" | "POST";
  /** A function is asked again for each reconnect. */
  body?: string | (() => string);
  headers?: Record<string, string> | (() => Record<string, string>);
  credentials?: RequestCredentials;
  lastEventId?: string;
  /** The connection carries many streams: a terminal event ends one of them, not the connection. */
  multiplexed?: boolean;
  /** Milliseconds between the server's heartbeats; without a byte for 2.5 times as long, the connection is dead. */
  heartbeatMs?: number;
  /** The first delay before a reconnect, until the server says otherwise (`retry:`); it doubles up to `maxRetryMs`. */
  retryMs?: number;
  maxRetryMs?: number;
  /** In a row, without a byte between them. */
  maxReconnects?: number;
  signal?: AbortSignal;
  fetch?: typeof fetch;
  onHello?: (event: HelloEvent) => void;
  onStart?: (event: StartEvent) => void;
  onDelta?: (event: DeltaEvent) => void;
  onProgress?: (event: ProgressEvent) => void;
  onPreview?: (event: PreviewEvent) => void;
  onComplete?: (event: DoneEvent) => void;
  /** The stream's `error` event, or a refusal that trying again cannot mend. */
  onError?: (problem: Problem) => void;
  /** Every event, with the id of its frame ("" for none). */
  onEvent?: (event: AnyEvent, id: string) => void;
  onState?: (state: ConnectionState) => void;
}

const RETRIED = (status: number): boolean => status === 408 || status === 429 || status >= 500;

/** Follows an event stream to its end, over as many connections as it takes. */
export class SSEConsumer {
  readonly url: string;
  /** The id to resume after. */
  lastEventId: string;
  #options: SSEConsumerOptions;
  #retryMs: number;
  #failures = 0;
  #running = false;
  #abort: AbortController | null = null;
  #heard = 0;
  #wake: (() => void) | null = null;
  #watch: ReturnType<typeof setInterval> | undefined;

  constructor(url: string, options: SSEConsumerOptions = {}) {
    this.url = url;
    this.#options = options;
    this.lastEventId = options.lastEventId ?? "";
    this.#retryMs = options.retryMs ?? 1000;
    options.signal?.addEventListener("abort", () => this.close(), { once: true });
  }

  /** Resolves when the stream has ended, was refused, or `close` was called. */
  async connect(): Promise<void> {
    if (this.#running || this.#options.signal?.aborted) return;
    this.#running = true;
    this.#listen(true);
    this.#state("connecting");
    try {
      while (this.#running) {
        const delay = await this.#attempt();
        if (!this.#running || delay === null) break;
        this.#failures += 1;
        if (this.#failures > (this.#options.maxReconnects ?? Infinity)) {
          this.#fail({ message: "The connection was lost too often.", code: "connection_lost", retryable: true });
          break;
        }
        this.#state("reconnecting");
        await this.#pause(Math.max(delay, this.#backoff()));
      }
    } finally {
      this.#running = false;
      this.#listen(false);
      this.#state("closed");
    }
  }

  close(): void {
    this.#running = false;
    this.#abort?.abort();
    this.#wake?.();
  }

  /** Give the present connection up and open another one at once. */
  reconnect(): void {
    this.#failures = 0;
    this.#abort?.abort();
    this.#wake?.();
  }

  /** One connection. The least delay before the next in ms; null when there is to be none. */
  async #attempt(): Promise<number | null> {
    const { method = "GET", body, headers, credentials = "same-origin" } = this.#options;
    this.#abort = new AbortController();
    this.#heard = Date.now();
    const sent: Record<string, string> = {
      Accept: "text/event-stream",
      ...(typeof headers === "function" ? headers() : headers),
    };
    if (this.lastEventId && !this.#options.multiplexed) sent["Last-Event-ID"] = this.lastEventId;
    try {
      const answer = await (this.#options.fetch ?? fetch)(this.url, {
        method,
        headers: sent,
        credentials,
        cache: "no-store",
        signal: this.#abort.signal,
        ...(body === undefined ? {} : { body: typeof body === "function" ? body() : body }),
      });
      if (answer.status === 204) return null;
      if (!answer.ok) return await this.#refused(answer);
      return await this.#read(answer);
    } catch {
      return 0; // a network error, or `close` or `reconnect` was called
    }
  }

  async #refused(answer: Response): Promise<number | null> {
    if (RETRIED(answer.status)) {
      const seconds = Number(answer.headers.get("Retry-After"));
      return Number.isFinite(seconds) ? seconds * 1000 : 0;
    }
    const told = (await answer.json().catch(() => ({}))) as { message?: string; code?: string };
    this.#fail({
      message: told.message ?? `The server answered ${answer.status}.`,
      code: told.code ?? `http_${answer.status}`,
      retryable: false,
      status: answer.status,
    });
    return null;
  }

  async #read(answer: Response): Promise<number | null> {
    if (!answer.body) return 0;
    let ended = false;
    const parser = createParser({
      onEvent: (message) => {
        ended = this.#take(message) || ended;
      },
      onRetry: (ms) => {
        this.#retryMs = ms;
      },
    });
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    this.#state("open");
    while (this.#running) {
      const { done, value } = await reader.read();
      if (done) break;
      this.#heard = Date.now();
      this.#failures = 0;
      parser.feed(decoder.decode(value, { stream: true }));
      if (ended) {
        this.#abort?.abort();
        return null;
      }
    }
    return 0;
  }

  /** True when the stream has ended. */
  #take(message: EventSourceMessage): boolean {
    let event: AnyEvent;
    try {
      event = JSON.parse(message.data) as AnyEvent;
    } catch {
      return false;
    }
    const id = message.id ?? "";
    if (id) this.lastEventId = id;
    const options = this.#options;
    options.onEvent?.(event, id);
    if (event.type === "hello") options.onHello?.(event as HelloEvent);
    else if (event.type === "start") options.onStart?.(event as StartEvent);
    else if (event.type === "delta") options.onDelta?.(event as DeltaEvent);
    else if (event.type === "progress") options.onProgress?.(event as ProgressEvent);
    else if (event.type === "preview") options.onPreview?.(event as PreviewEvent);
    if (options.multiplexed) return false;
    if (event.type === "done") options.onComplete?.(event as DoneEvent);
    else if (event.type === "error") this.#fail(event as unknown as Problem);
    return TERMINAL_TYPES.has(event.type);
  }

  #fail(problem: Problem): void {
    this.#options.onError?.(problem);
  }

  #state(state: ConnectionState): void {
    this.#options.onState?.(state);
  }

  /** Full jitter: clients that lost one server do not come back to it all at once. */
  #backoff(): number {
    const ceiling = Math.min(this.#options.maxRetryMs ?? 30_000, this.#retryMs * 2 ** (this.#failures - 1));
    return Math.random() * ceiling;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  // Hidden tabs get one timer a minute and a sleeping machine none, so that the timer alone is not enough: whatever
  // tells that the page is in use again has us look at once.
  #look = (): void => {
    const silence = Date.now() - this.#heard;
    if (silence > 2.5 * (this.#options.heartbeatMs ?? 20_000)) this.reconnect();
  };

  #online = (): void => {
    this.#wake?.();
    this.#look();
  };

  #listen(on: boolean): void {
    clearInterval(this.#watch);
    if (on) this.#watch = setInterval(this.#look, (this.#options.heartbeatMs ?? 20_000) / 2);
    if (typeof window === "undefined") return;
    const change = (on ? window.addEventListener : window.removeEventListener).bind(window);
    change("online", this.#online);
    change("pageshow", this.#look);
    const changeDocument = (on ? document.addEventListener : document.removeEventListener).bind(document);
    changeDocument("visibilitychange", this.#look);
  }
}
