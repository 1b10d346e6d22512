"""A notebook after its run, as it is on disk: opened where there is nothing of ours, and converted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from browser import LIVE, Notebook, new_context, only_widgets, quiet_lab, write_notebook
from harness import JupyterServer, wait_for
from playwright.sync_api import Browser, Page, expect
from test_lab import GATE, MIME, bundles, opened

from jupyter_sse.kernel.display import WIDGET_DELAY

ANSWER = """## لماذا السماء زرقاء؟

بسبب **تشتت** الضوء: الأزرق يتشتت أكثر.

| colour | nm |
|--------|---:|
| blue   | 450 |
| red    | 700 |

- violet, too
- less of it

```python
scattering = 1 / wavelength**4  # <b>not bold</b>
```
"""
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGM4ISKCBzGMSmNDACkWS3EXkDYbAAAAAElFTkSuQmCC"
CELLS = [
    "import base64, time\nfrom jupyter_sse import stream, task, track",
    f"""
text = {ANSWER!r}
def pieces():
    for start in range(0, len(text), 5):
        yield text[start : start + 5]
    time.sleep({3 * WIDGET_DELAY})
answer = stream(pieces(), title="Why is the sky blue?")
""",
    f"""
with task("Render المشهد", steps=2) as t:
    t.step("Read the frames")
    for epoch in track(range(4), "Epochs"):
        for batch in track(range(25), "Batches"):
            pass
    for n in range(10_000):
        t.log(f"line {{n}} سطر")
    t.preview(base64.b64decode({PNG!r}), key="loss", alt="the loss")
    t.step("Encode")
    t.progress(240, 240)
    time.sleep({3 * WIDGET_DELAY})
    t.result = "https://example.org/video.mp4"
""",
    """
with task("Broken") as t:
    t.progress(3, 10)
    raise ValueError("there is no frame 4")
""",
    """
with task("Unwanted") as t:
    t.progress(7, 10)
    t.cancel()
    t.progress(8)
""",
]
FALSEHOODS = re.compile(r"model not found|Loading widget|Error displaying|Error rendering|(?<![\d.])0 %", re.IGNORECASE)


def run_in_lab(browser: Browser, lab: JupyterServer) -> Path:
    context = new_context(browser)
    notebook = Notebook(context.new_page(), lab, write_notebook(lab, "saved.ipynb", *CELLS)).open()
    for index in range(len(CELLS)):
        notebook.run(index)
    notebook.wait_idle()
    notebook.save()
    context.close()
    return notebook.path


def execute(lab: JupyterServer) -> Path:
    """As `jupyter execute` does, where nobody looks on."""
    path = write_notebook(lab, "executed.ipynb", *CELLS)
    subprocess.run(
        [sys.executable, "-m", "jupyter", "execute", "--inplace", "--allow-errors", str(path)],
        check=True, timeout=120, env=lab.env() | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}, capture_output=True,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module", params=["lab", "execute"])
def saved(browser: Browser, lab: JupyterServer, request: pytest.FixtureRequest) -> Path:
    """The notebook, run and saved."""
    return run_in_lab(browser, lab) if request.param == "lab" else execute(lab)


def test_the_file_is_valid_and_says_how_everything_ended(saved: Path) -> None:
    notebook = json.loads(saved.read_text())
    nbformat.validate(notebook)
    snapshots = [bundles(notebook, index)[0][MIME]["snapshot"] for index in range(1, len(CELLS))]
    assert [snapshot["status"] for snapshot in snapshots] == ["done", "done", "error", "cancelled"]
    assert snapshots[0]["text"] == ANSWER
    assert snapshots[1]["log"]["count"] == 10_000
    for index in range(1, len(CELLS)):
        [bundle] = bundles(notebook, index)
        assert set(bundle) == {MIME, "text/markdown", "text/plain"}
        assert not FALSEHOODS.search(bundle["text/markdown"] + bundle["text/plain"])
    # No widget, whose code alone is 150 kB, is left behind.
    assert "widgets" not in notebook["metadata"]
    assert len(saved.read_bytes()) < 100_000


@pytest.mark.parametrize("to", ["html", "markdown"])
def test_nbconvert_shows_it(saved: Path, to: str) -> None:
    converted = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", to, "--stdout", str(saved)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    shown = [
        "لماذا السماء زرقاء؟",
        ">450</td>" if to == "html" else "| blue   | 450 |",
        "100 % · 4/4",
        "100 % · 25/25",
        "100 % · 240/240",
        "[2/2] Encode",
        "… (9800 lines before)\nline 9800 سطر",
        "line 9999 سطر",
        f"data:image/png;base64,{PNG}",
        "https://example.org/video.mp4",
        "30 % · 3/10",
        "ValueError: there is no frame 4",
        "70 % · 7/10",
        "cancelled",
    ]
    assert [part for part in shown if part not in converted] == []
    assert not FALSEHOODS.search(converted)


Open = Callable[[JupyterServer], Notebook]


@pytest.fixture
def open_saved(saved: Path, page: Page) -> Open:
    """`open_saved(server)`: the file alone, in that server."""

    def open_one(server: JupyterServer) -> Notebook:
        path = server.notebooks / saved.name
        path.write_bytes(saved.read_bytes())
        return Notebook(page, server, path).open()

    return open_one


@pytest.fixture(scope="module")
def without_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """A JupyterLab with our labextension, but with no server extension."""
    yield from _started(JupyterServer(tmp_path_factory.mktemp("without-server"), NO_SERVER, app="jupyterlab"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """A JupyterLab that has ipywidgets and has never heard of us."""
    home = tmp_path_factory.mktemp("plain")
    yield from _started(JupyterServer(home, NO_SERVER, only_widgets(home), app="jupyterlab"))


NO_SERVER = "--ServerApp.jpserver_extensions={'jupyter_sse': False}"


def _started(server: JupyterServer) -> Iterator[JupyterServer]:
    quiet_lab(server)
    yield server.start()
    server.stop()


def test_the_labextension_shows_it_without_its_server(open_saved: Open, without_server: JupyterServer) -> None:
    notebook = open_saved(without_server)
    answer, render, broken, unwanted = (notebook.view(index) for index in range(1, len(CELLS)))
    for view, status in ((answer, "done"), (render, "done"), (broken, "error"), (unwanted, "cancelled")):
        expect(view).to_have_attribute("data-sse-status", status)
    expect(answer.get_by_role("heading")).to_have_text("لماذا السماء زرقاء؟")
    expect(answer.get_by_role("cell", name="450")).to_be_visible()
    assert [bar.get_attribute("aria-valuenow") for bar in render.get_by_role("progressbar").all()] == ["100"] * 3
    expect(render).to_contain_text("[2] Encode")
    expect(render).to_contain_text("10,000 lines")
    expect(render.locator(".jsse-line").last).to_have_text("line 9999 سطر")
    at_end = "box => box.scrollTop > 0 && box.scrollHeight - box.scrollTop - box.clientHeight < 2"
    wait_for(lambda: render.get_by_role("log").evaluate(at_end), "the log to be at its end")
    expect(render.get_by_role("img", name="the loss")).to_be_visible()
    expect(render.get_by_role("link", name="https://example.org/video.mp4")).to_be_visible()
    expect(broken.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "30")
    expect(broken).to_contain_text("ValueError: there is no frame 4")
    expect(unwanted.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "70")
    assert not FALSEHOODS.search(notebook.page.locator(".jp-Notebook").inner_text())


def test_a_plain_jupyterlab_shows_it(open_saved: Open, plain: JupyterServer, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    notebook = open_saved(plain)
    answer, render, broken, unwanted = (notebook.output(index).first for index in range(1, len(CELLS)))
    expect(answer.get_by_role("heading")).to_contain_text("لماذا السماء زرقاء؟")
    expect(answer.get_by_role("cell", name="450")).to_be_visible()
    expect(answer.locator("pre")).to_contain_text("scattering = 1 / wavelength**4  # <b>not bold</b>")
    expect(answer).to_contain_text("Why is the sky blue? · done")
    for part in (
        "100 % · 4/4",
        "100 % · 25/25",
        "100 % · 240/240",
        "[2/2] Encode",
        "… (9800 lines before)",
        "line 9999 سطر",
    ):
        expect(render).to_contain_text(part)
    expect(render.get_by_role("img", name="the loss")).to_be_visible()
    expect(render.get_by_role("link", name="https://example.org/video.mp4")).to_be_visible()
    expect(broken).to_contain_text("30 % · 3/10")
    expect(broken).to_contain_text("ValueError: there is no frame 4")
    expect(unwanted).to_contain_text("Unwanted · cancelled")
    expect(unwanted).to_contain_text("70 % · 7/10")
    assert not FALSEHOODS.search(page.locator(".jp-Notebook").inner_text())

    assert any("@jupyter-widgets" in url for url in asked)
    assert [url for url in asked if "jupyter-sse" in url] == []
    assert "jupyter-sse" not in (page.locator("#jupyter-config-data").text_content() or "")
    assert page.locator(LIVE).count() == 0


def test_a_jupyterlab_that_saves_widgets_saves_none_of_ours(page: Page, tmp_path: Path) -> None:
    server = JupyterServer(tmp_path / "saves-widgets", app="jupyterlab")
    settings = server.home / "lab-settings" / "@jupyter-widgets" / "jupyterlab-manager"
    settings.mkdir(parents=True)
    (settings / "plugin.jupyterlab-settings").write_text('{"saveState": true}')
    # A page on a busy machine gets more time to show the stream before a widget would be made.
    cells = [
        GATE + "import ipywidgets\nfrom jupyter_sse.kernel import display\ndisplay.WATCH_DELAY = 3\n"
        "ipywidgets.IntSlider()",
        "with task('Long') as t:\n    time.sleep(4)\n    t.log('line')\n    wait_for('end')",
    ]
    for _ in _started(server):
        notebook = Notebook(page, server, write_notebook(server, "widgets.ipynb", *cells)).open()
        notebook.run(0)
        expect(notebook.run(1)).to_contain_text("line")
        half = notebook.save()
        opened(notebook, "end")
        notebook.wait_idle()
        whole = notebook.save()
    for saved in (half, whole):
        metadata = json.dumps(saved["metadata"])
        assert "IntSliderModel" in metadata
        assert "jupyter-sse" not in metadata
        assert len(metadata) < 10_000
