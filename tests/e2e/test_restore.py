"""The page is reloaded, and the notebook on disk knows nothing of the run: its outputs come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from browser import LIVE, Notebook, new_context, write_notebook
from harness import JupyterServer, wait_for
from playwright.sync_api import Browser, Locator, Page, expect
from test_lab import GATE, MIME, opened, status, streams

DIRTY = ".lm-TabBar-tab.jp-mod-current.jp-mod-dirty"
TWO = """
with task("First") as t:
    t.log("first line")
with task("Second") as t:
    for i in track(range(40), "rounds"):
        t.log(f"line {i}")
        if i == 20:
            wait_for("two-20")
    t.result = 42
"""


def gated(name: str) -> str:
    return f"with task({name!r}) as t:\n    t.log('started')\n    wait_for({name!r})\n    t.log('ended')"


def lines(view: Locator) -> list[str]:
    return view.locator(".jsse-line").all_inner_texts()


def reload(notebook: Notebook) -> None:
    notebook.page.reload()
    notebook.page.locator(".jp-Notebook .jp-Cell").first.wait_for()


def saved_bundles(notebook: Notebook, index: int) -> list[dict[str, Any]]:
    outputs = json.loads(notebook.path.read_text())["cells"][index]["outputs"]
    return [output["data"][MIME] for output in outputs if MIME in output.get("data", {})]


def set_source(notebook: Notebook, index: int, source: str) -> None:
    notebook.cell(index).locator(".cm-content").click()
    notebook.page.keyboard.press("Control+a")
    notebook.page.keyboard.insert_text(source)


def test_a_run_that_was_never_saved_comes_back_alive_and_gets_saved(open_notebook: Any) -> None:
    notebook = open_notebook(GATE, TWO)
    notebook.run(0)
    notebook.run(1)
    expect(notebook.view(1).nth(1)).to_contain_text("line 20")
    assert saved_bundles(notebook, 1) == []

    reload(notebook)
    first, second = notebook.view(1).nth(0), notebook.view(1).nth(1)
    expect(second).to_contain_text("line 20")
    status(first, "done")
    status(second, "running")
    assert (lines(first), lines(second)) == (["first line"], [f"line {index}" for index in range(21)])
    expect(notebook.page.locator(DIRTY)).to_be_visible()
    opened(notebook, "two-20")
    status(second, "done")
    assert lines(second) == [f"line {index}" for index in range(40)]
    assert notebook.output(1).count() == 2

    def ends() -> list[str]:
        notebook.save()
        return [bundle.get("snapshot", {}).get("status", "") for bundle in saved_bundles(notebook, 1)]

    wait_for(lambda: ends() == ["done", "done"], "the end to be in the notebook")
    assert [bundle["snapshot"]["title"] for bundle in saved_bundles(notebook, 1)] == ["First", "Second"]
    reload(notebook)
    status(notebook.view(1).nth(1), "done")
    expect(notebook.view(1)).to_have_count(2)
    expect(notebook.page.locator(DIRTY)).to_have_count(0)
    notebook.wait_idle()


def test_a_run_that_ended_while_the_page_was_closed_comes_back(open_notebook: Any, lab: JupyterServer) -> None:
    notebook = open_notebook(GATE, gated("away"))
    notebook.run(0)
    expect(notebook.run(1)).to_contain_text("started")
    notebook.page.goto("about:blank")
    opened(notebook, "away")
    wait_for(lambda: [entry["status"] for entry in streams(lab, notebook)] == ["done"], "the run to end")

    notebook.open()
    view = notebook.view(1)
    status(view, "done")
    assert lines(view) == ["started", "ended"]
    expect(notebook.page.locator(DIRTY)).to_be_visible()
    notebook.save()
    [bundle] = saved_bundles(notebook, 1)
    assert bundle["snapshot"]["status"] == "done"


def test_the_end_of_a_run_that_was_saved_in_the_middle_is_saved_too(open_notebook: Any) -> None:
    notebook = open_notebook(GATE, gated("middle"))
    notebook.run(0)
    expect(notebook.run(1)).to_contain_text("started")
    notebook.save()
    reload(notebook)
    view = notebook.view(1)
    expect(view).to_contain_text("started")
    expect(notebook.page.locator(DIRTY)).to_have_count(0)
    opened(notebook, "middle")
    status(view, "done")
    expect(notebook.page.locator(DIRTY)).to_be_visible()
    saved = notebook.save()
    [output] = saved["cells"][1]["outputs"]
    assert output["data"][MIME]["snapshot"]["status"] == "done"
    assert "ended" in "".join(output["data"]["text/markdown"])
    assert lines(view) == ["started", "ended"]


def test_what_was_run_again_or_cleared_stays_away(open_notebook: Any, lab: JupyterServer) -> None:
    task = "from jupyter_sse import task\nwith task('Old') as t:\n    t.log('old line')"
    notebook = open_notebook(task, task, task)
    for index in range(3):
        status(notebook.run(index), "done")
    notebook.wait_idle()
    set_source(notebook, 0, "print('new')")
    notebook.run(0)
    expect(notebook.output(0)).to_have_text("new\n")
    notebook.cell(1).locator(".cm-content").click()
    notebook.page.keyboard.press("Escape")
    notebook.page.get_by_role("menuitem", name="Edit", exact=True).click()
    notebook.page.get_by_role("menuitem", name="Clear Cell Output", exact=True).click()
    expect(notebook.output(1)).to_have_count(0)
    wait_for(
        lambda: sorted(entry["dismissed"] for entry in streams(lab, notebook)) == [False, True, True],
        "the server to hear of it",
    )

    reload(notebook)
    status(notebook.view(2), "done")
    expect(notebook.page.locator(LIVE)).to_have_count(1)


def test_outputs_of_an_earlier_run_give_way_to_the_later_one(open_notebook: Any) -> None:
    cell = "from jupyter_sse import task\nprint('plain')\nwith task('Again') as t:\n    t.log(str(counter))"
    notebook = open_notebook("counter = 1", cell)
    notebook.run(0)
    expect(notebook.run(1)).to_contain_text("1")
    notebook.wait_idle()
    notebook.save()
    set_source(notebook, 0, "counter = 2")
    notebook.run(0)
    notebook.wait_idle()
    notebook.run(1)
    expect(notebook.view(1)).to_contain_text("2")
    notebook.wait_idle()
    assert saved_bundles(notebook, 1)[0]["snapshot"]["log"]["lines"][0]["text"] == "1"

    reload(notebook)
    expect(notebook.view(1)).to_contain_text("2")
    assert lines(notebook.view(1)) == ["2"]
    expect(notebook.output(1)).to_have_count(1)


def test_another_browser_sees_it_and_leaves_saving_to_the_first(open_notebook: Any, browser: Browser) -> None:
    notebook = open_notebook(GATE, gated("shared"))
    notebook.run(0)
    notebook.wait_idle()
    notebook.save()  # so that JupyterLab has nothing of its own to change when the notebook is opened again
    expect(notebook.run(1)).to_contain_text("started")
    with new_context(browser) as context:
        other = Notebook(context.new_page(), notebook.server, notebook.path).open(busy=True)
        view = other.view(1)
        expect(view).to_contain_text("started")
        expect(other.page.locator(DIRTY)).to_have_count(0)
        opened(notebook, "shared")
        status(view, "done")
        notebook.wait_idle()
        notebook.save()
        assert [bundle["snapshot"]["status"] for bundle in saved_bundles(notebook, 1)] == ["done"]
        expect(other.page.locator(DIRTY)).to_have_count(0)


def test_notebook_7_puts_it_back_too(page: Page, make_server: Any, tmp_path: Path) -> None:
    server = make_server(app="notebook", home=tmp_path / "notebook")
    cell = "with task('Seven') as t:\n    t.log('line one')\n    wait_for('more')\n    t.log('line two')"
    notebook = Notebook(page, server, write_notebook(server, "seven.ipynb", GATE, cell)).open()
    notebook.run(0)
    expect(notebook.run(1)).to_contain_text("line one")
    reload(notebook)
    view = notebook.view(1)
    expect(view).to_contain_text("line one")
    opened(notebook, "more")
    status(view, "done")
    assert lines(view) == ["line one", "line two"]
    notebook.wait_idle()
    notebook.save()
    assert [bundle["stream"] for bundle in saved_bundles(notebook, 1)] == [view.get_attribute("data-sse-stream")]
