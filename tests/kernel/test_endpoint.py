"""`@endpoint` where nobody, or somebody else, is there to serve it."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from harness import wait_for

from jupyter_sse import broadcast, connect, endpoint
from jupyter_sse.address import parse
from jupyter_sse.endpoints import registry
from jupyter_sse.kernel import link
from kernel.link_server import TOKEN, running

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

    from kernel.link_server import LinkServer, Message


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    registry.exit()
    registry.endpoints.clear()


def paths(server: LinkServer) -> list[str]:
    assert server.routes
    return [route["path"] for route in server.routes[-1]]


def test_without_a_server_the_function_is_one_still_and_it_is_said_once() -> None:
    code = """
from jupyter_sse import broadcast, endpoint

@endpoint("/a/<n>")
def a(n):
    yield n

@endpoint("/b/<n>", mode="shared")
def b(n): ...

broadcast("x", {"type": "done"})
print(list(a(1)), b(1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[1] None\n"
    assert done.stderr.count("nobody can call this endpoint") == 1
    assert "jupyter_sse.connect(url, token)" in done.stderr


def test_a_server_that_is_too_old_says_so(linked: LinkServer) -> None:
    linked.routes = None
    with pytest.warns(RuntimeWarning, match="too old to serve endpoints") as warned:
        endpoint("/a")(lambda: None)
        wait_for(lambda: len(warned), "the warning")


def test_routes_are_told_at_once_and_after_a_cut(linked: LinkServer) -> None:
    endpoint("/a")(lambda: None)
    linked.wait(lambda: bool(linked.routes) and paths(linked) == ["/a"])
    endpoint("/b/<int:n>", methods=["POST"])(lambda n: None)
    linked.wait(lambda: paths(linked) == ["/a", "/b/<int:n>"])
    assert linked.routes is not None
    assert linked.routes[-1][1]["methods"] == ["POST"]
    before = len(linked.routes)
    linked.cut()
    linked.wait(lambda: len(linked.routes or ()) > before)
    assert paths(linked) == ["/a", "/b/<int:n>"]


def test_another_server_takes_over(linked: LinkServer) -> None:
    endpoint("/a")(lambda: None)
    linked.wait(lambda: bool(linked.routes))
    with running() as other:
        connect(other.url, TOKEN)
        other.wait(lambda: bool(other.routes) and paths(other) == ["/a"])
        linked.wait(lambda: paths(linked) == [])


def test_a_broadcast_is_a_stream_of_this_kernel(linked: LinkServer) -> None:
    endpoint("/up/<name>", mode="shared")(lambda name: None)
    broadcast("a", {"type": "progress", "n": 1})
    broadcast("a", {"type": "log", "text": "x" * 200_000})
    broadcast("a", {"own": 1})
    broadcast("a", {"type": "done", "result": 2})
    linked.wait(lambda: any(map(linked.ended, linked.streams)))
    (stream,) = linked.streams.values()
    assert stream[0] | {"ts": 0, "origin": 0} == {
        "type": "start", "title": "/up/a", "kind": "endpoint", "status": "running", "cancellable": True, "stall": 0,
        "ts": 0, "origin": 0,
    }  # fmt: skip
    assert "cell" not in stream[0].get("origin", {})
    assert [event["type"] for event in stream if event["type"] != "log"] == ["start", "progress", "message", "done"]
    assert "".join(event["text"] for event in stream if event["type"] == "log") == "x" * 200_000


@pytest.mark.parametrize("kind", ["own", "preview"])
def test_a_slow_server_makes_a_shared_run_wait(linked: LinkServer, kind: str) -> None:
    held, over = threading.Event(), threading.Event()
    made = 0

    def fault(connection: ServerConnection, message: Message) -> bool:
        if message["op"] == "append" and message["seq"] > 1:
            held.wait(30)
        return bool(message["op"] != "append")

    def run(name: str) -> Iterator[dict[str, str]]:
        nonlocal made
        while made < 2000:
            made += 1
            yield {"type": kind, "mime": "text/plain", "data": "x" * 20_000}
        over.set()

    linked.fault = fault
    link.use(link.Link(parse(linked.url, TOKEN), max_unacked=100_000))
    endpoint("/large/<name>", mode="shared")(run)
    linked.wait(lambda: bool(linked.routes))
    request = {"method": "GET", "path": "/large/a"}
    linked.tell(op="call", call=1, route="/large/<str>", request=request, credit=1, gone=None)
    wait_for(lambda: link.current().crowded or over.is_set(), "the run to wait, or to be over")
    assert not over.is_set()
    assert made < 1500
    held.set()
    assert over.wait(30)


def in_child(say: multiprocessing.queues.SimpleQueue[str]) -> None:
    broadcast("a", {"type": "progress", "n": 1})
    say.put("survived")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore")
def test_a_forked_child_serves_nothing(linked: LinkServer) -> None:
    endpoint("/up/<name>", mode="shared")(lambda name: None)
    broadcast("a", {"type": "progress", "n": 0})
    linked.wait(lambda: any(len(events) == 2 for events in linked.streams.values()))
    context = multiprocessing.get_context("fork")
    say = context.SimpleQueue()
    child = context.Process(target=in_child, args=(say,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert say.get() == "survived"
    broadcast("a", {"type": "done"})
    linked.wait(lambda: any(map(linked.ended, linked.streams)))
    (stream,) = linked.streams.values()
    assert json.dumps(stream).count('"progress"') == 1
