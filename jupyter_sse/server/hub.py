"""All channels of a server: the way into the log, and from there to everybody who reads along.

Events are published after they are committed: what anybody has seen, the log has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import sse
from ..events import (
    TERMINAL_TYPES,
    Done,
    Error,
    Event,
    Hello,
    Origin,
    Ping,
    Reset,
    Start,
    Unknown,
    decode,
    encode,
    type_of,
)
from ..log import Gap, Gone, Log, LogError, Meta
from ..state import Snapshot, fold
from .channel import Channel, Closed, Full
from .feed import READERS_A_TURN, Blob
from .listing import Listing

if TYPE_CHECKING:
    from .reader import Reader

__all__ = ["Hub", "Limits", "Stats"]

FOLLOW_SECONDS = 1.0
"""How often the log is asked for events of streams that are read here and written elsewhere."""

STALL_SECONDS = 120.0
"""Without an event for so long, a stream that does not say otherwise has stalled."""
IDLE_SECONDS = 60.0
"""A channel that nobody writes or reads is dropped from memory after this time."""

_LISTED = frozenset({Start, Done, Error})
"""Events that change what a list of streams shows."""


@dataclass
class Limits:
    """Bounds that protect the server; each is a trait of the extension."""

    event_bytes: int = 1 << 20
    stream_bytes: int = 64 << 20
    lag_bytes: int = 8 << 20
    stall_seconds: float = 60.0


@dataclass
class Stats:
    """Counters that only the loop's thread touches; metrics.py shows them."""

    appended: int = 0
    appended_bytes: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    connections: int = 0
    reconnects: int = 0
    dropped: int = 0
    heartbeat_failures: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    ended: int = 0
    calls: int = 0


class Hub:
    """All channels, the one heartbeat, and the way into the log."""

    def __init__(
        self,
        log: Log,
        *,
        limits: Limits | None = None,
        heartbeat: float = 20.0,
        retry: int = 1000,
        window: float = 0.005,
        stall_look: float = 5.0,
        base_url: str = "/",
        on_error: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.log = log
        self.limits = limits or Limits()
        self.heartbeat = heartbeat
        self.retry = retry
        self.window = window
        self.stall_look = stall_look
        self.stats = Stats()
        self.listing = Listing(self, base_url)
        self.notice: str | None = None  # what all who watch should know
        self.readers: set[Reader] = set()
        self.unread: set[str] = set()  # streams that wait for their first reader
        self.channels: dict[str, Channel] = {}
        self.loop = asyncio.get_running_loop()
        self.on_end: Callable[[Channel], None] = lambda channel: None
        self._on_error = on_error
        self._loading: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Future[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = self.loop.call_later(self.heartbeat, self._beat)
        self._following = self.spawn(self._follow())
        self._watching = self.spawn(self._watch())

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._following.cancel()
            self._watching.cancel()
        for reader in list(self.readers):
            reader.stop()
        pending = [task for task in self._tasks if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=5)
        await self.log.close()

    def spawn(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Run a coroutine beside; a failure is reported, not lost."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._spawned)
        return task

    def _spawned(self, task: asyncio.Future[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._on_error(str(task.exception()))

    # channels

    async def channel(self, stream: str) -> Channel:
        """The stream's channel; `exists` is False for one that nobody has written yet."""
        channel = self.channels.get(stream)
        if channel is None:
            channel = self.channels[stream] = Channel(self, stream)
            loading = self._loading[stream] = self.loop.create_future()
            try:
                entry = await self.log.entry(stream)
                if entry is not None:
                    channel.load(entry)
            except BaseException:
                self.channels.pop(stream, None)
                raise
            finally:
                del self._loading[stream]
                loading.set_result(None)
        elif stream in self._loading:
            await self._loading[stream]
        channel.touched = time.monotonic()
        return channel

    async def append(
        self, channel: Channel, first: int | None, raws: Sequence[bytes], events: Sequence[Event | Unknown]
    ) -> int:
        """Commit events numbered from `first` (None: after the last), then publish them; returns the last seq.

        Numbers already taken are passed over. What is given to the log, and in which order, is settled
        before the first `await`, so that callers may have several appends under way.

        Raises
        ------
        Gap
            `first` is not next; nothing was taken.
        Closed
            The stream has ended, is deleted, or (`Full`) would pass its size limit; nothing was taken.
        LogError
            The log could not write; nothing was taken.
        """
        if first is None:
            first = channel.accepted + 1
        if channel.deleted:
            raise Closed(channel.last, "deleted", "this stream has been deleted")
        if first > channel.accepted + 1:
            raise Gap(channel.accepted)
        known = channel.accepted + 1 - first
        if channel.accepted_end and 0 < known <= len(raws) and type_of(raws[known - 1]) not in TERMINAL_TYPES:
            # The end was put there in the producer's absence: what it sends for that place is not known here.
            raise Closed(channel.accepted, "ended", "this stream was ended while its producer was away")
        raws, events, first = raws[known:], events[known:], first + known
        if not raws:
            return await self._settled(channel)
        if channel.accepted_end:
            raise Closed(
                channel.accepted, "ended", "this stream has ended; events after the terminal one are not taken"
            )
        end = next((index for index, raw in enumerate(raws) if type_of(raw) in TERMINAL_TYPES), None)
        if end is not None and end + 1 < len(raws):
            raise Closed(channel.accepted, "ended", "events after the terminal one are not taken")
        self._check_room(channel, sum(map(len, raws[:end])))  # a stream that is full can still end
        epoch = channel.epoch
        channel.accepted = first + len(raws) - 1
        channel.accepted_end = end is not None
        try:
            meta = self._meta(channel, first, events)
            await self.log.append(channel.id, first, raws, meta)
        except (LogError, Gap, Gone) as error:
            if epoch == channel.epoch:
                channel.epoch += 1
                channel.accepted = channel.last
                channel.accepted_end = channel.ended
            self.stats.errors["log"] = self.stats.errors.get("log", 0) + 1
            if isinstance(error, Gone):
                raise Closed(channel.last, "deleted", "this stream has been deleted") from None
            raise
        self.stats.appended += len(raws)
        self.stats.appended_bytes += sum(map(len, raws))
        channel.exists = channel.written_here = True
        channel.ended = end is not None
        if channel.ended:
            self.stats.ended += 1
            self.stats.seconds += time.time() - channel.created
        channel.committed(first, raws, events)
        if meta is not None:
            self.listing.changed(channel.id)
        if channel.ended:
            self.on_end(channel)
        return channel.last

    async def put_media(
        self, channel: Channel, name: str, mime: str, data: bytes, *, key: str | None, keep: int, room: int = 0
    ) -> None:
        """Keep with a stream what is too large for its events.

        Raises
        ------
        Closed
            The stream has ended, is deleted, or (`Full`) would pass its size limit.
        LogError
            The log could not write.
        """
        if channel.deleted or channel.accepted_end:
            code = "deleted" if channel.deleted else "ended"
            raise Closed(channel.last, code, f"this stream {'has been deleted' if channel.deleted else 'has ended'}")
        self._check_room(channel, len(data))
        channel.bytes += len(data)  # now: others may come before it is written
        grown = 0
        try:
            grown = await self.log.put_media(channel.id, name, mime, data, key=key, keep=keep, room=room)
        except Gone:
            raise Closed(channel.last, "deleted", "this stream has been deleted") from None
        finally:
            channel.bytes += grown - len(data)

    def _check_room(self, channel: Channel, size: int) -> None:
        if size and channel.bytes + size > self.limits.stream_bytes:
            raise Full(
                channel.accepted,
                "stream_full",
                f"the stream has reached its limit of {self.limits.stream_bytes} bytes (SSE.max_stream_bytes)",
            )

    async def look(self, channel: Channel) -> None:
        """See what other servers on the same log have made of the stream."""
        if not channel.shared:
            return
        entry = await self.log.entry(channel.id)
        if entry is None:
            return
        if entry.deleted:
            self._forget(channel)
            return
        if not channel.exists:
            channel.exists = True
            channel.owner, channel.kind, channel.created = entry.producer, entry.kind, entry.created
        if entry.seq > channel.last:
            await self._refresh(channel)

    async def _refresh(self, channel: Channel) -> None:
        while channel.accepted == channel.last and not channel.ended:
            last = channel.last
            rows = await self.log.read(channel.id, last)
            if not rows or not channel.accepted == channel.last == last:
                return
            raws = [raw for _, raw in rows]
            channel.accepted = rows[-1][0]
            channel.ended = channel.accepted_end = type_of(raws[-1]) in TERMINAL_TYPES
            events = [decode(raw) for raw in raws]
            channel.committed(rows[0][0], raws, events)
            if any(type(event) in _LISTED for event in events):
                self.listing.changed(channel.id)

    async def _follow(self) -> None:
        """Keep those who read here up to date with what is written through other servers."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            for channel in [channel for channel in self.channels.values() if channel.feeds]:
                with suppress(LogError):
                    await self.look(channel)

    async def _settled(self, channel: Channel) -> int:
        """The last committed seq, once what is under way has been committed."""
        target = channel.accepted
        while channel.last < target <= channel.accepted:
            await asyncio.sleep(0.001)
        return channel.last

    def _meta(self, channel: Channel, first: int, events: Sequence[Event | Unknown]) -> Meta | None:
        snapshot = fold(Snapshot(stream=channel.id, seq=first - 1), [
            (seq, event)
            for seq, event in enumerate(events, first)
            if type(event) in _LISTED
        ])  # fmt: skip
        if first > 1 and snapshot.status == "running" and snapshot.kind is None:
            return None
        channel.kind = snapshot.kind or channel.kind
        origin = snapshot.origin or Origin()
        return Meta(
            status=snapshot.status,
            kind=snapshot.kind,
            title=snapshot.title,
            path=origin.path,
            cell=origin.cell,
            execution=origin.execution,
            kernel=origin.kernel,
            producer=channel.owner if first == 1 else None,
            # A cell that is monitored has run for a while before anything comes.
            created=snapshot.started if first == 1 and snapshot.kind == "cell" else None,
        )

    async def end(self, channel: Channel, event: Event) -> None:
        """End a stream in its producer's place: it is lost, or the stream is full."""
        if not channel.accepted_end and not channel.deleted:
            await self.append(channel, None, [encode(event)], [event])

    async def delete(self, channel: Channel) -> None:
        await self.log.delete(channel.id)
        self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        """Tell all who write or read it that the stream has been deleted."""
        channel.deleted = channel.ended = channel.accepted_end = True
        if channel.on_closed is not None:
            channel.on_closed(Closed(channel.last, "deleted", "this stream has been deleted"))
        for feed in list(channel.feeds.values()):
            for reader in feed.live | feed.behind:
                reader.gone(feed)
        self.channels.pop(channel.id, None)
        self.listing.changed(channel.id)

    async def expire(self, *, max_age: float, max_streams: int, max_bytes: int) -> None:
        for stream in await self.log.expire(max_age=max_age, max_streams=max_streams, max_bytes=max_bytes):
            channel = self.channels.pop(stream, None)
            if channel is not None:
                channel.deleted = True
            self.listing.changed(stream)

    async def _watch(self) -> None:
        """Tell those who watch the list which streams have stalled."""
        while True:
            await asyncio.sleep(self.stall_look)
            if not self.listing.is_watched:
                continue
            now = time.monotonic()
            for channel in list(self.channels.values()):
                if channel.is_running and now - channel.came >= self.stall_look:
                    with suppress(LogError):
                        await channel.look_for_stall(STALL_SECONDS)

    # frames that connections make

    def hello(
        self,
        stream: str | None,
        *,
        model: str | None = None,
        connection: str | None = None,
        retry_after: int | None = None,
    ) -> bytes:
        event = Hello(ts=time.time(), stream=stream, model=model, connection=connection, notice=self.notice)
        retry = self.retry if retry_after is None else 1000 * retry_after
        return sse.encode(encode(event), event="hello", retry=retry)

    async def reset(self, channel: Channel, prefix: str, reason: str) -> tuple[bytes, int]:
        """A frame with the snapshot, and the seq it stands for."""
        snapshot = await channel.snapshot()
        event = Reset(reason=reason, snapshot=snapshot, seq=snapshot.seq, ts=channel.heard)
        return sse.encode(encode(event), event="reset", id=f"{prefix}{snapshot.seq}"), snapshot.seq

    def failure(self, prefix: str, code: str, message: str) -> bytes:
        """An `error` about a stream, with seq 0: it is not in it."""
        return sse.encode(encode(Error(message=message, code=code)), event="error", id=f"{prefix}0")

    def announce(self, notice: str | None) -> None:
        """Tell all who watch, now and later; None: there is nothing to tell any more."""
        self.notice = notice
        self._ping()

    def _beat(self) -> None:
        self._timer = self.loop.call_later(self.heartbeat, self._beat)
        now = time.monotonic()
        for stream, channel in list(self.channels.items()):
            channel.beat()
            if channel.idle and now - channel.touched > IDLE_SECONDS:
                del self.channels[stream]
        self._ping()

    def _ping(self) -> None:
        event = Ping(ts=time.time(), notice=self.notice)
        self._send(Blob(sse.encode(encode(event), event="ping")), list(self.readers))

    def _send(self, ping: Blob, readers: list[Reader]) -> None:
        for reader in readers[:READERS_A_TURN]:
            reader.ping(ping)
        if len(readers) > READERS_A_TURN:
            self.loop.call_soon(self._send, ping, readers[READERS_A_TURN:])
