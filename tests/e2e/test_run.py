"""A program's output in a real JupyterLab: colours, a bar that is drawn again, and a Cancel that ends all of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from browser import Notebook, quiet_lab, write_notebook
from harness import JupyterServer, wait_for
from playwright.sync_api import BrowserContext, Locator, expect
from test_lab import MIME, bundles, opened, status, streams

PROGRAM = """
import subprocess, sys, time
from pathlib import Path
def wait_for(name):
    while not Path(name).exists():
        time.sleep(0.01)
child = subprocess.Popen(["sleep", "600"])
print(child.pid)
print("\\x1b[1;31mred\\x1b[0m and \\x1b[38;2;0;120;255mblue\\x1b[0m \\x1b]0;title\\x07<b>سطر</b>")
for n in range(51):
    print(f"\\r{n:3} % \\x1b[32m{'#' * (n // 5)}\\x1b[0m", end="", file=sys.stderr, flush=True)
wait_for("run-half")
for n in range(51, 101):
    print(f"\\r{n:3} % \\x1b[32m{'#' * (n // 5)}\\x1b[0m", end="", file=sys.stderr, flush=True)
print(file=sys.stderr)
print("waiting")
wait_for("never")
"""


def lines(view: Locator) -> Locator:
    return view.locator(".jsse-line")


def colour(locator: Locator) -> str:
    found: str = locator.evaluate("element => getComputedStyle(element).color")
    return found


def test_a_program_is_live_coloured_and_cancelled_with_its_children(open_notebook: Any, lab: JupyterServer) -> None:
    notebook: Notebook = open_notebook(
        "from jupyter_sse import run\nrun(['python', '-u', 'program.py'], title='Program')"
    )
    (notebook.path.parent / "program.py").write_text(PROGRAM)
    view = notebook.run(0)
    bar = lines(view).nth(2)
    expect(bar).to_have_text(" 50 % ##########")
    child = int(lines(view).nth(0).inner_text())
    coloured = lines(view).nth(1)
    expect(coloured).to_have_text("red and blue <b>سطر</b>")
    expect(coloured.locator("span")).to_have_text(["red", "blue"])
    assert len({colour(one) for one in (coloured, *coloured.locator("span").all())}) == 3
    assert coloured.locator("span").first.evaluate("element => getComputedStyle(element).fontWeight") == "600"

    opened(notebook, "run-half")
    expect(bar).to_have_text("100 % ####################")
    expect(lines(view)).to_have_count(4)
    expect(lines(view).nth(3)).to_have_text("waiting")
    view.locator('[data-sse-action="cancel"]').click()
    status(notebook.view(0), "cancelled")
    wait_for(lambda: has_ended(child), "the program's child to end")

    notebook.wait_idle()
    final = bundles(notebook.save(), 0)[0]
    assert "100 % ####" in final["text/plain"]
    assert " 50 %" not in final["text/plain"]
    assert "\x1b" not in final["text/plain"] + final["text/markdown"]
    assert "\x1b[1;31mred\x1b[0m" in notebook.path.read_text().encode().decode("unicode_escape")
    assert MIME in final


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_failure_shows_the_exit_code(open_notebook: Any) -> None:
    notebook: Notebook = open_notebook("from jupyter_sse import run\nrun('echo no >&2; exit 3')")
    view = notebook.run(0)
    status(view, "error")
    expect(view.locator(".jsse-error")).to_contain_text("The command exited with code 3.")
    expect(lines(view)).to_have_text(["no"])
    notebook.wait_idle()
    expect(notebook.output(0)).to_have_count(1)  # and no value of the cell beside it


def test_a_file_is_followed_while_the_kernel_goes_on(open_notebook: Any, lab: JupyterServer) -> None:
    notebook: Notebook = open_notebook(
        "from jupyter_sse import follow\nfollowed = follow('train.log', lines=1)", "followed.status"
    )
    log = notebook.path.parent / "train.log"
    log.write_text("old\nlast\n")
    view = notebook.run(0)
    expect(lines(view)).to_have_text(["last"])
    with log.open("a") as to:
        to.write("epoch 1 سطر\n")
    expect(lines(view)).to_have_text(["last", "epoch 1 سطر"])
    notebook.run(1)
    expect(notebook.output(1)).to_have_text("'running'")
    log.rename(log.with_suffix(".1"))
    log.write_text("epoch 2\n")
    expect(lines(view).nth(3)).to_have_text("epoch 2")
    view.locator('[data-sse-action="cancel"]').click()
    status(notebook.view(0), "cancelled")


def test_a_file_is_followed_while_the_page_is_reloaded(open_notebook: Any) -> None:
    notebook: Notebook = open_notebook("from jupyter_sse import follow\nfollow('reloaded.log')")
    log = notebook.path.parent / "reloaded.log"
    log.write_text("line\n")
    expect(lines(notebook.run(0))).to_have_text(["line"])
    notebook.page.reload()
    expect(lines(notebook.view(0))).to_have_text(["line"])
    with log.open("a") as to:
        to.write("after\n")
    expect(lines(notebook.view(0))).to_have_text(["line", "after"])


def test_a_file_is_followed_no_longer_when_the_page_is_closed(context: BrowserContext, tmp_path: Path) -> None:
    server = JupyterServer(tmp_path / "own", "--SSE.heartbeat=2", app="jupyterlab")
    quiet_lab(server)
    server.start()
    try:
        path = write_notebook(server, "left.ipynb", "from jupyter_sse import follow\nfollow('a.log')")
        (server.notebooks / "a.log").write_text("line\n")
        page = context.new_page()
        notebook = Notebook(page, server, path).open()
        expect(lines(notebook.run(0))).to_have_text(["line"])
        assert streams(server, notebook)[0]["status"] == "running"
        page.close()
        wait_for(lambda: streams(server, notebook)[0]["status"] == "done", "the end")
    finally:
        server.stop()
