// @vitest-environment happy-dom
import hljs from "highlight.js/lib/common";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import highlight from "../extras/highlight";
import { CodeView } from "./code";
import { load, provide } from "./extras";

let arrive: () => void;
provide(() => new Promise((resolve) => (arrive = () => resolve(highlight))));

const PYTHON = `import os

@decorate
class Model(Base):
    """A text
    of # three
    lines."""

    def method(self, *, rate: float = 0.1) -> str:
        # a comment
        return f"rate {self.rate!r}" if True else None

`;
const CODES: Record<string, string> = {
  python: PYTHON.repeat(12),
  javascript: 'const f = async (a,\n  b) => {\n  /* of\n  lines */ return `a ${b +\n c} d`; // end\n};\nclass A extends B { static #x = 1; }\n'.repeat(15),
  json: '{\n  "a": [1, 2.5, true, null],\n  "b": "text"\n}\n'.repeat(10),
  xml: '<p class="a"\n   id=b><!-- of\nlines --><script>let x = "1";\nlet y;</script><style>p { color: red }</style></p>\n'.repeat(10),
  css: "a:hover > .b, #c {\n  color: red; /* x\n y */\n  --v: calc(1px + 2em);\n}\n@media (x) { p { top: 0 } }\n".repeat(10),
  cpp: '#include <a>\n#define X(a) \\\n  a + 1\ntemplate <class T>\nint f(T a,\n  int b) { return "x" + R"(raw\ntext)"; }\n'.repeat(10),
  bash: 'for i in "$@"; do\n  echo "a $i" \'b\' <<EOF\ntext $i\nEOF\ndone # end\n'.repeat(10),
  sql: "SELECT a, 'text''s' FROM t -- note\nWHERE b = 1 AND c IN (SELECT 2);\n".repeat(10),
  rust: 'fn main<\'a>(x: &\'a str) -> Option<u8> {\n  let s = r#"raw\n"#; /* a /* b */ c */ println!("{}", x);\n}\n'.repeat(10),
  markdown: "# Title\n\n**bold** `code`\n\n```py\nx = 1\n```\n\n- a\n  > b\n".repeat(10),
  yaml: 'a: 1\nb:\n  - "x"\n  - |\n    text\n    more\nc: &d {e: true} # note\n'.repeat(10),
};

function view(): { code: CodeView; text: () => string; html: () => string; show: (text: string, info: string) => void } {
  const code = new CodeView();
  document.body.append(code.element);
  const element = code.element.querySelector("code") as HTMLElement;
  return {
    code,
    text: () => element.textContent ?? "",
    html: () => element.innerHTML,
    show: (text, info) => code.show({ text, info }),
  };
}

function oneGo(text: string, info: string): string {
  const { code, show, html } = view();
  show(text, info);
  code.settle();
  return html();
}

function seeded(seed: number): (n: number) => number {
  return (n) => (seed = (seed * 48271) % 2147483647) % n;
}

beforeEach(() => document.body.replaceChildren());
afterEach(() => vi.restoreAllMocks());

test("code is plain until it can be highlighted, and then highlighted where it stands", async () => {
  const { code, text, show } = view();
  show("x = None\n", "python");
  code.settle();
  const chunk = code.element.querySelector("code > span");
  expect([text(), code.element.querySelector("[class^=hljs]")]).toEqual(["x = None\n", null]);
  arrive();
  await load("highlight");
  expect(code.element.querySelector(".hljs-literal")?.textContent).toBe("None");
  expect([text(), code.element.querySelector("code > span")]).toEqual(["x = None\n", chunk]);
});

test.each(Object.entries(CODES))("cut anywhere, the end is as in one go, and the text right all the while: %s", (language, source) => {
  const expected = oneGo(source, language);
  for (let seed = 1; seed <= 4; seed++) {
    const random = seeded(seed * 7919);
    const { code, text, html, show } = view();
    for (let at = 0; at < source.length; ) {
      at = Math.min(source.length, at + 1 + random(2 + seed * 6));
      show(source.slice(0, at), language);
      expect(text()).toBe(source.slice(0, at));
    }
    code.settle();
    expect(html()).toBe(expected);
  }
});

test.each(Object.entries(CODES))("it is what highlight.js makes of the whole: %s", (language, source) => {
  const runs = (html: string): string[] => {
    const holder = document.createElement("div");
    holder.innerHTML = html;
    const walker = document.createTreeWalker(holder, NodeFilter.SHOW_TEXT);
    const classes: string[] = [];
    while (walker.nextNode()) {
      const { data, parentElement } = walker.currentNode as Text;
      const className = (parentElement?.closest("[class]") as HTMLElement | null)?.className ?? "";
      classes.push(...[...data].map((character) => `${character}${className}`));
    }
    return classes;
  };
  expect(runs(oneGo(source, language))).toEqual(runs(hljs.highlight(source, { language, ignoreIllegals: true }).value));
});

test("while it comes, most lines have their colours already", () => {
  const { code, html, show } = view();
  for (let at = 7; at < PYTHON.length; at += 7) show(PYTHON.slice(0, at), "python");
  show(PYTHON, "python");
  const before = html();
  code.settle();
  expect(html()).toBe(before);
});

test("lines that are done are not highlighted, nor their nodes touched, again", () => {
  const asked = vi.spyOn(hljs, "highlight");
  const source = "def f(x):\n    return x + 1\n\n".repeat(300);
  const { code, show } = view();
  show(source.slice(0, 90), "python");
  const first = [...(code.element.querySelector("code > span")?.childNodes ?? [])].slice(0, 8);
  for (let at = 95; at < source.length; at += 5) show(source.slice(0, at), "python");
  const characters = asked.mock.calls.reduce((sum, [text]) => sum + text.length, 0);
  expect(characters).toBeLessThan(12 * source.length);
  expect([...(code.element.querySelector("code > span")?.childNodes ?? [])].slice(0, 8)).toEqual(first);
});

test("one endless string is highlighted a bounded number of times over", () => {
  const source = `x = """\n${"text of the string\n".repeat(2500)}`;
  const { show, text, code } = view();
  show(source.slice(0, 5000), "python");
  const asked = vi.spyOn(hljs, "highlight");
  for (let at = 5000; at < source.length; at += 5) show(source.slice(0, at), "python");
  const characters = asked.mock.calls.reduce((sum, [given]) => sum + given.length, 0);
  expect(characters).toBeLessThan(40 * source.length);
  expect(text().length).toBeGreaterThan(source.length - 5);
  expect(code.element.querySelectorAll("code > span:last-child > .hljs-string").length).toBeGreaterThan(0);
});

test("a selection stays on its words when they get their colours", () => {
  const { code, show } = view();
  show("value = retur", "python");
  const selection = getSelection() as Selection;
  const text = code.element.querySelector("code")?.firstChild?.lastChild as Text;
  selection.setBaseAndExtent(text, text.length - 5, text, text.length);
  expect(selection.toString()).toBe("retur");
  show("value = return x\n", "python");
  expect(code.element.querySelector(".hljs-keyword")?.textContent).toBe("return");
  expect(selection.toString()).toBe("retur");
});

test("an unknown language, and none, are plain", () => {
  for (const info of ["nonsense", "", "__proto__", "constructor"]) {
    const { code, show, text } = view();
    show("if x: <b>\n", info);
    code.settle();
    expect([text(), code.element.querySelector("[class^=hljs]")]).toEqual(["if x: <b>\n", null]);
  }
});

test("a language that is still being written is settled by its last letter", () => {
  const { show, html } = view();
  for (const info of ["p", "py", "python"]) show("None\n", info);
  expect(html()).toBe(oneGo("None\n", "python"));
});
