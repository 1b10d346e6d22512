// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { StreamEvent, UnknownEvent } from "../core/events";
import { StreamStore, type CancelAnswer } from "../core/source";
import { mount } from "./mount";

class Scripted extends StreamStore {
  answers: CancelAnswer[] = [];
  watchers: boolean[] = [];
  #seq = 0;

  add(...events: (Partial<StreamEvent> | UnknownEvent)[]): Promise<unknown> {
    for (const event of events) this.push((this.#seq += 1), event as StreamEvent);
    this.setState("open");
    return drawn();
  }

  cancel(): Promise<CancelAnswer> {
    const answer = this.answers.shift();
    return answer ? Promise.resolve(answer) : Promise.reject(new Error("no answer"));
  }

  protected watched(on: boolean): void {
    this.watchers.push(on);
  }
}

let el: HTMLElement;
let source: Scripted;
let dispose: () => void;

const drawn = (): Promise<unknown> => vi.advanceTimersByTimeAsync(40);
const $ = <E extends HTMLElement = HTMLElement>(selector: string): E | null => el.querySelector<E>(selector);
const root = (): HTMLElement => $("[data-sse-stream]") as HTMLElement;
const part = (name: string): HTMLElement | null => $(`[data-sse-part="${name}"]`);
const text = (selector: string): string => $(selector)?.textContent ?? "";
const start = (more: object = {}): StreamEvent =>
  ({ type: "start", ts: Date.now() / 1000, kind: "task", status: "running", cancellable: true, title: "Work", ...more }) as StreamEvent;
const bar = (more: object): StreamEvent => ({ type: "progress", bar: "main", n: 0, ...more }) as StreamEvent;

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  el = document.createElement("div");
  document.body.append(el);
  source = new Scripted("stream-1");
  dispose = mount(el, { source });
});
afterEach(() => {
  dispose();
  expect(el.children).toHaveLength(0);
  el.remove();
  vi.useRealTimers();
});

test("says which stream it shows, and how that stands", async () => {
  expect(root().dataset).toMatchObject({ sseStream: "stream-1", sseStatus: "running" });
  expect(text(".jsse-status")).toBe("Connecting");
  await source.add(start());
  expect([text(".jsse-title"), text(".jsse-status"), text(".jsse-time")]).toEqual(["Work", "Running", "0:00"]);
  await vi.advanceTimersByTimeAsync(75_000);
  expect(text(".jsse-time")).toBe("1:15");
  source.setState("reconnecting");
  await drawn();
  expect([root().dataset["sseStatus"], text(".jsse-status")]).toEqual(["reconnecting", "Reconnecting"]);
  await source.add({ type: "done", reason: "stop", ts: Date.now() / 1000 });
  await vi.advanceTimersByTimeAsync(60_000);
  expect([root().dataset["sseStatus"], text(".jsse-status"), text(".jsse-time")]).toEqual(["done", "Done", "1:15"]);
});

test("parts appear as they are needed, in one order", async () => {
  await source.add(start(), { type: "log", text: "line", source: "stdout" });
  expect([...el.querySelectorAll("[data-sse-part]")].map((part) => part.getAttribute("data-sse-part"))).toEqual(["log", "result"]);
  await source.add(
    { type: "usage", input_tokens: 1200, output_tokens: 3, cost: 0.0123 },
    { type: "delta", text: "Hello" },
    { type: "tool", id: "1", name: "search", phase: "call", args: { q: "sky" } },
    { type: "step", step: 1, of: 2, message: "Load" },
    { type: "preview", mime: "image/png", data: "AA==" },
    bar({ n: 1 }),
  );
  await vi.advanceTimersByTimeAsync(2000);
  expect([...el.querySelectorAll("[data-sse-part]")].map((part) => part.getAttribute("data-sse-part"))).toEqual([
    "progress", "steps", "tool", "answer", "preview", "log", "usage", "result",
  ]);
  expect(part("usage")?.textContent).toBe("1,200 tokens in, 3 out · $0.012");
  expect(part("answer")?.textContent).toContain("Hell");
  await source.add({ type: "done", reason: "stop", result: { loss: 0.5 } });
  expect(part("answer")?.textContent).toContain("Hello");
  expect(part("result")?.textContent).toContain('"loss": 0.5');
});

test("a bar is a progressbar, with rate and ETA as tqdm has them", async () => {
  await source.add(start(), bar({ n: 25, total: 100, rate: 12.34, eta: 42 }));
  const progress = $("[role=progressbar]") as HTMLElement;
  expect(progress.getAttribute("aria-valuenow")).toBe("25");
  expect(progress.getAttribute("aria-label")).toBe("Work");
  expect(text(".jsse-bar-figures")).toBe("25 % · 25/100 · 12.3 it/s · ETA 0:42");
  await source.add(bar({ n: 30, rate: 0.25 }));
  expect($("[role=progressbar]")).toBe(progress);
  expect(text(".jsse-bar-figures")).toBe("30 % · 30/100 · 4.0 s/it");
  await source.add(bar({ n: 100 }));
  expect($(".jsse-bar")?.dataset["state"]).toBe("complete");
});

test.each([
  [{ n: 7 }, null, "indeterminate", "7 it"],
  [{ n: 0, total: 0 }, "100", "complete", "0/0"],
  [{ n: 12, total: 10 }, "100", "complete", "100 % · 12/10"],
  [{ n: 1, pct: 33.333 }, "33.3", "running", "33 %"],
  [{ n: null, total: 10 }, null, "indeterminate", "?/10"],
])("a bar of %j", async (fields, valuenow, state, figures) => {
  await source.add(start(), bar(fields));
  expect($("[role=progressbar]")?.getAttribute("aria-valuenow")).toBe(valuenow);
  expect($(".jsse-bar")?.dataset["state"]).toBe(state);
  expect(text(".jsse-bar-figures")).toBe(figures);
});

test("a bar that was cancelled does not look finished", async () => {
  await source.add(start(), bar({ n: 30, total: 100 }), bar({ bar: "endless", n: 5 }), { type: "done", reason: "cancelled" });
  const fills = [...el.querySelectorAll<HTMLElement>(".jsse-bar-fill")].map((fill) => fill.style.width);
  expect(fills).toEqual(["30%", "0%"]);
  expect([...el.querySelectorAll<HTMLElement>(".jsse-bar")].map((bar) => bar.dataset["state"])).toEqual(["cancelled", "cancelled"]);
});

test("bars stand below their parents, and a circle of parents does no harm", async () => {
  await source.add(start(), bar({ bar: "a", parent: "b" }), bar({ bar: "b" }), bar({ bar: "x", parent: "y" }), bar({ bar: "y", parent: "x" }));
  const bars = [...el.querySelectorAll<HTMLElement>(".jsse-bar")];
  expect(bars.map((bar) => [bar.querySelector(".jsse-bar-label")?.textContent, bar.style.getPropertyValue("--jsse-depth")])).toEqual([
    ["b", "0"], ["a", "1"], ["x", "0"], ["y", "1"],
  ]);
});

test("cancel asks, then interrupts, and says which way acted", async () => {
  await source.add(start());
  const button = $<HTMLButtonElement>('button[data-sse-action="cancel"]') as HTMLButtonElement;
  expect([button.textContent, button.hidden]).toEqual(["Cancel", false]);
  source.answers = [
    { via: "producer", message: "Asked it to stop." },
    { via: "interrupt", message: "Interrupted the kernel." },
  ];
  button.click();
  await drawn();
  expect([text(".jsse-status"), button.textContent, button.disabled, text(".jsse-note")]).toEqual([
    "Cancelling…", "Interrupt", false, "Asked it to stop.",
  ]);
  button.click();
  await drawn();
  expect(text(".jsse-note")).toBe("Interrupted the kernel.");
  await source.add({ type: "done", reason: "cancelled" });
  expect([root().dataset["sseStatus"], text(".jsse-status"), button.hidden]).toEqual(["cancelled", "Cancelled, kernel interrupted", true]);
});

test("nothing is said of a cancel that is answered after the end", async () => {
  await source.add(start());
  let answer: (told: CancelAnswer) => void = () => undefined;
  source.cancel = () => new Promise((resolve) => (answer = resolve));
  $<HTMLButtonElement>('button[data-sse-action="cancel"]')?.click();
  await source.add({ type: "done", reason: "cancelled" });
  answer({ via: "producer", message: "The producer has been told." });
  await drawn();
  expect([text(".jsse-status"), text(".jsse-note")]).toEqual(["Cancelled", ""]);
});

test("a cancel that did not get through can be pressed again", async () => {
  await source.add(start());
  source.answers = [{ via: "failed", message: "The server could not be reached. Try again." }];
  $<HTMLButtonElement>('button[data-sse-action="cancel"]')?.click();
  await drawn();
  expect([text(".jsse-status"), text('button[data-sse-action="cancel"]'), text(".jsse-note")]).toEqual([
    "Running", "Cancel", "The server could not be reached. Try again.",
  ]);
});

test("there is no cancel button where nothing can be cancelled", async () => {
  await source.add(start({ cancellable: false }));
  expect($<HTMLButtonElement>('button[data-sse-action="cancel"]')?.hidden).toBe(true);
});

test("an error is shown with its message and code", async () => {
  await source.add(start(), { type: "error", message: "out of memory", code: "MemoryError", retryable: false });
  expect([root().dataset["sseStatus"], text("[role=alert]")]).toEqual(["error", "out of memoryMemoryError"]);
});

test("a stream that cannot be had says why, and can be tried again", async () => {
  source.setState("failed", { message: "There is no such stream.", code: "not_found", retryable: false });
  await drawn();
  expect(root().dataset["sseStatus"]).toBe("error");
  expect(text("[role=alert]")).toContain("The server no longer has this stream");
  const before = source.watchers.length;
  $<HTMLButtonElement>('button[data-sse-action="retry"]')?.click();
  expect(source.watchers.slice(before)).toEqual([true]);
  await source.add(start());
  expect([root().dataset["sseStatus"], $("[role=alert]")]).toEqual(["running", null]);
});

test("ten thousand lines leave the last 200 in the page", async () => {
  for (let index = 0; index < 10_000; index += 1) {
    source.push(index + 1, { type: "log", text: `line ${index}`, source: "stdout" });
    if (index % 1500 === 0) await drawn();
  }
  await drawn();
  const lines = el.querySelectorAll(".jsse-line");
  expect([lines.length, lines[0]?.textContent, lines[199]?.textContent]).toEqual([200, "line 9800", "line 9999"]);
  expect(text(".jsse-log-earlier")).toBe("… 9,800 earlier lines");
});

test("much at once is drawn once", async () => {
  await source.add(start());
  const frames = vi.spyOn(globalThis, "requestAnimationFrame");
  for (let index = 0; index < 5000; index += 1) {
    source.push(index + 2, bar({ n: index, total: 5000 }));
    if (index % 100 === 0) await Promise.resolve();
  }
  await drawn();
  expect(frames).toHaveBeenCalledTimes(1);
  frames.mockRestore();
  expect($("[role=progressbar]")?.getAttribute("aria-valuenow")).toBe("100");
});

test("a screen reader hears of changes of state, not of tokens or every step", async () => {
  const said = new Set<string>();
  await source.add(start());
  await vi.advanceTimersByTimeAsync(6000);
  for (let step = 1; step <= 50; step += 1) {
    await source.add({ type: "step", step, message: `part ${step}` }, { type: "delta", text: "x" });
    said.add(text("[aria-live=polite]"));
  }
  expect(said.size).toBeLessThan(3);
  await vi.advanceTimersByTimeAsync(6000);
  expect(text("[aria-live=polite]")).toBe("Work: running: part 50");
  await source.add({ type: "error", message: "no disk", code: "OSError", retryable: false });
  expect(text("[aria-live=polite]")).toBe("Work: error: no disk");
});

test("nothing of a stream becomes markup, script, or a request", async () => {
  const evil = `"><img src=x onerror="alert(1)"><script>alert(1)</script>`;
  await source.add(
    start({ title: evil }),
    { type: "step", step: 1, message: evil },
    bar({ bar: evil, message: evil, unit: evil, n: 1 }),
    { type: "reasoning", text: evil },
    { type: "tool", id: "1", name: evil, phase: "result", args: { a: evil }, result: evil },
    { type: "delta", text: `${evil}\n\n![i](https://example.org/beacon.png) [l](javascript:alert(1)) [d](data:text/html;base64,AA)` },
    { type: "log", text: evil, source: "stdout", level: evil },
    { type: "preview", mime: "text/html", data: "PHNjcmlwdD4=", alt: evil },
    { type: "preview", mime: "image/svg+xml", url: "javascript:alert(1)", alt: evil },
    { type: "preview", mime: 'image/png" onerror="alert(1)', data: "AA==", alt: evil },
    { type: "done", reason: "stop", result: "javascript:alert(1)" },
  );
  expect(text(".jsse-answer")).toContain("<script>alert(1)</script>");
  expect(el.querySelector("script, img, iframe, object, embed")).toBeNull();
  for (const element of el.querySelectorAll("*")) {
    for (const { name, value } of element.attributes) {
      expect(name).not.toMatch(/^on/);
      if (name === "href" || name === "src") expect(value).not.toMatch(/^(javascript|data|vbscript):/i);
    }
  }
});

test("a preview with the same key takes the other's place", async () => {
  await source.add(
    { type: "preview", mime: "image/png", data: "AA==", key: "loss", alt: "Loss" },
    { type: "preview", mime: "image/png", data: "AQ==", key: "other" },
  );
  const [, other] = el.querySelectorAll("img");
  await source.add({ type: "preview", mime: "image/png", data: "Ag==", key: "loss" });
  const images = el.querySelectorAll("img");
  expect([...images].map((image) => image.getAttribute("src"))).toEqual(["data:image/png;base64,Ag==", "data:image/png;base64,AQ=="]);
  expect(images[1]).toBe(other);
});

test("a stream that is over when it is first shown is shown whole", async () => {
  await source.add(start({ title: "Answer" }), { type: "delta", text: "**all** of it" }, { type: "done", reason: "length" });
  const other = document.createElement("div");
  const away = mount(other, { source });
  expect(other.querySelector('[data-sse-part="answer"] strong')?.textContent).toBe("all");
  expect(other.querySelector(".jsse-status")?.textContent).toBe("Done, cut at its length limit");
  away();
});

test("every block says its own direction, and code is left to right", async () => {
  await source.add(start({ title: "سؤال" }), { type: "delta", text: "مرحبا\n\n- بند\n\n> اقتباس\n\n    code\n" }, { type: "done", reason: "stop" });
  for (const selector of ["p", "ul", "li", "blockquote"]) {
    expect($(`.jsse-answer ${selector}`)?.getAttribute("dir")).toMatch(/^(auto|rtl)$/);
  }
  expect($(".jsse-answer pre")?.getAttribute("dir")).toBe("ltr");
  expect($(".jsse-title")?.getAttribute("dir")).toBe("auto");
});
