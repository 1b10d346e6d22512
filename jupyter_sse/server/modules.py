"""Endpoints in Python modules that this server loads: they run in its process, but never on its own loop."""

from __future__ import annotations

import asyncio
import importlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..endpoints import Call, CallError, Outlet, Publisher, Registry, Request
from ..events import Done, Error, Event, Log, Start, Unknown, encode
from ..log import LogError
from .auth import ApiError
from .calls import CREDIT, Opened, Pipe, RouteEntry
from .channel import Closed, Full

if TYPE_CHECKING:
    from logging import Logger

    from .channel import Channel
    from .hub import Hub
    from .kernels import Producers
    from .routes import Routes, Served

__all__ = ["Modules"]

FOR_EVER = float("inf")
"""When a module's routes were declared: no notebook takes their place."""

PENDING_BYTES = 4 << 20
"""Bytes of one shared endpoint's events on their way to the log, beyond which its generator waits."""

RETRY_SECONDS = 1.0
"""When the log cannot write, how long until it is tried again."""


class Modules:
    """The endpoints of this process: their `Host`, and a `Source` of routes."""

    name = "The server itself"

    def __init__(self, hub: Hub, producers: Producers, routes: Routes, registry: Registry, *, most: int) -> None:
        self.served: list[Served] = []
        self.is_connected = True
        self._hub = hub
        self._producers = producers
        self._routes = routes
        self._registry = registry
        self._most = most
        registry.host = self

    def load(self, names: list[str], log: Logger) -> None:
        """Import the modules; one that fails is told, and left out."""
        for name in names:
            before = dict(self._registry.endpoints)
            try:
                importlib.import_module(name)
            except Exception as error:
                log.error(
                    "jupyter_sse: The module %r of SSE.endpoints could not be imported, and its endpoints are not"
                    " served: %s: %s",
                    name,
                    type(error).__name__,
                    error,
                    exc_info=error,
                )
                self._registry.endpoints = before
        self._update()

    def changed(self) -> None:
        self._hub.loop.call_soon_threadsafe(self._update)

    def _update(self) -> None:
        made = list(self._registry.endpoints.values())
        self._routes.update(
            "server", self, [RouteEntry(one.route.path, list(one.methods), declared=FOR_EVER) for one in made]
        )

    def publish(self, title: str) -> Publisher:
        return _Published(self._hub, self._producers, title)

    async def begin(self, shape: str, request: Request, gone: str | None) -> Pipe | Opened:
        pipe = _LocalPipe(self._hub.loop)
        try:
            begun = self._registry.call(
                shape,
                request,
                pipe.ring,
                credit=CREDIT,
                max_event=self._hub.limits.event_bytes,
                max_calls=self._most,
                gone=gone,
            )
        except CallError as error:
            raise ApiError(error.status, error.code, error.message, retry_after=error.retry_after) from None
        if isinstance(begun, Call):
            pipe.call = begun
            return pipe
        return Opened(stream=begun.publisher.id, new=begun.is_new())

    async def returns(self) -> bool:
        return self.is_connected

    async def absence(self, path: str) -> ApiError:
        return ApiError(404, "endpoint_gone", f"{path} is not served any more.")

    def clashes(self, message: str) -> None:
        """It has the route whatever others declare."""

    def stop(self) -> None:
        """The server stops: close the generators."""
        self._registry.exit()
        self._registry.host = None


class _LocalPipe:
    """A `Pipe` out of this process."""

    call: Call

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._news = asyncio.Event()
        self._given = 0
        self._last = False

    def ring(self, outlet: Outlet) -> None:
        self._loop.call_soon_threadsafe(self._news.set)

    async def read(self) -> bytes | None:
        outlet = self.call.outlet
        if self._given:
            outlet.credit(self._given)
        while not self._last:
            self._news.clear()
            data, self._last = outlet.take()
            self._given = len(data)
            if data:
                return data
            if not self._last:
                await self._news.wait()
        return None

    def close(self) -> None:
        self.call.close()


class _Published:
    """A session's stream, of which this server is the producer. Events come from any thread."""

    def __init__(self, hub: Hub, producers: Producers, title: str) -> None:
        self.id = secrets.token_urlsafe(16)
        self.closed = False
        self._hub = hub
        self._producers = producers
        self._events: deque[Event | Unknown] = deque()
        self._pending = 0
        self._ended = False
        self._room = threading.Condition()
        self._news = asyncio.Event()
        self._on_cancel: Callable[[], object] = lambda: None
        self._on_unwatched: Callable[[], object] = lambda: None
        start = Start(title=title, kind="endpoint", cancellable=True, stall=0, ts=time.time())
        self.emit(start)
        hub.loop.call_soon_threadsafe(lambda: hub.spawn(self._run()))

    @property
    def crowded(self) -> bool:
        return self._pending > PENDING_BYTES // 2

    def emit(self, event: Event | Unknown) -> None:
        size = len(encode(event))
        if size > self._hub.limits.event_bytes:
            event = Log(text=f"An event was left out: it has {size} bytes.", level="error", source="jupyter_sse")
        with self._room:
            if not self._is_loops_thread():
                self._room.wait_for(lambda: self._pending <= PENDING_BYTES or self.closed)
            if self._ended:
                return
            self._ended = isinstance(event, (Done, Error))
            self._events.append(event)
            self._pending += size
        self._hub.loop.call_soon_threadsafe(self._news.set)

    def end(self, event: Done | Error) -> None:
        self.emit(event)

    def listen(self, *, on_cancel: Callable[[], object], on_unwatched: Callable[[], object]) -> None:
        self._on_cancel, self._on_unwatched = on_cancel, on_unwatched

    def _is_loops_thread(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._hub.loop
        except RuntimeError:
            return False

    async def _run(self) -> None:
        try:
            await self._write(await self._hub.channel(self.id))
        finally:
            self._close()

    async def _write(self, channel: Channel) -> None:
        hub = self._hub
        channel.owner = self._producers.own
        self._producers.writes(self._producers.own, channel, None)
        channel.on_cancel = self._cancelled
        channel.on_unwatched = self._unwatched
        channel.on_closed = lambda closed: self._close()
        try:
            while not (channel.ended or self.closed):
                self._news.clear()
                with self._room:
                    events = list(self._events)
                    self._events.clear()
                    self._pending = 0
                    self._room.notify_all()
                if not events:
                    await self._news.wait()
                    continue
                await self._append(channel, events)
        except Full as full:
            self._close()
            await hub.end(channel, Error(message=f"Stopped: {full.message}.", code=full.code, ts=time.time()))
        except Closed:
            pass
        finally:
            channel.on_cancel = channel.on_unwatched = channel.on_closed = None
            self._producers.ended(self._producers.own, self.id)

    async def _append(self, channel: Channel, events: list[Event | Unknown]) -> None:
        while True:
            try:
                await asyncio.shield(self._hub.append(channel, None, list(map(encode, events)), events))
                return
            except LogError:
                await asyncio.sleep(RETRY_SECONDS)

    def _cancelled(self) -> None:
        self._on_cancel()

    def _unwatched(self) -> None:
        self._on_unwatched()

    def _close(self) -> None:
        """Nobody is to wait any more."""
        with self._room:
            self.closed = True
            self._room.notify_all()
        self._news.set()
