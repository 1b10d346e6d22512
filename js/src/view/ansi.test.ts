// @vitest-environment happy-dom
import { expect, test } from "vitest";
import { ansi } from "./ansi";
import { h } from "./dom";

function line(text: string): HTMLElement {
  return h("div", {}, ...ansi(text));
}

function runs(text: string): [string | null, string, string][] {
  return [...line(text).querySelectorAll("span")].map((span) => [span.textContent, span.className, span.style.color]);
}

test("plain text stays one text", () => {
  expect(ansi("plain [1m] text")).toEqual(["plain [1m] text"]);
});

test("colours and weights, until they are reset", () => {
  const element = line("a \x1b[1;31mred\x1b[0m b");
  expect(element.textContent).toBe("a red b");
  expect(runs("a \x1b[1;31mred\x1b[0m b")).toEqual([["red", "jsse-ansi-bold", "var(--jsse-ansi-1)"]]);
  expect(runs("\x1b[1mb\x1b[4mbu\x1b[22mu\x1b[m.").map(([text, flags]) => [text, flags])).toEqual([
    ["b", "jsse-ansi-bold"],
    ["bu", "jsse-ansi-bold jsse-ansi-underline"],
    ["u", "jsse-ansi-underline"],
  ]);
  expect(runs("\x1b[92mbright\x1b[39mnot")).toEqual([["bright", "", "var(--jsse-ansi-10)"]]);
});

test("parameters with parts", () => {
  const wavy = "\x1b[4:3;58:2::255:0:0mwavy\x1b[4:0m";
  expect(runs(wavy).map(([text, flags]) => [text, flags])).toEqual([["wavy", "jsse-ansi-underline"]]);
  for (const orange of ["38;2;255;135;0", "38:2:255:135:0", "38:2::255:135:0"]) {
    expect(runs(`\x1b[1;${orange}mx`)).toEqual(runs("\x1b[1;38;2;255;135;0mx"));
  }
  expect(runs("\x1b[58;2;1;4;9mx")).toEqual([]);
  expect(runs("\x1b[38:5:208mx")).toEqual(runs("\x1b[38;5;208mx"));
});

test("no other sequence leaves a trace", () => {
  expect(line("\x1b[2K\x1b[1Aa\x1b]8;;https://x.org\x07b\x1b]0;t\x1b\\c\x1b(Bd\x1b[?25l").textContent).toBe("abcd");
});

test("what looks like markup, or like a style, is text", () => {
  const element = line('\x1b[31m<img src=x onerror="alert(1)">\x1b[0m');
  expect(element.querySelector("img")).toBeNull();
  expect(element.textContent).toBe('<img src=x onerror="alert(1)">');
  expect(runs("\x1b[38;2;1;url(x)m!").length).toBe(0);
  expect(runs("\x1b[38;5;99999m256").at(0)?.[0]).toBe("256");
});
