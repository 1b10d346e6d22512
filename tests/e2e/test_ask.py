"""`ask` and `%%ask` in a real JupyterLab: live, stopped, reloaded in mid-answer, saved."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from answering_server import Gate, events, running, words
from browser import quiet_lab
from harness import JupyterServer, wait_for
from playwright.sync_api import Locator, expect
from test_lab import MIME, bundles, status, streams

IMPORT = "%load_ext jupyter_sse\nfrom jupyter_sse import ask"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """In place of the one that all others use: here are models that wait."""
    with running(tmp_path_factory.mktemp("asked-lab"), app="jupyterlab", prepare=quiet_lab) as server:
        yield server


def answer(view: Locator) -> Locator:
    return view.locator("[data-sse-part=answer]")


def test_the_answer_streams_into_the_cell_and_is_saved(open_notebook: Any, lab: JupyterServer) -> None:
    gate = Gate(lab, "streams")
    one = open_notebook(
        IMPORT, "thing = 'في السماء'", "%%ask gated --out a\nstreams {thing}?", "print(a.text, a.status)"
    )
    one.run(0)
    one.run(1)
    view = one.run(2)
    expect(answer(view)).to_contain_text("word18 ")
    status(view, "running")
    gate.allow(40)
    expect(answer(view)).to_contain_text("word38 ")
    gate.allow(60, end=True)
    status(view, "done")
    one.wait_idle()
    assert answer(view).inner_text().split() == words(60).split()
    one.run(3)
    expect(one.output(3)).to_contain_text(words(60) + " done")
    [entry] = streams(lab, one)
    assert entry["title"] == "streams في السماء?"
    assert gate.times_asked == 1

    [bundle] = bundles(one.save(), 2)
    assert words(60).strip() in bundle["text/markdown"]
    assert MIME in bundle
    assert not [mime for mime in bundle if "widget" in mime]


def test_the_cancel_button_stops_the_model(open_notebook: Any, lab: JupyterServer) -> None:
    gate = Gate(lab, "button")
    one = open_notebook(IMPORT, "ask('button', 'gated')")
    one.run(0)
    view = one.run(1)
    expect(answer(view)).to_contain_text("word18 ")
    view.locator("button[data-sse-action=cancel]").click()
    status(view, "cancelled")
    gate.wait_ended()
    one.wait_idle()
    expect(one.cell(1)).to_contain_text("Cancelled: button")
    assert words(20).strip() in bundles(one.save(), 1)[0]["text/markdown"]


def test_a_reload_in_mid_answer(open_notebook: Any, lab: JupyterServer) -> None:
    gate = Gate(lab, "reloaded")
    one = open_notebook(IMPORT, "%%ask gated\nreloaded")
    one.run(0)
    expect(answer(one.run(1))).to_contain_text("word18 ")
    one.page.reload()
    one.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    view = one.view(1)
    expect(answer(view)).to_contain_text("word18 ")
    gate.allow(50, end=True)
    status(view, "done")
    assert answer(view).inner_text().split() == words(50).split()
    assert one.output(1).count() == 1
    one.wait_idle()


def test_the_answer_ends_though_the_kernel_dies(open_notebook: Any, lab: JupyterServer) -> None:
    gate = Gate(lab, "orphaned")
    save_pid = "import os, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))"
    one = open_notebook(f"{IMPORT}\n{save_pid}", "%%ask gated\norphaned")
    one.run(0)
    view = one.run(1)
    expect(answer(view)).to_contain_text("word18 ")
    os.kill(int((lab.notebooks / "pid").read_text()), signal.SIGKILL)
    gate.allow(45, end=True)
    status(view, "done")
    assert answer(view).inner_text().split() == words(45).split()
    [entry] = streams(lab, one)
    wait_for(lambda: events(lab, entry["stream"])[-1]["type"] == "done", "the answer")
