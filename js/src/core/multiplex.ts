// All streams of a page over one connection: a browser allows six to a host over HTTP/1.1, across all its tabs.

import { mayPass } from "./connection";
import { NO_STREAMING, SSEConsumer, type AnyEvent, type ConnectionState, type Problem } from "./consumer";
import type { AudioEvent, HelloEvent, PingEvent, ResetEvent, Snapshot, StreamEvent } from "./events";
import { TERMINAL_TYPES } from "./events";
import type { History } from "./history";
import { Listing, type ListedEvent } from "./listing";
import { xsrfHeader } from "./page";
import { takeSlot } from "./slots";
import { NO_WEBSOCKET, SocketConsumer } from "./socket";
import { StreamStore, type CancelAnswer, type StreamSource } from "./source";
import type { Told } from "./tape";

/** Where the server is and how a page proves that it may ask. */
export interface ServerConfig {
  /** The server's root, ending in a slash. */
  baseUrl: string;
  token: string;
  /** The page shows streams in outputs by itself: kernels need send it no widget. */
  outputs?: boolean;
}

/** Failures after which the kernel itself is asked: this server does not have the stream, or not this extension. */
export const ELSEWHERE: ReadonlySet<string> = new Set(["not_found", "http_404", "http_405", "not_an_event_stream"]);

/** Whether this source has failed in such a way. */
export function isElsewhere(source: StreamSource): boolean {
  return source.state === "failed" && ELSEWHERE.has(source.problem?.code ?? "");
}

const GATHER_MS = 5; // streams that appear together are asked for together
const IDLE_MS = 1000; // how long the connection stays open when nobody watches
const FIRST_BYTE_MS = 3000; // after which a WebSocket is tried: a proxy buffers, or the browser has no connection left
const AUDIO_PAGE = 1 << 20; // characters of base64 that are read at a time
const ANSWER_MS = 15_000; // how long an answer to a request is waited for

/** The page's connection to a server; every copy of this module on the page shares it. */
export function multiplexOf(config: ServerConfig): Multiplex {
  const key = Symbol.for("jupyter-sse");
  const shared = globalThis as { [key]?: Map<string, Multiplex> };
  const known = (shared[key] ??= new Map());
  let multiplex = known.get(config.baseUrl);
  if (!multiplex) known.set(config.baseUrl, (multiplex = new Multiplex(config)));
  return multiplex;
}

class ServerStore extends StreamStore {
  readonly history: History;

  constructor(
    stream: string,
    readonly multiplex: Multiplex,
  ) {
    const history = multiplex.history(stream);
    super(stream, history);
    this.history = history;
  }

  protected watched(on: boolean): void {
    if (on) this.multiplex.follow(this);
    else this.multiplex.leave(this);
  }

  cancel(): Promise<CancelAnswer> {
    return this.multiplex.cancel(this.stream);
  }

  /** The cursor to ask for: -1 for a snapshot, as long as nothing has come. */
  get after(): number {
    return this.snapshot.seq || -1;
  }
}

export class Multiplex {
  readonly config: ServerConfig;
  readonly listing = new Listing((on) => this.#list(on));
  #stores = new Map<string, ServerStore>();
  #following = new Map<string, ServerStore>();
  #consumer: SSEConsumer | SocketConsumer | null = null;
  #connection: string | null = null; // its id, once it has been greeted
  #sockets = typeof WebSocket !== "undefined"; // until it turns out that they do not get through
  #streams = true; // until it turns out that answers do not arrive while they are sent
  #asked = new Set<string>(); // what the server knows that we follow, on the present connection
  #listed = false; // and whether it tells us the list
  #gather: ReturnType<typeof setTimeout> | undefined;
  #notice: string | null = null; // what all who watch should know of the server
  #settling = Promise.resolve(); // one change at a time: an `add` must not overtake the `remove` before it

  constructor(config: ServerConfig) {
    this.config = config;
  }

  source(stream: string): StreamStore {
    let store = this.#stores.get(stream);
    if (!store) this.#stores.set(stream, (store = new ServerStore(stream, this)));
    store.setNotice(this.#notice);
    return store;
  }

  follow(store: ServerStore): void {
    if (store.snapshot.status !== "running") return;
    this.#following.set(store.stream, store);
    if (store.state === "failed") store.setState("connecting");
    this.#settleSoon();
  }

  leave(store: ServerStore): void {
    this.#following.delete(store.stream);
    if (store.snapshot.status !== "running") this.#stores.delete(store.stream);
    this.#settleSoon();
  }

  async cancel(stream: string): Promise<CancelAnswer> {
    try {
      const answer = await this.#post(`streams/${stream}/cancel`);
      const told = (await answer.json()) as CancelAnswer;
      return answer.ok ? told : { via: "failed", message: told.message };
    } catch {
      return { via: "failed", message: "The server could not be reached. Try again." };
    }
  }

  /** Have the server's model answer into a stream. Rejects with a `Problem`. */
  ask(question: unknown): Promise<unknown> {
    return this.#told(this.#post("chat", question));
  }

  /** The models that the server can ask. Rejects with a `Problem`. */
  models(): Promise<{ models: string[]; default: string | null }> {
    return this.#told(this.#request("GET", "models"));
  }

  /** A chat as the data of an output. Rejects with a `Problem`. */
  chatOutput(chat: unknown): Promise<Record<string, unknown>> {
    return this.#told(this.#post("chat/output", chat));
  }

  /** A stream's log, as far as the server has it. */
  history(stream: string): History {
    const log = (query: string): string => `streams/${stream}/log?${query}`;
    return {
      lines: (before, limit) => this.#told(this.#request("GET", log(`before=${before}&limit=${limit}`))),
      find: (text, after) => this.#told(this.#request("GET", log(`q=${encodeURIComponent(text)}&after=${after}`))),
      audio: (after, last) => this.#audio(stream, after, last),
    };
  }

  /** Over a connection of its own, which is closed before the server has sent much. */
  async #audio(stream: string, after: number, last: number): Promise<Told> {
    const told: Told = { chunks: [], seq: after };
    let size = 0;
    let problem: Problem | null = null;
    const consumer = new SSEConsumer(`${this.config.baseUrl}jupyter-sse/streams/${stream}/events`, {
      headers: () => this.#headers(),
      lastEventId: String(after),
      maxReconnects: 3,
      firstByteMs: ANSWER_MS,
      onError: (failure) => {
        if (failure.status !== undefined || failure.code === "connection_lost" || failure.code === NO_STREAMING) problem = failure;
      },
      onEvent: (event, id) => {
        if (!id) return;
        const seq = event.type === "reset" ? (event as ResetEvent).seq : Number(id);
        told.seq = Math.min(seq, last);
        if (event.type === "reset") told.missed = true;
        if (event.type === "audio" && seq <= last) {
          told.chunks.push([seq, event as AudioEvent]);
          size += (event as AudioEvent).data.length;
        }
        if (seq >= last || size >= AUDIO_PAGE || told.missed) consumer.close();
      },
    });
    await consumer.connect();
    if (problem && !told.chunks.length) throw problem as Problem;
    if (told.seq === after) told.seq = last; // it has ended before
    return told;
  }

  /** Have the server forget a stream; false if it could not be done. */
  async forget(stream: string): Promise<boolean> {
    return this.#request("DELETE", `streams/${stream}`).then(
      ({ ok, status }) => ok || status === 404 || status === 410,
      () => false,
    );
  }

  get #outputs(): { outputs?: true } {
    return this.config.outputs ? { outputs: true } : {};
  }

  #list(on: boolean): void {
    if (on && this.listing.state === "failed") this.listing.setState("connecting");
    this.#settleSoon();
  }

  get #isWanted(): boolean {
    return this.#following.size > 0 || (this.listing.isWatched && this.listing.state !== "failed");
  }

  #settleSoon(): void {
    clearTimeout(this.#gather);
    this.#gather = setTimeout(
      () => (this.#settling = this.#settling.then(() => this.#settle())),
      this.#isWanted ? GATHER_MS : IDLE_MS,
    );
  }

  /** Bring what the server sends in line with what is followed. */
  async #settle(): Promise<void> {
    if (!this.#isWanted) {
      this.#close();
      return;
    }
    const consumer = this.#consumer;
    if (!consumer) {
      await this.#open();
      return;
    }
    const connection = this.#connection;
    if (connection === null) return; // settled again when hello comes
    const add: Record<string, number> = {};
    for (const [stream, store] of this.#following) if (!this.#asked.has(stream)) add[stream] = store.after;
    const remove = [...this.#asked].filter((stream) => !this.#following.has(stream));
    const list = this.listing.isWatched === this.#listed ? {} : { list: (this.#listed = this.listing.isWatched) };
    if (!Object.keys(add).length && !remove.length && list.list === undefined) return;
    for (const stream of Object.keys(add)) this.#asked.add(stream);
    for (const stream of remove) this.#asked.delete(stream);
    const change = { add, remove, ...list, ...this.#outputs };
    const taken =
      consumer instanceof SocketConsumer
        ? consumer.send(JSON.stringify(change))
        : await this.#post(`events/${connection}`, change, this.#sockets ? FIRST_BYTE_MS : ANSWER_MS).then(
            (answer) => answer.ok,
            () => false,
          );
    // A new connection asks for everything that is followed.
    if (!taken && this.#connection === connection) consumer.reconnect();
  }

  // The transport is chosen when a connection is opened and kept until nobody watches any more, or it proves impossible: a
  // WebSocket that works has nothing to gain from a place that another tab has left.
  async #open(): Promise<void> {
    const giveBack = this.#streams || !this.#sockets ? await takeSlot() : null;
    const options = {
      multiplexed: true,
      headers: () => this.#headers(),
      // Nothing is asked for before hello has come: alone it is too small to get through a proxy that buffers, and with the
      // list or a long stream behind it would.
      body: () => {
        this.#connection = null;
        this.#asked.clear();
        this.#listed = false;
        return "{}";
      },
      onHello: (hello: HelloEvent) => {
        this.#connection = hello.connection ?? ""; // a WebSocket needs none
        this.#settleSoon();
      },
      onEvent: (event: AnyEvent, id: string) => this.#take(event, id),
      onState: (state: ConnectionState) => {
        if (state === "closed") return;
        if (state === "reconnecting") this.#connection = null;
        for (const store of [...this.#following.values(), this.listing]) store.setState(state);
      },
      onError: (problem: Problem) => {
        if (problem.code === NO_WEBSOCKET) this.#sockets = false;
        else if (problem.code === NO_STREAMING && this.#sockets) this.#streams = false;
        else this.#failed(problem);
      },
    };
    const root = `${this.config.baseUrl}jupyter-sse/`;
    const consumer =
      giveBack || !this.#sockets
        ? new SSEConsumer(`${root}events`, { ...options, method: "POST", ...(this.#sockets ? { firstByteMs: FIRST_BYTE_MS } : {}) })
        : new SocketConsumer(`${root}socket${this.#query()}`, options);
    this.#consumer = consumer;
    void consumer.connect().finally(() => {
      giveBack?.();
      if (this.#consumer !== consumer) return;
      this.#consumer = null;
      this.#connection = null;
      if (this.#isWanted) this.#settleSoon();
    });
  }

  #close(): void {
    const consumer = this.#consumer;
    this.#consumer = null;
    this.#connection = null;
    this.#asked.clear();
    consumer?.close();
  }

  #failed(problem: Problem): void {
    const stores = [...this.#following.values(), this.listing];
    this.#following.clear();
    for (const store of stores) store.setState("failed", problem);
  }

  #take(event: AnyEvent, id: string): void {
    if (event.type === "hello" || event.type === "ping") this.#noted((event as PingEvent).notice ?? null);
    if (event.type === "listed" && !id) {
      this.listing.take(event as unknown as ListedEvent);
      return;
    }
    const colon = id.lastIndexOf(":");
    if (colon < 0) return;
    const store = this.#following.get(id.slice(0, colon));
    if (!store) return;
    const seq = Number(id.slice(colon + 1));
    if (event.type === "reset") {
      const { snapshot, ts } = event as ResetEvent;
      store.reset(snapshot as Snapshot, ts);
    } else if (seq > 0) {
      store.push(seq, event as StreamEvent);
    } else {
      this.#following.delete(store.stream);
      this.#asked.delete(store.stream);
      store.setState("failed", event as unknown as Problem);
      return;
    }
    store.setState("open");
    if (TERMINAL_TYPES.has(event.type) || (event.type === "reset" && store.snapshot.status !== "running")) {
      this.#following.delete(store.stream);
      this.#asked.delete(store.stream);
      this.#settleSoon();
    }
  }

  #noted(notice: string | null): void {
    this.#notice = notice;
    for (const store of this.#stores.values()) store.setNotice(notice);
  }

  /** A WebSocket has no headers, only the cookie, which a page of another host does not have. */
  #query(): string {
    const { token, baseUrl } = this.config;
    const here = typeof location === "undefined" || new URL(baseUrl).host === location.host;
    return token && !here ? `?token=${encodeURIComponent(token)}` : "";
  }

  #headers(): Record<string, string> {
    const headers: Record<string, string> = { "Content-Type": "application/json" };
    if (this.config.token) headers["Authorization"] = `token ${this.config.token}`;
    return { ...headers, ...xsrfHeader() };
  }

  /** What the server answered; a `Problem` is thrown if it refused, or cannot be reached. */
  async #told<T>(asked: Promise<Response>): Promise<T> {
    const answer = await asked.catch(() => {
      const problem: Problem = { message: "The server could not be reached.", code: "unreachable", retryable: true };
      throw problem;
    });
    const told = (await answer.json().catch(() => null)) as (T & { message?: string; code?: string }) | null;
    if (answer.ok && told !== null) return told;
    const after = Number(answer.headers.get("Retry-After"));
    const wait = after > 0 ? ` Try again in ${after} s.` : "";
    const problem: Problem = {
      message: (told?.message ?? `The server answered ${answer.status}.`) + wait,
      code: told?.code ?? `http_${answer.status}`,
      retryable: mayPass(answer.status),
      status: answer.status,
    };
    throw problem;
  }

  #post(path: string, body: unknown = {}, ms = ANSWER_MS): Promise<Response> {
    return this.#request("POST", path, JSON.stringify(body), ms);
  }

  #request(method: string, path: string, body: string | null = null, ms = ANSWER_MS): Promise<Response> {
    return fetch(`${this.config.baseUrl}jupyter-sse/${path}`, {
      method,
      headers: this.#headers(),
      credentials: "same-origin",
      body,
      signal: AbortSignal.timeout(ms),
    });
  }
}
