"""Two browsers and a curl watch one run: all see the same events, and each can cancel it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from browser import Notebook, new_context, received
from harness import JupyterServer, wait_for
from playwright.sync_api import Browser, expect
from reading import frames_of
from test_join import SEEN
from test_lab import status, streams

from jupyter_sse.events import decode
from jupyter_sse.sse import Frame
from jupyter_sse.state import Snapshot, fold

CELL = """
from jupyter_sse import task, track
with task("Watched المشهد") as t:
    t.step("Go")
    for n in track(range(10**12), "rounds"):
        if n % 20_000 == 0:
            t.log(f"line {n} سطر", level="info" if n % 40_000 else "debug")
print("went", "on")
"""


Curl = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def curl(lab: JupyterServer) -> Iterator[Curl]:
    """`curl(path, *options)` below the server's `streams/`."""
    with ExitStack() as stack:

        def start(path: str, *options: str) -> subprocess.Popen[bytes]:
            command = ["curl", "-sN", *options, "-H", f"Authorization: token {lab.token}", f"{lab.url}streams/{path}"]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            return process

        yield start


def assert_same(frames: Sequence[Frame], log: Sequence[Frame]) -> None:
    """What somebody has read is the log; a `reset` stands for its events up to there."""
    after = 0
    if frames[0].event == "reset":
        reset = msgspec.json.decode(frames[0].data)
        after = reset["seq"]
        numbered = [(int(frame.id), decode(frame.data.encode())) for frame in log[:after]]
        snapshot = msgspec.convert(reset["snapshot"], Snapshot)
        assert snapshot == fold(Snapshot(stream=snapshot.stream), numbered)
        frames = frames[1:]
    assert len(frames) > 10
    assert [(frame.id.rpartition(":")[2], frame.event, frame.data) for frame in frames] == [
        (frame.id, frame.event, frame.data) for frame in log[after:]
    ]


@pytest.mark.parametrize("who", ["the browser that began it", "another browser", "curl"])
def test_all_see_the_same_and_each_can_cancel(
    open_notebook: Any, browser: Browser, lab: JupyterServer, curl: Curl, who: str
) -> None:
    first: Notebook = open_notebook(CELL, "1 + 1")
    mine = first.run(0)
    expect(mine.locator(".jsse-line").first).to_be_visible()
    first.save()
    [entry] = streams(lab, first)
    stream = entry["stream"]
    watching = curl(f"{stream}/events")
    second = Notebook(new_context(browser).new_page(), lab, first.path).open(busy=True)
    theirs = second.view(0)
    expect(theirs.locator(".jsse-line").first).to_be_visible()
    seen = len(received(second.page, stream))
    wait_for(lambda: len(received(second.page, stream)) > seen + 20, "more events to come to the second browser")
    for view in (mine, theirs):
        status(view, "running")
    expect(first.cell(0).locator(".jp-InputPrompt").first).to_have_text("[*]:")

    if who == "curl":
        told, _ = curl(f"{stream}/cancel", "-X", "POST").communicate(timeout=60)
        assert msgspec.json.decode(told)["via"] == "producer"
    else:
        (mine if who == "the browser that began it" else theirs).locator("button[data-sse-action=cancel]").click()

    heard, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0
    for view in (mine, theirs):
        status(view, "cancelled")
    first.wait_idle()
    expect(first.cell(0)).to_contain_text("Cancelled: Watched المشهد")
    expect(first.cell(0)).not_to_contain_text("went on")
    first.run(1)
    expect(first.output(1)).to_contain_text("2")

    log = frames_of(lab.request("GET", f"streams/{stream}/events").content)[1:]
    assert [frame.id for frame in log] == [str(seq) for seq in range(1, len(log) + 1)]
    assert re.search('"reason":"cancelled"', log[-1].data)
    assert frames_of(heard)[1:] == log
    assert_same(received(second.page, stream), log)
    # The page that began it stops reading once the kernel has sent it the cell's final output.
    read = received(first.page, stream)
    assert_same(read, log[: int(read[-1].id.rpartition(":")[2])])
    assert mine.evaluate(SEEN) == theirs.evaluate(SEEN)
    second.page.context.close()
