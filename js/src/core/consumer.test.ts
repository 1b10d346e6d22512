import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { SSEConsumer, type AnyEvent, type Message, type Problem, type SSEConsumerOptions } from "./consumer";
import { answer, done, frame, hello, scripted, type Answer, type Call } from "./fakes";

async function consume(
  answers: Answer[],
  options: SSEConsumerOptions = {},
): Promise<{ calls: Call[]; text: string; problems: Problem[]; states: string[]; completed: number }> {
  const { fetch, calls } = scripted(answers);
  const problems: Problem[] = [];
  const states: string[] = [];
  let text = "";
  let completed = 0;
  const consumer = new SSEConsumer("/x", {
    fetch,
    retryMs: 10,
    onDelta: (event) => (text += event.text),
    onComplete: () => (completed += 1),
    onError: (problem) => problems.push(problem),
    onState: (state) => states.push(state),
    ...options,
  });
  const connected = consumer.connect();
  await vi.runAllTimersAsync();
  await connected;
  return { calls, text, problems, states, completed };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("SSEConsumer", () => {
  test("reads a stream to its end, wherever the bytes are cut", async () => {
    const text = "مرحبا 👩‍👩‍👧‍👦 日本";
    const bytes = new TextEncoder().encode(hello + frame(1, { type: "delta", text }) + done(2));
    for (let size = 1; size < 8; size += 1) {
      const parts: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += size) parts.push(bytes.slice(at, at + size));
      const result = await consume([answer(parts)]);
      expect(result.text).toBe(text);
      expect(result.completed).toBe(1);
      expect(result.calls).toHaveLength(1);
      expect(result.states).toEqual(["connecting", "open", "closed"]);
    }
  });

  test("resumes after the last whole frame when the connection is cut in the middle of one", async () => {
    const { text, calls, states } = await consume([
      answer([hello, frame(1, { type: "delta", text: "one " }), 'id: 2\nevent: delta\ndata: {"type":"del', "cut"]),
      answer([hello, frame(2, { type: "delta", text: "two" }), done(3)]),
    ]);
    expect(text).toBe("one two");
    expect(calls.map((call) => call.headers["Last-Event-ID"])).toEqual([undefined, "1"]);
    expect(states).toEqual(["connecting", "open", "reconnecting", "open", "closed"]);
  });

  test.each([408, 424, 429, 500, 502, 503])("tries again after %i", async (status) => {
    const { completed, calls } = await consume([answer(["no"], { status }), answer([hello, done(1)])]);
    expect(completed).toBe(1);
    expect(calls).toHaveLength(2);
  });

  test("waits as long as Retry-After says", async () => {
    const { fetch, calls } = scripted([answer([], { status: 429, headers: { "Retry-After": "7" } }), answer([done(1)])]);
    const connected = new SSEConsumer("/x", { fetch, retryMs: 1 }).connect();
    await vi.advanceTimersByTimeAsync(6900);
    expect(calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(200);
    expect(calls).toHaveLength(2);
    await connected;
  });

  test.each([401, 403, 404, 410])("stops at %i and says why", async (status) => {
    const { problems, calls } = await consume([
      answer(['{"message":"No such stream.","code":"not_found"}'], { status }),
    ]);
    expect(calls).toHaveLength(1);
    expect(problems).toEqual([{ message: "No such stream.", code: "not_found", retryable: false, status }]);
  });

  test("stops at 204 without a word", async () => {
    const { problems, completed, calls } = await consume([answer([], { status: 204 })]);
    expect([problems.length, completed, calls.length]).toEqual([0, 0, 1]);
  });

  test("an error event ends the stream", async () => {
    const { problems, calls } = await consume([
      answer([hello, frame(1, { type: "error", message: "broken", code: "x", retryable: false })]),
    ]);
    expect(problems).toMatchObject([{ message: "broken", code: "x" }]);
    expect(calls).toHaveLength(1);
  });

  test("gives up after maxReconnects failures in a row", async () => {
    const { problems, calls } = await consume([], { maxReconnects: 3 });
    expect(calls).toHaveLength(4);
    expect(problems).toMatchObject([{ code: "connection_lost", retryable: true }]);
  });

  test("a silent connection is given up, and its heartbeat keeps it", async () => {
    const { fetch, calls } = scripted([answer([hello, "hang"]), answer([hello, done(1)])]);
    const connected = new SSEConsumer("/x", { fetch, heartbeatMs: 1000 }).connect();
    await vi.advanceTimersByTimeAsync(2400);
    expect(calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1000);
    await connected;
    expect(calls).toHaveLength(2);
  });

  test("asks for the body anew at each reconnect", async () => {
    let count = 0;
    const { calls } = await consume([answer([hello, "cut"]), answer([hello, done(1)])], {
      method: "POST",
      body: () => `body ${(count += 1)}`,
    });
    expect(calls.map((call) => call.body)).toEqual(["body 1", "body 2"]);
  });

  test("ends when the signal says so", async () => {
    const control = new AbortController();
    const { fetch, calls } = scripted([answer([hello, "hang"])]);
    const connected = new SSEConsumer("/x", { fetch, signal: control.signal }).connect();
    await vi.advanceTimersByTimeAsync(10);
    control.abort();
    await connected;
    expect(calls).toHaveLength(1);
  });

  test("a callback that throws costs nothing but itself", async () => {
    const told = vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { completed, calls } = await consume([answer([hello, frame(1, { type: "delta", text: "a" }), done(2)])], {
      onDelta: () => {
        throw new Error("theirs");
      },
    });
    expect([completed, calls.length, told.mock.calls.length]).toEqual([1, 1, 1]);
    told.mockRestore();
  });

  test("an HTML page, as a login form is, is no event stream", async () => {
    const { problems, calls } = await consume([answer(["<html>"], { headers: { "Content-Type": "text/html" } })]);
    expect(problems).toMatchObject([{ code: "not_an_event_stream", retryable: false }]);
    expect(calls).toHaveLength(1);
  });

  test("silence during a pause does not cut it short", async () => {
    const { fetch, calls } = scripted([answer([], { status: 503, headers: { "Retry-After": "120" } }), answer([done(1)])]);
    const connected = new SSEConsumer("/x", { fetch, heartbeatMs: 1000 }).connect();
    await vi.advanceTimersByTimeAsync(119_000);
    expect(calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(2000);
    await connected;
    expect(calls).toHaveLength(2);
  });

  test("close in a callback is the end: nothing more is told, and connect may follow at once", async () => {
    const { fetch, calls } = scripted([
      answer([hello + frame(1, { type: "delta", text: "a" }) + frame(2, { type: "delta", text: "b" })]),
      answer([frame(2, { type: "delta", text: "b" }), done(3)]),
    ]);
    const seen: string[] = [];
    const states: string[] = [];
    let again: Promise<void> | null = null;
    const consumer = new SSEConsumer("/x", {
      fetch,
      onState: (state) => states.push(state),
      onDelta: (event) => {
        seen.push(event.text);
        if (again) return;
        consumer.close();
        again = consumer.connect();
      },
    });
    await consumer.connect();
    await again;
    expect(seen).toEqual(["a", "b"]);
    expect(calls.map((call) => call.headers["Last-Event-ID"])).toEqual([undefined, "1"]);
    expect(states).toEqual(["connecting", "open", "connecting", "open", "closed"]);
  });

  test("a frame that is not JSON, and a type it does not know, do no harm", async () => {
    const { text } = await consume([
      answer([hello, "data: not json\n\n", "data: null\n\n", frame(1, { type: "mood" }), frame(2, { type: "delta", text: "ok" }), done(3)]),
    ]);
    expect(text).toBe("ok");
  });

  test.each(["<h1>Bad Request</h1>", "null"])("stops at any other refusal, with what the server says or its status: %s", async (body) => {
    const { problems } = await consume([answer([body], { status: 400 })]);
    expect(problems).toEqual([{ message: "The server answered 400.", code: "http_400", retryable: false, status: 400 }]);
  });

  /** What is waited before each attempt but the first, in ms, with this for chance. */
  async function pauses(chance: number, answers: Answer[], options: SSEConsumerOptions): Promise<number[]> {
    const times: number[] = [];
    const { fetch } = scripted(answers);
    const random = vi.spyOn(Math, "random").mockReturnValue(chance);
    const timed = ((...given: Parameters<typeof fetch>) => {
      times.push(Date.now());
      return fetch(...given);
    }) as typeof fetch;
    const connected = new SSEConsumer("/x", { fetch: timed, heartbeatMs: Infinity, ...options }).connect();
    await vi.runAllTimersAsync();
    await connected;
    random.mockRestore();
    return times.slice(1).map((time, index) => time - (times[index] ?? 0));
  }

  test("the pause doubles up to maxRetryMs, and chance has its whole length", async () => {
    const options = { retryMs: 100, maxRetryMs: 1000, maxReconnects: 6 };
    expect(await pauses(1, [], options)).toEqual([100, 200, 400, 800, 1000, 1000]);
    expect(await pauses(0.5, [], options)).toEqual([50, 100, 200, 400, 500, 500]);
    expect((await pauses(0, [], options)).every((ms) => ms <= 1)).toBe(true);
  });

  test("a byte begins the count of failures anew; an answer without one does not", async () => {
    const options = { retryMs: 100, maxReconnects: 2 };
    const refused = answer([], { status: 503 });
    const mute = answer(["cut"]);
    expect(await pauses(1, [refused, answer([":\n", "cut"]), mute, refused, answer([done(1)])], options)).toEqual([100, 100, 200]);
  });

  test("maxReconnects: 0 is one connection and no more", async () => {
    const { problems, calls, text } = await consume([answer([frame(1, { type: "delta", text: "a" }), "cut"])], { maxReconnects: 0 });
    expect([calls.length, text]).toEqual([1, "a"]);
    expect(problems).toMatchObject([{ code: "connection_lost" }]);
  });

  test("a signal that was aborted before, or is during a pause, ends it", async () => {
    expect((await consume([], { signal: AbortSignal.abort() })).calls).toHaveLength(0);
    const control = new AbortController();
    const { fetch, calls } = scripted([answer([], { status: 503, headers: { "Retry-After": "3600" } })]);
    const states: string[] = [];
    const connected = new SSEConsumer("/x", { fetch, signal: control.signal, onState: (state) => states.push(state) }).connect();
    await vi.advanceTimersByTimeAsync(1000);
    control.abort();
    await connected;
    expect(calls).toHaveLength(1);
    expect(states).toEqual(["connecting", "reconnecting", "closed"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("nothing cuts a server without heartbeats, if that is said", async () => {
    const { fetch, calls } = scripted([answer([hello, "hang"])]);
    const consumer = new SSEConsumer("/x", { fetch, heartbeatMs: Infinity });
    const connected = consumer.connect();
    await vi.advanceTimersByTimeAsync(24 * 3600 * 1000);
    expect(calls).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
    consumer.close();
    await connected;
  });

  test("close is the end at once, also in the callback that tells of the pause", async () => {
    const { fetch, calls } = scripted([answer([], { status: 503, headers: { "Retry-After": "3600" } })]);
    const states: string[] = [];
    const consumer = new SSEConsumer("/x", {
      fetch,
      onState: (state) => {
        states.push(state);
        if (state === "reconnecting") consumer.close();
      },
    });
    await consumer.connect();
    expect([states, calls.length, vi.getTimerCount()]).toEqual([["connecting", "reconnecting", "closed"], 1, 0]);
  });

  test.each([
    ["a refusal", answer(["hang"], { status: 404 })],
    ["a stream", answer([hello, frame(1, { type: "delta", text: "a" }), done(2)])],
  ])("after close nothing is told of %s that comes all the same", async (_, late) => {
    const told: unknown[] = [];
    const consumer = new SSEConsumer("/x", {
      fetch: ((_url: string, init: RequestInit) => {
        // The answer is there, and close is called before anybody has looked at it.
        queueMicrotask(() => consumer.close());
        return Promise.resolve(late(init.signal as AbortSignal));
      }) as typeof fetch,
      onState: (state) => told.push(state),
      onEvent: (event) => told.push(event),
      onError: (problem) => told.push(problem),
    });
    await consumer.connect();
    expect(told).toEqual(["connecting", "closed"]);
  });

  test("close while a refusal is read is the end of that, too", async () => {
    const { fetch } = scripted([answer(["hang"], { status: 404 })]);
    const problems: Problem[] = [];
    const consumer = new SSEConsumer("/x", { fetch, onError: (problem) => problems.push(problem) });
    const connected = consumer.connect();
    await vi.advanceTimersByTimeAsync(10);
    consumer.close();
    await connected;
    expect(problems).toEqual([]);
  });

  test("Retry-After may be a date, and longer than a timer can be", async () => {
    const date = new Date(Math.ceil(Date.now() / 1000) * 1000 + 90_000).toUTCString();
    const refused = (after: string): Answer => answer([], { status: 503, headers: { "Retry-After": after } });
    const [first] = await pauses(0, [refused(date), answer([done(1)])], {});
    expect(first).toBeGreaterThanOrEqual(90_000);
    expect(first).toBeLessThan(91_001);
    const [long] = await pauses(0, [refused("99999999"), answer([done(1)])], {});
    expect(long).toBe(2 ** 31 - 1);
    expect(await pauses(1, [refused("0"), refused("soon"), answer([done(1)])], { retryMs: 100 })).toEqual([100, 200]);
  });

  test("a server that wants no pause gets one all the same while it does not answer", async () => {
    const taken = await pauses(1, [answer(["retry: 0\n\n", "cut"])], { maxReconnects: 12 });
    expect([taken.length, taken.at(-1)]).toEqual([12, 2048]);
  });

  test("what has a body is a POST", async () => {
    const { calls } = await consume([answer([done(1)])], { body: "{}" });
    expect(calls[0]).toMatchObject({ method: "POST", body: "{}" });
  });

  test("it leaves nothing at a signal that outlives it", async () => {
    const { signal } = new AbortController();
    const listeners = new Set<unknown>();
    vi.spyOn(signal, "addEventListener").mockImplementation((_, listener) => void listeners.add(listener));
    vi.spyOn(signal, "removeEventListener").mockImplementation((_, listener) => void listeners.delete(listener));
    const { fetch } = scripted([answer([done(1)])]);
    const connected = new SSEConsumer("/x", { fetch, signal }).connect();
    expect(listeners.size).toBe(1);
    await connected;
    expect(listeners.size).toBe(0);
  });

  test("goes on where another has stopped", async () => {
    const { calls } = await consume([answer([done(8)])], { lastEventId: "7" });
    expect(calls[0]?.headers["Last-Event-ID"]).toBe("7");
  });

  describe("on a page", () => {
    beforeEach(() => vi.stubGlobal("location", new URL("https://here.example/page?x=1")));
    afterEach(() => vi.unstubAllGlobals());

    async function second(url: string, options: SSEConsumerOptions = {}): Promise<Call> {
      const { fetch, calls } = scripted([answer([frame(5, { type: "delta", text: "a" }), "cut"]), answer([done(6)])]);
      const connected = new SSEConsumer(url, { fetch, ...options }).connect();
      await vi.runAllTimersAsync();
      await connected;
      expect(calls[0]?.url).toBe(url);
      return calls[1] as Call;
    }

    test.each(["/x", "x?y=1", "https://here.example/x"])("the header says what is had: %s", async (url) => {
      expect(await second(url)).toMatchObject({ url, headers: { "Last-Event-ID": "5" } });
    });

    test("another origin is told in the URL, which needs no permission", async () => {
      const { url, headers } = await second("https://there.example/x?token=a%20b&snapshot=1&after=1");
      expect(url).toBe("https://there.example/x?token=a+b&after=5");
      expect(headers).toEqual({ Accept: "text/event-stream" });
    });

    test("but in the header, if the request has others already, or its user says so", async () => {
      const url = "https://there.example/x";
      const headers = { Authorization: "token a" };
      expect(await second(url, { headers })).toMatchObject({ url, headers: { "Last-Event-ID": "5", ...headers } });
      expect(await second(url, { resume: "header" })).toMatchObject({ url, headers: { "Last-Event-ID": "5" } });
      expect(await second("/x", { resume: "query" })).toMatchObject({ url: "https://here.example/x?after=5" });
    });
  });

  test("what anybody's server sends is told as it is, and JSON objects as events", async () => {
    const messages: Message[] = [];
    const events: [AnyEvent, string][] = [];
    const progress: unknown[] = [];
    await consume(
      [
        answer([
          "data: plain text\n\n",
          'id: a\ndata: {"n": 1}\n\n',
          'event: progress\ndata: {"bar": "x",\ndata:  "n": 2}\n\n',
          'event: tick\ndata: {"type": "tock"}\n\n',
          "data: [1, 2]\n\ndata: null\n\ndata: 3\n\ndata: [DONE]\n\n",
          'event: done\ndata: {"reason": "stop"}\n\n',
        ]),
      ],
      {
        onMessage: (message) => messages.push(message),
        onEvent: (event, id) => events.push([event, id]),
        onProgress: (event) => progress.push(event),
      },
    );
    expect(messages.map(({ type, data, lastEventId }) => [type, data, lastEventId])).toEqual([
      ["message", "plain text", ""],
      ["message", '{"n": 1}', "a"],
      ["progress", '{"bar": "x",\n "n": 2}', "a"],
      ["tick", '{"type": "tock"}', "a"],
      ["message", "[1, 2]", "a"],
      ["message", "null", "a"],
      ["message", "3", "a"],
      ["message", "[DONE]", "a"],
      ["done", '{"reason": "stop"}', "a"],
    ]);
    expect(events).toEqual([
      [{ type: "message", n: 1 }, "a"],
      [{ type: "progress", bar: "x", n: 2 }, ""],
      [{ type: "tock" }, ""],
      [{ type: "done", reason: "stop" }, ""],
    ]);
    expect(progress).toEqual([{ type: "progress", bar: "x", n: 2 }]);
  });

  test("close in onMessage is the end for its event, too", async () => {
    const { fetch } = scripted([answer(['data: {"n": 1}\n\ndata: {"n": 2}\n\n'])]);
    const events: AnyEvent[] = [];
    const messages: Message[] = [];
    const consumer = new SSEConsumer("/x", {
      fetch,
      onEvent: (event) => events.push(event),
      onMessage: (message) => {
        messages.push(message);
        consumer.close();
      },
    });
    await consumer.connect();
    expect([messages.length, events.length]).toEqual([1, 0]);
  });
});
