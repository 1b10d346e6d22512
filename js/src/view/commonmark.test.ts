// @vitest-environment happy-dom
// The examples of CommonMark, and some of GitHub's additions, as they come: the DOM must be what the standard's HTML makes,
// wherever the text was cut.
import { tests as examples } from "commonmark-spec";
import MarkdownIt from "markdown-it";
import { beforeAll, expect, test } from "vitest";
import highlight from "../extras/highlight";
import math from "../extras/math";
import { load, provide } from "./extras";
import { MarkdownView } from "./markdown";

beforeAll(async () => {
  provide((name) => Promise.resolve(name === "math" ? math : highlight));
  await Promise.all([load("math"), load("highlight")]);
});

function seeded(seed: number): (n: number) => number {
  return (n) => (seed = (seed * 48271) % 2147483647) % n;
}

function cut(text: string, seed: number): HTMLElement {
  const random = seeded(seed);
  const root = document.createElement("div");
  const view = new MarkdownView(root);
  const longest = 2 + random(30);
  for (let at = 0; at < text.length; ) view.set(text.slice(0, (at += 1 + random(longest))));
  view.finish(text);
  return root;
}

function whole(text: string): HTMLElement {
  const root = document.createElement("div");
  new MarkdownView(root).finish(text);
  return root;
}

const ADDRESS = /^(?:https?:\/\/|mailto:|tel:)/i;

/** What is left when our additions are taken away: the copy button, lines and colours of code, directions. */
function bare(root: HTMLElement, ...keep: string[]): string {
  for (const button of root.querySelectorAll("button[data-sse-action]")) button.remove();
  for (const code of root.querySelectorAll("pre > code")) code.textContent = code.textContent;
  for (const button of root.querySelectorAll<HTMLElement>("button[data-sse-image]")) {
    const img = document.createElement("i");
    img.textContent = button.dataset["sseAlt"] ?? "";
    button.replaceWith(img);
  }
  for (const span of root.querySelectorAll("span[title]")) {
    if (span.getAttribute("title") !== "This image's address cannot be loaded") continue;
    const img = document.createElement("i");
    img.textContent = span.textContent;
    span.replaceWith(img);
  }
  for (const element of root.querySelectorAll("*")) {
    for (const name of ["dir", "target", "rel", "style"]) if (!keep.includes(name)) element.removeAttribute(name);
    if (element.getAttribute("class") === "") element.removeAttribute("class");
  }
  return tidy(root);
}

/** The same of a standard renderer's: addresses that we do not follow, and images, stand as text. */
function expected(html: string): string {
  const root = document.createElement("div");
  root.innerHTML = html;
  for (const img of root.querySelectorAll("img")) {
    const text = document.createElement("i");
    text.textContent = img.getAttribute("alt");
    img.replaceWith(text);
  }
  for (const a of root.querySelectorAll("a")) {
    const href = a.getAttribute("href") ?? "";
    if (ADDRESS.test(href)) continue;
    const span = document.createElement("span");
    span.title = href;
    span.append(...a.childNodes);
    a.replaceWith(span);
  }
  return tidy(root);
}

/** Line ends around blocks, and after a break, are the writer's. */
function tidy(root: HTMLElement): string {
  root.normalize();
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const texts: Text[] = [];
  while (walker.nextNode()) texts.push(walker.currentNode as Text);
  for (const text of texts) {
    if (text.parentElement?.closest("pre")) continue;
    const holdsBlocks = /^(?:DIV|UL|OL|LI|BLOCKQUOTE|TABLE|THEAD|TBODY|TR)$/.test(text.parentElement?.tagName ?? "");
    if (holdsBlocks || text.previousSibling?.nodeName === "BR") text.data = text.data.replace(/^\n|\n$/g, "");
    if (!text.data) text.remove();
  }
  return root.innerHTML;
}

const withHtml = new MarkdownIt("commonmark", { html: true });
const withoutHtml = new MarkdownIt("commonmark", { html: false });
// Raw HTML is text here.
const plain = examples
  .map((example) => ({ ...example, markdown: example.markdown.replaceAll("→", "\t"), html: example.html.replaceAll("→", "\t") }))
  .filter(({ markdown }) => withHtml.render(markdown) === withoutHtml.render(markdown));
/** Where CommonMark has plain text, and GitHub, as we, a link. */
const AUTOLINKS: Record<number, string> = {
  602: '<p>&lt;<a href="https://foo.bar/baz">https://foo.bar/baz</a> bim&gt;</p>',
  608: '<p>&lt; <a href="https://foo.bar">https://foo.bar</a> &gt;</p>',
  611: '<p><a href="https://example.com">https://example.com</a></p>',
  612: '<p><a href="mailto:foo@bar.example.com">foo@bar.example.com</a></p>',
};

test("there are 580 examples without raw HTML", () => {
  expect(plain).toHaveLength(580);
});

test.each(plain)("example $number: $markdown", ({ markdown, html, number }) => {
  expect(bare(whole(markdown))).toBe(expected(AUTOLINKS[number] ?? html));
  for (let seed = 1; seed <= 5; seed++) expect(cut(markdown, seed * 7919 + number).innerHTML).toBe(whole(markdown).innerHTML);
});

const CELL = '<td style="text-align: right;">';
test.each([
  ["| a | b |\n| - |-:|\n| `\\|` | **2** |\n| only |\n| 1 | 2 | 3 |\n\ntext\n", `<table><thead><tr><th>a</th><th style="text-align: right;">b</th></tr></thead><tbody><tr><td><code>|</code></td>${CELL}<strong>2</strong></td></tr><tr><td>only</td>${CELL}</td></tr><tr><td>1</td>${CELL}2</td></tr></tbody></table><p>text</p>`],
  ["| abc | def |\n| --- | --- |\n| bar | baz |\n> quote\n", "<table><thead><tr><th>abc</th><th>def</th></tr></thead><tbody><tr><td>bar</td><td>baz</td></tr></tbody></table><blockquote><p>quote</p></blockquote>"],
  ["| abc | def |\n| --- |\n| bar |\n", "<p>| abc | def |\n| --- |\n| bar |</p>"],
  ["| a |\n|---|\n", "<table><thead><tr><th>a</th></tr></thead></table>"],
  ["~~gone~~ and ~~this *too*~~, not ~~\n\nhere~~\n", "<p><s>gone</s> and <s>this <em>too</em></s>, not ~~</p><p>here~~</p>"],
  ["- [ ] open\n- [x] **done**\n  - [X] inner\n- [] none\n", '<ul><li class="task-list-item"><input type="checkbox" disabled=""> open</li><li class="task-list-item"><input type="checkbox" disabled="" checked=""> <strong>done</strong><ul><li class="task-list-item"><input type="checkbox" disabled="" checked=""> inner</li></ul></li><li>[] none</li></ul>'],
  ["www.commonmark.org, (https://x.example/a_(b)) and me@mail.example.com.\n", '<p><a href="http://www.commonmark.org">www.commonmark.org</a>, (<a href="https://x.example/a_(b)">https://x.example/a_(b)</a>) and <a href="mailto:me@mail.example.com">me@mail.example.com</a>.</p>'],
  ["main.py, README.md, e.g. this and wwwx.example.com\n", "<p>main.py, README.md, e.g. this and wwwx.example.com</p>"],
])("GitHub's: %s", (markdown, html) => {
  const made = whole(markdown);
  for (const element of made.querySelectorAll("td, th")) {
    if ((element as HTMLElement).style.cssText) continue;
    element.removeAttribute("style");
  }
  for (let seed = 1; seed <= 20; seed++) expect(cut(markdown, seed * 7919).innerHTML).toBe(whole(markdown).innerHTML);
  expect(bare(made, "style")).toBe(html);
});

test("all examples in one text, cut anywhere", () => {
  // Each closed by a heading: an open fence, or a definition, would take the rest.
  const text = plain
    .filter(({ section }) => !/Link reference|Links|Images|Fenced/.test(section))
    .map(({ markdown, number }) => `${markdown}\n\n# ${number}\n\n`)
    .join("");
  const expectedHtml = whole(text).innerHTML;
  for (let seed = 1; seed <= 3; seed++) expect(cut(text, seed * 104729).innerHTML).toBe(expectedHtml);
});
