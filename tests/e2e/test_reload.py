"""The page is reloaded in the middle of a run, in a real JupyterLab."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from browser import LIVE, Notebook, write_notebook
from harness import JupyterServer, wait_for
from playwright.sync_api import Locator, Page, expect
from test_lab import GATE, MIME, events_of, lines_of, opened, status, streams


def reload(notebook: Notebook, live: str) -> Locator:
    """The page is loaded again; the second cell's view, as soon as it shows this text."""
    notebook.page.reload()
    notebook.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    shown = time.monotonic()
    view = notebook.view(1)
    expect(view).to_contain_text(live)
    print(f"{1000 * (time.monotonic() - shown):.0f} ms after the notebook the view was back")
    return view


def lines(view: Locator) -> list[str]:
    return view.locator(".jsse-line").all_inner_texts()


def test_a_reload_in_mid_run_brings_the_live_view_back(open_notebook: Any, lab: JupyterServer) -> None:
    notebook = open_notebook(
        GATE,
        """
with task("Reload") as t:
    for i in track(range(60), "rounds"):
        t.log(f"line {i}")
        if i in (20, 40):
            wait_for(f"reload-{i}")
    wait_for("reload-end")
    t.result = "all of it"
""",
    )
    notebook.run(0)
    view = notebook.run(1)
    expect(view).to_contain_text("line 20")
    assert len(notebook.save()["cells"][1]["outputs"]) == 1

    view = reload(notebook, "line 20")
    status(view, "running")
    assert lines(view) == [f"line {index}" for index in range(21)]
    bar = view.get_by_role("progressbar")

    def percent() -> float:
        return float(bar.get_attribute("aria-valuenow") or 0)

    before = wait_for(percent, "the bar to be shown")
    opened(notebook, "reload-20")
    expect(view).to_contain_text("line 40")
    wait_for(lambda: percent() > before, "the bar to go on")
    opened(notebook, "reload-40")
    opened(notebook, "reload-end")
    status(view, "done")

    [entry] = streams(lab, notebook)
    assert lines(view) == lines_of(lab, entry["stream"]) == [f"line {index}" for index in range(60)]
    expect(bar).to_have_attribute("aria-valuenow", "100")
    expect(view.locator("[data-sse-part=result]")).to_have_text("all of it")
    assert notebook.output(1).count() == 1
    notebook.wait_idle()


def test_a_reload_in_mid_answer_loses_no_word(open_notebook: Any, lab: JupyterServer) -> None:
    notebook = open_notebook(
        GATE,
        """
def words():
    for i in range(300):
        yield f"word{i} مرحبا "
        if i in (100, 200):
            wait_for(f"answer-{i}")
_ = stream(words(), title="Long")
""",
    )
    notebook.run(0)
    expect(notebook.run(1)).to_contain_text("word100 ")
    notebook.save()

    view = reload(notebook, "word100 ")
    opened(notebook, "answer-100")
    expect(view).to_contain_text("word200 ")
    status(view, "running")
    opened(notebook, "answer-200")
    status(view, "done")
    [entry] = streams(lab, notebook)
    sent = "".join(event["text"] for event in events_of(lab, entry["stream"]) if event["type"] == "delta")
    assert sent.split() == [word for index in range(300) for word in (f"word{index}", "مرحبا")]
    assert view.locator("[data-sse-part=answer]").inner_text().split() == sent.split()
    notebook.wait_idle()


def test_notebook_7_is_live_again_too(page: Page, make_server: Any, tmp_path: Path) -> None:
    server = make_server(app="notebook", home=tmp_path / "notebook")
    cell = "with task('Seven') as t:\n    t.log('line one')\n    wait_for('more')\n    t.log('line two')"
    notebook = Notebook(page, server, write_notebook(server, "seven.ipynb", GATE, cell)).open()
    notebook.run(0)
    expect(notebook.run(1)).to_contain_text("line one")
    notebook.save()
    view = reload(notebook, "line one")
    status(view, "running")
    opened(notebook, "more")
    status(view, "done")
    assert lines(view) == ["line one", "line two"]


def test_the_view_of_a_run_stays_when_it_ends(open_notebook: Any) -> None:
    notebook = open_notebook(GATE, "with task('Stays') as t:\n    t.log('line')\n    wait_for('stays')")
    notebook.run(0)
    view = notebook.run(1)
    expect(view).to_contain_text("line")
    before = notebook.page.locator(LIVE).element_handle()
    opened(notebook, "stays")
    notebook.wait_idle()
    status(view, "done")
    assert before.is_visible()
    assert before.evaluate("(old, now) => old === now", view.element_handle())


@pytest.mark.parametrize("ended", [True, False])
def test_a_forgotten_stream_is_shown_as_far_as_the_document_knows_it(
    open_notebook: Any, lab: JupyterServer, ended: bool
) -> None:
    notebook = open_notebook("from jupyter_sse import task", "with task('Kept') as t:\n    t.log('kept line')")
    notebook.run(0)
    status(notebook.run(1), "done")
    notebook.wait_idle()
    saved = notebook.save()
    bundle = saved["cells"][1]["outputs"][0]["data"][MIME]
    wait_for(lambda: [entry["status"] for entry in streams(lab, notebook)] == ["done"], "the stream's end")
    assert lab.request("DELETE", f"streams/{bundle['stream']}").status_code == 204
    if not ended:
        del bundle["snapshot"]
    notebook.page.goto("about:blank")
    notebook.path.write_text(json.dumps(saved))
    notebook.open()
    view = notebook.view(1)
    status(view, "done" if ended else "error")
    expect(view).to_contain_text("kept line" if ended else "This stream has been deleted")
