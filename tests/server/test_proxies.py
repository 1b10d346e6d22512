"""Through real proxies: what they do with streams, WebSockets and silence (docs/proxies.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from http.client import IncompleteRead
from pathlib import Path
from threading import Thread

import httpx
import pytest
from conftest import MakeServer
from harness import JupyterServer, wait_for
from proxies import caddy, haproxy, hub_proxy, nginx
from reading import Reading, Socket
from server_kernel import Kernel
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from jupyter_sse.client import Client
from jupyter_sse.events import Log

Proxy = Callable[..., AbstractContextManager[int]]


def made_include(server: JupyterServer, folder: Path) -> str:
    """`include ...;` with what `jupyter sse nginx` prints."""
    command = [sys.executable, "-m", "jupyter_sse.cli", "nginx", "--url", server.root]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    file = folder / "jupyter-sse.conf"
    file.write_text(printed)
    return f"include {file};"


def nginx_with_include(server: JupyterServer, home: Path, port: int | None = None) -> AbstractContextManager[int]:
    home.mkdir(exist_ok=True)
    return nginx(server, home, also=made_include(server, home), port=port)


PROXIES: dict[str, Proxy] = {
    "nginx": nginx,
    "nginx-include": nginx_with_include,
    "HAProxy": haproxy,
    "Caddy": caddy,
    "configurable-http-proxy": hub_proxy,
}
PASS_WEBSOCKETS = {name: proxy for name, proxy in PROXIES.items() if name != "nginx"}
each_proxy = pytest.mark.parametrize("proxy", PROXIES.values(), ids=PROXIES)
each_that_passes_websockets = pytest.mark.parametrize("proxy", PASS_WEBSOCKETS.values(), ids=PASS_WEBSOCKETS)


def through(server: JupyterServer, port: int) -> httpx.Client:
    base = f"http://127.0.0.1:{port}{server.base_url}jupyter-sse/"
    return httpx.Client(base_url=base, headers=server.headers, timeout=30, trust_env=False)


def text_of(reading: Reading) -> str:
    return "".join(json.loads(frame.data)["text"] for frame in reading.frames if frame.event == "delta")


@each_proxy
def test_each_event_is_there_before_the_next_is_sent(server: JupyterServer, tmp_path: Path, proxy: Proxy) -> None:
    with proxy(server, tmp_path / "proxy") as port, through(server, port) as client:
        stream = client.post("streams", json={"kind": "task"}).json()["stream"]
        reading = Reading(server, f"streams/{stream}/events", port=port, Accept_Encoding="gzip, br")
        assert "Content-Encoding" not in reading.answer.headers
        for number in range(1, 6):
            client.post(f"streams/{stream}/events", content=f'{{"type":"log","text":"خطوة {number}"}}')
            assert json.loads(reading.read(2 + number)[-1].data)["text"] == f"خطوة {number}"
        client.post(f"streams/{stream}/events", content='{"type":"done"}')
        assert [frame.event for frame in reading.read()] == ["hello", "start", *["log"] * 5, "done"]


@each_proxy
def test_an_answer_comes_in_pieces_and_can_be_cancelled(server: JupyterServer, tmp_path: Path, proxy: Proxy) -> None:
    question = {"message": "Tell me all", "model": "demo"}
    with proxy(server, tmp_path / "proxy") as port, through(server, port) as client:
        reading = Reading(server, "chat", body=json.dumps(question), port=port, Accept="text/event-stream")
        reading.read(3)
        assert text_of(reading)
        stream = json.loads(reading.frames[0].data)["stream"]
        assert client.post(f"streams/{stream}/cancel").status_code == 202
        last = reading.read()[-1]
        assert (last.event, json.loads(last.data)["reason"]) == ("done", "cancelled")


ENDPOINT = """
import queue
from jupyter_sse import endpoint

words, left = queue.Queue(), queue.Queue()

@endpoint("/through/<path:name>", timeout=None)
def through(name):
    try:
        while True:
            try:
                yield name + words.get(timeout=0.1)
            except queue.Empty:
                yield None
    finally:
        left.put("closed")
"""


@pytest.fixture(scope="module")
def kernel(server: JupyterServer) -> Iterator[Kernel]:
    kernel = Kernel(server)
    kernel.ask(ENDPOINT)
    yield kernel
    kernel.stop()


@each_proxy
def test_an_endpoint_passes_and_hears_that_its_reader_has_left(
    server: JupyterServer, kernel: Kernel, tmp_path: Path, proxy: Proxy
) -> None:
    with proxy(server, tmp_path / "proxy") as port:

        def called() -> Reading | None:
            reading = Reading(server, "e/through/%D8%A3/b%20c%2F", port=port, Accept_Encoding="gzip, br")
            if reading.answer.status == 200:
                return reading
            reading.close()
            return None

        reading: Reading = wait_for(called, "the endpoint to be served")
        assert "Content-Encoding" not in reading.answer.headers
        for number in range(3):
            kernel.ask(f"words.put('word {number}')")
            assert reading.read(2 + number)[-1].data == f"أ/b c/word {number}"
        reading.close()
        assert kernel.ask("print(left.get(timeout=60))") == "closed"


@each_proxy
def test_a_client_goes_on_when_the_proxy_was_restarted(server: JupyterServer, tmp_path: Path, proxy: Proxy) -> None:
    stream = server.create()
    read: list[tuple[int, str]] = []

    def follow(url: str) -> None:
        with Client(url, server.token) as client:
            read.extend((seq, event.text) for seq, event in client.events(stream) if isinstance(event, Log))

    with ExitStack() as stack:
        with proxy(server, tmp_path / "proxy") as port:
            reader = Thread(target=follow, args=(f"http://127.0.0.1:{port}{server.base_url}",), daemon=True)
            reader.start()
            server.append(stream, '{"type":"log","text":"before"}')
            wait_for(lambda: read, "the first line, through the proxy")
        server.append(stream, '{"type":"log","text":"between"}')
        stack.enter_context(proxy(server, tmp_path / "proxy", port=port))
        server.append(stream, '{"type":"log","text":"after"}', '{"type":"done"}')
        reader.join(60)
    assert read == [(2, "before"), (3, "between"), (4, "after")]


@contextmanager
def open_socket(server: JupyterServer, port: int) -> Iterator[Socket]:
    url = f"ws://127.0.0.1:{port}{server.base_url}jupyter-sse/socket"
    with connect(url, additional_headers=server.headers, proxy=None, close_timeout=2) as connection:
        yield Socket(connection)


@each_that_passes_websockets
def test_a_websocket_passes(server: JupyterServer, tmp_path: Path, proxy: Proxy) -> None:
    stream = server.create()
    with proxy(server, tmp_path / "proxy") as port, open_socket(server, port) as socket:
        assert socket.read(1)[0].event == "hello"
        socket.say(streams={stream: 0})
        assert socket.read(2)[1].id == f"{stream}:1"
        server.append(stream, '{"type":"log","text":"live"}')
        assert socket.read(3)[2].id == f"{stream}:2"


def test_nginx_passes_no_websocket_by_default_and_the_server_says_so(server: JupyterServer, tmp_path: Path) -> None:
    with nginx(server, tmp_path / "proxy") as port:
        with pytest.raises(InvalidStatus) as refused, open_socket(server, port):
            pass
        assert refused.value.response.status_code == 426
        assert b"a proxy has taken that out" in (refused.value.response.body or b"")


ELSEWHERE = """
import sys
from jupyter_sse import connect, task

connect(*sys.argv[1:])
with task("From another machine") as t:
    t.log("through the proxy")
    t.result = 42
print(t.id)
"""


@each_that_passes_websockets
def test_the_link_of_a_kernel_elsewhere_passes(server: JupyterServer, tmp_path: Path, proxy: Proxy) -> None:
    with proxy(server, tmp_path / "proxy") as port:
        command = [sys.executable, "-c", ELSEWHERE, f"http://127.0.0.1:{port}{server.base_url}", server.token]
        done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    snapshot = server.request("GET", f"streams/{done.stdout.split()[-1]}").json()
    assert (snapshot["title"], snapshot["status"], snapshot["result"]) == ("From another machine", "done", 42)
    assert [line["text"] for line in snapshot["log"]["lines"]] == ["through the proxy"]


def test_all_hear_at_once_that_the_server_has_stopped(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    stream = server.create()
    with ExitStack() as stack:
        readings = {
            name: Reading(server, f"streams/{stream}/events", port=stack.enter_context(proxy(server, tmp_path / name)))
            for name, proxy in PROXIES.items()
        }
        assert all(len(reading.read(2)) == 2 for reading in readings.values())
        server.stop()
        for reading in readings.values():
            with suppress(IncompleteRead):
                reading.read()  # which would go on until it times out


HOSTILE = """
proxy_cache_path {cache} keys_zone=all:1m;
proxy_ignore_headers X-Accel-Buffering;
gzip on;
gzip_proxied any;
gzip_min_length 0;
gzip_types *;
proxy_read_timeout 1s;
proxy_cache all;
proxy_cache_valid any 1h;
client_max_body_size 1k;
"""


def test_the_include_undoes_what_the_rest_of_nginx_is_set_to(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server("--SSE.heartbeat=2.5", base_url="/user/amal%40example.org/")
    settings = HOSTILE.format(cache=tmp_path / "cache")
    stream = server.create()
    media = os.urandom(2 << 20)
    for name, include in (("without", ""), ("with", made_include(server, tmp_path))):
        with nginx(server, tmp_path / name, also=include, outside=settings) as port:
            with through(server, port) as client:
                sent = client.post(f"streams/{stream}/media", content=media, headers={"Content-Type": "image/png"})
            reading = Reading(server, f"streams/{stream}/events", port=port, Accept_Encoding="gzip")
            if include:
                assert sent.status_code == 201
                assert [frame.event for frame in reading.read(2, pings=2)] == ["hello", "start"]
            else:
                assert sent.status_code == 413
                assert reading.answer.headers["Content-Encoding"] == "gzip"
                with pytest.raises(IncompleteRead):  # cut after a second
                    reading.read()


@pytest.mark.parametrize(
    "url", ["http://ho;st:8888/", "http://$host:8888/", "http://a b:8888/", "nonsense", "http:///"]
)
def test_what_nginx_could_not_ask_is_refused(url: str) -> None:
    command = [sys.executable, "-m", "jupyter_sse.cli", "nginx", "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("jupyter sse: not ")


@pytest.mark.timeout(240)
def test_what_is_silent_for_over_60_s_is_kept_by_heartbeats_alone(
    server: JupyterServer, make_server: MakeServer, tmp_path: Path
) -> None:
    """With the default settings of all: nginx cuts at 60 s, HAProxy as Debian sets it up at 50."""
    mute = make_server("--SSE.heartbeat=600")
    stream, unheard = server.create(), mute.create()
    with ExitStack() as stack:
        readings = [
            Reading(server, f"streams/{stream}/events", port=stack.enter_context(proxy(server, tmp_path / name)))
            for name, proxy in PROXIES.items()
        ]
        port = stack.enter_context(haproxy(server, tmp_path / "socket"))
        socket = stack.enter_context(open_socket(server, port))
        socket.say(streams={stream: 0})
        assert [frame.event for frame in socket.read(2)] == ["hello", "start"]
        assert all(len(reading.read(2)) == 2 for reading in readings)

        silent = [
            Reading(
                mute, f"streams/{unheard}/events", port=stack.enter_context(proxy(mute, tmp_path / f"mute-{name}")),
                timeout=90,
            )
            for name, proxy in (("haproxy", haproxy), ("nginx", nginx))
        ]  # fmt: skip
        for reading in silent:  # which takes the 60 s
            with pytest.raises(IncompleteRead):
                reading.read()
            assert [frame.event for frame in reading.frames] == ["hello", "start"]

        server.append(stream, '{"type":"done"}')
        for reading in readings:
            assert [frame.event for frame in reading.read()] == ["hello", "start", "done"]
            assert reading.pings
        assert [frame.event for frame in socket.read(3)] == ["hello", "start", "done"]
        assert socket.pings
