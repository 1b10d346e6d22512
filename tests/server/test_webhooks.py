"""Webhooks, to a real receiver: signed, tried again, given up, and never in anybody's way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from harness import SECONDS, JupyterServer, free_port, wait_for
from reading import Reading
from server_kernel import Kernel

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


class Post(NamedTuple):
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw)
        return body

    @property
    def is_signed(self) -> bool:
        """As Standard Webhooks has it, and as its libraries check it."""
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.raw
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        is_recent = abs(time.time() - int(self.headers["webhook-timestamp"])) < 300
        return is_recent and self.headers["webhook-signature"] == f"v1,{expected}"


class Receiver:
    """Keeps what is posted; answers with the next of `statuses`, then 200, once it is `open`."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.open = threading.Event()
        self.open.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                receiver.posts.append(Post(self.path, headers, raw))
                receiver.open.wait(SECONDS)
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None: ...  # who asked has gone

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str = "/hook", user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self._server.server_port}{path}"

    def about(self, stream: str) -> list[Post]:
        return [post for post in self.posts if post.body["stream"] == stream]

    def close(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def kernel(server: JupyterServer) -> Iterator[Kernel]:
    kernel = Kernel(server)
    yield kernel
    kernel.stop()


def began_ago(seconds: float) -> dict[str, Any]:
    return {"ts": time.time() - seconds}


def end(server: JupyterServer, stream: str, **event: Any) -> None:
    assert server.append(stream, json.dumps({"type": "done", "ts": time.time(), **event})).status_code == 200


def test_all_long_streams_are_told_and_signed(
    make_server: Callable[..., JupyterServer], receiver: Receiver, tmp_path: Path
) -> None:
    config = tmp_path / "home" / "config" / "jupyter_server_config.py"
    config.parent.mkdir(parents=True)
    config.write_text(
        f"import os\nos.environ['JUPYTER_SSE_WEBHOOK_SECRET'] = {SECRET!r}\n"
        f"c.SSE.webhook = {receiver.url('/deep/path?key=hidden', user='zo%C3%A9:pass@')!r}\n"
        "c.ServerApp.custom_display_url = 'https://jupyter.example.org/?token=of-the-server'\n"
    )
    server = make_server(home=tmp_path / "home", base_url="/user/zoe/")
    short = server.create(title="Short", **began_ago(59))
    end(server, short)
    long = server.create(title="تدريب", origin={"path": "a/train.ipynb"}, **began_ago(75))
    end(server, long, result={"loss": 0.25})
    failed = server.create(title="Fails", **began_ago(3600))
    end(server, failed, type="error", message="out of memory", code="MemoryError")

    wait_for(lambda: len(receiver.posts) == 2, "both webhooks")
    (told,) = receiver.about(long)
    assert told.is_signed
    assert told.path == "/deep/path?key=hidden"
    assert told.headers["authorization"] == "Basic " + base64.b64encode("zoé:pass".encode()).decode()
    assert told.headers["content-type"] == "application/json"
    body = told.body
    assert 75 <= body.pop("elapsed") < 80
    assert body.pop("ended") > body.pop("started")
    assert body.pop("timestamp")
    assert body == {
        "type": "stream.ended", "text": "تدريب: done · 1:15", "stream": long, "title": "تدريب", "kind": "task",
        "status": "done", "reason": "stop", "result": {"loss": 0.25}, "error": None, "path": "a/train.ipynb",
        "url": f"https://jupyter.example.org/user/zoe/jupyter-sse/#/{long}",
    }  # fmt: skip
    (told,) = receiver.about(failed)
    assert told.is_signed
    assert (told.body["status"], told.body["error"]) == ("error", {"code": "MemoryError", "message": "out of memory"})

    kernel = Kernel(server)
    assert kernel.ask("import os; print('JUPYTER_SSE_WEBHOOK_SECRET' in os.environ)") == "False"
    kernel.stop()


def test_it_is_tried_again_with_the_same_id(make_server: Callable[..., JupyterServer], receiver: Receiver) -> None:
    server = make_server(f"--SSE.webhook_secret={SECRET}")
    receiver.statuses = [500, 429]
    stream = server.create(title="Render", webhook=receiver.url())
    end(server, stream)
    wait_for(lambda: len(receiver.posts) == 3, "the third try")
    assert {post.headers["webhook-id"] for post in receiver.posts} == {f"msg_{stream}"}
    assert all(post.is_signed for post in receiver.posts)
    assert len({post.raw for post in receiver.posts}) == 1
    assert f"is tried again: {receiver.url('')} answered 500" in server.output
    assert "was not delivered" not in server.output


def test_one_that_cannot_be_delivered_is_in_the_log_and_its_url_is_nowhere(
    make_server: Callable[..., JupyterServer], receiver: Receiver
) -> None:
    server = make_server("--SSE.webhook_patience=1")
    receiver.open.clear()
    dead = f"http://user:hidden-pass@127.0.0.1:{free_port()}/hidden-path?hidden-query"
    nowhere = "https://hooks.invalid/hidden-path?hidden-query"
    silent = receiver.url("/hidden-path?hidden-query")
    streams = {url: server.create(title="Render", webhook=url) for url in (dead, nowhere, silent)}
    for stream in streams.values():
        end(server, stream)
    wait_for(lambda: receiver.posts, "the silent one to be asked")
    assert server.request("GET", "streams").status_code == 200, "while it keeps the server waiting"

    def said(url: str) -> list[str]:
        lines = [line for line in server.output.splitlines() if streams[url] in line and "not delivered" in line]
        return lines

    for url, words in (
        (dead, "cannot be reached: Connection refused"),
        (nowhere, "https://hooks.invalid cannot be reached: "),
        (silent, f"{receiver.url('')} did not answer within 1 s."),
    ):
        wait_for(lambda url=url: said(url), f"the log to say that {url} failed")  # type: ignore[misc]
        (line,) = said(url)
        assert words in line
        assert f"'Render' ({streams[url]})" in line
        assert line.startswith("[E ")
    assert "hidden" not in server.output
    for stream in streams.values():
        events = "".join(frame.data for frame in Reading(server, f"streams/{stream}/events").read())
        assert "done" in events
        for path in (f"streams/{stream}", f"streams/{stream}/output", "streams"):
            assert "hidden" not in server.request("GET", path).text + events
    server.stop()
    assert not [file for file in server.home.rglob("*") if file.is_file() and b"hidden-path" in file.read_bytes()]


def test_what_a_receiver_refuses_for_good_is_not_tried_again(
    make_server: Callable[..., JupyterServer], receiver: Receiver
) -> None:
    server = make_server()
    for status, headers in ((404, {}), (302, {"Location": receiver.url("/elsewhere")}), (410, {})):
        receiver.statuses, receiver.headers = [status], headers
        stream = server.create(webhook=receiver.url())
        end(server, stream)
        wait_for(lambda stream=stream: f"({stream}) was not delivered, tried once." in server.output, "the log")  # type: ignore[misc]
        assert f"answered {status}" in server.output
    assert [post.path for post in receiver.posts] == ["/hook"] * 3


def test_the_task_of_a_kernel_that_is_killed_is_told(server: JupyterServer, kernel: Kernel, receiver: Receiver) -> None:
    pid = int(kernel.ask("import os; print(os.getpid())"))
    code = (
        "import time\nfrom jupyter_sse import task\n"
        f"with task('Train', webhook={receiver.url()!r}) as t:\n    print(t.id, flush=True)\n    time.sleep(600)"
    )
    stream = kernel.start(code)
    wait_for(lambda: server.request("GET", f"streams/{stream}").status_code == 200, "the stream")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: receiver.posts, "the webhook")
    assert receiver.posts[0].body["stream"] == stream
    assert receiver.posts[0].body["error"]["code"] == "kernel_died"
    assert "webhook-signature" not in receiver.posts[0].headers, "there is no secret"


def test_a_task_does_not_wait_for_its_webhook(server: JupyterServer, kernel: Kernel, receiver: Receiver) -> None:
    receiver.open.clear()
    printed = kernel.ask(
        "from jupyter_sse import task\n"
        "for index in range(30):\n"
        f"    with task(f'Task {{index}}', webhook={receiver.url()!r}): pass\n"
        "    print('done')"
    )
    assert printed.split() == ["done"] * 30
    wait_for(lambda: len(receiver.posts) >= 2, "webhooks that are being delivered")
    again = server.create()
    end(server, again)
    assert server.request("GET", f"streams/{again}").json()["status"] == "done"
    receiver.open.set()
    wait_for(lambda: {post.body["title"] for post in receiver.posts} == {f"Task {i}" for i in range(30)}, "all 30")


def test_both_are_told_once(make_server: Callable[..., JupyterServer], receiver: Receiver) -> None:
    server = make_server(f"--SSE.webhook={receiver.url('/general')}", "--SSE.notify_after=0")
    one, two = server.create(webhook=receiver.url("/own")), server.create(webhook=receiver.url("/general"))
    endpoint = server.create(kind="endpoint")
    for stream in (one, two, endpoint):
        end(server, stream)
    last = server.create(title="last")
    end(server, last)
    wait_for(lambda: receiver.about(last) and len(receiver.about(one)) == 2, "the last one")
    assert sorted(post.path for post in receiver.about(one)) == ["/general", "/own"]
    assert [post.path for post in receiver.about(two)] == ["/general"]
    assert not receiver.about(endpoint), "one of those ends whenever nobody reads it"


def test_a_producer_may_give_any_time_and_title(server: JupyterServer, receiver: Receiver) -> None:
    stream = server.create(title="x" * 500_000, ts=1.7e12, webhook=receiver.url())
    end(server, stream, ts=1.7e12 + 5000)
    wait_for(lambda: receiver.posts, "the webhook")
    (told,) = receiver.posts
    assert len(told.raw) < 10_000
    assert told.body["ended"] == pytest.approx(time.time(), abs=60)
    assert told.body["elapsed"] < 60


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/hidden", "hidden", "http:///hidden", "http://x:hidden/", 7])
def test_what_is_no_url_is_refused_and_not_repeated(server: JupyterServer, url: Any) -> None:
    answer = server.request("POST", "streams", json={"kind": "task", "webhook": url})
    assert answer.status_code == 400
    assert "webhook" in answer.json()["message"]
    assert "hidden" not in answer.text


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--SSE.webhook=ftp://hidden/", "SSE.webhook: a webhook must be an http or https URL"),
    ],
)
def test_bad_settings_are_said_and_not_repeated(
    make_server: Callable[..., JupyterServer], option: str, says: str
) -> None:
    server = make_server(option)
    assert says in server.output
    assert "hidden" not in server.output


@pytest.mark.parametrize("secret", ["whsec_hidden!", "whsec_"])
def test_with_a_secret_that_cannot_be_used_none_is_sent(
    make_server: Callable[..., JupyterServer], receiver: Receiver, secret: str
) -> None:
    server = make_server(
        f"--SSE.webhook_secret={secret}", f"--SSE.webhook={receiver.url('/general')}", "--SSE.notify_after=0"
    )
    end(server, server.create(webhook=receiver.url("/own")))
    server.stop()
    assert "SSE.webhook_secret: what follows whsec_ in a webhook's secret must be a key in base64." in server.output
    assert "hidden" not in server.output
    assert "could be delivered" not in server.output
    assert not receiver.posts


def test_what_waits_when_the_server_stops_is_in_the_log(
    make_server: Callable[..., JupyterServer], receiver: Receiver
) -> None:
    server = make_server()
    receiver.open.clear()
    stream = server.create(webhook=receiver.url())
    end(server, stream)
    wait_for(lambda: receiver.posts, "the webhook")
    server.stop()
    assert f"stops before these webhooks could be delivered: {stream}." in server.output


def test_a_port_that_is_taken_by_no_http_server(make_server: Callable[..., JupyterServer]) -> None:
    server = make_server("--SSE.webhook_patience=0.5")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = server.create(webhook=f"http://127.0.0.1:{listener.getsockname()[1]}/")
        end(server, stream)
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"220 smtp.example.org ESMTP\r\n")
        wait_for(lambda: f"({stream}) was not delivered" in server.output, "the log")
