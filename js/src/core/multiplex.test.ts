import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FakeSocket, fakeSockets, newBrowser } from "./fakes";
import { Multiplex, multiplexOf } from "./multiplex";

const encoder = new TextEncoder();

/** A server of one multiplexed connection at a time, and a record of what was asked. */
class Server {
  requests: { path: string; body: Record<string, unknown> }[] = [];
  connections = 0;
  #out: ReadableStreamDefaultController<Uint8Array> | null = null;
  status = 200;

  fetch = ((url: string, init: RequestInit): Promise<Response> => {
    const path = url.replace("http://s/jupyter-sse/", "");
    this.requests.push({ path, body: JSON.parse(String(init.body)) as Record<string, unknown> });
    if (this.status !== 200) return Promise.resolve(new Response('{"message":"no","code":"no"}', { status: this.status }));
    if (path !== "events") return Promise.resolve(new Response(null, { status: path.includes("cancel") ? 202 : 204 }));
    this.connections += 1;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#out = controller;
        init.signal?.addEventListener("abort", () => {
          try {
            controller.error(new DOMException("aborted", "AbortError"));
          } catch {
            // already over
          }
        });
      },
    });
    this.send("hello", { ts: 1, stream: null, v: 1, connection: `c${this.connections}` });
    return Promise.resolve(new Response(body, { headers: { "Content-Type": "text/event-stream" } }));
  }) as typeof fetch;

  send(type: string, fields: object, id = ""): void {
    this.#out?.enqueue(encoder.encode(`${id && `id: ${id}\n`}event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`));
  }

  cut(): void {
    this.#out?.error(new TypeError("network error"));
  }
}

let server: Server;
let page: Multiplex;

beforeEach(() => {
  vi.useFakeTimers();
  server = new Server();
  vi.stubGlobal("fetch", server.fetch);
  page = new Multiplex({ baseUrl: "http://s/", token: "t" });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** An answer of which nothing arrives. */
const heldBack = ((_url: string, init: RequestInit) =>
  new Promise((_resolve, reject) =>
    init.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError"))),
  )) as typeof fetch;

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(20);

test("streams that appear together share one request, later ones are added to it", async () => {
  const a = page.source("a");
  const b = page.source("b");
  a.subscribe(() => undefined);
  b.subscribe(() => undefined);
  await settle();
  expect(server.requests).toEqual([
    { path: "events", body: {} },
    { path: "events/c1", body: { add: { a: -1, b: -1 }, remove: [] } },
  ]);
  server.send("delta", { text: "hi" }, "a:1");
  server.send("delta", { text: "yo" }, "b:1");
  page.source("c").subscribe(() => undefined);
  await settle();
  expect(a.snapshot.text).toBe("hi");
  expect(b.snapshot.text).toBe("yo");
  expect(server.requests.at(-1)).toEqual({ path: "events/c1", body: { add: { c: -1 }, remove: [] } });
  expect(server.connections).toBe(1);
});

test("a cut connection resumes each stream after its own cursor, and repeats nothing", async () => {
  const a = page.source("a");
  const states: string[] = [];
  a.subscribe(() => states.push(a.state));
  page.source("b").subscribe(() => undefined);
  await settle();
  server.send("delta", { text: "one " }, "a:1");
  await settle();
  server.cut();
  await vi.advanceTimersByTimeAsync(1500);
  expect(server.requests.at(-1)).toEqual({ path: "events/c2", body: { add: { a: 1, b: -1 }, remove: [] } });
  server.send("delta", { text: "one " }, "a:1");
  server.send("delta", { text: "two" }, "a:2");
  await settle();
  expect(a.snapshot.text).toBe("one two");
  expect(states).toContain("reconnecting");
  expect(a.state).toBe("open");
});

test("a finished stream is no longer asked for, and an idle connection closes", async () => {
  const a = page.source("a");
  a.subscribe(() => undefined);
  await settle();
  server.send("done", { reason: "stop" }, "a:1");
  await vi.advanceTimersByTimeAsync(3000);
  expect(a.snapshot.status).toBe("done");
  page.source("b").subscribe(() => undefined);
  await settle();
  expect(server.requests.at(-1)).toEqual({ path: "events/c2", body: { add: { b: -1 }, remove: [] } });
  expect(server.connections).toBe(2);
});

test("two views of a stream share its state; when the last goes it is let go", async () => {
  const leave = [page.source("a").subscribe(() => undefined), page.source("a").subscribe(() => undefined)];
  page.source("b").subscribe(() => undefined);
  await settle();
  leave[0]?.();
  await settle();
  expect(server.requests).toHaveLength(2);
  leave[1]?.();
  await settle();
  expect(server.requests.at(-1)).toEqual({ path: "events/c1", body: { add: {}, remove: ["a"] } });
});

test("a reset replaces the state; an error with seq 0 is about the stream and not in it", async () => {
  const a = page.source("a");
  const b = page.source("b");
  a.subscribe(() => undefined);
  b.subscribe(() => undefined);
  await settle();
  server.send("reset", { reason: "snapshot", seq: 7, snapshot: { ...a.snapshot, seq: 7, text: "seven" } }, "a:7");
  server.send("error", { message: "There is no such stream.", code: "not_found", retryable: false }, "b:0");
  await settle();
  expect([a.snapshot.text, a.snapshot.seq, a.state]).toEqual(["seven", 7, "open"]);
  expect([b.state, b.problem?.code, b.snapshot.status]).toEqual(["failed", "not_found", "running"]);
});

test("a refusal fails every stream with its reason", async () => {
  server.status = 403;
  const a = page.source("a");
  a.subscribe(() => undefined);
  await settle();
  expect([a.state, a.problem?.status]).toEqual(["failed", 403]);
});

test("a stream that ends does not hold up one that begins", async () => {
  page.source("a").subscribe(() => undefined);
  await settle();
  page.source("b").subscribe(() => undefined);
  server.send("done", { reason: "stop" }, "a:1");
  await settle();
  expect(server.requests.at(-1)).toEqual({ path: "events/c1", body: { add: { b: -1 }, remove: [] } });
});

test("changes are sent one after the other", async () => {
  const leave = page.source("a").subscribe(() => undefined);
  page.source("b").subscribe(() => undefined);
  await settle();
  let answerFirst: (answer: Response) => void = () => undefined;
  const order: unknown[] = [];
  vi.stubGlobal("fetch", (_url: string, init: RequestInit) => {
    order.push(JSON.parse(String(init.body)));
    return new Promise<Response>((resolve) => (answerFirst = resolve));
  });
  leave();
  await settle();
  page.source("a").subscribe(() => undefined);
  await settle();
  expect(order).toEqual([{ add: {}, remove: ["a"] }]);
  answerFirst(new Response(null, { status: 204 }));
  await settle();
  expect(order).toEqual([
    { add: {}, remove: ["a"] },
    { add: { a: -1 }, remove: [] },
  ]);
});

test("a connection that the server no longer knows is replaced", async () => {
  const a = page.source("a");
  a.subscribe(() => undefined);
  await settle();
  server.send("delta", { text: "one" }, "a:1");
  await settle();
  vi.stubGlobal("fetch", ((url: string, init: RequestInit) =>
    url.endsWith("events/c1") ? Promise.resolve(new Response("{}", { status: 404 })) : server.fetch(url, init)) as typeof fetch);
  page.source("b").subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(1500);
  expect(server.requests.at(-1)).toEqual({ path: "events/c2", body: { add: { a: 1, b: -1 }, remove: [] } });
});

test("a failed stream can be asked for again", async () => {
  const a = page.source("a");
  a.subscribe(() => undefined);
  await settle();
  server.send("error", { message: "There is no such stream.", code: "not_found", retryable: false }, "a:0");
  await settle();
  a.retry();
  await settle();
  expect(server.requests.at(-1)).toEqual({ path: "events/c1", body: { add: { a: -1 }, remove: [] } });
  server.send("delta", { text: "there" }, "a:1");
  await settle();
  expect([a.state, a.problem, a.snapshot.text]).toEqual(["open", null, "there"]);
});

test("copies of this module on one page share a server's connection", () => {
  const config = { baseUrl: "http://shared/", token: "" };
  expect(multiplexOf(config)).toBe(multiplexOf({ ...config }));
  expect(multiplexOf({ ...config, baseUrl: "http://other/" })).not.toBe(multiplexOf(config));
  expect((globalThis as Record<symbol, unknown>)[Symbol.for("jupyter-sse")]).toBeDefined();
});

test("the list is told while somebody watches it, newest first, over the same connection", async () => {
  let changes = 0;
  const entry = (stream: string, created: number, status = "running"): object => ({ stream, created, status });
  const listed = (): unknown[] => page.listing.entries.map(({ stream, status }) => [stream, status]);
  const leave = page.listing.subscribe(() => (changes += 1));
  page.source("a").subscribe(() => undefined);
  await settle();
  expect(server.requests.at(-1)).toEqual({ path: "events/c1", body: { add: { a: -1 }, remove: [], list: true } });
  server.send("listed", { all: true, streams: [entry("s1", 1), entry("s2", 2)] });
  await settle();
  expect([listed(), page.listing.state]).toEqual([[["s2", "running"], ["s1", "running"]], "open"]);
  server.send("listed", { streams: [entry("s1", 1, "done"), entry("s3", 3)], gone: ["s2"] });
  await settle();
  expect([listed(), changes > 1]).toEqual([[["s3", "running"], ["s1", "done"]], true]);

  server.cut();
  await vi.advanceTimersByTimeAsync(2000);
  expect(server.requests.at(-1)?.body).toMatchObject({ list: true });
  server.send("listed", { all: true, streams: [] });
  await settle();
  expect(listed()).toEqual([]);

  leave();
  await settle();
  expect(server.requests.at(-1)).toEqual({ path: "events/c2", body: { add: {}, remove: [], list: false } });
  page.listing.subscribe(() => undefined);
  await settle();
  expect(server.requests.at(-1)?.body).toEqual({ add: {}, remove: [], list: true });
});

test("the list alone keeps a connection open, and is not asked for again where it was refused", async () => {
  server.status = 404;
  const leave = page.listing.subscribe(() => undefined);
  await settle();
  expect([page.listing.state, page.listing.problem?.code]).toEqual(["failed", "no"]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(server.requests.length).toBe(1);
  server.status = 200;
  page.listing.retry();
  await settle();
  server.send("listed", { all: true, streams: [] });
  await vi.advanceTimersByTimeAsync(5000);
  expect([page.listing.state, server.connections]).toEqual(["open", 1]);
  leave();
  await vi.advanceTimersByTimeAsync(2000);
  page.source("a").subscribe(() => undefined);
  await settle();
  expect(server.connections).toBe(2);
});

test.each([[204, true], [404, true], [410, true], [403, false]])("forgetting: %i", async (status, done) => {
  server.status = status;
  vi.stubGlobal("fetch", (url: string, { method }: RequestInit) => {
    expect([method, url]).toEqual(["DELETE", "http://s/jupyter-sse/streams/a"]);
    return Promise.resolve(new Response(null, { status }));
  });
  expect(await page.forget("a")).toBe(done);
});

// A browser with several pages: the third one is left without a place for an event stream.

function pages(count: number): Multiplex[] {
  return Array.from({ length: count }, () => new Multiplex({ baseUrl: "http://s/", token: "t" }));
}

test("the third page of a browser uses a WebSocket", async () => {
  const [first, second, third] = pages(3) as [Multiplex, Multiplex, Multiplex];
  for (const one of [first, second, third]) one.source("a").subscribe(() => undefined);
  const b = third.source("b");
  await settle();
  expect([server.connections, FakeSocket.made.length]).toEqual([2, 1]);
  expect(FakeSocket.last.url).toBe("ws://s/jupyter-sse/socket");
  FakeSocket.last.tell("hello", { ts: 1, stream: null, v: 1 });
  await settle();
  expect(FakeSocket.last.sent).toEqual([{}, { add: { a: -1 }, remove: [] }]);
  const leave = b.subscribe(() => undefined);
  await settle();
  FakeSocket.last.tell("delta", { text: "hi" }, "b:1");
  await settle();
  expect([b.snapshot.text, b.state]).toEqual(["hi", "open"]);
  leave();
  await settle();
  expect(FakeSocket.last.sent.slice(2)).toEqual([
    { add: { b: -1 }, remove: [] },
    { add: {}, remove: ["b"] },
  ]);
  expect(server.requests.map(({ path }) => path)).toEqual(["events", "events", "events/c1", "events/c2"]);
});

test("a place that a page has left is the next one's", async () => {
  const [first, second, third] = pages(3) as [Multiplex, Multiplex, Multiplex];
  const leave = first.source("a").subscribe(() => undefined);
  second.source("a").subscribe(() => undefined);
  await settle();
  leave();
  await vi.advanceTimersByTimeAsync(1500);
  third.source("a").subscribe(() => undefined);
  await settle();
  expect([server.connections, FakeSocket.made.length]).toEqual([3, 0]);
});

test("where an answer is held back on its way, a WebSocket is used from then on, and its place is the next page's", async () => {
  const locks = newBrowser();
  vi.stubGlobal("fetch", heldBack);
  const a = page.source("a");
  let leave = a.subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(2900);
  expect([locks.held.size, FakeSocket.made.length]).toEqual([1, 0]);
  await vi.advanceTimersByTimeAsync(200);
  expect([locks.held.size, FakeSocket.made.length]).toEqual([0, 1]);
  FakeSocket.last.tell("hello", {});
  FakeSocket.last.tell("delta", { text: "hi" }, "a:1");
  await settle();
  expect([a.snapshot.text, a.state]).toEqual(["hi", "open"]);
  leave();
  await vi.advanceTimersByTimeAsync(2000);
  leave = a.subscribe(() => undefined);
  await settle();
  expect(FakeSocket.made.length).toBe(2);
  leave();
});

test("where WebSockets do not get through either, an answer that is held back is waited for", async () => {
  fakeSockets((next) => next.end());
  const asked: string[] = [];
  vi.stubGlobal("fetch", ((url: string, init: RequestInit) => {
    asked.push(url.slice("http://s/jupyter-sse/".length));
    return url.endsWith("/socket") ? Promise.resolve(new Response("{}", { status: 426 })) : heldBack(url, init);
  }) as typeof fetch);
  const a = page.source("a");
  a.subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(40_000);
  expect([asked, FakeSocket.made.length, a.problem]).toEqual([["events", "socket", "socket", "events"], 2, null]);
});

test("sound that is held back on its way is a problem, and not waited for for ever", async () => {
  vi.stubGlobal("fetch", heldBack);
  const told = page.history("a").audio(3, 9).catch((problem: unknown) => problem);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(vi.getTimerCount()).toBe(0);
  expect(await told).toMatchObject({ code: "no_streaming" });
});

test("a browser that cannot read an answer while it is sent uses a WebSocket", async () => {
  vi.stubGlobal("fetch", (() =>
    Promise.resolve({ ok: true, status: 200, body: null, headers: new Headers({ "Content-Type": "text/event-stream" }) })) as unknown as typeof fetch);
  page.source("a").subscribe(() => undefined);
  await settle();
  await settle();
  expect(FakeSocket.made.length).toBe(1);
});

test("a page keeps its place over a reconnect", async () => {
  const locks = newBrowser();
  page.source("a").subscribe(() => undefined);
  await settle();
  server.cut();
  await vi.advanceTimersByTimeAsync(1500);
  expect([server.connections, locks.held.size]).toEqual([2, 1]);
});

test("a page that cannot count the others' event streams adds none", async () => {
  Object.defineProperty(navigator, "locks", { value: undefined, configurable: true });
  page.source("a").subscribe(() => undefined);
  await settle();
  expect([server.connections, FakeSocket.made.length]).toEqual([0, 1]);
});

test("where WebSockets do not get through, an event stream goes on where they left off, and they are not tried again", async () => {
  Object.defineProperty(navigator, "locks", { value: undefined, configurable: true });
  const a = page.source("a");
  a.subscribe(() => undefined);
  await settle();
  const socket = FakeSocket.last;
  socket.tell("hello", {});
  socket.tell("delta", { text: "one " }, "a:1");
  fakeSockets((next) => next.end());
  const answered = server.fetch;
  vi.stubGlobal("fetch", ((url: string, init: RequestInit) =>
    url.endsWith("/socket") ? Promise.resolve(new Response("{}", { status: 426 })) : answered(url, init)) as typeof fetch);
  socket.end();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(server.requests.at(-1)).toEqual({ path: "events/c1", body: { add: { a: 1 }, remove: [] } });
  server.send("delta", { text: "one " }, "a:1");
  server.send("delta", { text: "two" }, "a:2");
  await settle();
  expect([a.snapshot.text, a.state, FakeSocket.made.length]).toEqual(["one two", "open", 2]);
  server.cut();
  await vi.advanceTimersByTimeAsync(3000);
  expect([server.connections, FakeSocket.made.length]).toEqual([2, 2]);
});
