"""Notebooks in a real JupyterLab or Notebook, driven through Chromium."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from harness import SECONDS, JupyterServer, wait_for
from jupyter_core.paths import jupyter_path
from playwright.sync_api import Browser, BrowserContext, Locator, Page, TimeoutError, expect

from jupyter_sse.sse import Decoder, Frame

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
LIVE = "[data-sse-stream]"
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

# A slow machine is no fault of what is tested.
PATIENCE_MS = SECONDS * 1000
expect.set_options(timeout=PATIENCE_MS)

# Keeps the text of every event stream that the page reads, before the page has it.
RECORDER = """
const original = window.fetch;
window.eventStreams = [];
window.fetch = async (...given) => {
  const answer = await original(...given);
  if (!answer.headers.get("Content-Type")?.startsWith("text/event-stream")) return answer;
  const index = window.eventStreams.push("") - 1;
  const decoder = new TextDecoder();
  const keep = new TransformStream({
    transform(chunk, controller) {
      window.eventStreams[index] += decoder.decode(chunk, { stream: true });
      controller.enqueue(chunk);
    },
  });
  return new Response(answer.body.pipeThrough(keep), answer);
};
"""

# Keeps each text that the first paragraph of an answer has had.
WATCH = """
window.ends = new Set();
new MutationObserver(() => {
  const text = document.querySelector("[data-sse-part=answer] p")?.textContent;
  if (text) window.ends.add(text);
}).observe(document, { subtree: true, childList: true, characterData: true });
"""


def write_cells(server: JupyterServer, name: str, cells: Sequence[tuple[str, str]]) -> Path:
    """A notebook of (kind, source) cells in the server's folder."""
    make: dict[str, Any] = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    notebook = nbformat.v4.new_notebook(
        cells=[make[kind](source) for kind, source in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    path = server.notebooks / name
    nbformat.write(notebook, path)
    return path


def write_notebook(server: JupyterServer, name: str, *sources: str) -> Path:
    """A notebook of code cells."""
    return write_cells(server, name, [("code", source) for source in sources])


def quiet_lab(server: JupyterServer) -> None:
    """No questions about news, which would cover the page."""
    folder = server.home / "lab-settings" / "@jupyterlab" / "apputils-extension"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )


def only_widgets(home: Path) -> str:
    """The option by which a JupyterLab has those of widgets and no other labextension, ours neither."""
    extensions = home / "only-widgets"
    extensions.mkdir(parents=True)
    for name in ("@jupyter-widgets", "anywidget"):
        folders = [Path(folder, name) for folder in jupyter_path("labextensions")]
        (extensions / name).symlink_to(next(filter(Path.is_dir, folders)))
    return f"--LabApp.labextensions_path={extensions}"


class Notebook:
    """One open notebook."""

    def __init__(self, page: Page, server: JupyterServer, path: Path, *, root: str | None = None) -> None:
        """`root` is the server's for the page, where that is another than its own."""
        self.page = page
        self.server = server
        self.path = path
        self.root = root or server.root

    def open(self, *, busy: bool = False) -> Notebook:
        """Load the page, until the notebook is shown and its kernel ready; not the latter if that is `busy`."""
        route = "notebooks" if self.server.app == "notebook" else f"lab/workspaces/{self.path.stem}/tree"
        self.page.goto(f"{self.root}{route}/{self.path.name}?token={self.server.token}")
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        if not busy:
            wait_for(self._has_kernel, "the page to be connected to a kernel")
            self._wait_for_kernel()
        return self

    def _has_kernel(self) -> bool:
        """JupyterLab says "idle" before there is a kernel, and of a cell that is run then it asks which is meant."""
        sessions = self.server.request("GET", "../api/sessions").json()
        return any(
            session["path"].endswith(self.path.name) and session["kernel"]["connections"] for session in sessions
        )

    def _wait_for_kernel(self) -> None:
        if self.server.app == "notebook":
            self.page.wait_for_selector(".jp-NotebookKernelStatus, .jp-Notebook-ExecutionIndicator")
        self.page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', state="attached")

    def cell(self, index: int) -> Locator:
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')

    def run(self, index: int) -> Locator:
        """Start a cell; its view, as soon as there is one."""
        # One at a time: a cell that waits behind one that is still running may be sent back.
        expect(self.page.locator(".jp-InputPrompt", has_text="[*]")).to_have_count(0)
        cell = self.cell(index)
        prompt = cell.locator(".jp-InputPrompt").first
        before = prompt.inner_text()

        def started() -> bool:
            # While JupyterLab is still busy opening the notebook, it drops keys.
            try:
                cell.locator(".cm-content").click(timeout=2000)
                self.page.keyboard.press("Control+Enter")
                # Found anew each time: a cell that is drawn again while the notebook opens has a new prompt.
                expect(prompt).to_have_text(re.compile(r"[*\d]"), timeout=2000)
                expect(prompt).not_to_have_text(before, timeout=2000)
            except (AssertionError, TimeoutError):
                return False
            return True

        wait_for(started, f"cell {index} to start")
        return self.view(index)

    def view(self, index: int) -> Locator:
        return self.cell(index).locator(LIVE)

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-OutputArea-output")

    def wait_idle(self) -> None:
        """Until nothing runs, nor waits to."""
        busy = self.page.locator(".jp-InputPrompt", has_text="[*]")
        expect(busy).to_have_count(0)
        self._wait_for_kernel()

    def save(self) -> dict[str, Any]:
        """Save as a person does, and read the file."""
        before = self.path.stat().st_mtime_ns
        pressed = -math.inf

        def saved() -> Any:
            nonlocal pressed
            if time.monotonic() > pressed + 5:  # JupyterLab is deaf to it until it has done with the save before
                self.page.keyboard.press("Control+s")
                pressed = time.monotonic()
            try:
                return self.path.stat().st_mtime_ns != before and json.loads(self.path.read_text())
            except ValueError:
                return None  # in the middle of being written

        written: dict[str, Any] = wait_for(saved, "the notebook to be saved")
        return written


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """A profile of its own; what its pages read of event streams is kept for `received`."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(RECORDER)
    return context


def at_rest(box: Locator) -> float:
    """How far it is scrolled, once the browser has ended what it does smoothly."""
    px: float = box.evaluate("""async box => {
        for (let same = 0, px = box.scrollTop; same < 30; same += 1) {
            await new Promise(requestAnimationFrame);
            if (box.scrollTop !== px) [same, px] = [0, box.scrollTop];
        }
        return box.scrollTop;
    }""")
    return px


def received(page: Page, stream: str) -> list[Frame]:
    """The frames about this stream that the page has read, over all its connections."""
    texts: list[str] = page.evaluate("window.eventStreams")
    # One by one: for a decoder, what has no id of its own (a ping) has that of the frame before.
    blocks = [block for text in texts for block in re.findall(r".*?\n\n", text, re.DOTALL)]
    frames = [frame for block in blocks for frame in Decoder().feed(block.encode())]
    return [frame for frame in frames if frame.id.rpartition(":")[0] == stream]
