// @vitest-environment happy-dom
import { beforeAll, expect, test, vi } from "vitest";
import math from "../extras/math";
import { load, provide } from "./extras";
import { MarkdownView } from "./markdown";

function rendered(text: string, how: "set" | "finish" = "finish"): HTMLElement {
  const root = document.createElement("div");
  document.body.replaceChildren(root);
  new MarkdownView(root)[how](text);
  return root;
}

/** The formulas' sources; those that stand on a line of their own with "!" before. */
const formulas = (text: string): string[] =>
  [...rendered(text).querySelectorAll(".jsse-math")].map(
    (element) => (element.matches(".jsse-display") ? "!" : "") + (element.firstElementChild?.textContent ?? ""),
  );

let arrive: () => void;
beforeAll(() => {
  provide(() => new Promise((resolve) => (arrive = () => resolve(math))));
});

test("a formula is its source until it can be drawn, and is drawn where it stands", async () => {
  const root = document.createElement("div");
  document.body.append(root);
  const view = new MarkdownView(root);
  view.finish("So $x^2$.\n");
  const element = root.querySelector(".jsse-math");
  expect(root.textContent).toBe("So $x^2$.");
  arrive();
  await load("math");
  await vi.waitFor(() => expect(root.querySelector("math msup")).not.toBeNull());
  expect(root.querySelector(".jsse-math")).toBe(element);
  // What is selected, and so copied, is the source.
  expect(element?.firstElementChild?.textContent).toBe("$x^2$");
  expect(document.head.querySelector("style")?.textContent).toContain(".tml-");
  view.finish("So $x^2$. More.\n");
  expect(root.querySelector(".jsse-math")).toBe(element);
});

test.each([
  ["$x$ and $\\alpha_1$", ["$x$", "$\\alpha_1$"]],
  ["$$x$$ inline, \\(y\\) and \\[z\\] too", ["!$$x$$", "\\(y\\)", "!\\[z\\]"]],
  ["$$\nx\n$$", ["!$$x$$"]],
  ["Text:\n$$\na\\\\\n- b\n# c\n$$\nmore", ["!$$a\\\\\n- b\n# c$$"]],
  ["\\[\nx = [1]\n\\]", ["!\\[x = [1]\\]"]],
  ["- item\n  $$\n  x\n  $$\n\n> $$\n> y\n> $$", ["!$$x$$", "!$$y$$"]],
  ["| a |\n|---|\n| $x$ |", ["$x$"]],
  ["$a*b*c$ and $a_b_c$ **$x$**", ["$a*b*c$", "$a_b_c$", "$x$"]],
  ["$\\text{a \\$ b}$", ["$\\text{a \\$ b}$"]],
  ["设$x$为，$n$th", ["$x$", "$n$"]],
  ["($x$), $2$-norm.", ["$x$", "$2$"]],
])("math: %j", (text, expected) => {
  expect(formulas(text)).toEqual(expected);
});

test.each([
  "It costs $5 and $10.",
  "between $5-$10, or $5/$10",
  "US$5 and CA$6",
  "from $5 to 6$ each",
  "$HOME/bin:$PATH",
  "`$x$` and `\\(y\\)`",
  "```\n$$\nx\n$$\n```",
  "    $$\n    x\n    $$",
  "\\$x\\$",
  "\\\\(x\\\\)",
  "$ x $",
  "a $ b $ c",
  "$$",
  "$$ $$",
  "\\[\\]",
  "$$\nx\n\n$$\n",
  "$$x",
  "\\(x",
])("not math: %j", (text) => {
  expect(formulas(text)).toEqual([]);
});

test("a formula that is not closed yet is no list and no heading, and is text if it never is", () => {
  const root = document.createElement("div");
  const view = new MarkdownView(root);
  view.set("Text\n$$\n- a\n# b");
  expect(root.querySelector("li, h1")).toBeNull();
  view.set("Text\n$$\n- a\n# b\n$$\n");
  expect(root.querySelector(".jsse-math")).not.toBeNull();
  view.finish("Text\n$$\n- a\n\n# b");
  expect([root.querySelector("li")?.textContent, root.querySelector("h1")?.textContent]).toEqual(["a", "b"]);
});

test.each([
  "\\includegraphics{https://x.example/a.png}",
  "\\href{javascript:alert(1)}{x}",
  "\\url{https://x.example}",
  "\\class{jsse}{x}",
  "\\htmlId{a}{x}",
  "\\unknown{x}",
  "\\ref{jupyter-config-data}",
  "\\frac{",
  "\\def\\a{\\a\\a}\\a",
])("what is no formula, or more than one, stays its source: %s", (tex) => {
  const root = rendered(`$${tex}$`);
  expect(root.textContent).toBe(`$${tex}$`);
  expect(root.querySelector("a, img, [id], [href]")).toBeNull();
});

test.each(["\\(a", "\\[a", "$$a ", "$a ", "\\(a\n"])("many openings are all shown, before the test is given up: %j", (opening) => {
  const root = document.createElement("div");
  new MarkdownView(root).finish(opening.repeat(20_000));
  expect(root.textContent?.length).toBeGreaterThan(20_000);
});
