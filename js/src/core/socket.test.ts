import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ConnectionOptions, Problem } from "./connection";
import { FakeSocket, fakeSockets } from "./fakes";
import { SocketConsumer } from "./socket";

let problems: Problem[];
let states: string[];
let seen: string[];
let asked: RequestInit[];

/** Connects; over HTTP the server answers with these, and then not at all. */
function consumer(answers: (() => Response)[] = [], options: ConnectionOptions = {}): SocketConsumer {
  problems = [];
  states = [];
  seen = [];
  asked = [];
  const made = new SocketConsumer("http://s/jupyter-sse/socket", {
    retryMs: 10,
    multiplexed: true,
    body: () => '{"streams":{"a":3}}',
    headers: { Authorization: "token t" },
    fetch: ((_url: string, init: RequestInit) => {
      asked.push(init);
      const next = answers.shift();
      return next ? Promise.resolve(next()) : Promise.reject(new TypeError("no server"));
    }) as typeof fetch,
    onError: (problem) => problems.push(problem),
    onState: (state) => states.push(state),
    onEvent: (_event, id) => seen.push(id),
    ...options,
  });
  void made.connect();
  return made;
}

const upgradeRequired = (): Response => new Response('{"message":"m","code":"not_a_websocket"}', { status: 426 });
const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("asks in its first message, and reads frames as they come", async () => {
  const one = consumer();
  await pass(1);
  expect(FakeSocket.last.url).toBe("ws://s/jupyter-sse/socket");
  expect(FakeSocket.last.sent).toEqual([{ streams: { a: 3 } }]);
  FakeSocket.last.tell("hello", { ts: 1, stream: null, v: 1 });
  FakeSocket.last.tell("delta", { text: "x" }, "a:4");
  expect(seen).toEqual(["", "a:4"]);
  expect(one.send('{"add":{"b":-1}}')).toBe(true);
  expect(FakeSocket.last.sent[1]).toEqual({ add: { b: -1 } });
  expect(states).toEqual(["connecting", "open"]);
});

test("a cut connection is opened again, and nothing can be sent between", async () => {
  const one = consumer();
  await pass(1);
  FakeSocket.last.tell("hello", {});
  FakeSocket.last.end();
  expect(one.send("{}")).toBe(false);
  await pass(20);
  expect(FakeSocket.made).toHaveLength(2);
  expect(FakeSocket.last.sent).toEqual([{ streams: { a: 3 } }]);
  expect([states, asked.length]).toEqual([["connecting", "open", "reconnecting", "open"], 0]);
});

test("silence is noticed, and the dead connection not waited for", async () => {
  consumer([], { heartbeatMs: 1000 });
  await pass(1);
  const [first] = FakeSocket.made;
  first?.tell("hello", {});
  await pass(2000);
  first?.tell("ping", {});
  await pass(2000);
  expect(FakeSocket.made).toHaveLength(1);
  await pass(2000);
  expect(FakeSocket.made).toHaveLength(2);
  first?.tell("delta", { text: "late" }, "a:4");
  expect(seen).not.toContain("a:4");
});

test("close is the end", async () => {
  const one = consumer();
  await pass(1);
  one.close();
  await pass(60_000);
  expect([FakeSocket.made.length, FakeSocket.last.readyState, states.at(-1)]).toEqual([1, 2, "closed"]);
  expect(one.send("{}")).toBe(false);
});

test.each([
  [401, "forbidden"],
  [403, "forbidden"],
  [404, "not_found"],
])("a handshake that fails because of a %i stops it, and says why", async (status, code) => {
  fakeSockets((socket) => socket.end());
  consumer([() => new Response(JSON.stringify({ message: "No.", code }), { status })]);
  await pass(60_000);
  expect(problems).toEqual([{ message: "No.", code, retryable: false, status }]);
  expect([FakeSocket.made.length, asked[0]?.headers]).toEqual([1, { Authorization: "token t" }]);
});

test("a login page in its place is no server", async () => {
  fakeSockets((socket) => socket.end());
  consumer([() => new Response("<html>")]);
  await pass(60_000);
  expect(problems).toMatchObject([{ code: "not_an_event_stream" }]);
});

test.each([429, 503])("after a %i it waits as long as it is told", async (status) => {
  fakeSockets((socket) => socket.end());
  consumer([() => new Response("{}", { status, headers: { "Retry-After": "7" } })]);
  await pass(6900);
  expect(FakeSocket.made).toHaveLength(1);
  await pass(200);
  expect(FakeSocket.made.length).toBeGreaterThan(1);
  expect(problems).toEqual([]);
});

test("a server that cannot be reached is tried for ever", async () => {
  fakeSockets((socket) => socket.end());
  consumer([], { maxRetryMs: 100 });
  await pass(5000);
  expect(FakeSocket.made.length).toBeGreaterThan(20);
  expect(problems).toEqual([]);
});

test("a server that is there, but not for WebSockets, is not tried a third time", async () => {
  fakeSockets((socket) => socket.end());
  consumer([upgradeRequired, upgradeRequired, upgradeRequired]);
  await pass(60_000);
  expect([FakeSocket.made.length, problems]).toEqual([2, [expect.objectContaining({ code: "no_websocket" })]]);
});

test("a WebSocket that opens and says nothing before it closes is no WebSocket either", async () => {
  fakeSockets((socket) => {
    socket.open();
    socket.end();
  });
  consumer([upgradeRequired, upgradeRequired]);
  await pass(60_000);
  expect([FakeSocket.made.length, problems[0]?.code]).toEqual([2, "no_websocket"]);
});

test("a server that was only starting is not taken for one without WebSockets", async () => {
  let failing = true;
  fakeSockets((socket) => {
    if (failing) socket.end();
    else {
      socket.open();
      socket.tell("hello", {});
    }
    failing = !failing;
  });
  consumer([upgradeRequired, upgradeRequired, upgradeRequired]);
  for (let round = 0; round < 3; round += 1) {
    await pass(2000);
    FakeSocket.last.end();
  }
  expect([asked.length, problems]).toEqual([3, []]);
});

test("what the page's own rules forbid is not tried for ever", async () => {
  globalThis.WebSocket = class {
    constructor() {
      throw new DOMException("mixed content", "SecurityError");
    }
  } as unknown as typeof WebSocket;
  consumer([upgradeRequired, upgradeRequired]);
  await pass(60_000);
  expect(problems[0]?.code).toBe("no_websocket");
});

test("a message that the server refuses is not sent again", async () => {
  consumer();
  await pass(1);
  FakeSocket.last.tell("hello", {});
  FakeSocket.last.end(1007, "This is not a stream's id: '../x'.");
  await pass(60_000);
  expect(problems).toEqual([{ message: "This is not a stream's id: '../x'.", code: "refused", retryable: false }]);
  expect(FakeSocket.made).toHaveLength(1);
});

test("the end of the one stream that it carries is its own end", async () => {
  consumer([], { multiplexed: false });
  await pass(1);
  FakeSocket.last.tell("done", { reason: "stop" }, "a:4");
  await pass(1);
  expect([seen, states, FakeSocket.last.readyState, FakeSocket.made.length]).toEqual([["a:4"], ["connecting", "open", "closed"], 2, 1]);
  expect(vi.getTimerCount()).toBe(0);
});
