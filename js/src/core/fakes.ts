// What a browser has and the tests need under their control.

import { StreamStore, type CancelAnswer } from "./source";

type Granted = (lock: Lock | null) => unknown;

/** Web Locks of one browser, asked with `ifAvailable`. */
export class FakeLocks {
  readonly held = new Set<string>();

  async request(name: string, options: { ifAvailable: true }, granted: Granted): Promise<unknown> {
    if (!options.ifAvailable) throw new Error("would wait");
    await Promise.resolve(); // never at once
    if (this.held.has(name)) return granted(null);
    this.held.add(name);
    try {
      return await granted({ name, mode: "exclusive" });
    } finally {
      this.held.delete(name);
    }
  }
}

/** Each test is in a browser of its own. */
export function newBrowser(): FakeLocks {
  const locks = new FakeLocks();
  Object.defineProperty(globalThis.navigator, "locks", { value: locks, configurable: true });
  return locks;
}

/** A WebSocket whose other end is the test. */
export class FakeSocket {
  static readonly OPEN = 1;
  static made: FakeSocket[] = [];
  /** What a new one does by itself. */
  static born: (socket: FakeSocket) => void = () => undefined;

  static get last(): FakeSocket {
    const last = FakeSocket.made.at(-1);
    if (!last) throw new Error("no WebSocket was made");
    return last;
  }

  readyState = 0;
  readonly sent: unknown[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  constructor(readonly url: string) {
    FakeSocket.made.push(this);
    queueMicrotask(() => FakeSocket.born(this));
  }

  send(message: string): void {
    this.sent.push(JSON.parse(message));
  }

  /** The page closes it: a server that is gone never confirms that. */
  close(): void {
    this.readyState = 2;
  }

  /** The handshake succeeds. */
  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  tell(type: string, fields: object, id = ""): void {
    this.onmessage?.({ data: `${id && `id: ${id}\n`}event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n` });
  }

  /** The connection ends, or the handshake fails. */
  end(code = 1006, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

/** Have pages make these, from now on. */
export function fakeSockets(born: (socket: FakeSocket) => void = (socket) => socket.open()): void {
  FakeSocket.made = [];
  FakeSocket.born = born;
  globalThis.WebSocket = FakeSocket as unknown as typeof WebSocket;
}

export type Part = string | Uint8Array | "hang" | "cut";

export type Answer = (signal: AbortSignal) => Response;

/** An answer whose body comes in these parts. */
export function answer(parts: Part[], init: ResponseInit = {}): Answer {
  return (signal) => {
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        signal.addEventListener("abort", () => {
          try {
            controller.error(new DOMException("aborted", "AbortError"));
          } catch {
            // already closed
          }
        });
      },
      pull(controller) {
        const part = parts.shift();
        if (part === undefined) controller.close();
        else if (part === "cut") controller.error(new TypeError("network error"));
        else if (part === "hang") return new Promise(() => undefined);
        else controller.enqueue(typeof part === "string" ? encoder.encode(part) : part);
        return undefined;
      },
    });
    const headers = { "Content-Type": "text/event-stream; charset=utf-8", ...(init.headers as object) };
    return new Response(init.status === 204 ? null : body, { status: 200, ...init, headers });
  };
}

export interface Call {
  url: string;
  headers: Record<string, string>;
  body: unknown;
  method: string;
}

/** A `fetch` that gives these answers, and no more. */
export function scripted(answers: Answer[]): { fetch: typeof fetch; calls: Call[] } {
  const calls: Call[] = [];
  const scriptedFetch = ((url: string, init: RequestInit) => {
    calls.push({ url, headers: init.headers as Record<string, string>, body: init.body, method: init.method ?? "GET" });
    const next = answers.shift();
    return next ? Promise.resolve(next(init.signal as AbortSignal)) : Promise.reject(new TypeError("no server"));
  }) as typeof fetch;
  return { fetch: scriptedFetch, calls };
}

export const frame = (id: number, event: { type: string; [field: string]: unknown }): string =>
  `id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
export const hello = `retry: 10\nevent: hello\ndata: {"type":"hello","ts":1,"stream":"s","v":1}\n\n`;
export const done = (id: number): string => frame(id, { type: "done", reason: "stop" });

/** A stream that a test pushes into, with the number of those who want it. */
export class FakeStore extends StreamStore {
  watchers = 0;

  cancel(): Promise<CancelAnswer> {
    return Promise.resolve({ via: "producer", message: "" });
  }

  protected watched(on: boolean): void {
    this.watchers += on ? 1 : -1;
  }
}

/** A view has drawn what it was told before: a frame that is asked for later comes later. */
export async function drawn(): Promise<void> {
  for (let frames = 0; frames < 2; frames++) await new Promise(requestAnimationFrame);
}
