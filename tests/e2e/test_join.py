"""Another browser, with another profile, comes late: the state is shown to it, not the history."""

from __future__ import annotations

import json
from contextlib import closing

from browser import Notebook, new_context, received, write_notebook
from harness import JupyterServer
from playwright.sync_api import Browser, Locator, expect
from test_lab import GATE, opened, status, streams

# Lines of two levels by turns are not merged: each is an event.
CELL = """
with task("Join مرحبا", steps=2) as t:
    t.step("Load")
    t.log("first line")
    wait_for("join-closed")
    for i in track(range(100_000), "lines"):
        t.log(f"line {i} سطر", level="info" if i % 2 else "debug")
    t.step("Save")
    t.preview(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect width='9' height='9'/></svg>")
    wait_for("join-end")
    t.log("last line")
    t.result = "all of it"
"""

# What is seen of a view, but for the clock and for what is said to screen readers while one watches.
SEEN = """view => {
  const copy = view.cloneNode(true);
  const unlike = "style, .jsse-time, .jsse-step-time, [role=status], [hidden]";
  for (const part of copy.querySelectorAll(unlike)) part.remove();
  // Empty space for lines that are not in the page, as high as those that are in it happen to be.
  for (const space of copy.querySelectorAll("[role=log] > div:not([data-line])")) space.remove();
  return copy.outerHTML;
}"""


def join(browser: Browser, server: JupyterServer, notebook: Notebook) -> tuple[Notebook, Locator]:
    """The notebook in a browser that has never been here."""
    opened_here = Notebook(new_context(browser).new_page(), server, notebook.path).open(busy=True)
    return opened_here, opened_here.view(1)


def test_a_late_browser_sees_what_one_that_watched_all_along_sees(browser: Browser, lab: JupyterServer) -> None:
    path = write_notebook(lab, "join.ipynb", GATE, CELL)
    first = Notebook(new_context(browser).new_page(), lab, path).open()
    first.run(0)
    expect(first.run(1)).to_contain_text("first line")
    first.save()
    [entry] = streams(lab, first)
    stream = entry["stream"]
    watcher, watched = join(browser, lab, first)
    expect(watched).to_contain_text("first line")
    first.page.context.close()

    opened(watcher, "join-closed")
    expect(watched).to_contain_text("[2] Save")
    assert len(received(watcher.page, stream)) > 100_000
    with closing(join(browser, lab, first)[0].page.context) as context:
        late = Notebook(context.pages[0], lab, path)
        view = late.view(1)
        expect(view).to_contain_text("[2] Save")
        status(view, "running")
        assert [frame.event for frame in received(late.page, stream)] == ["reset"]
        assert view.evaluate(SEEN) == watched.evaluate(SEEN)

        opened(watcher, "join-end")
        for one in (watched, view):
            status(one, "done")
            expect(one.locator("[data-sse-part=result]")).to_have_text("all of it")
        assert view.evaluate(SEEN) == watched.evaluate(SEEN)
        reset, *rest = received(late.page, stream)
        assert [frame.event for frame in rest] == ["log", "done"]
        seq = json.loads(reset.data)["seq"]
        assert seq > 100_000
        assert [frame.id for frame in rest] == [f"{stream}:{seq + 1}", f"{stream}:{seq + 2}"]

    later, view = join(browser, lab, first)
    status(view, "done")
    assert [frame.event for frame in received(later.page, stream)] == ["reset"]
    assert view.evaluate(SEEN) == watched.evaluate(SEEN)
    later.page.context.close()
    watcher.page.context.close()
