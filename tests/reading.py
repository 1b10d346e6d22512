"""What a server streams, as a test reads it: heartbeats, which may come at any time, apart from the rest."""

from __future__ import annotations

import http.client
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from harness import SECONDS, JupyterServer
from websockets.sync.client import ClientConnection

from jupyter_sse.sse import Decoder, Frame


def frames_of(answer: bytes) -> list[Frame]:
    """The frames of a whole answer, without heartbeats."""
    return [frame for frame in Decoder().feed(answer) if frame.event != "ping"]


class Frames(ABC):
    """Frames that are read as they come."""

    def __init__(self) -> None:
        self.decoder = Decoder()
        self.frames: list[Frame] = []
        self.pings: list[Frame] = []
        self.ended = False

    @abstractmethod
    def receive(self) -> bytes:
        """What comes next; nothing at the end."""

    def read(self, count: int | None = None, *, pings: int = 0) -> list[Frame]:
        """Until there are so many frames, and so many heartbeats; to the end, without a number."""
        self._until(lambda: count is not None and len(self.frames) >= count and len(self.pings) >= pings)
        return self.frames

    def find(self, *, id: str = "", text: str = "") -> Frame:
        """The first frame with this id, or with this text in its data, as soon as it comes."""
        found: list[Frame] = []

        def is_there() -> bool:
            found[:] = [frame for frame in self.frames if (not id or frame.id == id) and text in frame.data]
            return bool(found)

        self._until(is_there)
        assert found, f"the end came without {id or text}"
        return found[0]

    def _until(self, enough: Callable[[], bool]) -> None:
        patience = time.monotonic() + SECONDS
        while not enough() and not self.ended:
            assert time.monotonic() < patience, f"for {SECONDS:.0f} s there was nothing but {self.frames}"
            data = self.receive()
            self.ended = not data
            for frame in self.decoder.feed(data):
                (self.pings if frame.event == "ping" else self.frames).append(frame)


class Reading(Frames):
    """An open event stream."""

    opened: ClassVar[list[Reading]] = []

    def __init__(
        self,
        server: JupyterServer,
        path: str,
        *,
        body: str | None = None,
        port: int | None = None,
        timeout: float = SECONDS,
        **headers: str,
    ) -> None:
        super().__init__()
        self.connection = http.client.HTTPConnection("127.0.0.1", port or server.port, timeout=timeout)
        self.connection.request(
            "GET" if body is None else "POST",
            server.base_url + "jupyter-sse/" + path,
            body,
            server.headers | {key.replace("_", "-"): value for key, value in headers.items()},
        )
        try:
            self.answer = self.connection.getresponse()
        except BaseException:
            self.connection.close()
            raise
        self.opened.append(self)

    def receive(self) -> bytes:
        return self.answer.read1(65536)

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


class Socket(Frames):
    """An open WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__()
        self.connection = connection

    def say(self, **message: Any) -> None:
        self.connection.send(json.dumps(message))

    def receive(self) -> bytes:
        message = self.connection.recv(SECONDS)
        assert isinstance(message, str)
        assert message.endswith("\n\n"), "each message has whole frames"
        return message.encode()
