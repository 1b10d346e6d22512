"""The multiplex over a WebSocket: browsers have six connections a host for HTTP, but some two hundred for these.

The server's messages are the very frames of the event stream, so that they are encoded once for both; the client's
are the JSON of `POST events`. tornado makes the handshake, reads and closes; a `Reader` writes past it, as it does
for an event stream, so that limits, heartbeats and what becomes of slow readers are the same.
"""

from __future__ import annotations

from typing import Any

from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.websocket import WebSocketMixin
from tornado.iostream import IOStream
from tornado.websocket import WebSocketHandler

from .auth import RESOURCE, ApiError, ErrorsInJson, ExtensionHandler
from .feed import as_message
from .reader import Reader
from .streams import Multiplexed

__all__ = ["SocketHandler", "handlers"]

MESSAGE_BYTES = 1 << 20
"""A security limit: the size of a client's message, which names some 30 000 streams."""


class SocketHandler(WebSocketMixin, WebSocketHandler, Multiplexed, ErrorsInJson):
    """WebSocket `socket`."""

    _reader: Reader | None = None
    _stream: IOStream
    _hello: bytes

    @ws_authenticated
    @authorized("read", resource=RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        self.check_room()
        self._hello = self.hub.hello(None)  # now: while the server starts, it is a 503
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            # A browser is not told why its handshake failed, and asks again in this way.
            message = "This is a WebSocket, and the request did not ask for one. If it did, a proxy has taken that out."
            raise ApiError(426, "not_a_websocket", message)
        await super().get(*args, **kwargs)

    def get_compression_options(self) -> None:
        """None: a Reader writes messages as they are."""

    def detach(self) -> IOStream:
        self._stream = super().detach()
        return self._stream

    def open(self, *args: Any, **kwargs: Any) -> None:
        super().open(*args, **kwargs)
        self._reader = self.read_along(self._stream, as_message, keep=True)
        self._reader.tell(self._hello)

    async def on_message(self, message: str | bytes) -> None:
        if self._reader is None or self._reader.closed:
            return
        if len(message) > MESSAGE_BYTES:
            self._refuse(1009, f"A message has at most {MESSAGE_BYTES} bytes.")
            return
        try:
            wanted = self.parse_wanted(message)
        except ApiError as error:
            self._refuse(1007, error.message)
            return
        # What fails here is not the client's fault: tornado cuts the connection, and it comes back.
        await self.change(self._reader, wanted)

    def _refuse(self, code: int, reason: str) -> None:
        if self._reader is not None:
            self._reader.leave()  # nothing may follow the close frame
        self.close(code, reason.encode()[:123].decode(errors="ignore"))

    def on_close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        super().on_close()


handlers: list[tuple[str, type[ExtensionHandler]]] = [(r"socket", SocketHandler)]
