"""A cell's stream in a real JupyterLab: live, cancelled, failed, finished, saved, opened again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from browser import WATCH, Notebook, only_widgets, quiet_lab, write_cells, write_notebook
from harness import JupyterServer, wait_for
from model_server import model_server
from playwright.sync_api import Locator, Page, expect
from reading import frames_of

MIME = "application/vnd.jupyter-sse.v1+json"

# A cell that waits for a file, so that a test decides how far it goes.
GATE = """
import time
from pathlib import Path
from jupyter_sse import task, track, stream, Cancelled
def wait_for(name):
    while not Path(name).exists():
        time.sleep(0.01)
"""


def opened(notebook: Notebook, name: str) -> None:
    (notebook.path.parent / name).touch()


def status(view: Locator, wanted: str) -> None:
    expect(view).to_have_attribute("data-sse-status", wanted)


def streams(lab: JupyterServer, notebook: Notebook) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = lab.request("GET", "streams", params={"path": notebook.path.name}).json()
    return listed


def events_of(lab: JupyterServer, stream: str) -> list[dict[str, Any]]:
    frames = frames_of(lab.request("GET", f"streams/{stream}/events").content)
    return [json.loads(frame.data) for frame in frames if frame.event != "hello"]


def lines_of(lab: JupyterServer, stream: str) -> list[str]:
    """The log; in a burst, one event has several lines."""
    events = events_of(lab, stream)
    return [line for event in events if event["type"] == "log" for line in event["text"].removesuffix("\n").split("\n")]


def bundles(saved: dict[str, Any], index: int) -> list[dict[str, Any]]:
    """The outputs' data; text, which the file has in lines, as text."""
    found = [output["data"] for output in saved["cells"][index]["outputs"] if "data" in output]
    return [{mime: "".join(data) if isinstance(data, list) else data for mime, data in one.items()} for one in found]


def test_a_task_is_live_and_its_saved_output_tells_the_truth(open_notebook: Any, lab: JupyterServer) -> None:
    notebook = open_notebook(
        GATE,
        """
with task("Render المشهد", steps=2) as t:
    t.step("Load")
    for i in track(range(40), "frames"):
        t.log(f"frame {i} مرحبا")
        if i == 10:
            wait_for("live-half")
    t.step("Save")
    wait_for("live-end")
    t.result = "https://example.org/video.mp4"
""",
    )
    notebook.run(0)
    view = notebook.run(1)
    status(view, "running")
    bar = view.get_by_role("progressbar")
    expect(view.locator("[data-sse-part=log]")).to_contain_text("frame 10 مرحبا")
    half = float(bar.get_attribute("aria-valuenow") or 0)
    assert 0 < half < 100
    expect(view.locator("[data-sse-part=steps]")).to_contain_text("[1] Load")
    opened(notebook, "live-half")
    expect(bar).to_have_attribute("aria-valuenow", "100")
    expect(view.locator("[data-sse-part=steps]")).to_contain_text("[2] Save")
    opened(notebook, "live-end")
    notebook.wait_idle()
    status(notebook.view(1), "done")
    output = notebook.output(1)
    expect(output).to_contain_text("40/40")
    expect(output).to_contain_text("frame 39 مرحبا")

    saved = notebook.save()
    [bundle] = bundles(saved, 1)
    assert "application/vnd.jupyter.widget-view+json" not in bundle
    snapshot = bundle[MIME]["snapshot"]
    assert (snapshot["status"], snapshot["result"]) == ("done", "https://example.org/video.mp4")
    assert snapshot["log"]["count"] == 40
    assert "100 %" in bundle["text/markdown"]
    assert "100 %" in bundle["text/plain"]

    [entry] = streams(lab, notebook)
    assert entry["status"] == "done"
    assert entry["title"] == "Render المشهد"
    assert lines_of(lab, entry["stream"]) == [f"frame {index} مرحبا" for index in range(40)]

    notebook.page.reload()
    expect(notebook.output(1)).to_contain_text("frame 39 مرحبا")


def test_cancel_works_while_the_kernel_is_busy(open_notebook: Any) -> None:
    notebook = open_notebook(
        GATE,
        """
with task("Endless") as t:
    try:
        for i in track(range(10**9), "rounds"):
            pass
    except Cancelled:
        print("seen at", time.time(), "in round", i)
        raise
print("not reached")
""",
        "1 + 1",
    )
    notebook.run(0)
    view = notebook.run(1)
    status(view, "running")
    expect(view.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile("."))
    button = view.locator("button[data-sse-action=cancel]")
    pressed = button.evaluate("button => { button.click(); return Date.now() / 1000 }")
    notebook.wait_idle()
    status(notebook.view(1), "cancelled")
    text = notebook.cell(1).locator(".jp-OutputArea").inner_text()
    seen = float(re.search(r"seen at ([\d.]+)", text)[1])  # type: ignore[index]
    print(f"Cancelled was raised {1000 * (seen - pressed):.0f} ms after the click")
    assert "not reached" not in text
    assert "Traceback" not in text
    assert "cancelled" in text.lower()
    saved = notebook.save()
    snapshot = next(bundle[MIME]["snapshot"] for bundle in bundles(saved, 1) if MIME in bundle)
    assert snapshot["status"] == "cancelled"
    notebook.run(2)
    expect(notebook.output(2)).to_contain_text("2")


def test_an_error_shows_what_happened(open_notebook: Any) -> None:
    notebook = open_notebook(
        GATE,
        """
with task("Divide") as t:
    t.progress(3, 10)
    t.log("about to divide")
    wait_for("divide")
    1 / 0
""",
    )
    notebook.run(0)
    status(notebook.run(1), "running")
    opened(notebook, "divide")
    notebook.wait_idle()
    expect(notebook.cell(1)).to_contain_text("ZeroDivisionError: division by zero")
    snapshot = bundles(notebook.save(), 1)[0][MIME]["snapshot"]
    assert snapshot["status"] == "error"
    assert snapshot["error"]["code"] == "ZeroDivisionError"
    assert snapshot["bars"][0]["n"] == 3


def test_a_kernel_without_a_server_is_shown_over_its_own_channel(open_notebook: Any, lab: JupyterServer) -> None:
    notebook = open_notebook(
        "import os\ndel os.environ['JUPYTER_SSE_URL']\n" + GATE,
        """
with task("Alone") as t:
    while not Path("alone").exists():
        t.log("over the comm")
        await __import__("asyncio").sleep(0.05)
""",
    )
    notebook.run(0)
    view = notebook.run(1)
    expect(view.locator(".jsse-line").first).to_have_text("over the comm")
    status(view, "running")
    opened(notebook, "alone")
    notebook.wait_idle()
    status(view, "done")
    assert streams(lab, notebook) == []


ANSWER = "# لماذا السماء زرقاء؟\n\nبسبب **تشتت** الضوء.\n\n- one\n- two 👩‍👩‍👧‍👦\n\n```python\nprint('blue')\n```\n"


def test_an_answer_streams_through_the_real_sdk(open_notebook: Any) -> None:
    words = re.findall(r"\S+\s*|\s+", ANSWER)
    gate = threading.Event()
    with model_server([gate, *words]) as model:
        notebook = open_notebook(
            "from openai import OpenAI\nfrom jupyter_sse import stream\n"
            f"client = OpenAI(base_url={model.base_url!r}, api_key='k')",
            """
answer = stream(
    client.chat.completions.create(
        model="test", messages=[{"role": "user", "content": "Why is the sky blue?"}], stream=True
    ),
    title="Why is the sky blue?",
)
""",
            "print(answer)\nprint(answer.usage)",
        )
        notebook.run(0)
        notebook.wait_idle()
        view = notebook.run(1)
        status(view, "running")
        gate.set()
        heading = view.locator("[data-sse-part=answer] h1")
        heading.or_(notebook.output(1).locator("h1")).first.wait_for()
        notebook.wait_idle()
        output = notebook.output(1)
        expect(output.locator("h1")).to_contain_text("لماذا السماء زرقاء؟")
        expect(output.locator("li").nth(1)).to_have_text("two 👩‍👩‍👧‍👦")
        expect(output.locator("pre")).to_contain_text("print('blue')")
        notebook.run(2)
        expect(notebook.output(2)).to_contain_text("print('blue')")
        expect(notebook.output(2)).to_contain_text(f"output_tokens={len(words)}")


def test_text_grows_while_it_comes(open_notebook: Any) -> None:
    notebook = open_notebook(
        GATE,
        """
def words():
    yield "The **first** words, "
    wait_for("second")
    yield "then [a link](https://example.org) and <script>window.hacked = 1</script> "
    yield "![x](https://example.org/beacon.png) [bad](javascript:window.hacked=1) "
    wait_for("third")
    yield "and the end."
_ = stream(words(), title="Slow")
""",
    )
    notebook.run(0)
    answer = notebook.run(1).locator("[data-sse-part=answer]")
    expect(answer.locator("strong")).to_have_text("first")
    opened(notebook, "second")
    expect(answer.get_by_role("link", name="a link")).to_have_attribute("href", "https://example.org")
    expect(answer).to_contain_text("<script>")
    expect(answer.locator("img")).to_have_count(0)
    expect(answer.locator("a")).to_have_count(1)
    assert notebook.page.evaluate("window.hacked") is None
    opened(notebook, "third")
    notebook.wait_idle()
    expect(notebook.output(1)).to_contain_text("and the end.")


def test_ten_thousand_events_at_full_speed(open_notebook: Any, lab: JupyterServer, page: Page) -> None:
    notebook = open_notebook(
        GATE,
        """
with task("Flood") as t:
    for i in range(10_000):
        t.log(f"line {i}")
    wait_for("flood-end")
""",
    )
    notebook.run(0)
    view = notebook.run(1)
    log = view.locator("[data-sse-part=log]")
    expect(log).to_contain_text("line 9999")
    expect(log).to_contain_text("10,000 lines")
    assert log.locator(".jsse-line").count() == 200
    # The page still answers: a click is served and a frame is drawn.
    assert page.evaluate("new Promise(resolve => requestAnimationFrame(() => resolve(true)))")
    opened(notebook, "flood-end")
    notebook.wait_idle()
    [entry] = streams(lab, notebook)
    assert lines_of(lab, entry["stream"]) == [f"line {index}" for index in range(10_000)]
    assert len(json.dumps(notebook.save())) < 200_000


def test_a_hundred_short_tasks_do_not_choke_the_notebook(open_notebook: Any, lab: JupyterServer) -> None:
    notebook = open_notebook(
        "from jupyter_sse import task\nfor i in range(100):\n    with task(f'Task {i}') as t:\n        t.progress(1, 1)"
    )
    notebook.run(0)
    notebook.wait_idle()
    saved = notebook.save()
    assert [bundle[MIME]["snapshot"]["title"] for bundle in bundles(saved, 0)] == [
        f"Task {index}" for index in range(100)
    ]
    assert {bundle[MIME]["snapshot"]["status"] for bundle in bundles(saved, 0)} == {"done"}
    wait_for(lambda: len(streams(lab, notebook)) == 100, "all streams to reach the server")
    assert {entry["status"] for entry in streams(lab, notebook)} == {"done"}


QUICKSTART = Path(__file__).parent.parent.parent / "notebooks" / "quickstart.ipynb"


@pytest.mark.parametrize("model", ["demo", "openai"])
def test_the_quickstart_from_top_to_bottom(
    page: Page, make_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(QUICKSTART.read_text())["cells"]]
    words = [f"كلمة{number} " for number in range(60)]
    gates = [threading.Event(), threading.Event()]
    with model_server([*words[:20], gates[0], *words[20:40], gates[1], *words[40:]]) as server:
        if model == "openai":
            monkeypatch.setenv("OPENAI_API_KEY", "none")
            monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        home = tmp_path / "lab"
        quiet_lab(JupyterServer(home))
        lab = make_server(app="jupyterlab", home=home)
        path = write_cells(lab, f"quickstart-{model}.ipynb", cells)
        page.add_init_script(WATCH)
        notebook = Notebook(page, lab, path).open()
        code = [index for index, (kind, _) in enumerate(cells) if kind == "code"]
        ask, words_cell, define, train, endless, seen = code
        view = notebook.run(ask)
        if model == "openai":
            for gate, word in zip(gates, (words[18], words[38]), strict=True):
                expect(view.locator("[data-sse-part=answer]")).to_contain_text(word)
                gate.set()
        notebook.wait_idle()
        assert page.evaluate("window.ends.size") > 2, "it was seen to grow"
        expect(notebook.output(ask)).to_contain_text("demo model" if model == "demo" else words[-1])
        assert bool(server.requests) == (model == "openai")
    notebook.run(words_cell)
    expect(notebook.output(words_cell)).to_contain_text("words, done")

    notebook.run(define)
    notebook.wait_idle()
    view = notebook.run(train)
    bar = view.get_by_role("progressbar", name="Epoch")
    expect(bar).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    first = float(bar.get_attribute("aria-valuenow") or 0)
    wait_for(lambda: float(bar.get_attribute("aria-valuenow") or 0) > first, "the bar to move")
    expect(view.locator("[data-sse-part=preview] img")).to_be_visible()
    notebook.wait_idle()
    expect(notebook.output(train)).to_contain_text("120/120")
    expect(notebook.output(train).locator("img")).to_be_visible()
    expect(notebook.output(train).locator("[data-sse-part=result]")).to_have_text(re.compile(r"^[\d.]+$"))

    status(notebook.run(endless), "running")
    notebook.view(endless).locator("button[data-sse-action=cancel]").click()
    notebook.wait_idle()
    status(notebook.view(endless), "cancelled")

    notebook.run(seen)
    printed = notebook.cell(seen).locator(".jp-OutputArea")
    expect(printed).to_contain_text("curl -N")
    command = next(line for line in printed.inner_text().splitlines() if line.startswith("curl -N"))
    with subprocess.Popen(
        ["bash", "-c", command], env={**os.environ, "TOKEN": lab.token}, stdout=subprocess.PIPE
    ) as curl:
        assert curl.stdout is not None
        heard = b""
        while b"second 2" not in heard:
            heard += os.read(curl.stdout.fileno(), 65536)
        curl.kill()
    assert b"event: hello" in heard
    assert b"event: progress" in heard
    notebook.view(seen).locator("button[data-sse-action=cancel]").click()
    notebook.wait_idle()

    notebook.save()
    page.reload()
    expect(notebook.output(ask)).to_contain_text("demo model" if model == "demo" else "blue")
    status(notebook.view(ask), "done")


def test_the_chat_notebook_from_top_to_bottom(page: Page, lab: JupyterServer) -> None:
    cells = json.loads((QUICKSTART.parent / "02_chat.ipynb").read_text())["cells"]
    path = write_cells(lab, "02_chat.ipynb", [(cell["cell_type"], "".join(cell["source"])) for cell in cells])
    notebook = Notebook(page, lab, path).open()
    at = {cell["id"]: index for index, cell in enumerate(cells)}
    for cell in cells:
        if cell["cell_type"] == "code":
            notebook.run(at[cell["id"]])
            notebook.wait_idle()
    for asked in ("cell-3", "cell-7", "cell-10", "cell-11"):
        expect(notebook.output(at[asked]).first).to_contain_text("demo model")
    panel = notebook.cell(at["cell-13"]).locator(".jp-OutputArea")
    expect(panel).to_contain_text("What is a median?")
    expect(panel).to_contain_text("demo model")
    expect(notebook.output(at["cell-17"]).locator("math")).to_have_count(3)
    expect(notebook.output(at["cell-17"]).locator("table")).to_be_visible()
    expect(notebook.cell(at["cell-19"]).locator(".jp-OutputArea")).to_contain_text("['done', 'done']")
    expect(notebook.cell(at["cell-21"]).locator(".jp-OutputArea")).to_contain_text("curl -N")


def test_the_monitoring_notebook_from_top_to_bottom(page: Page, lab: JupyterServer) -> None:
    cells = json.loads((QUICKSTART.parent / "03_monitor.ipynb").read_text())["cells"]
    path = write_cells(lab, "03_monitor.ipynb", [(cell["cell_type"], "".join(cell["source"])) for cell in cells])
    notebook = Notebook(page, lab, path).open()
    at = {cell["id"]: index for index, cell in enumerate(cells)}
    for cell in cells:
        if cell["cell_type"] == "code":
            notebook.run(at[cell["id"]])
            notebook.wait_idle()
    for cell, text in (
        ("cell-3", "Requirement already satisfied"),
        ("cell-5", "accuracy"),
        ("cell-7", "sliding means"),
        ("cell-11", "part 4"),
        ("cell-14", "Estimate pi by throwing darts"),
    ):
        status(notebook.view(at[cell]), "done")
        expect(notebook.cell(at[cell]).locator(".jp-OutputArea")).to_contain_text(text)
    expect(notebook.view(at["cell-5"]).locator("img")).to_have_count(1)
    expect(notebook.cell(at["cell-14"]).locator(".jp-OutputArea")).to_contain_text("4,000,000 darts: pi is about 3.1")


def test_notebook_7_shows_the_same(page: Page, make_server: Any, tmp_path: Path) -> None:
    server = make_server(app="notebook", home=tmp_path / "notebook")
    path = write_notebook(
        server,
        "seven.ipynb",
        GATE,
        "with task('Seven') as t:\n    t.log('line one')\n    t.progress(1, 2)\n    wait_for('seven')",
    )
    notebook = Notebook(page, server, path).open()
    notebook.run(0)
    view = notebook.run(1)
    status(view, "running")
    expect(view.locator("[data-sse-part=log]")).to_contain_text("line one")
    expect(view.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
    opened(notebook, "seven")
    notebook.wait_idle()
    expect(notebook.output(1)).to_contain_text("line one")
    snapshot = bundles(notebook.save(), 1)[0][MIME]["snapshot"]
    assert snapshot["status"] == "done"


def test_without_the_labextension_a_widget_shows_it(page: Page, make_server: Any, tmp_path: Path) -> None:
    home = tmp_path / "lab"
    server = make_server(only_widgets(home), app="jupyterlab", home=home)
    cell = GATE + "with task('Widget') as t:\n    t.log('line one')\n    wait_for('more')\n    t.log('line two')"
    notebook = Notebook(page, server, write_notebook(server, "widget.ipynb", cell)).open()
    view = notebook.run(0)
    expect(view).to_contain_text("line one")
    status(view, "running")
    opened(notebook, "more")
    notebook.wait_idle()
    expect(notebook.output(0)).to_contain_text("line two")


def test_without_the_extension_a_busy_kernel_feeds_its_view_itself(
    page: Page, make_server: Any, tmp_path: Path
) -> None:
    server = make_server(
        "--ServerApp.jpserver_extensions={'jupyter_sse': False}", app="jupyterlab", home=tmp_path / "lab"
    )
    path = write_notebook(
        server,
        "comm.ipynb",
        GATE + "with task('Alone') as t:\n    t.log('line one')\n    t.progress(1, 4)\n    wait_for('more')\n"
        "    t.progress(3, 4)\n    t.log('line two')\n    wait_for('end')",
    )
    notebook = Notebook(page, server, path).open()
    view = notebook.run(0)
    status(view, "running")
    expect(view.locator("[data-sse-part=log]")).to_contain_text("line one")
    expect(view.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    opened(notebook, "more")
    expect(view.locator("[data-sse-part=log]")).to_contain_text("line two")
    expect(view.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "75")
    opened(notebook, "end")
    notebook.wait_idle()
    expect(notebook.output(0)).to_contain_text("line two")
    assert bundles(notebook.save(), 0)[0][MIME]["snapshot"]["status"] == "done"
