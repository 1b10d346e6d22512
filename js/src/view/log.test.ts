// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { LogEvent, Snapshot } from "../core/events";
import { pattern, type Found, type History, type LinesTold } from "../core/history";
import { emptySnapshot } from "../core/state";
import { h } from "./dom";
import { highlight, logLine } from "./logline";
import { Log } from "./log";

const LINE = 17.5;
const VIEW = 175;
const EDGE = 50; // where the box is on the screen

/** Every hundredth line is wrapped. */
const heightOf = (element: Element): number =>
  element.classList.contains("jsse-line") ? (element.textContent?.endsWith("00") ? 3 * LINE : LINE) : parseFloat((element as HTMLElement).style.height) || 0;
const heightsOf = (box: Element): number => [...box.children].reduce((sum, child) => sum + heightOf(child), 0);

function layOut(): void {
  const isBox = (element: Element): boolean => element.classList.contains("jsse-log-lines");
  vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockImplementation(function (this: HTMLElement) {
    return isBox(this) ? VIEW : 0;
  });
  vi.spyOn(HTMLElement.prototype, "scrollHeight", "get").mockImplementation(function (this: HTMLElement) {
    return isBox(this) ? Math.max(VIEW, heightsOf(this)) : 0;
  });
  let top = 0;
  const scroll = (element: Element, px: number): number => (top = Math.max(0, Math.min(px, element.scrollHeight - VIEW)));
  vi.spyOn(Element.prototype, "scrollTop", "get").mockImplementation(function (this: Element) {
    return scroll(this, top); // it may have become less high
  });
  vi.spyOn(Element.prototype, "scrollTop", "set").mockImplementation(function (this: Element, px: number) {
    scroll(this, px);
  });
  vi.spyOn(Element.prototype, "scrollTo").mockReturnValue(undefined); // nothing is scrolled smoothly
  vi.spyOn(HTMLElement.prototype, "getBoundingClientRect").mockImplementation(function (this: HTMLElement) {
    const box = this.parentElement;
    void (isBox(this) && this.scrollTop); // it is laid out
    if (!box || !isBox(box)) return new DOMRect(0, EDGE, 100, VIEW);
    let top = EDGE - box.scrollTop;
    for (const child of box.children) {
      if (child === this) break;
      top += heightOf(child);
    }
    return new DOMRect(0, top, 100, heightOf(this));
  });
}

/** A server that has `count` lines. */
class Server implements History {
  asked: string[] = [];
  failing: { code: string; message: string } | null = null;
  constructor(public count: number) {}

  audio = (): never => {
    throw new Error("not asked");
  };

  lines(before: number, limit: number): Promise<LinesTold> {
    this.asked.push(`${before - limit}-${before - 1}`);
    if (this.failing) return Promise.reject(this.failing as unknown as Error);
    const lines = Array.from({ length: limit }, (_, index) => ({ ...line(before - limit + index), line: before - limit + index }));
    return Promise.resolve({ count: this.count, first: 1, lines });
  }

  find(text: string, after: number): Promise<Found> {
    this.asked.push(`${text} after ${after}`);
    if (this.failing) return Promise.reject(this.failing as unknown as Error);
    const all = Array.from({ length: this.count - after }, (_, index) => after + index + 1).filter((number) => `line ${number}`.includes(text));
    return Promise.resolve({ count: this.count, total: all.length, matches: all.slice(-10_000) });
  }
}

const line = (number: number): LogEvent => ({ type: "log", text: `line ${number}`, source: "stdout" });
const state = (count: number): Snapshot => ({
  ...emptySnapshot("s"),
  log: { count, lines: Array.from({ length: Math.min(200, count) }, (_, index) => line(count - Math.min(200, count) + index + 1)) },
});

let log: Log;
let server: Server;
const $ = <E extends HTMLElement>(selector: string): E => log.element.querySelector<E>(selector) as E;
const box = (): HTMLElement => $(".jsse-log-lines");
const rows = (): HTMLElement[] => [...log.element.querySelectorAll<HTMLElement>(".jsse-line")];
const seen = (): string[] =>
  rows()
    .filter((row) => row.getBoundingClientRect().bottom > EDGE + 1 && row.getBoundingClientRect().top < EDGE + VIEW - 1)
    .map((row) => row.textContent ?? "");
const settled = (): Promise<unknown> => vi.advanceTimersByTimeAsync(60);

async function scrollTo(px: number): Promise<void> {
  box().scrollTop = px;
  box().dispatchEvent(new Event("scroll"));
  await settled();
}

async function type(text: string): Promise<void> {
  $<HTMLInputElement>("input").value = text;
  $("input").dispatchEvent(new Event("input"));
  await vi.advanceTimersByTimeAsync(300);
}

const press = (key: string, more: object = {}): void => void $("input").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, ...more }));

beforeEach(() => {
  vi.useFakeTimers();
  layOut();
  server = new Server(100_000);
  log = new Log({ history: server });
  document.body.append(log.element);
});
afterEach(() => {
  log.dispose();
  log.element.remove();
  getSelection()?.removeAllRanges();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

test("of a hundred thousand lines a few are in the page, and the end of them is seen", () => {
  log.update(state(100_000));
  expect(rows().length).toBe(200); // what every state has
  expect(seen().at(-1)).toBe("line 100000");
  expect($(".jsse-log-place").textContent).toBe("100,000 lines");
  expect(server.asked).toEqual([]);
  expect(box().scrollHeight).toBeGreaterThan(99_000 * LINE);
});

test("what comes is followed until the reader scrolls up, and again from the end", async () => {
  log.update(state(500));
  log.update(state(501));
  expect(seen().at(-1)).toBe("line 501");
  await scrollTo(box().scrollTop - 100);
  const before = seen();
  log.update(state(560));
  log.update(state(900));
  expect(seen()).toEqual(before);
  expect(rows().length).toBeLessThan(150);
  expect($(".jsse-log-latest").hidden).toBe(false);
  $(".jsse-log-latest").click();
  expect([seen().at(-1), $(".jsse-log-latest").hidden]).toEqual(["line 900", true]);
  await scrollTo(0);
  await scrollTo(1e9);
  log.update(state(901));
  expect(seen().at(-1)).toBe("line 901");
});

test("a reader who has just gone back is not taken to the end by what comes in the same frame", () => {
  const goals: [string, () => unknown][] = [
    ["line 1", () => box().dispatchEvent(new KeyboardEvent("keydown", { key: "Home" }))],
    ["line 51", () => ((box().scrollTop = 50 * LINE), box().dispatchEvent(new Event("scroll")))],
  ];
  let lines = 150;
  for (const [line, go] of goals) {
    log.update(state(lines));
    go();
    log.update(state((lines += 1)));
    expect(seen()[0]).toBe(line);
    box().dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
    expect(seen().at(-1)).toBe(`line ${lines}`);
  }
});

test("the reader scrolls back to the first line, and on from anywhere", async () => {
  log.update(state(100_000));
  await scrollTo(0);
  expect(seen()[0]).toBe("line 1");
  expect(server.asked).toEqual(["1-200"]);
  expect($(".jsse-log-place").textContent).toBe("Line 1 of 100,000");
  await scrollTo(50_000 * LINE);
  expect(seen()[0]).toMatch(/line (499|500)\d\d/);
  expect(rows().length).toBeLessThan(150);
});

test("line by line, up and down, nothing is left out or jumps", async () => {
  log.update(state(100_000));
  await scrollTo(box().scrollHeight / 2);
  for (const step of [-40, 40]) {
    for (let count = 0; count < 300; count += 1) {
      const top = rows().find((row) => row.getBoundingClientRect().bottom > EDGE) as HTMLElement;
      const [text, at] = [top.textContent, top.getBoundingClientRect().top];
      await scrollTo(box().scrollTop + step);
      const now = rows().find((row) => row.textContent === text) as HTMLElement;
      expect(now.getBoundingClientRect().top).toBeCloseTo(at - step, 0);
      const numbers = rows().map((row) => Number(row.dataset["line"]));
      expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] ?? 0) + index));
      expect(rows().every((row) => row.textContent === `line ${row.dataset["line"]}`)).toBe(true);
    }
  }
  expect(rows().length).toBeLessThan(150);
});

test("memory is bounded: of the lines that were read a part is kept", async () => {
  log.update(state(100_000));
  for (let top = 0; top < 40; top += 1) await scrollTo(top * 1000 * LINE);
  server.asked = [];
  await scrollTo(39_000 * LINE);
  expect(server.asked).toEqual([]);
  await scrollTo(0);
  expect(server.asked).toEqual(["1-200"]);
});

test("the whole log is searched, from where the reader is, forwards and back", async () => {
  log.update(state(100_000));
  await type("line 17");
  expect(server.asked[0]).toBe("line 17 after 0");
  const all = Array.from({ length: 100_000 }, (_, index) => index + 1).filter((number) => String(number).startsWith("17"));
  expect($(".jsse-find-count").textContent).toBe(`1,111 of 1,111`);
  expect($("[aria-current]").textContent).toBe(`line ${all.at(-1)}`);
  expect(seen()).toContain(`line ${all.at(-1)}`);
  press("Enter");
  await settled();
  expect([$("[aria-current]").textContent, $(".jsse-find-count").textContent]).toEqual(["line 17", "1 of 1,111"]);
  expect(seen()).toContain("line 17");
  expect($("[aria-current] mark").textContent).toBe("line 17");
  press("Enter");
  await settled();
  expect(seen()).toContain("line 170");
  press("Enter", { shiftKey: true });
  press("Enter", { shiftKey: true });
  await settled();
  expect($("[aria-current]").textContent).toBe("line 17999");
  await type("no such line");
  expect([$(".jsse-find-count").textContent, $<HTMLButtonElement>('[aria-label="Next match"]').disabled]).toEqual(["Not found", true]);
  press("Escape");
  await settled();
  expect([log.element.querySelector("mark"), $("input"), $(".jsse-find-count").textContent]).toEqual([null, $("input"), ""]);
});

test("lines that come while there is a search are searched, once a second", async () => {
  server.count = 300;
  log.update(state(300));
  await type("line 30");
  expect($(".jsse-find-count").textContent).toBe("2 of 2");
  for (let count = 301; count <= 350; count += 1) log.update(state((server.count = count)));
  await vi.advanceTimersByTimeAsync(1500);
  expect([server.asked.filter((asked) => asked.startsWith("line")), $(".jsse-find-count").textContent]).toEqual([
    ["line 30 after 0", "line 30 after 300"],
    "2 of 11",
  ]);
});

test("without a server what is here is searched, and it is said what that is", async () => {
  log.dispose();
  log.element.remove();
  log = new Log({ history: null });
  document.body.append(log.element);
  log.update(state(1000));
  expect($(".jsse-log-place").textContent).toBe("1,000 lines, the last 200 here");
  await type("LINE 80");
  expect($(".jsse-find-count").textContent).toBe("9 of 9");
  await scrollTo(0);
  expect(seen()[0]).toBe("line 801");
});

test("a server that has the log no more, or cannot be reached, is no obstacle", async () => {
  log.update(state(1000));
  server.failing = { code: "gone", message: "deleted" };
  await scrollTo(0);
  expect($(".jsse-log-note").textContent).toBe("The server no longer has the lines before these.");
  await scrollTo(0);
  expect(seen()[0]).toBe("line 801");
  server.failing = { code: "unreachable", message: "no network." };
  $(".jsse-log-retry").click();
  await scrollTo(0);
  expect($(".jsse-log-note").textContent).toBe("Some lines could not be loaded: no network.");
  server.failing = null;
  $(".jsse-log-retry").click();
  await scrollTo(0);
  await scrollTo(0);
  expect([seen()[0], $(".jsse-log-note").textContent, $(".jsse-log-retry").hidden]).toEqual(["line 1", "", true]);
});

test("who reads far back stays there while the server cannot be reached", async () => {
  log.update(state(1000));
  await scrollTo(0);
  await scrollTo(0);
  expect(seen()[0]).toBe("line 1");
  server.failing = { code: "unreachable", message: "no network." };
  await scrollTo(400 * 16);
  log.update(state(1001));
  expect($(".jsse-log-note").textContent).toBe("Some lines could not be loaded: no network.");
  expect($(".jsse-log-place").textContent).toBe("Line 366 of 1,001");
  server.failing = null;
  $(".jsse-log-retry").click();
  await settled();
  expect([seen()[0], $(".jsse-log-note").textContent]).toEqual(["line 366", ""]);
});

test("a search that fails can be tried again", async () => {
  server.count = 1000;
  log.update(state(1000));
  server.failing = { code: "unreachable", message: "no network." };
  await type("line 1");
  expect($(".jsse-find-count").textContent).toBe("The search failed: Enter tries again");
  server.failing = null;
  press("Enter");
  await settled();
  expect($(".jsse-find-count").textContent).toBe("112 of 112");
});

test("after a search that failed, the empty field looks for nothing", async () => {
  log.update(state(1000));
  server.failing = { code: "unreachable", message: "no network." };
  await type("line 9");
  expect(log.element.querySelector("mark")).not.toBeNull();
  await type("");
  expect([$(".jsse-find-count").textContent, $(".jsse-find-step").hidden, log.element.querySelector("mark")]).toEqual(["", true, null]);
});

test("that new lines could not be searched changes nothing of what was found, and is made up for", async () => {
  server.count = 300;
  log.update(state(300));
  await type("line 30");
  server.failing = { code: "unreachable", message: "no network." };
  log.update(state((server.count = 301)));
  await vi.advanceTimersByTimeAsync(1500);
  server.failing = null;
  log.update(state((server.count = 302)));
  await vi.advanceTimersByTimeAsync(1500);
  expect(server.asked.filter((asked) => asked.includes("after"))).toEqual(["line 30 after 0", "line 30 after 300", "line 30 after 300"]);
  press("Enter");
  expect([$(".jsse-find-count").textContent, $("[aria-current] mark").textContent]).toEqual(["3 of 4", "line 30"]);
});

test("an answer that comes too late does not move the reader", async () => {
  server.count = 1000;
  log.update(state(1000));
  let answer = (): void => undefined;
  const find = server.find.bind(server);
  vi.spyOn(server, "find").mockImplementationOnce(async (text, after) => {
    await new Promise<void>((resolve) => (answer = resolve));
    return find(text, after);
  });
  await type("line 9");
  await type("line 99");
  await scrollTo(0);
  const present = $("[aria-current]")?.textContent;
  answer();
  await settled();
  expect([seen()[0], $("[aria-current]")?.textContent]).toEqual(["line 1", present]);
});

test("back from nowhere is the last match", async () => {
  server.count = 300;
  log.update(state(300));
  await type("line 301");
  expect($(".jsse-find-count").textContent).toBe("Not found");
  log.update(state((server.count = 3020)));
  await vi.advanceTimersByTimeAsync(1500);
  press("Enter", { shiftKey: true });
  expect($(".jsse-find-count").textContent).toBe("11 of 11");
});

test("a search that finds nothing leaves what is seen where it is", async () => {
  log.update(state(500));
  await scrollTo(box().scrollTop - 60);
  const before = seen();
  expect(before).toContain("line 490");
  await type("no such line");
  expect(seen()).toEqual(before);
});

test("going to the end gives up a selection in the log, and none elsewhere", async () => {
  const other = h("p", {}, "being edited");
  document.body.append(other);
  log.update(state(500));
  await scrollTo(0);
  getSelection()?.selectAllChildren(other);
  $(".jsse-log-latest").click();
  expect(getSelection()?.toString()).toBe("being edited");
  other.remove();
});

test("what is selected stays, whatever comes", async () => {
  log.update(state(500));
  const selected = rows().at(-3) as HTMLElement;
  getSelection()?.selectAllChildren(selected);
  log.update(state(700));
  expect(selected.isConnected).toBe(true);
  expect($(".jsse-log-latest").hidden).toBe(false);
});

test("a short log has no more around it than its lines", () => {
  log.update(state(10));
  expect($(".jsse-log-bar").hidden).toBe(true);
  log.update(state(11));
  expect($(".jsse-log-bar").hidden).toBe(false);
});

test("a match is marked across the colours in it, and nothing becomes markup", () => {
  const element = logLine({ type: "log", text: "an \x1b[31mer\x1b[1mror\x1b[0m: <b>Error</b>", source: "stdout" });
  highlight(element, pattern("error"));
  expect([...element.querySelectorAll("mark")].map((mark) => mark.textContent)).toEqual(["er", "ror", "Error"]);
  expect(element.textContent).toBe("an error: <b>Error</b>");
  expect(element.querySelector("b")).toBeNull();
  const plain = h("div", {}, "a.b+c a.b+c axb");
  highlight(plain, pattern("a.b+C"));
  expect(plain.querySelectorAll("mark").length).toBe(2);
});
