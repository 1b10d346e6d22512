"""What a delivered event costs the server: this extension beside sse-starlette on uvicorn, in one run.

    python benchmarks/fanout.py [--quick]

Ours runs inside a real jupyter_server, with its token required, the SQLite log on, and the events coming in over the
kernel link from another process. The peer makes its events itself and has nothing to store: an asyncio.Queue a
subscriber, as its documentation shows. Reported are CPU microseconds (user and system, all threads, from /proc) of the
server process per delivered event, and resident KiB per idle connection. Subscribers are plain sockets in a process of
their own.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from websockets.sync.client import connect

TEXT = "The quick brown fox jumps over the lazy dog, and over it again for good measure."
END = b"event: done"


@dataclass
class Server:
    name: str
    pid: int
    port: int
    token: str = ""
    link: tuple[str, str] | None = None

    def cpu(self) -> float:
        # schedstat counts nanoseconds, where stat has ticks of 10 ms.
        return (
            sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat")) / 1e9
        )

    def rss(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def request(self, method: str, path: str, body: str | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, {"Authorization": f"token {self.token}"})
        return connection.getresponse()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition, what: str, seconds: float = 60) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds} s in vain for {what}")
        time.sleep(0.02)


@contextmanager
def process(
    command: list[str], env: dict[str, str] | None = None, *, kill: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.kill() if kill else child.terminate()
        child.wait(20)


@contextmanager
def ours(home: str, *, kill: bool = False) -> Iterator[Server]:
    """A jupyter_server with what it stores in `home`."""
    token, port = secrets.token_hex(16), free_port()
    env = os.environ | {f"JUPYTER_{name}_DIR": home for name in ("DATA", "RUNTIME", "CONFIG")}
    env["JUPYTER_TOKEN"] = token
    command = [
        sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", f"--ServerApp.port={port}",
        "--ServerApp.jpserver_extensions={'jupyter_sse': True}", "--SSE.max_connections=5000",
        f"--ServerApp.root_dir={home}",
    ]  # fmt: skip
    with process(command, env, kill=kill) as child:
        server = Server("jupyter_sse", child.pid, port, token)

        def up() -> bool:
            try:
                return server.request("GET", "/jupyter-sse/streams").status == 200
            except OSError:
                return False

        wait_for(up, "jupyter_server")
        yield server


PEER = """
import asyncio, json
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from sse_starlette import EventSourceResponse, ServerSentEvent

queues = []
TEXT = {TEXT!r}

async def events(request):
    queue = asyncio.Queue()
    async def source():
        queues.append(queue)
        try:
            while True:
                seq, kind, data = await queue.get()
                yield ServerSentEvent(data=data, event=kind, id=str(seq))
                if kind == "done":
                    return
        finally:
            queues.remove(queue)
    return EventSourceResponse(source())

async def publish(request):
    count, rate = int(request.query_params["count"]), float(request.query_params["rate"])
    started = asyncio.get_running_loop().time()
    for seq in range(1, count + 1):
        kind = "done" if seq == count else "delta"
        data = json.dumps({"type": kind, "text": TEXT})
        for queue in queues:
            queue.put_nowait((seq, kind, data))
        if rate:
            await asyncio.sleep(max(0, started + seq / rate - asyncio.get_running_loop().time()))
        else:
            while queues and max(queue.qsize() for queue in queues) > 100:
                await asyncio.sleep(0)
    return JSONResponse({})

async def count(request):
    return JSONResponse(len(queues))

app = Starlette(routes=[Route("/events", events), Route("/publish", publish), Route("/count", count)])
""".replace("{TEXT!r}", repr(TEXT))


@contextmanager
def peer() -> Iterator[Server]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "peer.py").write_text(PEER)
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "--app-dir",
            folder,
            "peer:app",
            "--port",
            str(port),
            "--no-access-log",
        ]
        with process([*command, "--backlog", "4096"]) as child:
            server = Server("sse-starlette", child.pid, port)

            def up() -> bool:
                try:
                    return server.request("GET", "/count").status == 200
                except OSError:
                    return False

            wait_for(up, "uvicorn")
            yield server


def subscribe(port: int, path: str, token: str, count: int) -> None:
    """Run in a process of its own: says when all are connected, then when all have had the end."""
    selector = selectors.DefaultSelector()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: token {token}\r\n\r\n".encode()
    for number in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(request)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, [b"", number])
    heard = open_count = 0
    read = 0
    started: set[int] = set()
    deadline = time.monotonic() + 300
    while heard < count and time.monotonic() < deadline:
        for key, _ in selector.select(1):
            try:
                data = key.fileobj.recv(1 << 18)  # type: ignore[union-attr]
            except BlockingIOError:
                continue
            tail, number = key.data
            if number not in started:
                started.add(number)
                open_count += 1
                if open_count == count:
                    print("open", flush=True)
            read += len(data)
            tail = (tail + data)[-256:]
            key.data[0] = tail
            if not data or END in tail:
                heard += END in tail
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
    print(json.dumps({"heard": heard, "bytes": read}), flush=True)


@contextmanager
def subscribers(server: Server, path: str, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, "--subscribe", str(server.port), path, server.token, str(count)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield child
    finally:
        child.kill()
        child.wait()


class Link:
    """A bare producer on the kernel link: batches of events, a few of them under way."""

    def __init__(self, server: Server) -> None:
        self.stream = secrets.token_urlsafe(16)
        self._connecting = connect(
            f"ws://127.0.0.1:{server.port}/jupyter-sse/kernel",
            additional_headers={"Authorization": f"token {server.token}"},
            compression=None,
            proxy=None,
        )
        self.socket = self._connecting.__enter__()
        self.socket.send(json.dumps({"op": "hello", "v": 1, "producer": secrets.token_hex(8), "kernel": None}))
        self.socket.recv()
        self.seq = self.acked = 0

    def send(self, events: list[str], window: int = 4) -> None:
        self.socket.send(
            f'{{"op":"append","stream":"{self.stream}","seq":{self.seq + 1},"events":[{",".join(events)}]}}'
        )
        self.seq += len(events)
        while self.seq - self.acked > window * len(events):
            self.acked = json.loads(self.socket.recv())["seq"]

    def settle(self) -> None:
        while self.acked < self.seq:
            self.acked = json.loads(self.socket.recv())["seq"]
        self._connecting.__exit__(None, None, None)


DELTA = json.dumps({"type": "delta", "text": TEXT}, separators=(",", ":"))
DONE = '{"type":"done","reason":"stop"}'


def run_ours(server: Server, readers: int, count: int, rate: float, batch: int) -> float:
    link = Link(server)
    link.send(['{"type":"start","kind":"task","status":"running","cancellable":false}'])
    with subscribers(server, f"/jupyter-sse/streams/{link.stream}/events", readers) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        time.sleep(0.5)
        before = server.cpu()
        started = time.monotonic()
        left = count - 1
        while left > 0:
            size = 1 if rate else min(batch, left)
            link.send([DELTA] * size)
            left -= size
            if rate:
                time.sleep(max(0, started + (count - left) / rate - time.monotonic()))
        link.send([DONE])
        link.settle()
        answer = json.loads(child.stdout.readline())
        assert answer["heard"] == readers, answer
        return (server.cpu() - before) / (count * readers) * 1e6


def run_peer(server: Server, readers: int, count: int, rate: float) -> float:
    with subscribers(server, "/events", readers) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        wait_for(lambda: json.loads(server.request("GET", "/count").read()) == readers, "the subscribers")
        time.sleep(0.5)
        before = server.cpu()
        server.request("GET", f"/publish?count={count}&rate={rate}").read()
        answer = json.loads(child.stdout.readline())
        assert answer["heard"] == readers, answer
        return (server.cpu() - before) / (count * readers) * 1e6


def idle(server: Server, readers: int) -> float:
    """KiB of resident memory an idle connection costs."""
    link = Link(server) if server.name == "jupyter_sse" else None
    path = "/events"
    if link is not None:
        link.send(['{"type":"start","kind":"task","status":"running","cancellable":false}'])
        path = f"/jupyter-sse/streams/{link.stream}/events"
    with subscribers(server, path, 50) as child:  # so that first-time costs are not counted
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
    before = server.rss()
    with subscribers(server, path, readers) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        time.sleep(1)
        kib = (server.rss() - before) / readers / 1024
    if link is not None:
        link.send([DONE])
        link.settle()
    return kib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events")
    parser.add_argument("--subscribe", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subscribe:
        port, path, token, count = options.subscribe
        subscribe(int(port), path, token, int(count))
        return
    scale = 10 if options.quick else 1
    cases = [
        ("1 reader, full speed", 1, 100_000 // scale, 0.0),
        ("100 readers, full speed", 100, 10_000 // scale, 0.0),
        ("1000 readers, full speed", 1000, 1_000 // scale, 0.0),
        ("100 readers, 60 events/s", 100, 900 // scale, 60.0),
    ]
    with tempfile.TemporaryDirectory() as home, ours(home) as us, peer() as them:
        # First, while neither has memory to reuse.
        mine, theirs = idle(us, 1000), idle(them, 1000)
        print(f"{'':32}{'jupyter_sse':>14}{'sse-starlette':>16}{'ratio':>8}")
        print(f"{'KiB per idle connection':32}{mine:14.1f}{theirs:16.1f}{theirs / mine:7.1f}x")
        print("CPU us per delivered event")
        for name, readers, count, rate in cases:
            mine = run_ours(us, readers, count, rate, batch=100)
            theirs = run_peer(them, readers, count, rate)
            print(f"{name:32}{mine:14.2f}{theirs:16.2f}{theirs / mine:7.1f}x", flush=True)


if __name__ == "__main__":
    main()
