"""tqdm's bars in a real JupyterLab: all of a cell in one output, live, cancelled, saved."""

from __future__ import annotations

import re
from typing import Any

from browser import Notebook
from playwright.sync_api import Locator, Page, expect

GATE = """
import time
from pathlib import Path
from threading import Barrier
from concurrent.futures import ThreadPoolExecutor
from jupyter_sse import tqdm
def wait_for(name):
    while not Path(name).exists():
        time.sleep(0.01)
"""
NESTED = """
shown = Barrier(4)
def download(n):
    with tqdm(total=3_000_000, unit="B", unit_scale=True, desc=f"ملف {n}", position=n) as bar:
        bar.update(1_234_567)
        shown.wait(60)
        if n == 2:
            return
        wait_for("tqdm-download")
        bar.update(1_765_433)

with ThreadPoolExecutor(3) as pool:
    downloads = [pool.submit(download, n) for n in range(3)]
    shown.wait(60)
    for epoch in tqdm(range(3), desc="Training", unit="epoch"):
        batches = tqdm(range(40), desc="batches", leave=False)
        for batch in batches:
            if epoch == 1 and batch == 20:
                batches.set_postfix(loss=0.1234, accuracy=0.987, learning_rate=0.00032, gradient_norm=12.5)
                wait_for("tqdm-half")
        for check in tqdm(range(5), desc="checks"):
            pass
"""


def bars(view: Locator) -> list[tuple[str, str, str]]:
    """Name, depth and state of each bar, from top to bottom."""
    found: list[tuple[str, str, str]] = view.locator(".jsse-bar").evaluate_all(
        """bars => bars.map(bar => [bar.querySelector(".jsse-bar-label").textContent,
                                    bar.style.getPropertyValue("--jsse-depth"), bar.dataset.state])"""
    )
    return [tuple(bar) for bar in found]  # type: ignore[misc]


def opened(notebook: Notebook, name: str) -> None:
    (notebook.path.parent / name).touch()


def test_nested_and_concurrent_bars_share_one_output(open_notebook: Any, page: Page) -> None:
    notebook = open_notebook(GATE, NESTED)
    notebook.run(0)
    view = notebook.run(1)
    expect(view.locator(".jsse-bar")).to_have_count(6)
    expect(view).to_contain_text("loss=0.123")
    expect(view).to_have_count(1)
    names = sorted(bars(view))
    assert names == [
        ("Training", "0", "running"), ("batches", "1", "running"), ("checks", "1", "complete"),
        ("ملف 0", "0", "running"), ("ملف 1", "0", "running"), ("ملف 2", "0", "early"),
    ]  # fmt: skip
    order = [name for name, _, _ in bars(view)]
    assert order[order.index("Training") :][1:3] == ["batches", "checks"]
    expect(view).to_contain_text("1.23 M/3 M")
    page.keyboard.press("Control+b")  # the list of files takes room of its own
    for width in (1200, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for bar in view.locator(".jsse-bar").all():
            box, room = bar.bounding_box(), view.bounding_box()
            assert box is not None
            assert room is not None
            assert box["x"] + box["width"] <= room["x"] + room["width"] + 1
            overflows = bar.locator(".jsse-bar-figures").evaluate("e => e.getBoundingClientRect().right")
            assert overflows <= room["x"] + room["width"] + 1
    page.set_viewport_size({"width": 1200, "height": 900})
    opened(notebook, "tqdm-half")
    opened(notebook, "tqdm-download")
    notebook.wait_idle()
    expect(notebook.view(1)).to_have_attribute("data-sse-status", "done")
    expect(notebook.output(1)).to_have_count(1)

    [output] = notebook.save()["cells"][1]["outputs"]
    text = "".join(output["data"]["text/plain"])
    assert re.search(r"^Training: █{10} 100 % · 3/3 · .*epoch/s$", text, re.MULTILINE)
    assert re.search(r"^  checks: █{10} 100 % · 5/5", text, re.MULTILINE)
    assert re.search(r"^ملف 2: ████░{6} 41 % · 1.23 M/3 M .* stopped early$", text, re.MULTILINE)
    assert "batches" not in text
    assert text.partition("\n")[2] in "".join(output["data"]["text/markdown"])


def test_cancel_ends_a_tqdm_loop(open_notebook: Any) -> None:
    notebook = open_notebook(
        GATE + "from jupyter_sse import Cancelled",
        """
try:
    for n in tqdm(range(10**9), desc="Endless", mininterval=3600):
        time.sleep(0.01)
except Cancelled:
    print("seen")
    raise
""",
    )
    notebook.run(0)
    view = notebook.run(1)
    view.locator('button[data-sse-action="cancel"]').click()
    notebook.wait_idle()
    expect(notebook.view(1)).to_have_attribute("data-sse-status", "cancelled")
    expect(notebook.output(1).filter(has_text="seen")).to_have_count(1)
    assert [state for _, _, state in bars(notebook.view(1))] == ["early"]


def test_bars_that_are_not_left_take_no_room(open_notebook: Any) -> None:
    notebook = open_notebook(GATE, "for n in tqdm(range(3), leave=False):\n    pass\nprint('after')")
    notebook.run(0)
    notebook.run(1)
    notebook.wait_idle()
    expect(notebook.view(1)).to_be_hidden()
    expect(notebook.cell(1).locator(".jp-OutputArea")).to_contain_text("after")
    box = notebook.cell(1).locator(".jp-OutputArea-child").first.bounding_box()
    assert box is not None
    assert box["height"] < 10
