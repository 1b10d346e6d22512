"""Calls of endpoints in kernels, over the kernel link.

A call has so many bytes of credit, and gets more when its reader has taken some. So a reader that stops costs the
server no more than that, and what it does not take is not made.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from ..endpoints import Request, frame, unpack
from ..events import Error
from .auth import ApiError

if TYPE_CHECKING:
    from .kernels import KernelHandler

__all__ = ["CREDIT", "Calls", "Opened", "Pipe", "Refused", "RouteEntry", "Routed"]

CREDIT = 256 << 10
"""Bytes of a call that may be under way between the generator and its reader."""

OPEN_SECONDS = 10.0
"""How long a kernel may take to say whether it takes a call. Its link's thread answers, not the one with the cells."""


class RouteEntry(Struct):
    path: str
    methods: list[str]
    declared: float


class Routed(Struct, tag_field="op", tag="routes"):
    routes: list[RouteEntry]
    notebook: str | None = None


class Opened(Struct, tag_field="op", tag="opened"):
    """With a stream, that is to be followed instead: from its beginning if it is `new`, else from its state."""

    call: int = 0
    stream: str | None = None
    new: bool = False


class Refused(Struct, tag_field="op", tag="refused"):
    call: int
    status: int
    code: str
    message: str
    retry_after: int | None = None


class Pipe(Protocol):
    """The frames of one call."""

    async def read(self) -> bytes | None:
        """The next whole frames, when those before them have been taken; None at the end."""

    def close(self) -> None:
        """The reader is gone."""


class Calls:
    """All calls over one link."""

    _numbers = count(1)

    def __init__(self, link: KernelHandler) -> None:
        self.link = link
        self._open: dict[int, _LinkPipe] = {}

    async def begin(self, shape: str, request: Request, gone: str | None) -> Pipe | Opened:
        """The call's frames, or the stream that it shares with others.

        Raises
        ------
        ApiError
            The kernel does not take it, or says nothing.
        """
        number = next(self._numbers)
        pipe = self._open[number] = _LinkPipe(self, number)
        try:
            self.link.tell(op="call", call=number, route=shape, request=request, credit=CREDIT, gone=gone)
            opened = await asyncio.wait_for(pipe.opened, OPEN_SECONDS)
        except asyncio.TimeoutError:
            pipe.close()
            message = f"The kernel has not answered for {OPEN_SECONDS:g} s: code in it may keep all threads waiting."
            raise ApiError(504, "kernel_silent", message, retry_after=5) from None
        except BaseException:
            pipe.close()
            raise
        if opened.stream is None:
            return pipe
        self._open.pop(number, None)
        return opened

    def opened(self, said: Opened) -> None:
        pipe = self._open.get(said.call)
        if pipe is not None and not pipe.opened.done():
            pipe.opened.set_result(said)

    def refused(self, said: Refused) -> None:
        pipe = self._open.pop(said.call, None)
        if pipe is not None and not pipe.opened.done():
            status = said.status if 400 <= said.status < 600 else 500
            pipe.opened.set_exception(ApiError(status, said.code, said.message, retry_after=said.retry_after))

    def frames(self, message: bytes) -> None:
        """Frames of one call.

        Raises
        ------
        ValueError
        """
        number, data, last = unpack(message)
        pipe = self._open.pop(number, None) if last else self._open.get(number)
        if pipe is not None:
            pipe.feed(data, last)

    def forget(self, number: int) -> None:
        if self._open.pop(number, None) is not None:
            self.link.tell(op="close", call=number)

    def cut(self) -> None:
        """The link is closed: whoever reads may ask again, of the kernel that comes back."""
        error = Error(message="The kernel's connection to the server was lost.", code="producer_lost", retryable=True)
        while self._open:
            _, pipe = self._open.popitem()
            if not pipe.opened.done():
                pipe.opened.set_exception(ApiError(503, "producer_lost", error.message, retry_after=1))
            pipe.feed(frame(error, again=True), True)


class _LinkPipe:
    """A `Pipe` out of a kernel."""

    def __init__(self, calls: Calls, number: int) -> None:
        self.opened: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self.opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
        self._calls = calls
        self._number = number
        self._frames: deque[bytes] = deque()
        self._waiting = 0
        self._given = 0
        self._last = False
        self._news = asyncio.Event()

    def feed(self, data: bytes, last: bool) -> None:
        if data:
            self._frames.append(data)
        self._waiting += len(data)
        self._last = self._last or last
        self._news.set()
        if self._waiting > CREDIT + 2 * self._calls.link.hub.limits.event_bytes:
            self._calls.link.close(1009, "more of a call than its reader had room for")

    async def read(self) -> bytes | None:
        if self._given and not self._last:
            self._calls.link.tell(op="credit", call=self._number, bytes=self._given)
        self._given = 0
        while not self._frames:
            if self._last:
                return None
            self._news.clear()
            await self._news.wait()
        data = b"".join(self._frames)
        self._frames.clear()
        self._waiting = 0
        self._given = len(data)
        return data

    def close(self) -> None:
        if not self._last:
            self._calls.forget(self._number)
