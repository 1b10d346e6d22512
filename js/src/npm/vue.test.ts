// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createApp, h, nextTick, ref, type App, type Ref } from "vue";
import { answer, done, frame, hello, scripted, type Answer } from "../core/fakes";
import { useStream, type StreamControls, type StreamRefs } from "./vue";

const delta = (id: number, text: string): string => frame(id, { type: "delta", text });
const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(100);

let app: App;
beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  app.unmount();
  vi.useRealTimers();
});

function show(url: Ref<string | null>, ...answers: Answer[]) {
  const { fetch: send, calls } = scripted(answers);
  const signals: AbortSignal[] = [];
  const counted = ((address: string, init: RequestInit) => {
    signals.push(init.signal as AbortSignal);
    return send(address, init);
  }) as typeof fetch;
  let stream!: StreamRefs & StreamControls;
  const element = document.createElement("div");
  app = createApp({
    setup() {
      stream = useStream(url, { fetch: counted, retryMs: 10 });
      return () => h("p", { dir: "auto" }, `${stream.status.value}: ${stream.text.value}`);
    },
  });
  app.mount(element);
  return { stream, element, signals, urls: () => calls.map((call) => call.url) };
}

test("shows a stream from its first event to its last", async () => {
  const { element, stream, urls } = show(ref("https://x.example/a"), answer([hello, delta(1, "مر"), delta(2, "حبا"), done(3)]));
  expect(element.textContent).toBe("connecting: ");
  await settle();
  expect(element.textContent).toBe("done: مرحبا");
  expect([stream.snapshot.value.reason, stream.problem.value, urls()]).toEqual(["stop", null, ["https://x.example/a"]]);
});

test("unmounting closes the connection", async () => {
  const { signals } = show(ref("https://x.example/a"), answer([hello, delta(1, "a"), "hang"]));
  await settle();
  expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
  app.unmount();
  await settle();
  expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  expect(vi.getTimerCount()).toBe(0);
  app = createApp({ render: () => null });
  app.mount(document.createElement("div"));
});

test("another URL is another stream, and null none", async () => {
  const url = ref<string | null>("https://x.example/a");
  const shown = show(url, answer([hello, delta(1, "a"), "hang"]), answer([hello, delta(1, "b"), "hang"]));
  await settle();
  url.value = "https://x.example/b";
  await nextTick();
  expect(shown.element.textContent).toBe("connecting: ");
  await settle();
  expect([shown.element.textContent, shown.signals.map(({ aborted }) => aborted)]).toEqual(["running: b", [true, false]]);
  url.value = null;
  await settle();
  expect([shown.element.textContent, shown.signals[1]?.aborted]).toEqual(["idle: ", true]);
  expect(shown.urls()).toEqual(["https://x.example/a", "https://x.example/b"]);
});

test("a problem is told, retry goes on, and cancel ends it", async () => {
  const refusal = answer(['{"message":"Too early.","code":"early"}'], { status: 404, headers: { "Content-Type": "application/json" } });
  const { element, stream } = show(ref("https://x.example/a"), refusal, answer([hello, delta(1, "a"), "hang"]));
  await settle();
  expect(stream.problem.value).toMatchObject({ message: "Too early.", status: 404 });
  stream.retry();
  await settle();
  expect([element.textContent, stream.problem.value]).toEqual(["running: a", null]);
  await stream.cancel();
  await settle();
  expect(element.textContent).toBe("cancelled: a");
});
