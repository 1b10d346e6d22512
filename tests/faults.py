"""A TCP proxy that fails as networks and other proxies do, and a disk that is full, at a test's word."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from harness import JupyterServer

CHUNK = 4096
BUFFER = 1 << 16
"""Bytes that a socket holds each way; few, so that a reader's slowness is felt by the server."""

UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 11\r\n"
    b"Connection: close\r\n\r\nUnavailable"
)


class _Connection:
    """One of a client's connections, and the one behind it; a thread for each way."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server = server
        self.is_stream = False  # its last request was for an event stream
        self.left: int | None = None  # bytes until it is cut
        self.dead = False  # it hung, and nothing gets through any more
        for way in (self._up, self._down):
            threading.Thread(target=self._pass_on, args=(way,), daemon=True).start()

    def _pass_on(self, way: object) -> None:
        assert callable(way)
        with suppress(OSError):
            way()
        if not self.dead:
            self.abort()

    def _up(self) -> None:
        while data := self.client.recv(CHUNK):
            self.proxy.flowing.wait()
            if self.dead:  # a server that has forgotten a connection says so to whoever sends something over it
                _abort(self.client)
                return
            first = data.partition(b"\r\n")[0]
            if first.endswith(b"HTTP/1.1"):
                self.is_stream = self.proxy.path in first
                self.left = next(self.proxy.lengths, None) if self.is_stream else None
            self.server.sendall(data)

    def _down(self) -> None:
        while data := self.server.recv(CHUNK):
            self.proxy.flowing.wait()
            if self.dead:
                return
            if self.left is not None:
                data = data[: self.left]
                self.left -= len(data)
            self.client.sendall(data)
            if self.left == 0:
                self.proxy.cuts += 1
                return
            if self.proxy.rate is not None:
                time.sleep(len(data) / self.proxy.rate)

    def abort(self) -> None:
        self.proxy.connections.discard(self)
        for end in (self.client, self.server):
            _abort(end)


def _abort(end: socket.socket) -> None:
    """Close with a reset; a thread that waits for the socket wakes up."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RD)
    end.close()


class FaultProxy:
    """Listens on `port`, and passes on to the server at `target`, on this machine.

    cuts : how many connections it has cut.
    refused : how many it has answered with a 503, or not taken.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.cuts = 0
        self.refused = 0
        self.connections: set[_Connection] = set()
        self.flowing = threading.Event()
        self.flowing.set()
        self.rate: float | None = None
        self.path = b"jupyter-sse/events "  # of an event stream
        self.lengths: Iterator[int] = iter(())  # of the event streams to come, until they are cut
        self._unavailable = False
        self._dead: list[_Connection] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def cut(self) -> None:
        """Cut all connections, in the middle of whatever they carry."""
        for connection in list(self.connections):
            self.cuts += 1
            connection.abort()

    def cut_streams(self, lengths: Iterator[int]) -> None:
        """Cut each event stream when it has carried so many bytes more, those that are there now as well."""
        self.lengths = lengths
        for connection in list(self.connections):
            if connection.is_stream:
                connection.left = next(lengths, None)

    def hang(self) -> None:
        """Nothing gets through any more, and nobody is told."""
        self.flowing.clear()

    def unavailable(self) -> None:
        """Cut all connections, and answer new ones with a 503."""
        self._unavailable = True
        self.cut()

    def throttle(self, rate: float) -> None:
        """So many bytes a second to each client, at most."""
        self.rate = rate

    def mend(self) -> None:
        """No faults from now on. The connections that hung stay dead, as after a sleep: the client has to find out.

        It does if it sends something, and hears nothing if it only waits.
        """
        if not self.flowing.is_set():
            for connection in list(self.connections):
                connection.dead = True
                self.connections.discard(connection)
                self._dead.append(connection)
                _abort(connection.server)
        self._unavailable = False
        self.rate = None
        self.lengths = iter(())
        for connection in list(self.connections):
            connection.left = None
        self.flowing.set()

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in (*self.connections, *self._dead):
            connection.dead = True
            connection.abort()
        self.flowing.set()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._take, args=(client,), daemon=True).start()

    def _take(self, client: socket.socket) -> None:
        if self._unavailable:
            self.refused += 1
            with suppress(OSError), client:
                client.recv(CHUNK)
                client.sendall(UNAVAILABLE)
            return
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        try:
            server.connect(("127.0.0.1", self.target))
        except OSError:
            self.refused += 1
            _abort(client)
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections.add(_Connection(self, client, server))


@contextmanager
def fault_proxy(target: int) -> Iterator[FaultProxy]:
    """A proxy in front of the server on the port `target`."""
    proxy = FaultProxy(target)
    try:
        yield proxy
    finally:
        proxy.stop()


linux = pytest.mark.skipif(sys.platform != "linux", reason="limits the files of another process, which Linux can")


@contextmanager
def full_disk(server: JupyterServer) -> Iterator[None]:
    """The server's files cannot grow beyond what the largest of them has now."""
    import resource

    assert server.process is not None
    files = (server.home / "data" / "jupyter-sse").glob("streams.db*")
    size = max(file.stat().st_size for file in files)
    assert size > 2 * (server.home / "server.log").stat().st_size, "the server's own log is to have room"
    pid = server.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
