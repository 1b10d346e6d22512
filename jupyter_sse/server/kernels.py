"""The server's end of the kernel link: takes events in, sends acks and cancels back.

A message is answered when its events are committed. The next one is read meanwhile, so that commits are
shared by all that wait. A producer whose link is cut has a grace time to come back; after it, or at once when its
kernel is seen to be dead, its running streams end in an error, so that nothing spins for ever.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, Union

import msgspec
from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.websocket import WebSocketMixin
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ..events import CONNECTION_TYPES, Error, Event, EventError, Unknown, canonical, type_of
from ..log import Gap, LogError
from ..webhook import check
from .activity import Activity
from .auth import RESOURCE, ProducerMixin
from .calls import Calls, Opened, Refused, Routed
from .channel import HTTP, Channel, Closed, Full
from .hub import Hub
from .questions import Ask, Asked, Cancel
from .routes import KernelSource
from .streams import is_stream_id

__all__ = ["KernelHandler", "Producers", "handlers"]

RETRY_SECONDS = 1.0
"""When the log cannot write, how long a kernel waits before it sends again."""


class _Hello(msgspec.Struct, tag_field="op", tag="hello"):
    producer: str
    v: int = 1
    kernel: str | None = None


class _Append(msgspec.Struct, tag_field="op", tag="append"):
    stream: str
    seq: int
    events: list[msgspec.Raw]


class _Webhook(msgspec.Struct, tag_field="op", tag="webhook"):
    stream: str
    url: str


CLAIM_SECONDS = 2.0
"""How often a server tells others on the same log that it has the producers of its running streams."""

CLAIMED_SECONDS = 6.0
"""A stream that no server has claimed for so long has none."""

SERVER = "server-"
"""What the producer ids of servers begin with: they write answers, and have no link."""

LOOK_SECONDS = 0.5
"""How often it is asked whether the kernel of a producer that is away still lives."""

_decoder = msgspec.json.Decoder(Union[_Hello, _Append, _Webhook, Ask, Cancel, Routed, Opened, Refused])


class Producers:
    """Who writes which stream, and what becomes of it when the writer is gone."""

    def __init__(self, hub: Hub, kernel_manager: Any, activity: Activity, *, grace: float) -> None:
        self.hub = hub
        self.activity = activity
        self.grace = grace
        self.own = f"{SERVER}{secrets.token_urlsafe(12)}"
        self.links: dict[str, KernelHandler] = {}
        self._kernels = kernel_manager
        self._running: dict[str, set[str]] = {}  # producer -> its streams that have not ended
        self._process: dict[str, tuple[str, object]] = {}  # producer -> its kernel, and that kernel's process
        self._lost: dict[str, asyncio.Task[object]] = {}

    async def start(self) -> None:
        """Streams that were running when the server stopped wait for their producers."""
        for entry in await self.hub.log.entries(status="running"):
            if entry.producer is not None and entry.producer != HTTP:
                self._running.setdefault(entry.producer, set()).add(entry.id)
        for producer in list(self._running):
            self._await_return(producer)
        self._claiming = self.hub.spawn(self._claim())

    async def _claim(self) -> None:
        while True:
            await asyncio.sleep(CLAIM_SECONDS)
            mine = [stream for producer in (self.own, *self.links) for stream in self._running.get(producer, ())]
            if mine:
                self.activity.mark(self._process[link][0] for link in self.links if self._is_at_work(link))
                with suppress(LogError):
                    await self.hub.log.touch(mine)

    def _is_at_work(self, producer: str) -> bool:
        """An endpoint that waits for what may come is no work."""
        streams = self._running.get(producer, ()) if producer in self._process else ()
        channels = [self.hub.channels.get(stream) for stream in streams]
        return any(channel is None or channel.kind != "endpoint" for channel in channels)

    def stop(self) -> None:
        self._claiming.cancel()
        for task in self._lost.values():
            task.cancel()
        for link in list(self.links.values()):
            link.close(1001, "the server stops")

    def written_back(self) -> None:
        """What was in memory only is on disk now."""
        for link in self.links.values():
            link.written_back()

    def opened(self, link: KernelHandler, producer: str, kernel: str | None) -> None:
        old = self.links.get(producer)
        if old is not None and old is not link:
            old.close(1000, "this producer has opened another link")
        self.links[producer] = link
        if (identity := self.identity(kernel)) is not None:
            self._process[producer] = identity
        task = self._lost.pop(producer, None)
        if task is not None:
            task.cancel()

    def closed(self, link: KernelHandler, producer: str) -> None:
        if self.links.get(producer) is link:
            del self.links[producer]
            if self._running.get(producer):
                self._await_return(producer)
            else:
                self._forget(producer)

    def writes(self, producer: str, channel: Channel, kernel: str | None) -> None:
        """This producer numbers the stream."""
        channel.owner = producer
        channel.kernel = kernel
        self._running.setdefault(producer, set()).add(channel.id)

    def ended(self, producer: str, stream: str) -> None:
        self._running.get(producer, set()).discard(stream)

    def _forget(self, producer: str) -> set[str]:
        self._process.pop(producer, None)
        return self._running.pop(producer, set())

    def _await_return(self, producer: str) -> None:
        self._lost[producer] = self.hub.spawn(self._give_up(producer))

    async def _give_up(self, producer: str) -> None:
        code = "producer_lost"
        message = f"The producer's connection was lost, and it did not return within {self.grace:g} s."
        deadline = time.monotonic() + self.grace
        if producer.startswith(SERVER):
            message = "The server that wrote this was stopped."
            deadline = 0.0
        while (left := deadline - time.monotonic()) > 0:
            if not await self._alive(producer):
                code, message = "kernel_died", "The kernel died, or was restarted."
                break
            await asyncio.sleep(min(LOOK_SECONDS, left))
        for stream in list(self._running.get(producer, ())):
            await _persist(self._wait_for_other_servers, stream)
        self._lost.pop(producer, None)
        error = Error(message=message, code=code, ts=time.time())
        for stream in self._forget(producer):
            await _persist(self._end, stream, error)

    async def _end(self, stream: str, error: Error) -> None:
        channel = await self.hub.channel(stream)
        await self.hub.look(channel)
        await self.hub.end(channel, error)
        channel.on_cancel = channel.on_closed = None

    async def _wait_for_other_servers(self, stream: str) -> None:
        """Until no other server on the same log has the stream's producer."""
        channel = await self.hub.channel(stream)
        while not channel.written_here:
            entry = await self.hub.log.entry(channel.id)
            if entry is None or entry.status != "running":
                return
            left = entry.updated + CLAIMED_SECONDS - time.time()
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def _alive(self, producer: str) -> bool:
        """False once it is sure that the producer's kernel has ended; another process in its place is not it."""
        return await self.state(self._process.get(producer)) == "running"

    def identity(self, kernel: str | None) -> tuple[str, object] | None:
        """A kernel and its process, if it is one of this server's."""
        return (kernel, self._process_of(kernel)) if kernel is not None and kernel in self._kernels else None

    async def state(self, identity: tuple[str, object] | None) -> Literal["running", "restarted", "ended"]:
        """What has become of it; of one that is not this server's nothing is known but that it runs."""
        if identity is None:
            return "running"
        kernel, process = identity
        if kernel not in self._kernels:
            return "ended"
        if self._process_of(kernel) != process:
            return "restarted"
        alive = self._kernels.is_alive(kernel)
        return "running" if (await alive if isinstance(alive, Awaitable) else alive) else "restarted"

    def _process_of(self, kernel: str) -> object:
        return getattr(getattr(self._kernels.get_kernel(kernel), "provisioner", None), "pid", None)


async def _persist(action: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Do this, as often as the log fails at it: a stream that nobody ended would run for ever."""
    while True:
        try:
            return await action(*arguments)
        except LogError:
            await asyncio.sleep(RETRY_SECONDS)


class KernelHandler(WebSocketMixin, WebSocketHandler, ProducerMixin):
    """WebSocket `kernel`; its messages are described in docs/protocol.md."""

    producer_method = "GET"  # which opens a WebSocket
    _producer: str | None = None
    _kernel: str | None = None

    @ws_authenticated
    @authorized("write", resource=RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        await super().get(*args, **kwargs)

    def open(self, *args: Any, **kwargs: Any) -> None:
        super().open(*args, **kwargs)
        self.set_nodelay(True)
        self._channels: dict[str, Channel] = {}
        self._asked: dict[str, Asked] = {}
        self.calls = Calls(self)

    async def on_message(self, message: str | bytes) -> None:
        try:
            if isinstance(message, bytes) and self._producer is not None:
                self.calls.frames(message)
                return
            given = _decoder.decode(message)
        except (ValueError, RecursionError) as error:
            self.close(1007, f"not a message of the kernel link: {error}"[:120])
            return
        if isinstance(given, _Hello):
            self._producer, self._kernel = given.producer, given.kernel
            self.sse.producers.opened(self, given.producer, given.kernel)
            limits = self.hub.limits
            self.tell(
                op="welcome",
                max_event=limits.event_bytes,
                max_stream=limits.stream_bytes,
                chat=True,
                webhooks=True,
                endpoints=True,
                max_calls=self.sse.max_calls,
            )
        elif self._producer is None:
            self.close(1002, "the first message must be hello")
        elif isinstance(given, Routed):
            self._route(given, self._producer)
        elif isinstance(given, Opened):
            self.calls.opened(given)
        elif isinstance(given, Refused):
            self.calls.refused(given)
        elif not is_stream_id(given.stream):
            self.close(1007, "not a stream's id")
        elif isinstance(given, Ask):
            self._ask(given)
        elif isinstance(given, Cancel):
            if given.stream in self._asked:
                self._asked[given.stream].cancel()
        elif isinstance(given, _Webhook):
            await self._tell_end(given)
        elif given.seq < 1:
            self.close(1007, "a seq below 1")
        else:
            await self._append(given)

    def _route(self, given: Routed, producer: str) -> None:
        routes = self.sse.routes
        source = routes.sources.get(producer)
        if not isinstance(source, KernelSource):
            source = KernelSource(self.sse.producers, self, self._kernel)
        source.opened(self, given.notebook)
        try:
            routes.update(producer, source, given.routes)
        except ValueError as error:
            self.close(1007, f"not a route: {error}"[:120])

    def _ask(self, given: Ask) -> None:
        old = self._asked.get(given.stream)
        if old is not None:
            old.stop()
        self._asked[given.stream] = asked = Asked(self, given, self.user)
        asked.task.add_done_callback(lambda task: self._answered(given.stream, asked))

    def _answered(self, stream: str, asked: Asked) -> None:
        if self._asked.get(stream) is asked:
            del self._asked[stream]

    async def _tell_end(self, given: _Webhook) -> None:
        try:
            check(given.url)
            entry = await self.hub.log.entry(given.stream)
        except ValueError as error:
            self.log.error("jupyter_sse: No webhook for stream %s: %s.", given.stream, error)
            return
        # Of one's own streams alone: what a kernel may not read, it may not have sent to it.
        if entry is None or (entry.producer == self._producer and not entry.deleted):
            self.sse.webhooks.want(await self.hub.channel(given.stream), given.url)

    async def _append(self, given: _Append) -> None:
        channel = self._channels.get(given.stream) or await self._adopt(given.stream)
        raws: list[bytes] = []
        events: list[Event | Unknown] = []
        refused: str | None = None
        code = "bad_event"
        for raw in map(bytes, given.events):
            try:
                if len(raw) > self.hub.limits.event_bytes:
                    code = "event_too_large"
                    raise EventError(f"an event has at most {self.hub.limits.event_bytes} bytes (SSE.max_event_bytes)")
                raw, event = canonical(raw)
                if type_of(raw) in CONNECTION_TYPES:
                    raise EventError(f"{type_of(raw)} is made by connections, not appended")
                events.append(event)
                raws.append(raw)
            except EventError as error:
                refused = str(error)
                break
        if raws:
            self.hub.spawn(self._commit(channel, given.seq, raws, events))
        if refused is not None:
            seq = given.seq + len(raws)
            self.tell(op="refused", stream=given.stream, seq=seq, code=code, message=refused)

    async def _adopt(self, stream: str) -> Channel:
        channel = await self.hub.channel(stream)
        assert self._producer is not None
        self._channels[stream] = channel
        if not channel.ended:
            self.sse.producers.writes(self._producer, channel, self._kernel)
            channel.on_cancel = lambda: self.tell(op="cancel", stream=stream)
            channel.on_closed = lambda closed: self._closed(channel, closed)
            channel.on_watched = lambda: self.tell(op="watched", stream=stream)
            channel.on_unwatched = lambda: self.tell(op="unwatched", stream=stream)
            if channel.cancels:
                channel.on_cancel()
            if channel.watched:
                channel.on_watched()
        return channel

    async def _commit(self, channel: Channel, first: int, raws: list[bytes], events: list[Event | Unknown]) -> None:
        try:
            last = await self.hub.append(channel, first, raws, events)
        except Gap as gap:
            self.tell(op="gap", stream=channel.id, seq=gap.last)
        except Full as full:
            await self.hub.end(channel, Error(message=f"Stopped: {full.message}.", code=full.code, ts=time.time()))
            self._closed(channel, full)
        except Closed as closed:
            self._closed(channel, closed)
        except LogError:
            # Not lost: the kernel still has the events, and is asked for them again.
            await asyncio.sleep(RETRY_SECONDS)
            self.tell(op="gap", stream=channel.id, seq=channel.last)
        else:
            on_disk = self.hub.log.problem is None
            self.tell(op="ack" if on_disk else "taken", stream=channel.id, seq=last)
            if channel.ended:
                self._release(channel)
                if not on_disk:
                    self._channels[channel.id] = channel

    def written_back(self) -> None:
        """What was in memory only is on disk now."""
        for channel in list(self._channels.values()):
            self.tell(op="ack", stream=channel.id, seq=channel.last)
            if channel.ended:
                self._release(channel)

    def _closed(self, channel: Channel, closed: Closed) -> None:
        self.tell(op="closed", stream=channel.id, seq=channel.last, code=closed.code, message=closed.message)
        self._release(channel)

    def _release(self, channel: Channel) -> None:
        self._channels.pop(channel.id, None)
        channel.on_cancel = channel.on_closed = channel.on_watched = channel.on_unwatched = None
        if self._producer is not None:
            self.sse.producers.ended(self._producer, channel.id)

    def tell(self, **message: Any) -> None:
        with suppress(WebSocketClosedError):  # whatever was to be said is said again after the reconnect
            sent = self.write_message(msgspec.json.encode(message).decode())
            sent.add_done_callback(lambda future: future.exception())

    def on_close(self) -> None:
        for asked in list(self._asked.values()):
            asked.stop()
        source = self.sse.routes.sources.get(self._producer or "")
        if isinstance(source, KernelSource):
            source.cut(self)
        self.calls.cut()
        for channel in self._channels.values():
            if channel.owner == self._producer:
                channel.on_cancel = channel.on_watched = channel.on_unwatched = None
        if self._producer is not None:
            self.sse.producers.closed(self, self._producer)
        super().on_close()


handlers: list[tuple[str, type[ProducerMixin]]] = [(r"kernel", KernelHandler)]
