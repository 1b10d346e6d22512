import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { answer, done, frame, hello, scripted, type Answer, type Call } from "./fakes";
import type { PreviewEvent } from "./events";
import { statusOf } from "./source";
import { URLSource, type URLSourceOptions } from "./urlsource";

const STREAM = "https://lab.example/hub/jupyter-sse/streams/abc/events";
const delta = (id: number, text: string): string => frame(id, { type: "delta", text });
const json = (value: unknown, status = 200): Answer => answer([JSON.stringify(value)], { status, headers: { "Content-Type": "application/json" } });

function sourced(url: string, answers: Answer[], options: URLSourceOptions = {}): { source: URLSource; calls: Call[] } {
  const { fetch, calls } = scripted(answers);
  return { source: new URLSource(url, { fetch, retryMs: 10, ...options }), calls };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(100);

test("follows a stream to its end while it is watched", async () => {
  const { source, calls } = sourced(STREAM, [answer([hello, delta(1, "one "), "cut"]), answer([hello, delta(2, "two"), done(3)])]);
  const seen: string[] = [];
  expect([source.stream, statusOf(source)]).toEqual(["abc", "connecting"]);
  await settle();
  expect(calls).toHaveLength(0);
  source.subscribe(() => seen.push(`${statusOf(source)} ${source.snapshot.text}`));
  await settle();
  expect(seen.at(-1)).toBe("done one two");
  expect(seen.some((line) => line.startsWith("reconnecting one"))).toBe(true);
  expect(calls.map(({ headers }) => headers["Last-Event-ID"])).toEqual([undefined, "1"]);
});

test("leaving closes the connection, and coming back goes on; at once, it is the same connection", async () => {
  const { source, calls } = sourced(STREAM, [answer([hello, delta(4, "a"), "hang"]), answer([delta(5, "b"), "hang"])]);
  const leave = source.subscribe(() => undefined);
  leave();
  const again = source.subscribe(() => undefined);
  await settle();
  expect(calls).toHaveLength(1);
  again();
  await settle();
  expect(vi.getTimerCount()).toBe(0);
  source.subscribe(() => undefined);
  await settle();
  expect(calls.map(({ headers }) => headers["Last-Event-ID"])).toEqual([undefined, "4"]);
  expect(source.snapshot.text).toBe("ab");
});

test("the server names a stream that the URL does not", async () => {
  const { source } = sourced("https://lab.example/jupyter-sse/chat?q=Why", [answer([hello, delta(1, "a"), "hang"])]);
  expect(source.stream).toBe("");
  source.subscribe(() => undefined);
  await settle();
  expect([source.stream, source.snapshot.stream, source.snapshot.text]).toEqual(["s", "s", "a"]);
});

test("a snapshot takes the place of what was", async () => {
  const { snapshot } = new URLSource(STREAM);
  const reset = frame(9, { type: "reset", reason: "snapshot", seq: 9, snapshot: { ...snapshot, seq: 9, text: "so far, " } });
  const { source } = sourced(`${STREAM}?snapshot=1`, [answer([reset, delta(10, "and on"), done(11)])]);
  source.subscribe(() => undefined);
  await settle();
  expect([source.snapshot.text, source.snapshot.seq]).toEqual(["so far, and on", 11]);
});

test("what a server names by a path of its own is loaded from there, wherever the page is", async () => {
  const kept = "/hub/jupyter-sse/streams/abc/media/1";
  const { snapshot } = new URLSource(STREAM);
  const preview = (key: string, url: string): { type: "preview"; mime: string; key: string; url: string } => ({ type: "preview", mime: "image/png", key, url });
  const others = ["https://cdn.example/a.png", "//cdn.example/a.png", "/\\cdn.example/a.png"];
  const { source } = sourced(`${STREAM}?snapshot=1&token=a%26b`, [
    answer([
      frame(9, { type: "reset", reason: "snapshot", seq: 9, snapshot: { ...snapshot, seq: 9, previews: [preview("old", kept)] } }),
      frame(10, preview("new", kept)),
      ...others.map((url, index) => frame(11 + index, preview(url, url))),
      frame(20, { type: "done", reason: "stop", result: { mime: "video/mp4", url: kept } }),
    ]),
  ]);
  const told: unknown[] = [];
  source.options.onEvent = (event) => event.type === "preview" && told.push((event as PreviewEvent).url);
  source.subscribe(() => undefined);
  await settle();
  const url = `https://lab.example${kept}?token=a%26b`;
  expect(source.snapshot.previews.map((one) => one.url)).toEqual([url, url, ...others]);
  expect(source.snapshot.result).toEqual({ mime: "video/mp4", url });
  expect(told).toEqual([kept, ...others]); // as it was sent
});

test("a server without ids begins again after a cut, and so do we", async () => {
  const event = (text: string): string => `data: {"type":"delta","text":"${text}"}\n\n`;
  const { source } = sourced("https://x.example/e", [answer([event("a"), event("b"), "cut"]), answer([event("a"), event("b"), event("c"), done(1)])]);
  source.subscribe(() => undefined);
  await settle();
  expect([source.snapshot.text, statusOf(source)]).toEqual(["abc", "done"]);
});

test("a refusal is a problem; retry goes on after what there is", async () => {
  const refusal = json({ message: "No such stream.", code: "not_found" }, 404);
  const { source, calls } = sourced(STREAM, [answer([delta(1, "a"), "cut"]), refusal, answer([delta(2, "b"), done(3)])]);
  const problems: string[] = [];
  source.options.onError = ({ code }) => problems.push(code);
  source.subscribe(() => undefined);
  await settle();
  expect(statusOf(source)).toBe("error");
  expect(source.problem).toMatchObject({ message: "No such stream.", status: 404 });
  expect(problems).toEqual(["not_found"]);
  source.retry();
  expect([statusOf(source), source.problem]).toEqual(["running", null]);
  await settle();
  expect([source.snapshot.text, statusOf(source)]).toEqual(["ab", "done"]);
  expect(calls.at(-1)?.headers["Last-Event-ID"]).toBe("1");
});

test("retry after the end begins from the beginning", async () => {
  const error = frame(2, { type: "error", message: "tired", code: "x", retryable: true });
  const { source, calls } = sourced(STREAM, [answer([delta(1, "half"), error]), answer([delta(1, "whole"), done(2)])]);
  source.subscribe(() => undefined);
  await settle();
  expect([statusOf(source), source.snapshot.error?.message, source.problem]).toEqual(["error", "tired", null]);
  source.retry();
  await settle();
  expect([source.snapshot.text, source.snapshot.error, statusOf(source)]).toEqual(["whole", null, "done"]);
  expect(calls.at(-1)?.headers["Last-Event-ID"]).toBeUndefined();
});

test("204 is an end of which there is nothing to tell", async () => {
  const { source, calls } = sourced(STREAM, [answer([], { status: 204 })]);
  source.subscribe(() => undefined);
  await settle();
  expect([statusOf(source), calls.length]).toEqual(["done", 1]);
});

test("cancel asks the server, with the headers and the token of the stream's own request", async () => {
  const told = { via: "producer", message: "It was asked to stop." };
  const { source, calls } = sourced("https://lab.example/hub/jupyter-sse/chat?q=Why&token=a%26b", [answer([hello, "hang"]), json(told)], {
    headers: () => ({ "X-Mine": "1" }),
  });
  source.subscribe(() => undefined);
  await settle();
  const cancelled = source.cancel();
  await settle();
  expect(await cancelled).toEqual(told);
  expect(calls[1]).toMatchObject({
    method: "POST",
    url: "https://lab.example/hub/jupyter-sse/streams/s/cancel?token=a%26b",
    headers: { "X-Mine": "1" },
  });
  expect(statusOf(source)).not.toBe("cancelled"); // the stream itself says when it has stopped
});

test("a page proves by its cookie that it is the server's own, and tells nobody else", async () => {
  vi.stubGlobal("location", new URL("https://lab.example/page"));
  vi.stubGlobal("document", { baseURI: "https://lab.example/page", cookie: "a=b; _xsrf=2%7Cx", addEventListener: vi.fn(), removeEventListener: vi.fn() });
  for (const [url, header] of [[STREAM, "2|x"], [STREAM.replace("lab.", "other."), undefined]] as const) {
    const { source, calls } = sourced(url, [json({ via: "producer", message: "" })]);
    await source.cancel();
    expect(calls[0]?.headers["X-XSRFToken"]).toBe(header);
  }
  vi.unstubAllGlobals();
});

test.each([
  ["a server that is not ours", "https://x.example/events", []],
  ["a stream that the server cannot cancel", STREAM, [json({ message: "No." }, 404)]],
])("%s is told by leaving that we want no more", async (_, url, answers) => {
  const { source, calls } = sourced(url, [answer(['data: {"type":"delta","text":"a"}\n\n', "hang"]), ...answers]);
  source.subscribe(() => undefined);
  await settle();
  const cancelled = source.cancel();
  await settle();
  expect((await cancelled).via).toBe("producer");
  expect([statusOf(source), source.snapshot.text]).toEqual(["cancelled", "a"]);
  expect(calls).toHaveLength(1 + answers.length);
  expect(vi.getTimerCount()).toBe(0);
  expect((await source.cancel()).via).toBe("ended");
});

test("a cancel that is refused says why, and the stream goes on", async () => {
  const { source } = sourced(STREAM, [answer([delta(1, "a"), "hang"]), json({ message: "Not allowed." }, 403)]);
  source.subscribe(() => undefined);
  await settle();
  const cancelled = source.cancel();
  await settle();
  expect(await cancelled).toEqual({ via: "failed", message: "Not allowed." });
  const unreachable = source.cancel();
  await settle();
  expect((await unreachable).via).toBe("failed");
  expect(statusOf(source)).toBe("running");
});

test("callbacks are told what the state does not say, and may be exchanged", async () => {
  const { source } = sourced(STREAM, [answer(["data: plain\n\n", frame(1, { type: "mood" }), done(2)])]);
  const told: unknown[] = [];
  source.subscribe(() => undefined);
  source.options = {
    ...source.options,
    onMessage: ({ data }) => told.push(data),
    onEvent: ({ type }) => told.push(type),
    onComplete: ({ reason }) => told.push(reason),
  };
  await settle();
  expect(told).toEqual(["plain", '{"type":"mood"}', "mood", '{"type":"done","reason":"stop"}', "done", "stop"]);
});
