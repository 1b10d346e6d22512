// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { CommModel } from "../core/comm";
import widget from "./widget";

class Model implements CommModel {
  sent: unknown[] = [];
  #listeners: ((content: unknown) => void)[] = [];

  constructor(
    readonly stream: string,
    readonly transport: string,
  ) {}

  get(name: "stream" | "transport"): string {
    return this[name];
  }
  send(content: unknown): void {
    this.sent.push(content);
  }
  on(_event: "msg:custom", listener: (content: unknown) => void): void {
    this.#listeners.push(listener);
  }
  tell(content: unknown): void {
    for (const listener of this.#listeners) listener(content);
  }
}

let requests: { url: string; headers: Record<string, string>; body: unknown; signal: AbortSignal }[];
let answer: () => Response;
let el: HTMLElement;
let n = 0;

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(100);
const frames = (...events: [string, object][]): Response =>
  new Response(
    new ReadableStream({
      start(controller) {
        for (const [id, event] of events) {
          controller.enqueue(new TextEncoder().encode(`${id && `id: ${id}\n`}data: ${JSON.stringify(event)}\n\n`));
        }
      },
    }),
    { headers: { "Content-Type": "text/event-stream" } },
  );
const hello: [string, object] = ["", { type: "hello", ts: 1, stream: null, v: 1, connection: "c" }];

/** The page of a server of its own: connections are shared by address. */
function jupyterPage(token = ""): void {
  const config = document.createElement("script");
  config.id = "jupyter-config-data";
  config.type = "application/json";
  config.textContent = JSON.stringify({ baseUrl: `/user/${(n += 1)}/`, token });
  document.body.append(config);
}

beforeEach(() => {
  vi.useFakeTimers();
  requests = [];
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    requests.push({
      url,
      headers: init.headers as Record<string, string>,
      body: JSON.parse(String(init.body)),
      signal: init.signal as AbortSignal,
    });
    return Promise.resolve(answer());
  });
  el = document.createElement("div");
  document.body.append(el);
});
afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test("reads from the page's server, as the page may", async () => {
  jupyterPage("secret");
  document.cookie = "_xsrf=2|abc";
  answer = () => frames(hello, ["s1:1", { type: "delta", text: "Hi" }], ["s1:2", { type: "done", reason: "stop" }]);
  const model = new Model("s1", "server");
  widget.initialize({ model });
  widget.render({ model, el });
  await settle();
  expect(new URL(requests[0]?.url ?? "").pathname).toBe(`/user/${n}/jupyter-sse/events`);
  expect(requests[0]).toMatchObject({
    headers: { Authorization: "token secret", "X-XSRFToken": "2|abc", "Content-Type": "application/json" },
  });
  expect(el.querySelector(".jsse-answer")?.textContent).toBe("Hi");
  expect(model.sent).toEqual([]);
});

test("many widgets of a page share one connection", async () => {
  jupyterPage();
  answer = () => frames(hello);
  for (const stream of ["a", "b", "c"]) widget.render({ model: new Model(stream, "server"), el });
  await settle();
  expect(requests.map((request) => request.body)).toEqual([{}, { add: { a: -1, b: -1, c: -1 }, remove: [] }]);
});

test.each([
  ["has no such extension", () => new Response("{}", { status: 404 })],
  ["does not have the stream", () => frames(hello, ["s2:0", { type: "error", code: "not_found", message: "no", retryable: false }])],
])("asks the kernel where the server %s", async (_why, given) => {
  jupyterPage();
  answer = given;
  const model = new Model("s2", "server");
  widget.initialize({ model });
  widget.render({ model, el });
  await settle();
  expect(model.sent).toEqual([{ op: "ready", after: -1 }]);
  model.tell({ op: "events", seq: 1, events: [{ type: "log", text: "from the kernel", source: "stdout" }] });
  await settle();
  expect(el.querySelectorAll("[data-sse-stream]")).toHaveLength(1);
  expect(el.querySelector(".jsse-line")?.textContent).toBe("from the kernel");
  // What the page knows by now it does not ask, and wait for, once more.
  const second = document.createElement("div");
  widget.render({ model, el: second });
  await settle();
  expect([requests.length, second.querySelector(".jsse-line")?.textContent]).toEqual([1, "from the kernel"]);
});

test.each(["comm", "server"])("asks the kernel where the page knows no server (%s)", async (transport) => {
  const model = new Model("s3", transport);
  widget.initialize({ model });
  model.tell({ op: "events", seq: 1, events: [{ type: "log", text: "early", source: "stdout" }] });
  widget.render({ model, el });
  const second = document.createElement("div");
  widget.render({ model, el: second });
  await settle();
  expect([requests.length, model.sent]).toEqual([0, [{ op: "ready", after: 1 }]]);
  expect([el, second].map((view) => view.querySelector(".jsse-line")?.textContent)).toEqual(["early", "early"]);
});

test("a view that goes leaves nothing behind, and the last one closes the connection", async () => {
  jupyterPage();
  answer = () => frames(hello);
  const control = new AbortController();
  const model = new Model("s4", "server");
  widget.render({ model, el, signal: control.signal });
  const second = document.createElement("div");
  const cleanUp = widget.render({ model, el: second });
  await settle();
  control.abort();
  await vi.advanceTimersByTimeAsync(5000);
  expect([el.childElementCount, requests[0]?.signal.aborted]).toEqual([0, false]);
  cleanUp();
  await vi.advanceTimersByTimeAsync(5000);
  expect([second.childElementCount, requests[0]?.signal.aborted]).toEqual([0, true]);
});
