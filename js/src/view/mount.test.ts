// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { StreamEvent, UnknownEvent } from "../core/events";
import { StreamStore, type CancelAnswer } from "../core/source";
import { emptySnapshot } from "../core/state";
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
    "steps", "progress", "tool", "answer", "preview", "log", "usage", "result",
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

const labels = (): string[] => [...el.querySelectorAll(".jsse-bar-label")].map((label) => label.textContent);
const figures = (): string[] => [...el.querySelectorAll(".jsse-bar-figures")].map((one) => one.textContent);

test("the title of one bar stands above it, those of several beside them", async () => {
  await source.add(start({ kind: "bars", title: "Load" }), bar({ n: 1, total: 4 }), bar({ bar: "inner", parent: "main" }));
  expect([text(".jsse-title"), ...labels()]).toEqual(["Load", "", "inner"]);
  await source.add(bar({ bar: "main 2", label: "Train" }));
  expect([text(".jsse-title"), ...labels()]).toEqual(["", "Load", "inner", "Train"]);
  expect(el.querySelectorAll('[role="progressbar"][aria-label="Load"]')).toHaveLength(1);
});

test("a bar with a name has what is said of it among its figures, in prefixes where it has a scale", async () => {
  await source.add(
    start(),
    bar({ bar: "file", n: 1536, total: 4096, rate: 2048, unit: "B", scale: 1024, message: "part=2", state: "early" }),
    bar({ n: 999_999, unit: "B", scale: 1000, message: "no name" }),
    bar({ bar: "fraction", n: 2.5, unit: "h", label: "" }),
    bar({ bar: "arabic", n: 50, total: 100, rate: 13_680, unit: "دفعة" }),
  );
  expect(labels()).toEqual(["file", "no name", "", "arabic"]);
  const arabic = "50 % · 50/100 · 13,680 \u2068دفعة\u2069/s";
  expect(figures()).toEqual(["37 % · 1.5 k/4 k · 2 kB/s · part=2 · stopped early", "1 MB", "2.5 h", arabic]);
  expect($(".jsse-bar")?.dataset["state"]).toBe("early");
});

test("a bar that is not to be left vanishes, and with the last one the whole view", async () => {
  await source.add(start({ kind: "bars" }), bar({ n: 4, total: 4 }), bar({ bar: "inner", n: 1, total: 2, parent: "main" }));
  await source.add(bar({ bar: "inner", n: 2, total: 2, state: "removed" }));
  expect(el.querySelectorAll(".jsse-bar")).toHaveLength(1);
  await source.add(bar({ n: 4, state: "removed" }));
  expect(root().hidden).toBe(false);
  await source.add({ type: "done", reason: "stop" });
  expect([el.querySelectorAll(".jsse-bar").length, root().hidden]).toEqual([0, true]);
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
  await source.add({ type: "done", reason: "cancelled", via: "interrupt" });
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

test("a stream that begins anew has nothing of what was, and its time passes again", async () => {
  await source.add(
    start({ ts: Date.now() / 1000 - 60 }),
    { type: "step", step: 1, message: "one" },
    { type: "tool", id: "a", name: "search", phase: "call" },
    { type: "reasoning", text: "hm" },
    { type: "delta", text: "half" },
    { type: "audio", mime: "audio/mpeg", n: 0, data: "AAAA" },
    { type: "log", text: "line\n", source: "stdout" },
    { type: "usage", input_tokens: 1, output_tokens: 1 },
    { type: "error", message: "tired", code: "x", retryable: true },
  );
  await vi.advanceTimersByTimeAsync(5000);
  source.reset(emptySnapshot("stream-1"));
  await drawn();
  expect($(".jsse-body")?.children).toHaveLength(0);
  await source.add(start(), { type: "delta", text: "whole" });
  await vi.advanceTimersByTimeAsync(3000);
  expect([$(".jsse-body")?.textContent, text(".jsse-status")]).toEqual(["whole", "Running"]);
  expect(text(".jsse-time")).toMatch(/^0:0[23]$/);
});

test("of ten thousand lines a few are in the page", async () => {
  for (let index = 0; index < 10_000; index += 1) {
    source.push(index + 1, { type: "log", text: `line ${index}`, source: "stdout" });
    if (index % 1500 === 0) await drawn();
  }
  await drawn();
  const lines = el.querySelectorAll(".jsse-line");
  expect(lines.length).toBe(200);
  expect(lines[lines.length - 1]?.textContent).toBe("line 9999");
  expect(text(".jsse-log-place")).toBe("10,000 lines, the last 200 here");
});

test("a line that is drawn again is replaced where it stands", async () => {
  const bar = (text: string) => ({ type: "log", text, source: "stderr", key: "stderr-1" }) as const;
  await source.add(start(), { type: "log", text: "before", source: "stdout" }, bar("10 %"));
  await source.add({ type: "log", text: "after", source: "stdout" }, bar("\x1b[32m100 %\x1b[0m"));
  const lines = (): (string | null)[] => [...el.querySelectorAll(".jsse-line")].map((line) => line.textContent);
  expect(lines()).toEqual(["before", "100 %", "after"]);
  expect(el.querySelector(".jsse-line span")?.textContent).toBe("100 %");
  const text = Array.from({ length: 199 }, (_, index) => `line ${index}`).join("\n");
  await source.add({ type: "log", text, source: "stdout" });
  expect(lines().at(-1)).toBe("line 198");
  await source.add(bar("again"));
  expect(lines().slice(-2)).toEqual(["line 198", "again"]);
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

/** Pictures that can be seen once the test says so. */
function undecoded(): { done: () => void; fail: () => void; src: string }[] {
  const asked: { done: () => void; fail: () => void; src: string }[] = [];
  HTMLImageElement.prototype.decode = function (this: HTMLImageElement) {
    return new Promise((done, fail) => asked.push({ done, fail: () => fail(new Error("no picture")), src: this.src.slice(-4) }));
  };
  return asked;
}
const frame = (data: string, key: string, alt?: string): Partial<StreamEvent> => ({ type: "preview", mime: "image/png", data, key, ...(alt ? { alt } : {}) });
const images = (): (string | null)[] => [...el.querySelectorAll("img")].map((image) => image.getAttribute("src")?.slice(-4) ?? null);

test("a preview with the same key takes the other's place once it can be seen; what comes meanwhile is next, but for the last passed over", async () => {
  const asked = undecoded();
  await source.add(frame("AA==", "loss", "Loss"), frame("AQ==", "other"));
  const [, other] = el.querySelectorAll("img");
  await source.add(frame("Ag==", "loss", "Second"));
  expect([images(), text("figcaption")]).toEqual([["AA==", "AQ=="], "Loss"]);
  await source.add(frame("Aw==", "loss", "Third"));
  await source.add(frame("BA==", "loss", "Fourth"));
  asked[0]?.done();
  await drawn();
  expect([images(), text("figcaption")]).toEqual([["Ag==", "AQ=="], "Second"]);
  asked[1]?.done();
  await drawn();
  expect([images(), asked.map(({ src }) => src)]).toEqual([["BA==", "AQ=="], ["Ag==", "BA=="]]);
  expect(el.querySelectorAll("img")[1]).toBe(other);
});

test("a frame that is no longer there, or does not come, is passed over for the one after it", async () => {
  const asked = undecoded();
  for (const data of ["AA==", "AQ==", "Ag=="]) await source.add(frame(data, "film"));
  asked[0]?.fail();
  await drawn();
  expect([images(), asked.map(({ src }) => src)]).toEqual([["AA=="], ["AQ==", "Ag=="]]);
  await source.add(frame("Aw==", "film"));
  await vi.advanceTimersByTimeAsync(6000);
  asked[2]?.done();
  asked[1]?.done(); // too late
  await drawn();
  expect(images()).toEqual(["Aw=="]);
});

test("sound and films have a name to be found by, as pictures have", async () => {
  await source.add(
    { type: "preview", mime: "audio/wav", url: "/a.wav", alt: "A bell", key: "a" },
    { type: "preview", mime: "video/mp4", url: "/a.mp4", alt: "A pond", key: "b" },
    { type: "preview", mime: "video/mp4", url: "/b.mp4", key: "c" },
  );
  expect([...el.querySelectorAll("audio, video")].map((media) => media.getAttribute("aria-label"))).toEqual(["A bell", "A pond", null]);
});

test("what cannot be loaded says so", async () => {
  await source.add({ type: "preview", mime: "video/mp4", url: "/jupyter-sse/streams/x/media/gone.mp4", alt: "Film" });
  el.querySelector("video")?.dispatchEvent(new Event("error"));
  expect(part("preview")?.textContent).toContain("Film: could not be loaded");
});

test("what cannot be loaded in the place of a picture says so too, though it fails before it is shown", async () => {
  let fail = (): void => undefined;
  HTMLImageElement.prototype.decode = function (this: HTMLImageElement) {
    return new Promise((_, reject) => {
      fail = () => {
        this.dispatchEvent(new Event("error"));
        reject(new Error("no picture"));
      };
    });
  };
  const preview = { type: "preview", mime: "image/png", key: "loss", alt: "Loss" } as const;
  await source.add({ ...preview, data: "AA==" });
  await source.add({ ...preview, url: "/jupyter-sse/streams/x/media/gone.png" });
  fail();
  await drawn();
  expect([el.querySelector("img"), text(".jsse-preview .jsse-muted")]).toEqual([null, "Loss: could not be loaded"]);
});

test("a bar that is gone is kept nowhere", async () => {
  await source.add(start(), bar({ n: 1, total: 2 }), bar({ bar: "inner", n: 1, total: 2 }));
  const inner = el.querySelectorAll(".jsse-bar")[1];
  await source.add(bar({ bar: "inner", n: 2, total: 2, state: "removed" }));
  await source.add(bar({ bar: "inner", n: 0, total: 2 }));
  const bars = el.querySelectorAll(".jsse-bar");
  expect([bars.length, bars[1] === inner]).toEqual([2, false]);
});

test("the traceback is folded, with its colours and without markup", async () => {
  const traceback = 'Traceback (most recent call last):\n  File "\x1b[32mx.py\x1b[0m"\n<b>ValueError</b>: no';
  await source.add(start(), { type: "error", message: "\x1b[31mValueError\x1b[0m: no", code: "ValueError", retryable: false, traceback });
  expect(text("[role=alert]")).toBe("ValueError: no");
  const details = part("result")?.querySelector("details");
  expect([details?.open, details?.querySelector("pre")?.textContent]).toEqual([false, 'Traceback (most recent call last):\n  File "x.py"\n<b>ValueError</b>: no']);
  expect(details?.querySelector("b")).toBeNull();
  // The colours have names, which are known within some elements only.
  const [, selector = ""] = /\n([^{}*]+)\{\s*--jsse-ansi-0:/.exec(text("style")) ?? [];
  const coloured = [...el.querySelectorAll<HTMLElement>("span[style]")].filter(({ style }) => style.color.includes("--jsse-ansi"));
  expect(coloured.map((span) => span.closest(selector)?.className)).toEqual(["jsse-error-message", "jsse-traceback"]);
});

test("the current step is on top with its time, and five before it are shown", async () => {
  for (let step = 1; step <= 8; step += 1) {
    await source.add({ type: "step", step, of: 8, message: `part ${step}`, ts: Date.now() / 1000 });
    await vi.advanceTimersByTimeAsync(2000);
  }
  await vi.advanceTimersByTimeAsync(65_000);
  expect(text(".jsse-step-current")).toMatch(/^\[8\] part 8 \(8 of 8\)1:0[678]$/);
  const items = [...el.querySelectorAll(".jsse-steps > ol > li")].map((item) => item.textContent);
  expect(items).toEqual([3, 4, 5, 6, 7].map((step) => `[${step}] part ${step}0:02`));
  expect([el.querySelector<HTMLDetailsElement>(".jsse-more")?.open, text(".jsse-more summary")]).toEqual([false, "2 earlier steps"]);
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

test.each([
  [{ reason: "cancelled", via: "producer" }, "Cancelled by the task at its next step"],
  [{ reason: "cancelled", via: "interrupt" }, "Cancelled, kernel interrupted"],
  [{ reason: "cancelled" }, "Cancelled"],
  [{ reason: "timeout", via: "interrupt" }, "Timed out"],
])("says to everybody which way of stopping it acted: %j", async (end, words) => {
  await source.add(start(), { type: "done", ...end } as StreamEvent);
  expect([text(".jsse-status"), root().dataset["sseReason"]]).toEqual([words, end.reason]);
});

test.each([
  [{}, 119_000, ""],
  [{}, 125_000, "no news for 2 min"],
  [{}, 3_720_000, "no news for 1 h 2 min"],
  [{ stall: 5 }, 6_000, "no news for 6 s"],
  [{ stall: 0 }, 3_600_000, ""],
])("says when there is no news: %j after %d ms", async (more, after, words) => {
  await source.add(start(more));
  await vi.advanceTimersByTimeAsync(after);
  expect(text(".jsse-news")).toBe(words);
  await source.add({ type: "log", text: "x" });
  expect(text(".jsse-news")).toBe("");
  await source.add({ type: "done" });
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(text(".jsse-news")).toBe("");
});

test("who joins late is told when the last event came", async () => {
  source.reset({ ...source.snapshot, seq: 5, started: 100 }, Date.now() / 1000 - 300);
  source.setState("open");
  await drawn();
  expect(text(".jsse-news")).toBe("no news for 5 min");
});
