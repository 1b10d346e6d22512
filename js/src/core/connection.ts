// What every transport does to stay connected: it tries again with back-off and jitter, and notices silence.

import { createParser, type EventSourceMessage } from "eventsource-parser";
import {
  TERMINAL_TYPES,
  type ConnectionEvent,
  type DeltaEvent,
  type DoneEvent,
  type HelloEvent,
  type PreviewEvent,
  type ProgressEvent,
  type StartEvent,
  type StreamEvent,
  type UnknownEvent,
} from "./events";

export type AnyEvent = StreamEvent | ConnectionEvent | UnknownEvent;
export type ConnectionState = "connecting" | "open" | "reconnecting" | "closed";

/** A frame as an `EventSource` gives it: `type` is its name, "message" if it has none. */
export interface Message {
  type: string;
  data: string;
  lastEventId: string;
}

/** Why a stream failed. `status` is HTTP's, where the server refused. */
export interface Problem {
  message: string;
  code: string;
  retryable: boolean;
  status?: number;
}

export interface ConnectionOptions {
  /** A function is asked again for each reconnect. */
  body?: string | (() => string);
  headers?: Record<string, string> | (() => Record<string, string>);
  credentials?: "omit" | "same-origin" | "include"; // Node's own types have no name for it
  lastEventId?: string;
  /** The connection carries many streams: a terminal event ends one of them, not the connection. */
  multiplexed?: boolean;
  /**
   * Milliseconds between the server's heartbeats; without a byte for 2.5 times as long, the connection is dead. `Infinity`
   * for a server that has none.
   */
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
  /** Every event, with the id of its frame ("" for none): a JSON object whose `type`, if it has none, is its frame's. */
  onEvent?: (event: AnyEvent, id: string) => void;
  /** Every frame, whatever its data: before `onEvent`, if it is an event. */
  onMessage?: (message: Message) => void;
  onState?: (state: ConnectionState) => void;
}

/** A timer that is to take longer goes off at once. */
const LONGEST_PAUSE_MS = 2 ** 31 - 1;

/** Another time there may be another answer. 424 is what JupyterHub says while the user's server does not run. */
export const mayPass = (status: number): boolean => [408, 424, 429].includes(status) || status >= 500;

/** What a `Retry-After` asks for, in ms: it has seconds or a date. */
function retryAfter(given: string): number {
  const ms = /^\s*\d/.test(given) ? 1000 * parseInt(given, 10) : Date.parse(given) - Date.now();
  return Math.max(0, ms || 0);
}

/** Null if the data is no JSON object. */
function eventOf(name: string, data: string): AnyEvent | null {
  let event: unknown;
  try {
    event = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof event !== "object" || event === null || Array.isArray(event)) return null;
  return "type" in event && typeof event.type === "string" ? (event as AnyEvent) : { ...event, type: name };
}

/** Follows events to their end, over as many connections as it takes. */
export abstract class Connection<Options extends ConnectionOptions = ConnectionOptions> {
  readonly url: string;
  /** The id to resume after. */
  lastEventId: string;
  protected readonly options: Options;
  #retryMs: number;
  #failures = 0;
  #run: AbortController | null = null; // from `connect` to `close`
  #connection: AbortController | null = null; // while there is one, or an attempt at one
  #heard = 0;
  #wake: (() => void) | null = null; // ends the pause before the next attempt
  #eager = false; // that pause is of our own making: the server did not ask for it

  constructor(url: string, options: Options) {
    this.url = url;
    this.options = options;
    this.lastEventId = options.lastEventId ?? "";
    this.#retryMs = options.retryMs ?? 1000;
  }

  /**
   * One connection, given up when the signal is aborted. The least delay before the next in ms; null when there is to be
   * none. What it throws is a network error.
   */
  protected abstract attempt(signal: AbortSignal): Promise<number | null>;

  /** Resolves when the stream has ended, was refused, or `close` was called. */
  async connect(): Promise<void> {
    if (this.#run || this.options.signal?.aborted) return;
    const run = (this.#run = new AbortController());
    const unlisten = this.#listen();
    this.#failures = 0;
    this.tell(this.options.onState, "connecting");
    try {
      while (!run.signal.aborted) {
        const delay = await this.#connect();
        if (run.signal.aborted || delay === null) break;
        this.#failures += 1;
        if (this.#failures > (this.options.maxReconnects ?? Infinity)) {
          this.fail({ message: "The connection was lost too often.", code: "connection_lost", retryable: true });
          break;
        }
        const pause = this.#pause(delay); // begun before that is told: who hears it may end it
        this.tell(this.options.onState, "reconnecting");
        await pause;
      }
    } finally {
      unlisten();
      if (this.#run === run) this.#run = null;
      if (!this.#run) this.tell(this.options.onState, "closed");
    }
  }

  close(): void {
    this.#run?.abort();
    this.#run = null;
    this.reconnect();
  }

  /** Give the present connection up, or the wait for one, and open another. */
  reconnect(): void {
    this.#connection?.abort();
    this.#wake?.();
  }

  async #connect(): Promise<number | null> {
    const connection = (this.#connection = new AbortController());
    this.#heard = Date.now();
    try {
      return await this.attempt(connection.signal);
    } catch {
      return 0; // a network error, or the connection was given up
    } finally {
      connection.abort(); // a body that nobody reads holds one of the browser's six connections
      if (this.#connection === connection) this.#connection = null;
    }
  }

  /** What is sent along with a request. */
  protected get headers(): Record<string, string> {
    const { headers } = this.options;
    return typeof headers === "function" ? headers() : { ...headers };
  }

  protected get body(): string | undefined {
    const { body } = this.options;
    return typeof body === "function" ? body() : body;
  }

  protected async fetch(url: string, init: RequestInit): Promise<Response> {
    const { credentials = "same-origin" } = this.options;
    const answer = await (this.options.fetch ?? fetch)(url, { credentials, cache: "no-store", ...init });
    init.signal?.throwIfAborted(); // it may have come just before that, or from a `fetch` that takes no signal
    return answer;
  }

  /** Takes an answer that is not what was asked for. */
  protected async refused(answer: Response, signal: AbortSignal): Promise<number | null> {
    if (mayPass(answer.status)) return retryAfter(answer.headers.get("Retry-After") ?? "");
    if (answer.ok) {
      this.fail({
        message: "The answer is not an event stream. Are you still signed in to the server?",
        code: "not_an_event_stream",
        retryable: false,
        status: answer.status,
      });
      return null;
    }
    const told = (await answer.json().catch(() => null)) as { message?: string; code?: string } | null;
    signal.throwIfAborted();
    this.fail({
      message: told?.message ?? `The server answered ${answer.status}.`,
      code: told?.code ?? `http_${answer.status}`,
      retryable: false,
      status: answer.status,
    });
    return null;
  }

  /** The connection stands. Returns what takes the text that comes over it, and says whether that was its end. */
  protected opened(signal: AbortSignal): (text: string) => boolean {
    let ended = false;
    const parser = createParser({
      onId: (id) => {
        if (!ended && !signal.aborted) this.lastEventId = id;
      },
      onEvent: (message) => {
        if (!ended && !signal.aborted) ended = this.#take(message, signal);
      },
      onRetry: (ms) => {
        this.#retryMs = ms;
      },
    });
    this.tell(this.options.onState, "open");
    return (text) => {
      this.#heard = Date.now();
      this.#failures = 0;
      parser.feed(text);
      return ended;
    };
  }

  /** True when the stream has ended. */
  #take({ id = "", event: name = "message", data }: EventSourceMessage, signal: AbortSignal): boolean {
    const options = this.options;
    this.tell(options.onMessage, { type: name, data, lastEventId: this.lastEventId });
    const event = eventOf(name, data);
    if (!event || signal.aborted) return false;
    this.tell(options.onEvent, event, id);
    if (event.type === "hello") this.tell(options.onHello, event as HelloEvent);
    else if (event.type === "start") this.tell(options.onStart, event as StartEvent);
    else if (event.type === "delta") this.tell(options.onDelta, event as DeltaEvent);
    else if (event.type === "progress") this.tell(options.onProgress, event as ProgressEvent);
    else if (event.type === "preview") this.tell(options.onPreview, event as PreviewEvent);
    if (options.multiplexed) return false;
    if (event.type === "done") this.tell(options.onComplete, event as DoneEvent);
    else if (event.type === "error") this.fail(event as unknown as Problem);
    return TERMINAL_TYPES.has(event.type);
  }

  protected fail(problem: Problem): void {
    this.tell(this.options.onError, problem);
  }

  /** A callback that throws is told on the console; the stream goes on. */
  protected tell<T extends unknown[]>(callback: ((...values: T) => void) | undefined, ...values: T): void {
    try {
      callback?.(...values);
    } catch (error) {
      console.error("jupyter-sse: a callback failed", error);
    }
  }

  /** Full jitter: clients that lost one server do not come back to it all at once. */
  #backoff(): number {
    const most = Math.max(this.options.maxRetryMs ?? 30_000, this.#retryMs);
    const first = Math.max(1, this.#retryMs); // a server that asks for no pause may be gone for hours
    return Math.random() * Math.min(most, first * 2 ** (this.#failures - 1));
  }

  /** Before the next attempt: the back-off, and at least what the server asked for, in ms. */
  async #pause(atLeast: number): Promise<void> {
    this.#eager = atLeast === 0;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(LONGEST_PAUSE_MS, Math.max(atLeast, this.#backoff())));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
  }

  // Hidden tabs get one timer a minute and a sleeping machine none, so that the timer alone is not enough: whatever
  // tells that the page is in use again has us look at once.
  #look = (): void => {
    const silence = Date.now() - this.#heard;
    if (silence > 2.5 * (this.options.heartbeatMs ?? 20_000)) this.#connection?.abort();
  };

  #return = (): void => {
    if (this.#eager) this.#wake?.();
    this.#look();
  };

  // What connection there was went through a network that has been gone since.
  #online = (): void => {
    if (this.#eager) this.#wake?.();
    this.#connection?.abort();
  };

  #listen(): () => void {
    const { heartbeatMs = 20_000, signal } = this.options;
    const close = (): void => this.close();
    signal?.addEventListener("abort", close);
    const watch = heartbeatMs < Infinity ? setInterval(this.#look, heartbeatMs / 2) : undefined;
    const page =
      typeof window === "undefined"
        ? []
        : ([[window, "online", this.#online], [window, "pageshow", this.#return], [document, "visibilitychange", this.#return]] as const);
    for (const [target, name, listener] of page) target.addEventListener(name, listener);
    return () => {
      clearInterval(watch);
      signal?.removeEventListener("abort", close);
      for (const [target, name, listener] of page) target.removeEventListener(name, listener);
    };
  }
}
