// @vitest-environment happy-dom
import { act, createElement, StrictMode, useState, type FunctionComponent } from "react";
import { createRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { answer, done, frame, hello, scripted, type Answer } from "../core/fakes";
import { useStream, type StreamControls, type StreamState, type UseStreamOptions } from "./react";

Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });

const delta = (id: number, text: string): string => frame(id, { type: "delta", text });
const settle = (): Promise<unknown> => act(() => vi.advanceTimersByTimeAsync(100));

let root: Root;
let shown: (StreamState & StreamControls)[];
const last = (): StreamState & StreamControls => shown.at(-1) as StreamState & StreamControls;

beforeEach(() => {
  vi.useFakeTimers();
  shown = [];
  root = createRoot(document.createElement("div"));
});
afterEach(async () => {
  await act(async () => root.unmount());
  vi.useRealTimers();
});

const Shown: FunctionComponent<{ url: string | null; options: UseStreamOptions }> = ({ url, options }) => {
  shown.push(useStream(url, options));
  return createElement("p", { dir: "auto" }, last().text);
};

function requests(...answers: Answer[]): { options: UseStreamOptions; signals: AbortSignal[]; urls: () => string[] } {
  const { fetch: send, calls } = scripted(answers);
  const signals: AbortSignal[] = [];
  const counted = ((url: string, init: RequestInit) => {
    signals.push(init.signal as AbortSignal);
    return send(url, init);
  }) as typeof fetch;
  return { options: { fetch: counted, retryMs: 10 }, signals, urls: () => calls.map(({ url }) => url) };
}

const render = (url: string | null, options: UseStreamOptions): Promise<void> =>
  act(async () => root.render(createElement(StrictMode, null, createElement(Shown, { url, options }))));

test("shows a stream from its first event to its last, over one request, in StrictMode too", async () => {
  const { options, urls } = requests(answer([hello, delta(1, "مر"), delta(2, "حبا"), done(3)]));
  await render("https://x.example/a", options);
  expect(shown[0]).toMatchObject({ text: "", status: "connecting", problem: null });
  await settle();
  expect(last()).toMatchObject({ text: "مرحبا", status: "done", problem: null });
  expect(last().snapshot.reason).toBe("stop");
  expect(urls()).toEqual(["https://x.example/a"]);
});

test("unmounting closes the connection", async () => {
  const { options, signals } = requests(answer([hello, delta(1, "a"), "hang"]));
  await render("https://x.example/a", options);
  await settle();
  expect([last().status, signals.map(({ aborted }) => aborted)]).toEqual(["running", [false]]);
  await act(async () => root.unmount());
  await settle();
  expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  expect(vi.getTimerCount()).toBe(0);
  root = createRoot(document.createElement("div"));
});

test("another URL is another stream, and null none", async () => {
  const { options, signals, urls } = requests(answer([hello, delta(1, "a"), "hang"]), answer([hello, delta(1, "b"), "hang"]));
  await render("https://x.example/a", options);
  await settle();
  const before = shown.length;
  await render("https://x.example/b", options);
  expect(shown[before]).toMatchObject({ text: "", status: "connecting" });
  await settle();
  expect(urls()).toEqual(["https://x.example/a", "https://x.example/b"]);
  expect([last().text, signals.map(({ aborted }) => aborted)]).toEqual(["b", [true, false]]);
  await render(null, options);
  await settle();
  expect([last().status, last().text, signals[1]?.aborted]).toEqual(["idle", "", true]);
  expect((await last().cancel()).via).toBe("ended");
});

test("a problem is told, and retry goes on", async () => {
  const refusal = answer(['{"message":"Too early.","code":"early"}'], { status: 404, headers: { "Content-Type": "application/json" } });
  const { options } = requests(refusal, answer([hello, delta(1, "a"), done(2)]));
  await render("https://x.example/a", options);
  await settle();
  expect(last()).toMatchObject({ status: "error", problem: { message: "Too early.", code: "early", status: 404 } });
  await act(async () => last().retry());
  await settle();
  expect(last()).toMatchObject({ status: "done", text: "a", problem: null });
});

test("an error event is a problem too, and cancel ends it", async () => {
  const { options, urls } = requests(
    answer([frame(1, { type: "error", message: "tired", code: "x", retryable: true })]),
    answer([delta(1, "a"), "hang"]),
  );
  await render("https://x.example/a", options);
  await settle();
  expect(last()).toMatchObject({ status: "error", problem: { message: "tired", code: "x" } });
  await act(async () => last().retry());
  await settle();
  await act(async () => void (await last().cancel()));
  expect(last()).toMatchObject({ status: "cancelled", text: "a" });
  expect(urls()).toHaveLength(2);
});

test("the callbacks are those of the last render; new ones cost no connection", async () => {
  const told: string[] = [];
  const { options, urls } = requests(answer([hello, delta(1, "a"), "cut"]), answer([delta(2, "b"), done(3)]));
  let rename = (_: string): void => undefined;
  const Named: FunctionComponent = () => {
    const [name, setName] = useState("first");
    rename = setName;
    useStream("https://x.example/a", { ...options, onEvent: ({ type }) => told.push(`${name} ${type}`) });
    return null;
  };
  await act(async () => {
    root.render(createElement(Named));
  });
  await act(async () => rename("second"));
  await settle();
  expect(told).toEqual(["first hello", "first delta", "second delta", "second done"]);
  expect(urls()).toHaveLength(2);
});

test("it begins after the event that the options name", async () => {
  const { fetch: send, calls } = scripted([answer([delta(8, "b"), done(9)])]);
  await render("https://x.example/a", { fetch: send, lastEventId: "7" });
  await settle();
  expect(calls.map(({ url }) => url)).toEqual(["https://x.example/a?after=7"]);
});

test("on a server it renders, and asks nothing", async () => {
  const { options, urls } = requests();
  expect(renderToString(createElement(Shown, { url: "https://x.example/a", options }))).toBe('<p dir="auto"></p>');
  await settle();
  expect(urls()).toEqual([]);
});
