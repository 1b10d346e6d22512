"""What an event costs the kernel, and when the server has it: the kernel link beside one POST an event, in one run.

    python benchmarks/ingest.py [--quick]

Both write to the same jupyter_server, in a process of its own, with its token required and the SQLite log on. An event
is a log line of 80 characters or a token; at full speed the link merges what follows one another. Times are taken in
the user's thread, and at the server's answer, which both ways means that the event is committed. The POST goes over a
connection that is kept open. As in a notebook nothing is printed. Trust the ratios: the cores are shared by the user's
thread, the link's and the server.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from jupyter_sse.address import parse
from jupyter_sse.events import Delta, Log, encode
from jupyter_sse.kernel import display, link
from jupyter_sse.kernel.producer import Producer
from jupyter_sse.kernel.websocket import Connection

LINE = "epoch   7  batch  412/938  loss 0.0473  accuracy 98.61 %  gradient norm 0.218  ok"
RATE = 200.0


class StartingError(Exception):
    """The server is up, its extension not yet."""


@dataclass
class Server:
    port: int
    token: str

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def request(self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"") -> bytes:
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/x-ndjson"}
        connection.request(method, f"/jupyter-sse/{path}", body, headers)
        answer = connection.getresponse()
        read = answer.read()
        if answer.status == 503:
            raise StartingError
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {read!r}")
        return read


@contextmanager
def server() -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        running = Server(probe.getsockname()[1], secrets.token_hex(16))
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {f"JUPYTER_{name}_DIR": home for name in ("DATA", "RUNTIME", "CONFIG")}
        env["JUPYTER_TOKEN"] = running.token
        command = [
            sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", f"--ServerApp.port={running.port}",
            "--ServerApp.jpserver_extensions={'jupyter_sse': True}", f"--ServerApp.root_dir={home}",
        ]  # fmt: skip
        child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    running.request(running.connect(), "GET", "streams")
                    break
                except (OSError, StartingError):
                    if time.monotonic() > deadline or child.poll() is not None:
                        raise SystemExit("jupyter_server does not start") from None
                    time.sleep(0.05)
            yield running
        finally:
            child.terminate()
            child.wait(20)


class TimedLink(link.Link):
    """Notes when the server has acked what."""

    acks: list[tuple[int, float]]

    def _heard(self, connection: Connection, message: str | bytes) -> None:
        now = time.perf_counter()
        super()._heard(connection, message)
        said = msgspec.json.decode(message)
        if said["op"] == "ack":
            self.acks.append((said["seq"], now))


@dataclass
class Result:
    call: float
    """Microseconds in the user's thread, at full speed."""
    single: float
    """The same at `RATE`, the median: the link sleeps, and the call wakes it."""
    p50: float
    p99: float
    """Milliseconds from the call to the server's answer, at `RATE`; NaN where calls are merged."""
    rate: float
    """Events a second at full speed, until the server has them all."""


def paced(count: int, call: Callable[[], None]) -> list[tuple[float, float]]:
    """Call at `RATE`; when each call was due, and how long it took.

    One that is late because the one before it was slow counts from when it was due, as for whoever waits for it.
    """
    times = []
    start = time.perf_counter()
    for i in range(count):
        began = start + i / RATE
        if (early := began - time.perf_counter()) > 0:
            time.sleep(early)
            began = time.perf_counter()
        called = time.perf_counter()
        call()
        times.append((began, time.perf_counter() - called))
    return times


def over_link(to: Server, paced_count: int, fast_count: int, make: Callable[[Producer], Callable[[], None]]) -> Result:
    linked = TimedLink(parse(f"http://127.0.0.1:{to.port}/", to.token))
    linked.acks = []
    linked.dial(10)
    link.use(linked)

    producer = Producer()
    linked.flush(10)
    linked.acks.clear()
    calls = paced(paced_count, make(producer))
    linked.flush(10)
    delays = [math.nan] * 2
    if producer.snapshot.seq == paced_count + 1:  # the first event is `start`
        acks = iter(linked.acks)
        acked, at = 1, 0.0
        delays = []
        for i, (began, _) in enumerate(calls):
            while acked < i + 2:
                acked, at = next(acks)
            delays.append(at - began)
    producer.done()

    producer = Producer()
    linked.flush(10)
    call = make(producer)
    start = time.perf_counter()
    for _ in range(fast_count):
        call()
    called = time.perf_counter() - start
    if not linked.flush(120):
        raise SystemExit("the server did not take everything in 120 s")
    total = time.perf_counter() - start
    producer.done()
    linked.flush(10)
    return Result(called / fast_count * 1e6, single(calls), *quantiles(delays), fast_count / total)


def by_post(to: Server, paced_count: int, fast_count: int) -> Result:
    connection = to.connect()
    created = to.request(connection, "POST", "streams", json.dumps({"kind": "task"}).encode())
    path = f"streams/{json.loads(created)['stream']}/events"

    def call() -> None:
        to.request(connection, "POST", path, encode(Log(text=LINE)))

    ends: list[float] = []

    def timed() -> None:
        call()
        ends.append(time.perf_counter())

    calls = paced(paced_count, timed)
    delays = [end - began for end, (began, _) in zip(ends, calls, strict=True)]
    start = time.perf_counter()
    for _ in range(fast_count):
        call()
    took = time.perf_counter() - start
    return Result(took / fast_count * 1e6, single(calls), *quantiles(delays), fast_count / took)


def single(calls: list[tuple[float, float]]) -> float:
    return statistics.median(took for _, took in calls) * 1e6


def quantiles(delays: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(delays, n=100)
    return cuts[49] * 1000, cuts[98] * 1000


def logs(producer: Producer) -> Callable[[], None]:
    return lambda: producer.text(LINE, Log)


def deltas(producer: Producer) -> Callable[[], None]:
    return lambda: producer.text("token ", Delta)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events")
    scale = 10 if parser.parse_args().quick else 1
    paced_count, fast_count = 2000 // scale, 200_000 // scale
    display.show = lambda stream: None
    with server() as running:
        post = by_post(running, paced_count, 5000 // scale)
        lines = over_link(running, paced_count, fast_count, logs)
        tokens = over_link(running, paced_count, 5 * fast_count, deltas)
    print("us in a call: full speed | 200/s | ms to the answer at 200/s: p50 | p99 | events a second")
    for name, result in (("POST an event", post), ("link, log lines", lines), ("link, tokens", tokens)):
        print(f"{name:16} {result.call:8.2f} {result.single:8.2f}", end=" ")
        print(f"{result.p50:8.2f} {result.p99:8.2f} {result.rate:12,.0f}")
    print(
        f"POST / link: call {post.call / lines.call:.0f}x (tokens {post.call / tokens.call:.0f}x),"
        f" answer p50 {post.p50 / lines.p50:.1f}x, p99 {post.p99 / lines.p99:.1f}x;"
        f" link / POST: events a second {lines.rate / post.rate:.0f}x (tokens {tokens.rate / post.rate:.0f}x)"
    )


if __name__ == "__main__":
    main()
