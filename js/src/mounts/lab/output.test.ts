// @vitest-environment happy-dom
import { beforeEach, expect, test } from "vitest";
import { drawn } from "../../core/fakes";
import type { Snapshot } from "../../core/events";
import { StreamStore, type CancelAnswer } from "../../core/source";
import { emptySnapshot } from "../../core/state";
import { StreamOutput } from "./output";

class Live extends StreamStore {
  watchers: boolean[] = [];

  cancel(): Promise<CancelAnswer> {
    return Promise.resolve({ via: "producer", message: "" });
  }
  protected watched(on: boolean): void {
    this.watchers.push(on);
  }
}

let el: HTMLElement;
let asked: Live[];
let output: StreamOutput;

const views = (): (string | null)[][] =>
  [...el.querySelectorAll("[data-sse-stream]")].map((view) =>
    ["data-sse-stream", "data-sse-status"].map((name) => view.getAttribute(name)),
  );
const ended = (more: Partial<Snapshot> = {}): Snapshot => ({ ...emptySnapshot("s"), seq: 3, status: "done", text: "all", ...more });

beforeEach(() => {
  el = document.createElement("div");
  document.body.replaceChildren(el);
  asked = [];
  output = new StreamOutput(el, (stream) => {
    const source = new Live(stream);
    asked.push(source);
    return source;
  });
});

test("a finished output needs no server", () => {
  output.show({ stream: "s", v: 1, snapshot: ended() });
  expect([views(), asked]).toEqual([[["s", "done"]], []]);
  expect(el.querySelector(".jsse-answer")?.textContent?.trim()).toBe("all");
});

test("the view of a run goes on as the view of its end", async () => {
  output.show({ stream: "s", v: 1 });
  output.show({ stream: "s", v: 1 });
  const [live] = asked as [Live];
  live.push(1, { type: "delta", text: "al" });
  live.setState("open");
  await drawn();
  const view = el.firstElementChild;
  output.show({ stream: "s", v: 1, snapshot: ended() });
  await drawn();
  expect(el.firstElementChild).toBe(view);
  expect([views(), asked.length, live.watchers]).toEqual([[["s", "done"]], 1, [true, false]]);
  expect(el.querySelector(".jsse-answer")?.textContent?.trim()).toBe("all");
});

test("the document's end takes the place of a failure to ask the server", async () => {
  output.show({ stream: "s", v: 1 });
  asked[0]?.setState("failed", { message: "Not there", code: "not_found", retryable: false });
  await drawn();
  expect(el.querySelector("[role=alert]")?.textContent).toContain("The server no longer has this stream");
  output.show({ stream: "s", v: 1, snapshot: ended() });
  await drawn();
  expect([views(), el.querySelector("[role=alert]")]).toEqual([[["s", "done"]], null]);
});

test("another stream has a view of its own, and what goes is left", async () => {
  output.show({ stream: "s", v: 1 });
  output.show({ stream: "other", v: 1 });
  expect([views(), asked[0]?.watchers]).toEqual([[["other", "running"]], [true, false]]);
  output.dispose();
  expect([views(), asked[1]?.watchers]).toEqual([[], [true, false]]);
});

test("beside the cell's output a stream shows what is not there, and all of it where that went", async () => {
  output.show({ stream: "s", v: 1, slim: true });
  const [live] = asked as [Live];
  live.push(1, { type: "log", text: "printed", source: "stdout" });
  live.push(2, { type: "preview", mime: "image/png", data: "AAAA", key: "output-1" });
  live.push(3, { type: "preview", mime: "image/png", data: "BBBB", key: "mine" });
  live.push(4, { type: "progress", bar: "main", n: 1, total: 3 });
  live.setState("open");
  await drawn();
  const parts = (): (string | null)[] => [...el.querySelectorAll("[data-sse-part]")].map((part) => part.getAttribute("data-sse-part"));
  expect([parts(), el.querySelectorAll("img").length]).toEqual([["progress", "preview", "result"], 1]);
  live.push(5, { type: "error", message: "Broken", code: "Broken", retryable: false });
  await drawn();
  expect([views(), el.textContent?.includes("Broken")]).toEqual([[["s", "error"]], false]);
  output.show({ stream: "s", v: 1 });
  asked[1]?.reset(live.snapshot);
  await drawn();
  expect([parts().includes("log"), el.querySelectorAll("img").length, el.textContent?.includes("Broken")]).toEqual([true, 2, true]);
});

test.each([null, "s", {}, { stream: "../x" }, { stream: "s", snapshot: null }, { stream: "s", snapshot: ended({ stream: "t" }) }])(
  "what is no bundle is not shown: %j",
  (data) => {
    expect(output.show(data)).toBeNull();
    expect([views(), asked]).toEqual([[], []]);
  },
);
