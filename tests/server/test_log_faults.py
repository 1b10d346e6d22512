"""A full disk, a damaged file, two servers on one file: what is sent is what is read, event by event."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from faults import full_disk, linux
from harness import JupyterServer, wait_for
from kernel.kernel_process import KernelProcess, running, text

from jupyter_sse.sse import Decoder, Frame

MakeServer = Callable[..., JupyterServer]


class Viewer:
    """Reads a stream to its end, in a thread of its own."""

    def __init__(self, server: JupyterServer, stream: str) -> None:
        self.frames: list[Frame] = []
        self._url = f"{server.url}streams/{stream}/events"
        self._headers = server.headers
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        decoder = Decoder()
        with httpx.stream("GET", self._url, headers=self._headers, trust_env=False, timeout=60) as answer:
            for data in answer.iter_raw():
                self.frames += decoder.feed(data)

    @property
    def events(self) -> list[tuple[int, Any]]:
        return [
            (int(frame.id), json.loads(frame.data)) for frame in self.frames if frame.event not in ("hello", "ping")
        ]

    @property
    def notices(self) -> list[str | None]:
        """What the server told all who watch."""
        return [json.loads(frame.data).get("notice") for frame in self.frames if frame.event in ("hello", "ping")]

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the stream did not end"


def lines(events: list[tuple[int, Any]]) -> list[str]:
    return [
        line for _, event in events if event["type"] == "log" for line in event["text"].removesuffix("\n").split("\n")
    ]


def events_of(server: JupyterServer, stream: str) -> list[tuple[int, Any]]:
    viewer = Viewer(server, stream)
    viewer.join()
    return viewer.events


def snapshot(server: JupyterServer, stream: str) -> dict[str, Any]:
    found: dict[str, Any] = server.request("GET", f"streams/{stream}").json()
    return found


@contextmanager
def kernel_of(server: JupyterServer) -> Iterator[KernelProcess]:
    """A kernel that the test keeps alive, whatever becomes of the server."""
    with running() as kernel:
        kernel.run(
            f"import os, time\nos.chdir({str(server.notebooks)!r})\nfrom jupyter_sse import connect, task\n"
            f"connect({server.url!r}, {server.token!r})\n"
            "def wait_for(name):\n    while not os.path.exists(name): time.sleep(0.01)"
        )
        yield kernel


LINES = """
with task("Lines") as t:
    print(t.id, flush=True)
    for i in range(300):
        t.log(f"{i} " + "x" * 500)
        if i in (50, 150, 250):
            wait_for(f"after-{i}")
"""


def start_lines(kernel: KernelProcess, server: JupyterServer) -> str:
    """Run LINES as far as its first halt; the stream."""
    request = kernel.send(LINES)
    stream = kernel.wait(lambda message: text([message]) and message["parent_header"]["msg_id"] == request)
    found = text([stream]).strip()
    reach(server, found, 51)
    return found


def reach(server: JupyterServer, stream: str, count: int) -> None:
    wait_for(lambda: snapshot(server, stream).get("log", {}).get("count") == count, f"{count} lines")


def go_on(server: JupyterServer, after: int) -> None:
    (server.notebooks / f"after-{after}").touch()


ALL_LINES = [f"{index} " + "x" * 500 for index in range(300)]


@linux
def test_a_full_disk_stops_nothing_and_is_told_to_everybody(make_server: MakeServer) -> None:
    server = make_server("--SSE.heartbeat=1")
    with kernel_of(server) as kernel:
        stream = start_lines(kernel, server)
        watching = Viewer(server, stream)
        with full_disk(server):
            go_on(server, 50)
            reach(server, stream, 151)
            late = Viewer(server, stream)
            by_post = server.create(title="By POST")
            assert server.append(by_post, '{"type":"log","text":"kept"}').status_code == 200
            assert [entry["stream"] for entry in server.request("GET", "streams").json()] == [by_post, stream]
            wait_for(lambda: late.notices and lines(late.events) == ALL_LINES[:151], "a reader that comes late")
            assert "streams.db" in (late.notices[0] or "")
            assert "in the server's memory only" in (late.notices[0] or "")
            wait_for(lambda: watching.notices[-1] == late.notices[0], "the reader that was there to be told")
            assert "ERROR" not in server.output.partition("Cannot write to the log")[0]
            assert server.output.count("Cannot write to the log") == 1
        wait_for(lambda: watching.notices[-1] is None, "the disk to be in use again")
        assert "The log can be written again" in server.output
        go_on(server, 150)
        go_on(server, 250)
        for viewer in (watching, late):
            viewer.join()
            assert [seq for seq, _ in viewer.events] == list(range(1, len(viewer.events) + 1))
            assert lines(viewer.events) == ALL_LINES
        server.kill()
        server.start()
        assert events_of(server, stream) == watching.events
        assert snapshot(server, by_post)["log"]["lines"][0]["text"] == "kept"
