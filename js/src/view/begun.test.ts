// @vitest-environment happy-dom
import { afterEach, expect, test, vi } from "vitest";
import { MarkdownView } from "./markdown";
import { parser } from "./tokens";

afterEach(() => vi.restoreAllMocks());

function seeded(seed: number): (n: number) => number {
  return (n) => (seed = (seed * 48271) % 2147483647) % n;
}

function rendered(text: string, how: "set" | "finish"): string {
  const root = document.createElement("div");
  new MarkdownView(root)[how](text);
  return root.innerHTML;
}

const words = (count: number): string =>
  Array.from({ length: count }, (_, i) => (i % 17 === 5 ? `**word ${i}**` : i % 13 === 4 ? `\`code ${i}\`` : `snake_case_${i}`)).join(" ");
const LONG: Record<string, string> = {
  "a paragraph": words(500),
  "a paragraph of lines": words(500).replace(/ (?=\S*7)/g, "\n"),
  "a paragraph without marks": "plain words and more of them, ".repeat(150),
  "a paragraph with prices and citations": "It is $5 and [1] says so, 3 * 4 too. ".repeat(120),
  "a paragraph of open marks": "a *b `c [d ~~e \\* f ".repeat(200),
  "a paragraph whose mark is closed at last": `first **open ${"words ".repeat(600)}close** end`,
  "a paragraph whose bracket is closed at last": `first [open ${"words ".repeat(600)}close](https://x.example) end`,
  "a paragraph whose code is closed at last": `first \`open ${"words ".repeat(600)}close\` end`,
  "a paragraph that becomes a heading": `${words(400)}\n===\n\nend`,
  "a paragraph whose last line becomes a table's head": `${words(300)}\n${"cell ".repeat(300)} | b\n---|---\n1 | 2\n\nend`,
  "one line that becomes a table's head": `${"cell ".repeat(600)} | b\n---|---\n1 | 2\n`,
  "Chinese": "这是一个很长的段落，里面有**重点**和`代码`。".repeat(200),
  "Arabic": "هذه فقرة طويلة فيها **نص** و`code`، ثم المزيد. ".repeat(100),
  "hard breaks": "some words  \nand more\\\nof them ".repeat(100),
  "links": "see https://x.example/a_b_c or www.x.example and <https://y.example> now ".repeat(60),
  "formulas": "where $x_1$ is \\(y\\) and $$z$$ too, ".repeat(100),
  "a list after it": `${words(300)}\n- a\n- b\n`,
  "a definition": `[a]: https://x.example\n"${"title ".repeat(500)}"\n\n[a]\n`,
  "a table": `| a | b |\n|---|:-:|\n${Array.from({ length: 150 }, (_, i) => `| **${i}** | \`x|\` |${i % 7 ? "" : " c |"}`).join("\n")}\n\nend\n`,
  "a table without a blank line after it": `a | b\n-|-\n${"1 | 2\n".repeat(500)}> quote\n`,
  "a table of Arabic": `| عمود | b |\n|---|---|\n${"| ١ | two |\n".repeat(250)}`,
  "a fence": `\`\`\`py\n${"x = 1\n\n# *no*\n".repeat(200)}\`\`\`\nend\n`,
  "an indented fence": `  ~~~~ js title\n${"    x = 1\n  ~~~\n".repeat(200)}~~~~\n\nend\n`,
  "an open fence": `\`\`\`\n${"line of text\n".repeat(300)}`,
  "line ends": `\`\`\`\r\n${"x = 1\r\n".repeat(500)}\`\`\`\r\n| a |\r\n|---|\r\n${"| 1 |\r\n".repeat(500)}`,
};

test.each(Object.entries(LONG))("what has begun is joined to what comes: %s", (_, text) => {
  for (let seed = 1; seed <= 3; seed++) {
    const random = seeded(seed * 7919);
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    for (let at = 0; at < text.length; ) {
      at = Math.min(text.length, at + 1 + random(60));
      view.set(text.slice(0, at));
      if (random(3) === 0) expect(root.innerHTML).toBe(rendered(text.slice(0, at), "set"));
    }
    view.finish();
    expect(root.innerHTML).toBe(rendered(text, "finish"));
  }
});

test.each(["a paragraph", "a paragraph with prices and citations", "Chinese", "a table", "a fence"])(
  "it is not parsed again: %s",
  (name) => {
    const parse = vi.spyOn(parser, "parse");
    const text = (LONG[name] as string).slice(0, 4000);
    const view = new MarkdownView(document.createElement("div"));
    view.set(text.slice(0, 3500));
    view.set(text.slice(0, 3505));
    parse.mockClear();
    for (let at = 3510; at <= text.length; at += 5) view.set(text.slice(0, at));
    const parsed = parse.mock.calls.map(([source]) => source.length);
    expect(Math.max(...parsed)).toBeLessThan(2400);
  },
);

test("its nodes stay, to the end", () => {
  for (const name of ["a paragraph", "a table", "a fence"]) {
    const text = LONG[name] as string;
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    view.set(text.slice(0, 1500));
    const nodes = [...root.querySelectorAll("p, strong, td, pre, code")].slice(0, -2);
    for (let at = 1500; at < text.length; at += 50) view.set(text.slice(0, at));
    view.finish(text);
    expect([...root.querySelectorAll("p, strong, td, pre, code")].slice(0, nodes.length)).toEqual(nodes);
  }
});
