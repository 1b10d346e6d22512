// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Answer } from "./answer";

const paragraph = (index: number): string => `paragraph ${index} ${"x".repeat(50)}\n\n`;
const text = (count: number): string => Array.from({ length: count }, (_, index) => paragraph(index)).join("");

let answer: Answer;
let frames: (() => void)[];

beforeEach(() => {
  frames = [];
  vi.stubGlobal("requestAnimationFrame", (callback: () => void) => frames.push(callback));
  vi.stubGlobal("cancelAnimationFrame", (id: number) => id && (frames[id - 1] = () => undefined));
  answer = new Answer();
});
afterEach(() => vi.unstubAllGlobals());

const shown = (): number => answer.element.querySelectorAll("p").length;
/** Until nothing is left to do; how many frames it took. */
function draw(): number {
  let count = 0;
  for (; count < frames.length; count++) frames[count]?.();
  return count;
}

test("an ordinary text is there at once", () => {
  answer.update({ text: text(500), status: "done" });
  expect([shown(), draw()]).toEqual([500, 0]);
});

test("of a long one the beginning is, and the rest comes frame by frame", () => {
  const long = text(4000);
  answer.update({ text: long, status: "done" });
  expect(shown()).toBeGreaterThan(100);
  expect(shown()).toBeLessThan(1000);
  const took = draw();
  expect([shown(), took]).toEqual([4000, Math.ceil(long.length / 16384) - 1]);
  expect(answer.element.textContent).toContain("paragraph 3999");
});

test("what comes meanwhile is not lost, nor is the end", () => {
  answer.update({ text: text(4000), status: "running" });
  answer.update({ text: text(4100), status: "running" });
  frames.at(-1)?.();
  answer.update({ text: `${text(4100)}**bold**`, status: "done" });
  draw();
  expect([shown(), answer.element.querySelector("strong")?.textContent]).toEqual([4101, "bold"]);
});

test("another text takes its place", () => {
  answer.update({ text: text(4000), status: "running" });
  answer.update({ text: "other", status: "running" });
  draw();
  expect(answer.element.textContent).toBe("other");
});

test("a view that is taken away does no more", () => {
  answer.update({ text: text(4000), status: "done" });
  const before = shown();
  answer.dispose();
  draw();
  expect(shown()).toBe(before);
});
