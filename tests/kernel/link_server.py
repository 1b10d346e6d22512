"""A server for the kernel link that can misbehave: cut, lose, refuse, close, stall."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.http11 import Request, Response

TOKEN = "a-secret-token"

Message = dict[str, Any]


class LinkServer:
    """Keeps what it acks in `streams`; `fault` may deal with a message itself by returning True."""

    def __init__(self) -> None:
        self.streams: dict[str, list[Message]] = {}
        self.hellos: list[Message] = []
        self.appends: list[Message] = []
        self.authorization: list[str | None] = []
        self.fault: Callable[[ServerConnection, Message], bool] | None = None
        self.max_event = 1 << 20
        self.webhooks: list[tuple[str, str]] | None = []  # None: it is too old for them
        self.routes: list[list[Message]] | None = []  # None: it is too old for them
        self.port = 0
        self._changed = threading.Condition()
        self._server: Server | None = None
        self._open: set[ServerConnection] = set()
        self._dead: set[ServerConnection] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/base/jupyter-sse/"

    def start(self) -> None:
        self._server = serve(
            self._serve, "127.0.0.1", self.port, process_request=self._check, max_size=4 << 20, compression=None
        )
        self.port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.socket.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        """Drop all connections without a word."""
        for connection in list(self._open):
            self.drop(connection)

    def drop(self, connection: ServerConnection) -> None:
        """Take nothing more from it, not even what has arrived."""
        self._dead.add(connection)
        with suppress(OSError):  # it may be closed already
            connection.socket.shutdown(socket.SHUT_RDWR)

    def tell(self, **message: Any) -> None:
        """Say this to all that are connected."""
        for connection in list(self._open):
            connection.send(json.dumps(message))

    def wait(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout), f"not in {timeout} s; streams: {self.streams!r:.2000}"

    def texts(self, stream: str) -> str:
        return "".join(event["text"] for event in self.streams.get(stream, []) if event["type"] == "delta")

    def lines(self, stream: str) -> list[str]:
        """The stream's log lines: in a burst several are one event."""
        events = [event for event in self.streams.get(stream, []) if event["type"] == "log"]
        return [line for event in events for line in event["text"].removesuffix("\n").split("\n")]

    def types(self, stream: str) -> list[str]:
        return [event["type"] for event in self.streams.get(stream, [])]

    def ended(self, stream: str) -> bool:
        return bool({"done", "error"} & set(self.types(stream)))

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        self.authorization.append(request.headers.get("Authorization"))
        if request.path != "/base/jupyter-sse/kernel":
            return connection.respond(404, "nothing here")
        if self.authorization[-1] != f"Bearer {TOKEN}":
            return connection.respond(403, "forbidden")
        return None

    def _serve(self, connection: ServerConnection) -> None:
        self._open.add(connection)
        try:
            for raw in connection:
                self._take(connection, json.loads(raw))
        except (ConnectionClosed, OSError):
            pass
        finally:
            self._open.discard(connection)
            with self._changed:
                self._changed.notify_all()

    def _take(self, connection: ServerConnection, message: Message) -> None:
        with self._changed:
            self._changed.notify_all()
            if connection in self._dead:
                return
            if message["op"] == "hello":
                self.hellos.append(message)
                able = self.webhooks is not None
                welcome = {"op": "welcome", "max_event": self.max_event, "max_stream": 1 << 26, "webhooks": able}
                connection.send(json.dumps(welcome | {"endpoints": self.routes is not None}))
                return
            if message["op"] == "routes":
                assert self.routes is not None, "it would close the link"
                self.routes.append(message["routes"])
                self._changed.notify_all()
                return
            if message["op"] == "webhook":
                assert self.webhooks is not None, "it would close the link"
                assert message["stream"] not in self.streams or self.hellos[1:], "the first events came before"
                self.webhooks.append((message["stream"], message["url"]))
                return
            self.appends.append(message)
            if self.fault is not None and self.fault(connection, message):
                return
            self.keep(connection, message)

    def keep(self, connection: ServerConnection, message: Message, *, ack: bool = True) -> None:
        """What a server that works does with an append."""
        stream, first = message["stream"], message["seq"]
        kept = self.streams.setdefault(stream, [])
        if first > len(kept) + 1:
            connection.send(json.dumps({"op": "gap", "stream": stream, "seq": len(kept)}))
            return
        new = message["events"][len(kept) - first + 1 :]
        kept += new
        if ack:
            connection.send(json.dumps({"op": "ack", "stream": stream, "seq": len(kept)}))
        self._changed.notify_all()


@contextmanager
def running() -> Iterator[LinkServer]:
    server = LinkServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
