"""The server's end of the kernel link: a bare WebSocket against a real jupyter_server, and real kernels."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import JupyterServer, wait_for
from server_kernel import Kernel
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

START = {"type": "start", "kind": "task", "status": "running", "cancellable": True}
DONE = {"type": "done", "reason": "stop"}


def delta(text: str) -> dict[str, str]:
    return {"type": "delta", "text": text}


class Link:
    """A producer that says exactly what a test wants said."""

    def __init__(self, socket: ClientConnection, producer: str) -> None:
        self.socket = socket
        self.producer = producer

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def hear(self) -> dict[str, Any]:
        heard: dict[str, Any] = json.loads(self.socket.recv(10))
        return heard

    def append(self, stream: str, seq: int, *events: Any) -> dict[str, Any]:
        self.say(op="append", stream=stream, seq=seq, events=list(events))
        return self.hear()


@contextmanager
def link(server: JupyterServer, producer: str | None = None, kernel: str | None = None) -> Iterator[Link]:
    with connect(
        server.url.replace("http", "ws") + "kernel", additional_headers=server.headers, compression=None, proxy=None
    ) as socket:
        made = Link(socket, producer or secrets.token_hex(8))
        made.say(op="hello", v=1, producer=made.producer, kernel=kernel)
        assert made.hear() == {
            "op": "welcome",
            "max_event": 1 << 20,
            "max_stream": 64 << 20,
            "chat": True,
            "webhooks": True,
            "endpoints": True,
            "max_calls": 256,
        }
        yield made


def new_id() -> str:
    return secrets.token_urlsafe(16)


def snapshot(server: JupyterServer, stream: str) -> dict[str, Any]:
    found: dict[str, Any] = server.request("GET", f"streams/{stream}").json()
    return found


def test_an_ack_means_committed_and_sending_again_does_nothing(server: JupyterServer) -> None:
    stream = new_id()
    with link(server) as one:
        assert one.append(stream, 1, START, delta("a")) == {"op": "ack", "stream": stream, "seq": 2}
        assert one.append(stream, 1, START, delta("a"), delta("b"))["seq"] == 3
        assert one.append(stream, 2, delta("a"), delta("b"))["seq"] == 3
        assert one.append(stream, 9, delta("z")) == {"op": "gap", "stream": stream, "seq": 3}
        assert one.append(stream, 4, DONE)["seq"] == 4
        assert one.append(stream, 5, delta("late"))["code"] == "ended"
    assert snapshot(server, stream)["text"] == "ab"


def test_a_refused_event_stops_the_batch_there(server: JupyterServer) -> None:
    stream = new_id()
    with link(server) as one:
        one.append(stream, 1, START)
        for bad, code in (
            ({"type": "delta"}, "bad_event"),
            ({"type": "ping", "ts": 1}, "bad_event"),
            ({"type": "log", "text": "x" * (2 << 20)}, "event_too_large"),
            (["not", "an", "event"], "bad_event"),
        ):
            last = snapshot(server, stream)["seq"]
            one.say(op="append", stream=stream, seq=last + 1, events=[delta("good"), bad, delta("after")])
            told = {message["op"]: message for message in (one.hear(), one.hear())}
            assert told["ack"]["seq"] == last + 1
            assert (told["refused"]["seq"], told["refused"]["code"]) == (last + 2, code)
            assert told["refused"]["message"]


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[]",
        '{"op":"nonsense"}',
        '{"op":"append","stream":"../x","seq":1,"events":[]}',
        '{"op":"append","stream":"x","seq":0,"events":[]}',
        '{"op":"routes","routes":[{"path":"no route","methods":["GET"],"declared":1}]}',
        b"\0\0\0\1",
        b"\0\0\0\1\2data: x\n\n",
    ],
)
def test_garbage_closes_the_link_and_nothing_else(server: JupyterServer, message: str | bytes) -> None:
    with link(server) as one:
        one.socket.send(message)
        wait_for(lambda: closed(one), "the server to close the link")
    assert server.request("GET", "streams").status_code == 200


def closed(one: Link) -> bool:
    try:
        one.socket.recv(0.05)
    except TimeoutError:
        return False
    except Exception:
        return True
    return False


def test_cancel_reaches_the_producer_also_after_it_was_away(server: JupyterServer) -> None:
    stream = new_id()
    with link(server) as one:
        one.append(stream, 1, START)
        answer = server.request("POST", f"streams/{stream}/cancel")
        assert (answer.status_code, answer.json()["via"]) == (202, "producer")
        assert one.hear() == {"op": "cancel", "stream": stream}
        one.append(stream, 2, {"type": "done", "reason": "cancelled"})
    other = new_id()
    with link(server) as one:
        one.append(other, 1, START)
    wait_for(
        lambda: server.request("POST", f"streams/{other}/cancel").json()["via"] == "pending",
        "the link to be seen closed",
    )
    with link(server, one.producer) as again:
        again.say(op="append", stream=other, seq=2, events=[delta("x")])
        assert {again.hear()["op"], again.hear()["op"]} == {"cancel", "ack"}
        again.append(other, 3, DONE)


def test_a_deleted_stream_closes_to_its_producer(server: JupyterServer) -> None:
    stream = new_id()
    with link(server) as one:
        one.append(stream, 1, START)
        server.request("DELETE", f"streams/{stream}")
        assert one.hear()["code"] == "deleted"
        assert one.append(stream, 2, delta("x"))["code"] == "deleted"


def test_nobody_else_may_write_a_kernels_stream(server: JupyterServer) -> None:
    stream = new_id()
    with link(server) as one:
        one.append(stream, 1, START)
        answer = server.append(stream, json.dumps(delta("mine")))
        assert (answer.status_code, answer.json()["code"]) == (409, "not_producer")
        one.append(stream, 2, DONE)


@contextmanager
def page(server: JupyterServer, stream: str, *, outputs: bool = True) -> Iterator[None]:
    """Shows the stream, as a page with its output does, or one without."""
    wanted = {"streams": {stream: -1}, "outputs": outputs}
    with httpx.stream("POST", f"{server.url}events", json=wanted, headers=server.headers, trust_env=False) as answer:
        next(answer.iter_raw())
        yield


def test_a_producer_is_told_once_that_a_page_shows_its_stream(server: JupyterServer) -> None:
    before, after = new_id(), new_id()
    with link(server) as one:
        assert one.append(after, 1, START)["op"] == "ack"
        url = f"{server.url}streams/{after}/events"
        with httpx.stream("GET", url, headers=server.headers, trust_env=False) as answer:  # no page, a curl
            next(answer.iter_raw())
            assert one.append(after, 2, delta("x"))["op"] == "ack"
        with page(server, after, outputs=False):
            assert one.append(after, 2, delta("x"))["op"] == "ack"
        with page(server, after), page(server, after):
            assert one.hear() == {"op": "watched", "stream": after}
        assert one.append(after, 3, DONE)["op"] == "ack"

        with page(server, before):  # faster than the kernel
            assert one.append(before, 1, START) == {"op": "watched", "stream": before}
            assert one.hear()["op"] == "ack"
        assert one.append(before, 2, DONE)["op"] == "ack"


def test_a_producer_is_told_that_nobody_reads_its_stream(make_server: Callable[..., JupyterServer]) -> None:
    server = make_server("--SSE.heartbeat=0.5")
    stream = new_id()
    unwatched = {"op": "unwatched", "stream": stream}
    with link(server) as one:
        assert one.append(stream, 1, START)["op"] == "ack"
        assert one.hear() == one.hear() == unwatched  # again and again, as one may be lost with the link
        url = f"{server.url}streams/{stream}/events"
        with httpx.stream("GET", url, headers=server.headers, trust_env=False) as answer:  # no page, a curl
            beats = (chunk for chunk in answer.iter_raw() if b"event: ping" in chunk)
            for _ in range(5):
                next(beats)
        one.say(op="append", stream=stream, seq=2, events=[DONE])
        heard = [one.hear()]
        while heard[-1]["op"] != "ack":
            heard.append(one.hear())
        assert len(heard) < 3  # but not while it is read


def test_a_webhook_is_for_ones_own_streams_alone(server: JupyterServer) -> None:
    """What a kernel may not read, it may not have sent to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, link(server) as one, link(server) as two:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        others, own, ended = new_id(), new_id(), server.create()
        one.append(others, 1, START)
        server.append(ended, json.dumps(DONE))
        two.say(op="webhook", stream=ended, url=url)
        two.say(op="webhook", stream=others, url=url)
        two.append(others, 1, START)
        two.say(op="webhook", stream=others, url=url)
        two.say(op="webhook", stream=own, url="ftp://nowhere/")
        two.say(op="webhook", stream=own, url=url)
        one.append(others, 2, DONE)
        two.append(own, 1, START, DONE)
        connection, _ = listener.accept()
        with connection:
            assert f"msg_{own}" in connection.recv(65536).decode()
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


def test_a_webhook_that_a_killed_server_owed_is_sent_by_the_next(make_server: Callable[..., JupyterServer]) -> None:
    server, stream = make_server(), new_id()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        listener.settimeout(20)
        with link(server, "p") as one:
            one.say(op="webhook", stream=stream, url=url)
            one.append(stream, 1, START, DONE)
            unanswered, _ = listener.accept()
            first = unanswered.recv(65536).decode()
            server.kill()
        unanswered.close()
        with link(make_server(home=server.home), "p") as one:
            one.say(op="webhook", stream=stream, url=url)
            connection, _ = listener.accept()
            with connection:
                again = connection.recv(65536).decode()
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert f"msg_{stream}" in first
    assert f"msg_{stream}" in again


def test_a_full_stream_ends_with_the_reason(make_server: Callable[..., JupyterServer]) -> None:
    server = make_server("--SSE.max_stream_bytes=65536")
    stream = new_id()
    with connect(
        server.url.replace("http", "ws") + "kernel", additional_headers=server.headers, compression=None, proxy=None
    ) as socket:
        one = Link(socket, "p")
        one.say(op="hello", producer="p")
        one.hear()
        assert one.append(stream, 1, START)["op"] == "ack"
        answer = one.append(stream, 2, *[delta("x" * 10_000)] * 7)
        assert (answer["op"], answer["code"]) == ("closed", "stream_full")
    error = snapshot(server, stream)["error"]
    assert error["code"] == "stream_full"
    assert "max_stream_bytes" in error["message"]


def test_a_producer_that_does_not_return_is_lost(make_server: Callable[..., JupyterServer]) -> None:
    server = make_server("--SSE.producer_grace=0.5")
    away, back, written = new_id(), new_id(), server.create()
    with link(server) as one:
        one.append(away, 1, START)
    wait_for(lambda: snapshot(server, away)["status"] == "error", "the stream to end")
    assert snapshot(server, away)["error"]["code"] == "producer_lost"
    with link(server, one.producer) as again:
        assert again.append(away, 2, delta("too late"))["op"] == "closed"
        again.append(back, 1, START)
    assert snapshot(server, written)["status"] == "running"


def test_a_server_killed_and_started_again_goes_on_where_it_was(make_server: Callable[..., JupyterServer]) -> None:
    server = make_server("--SSE.producer_grace=8")
    returns, stays_away, written = new_id(), new_id(), server.create()
    with link(server, "returning") as one, link(server, "lost") as two:
        one.append(returns, 1, START, delta("a"))
        two.append(stays_away, 1, START)
        server.kill()
    again = make_server("--SSE.producer_grace=8", home=server.home)
    with link(again, "returning") as one:
        # All that was not acked is sent again; some of it may have been committed.
        assert one.append(returns, 2, delta("a"), delta("b"))["seq"] == 3
        wait_for(lambda: snapshot(again, stays_away)["status"] == "error", "the lost producer's stream to end")
        assert snapshot(again, stays_away)["error"]["code"] == "producer_lost"
        assert snapshot(again, returns)["status"] == "running"
        one.append(returns, 4, DONE)
    assert snapshot(again, returns)["text"] == "ab"
    assert snapshot(again, written)["status"] == "running"
    assert again.append(written, '{"type":"done"}').status_code == 200


@pytest.fixture
def kernel(server: JupyterServer) -> Iterator[Kernel]:
    kernel = Kernel(server)
    yield kernel
    kernel.stop()


BUSY = """
import time
from jupyter_sse import task
with task("Busy") as t:
    print(t.id, flush=True)
    while True:
        t.progress(1)
        time.sleep(0.02)
"""


def reply_of(kernel: Kernel) -> dict[str, Any]:
    reply: dict[str, Any] = kernel.client.get_shell_msg(timeout=60)["content"]
    return reply


def test_a_kernels_secret_opens_the_producer_routes_alone(server: JupyterServer, kernel: Kernel) -> None:
    url, secret = kernel.ask("import os; print(os.environ['JUPYTER_SSE_URL'], os.environ['JUPYTER_SSE_TOKEN'])").split()
    assert url.replace("localhost", "127.0.0.1") == server.url
    bearer = {"Authorization": f"Bearer {secret}"}

    def status(method: str, path: str, **options: Any) -> int:
        return httpx.request(method, server.url + path, headers=bearer, trust_env=False, **options).status_code

    assert status("POST", "streams", json={"kind": "task"}) == 201
    stream = server.create()
    assert status("POST", f"streams/{stream}/events", content='{"type":"log","text":"x"}') == 200
    for method, path in (
        ("GET", f"streams/{stream}"), ("GET", f"streams/{stream}/events"), ("DELETE", f"streams/{stream}"),
        ("POST", f"streams/{stream}/cancel"), ("POST", "events"), ("GET", "streams"),
    ):  # fmt: skip
        assert status(method, path) == 403, (method, path)
    assert httpx.get(server.root + "api/kernels", headers=bearer, trust_env=False).status_code == 403
    for wrong in ("", secret[:-1], secret + "x", secret.swapcase()):
        with pytest.raises(InvalidStatus):
            connect(
                server.url.replace("http", "ws") + "kernel",
                additional_headers={"Authorization": f"Bearer {wrong}"},
                proxy=None,
            ).__enter__()
    assert secret not in server.output


def test_a_kernel_writes_through_its_link(server: JupyterServer, kernel: Kernel) -> None:
    stream = kernel.ask(
        "from jupyter_sse import task\n"
        "with task('T') as t:\n"
        "    for i in range(5000): t.log(f'{i} \\ud800 \\0')\n"
        "    t.result = float('nan')\n"
        "print(t.id)"
    )
    wait_for(lambda: snapshot(server, stream).get("status") == "done", "the stream to end")
    found = snapshot(server, stream)
    assert found["log"]["count"] == 5000
    assert found["log"]["lines"][-1]["text"] == "4999 \ufffd \0"
    assert found["origin"]["kernel"] == kernel.id


def test_the_first_cancel_asks_and_the_second_interrupts(server: JupyterServer, kernel: Kernel) -> None:
    stream = kernel.start(BUSY)
    wait_for(lambda: server.request("GET", f"streams/{stream}").status_code == 200, "the stream")
    assert server.request("POST", f"streams/{stream}/cancel").json()["via"] == "producer"
    assert reply_of(kernel)["ename"] == "Cancelled"
    wait_for(lambda: snapshot(server, stream)["status"] == "cancelled", "the stream to end")
    deaf = kernel.start(
        "import time\nfrom jupyter_sse import task\nwith task('Deaf') as t:\n    print(t.id, flush=True)\n"
        "    time.sleep(600)",
    )
    wait_for(lambda: server.request("GET", f"streams/{deaf}").status_code == 200, "the stream")
    assert server.request("POST", f"streams/{deaf}/cancel").json()["via"] == "producer"
    assert server.request("POST", f"streams/{deaf}/cancel").json()["via"] == "interrupt"
    assert reply_of(kernel)["status"] == "error"
    wait_for(lambda: snapshot(server, deaf)["status"] == "cancelled", "the stream to end")


def test_the_second_cancel_of_a_thread_leaves_the_cell_that_runs_alone(server: JupyterServer, kernel: Kernel) -> None:
    kernel.ask(
        "import threading, time\nfrom jupyter_sse import task\n"
        "def work():\n    with task('Deaf') as t:\n        box.append(t.id)\n        while True: time.sleep(0.01)\n"
        "box = []\nthread = threading.Thread(target=work); thread.start()\nwhile not box: time.sleep(0.01)"
    )
    deaf = kernel.ask("print(box[0])")
    wait_for(lambda: server.request("GET", f"streams/{deaf}").status_code == 200, "the stream")
    busy = kernel.start(BUSY)
    for _ in range(2):
        assert server.request("POST", f"streams/{deaf}/cancel").json()["via"] == "producer"
    wait_for(lambda: snapshot(server, deaf)["status"] == "cancelled", "the thread's stream to end")
    assert snapshot(server, busy)["status"] == "running"
    server.request("POST", f"streams/{busy}/cancel")
    assert reply_of(kernel)["ename"] == "Cancelled"


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_a_kernel_that_dies_ends_its_streams_long_before_the_grace_time(
    server: JupyterServer, kernel: Kernel, how: str
) -> None:
    pid = int(kernel.ask("import os; print(os.getpid())"))
    stream = kernel.start(BUSY)
    wait_for(lambda: server.request("GET", f"streams/{stream}").status_code == 200, "the stream")
    if how == "kill":
        os.kill(pid, signal.SIGKILL)
    else:
        kernel.api("POST", f"kernels/{kernel.id}/restart")
    wait_for(lambda: snapshot(server, stream)["status"] != "running", "the stream to end", 20)
    if how == "kill":
        assert snapshot(server, stream)["error"]["code"] == "kernel_died"


def test_streams_survive_a_server_that_is_killed_while_their_kernel_lives(
    make_server: Callable[..., JupyterServer], tmp_path: Path
) -> None:
    """As a kernel on a gateway: it outlives the server, and finds the next one at the same place."""
    server = make_server()
    enough = tmp_path / "enough"
    code = (
        "import itertools, pathlib, sys, time\nfrom jupyter_sse import connect, task\n"
        "connect(sys.argv[1], sys.argv[2])\n"
        "with task('Long') as t:\n"
        "    print(t.id, flush=True)\n"
        "    for i in itertools.count():\n"
        "        t.log(str(i)); time.sleep(0.01)\n"
        "        if pathlib.Path(sys.argv[3]).exists(): break\n"
        "print(i + 1, flush=True)\n"
    )
    command = [sys.executable, "-c", code, server.url, server.token, str(enough)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None

    def lines() -> int:
        return int(server.request("GET", f"streams/{stream}").json().get("log", {}).get("count", 0))

    with process:
        stream = process.stdout.readline().strip()
        wait_for(lambda: lines() > 20, "some lines")
        server.kill()
        server.start()
        before = lines()
        wait_for(lambda: lines() > before + 20, "more lines")
        enough.touch()
        made = int(process.stdout.read().split()[-1])
    wait_for(lambda: snapshot(server, stream)["status"] == "done", "the stream to end")
    found = snapshot(server, stream)
    assert found["log"]["count"] == made
    assert [line["text"] for line in found["log"]["lines"]] == [str(index) for index in range(made)][-200:]


def test_a_page_of_another_origin_cannot_open_the_link(server: JupyterServer) -> None:
    with httpx.Client(base_url=server.root, trust_env=False, follow_redirects=True) as page:
        page.get("/login", params={"token": server.token})
        cookies = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
    url = server.url.replace("http", "ws") + "kernel"
    with connect(url, additional_headers={"Cookie": cookies}, origin=Origin(server.root.rstrip("/")), proxy=None):
        pass
    with pytest.raises(InvalidStatus) as refused:
        connect(
            url, additional_headers={"Cookie": cookies}, origin=Origin("http://evil.example"), proxy=None
        ).__enter__()
    assert refused.value.response.status_code == 403
