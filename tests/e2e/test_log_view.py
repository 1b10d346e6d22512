"""A log of a hundred thousand lines in a real browser: few of them in the page, all of them to be had."""

from __future__ import annotations

import json
from typing import Any

from browser import Notebook, at_rest
from harness import JupyterServer, wait_for
from playwright.sync_api import Locator, Page, expect

CELL = """
from jupyter_sse import task
with task("Long log") as t:
    for number in range(1, 100_001):
        t.log(f"line {number}" + " and more" * (number % 100 == 0) * 40)
"""

# The longest time between two frames, and how many nodes there are, while the log is scrolled from end to end.
SCROLL = """async box => {
    let worst = 0, nodes = 0, last = performance.now();
    for (let step = 0; step <= 200; step += 1) {
        box.scrollTop = box.scrollHeight * (1 - step / 200);
        await new Promise(requestAnimationFrame);
        worst = Math.max(worst, performance.now() - last);
        last = performance.now();
        nodes = Math.max(nodes, box.querySelectorAll("*").length);
    }
    return { worst, nodes };
}"""


def first_seen(box: Locator) -> str:
    text: str = box.evaluate(
        """box => {
        const top = box.getBoundingClientRect().top;
        const seen = [...box.querySelectorAll(".jsse-line")].find(row => row.getBoundingClientRect().bottom > top + 4);
        return seen?.textContent ?? "";
    }"""
    )
    return text


def check(page: Page, view: Locator) -> None:
    """Scroll, search, copy."""
    log = view.locator("[data-sse-part=log]")
    box = log.get_by_role("log")
    expect(log).to_contain_text("100,000 lines")
    expect(box.locator(".jsse-line").last).to_contain_text("line 100000")
    assert box.locator("*").count() < 500

    box.evaluate("box => { box.scrollTop = 0 }")
    expect(log).to_contain_text("Line 1 of 100,000")
    expect(box.locator('[data-line="1"]')).to_have_text("line 1")
    wait_for(lambda: first_seen(box) == "line 1", "the first line to be seen")
    result = box.evaluate(SCROLL)
    print(result)
    assert result["nodes"] < 700

    field = log.get_by_role("searchbox", name="Search the output")
    found = log.locator(".jsse-find-count")
    field.fill("LINE 17")
    expect(found).to_have_text("1 of 1,111")
    current = log.locator("[aria-current]")
    expect(current).to_have_text("line 17")
    expect(current.locator("mark")).to_be_in_viewport()
    field.press("Shift+Enter")
    expect(current).to_have_text("line 17999")
    expect(current).to_be_in_viewport()
    field.press("Enter")
    expect(current).to_have_text("line 17")
    expect(current).to_be_in_viewport()
    field.fill("line 17 ")
    expect(found).to_have_text("Not found")
    field.fill("line 9900 and")
    expect(found).to_have_text("1 of 1")
    expect(current.locator("mark")).to_be_in_viewport()
    field.press("Escape")
    expect(field).to_have_value("")
    expect(box).to_be_focused()

    page.keyboard.press("End")
    expect(box.locator(".jsse-line").last).to_be_in_viewport()
    latest = log.get_by_role("button", name="Jump to latest")
    expect(latest).to_be_hidden()
    page.keyboard.press("Home")
    wait_for(lambda: first_seen(box) == "line 1", "the first line to be seen")
    copied = box.evaluate(
        """box => {
        const [first, last] = [1, 3].map(line => box.querySelector(`[data-line="${line}"]`));
        getSelection().setBaseAndExtent(first, 0, last, 1);
        return getSelection().toString();
    }"""
    )
    assert copied == "line 1\nline 2\nline 3"
    latest.click()
    expect(box.locator(".jsse-line").last).to_be_in_viewport()


def test_on_the_monitor_page(server: JupyterServer, page: Page) -> None:
    stream = server.create(title="Long log")
    for start in range(1, 100_001, 10_000):
        texts = [f"line {number}" + " and more" * (number % 100 == 0) * 40 for number in range(start, start + 10_000)]
        server.append(stream, *[json.dumps({"type": "log", "text": text}) for text in texts])
    page.goto(f"{server.url}?token={server.token}#/{stream}")
    view = page.locator("[data-sse-stream]")
    check(page, view)

    # What comes is followed from the end alone.
    box = view.get_by_role("log")
    server.append(stream, '{"type":"log","text":"the newest"}')
    expect(box.locator(".jsse-line").last).to_have_text("the newest")
    box.evaluate("box => { box.scrollTop -= 300 }")
    expect(view.get_by_role("button", name="Jump to latest")).to_be_visible()
    before = first_seen(box)
    server.append(stream, *[json.dumps({"type": "log", "text": f"newer {number}"}) for number in range(500)])
    expect(view.locator(".jsse-log-place")).to_contain_text("of 100,501")
    assert first_seen(box) == before


def test_keys_scroll_a_log_in_a_notebook_and_leave_the_rest_to_it(open_notebook: Any, page: Page) -> None:
    printing = "from jupyter_sse import task\nwith task('Log') as t:\n    for n in range({}): t.log(f'line {{n}}')"
    notebook: Notebook = open_notebook(printing.format(100), printing.format(2), "6 * 7")
    boxes = []
    for index in (0, 1):
        view = notebook.run(index)
        expect(view).to_have_attribute("data-sse-status", "done")
        boxes.append(view.get_by_role("log"))
    active = page.locator(".jp-Notebook .jp-Cell.jp-mod-active")
    boxes[0].click()
    expect(active).to_have_attribute("data-windowed-list-index", "0")
    for key in ("Home", "PageDown", "ArrowDown", "ArrowUp", "End"):
        before = at_rest(boxes[0])
        page.keyboard.press(key)
        wait_for(lambda before=before: boxes[0].evaluate("box => box.scrollTop") != before, f"{key} to scroll")  # type: ignore[misc]
        expect(boxes[0]).to_be_focused()
    boxes[1].click()  # it shows all it has
    page.keyboard.press("ArrowDown")
    expect(active).to_have_attribute("data-windowed-list-index", "2")
    notebook.cell(1).get_by_role("log").click()
    page.keyboard.press("Control+Enter")
    expect(notebook.cell(1).locator(".jp-InputPrompt")).to_have_text("[3]:")


def test_home_and_end_are_reached_while_another_key_still_scrolls(server: JupyterServer, page: Page) -> None:
    stream = server.create(title="Log")
    server.append(stream, *[json.dumps({"type": "log", "text": f"line {number}"}) for number in range(100)])
    page.goto(f"{server.url}?token={server.token}#/{stream}")
    view = page.locator("[data-sse-stream]")
    box = view.get_by_role("log")
    end = box.get_by_text("line 99", exact=True)
    expect(end).to_be_in_viewport()
    box.click()
    for _ in range(3):
        page.keyboard.press("PageUp")
        page.keyboard.press("Home")
        assert at_rest(box) == 0
        page.keyboard.press("PageDown")
        page.keyboard.press("End")
        at_rest(box)
        page.keyboard.press("PageUp")
        page.keyboard.press("End")
        at_rest(box)
        expect(end).to_be_in_viewport()
    page.keyboard.press("Home")
    page.keyboard.press("PageDown")
    view.get_by_role("button", name="Jump to latest").dispatch_event("click")
    at_rest(box)
    expect(end).to_be_in_viewport()


def test_in_a_notebook_also_when_it_was_saved(open_notebook: Any, page: Page) -> None:
    notebook: Notebook = open_notebook(CELL)
    view = notebook.run(0)
    expect(view).to_have_attribute("data-sse-status", "done")
    notebook.wait_idle()
    check(page, view)
    notebook.save()
    notebook.open()
    check(page, notebook.view(0))
