"""Cells that are streams by themselves, in a real JupyterLab: calm beside the cell's output, whole elsewhere."""

from __future__ import annotations

import re
from typing import Any

from browser import Notebook
from harness import JupyterServer
from playwright.sync_api import Page, expect
from test_lab import GATE, MIME, bundles, lines_of, opened, status, streams

ON = GATE + "%load_ext jupyter_sse\n%sse monitor on --after 0.5"
WORK = (
    "# Train the model على البيانات\n"
    "print('before it is shown')\n"
    "wait_for('go-cells')\n"
    "from jupyter_sse import tqdm\n"
    "import matplotlib.pyplot as plt\n"
    "for _ in tqdm(range(3), desc='Epochs'): print('in')\n"
    "plt.plot([1, 3, 2]); plt.show()\n"
    "name = input('Who? ')\n"
    "print('for', name)\n"
    "0.93"
)


def texts(cell: dict[str, Any]) -> list[str]:
    """What a saved cell shows, each output as text."""
    outputs = cell["outputs"]
    return ["".join(output.get("text") or output["data"]["text/plain"]) for output in outputs if "ename" not in output]


def test_a_monitored_cell(open_notebook: Any, lab: JupyterServer, page: Page) -> None:
    notebook: Notebook = open_notebook(ON, WORK, "print('short')")
    notebook.run(0)
    notebook.wait_idle()
    view = notebook.run(1)
    status(view, "running")
    expect(view.locator(".jsse-title")).to_have_text("Train the model على البيانات")
    # The line about the cell stands above what the cell has printed before.
    printed = notebook.output(1).filter(has_text="before it is shown")
    expect(printed).to_be_visible()
    assert view.bounding_box()["y"] < printed.bounding_box()["y"]  # type: ignore[index]
    expect(view.locator("[data-sse-part=log]")).to_have_count(0)
    opened(notebook, "go-cells")
    page.locator(".jp-Stdin-input").fill("Ada")
    page.locator(".jp-Stdin-input").press("Enter")
    notebook.wait_idle()
    status(view, "done")
    expect(view.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    expect(notebook.cell(1).locator(".jp-OutputArea-output img")).to_have_count(1)
    assert notebook.cell(1).inner_text().count("before it is shown") == 2  # in the code and once in the output
    notebook.run(2)
    notebook.wait_idle()

    [entry] = streams(lab, notebook)
    assert (entry["kind"], entry["status"]) == ("cell", "done")
    assert lines_of(lab, entry["stream"]) == ["before it is shown", "in", "in", "in", "for Ada"]
    snapshot = lab.request("GET", f"streams/{entry['stream']}").json()
    assert snapshot["result"] == 0.93
    assert [preview["mime"] for preview in snapshot["previews"]] == ["image/png"]

    saved = notebook.save()
    said = texts(saved["cells"][1])
    assert "".join(said).count("before it is shown") == 1
    [line] = [text for text in said if text.startswith("Train the model")]
    assert re.match(r"Train the model على البيانات: done · \d", line)
    assert "Epochs: ██████████ 100 %" in line
    [bundle] = [bundle for bundle in bundles(saved, 1) if MIME in bundle]
    assert bundle[MIME]["snapshot"]["log"]["count"] == 0
    assert texts(saved["cells"][2]) == ["short\n"]


def test_a_page_that_is_reloaded_shows_what_the_cell_prints(open_notebook: Any, lab: JupyterServer) -> None:
    notebook: Notebook = open_notebook(ON, "print('one')\nwait_for('go-reload')\nprint('two')")
    notebook.run(0)
    notebook.wait_idle()
    status(notebook.run(1), "running")
    notebook.save()
    notebook.page.reload()
    view = notebook.view(1)
    expect(view.locator(".jsse-line")).to_have_text(["one"])
    opened(notebook, "go-reload")
    # The kernel's own end goes to the page that is gone.
    expect(view.locator(".jsse-line")).to_have_text(["one", "two"])
    status(view, "done")


def test_an_error_a_time_limit_and_a_cancel(open_notebook: Any, lab: JupyterServer) -> None:
    notebook: Notebook = open_notebook(
        ON,
        "wait_for('failing')\n1 / 0",
        "%%task Late --timeout 0.5\ntime.sleep(600)",
        "time.sleep(600)",
        "from jupyter_sse import task\nwith task('Deaf', stall=0.5) as t:\n    t.step('Sleeps')\n    time.sleep(600)",
    )
    notebook.run(0)
    notebook.wait_idle()
    status(notebook.run(1), "running")
    opened(notebook, "failing")
    status(notebook.view(1), "error")
    notebook.wait_idle()
    expect(notebook.view(1).get_by_role("alert")).to_have_count(0)  # the cell's own traceback says it
    expect(notebook.cell(1)).to_contain_text("ZeroDivisionError")
    late = notebook.run(2)
    expect(late.locator(".jsse-status")).to_have_text("Timed out")
    notebook.wait_idle()
    expect(notebook.cell(2)).to_contain_text("TaskTimeout: Late took longer than 0.5 s")
    view = notebook.run(3)
    view.locator("button[data-sse-action=cancel]").click()
    status(view, "cancelled")
    expect(view.locator(".jsse-status")).to_have_text("Cancelled, kernel interrupted")
    notebook.wait_idle()
    deaf = notebook.run(4)
    expect(deaf.locator(".jsse-news")).to_contain_text("no news for")
    button = deaf.locator("button[data-sse-action=cancel]")
    button.click()
    expect(button).to_have_text("Interrupt")
    button.click()
    status(deaf, "cancelled")
    expect(deaf.locator(".jsse-status")).to_have_text("Cancelled, kernel interrupted")
    notebook.wait_idle()
    ends = {entry["title"]: entry["status"] for entry in streams(lab, notebook)}
    assert ends == {"wait_for('failing')": "error", "Late": "done", "time.sleep(600)": "cancelled", "Deaf": "cancelled"}
