"""A full disk, a damaged file, two servers on one file: what is sent is what is read, event by event."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from faults import full_disk, linux
from harness import JupyterServer, wait_for
from kernel.kernel_process import KernelProcess, running, text

from jupyter_sse.server.kernels import CLAIMED_SECONDS
from jupyter_sse.sse import Decoder, Frame

MIME = "application/vnd.jupyter-sse.v1+json"

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


@linux
def test_a_server_killed_while_its_disk_is_full_gets_everything_again(make_server: MakeServer) -> None:
    server = make_server()
    with kernel_of(server) as kernel, kernel_of(server) as other:
        stream = start_lines(kernel, server)
        on_disk = snapshot(server, stream)["seq"]
        with full_disk(server):
            short = text(other.run("with task('Short') as t: t.log('short')\nprint(t.id)")).strip()
            go_on(server, 50)
            reach(server, stream, 151)
            wait_for(lambda: snapshot(server, short).get("status") == "done", "a stream that ends meanwhile")
            server.kill()
        server.start()
        reach(server, stream, 151)  # though the kernel has had nothing new to say since
        wait_for(lambda: snapshot(server, short).get("status") == "done", "the stream that has ended")
        go_on(server, 150)
        go_on(server, 250)
        events = events_of(server, stream)
        assert len(events) > on_disk
        assert [seq for seq, _ in events] == list(range(1, len(events) + 1))
        assert lines(events) == ALL_LINES


def test_a_damaged_file_is_set_aside_under_a_kernel_that_goes_on(make_server: MakeServer) -> None:
    server = make_server()
    with kernel_of(server) as kernel:
        lost = start_lines(kernel, server)
        server.stop()
        file = server.home / "data" / "jupyter-sse" / "streams.db"
        content = bytearray(file.read_bytes())
        content[4096 : len(content) // 2] = b"\xa5" * (len(content) // 2 - 4096)
        file.write_bytes(content)
        server.start()
        [aside] = file.parent.glob("streams.db.damaged-*")
        assert aside.read_bytes() == content
        assert "is damaged (" in server.output
        assert aside.name in server.output
        for after in (50, 150, 250):
            go_on(server, after)
        said = kernel.run(LINES)  # waits for the cell before it
        stream = text(said).strip()
        wait_for(lambda: snapshot(server, stream).get("status") == "done", "the new stream to end")
        assert lines(events_of(server, stream)) == ALL_LINES
        assert server.request("GET", f"streams/{lost}").status_code == 404
        kernel.wait(lambda message: "the server has lost events of it" in text([message], "stderr"), 20)


def test_two_servers_share_a_file(make_server: MakeServer, tmp_path: Path) -> None:
    """Neither ends what the other one writes, however long that is silent; readers of both see all of it."""
    path = f"--SSE.log_path={tmp_path / 'shared.db'}"
    one = make_server(path)
    with kernel_of(one) as kernel, kernel_of(one) as other:
        stream = start_lines(kernel, one)
        other.run("t = task('Silent')\nt.__enter__()\nprint(t.id, flush=True)")
        silent = text(other.messages).strip()
        two = make_server(path, "--SSE.producer_grace=0.1")
        viewers = [Viewer(server, stream) for server in (one, two)]

        def updated() -> float:
            [entry] = [entry for entry in two.request("GET", "streams").json() if entry["stream"] == silent]
            return float(entry["updated"])

        begun = updated()
        wait_for(lambda: updated() > begun + 1.5 * CLAIMED_SECONDS, "the first server to have kept its claim")
        assert {snapshot(two, which)["status"] for which in (stream, silent)} == {"running"}
        by_post = one.create()
        for index, server in enumerate((one, two, two, one, two)):
            assert server.append(by_post, json.dumps({"type": "log", "text": str(index)})).status_code == 200
        for after in (50, 150, 250):
            go_on(one, after)
        for viewer in viewers:
            viewer.join()
            assert [seq for seq, _ in viewer.events] == list(range(1, len(viewer.events) + 1))
            assert lines(viewer.events) == ALL_LINES
        for server in (one, two):
            assert events_of(server, stream) == viewers[0].events
            assert [line["text"] for line in snapshot(server, by_post)["log"]["lines"]] == list("01234")
        watching = Viewer(two, silent)
        one.kill()
        watching.join()  # nobody claims it any more
        assert watching.events[-1][1]["code"] == "producer_lost"
