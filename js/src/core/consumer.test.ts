import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { SSEConsumer, type Problem, type SSEConsumerOptions } from "./consumer";

type Part = string | Uint8Array | "hang" | "cut";

/** An answer whose body comes in these parts. */
function answer(parts: Part[], init: ResponseInit = {}): (signal: AbortSignal) => Response {
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

interface Call {
  headers: Record<string, string>;
  body: unknown;
  method: string;
}

function scripted(answers: ((signal: AbortSignal) => Response)[]): { fetch: typeof fetch; calls: Call[] } {
  const calls: Call[] = [];
  const scriptedFetch = ((_url: string, init: RequestInit) => {
    calls.push({ headers: init.headers as Record<string, string>, body: init.body, method: init.method ?? "GET" });
    const next = answers.shift();
    return next ? Promise.resolve(next(init.signal as AbortSignal)) : Promise.reject(new TypeError("no server"));
  }) as typeof fetch;
  return { fetch: scriptedFetch, calls };
}

const frame = (id: number, event: { type: string; [field: string]: unknown }): string =>
  `id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
const hello = `retry: 10\nevent: hello\ndata: {"type":"hello","ts":1,"stream":"s","v":1}\n\n`;
const done = (id: number): string => frame(id, { type: "done", reason: "stop" });

async function consume(
  answers: ((signal: AbortSignal) => Response)[],
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

  test.each([408, 429, 500, 502, 503])("tries again after %i", async (status) => {
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
});
