// @vitest-environment happy-dom
import MarkdownIt from "markdown-it";
import { afterEach, expect, test, vi } from "vitest";
import { MarkdownView } from "./markdown";
import { parser } from "./tokens";

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  document.body.replaceChildren();
});

const DOCUMENTS: Record<string, string> = {
  headings: "# One\n\nText\n## Two ##\n### Three *em*\n#### Four\n##### Five\n###### Six\n####### no heading\n",
  "setext headings": "Title\n=====\n\nSub\ntitle\n---\n\nText\n- - -\nMore\n",
  "nested lists": "- a\n  - b\n    1. c\n    2. d\n\n       e\n  - f\n- g\n\nEnd\n",
  "loose lists": "1. one\n\n2. two\n\n   more of two\n\n3. three\n\n- other\n\n* another\n",
  "a list that becomes loose late": "- a\n- b\n- c\n\n- d\n\ntext\n",
  "a list that starts at seven": "Text\n\n7. seven\n8) eight\n",
  tables: "| a | b | c |\n|:--|:-:|--:|\n| 1 | **2** | `3|` |\n| x | y \\| z |\n\nafter | not\n\na|b\n-|-\n1|2\n> quote\n",
  "a table after a paragraph": "Some text\na | b\n--- | ---\n1 | 2\n",
  fences: "```python title\nx = 1\n\n# *no*\n```\ntext\n~~~\n```\n~~~\n\n````\n```\n````\n",
  "an open fence": "Text\n\n```js\nlet a = `1`;\n<b>\n",
  "a fence of 100 lines": "```\n" + Array.from({ length: 100 }, (_, i) => `line ${i}\n`).join("") + "```\nend\n",
  "fences in lists": "1. Do this:\n   ```sh\n   ls -l\n\n   pwd\n   ```\n2. Then\n\n   ~~~\n   x\n~~~\ny\n",
  blockquotes: "> a\nlazy\n> > b\n>\n> - c\n> - d\n\n> e\n\n```\n> no\n```\n",
  "early definitions": '[a]: https://a.example "A"\n[b]: <https://b.example>\n\nSee [a], [b] and [text][a].\n\nAnd [A] again.\n',
  "emphasis": "*a* **b** ***c*** ~~d~~ _e_ __f__ a*b*c a_b_c **open *and\n\nnext** line\n**bold\nover lines**\n",
  "hard breaks": "one  \ntwo\\\nthree\nfour   \n\nfive\\\n",
  "task lists": "- [ ] open **x**\n- [x] done\n- [X] done too\n- [y] no\n- [ ]\n\n1. [x] first\n\n   more\n2. [ ] second\n",
  Arabic: "# مرحبا\n\nهذا **نص** عربي مع `code` و English.\n\n- أول\n- ثان\n\n  فقرة\n\n> اقتباس\n\n| عمود | b |\n|--|--|\n| ١ | 2 |\n",
  CJK: "# 标题\n\n这是**重点**，还有`代码`。\n\n1. 一\n2. 二\n\n日本語の*文章*です。\n",
  emoji: "👨‍👩‍👧‍👦 family **👍🏽** 🇩🇪\n\n- 🏳️‍🌈\n- 🧑🏿‍🚀 `🧑🏿‍🚀`\n",
  html: "<div onclick=\"x()\">\n\n<b>bold</b> &amp; &lt; &#x41; <!-- c -->\n\n<script>alert(1)</script>\n\n<br>\n",
  images: "![alt *text*](https://img.example/a.png \"T\") and [![in link](https://img.example/b.png)](https://x.example)\n\n![no](./c.png)\n",
  "indented code": "Text\n\n    code\n\n\n    more\n  \n  no code\n\ttab code\n\n- item\n\n      code in item\n",
  links: "<https://a.example/?q=1&r=2> [b](https://b.example/x_y_z \"t*t*\") https://c.example/d_e_f. README.md <m@x.example> [rel](./a.md)\n",
  "line ends": "# a\r\n\r\nb\r\nc\rd\r\r- e\r\n- f\r\n\r\n```\r\ng\r\n```\r\nh",
  "rules and stars": "***\n* a\n***\n- b\n---\n_ _ _\n__c__\n",
  "escapes and entities": "\\*a\\* &copy; &nope; \\\\ \\# &#0; `\\a`\n1\\. x\n",
  "no formulas": "Text\n$$\nx *y*\n\nmore\n\nText\n\\[\n- y\n\nend\n$$ z\n\n# head\n",
  "NULs and lone surrogates": "a\0b \ud83d c\n\n\0\n\n```\n\0\n```\n",
};
const LATE: Record<string, string> = {
  "late definitions": 'See [a] and ![i][b].\n\n- [c][a]\n\n> [a]\n\n[a]: https://a.example "A\nB"\n[b]: https://b.example/i.png\n',
  "a definition in a quote": "[q] first\n\n> [q]: https://q.example\n\nlast [q]\n",
  "a definition that grows": "[x]: https://x.example\n'title\nover lines'\nand text\n\n[x]\n",
  "a definition twice": "[x] y\n\n[x]: https://one.example\n\ntext\n\n[x]: https://two.example\n\n[x] z\n",
};

function seeded(seed: number): (n: number) => number {
  return (n) => (seed = (seed * 48271) % 2147483647) % n;
}

/** Ever longer beginnings of a text, cut between code points, the last being the whole. */
function* beginnings(text: string, random: (n: number) => number, longest: number): Generator<string> {
  const points = [...text];
  for (let at = 0; at < points.length; ) {
    at += 1 + random(longest);
    yield points.slice(0, at).join("");
  }
}

function view(): { root: HTMLElement; markdown: MarkdownView } {
  const root = document.createElement("div");
  return { root, markdown: new MarkdownView(root) };
}

function rendered(text: string, how: "set" | "finish" = "finish"): HTMLElement {
  const { root, markdown } = view();
  markdown[how](text);
  return root;
}

const html = (elements: Iterable<Element>): string[] => [...elements].map((element) => element.outerHTML);

test.each(Object.entries({ ...DOCUMENTS, ...LATE }))("finish makes what one call would: %s", (_, text) => {
  const whole = rendered(text).innerHTML;
  for (let seed = 1; seed <= 12; seed++) {
    const { root, markdown } = view();
    for (const beginning of beginnings(text, seeded(seed), 1 + seed * 2)) markdown.set(beginning);
    if (seed % 2) markdown.finish();
    else markdown.finish(text);
    expect(root.innerHTML).toBe(whole);
  }
});

test.each(Object.entries(DOCUMENTS))("each call makes what the text so far would alone, and what is frozen stays: %s", (_, text) => {
  const final = html(rendered(text).children);
  for (let seed = 1; seed <= 3; seed++) {
    const { root, markdown } = view();
    for (const beginning of beginnings(text, seeded(seed), 1 + seed * 3)) {
      markdown.set(beginning);
      expect(root.innerHTML).toBe(rendered(beginning, "set").innerHTML);
      const complete = beginning.slice(0, beginning.lastIndexOf("\n") + 1);
      const frozen = Math.max(0, rendered(complete).childElementCount - 1);
      expect(html(root.children).slice(0, frozen)).toEqual(final.slice(0, frozen));
    }
  }
});

test("random Markdown: each call, and finish, make what the text alone would", () => {
  const blocks = ["- ", "1. ", "> ", "# ", "```", "~~~", "\n", "\n", "\n\n", "  ", "    ", "\t", "|", "-|-", "---", "==="];
  const parts = [...blocks, "a", "b c", "*", "**", "`", "[x]", "\\", "<b>"];
  for (let seed = 1; seed <= 300; seed++) {
    const random = seeded(seed * 7919);
    const text = Array.from({ length: 40 }, () => parts[random(parts.length)]).join("");
    const { root, markdown } = view();
    for (const beginning of beginnings(text, random, 9)) {
      markdown.set(beginning);
      expect(root.innerHTML, JSON.stringify(beginning)).toBe(rendered(beginning, "set").innerHTML);
    }
    markdown.finish();
    expect(root.innerHTML, JSON.stringify(text)).toBe(rendered(text).innerHTML);
  }
});

test("random Markdown with definitions: finish makes what the text alone would", () => {
  const definitions = ["[x]", "[x]: https://x.example\n", "[y]:\n", "https://y.example ", "'t", "'\n", "[y]"];
  const parts = [...definitions, "\n", "\n\n", "- ", "> ", "text", "```\n"];
  for (let seed = 1; seed <= 300; seed++) {
    const random = seeded(seed * 104729);
    const text = Array.from({ length: 30 }, () => parts[random(parts.length)]).join("");
    const { root, markdown } = view();
    for (const beginning of beginnings(text, random, 9)) markdown.set(beginning);
    markdown.finish();
    expect(root.innerHTML, JSON.stringify(text)).toBe(rendered(text).innerHTML);
  }
});

test("definitions that came first are used without finish, the first of a name wins", () => {
  const text = "[x]: https://one.example\n'title\nover lines'\n\npara\n\n[x]: https://two.example\n\n[x] and [X]\n\nend\n";
  const { root, markdown } = view();
  for (const beginning of beginnings(text, seeded(3), 4)) markdown.set(beginning);
  const links = [...root.querySelectorAll("a")];
  expect(links.map((a) => a.getAttribute("href"))).toEqual(["https://one.example", "https://one.example"]);
  expect(links.map((a) => a.title)).toEqual(["title\nover lines", "title\nover lines"]);
});

test.each(Object.entries({ ...DOCUMENTS, ...LATE }))("the elements are those of markdown-it's own HTML: %s", (_, text) => {
  const expected = document.createElement("div");
  const reference = new MarkdownIt({ linkify: true });
  reference.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
  expected.innerHTML = reference.render(text);
  const ours = rendered(text);
  const names = (root: Element, drop: string): string[] =>
    [...root.querySelectorAll("*")].filter((element) => !element.matches(drop)).map((element) => element.localName);
  // What stands for an image or a relative link, and our additions.
  expect(names(ours, "span, button, input")).toEqual(names(expected, "img, a[href^='.']"));
  const words = (root: Element): string => {
    for (const added of root.querySelectorAll("button")) added.remove();
    return (root.textContent ?? "").replace(/\[[ xX]\](?=\s)/g, "").replace(/\s+/g, "");
  };
  if (!text.includes("![")) expect(words(ours)).toBe(words(expected));
});

test("text of a growing paragraph is the same node, with what was selected", () => {
  const { root, markdown } = view();
  markdown.set("First.\n\nSome te");
  const [first, second] = [...root.children];
  const node = second?.firstChild as Text;
  markdown.set("First.\n\nSome text\nand **bo");
  expect(root.children[1]?.firstChild).toBe(node);
  markdown.set("First.\n\nSome text\nand **bold** more");
  expect(root.children[1]?.firstChild).toBe(node);
  expect(node.data).toBe("Some text\nand ");
  markdown.finish("First.\n\nSome text\nand **bold** more\n\n- x");
  expect([...root.children].slice(0, 2)).toEqual([first, second]);
  expect(second?.firstChild).toBe(node);
});

test("a late definition changes its paragraph and no other node", () => {
  const text = "Before.\n\nSee [a].\n\n```\ncode\n```\n\nAfter.\n\n";
  const { root, markdown } = view();
  markdown.set(text);
  const nodes = [...root.children];
  const kept = nodes.map((node) => node.firstChild);
  expect(root.querySelector("a")).toBeNull();
  markdown.finish(`${text}[a]: https://a.example\n`);
  expect([...root.children]).toEqual(nodes);
  expect(nodes.map((node) => node.firstChild)).toEqual(kept);
  expect(root.querySelector("a")?.getAttribute("href")).toBe("https://a.example");
});

test("text that is no longer one starts again; after finish it may go on", () => {
  const { root, markdown } = view();
  markdown.set("# One\n\nTwo\n\nThree");
  markdown.set("# One\n\nOther");
  expect(root.innerHTML).toBe(rendered("# One\n\nOther").innerHTML);
  markdown.finish();
  markdown.set("# One\n\nOther *and*\n\nmore");
  expect(root.innerHTML).toBe(rendered("# One\n\nOther *and*\n\nmore").innerHTML);
  markdown.set("");
  expect(root.childNodes).toHaveLength(0);
});

test("marks of which nothing can be said yet are not shown", () => {
  const { root, markdown } = view();
  markdown.set("Text\n-");
  expect(root.innerHTML).toBe(rendered("Text").innerHTML);
  markdown.set("Text\n- a\n  ``");
  expect(root.querySelector("li")?.textContent).toBe("a");
  markdown.finish("Text\n-");
  expect(root.querySelector("h2")?.textContent).toBe("Text");
});

test("a call parses the open tail only", () => {
  const parse = vi.spyOn(parser, "parse");
  const paragraph = (i: number): string => `Paragraph ${i} has a few words and [a link](https://x.example).\n\n`;
  const text = Array.from({ length: 2000 }, (_, i) => paragraph(i)).join("");
  const { root, markdown } = view();
  for (let end = 20; end < text.length + 20; end += 20) markdown.set(text.slice(0, end));
  const parsed = parse.mock.calls.reduce((sum, [source]) => sum + source.length, 0);
  expect(parsed).toBeLessThan(6 * text.length);
  expect(root.querySelectorAll("p")).toHaveLength(2000);
  markdown.finish();
  expect(parse.mock.calls.at(-1)?.[0]).toHaveLength(text.length);
});

test.each([
  ["paragraph", "word *em* and more words that go on ", ""],
  ["list", "- item with `code`\n", ""],
  ["table", "| some words | and 12 more |\n", "| a | b |\n|---|---|\n"],
  ["fence", "some = code()\n", "```py\n"],
])("one endless block is parsed a bounded number of times over, and all of it stands: %s", (_, part, head) => {
  const parse = vi.spyOn(parser, "parse");
  const text = head + part.repeat(Math.ceil(20_000 / part.length));
  const { root, markdown } = view();
  const letters = (source: string): number => source.replace(/[^a-z0-9]/g, "").length;
  for (let end = 9000; end < text.length + 5; end += 5) {
    markdown.set(text.slice(0, end));
    if (end % 3000 === 0) {
      const shown = root.cloneNode(true) as HTMLElement;
      for (const button of shown.querySelectorAll("button")) button.remove();
      expect(letters(shown.textContent ?? "")).toBe(letters(text.slice(head.includes("`") ? head.length : 0, end)));
    }
  }
  const parsed = parse.mock.calls.reduce((sum, [source]) => sum + source.length, 0);
  expect(parsed).toBeLessThan(256 * text.length); // it would be 1 000 times and more
  const before = root.firstElementChild;
  markdown.finish();
  expect(root.innerHTML).toBe(rendered(text).innerHTML);
  expect(root.firstElementChild).toBe(before);
});

test("code stands in blocks of 40 lines, of which only the last grows", () => {
  const lines = (n: number): string => Array.from({ length: n }, (_, i) => `line ${i}\n`).join("");
  const { root, markdown } = view();
  markdown.set("```\n" + lines(85));
  const chunks = [...root.querySelectorAll("code > span")] as HTMLElement[];
  expect(chunks.map((chunk) => chunk.textContent?.split("\n").length)).toEqual([41, 41, 6]);
  expect(chunks.every((chunk) => chunk.style.display === "block")).toBe(true);
  const grows = chunks[2]?.firstChild;
  markdown.set("```\n" + lines(90));
  expect([...root.querySelectorAll("code > span")]).toEqual(chunks);
  expect(chunks[2]?.firstChild).toBe(grows);
  expect(root.querySelector("code")?.textContent).toBe(lines(90));
});

test("the copy button copies the code, and nothing but it", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  const writeText = vi.spyOn(navigator.clipboard, "writeText").mockResolvedValue();
  const root = rendered("```sh\nls <dir> \\\n\n  *.txt\n```\n\n    indented\n");
  const [button, other] = [...root.querySelectorAll<HTMLButtonElement>('button[data-sse-action="copy"]')];
  expect(button?.getAttribute("aria-label")).toBe("Copy code");
  button?.click();
  expect(writeText).toHaveBeenLastCalledWith("ls <dir> \\\n\n  *.txt");
  await vi.waitFor(() => expect(button?.textContent).toBe("Copied"));
  vi.advanceTimersByTime(1500);
  expect(button?.textContent).toBe("Copy");
  other?.click();
  expect(writeText).toHaveBeenLastCalledWith("indented");
});

test("an image is loaded when it is asked for, and then stays", () => {
  const { root, markdown } = view();
  document.body.append(root);
  markdown.set("[![A cat](https://img.example/cat.png)](https://x.example) te");
  expect(root.querySelector("img")).toBeNull();
  const button = root.querySelector<HTMLButtonElement>("button[data-sse-image]");
  expect(button?.dataset["sseImage"]).toBe("https://img.example/cat.png");
  expect(button?.textContent).toBe("A cat (img.example)");
  const click = new MouseEvent("click", { bubbles: true, cancelable: true });
  button?.dispatchEvent(click);
  expect(click.defaultPrevented).toBe(true);
  const img = root.querySelector("img");
  expect(img?.getAttribute("src")).toBe("https://img.example/cat.png");
  expect(img?.getAttribute("alt")).toBe("A cat");
  markdown.set("[![A cat](https://img.example/cat.png)](https://x.example) text\n\nmore");
  markdown.finish();
  expect(root.querySelector("img")).toBe(img);
  expect(root.querySelector("button")).toBeNull();
  markdown.finish("[![A dog](https://img.example/dog.png)](https://x.example)");
  expect(root.querySelector("img")).toBeNull();
  expect(root.querySelector("button")?.textContent).toBe("A dog (img.example)");
});

test.each([
  ["https://x.example/a?b=c#d", true],
  ["http://x.example", true],
  ["mailto:a@x.example", true],
  ["tel:+49123", true],
  ["//x.example", false],
  ["/lab/tree/x", false],
  ["#here", false],
  ["data:image/png;base64,AAAA", false],
  ["ftp://x.example", false],
  ["file:///etc/passwd", false],
  ["blob:https://x.example/1", false],
])("links may go to %s: %s", (url, allowed) => {
  const a = rendered(`[text](${url})`).querySelector("a");
  expect(a?.getAttribute("href") ?? null).toBe(allowed ? url : null);
  if (!a) return;
  expect(a.target).toBe("_blank");
  expect(a.rel).toBe("noopener noreferrer");
});

test.each([
  ["https://x.example/a.png", true],
  ["data:image/png;base64,AAAA", true],
  ["data:image/svg+xml,<svg/onload=alert(1)>", false],
  ["data:text/html;base64,AAAA", false],
  ["/api/contents/x.png", false],
  ["//x.example/a.png", false],
])("images may come from %s: %s", (url, allowed) => {
  const root = rendered(`![alt](<${url}>)`);
  expect(root.querySelector("button")?.dataset["sseImage"] ?? null).toBe(allowed ? url : null);
  expect(root.textContent).toContain("alt");
});

const KNOWN_ATTRIBUTES =
  /^(?:dir|class|style|type|disabled|checked|start|href|target|rel|title|aria-label|data-sse-(?:action|image|alt))$/;

const ATTACKS = [
  "[a](javascript:alert(1))",
  "[a](JaVaScRiPt:alert(1))",
  "[a](<java\tscript:alert(1)>)",
  "[a](java\nscript:alert(1))",
  "[a](\u0001javascript:alert(1))",
  "[a](&#106;avascript:alert(1))",
  "[a](&#x6A;&#x61;vascript&colon;alert(1))",
  "[a](javascript&Tab;:alert(1))",
  "[a](\u00a0javascript:alert(1))",
  "[a](java\u200bscript:alert(1))",
  "[a](https&colon;javascript:alert(1))",
  "[a](vbscript:msgbox(1))",
  "[a](data:text/html,<script>alert(1)</script>)",
  "[a](data:text/html;base64,PHNjcmlwdD4=)",
  "<javascript:alert(1)>",
  "<data:text/html,x>",
  "javascript://x.example/%0aalert(1)",
  "[a][b]\n\n[b]: javascript:alert(1)",
  "[b]\n\n[b]: <JAVASCRIPT:alert(1)> 'x\" onmouseover=alert(1)'",
  "![a](javascript:alert(1))",
  "![a](data:image/svg+xml;base64,PHN2Zz4=)",
  '![a" onerror="alert(1)](https://x.example/"onerror=alert(1))',
  "![a][b]\n\n[b]: vbscript:x",
  "<img src=x onerror=alert(1)>",
  "<svg/onload=alert(1)>",
  "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
  "<script>alert(1)</script>",
  "<a href='javascript:alert(1)'>x</a>",
  "<style>*{background:url(https://x.example)}</style>",
  "```\"><script>alert(1)</script>\nx\n```",
  "```x\" onclick=alert(1)\nx\n```",
  "| <img src=x onerror=alert(1)> |\n|:-|\n| [a](javascript:x) |",
  "[a](https://x.example \"t\" onclick=alert(1))",
  "[a](https://x.example 'x\" onmouseover=\"alert(1)')",
  "<math><mi xlink:href=javascript:alert(1)>x</mi></math>",
];

test.each(ATTACKS)("no attack gets an element or an address: %j", (attack) => {
  const { root, markdown } = view();
  const check = (): void => {
    expect(root.querySelector("script, style, img, svg, iframe, math, form, object, embed, link, meta, base")).toBeNull();
    for (const element of root.querySelectorAll("*")) {
      for (const { name, value } of element.attributes) {
        expect(name).toMatch(KNOWN_ATTRIBUTES);
        if (name === "href") expect(value).toMatch(/^(?:https?:\/\/|mailto:|tel:)/);
        if (name === "data-sse-image") expect(value).toMatch(/^(?:https?:\/\/|data:image\/(?:png|jpeg|gif|webp)[;,])/);
        if (name === "style") expect(value).toMatch(/^(?:display: block|text-align: (?:left|center|right));?$/);
      }
    }
  };
  for (const beginning of beginnings(attack, seeded(5), 3)) {
    markdown.set(beginning);
    check();
  }
  markdown.finish();
  check();
  for (const button of root.querySelectorAll<HTMLElement>("button[data-sse-image]")) button.click();
  for (const img of root.querySelectorAll("img")) expect(img.getAttribute("src")).toMatch(/^https:\/\/x\.example/);
});

test("every block has its direction, and containers take that of their text", () => {
  const root = rendered(Object.values(DOCUMENTS).join("\n\n"));
  for (const block of root.querySelectorAll("p, h1, h2, h3, h4, h5, h6, li, ul, ol, blockquote, td, th, table")) {
    expect(["auto", "rtl"]).toContain(block.getAttribute("dir"));
  }
  for (const code of root.querySelectorAll("code, pre")) expect(code.getAttribute("dir")).toBe("ltr");

  // dir="auto" would pass over the blocks inside, which have their own.
  const arabic = rendered("- أول\n\n  ثان\n- ثالث\n\n> `code` نص\n\n| نص |\n|--|\n| x |\n\n- one أول\n");
  const dirs = (selector: string): (string | null)[] =>
    [...arabic.querySelectorAll(selector)].map((block) => block.getAttribute("dir"));
  expect(dirs(":scope > *")).toEqual(["rtl", "rtl", "rtl", "auto"]);
  expect(dirs("ul:first-child > li")).toEqual(["rtl", "rtl"]);
  expect(dirs("p, td, th").every((dir) => dir === "auto")).toBe(true);
});

test.each([
  ["a paragraph of 1 MB", "word ".repeat(200_000)],
  ["one line of 1 MB", "x".repeat(1_000_000)],
  ["brackets", "[".repeat(20_000)],
  ["images", "![".repeat(20_000)],
  ["stars", "*a ".repeat(20_000) + "**".repeat(20_000)],
  ["backticks", Array.from({ length: 300 }, (_, i) => "`".repeat(i)).join(" ")],
  ["quotes in quotes", ">".repeat(20_000)],
  ["lists in lists", Array.from({ length: 500 }, (_, i) => `${"  ".repeat(i)}- x\n`).join("")],
  ["open links", "[a](".repeat(10_000)],
  ["open autolinks", "<a".repeat(50_000)],
  ["definitions", Array.from({ length: 3000 }, (_, i) => `[${i}]: https://x.example/${i}\n`).join("")],
  ["rows of one cell", `|${"a|".repeat(200)}\n|${"-|".repeat(200)}\n${"|\n".repeat(2000)}`],
])("garbage is rendered too, before the test is given up: %s", (_, text) => {
  const { root, markdown } = view();
  for (let part = 1; part <= 8; part++) markdown.set(text.slice(0, (text.length * part) / 8));
  markdown.finish(text);
  if (/^[a-z[!*`]/.test(text) && !text.startsWith("[0]")) expect(root.textContent?.length).toBeGreaterThan(1000);
});
