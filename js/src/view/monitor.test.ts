// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { drawn } from "../core/fakes";
import { Listing, type Entry } from "../core/listing";
import type { Multiplex } from "../core/multiplex";
import { StreamStore, type CancelAnswer } from "../core/source";
import { moment } from "./format";
import { mountMonitor } from "./monitor";

class Live extends StreamStore {
  watchers = 0;
  cancel(): Promise<CancelAnswer> {
    return Promise.resolve({ via: "producer", message: "" });
  }
  protected watched(on: boolean): void {
    this.watchers += on ? 1 : -1;
  }
}

const entry = (stream: string, more: Partial<Entry> = {}): Entry => ({
  stream, url: "", status: "running", kind: "task", title: stream, path: null, cell: null, execution: null, kernel: null,
  dismissed: false, seq: 1, bytes: 1, created: 1000, updated: 1060, ...more,
});

let page: { listing: Listing; source: (stream: string) => Live; cancel: () => Promise<CancelAnswer>; forget: (stream: string) => Promise<boolean> };
let sources: Record<string, Live>;
let forgotten: string[];
let unmount: () => void;
let see: (elements: Element[], seen: boolean) => void;

beforeEach(() => {
  vi.stubGlobal(
    "IntersectionObserver",
    class {
      constructor(tell: (changes: { target: Element; isIntersecting: boolean }[]) => void) {
        see = (elements, isIntersecting) => tell(elements.map((target) => ({ target, isIntersecting })));
      }
      observe(): void {}
      unobserve(): void {}
      disconnect(): void {}
    },
  );
  sources = {};
  forgotten = [];
  page = {
    listing: new Listing(() => undefined),
    source: (stream) => (sources[stream] ??= new Live(stream)),
    cancel: () => Promise.resolve({ via: "producer", message: "Asked." }),
    forget: (stream) => Promise.resolve(forgotten.push(stream) === 2),
  };
  location.hash = "#/";
  document.body.replaceChildren();
  unmount = mountMonitor(document.body, page as unknown as Multiplex, { notebooks: "/lab/tree/", notifyAfter: 60 });
});
afterEach(() => {
  unmount();
  vi.unstubAllGlobals();
});

async function go(hash: string): Promise<void> {
  const gone = new Promise((resolve) => addEventListener("hashchange", resolve, { once: true }));
  location.hash = hash;
  await gone;
  await drawn();
}
const rows = (): HTMLElement[] => [...document.querySelectorAll<HTMLElement>(".jsse-row")];
const titles = (): (string | null | undefined)[] => rows().map((row) => row.querySelector(".jsse-title")?.textContent);
async function listed(...streams: Entry[]): Promise<void> {
  page.listing.take({ type: "listed", streams, all: true });
  await drawn();
}

test("running streams come first, each where it belongs when it ends", async () => {
  await listed(entry("a", { created: 1 }), entry("b", { created: 2, status: "done" }), entry("c", { created: 3 }));
  expect(titles()).toEqual(["c", "a", "b"]);
  const before = rows()[1];
  page.listing.take({ type: "listed", streams: [entry("c", { created: 3, status: "error" })] });
  await drawn();
  expect([titles(), rows()[0] === before]).toEqual([["a", "c", "b"], true]);
  page.listing.take({ type: "listed", streams: [], gone: ["a", "b"] });
  await drawn();
  expect([titles(), document.querySelector("header")?.textContent]).toEqual([["c"], "Streams0 running, 1 endedNotify me"]);
});

test("only what is seen and runs is followed, and not without bound", async () => {
  const ended = Array.from({ length: 40 }, (_, index) => entry(`e${index}`, { status: "done" }));
  await listed(...ended);
  see(rows(), true);
  await listed(...ended, ...Array.from({ length: 40 }, (_, index) => entry(`s${index}`)));
  expect(Object.keys(sources)).toEqual([]);
  see(rows(), true);
  const followed = (): number => Object.values(sources).filter(({ watchers }) => watchers > 0).length;
  expect(followed()).toBe(30);
  see(rows(), false);
  expect(followed()).toBe(0);
  see(rows().slice(0, 1), true);
  sources[titles()[0] as string]?.push(1, { type: "progress", bar: "main", n: 1, total: 4 });
  await drawn();
  expect(rows()[0]?.querySelector("[role=progressbar]")?.getAttribute("aria-valuenow")).toBe("25");
  unmount();
  expect(followed()).toBe(0);
});

test("the address holds the filter, and nothing that it holds is trusted", async () => {
  await listed(entry("a", { title: "Bake <b>bread</b>", path: "x y/#1.ipynb" }), entry("b", { status: "error" }));
  expect(rows()[0]?.querySelector("b")).toBeNull();
  expect(rows()[0]?.querySelector(".jsse-row-kind")?.textContent).toBe("");
  expect(rows()[0]?.querySelector(".jsse-row-path")?.getAttribute("href")).toBe("/lab/tree/x%20y/%231.ipynb");
  const search = document.querySelector("input") as HTMLInputElement;
  search.value = "BREAD x";
  search.dispatchEvent(new Event("input"));
  expect([titles(), location.hash]).toEqual([["Bake <b>bread</b>"], "#/?q=BREAD+x"]);
  await go("#/?state=failed");
  expect([titles(), search.value]).toEqual([["b"], ""]);
  await listed(...page.listing.entries.filter(({ stream }) => stream !== "c"), entry("c", { kind: "answer", title: null, status: "done" }), entry("d", { kind: "answer", status: "done" }));
  await go("#/?q=answer");
  expect(rows().map((row) => ["title", "row-kind"].map((name) => row.querySelector(`.jsse-${name}`)?.textContent))).toEqual([["Answer", ""], ["d", "answer"]]);
  await listed(entry("a", { title: "Bake <b>bread</b>" }), entry("b", { status: "error" }));
  await go("#/?state=constructor&q=none");
  expect([titles(), document.querySelector(".jsse-empty")?.textContent]).toEqual([[], "No stream is like this.Show all"]);
  await go("#/../../api");
  expect(titles()).toEqual(["Bake <b>bread</b>", "b"]);
  await go("#/a");
  expect([document.querySelector("[data-sse-stream]")?.getAttribute("data-sse-stream"), sources["a"]?.watchers]).toEqual(["a", 1]);
});

test("a stream is forgotten by a second press, and again where that failed", async () => {
  await listed(entry("a", { status: "done" }));
  const button = document.querySelector<HTMLButtonElement>('[data-sse-action="forget"]') as HTMLButtonElement;
  button.click();
  expect([button.textContent, forgotten]).toEqual(["Really forget?", []]);
  button.click();
  await drawn();
  expect([button.textContent, forgotten]).toEqual(["Forget", ["a"]]);
  button.click();
  button.click();
  await drawn();
  button.click(); // while it is under way
  expect(forgotten).toEqual(["a", "a"]);
});

const trouble = (): HTMLElement => document.querySelector(".jsse-trouble") as HTMLElement;
const said = (): string | null | undefined => document.querySelector("main > [aria-live]")?.textContent;

test("a server that cannot be asked is told over what is listed, and asked again", async () => {
  await listed(entry("a"));
  see(rows(), true);
  const retry = vi.spyOn(page.listing, "retry");
  expect(trouble().hidden).toBe(true);
  page.listing.setState("failed", { message: "Too old.", code: "old", retryable: false });
  sources["a"]?.setState("failed");
  const asked = vi.spyOn(sources["a"] as Live, "retry");
  await drawn();
  expect([titles(), trouble().hidden, trouble().firstChild?.textContent]).toEqual([["a"], false, "Too old."]);
  trouble().querySelector("button")?.click();
  expect([retry.mock.calls.length, asked.mock.calls.length]).toEqual([1, 1]);
  await listed(entry("a"));
  expect(trouble().hidden).toBe(true);
});

test("who is no longer signed in is told how to be", async () => {
  page.listing.setState("failed", { message: "Not allowed. Send the token.", code: "forbidden", retryable: false, status: 403 });
  await drawn();
  expect(trouble().textContent).toBe("You are no longer signed in.Sign in");
});

test("those who hear the page are told what begins and ends, and nothing else", async () => {
  await listed(entry("a"), entry("b", { status: "done" }));
  expect(said()).toBe("");
  page.listing.take({ type: "listed", streams: [entry("a", { title: "New title" }), entry("c")] });
  await drawn();
  expect(said()).toBe("c: Running");
  page.listing.take({ type: "listed", streams: [entry("a", { status: "error" })] });
  await drawn();
  expect(said()).toBe("a: Failed");
  page.listing.take({ type: "listed", streams: ["1", "2", "3", "4"].map((stream) => entry(stream)) });
  await drawn();
  expect(said()).toBe("4 streams have begun or ended");
});

test("the focus stays where it was, or goes to what is nearest", async () => {
  await listed(entry("a", { created: 1 }), entry("b", { created: 2, status: "done" }), entry("c", { created: 3, status: "done" }));
  const focused = (): string | null | undefined => document.activeElement?.closest(".jsse-row")?.querySelector(".jsse-title")?.textContent;
  rows()[0]?.querySelector("a")?.focus();
  page.listing.take({ type: "listed", streams: [entry("a", { created: 1, status: "done" })] });
  await drawn();
  expect([titles(), focused()]).toEqual([["c", "b", "a"], "a"]);
  rows()[1]?.querySelector<HTMLElement>('[data-sse-action="forget"]')?.focus();
  page.listing.take({ type: "listed", streams: [], gone: ["b"] });
  await drawn();
  expect(focused()).toBe("a");
  page.listing.take({ type: "listed", streams: [], gone: ["a"] });
  await drawn();
  expect(focused()).toBe("c");
  await go("#/c");
  expect(document.activeElement?.className).toBe("jsse-back");
  await go("#/");
  expect(focused()).toBe("c");
});

test("time passes for what runs, and costs nothing for what has ended", async () => {
  vi.useFakeTimers({ now: new Date(2026, 10, 21, 23, 59, 50) });
  unmount();
  unmount = mountMonitor(document.body, page as unknown as Multiplex, { notebooks: null, notifyAfter: 60 });
  const now = Date.now() / 1000;
  page.listing.take({ type: "listed", streams: [entry("a", { created: now }), entry("b", { status: "done", created: now, updated: now })] });
  await vi.advanceTimersByTimeAsync(40);
  const [runs, ended] = rows().map((row) => row.querySelector(".jsse-row-facts") as HTMLElement);
  let draws = 0;
  new MutationObserver((changes) => (draws += changes.length)).observe(ended as HTMLElement, { childList: true, characterData: true, subtree: true });
  const clock = vi.spyOn(Date.prototype, "toLocaleTimeString");
  await vi.advanceTimersByTimeAsync(5000);
  expect([runs?.textContent, clock.mock.calls.length, draws]).toEqual(["Running · 0:05", 0, 0]);
  expect(ended?.textContent).not.toContain("21");
  await vi.advanceTimersByTimeAsync(6000);
  expect(ended?.textContent).toContain("21");
  vi.useRealTimers();
});

test.each([
  [new Date(2026, 10, 21, 9, 5), /^\D*0?9:05/],
  [new Date(2026, 10, 20, 9, 5), /20.*9:05/],
  [new Date(2025, 10, 21, 9, 5), /2025.*9:05/],
])("a moment says as much as is needed", (then, said) => {
  expect(moment(then.getTime() / 1000, new Date(2026, 10, 21, 12))).toMatch(said);
});
