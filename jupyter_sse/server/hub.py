"""Live fan-out: what the log has committed goes to everybody who reads along.

A `Channel` is a stream while somebody writes or reads it. It has a `Feed` for each framing in use, which encodes a
frame once for all. A `Reader` (reader.py) has a cursor in each feed it follows; those that are up to date share
the feed's, so that a flush is one blob and one `send` a reader. There is no queue a reader: one that
cannot keep up is simply behind, and catches up by itself from the feed's recent frames or from the log.

Events are published after they are committed: what anybody has seen, the log has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from .. import sse
from ..events import TERMINAL_TYPES, Done, Error, Event, Hello, Reset, Start, Unknown, decode, encode, type_of
from ..log import Entry, Gap, Gone, Log, LogError, Meta
from ..state import Snapshot, fold

if TYPE_CHECKING:
    from .reader import Reader

__all__ = ["HTTP", "Blob", "Channel", "Closed", "Feed", "Full", "Hub", "Limits", "Stats"]

HTTP = "http"
"""The producer of streams whose events come by POST: they have no connection that could be lost."""

READERS_A_TURN = 256
"""How many readers a flush serves before it lets the loop do something else."""

RECENT_BYTES = 4 << 20
"""How much of a stream's latest frames a feed keeps in memory for readers that fall behind."""

REPLAY_BYTES = 256 << 10
"""How much a reader that is behind is given at a time."""

CHECKPOINT_EVENTS = 2000
"""A snapshot is saved at the earliest after so many events, so that joining needs to fold no more of them."""

IDLE_SECONDS = 60.0
"""A channel that nobody writes or reads is dropped from memory after this time."""


class Closed(Exception):
    """The stream takes no more events."""

    def __init__(self, last: int, code: str, message: str) -> None:
        super().__init__(message)
        self.last = last
        self.code = code
        self.message = message


class Full(Closed):
    """The stream has reached its size limit."""


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


class Blob:
    """Bytes for many readers, as they are and as one chunk of HTTP/1.1's chunked coding."""

    __slots__ = ("_chunk", "plain")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self._chunk: bytes | None = None

    @property
    def chunk(self) -> bytes:
        if self._chunk is None:
            self._chunk = b"%x\r\n%b\r\n" % (len(self.plain), self.plain)
        return self._chunk


class Feed:
    """A channel's frames in one framing, and the readers that follow them."""

    def __init__(self, channel: Channel, prefix: str) -> None:
        self.channel = channel
        self.prefix = prefix
        self.base = channel.last  # the frames in memory are those of base+1, base+2, ...
        self.frames: list[bytes] = []
        self.sent = channel.last  # up to here every live reader has been served
        self.total = 0  # bytes ever published
        self.live: set[Reader] = set()
        self.behind: set[Reader] = set()
        self._size = 0
        self._waiting: set[Reader] = set()
        self._from = self.sent
        self._blob = Blob(b"")
        self._flushed_at = 0.0
        self._busy = False  # a flush is due or under way

    def frame(self, seq: int, raw: bytes) -> bytes:
        return sse.encode(raw, event=type_of(raw), id=f"{self.prefix}{seq}")

    def publish(self, first: int, raws: Sequence[bytes]) -> None:
        for seq, raw in enumerate(raws, first):
            frame = self.frame(seq, raw)
            self.frames.append(frame)
            self._size += len(frame)
            self.total += len(frame)
        self._schedule()

    def _schedule(self) -> None:
        if self._busy:
            return
        self._busy = True
        hub = self.channel.hub
        wait = self._flushed_at + hub.window - hub.loop.time()
        if wait > 0:
            hub.loop.call_later(wait, self._flush)
        else:
            self._flush()

    def _flush(self) -> None:
        self._from = self.sent
        self._blob = Blob(b"".join(self.frames[self.sent - self.base :]))
        self.sent = self.base + len(self.frames)
        self._waiting = set(self.live)
        self._trim()
        lag = self.channel.hub.limits.lag_bytes
        for reader in [reader for reader in self.behind if reader.lag(self) > lag]:
            reader.drop()
        self._serve()

    def _serve(self) -> None:
        waiting, blob, stats = self._waiting, self._blob, self.channel.hub.stats
        count = self.sent - self._from
        for _ in range(min(READERS_A_TURN, len(waiting))):
            waiting.pop().send(blob)
            stats.delivered += count
        loop = self.channel.hub.loop
        if waiting:
            loop.call_soon(self._serve)
            return
        self._flushed_at = loop.time()
        self._busy = False
        if self.channel.last > self.sent:
            self._schedule()
        elif self.channel.ended:
            for reader in list(self.live):
                reader.finish(self)

    def _trim(self) -> None:
        # Half at a time, so that a long stream is not shifted for every frame.
        if self._size > RECENT_BYTES:
            keep = RECENT_BYTES // 2
            cut = len(self.frames)
            size = 0
            while cut and size < keep:
                cut -= 1
                size += len(self.frames[cut])
            cut = min(cut, self.sent - self.base)
            del self.frames[:cut]
            self.base += cut
            self._size = sum(map(len, self.frames))

    async def after(self, cursor: int) -> tuple[bytes, int]:
        """Frames after the cursor, some `REPLAY_BYTES` of them and none that is not yet flushed; the new cursor."""
        if cursor >= self.base:
            start = stop = cursor - self.base
            size = 0
            limit = self.sent - self.base
            while stop < limit and size < REPLAY_BYTES:
                size += len(self.frames[stop])
                stop += 1
            return b"".join(self.frames[start:stop]), self.base + stop
        rows = await self.channel.hub.log.read(self.channel.id, cursor, max_bytes=REPLAY_BYTES)
        rows = [row for row in rows if row[0] <= self.sent]
        if not rows:
            return b"", self.sent
        return b"".join([self.frame(seq, raw) for seq, raw in rows]), rows[-1][0]

    def join(self, reader: Reader) -> None:
        self.behind.discard(reader)
        self.live.add(reader)

    def leave(self, reader: Reader) -> int:
        """The reader is no longer served with the others; returns its cursor."""
        self.live.discard(reader)
        if reader in self._waiting:
            self._waiting.discard(reader)
            return self._from
        return self.sent

    def forget(self, reader: Reader) -> None:
        self.leave(reader)
        self.behind.discard(reader)
        if not self.live and not self.behind:
            self.channel.feeds.pop(self.prefix, None)


class Channel:
    """A stream while somebody writes or reads it."""

    def __init__(self, hub: Hub, stream: str) -> None:
        self.hub = hub
        self.id = stream
        self.exists = False
        self.deleted = False
        self.ended = False
        self.first = 1
        self.last = 0  # committed and published
        self.accepted = 0  # handed to the log
        self.accepted_end = False
        self.bytes = 0
        self.kind: str | None = None
        self.created = time.time()
        self.feeds: dict[str, Feed] = {}
        self.owner: str | None = None  # who numbers the events: a link's producer id, or HTTP
        self.kernel: str | None = None  # the kernel that the owner runs in
        self.cancels = 0
        self.on_cancel: Callable[[], None] | None = None
        self.on_closed: Callable[[Closed], None] | None = None
        self.epoch = 0  # goes up when an append fails, which undoes those under way behind it
        self.touched = time.monotonic()
        self._snapshot = Snapshot(stream=stream)
        self._unfolded: list[tuple[int, Event | Unknown]] = []
        self._checkpoint = 0
        self._folded_bytes = 0
        self._restoring = asyncio.Lock()
        self._tracked = False  # events are folded as they come

    def load(self, entry: Entry) -> None:
        self.exists = True
        self.deleted = entry.deleted
        self.ended = self.accepted_end = entry.deleted or entry.status != "running"
        self.first = entry.first
        self.last = self.accepted = entry.seq
        self.bytes = entry.bytes
        self.kind = entry.kind
        self.owner = entry.producer
        self.created = entry.created

    @property
    def idle(self) -> bool:
        return not self.feeds and self.accepted == self.last and self.on_closed is None

    def feed(self, prefix: str) -> Feed:
        feed = self.feeds.get(prefix)
        if feed is None:
            feed = self.feeds[prefix] = Feed(self, prefix)
        return feed

    def reset_reason(self, after: int) -> str | None:
        """Why this cursor cannot be served, None if it can."""
        if after < 0:
            return "snapshot"
        if after > self.last:
            return "ahead"
        if after < self.first - 1:
            return "trimmed"
        return None

    async def snapshot(self) -> Snapshot:
        """The stream's state after its last committed event."""
        async with self._restoring:
            if not self._tracked:
                self._tracked = True
                await self._restore()
        return self._fold()

    async def _restore(self) -> None:
        saved = await self.hub.log.snapshot(self.id)
        if saved is not None:
            self._snapshot = msgspec.json.decode(saved, type=Snapshot)
            self._checkpoint = self._snapshot.seq
        while True:
            rows = await self.hub.log.read(self.id, self._snapshot.seq)
            if not rows:
                break
            self._snapshot = fold(self._snapshot, [(seq, decode(raw)) for seq, raw in rows])

    def _fold(self) -> Snapshot:
        if self._unfolded:
            self._snapshot = fold(self._snapshot, self._unfolded)
            self._unfolded = []
        return self._snapshot

    def committed(self, first: int, raws: Sequence[bytes], events: Sequence[Event | Unknown]) -> None:
        """Publish what the log has taken."""
        self.last = first + len(raws) - 1
        self.touched = time.monotonic()
        size = sum(map(len, raws))
        self.bytes += size
        stats = self.hub.stats
        stats.appended += len(raws)
        stats.appended_bytes += size
        for feed in list(self.feeds.values()):
            feed.publish(first, raws)
        # A stream found in the log is folded when somebody asks for its state; from then on, as it goes.
        self._tracked = self._tracked or first == 1
        if self._tracked:
            self._unfolded += enumerate(events, first)
            self._folded_bytes += size
        if self._tracked and not self._restoring.locked() and (len(self._unfolded) >= 512 or self.ended):
            self._checkpoint_if_grown()

    def _checkpoint_if_grown(self) -> None:
        snapshot = self._fold()
        # Not before as many bytes have come as the snapshot has, so that a growing text costs no more than twice.
        grown = snapshot.seq - self._checkpoint >= CHECKPOINT_EVENTS and self._folded_bytes >= len(snapshot.text)
        if grown or (self.ended and snapshot.seq > 200):
            self._checkpoint = snapshot.seq
            self._folded_bytes = 0
            self.hub.spawn(self.hub.log.save_snapshot(self.id, msgspec.json.encode(snapshot)))


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
        on_error: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.log = log
        self.limits = limits or Limits()
        self.heartbeat = heartbeat
        self.retry = retry
        self.window = window
        self.stats = Stats()
        self.readers: set[Reader] = set()
        self.channels: dict[str, Channel] = {}
        self.loop = asyncio.get_running_loop()
        self._on_error = on_error
        self._loading: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Future[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = self.loop.call_later(self.heartbeat, self._beat)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for reader in list(self.readers):
            reader.close()
        pending = [task for task in self._tasks if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=5)
        await self.log.close()

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine beside; a failure is reported, not lost."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._spawned)

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
        size = sum(map(len, raws))
        if end is None and channel.bytes + size > self.limits.stream_bytes:
            raise Full(
                channel.accepted,
                "stream_full",
                f"the stream has reached its limit of {self.limits.stream_bytes} bytes (SSE.max_stream_bytes)",
            )
        epoch = channel.epoch
        channel.accepted = first + len(raws) - 1
        channel.accepted_end = end is not None
        try:
            await self.log.append(channel.id, first, raws, self._meta(channel, first, events))
        except (LogError, Gap, Gone) as error:
            if epoch == channel.epoch:
                channel.epoch += 1
                channel.accepted = channel.last
                channel.accepted_end = channel.ended
            self.stats.errors["log"] = self.stats.errors.get("log", 0) + 1
            if isinstance(error, Gone):
                raise Closed(channel.last, "deleted", "this stream has been deleted") from None
            raise
        channel.exists = True
        channel.ended = end is not None
        if channel.ended:
            self.stats.ended += 1
            self.stats.seconds += time.time() - channel.created
        channel.committed(first, raws, events)
        return channel.last

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
        return Meta(
            status=snapshot.status,
            kind=snapshot.kind,
            title=snapshot.title,
            path=snapshot.origin.path if snapshot.origin else None,
            producer=channel.owner if first == 1 else None,
        )

    async def end(self, channel: Channel, event: Event) -> None:
        """End a stream in its producer's place: it is lost, or the stream is full."""
        if not channel.accepted_end and not channel.deleted:
            await self.append(channel, None, [encode(event)], [event])

    async def delete(self, channel: Channel) -> None:
        await self.log.delete(channel.id)
        channel.deleted = channel.ended = channel.accepted_end = True
        if channel.on_closed is not None:
            channel.on_closed(Closed(channel.last, "deleted", "this stream has been deleted"))
        for feed in list(channel.feeds.values()):
            for reader in feed.live | feed.behind:
                reader.gone(feed)
        self.channels.pop(channel.id, None)

    async def expire(self, *, max_age: float, max_streams: int, max_bytes: int) -> None:
        for stream in await self.log.expire(max_age=max_age, max_streams=max_streams, max_bytes=max_bytes):
            channel = self.channels.pop(stream, None)
            if channel is not None:
                channel.deleted = True

    # frames that connections make

    def hello(self, stream: str | None, *, model: str | None = None, connection: str | None = None) -> bytes:
        event = Hello(ts=time.time(), stream=stream, model=model, connection=connection)
        return sse.encode(encode(event), event="hello", retry=self.retry)

    async def reset(self, channel: Channel, prefix: str, reason: str) -> tuple[bytes, int]:
        """A frame with the snapshot, and the seq it stands for."""
        snapshot = await channel.snapshot()
        event = Reset(reason=reason, snapshot=snapshot, seq=snapshot.seq)
        return sse.encode(encode(event), event="reset", id=f"{prefix}{snapshot.seq}"), snapshot.seq

    def failure(self, prefix: str, code: str, message: str) -> bytes:
        """An `error` about a stream, with seq 0: it is not in it."""
        return sse.encode(encode(Error(message=message, code=code)), event="error", id=f"{prefix}0")

    def _beat(self) -> None:
        self._timer = self.loop.call_later(self.heartbeat, self._beat)
        now = time.monotonic()
        for stream, channel in list(self.channels.items()):
            if channel.idle and now - channel.touched > IDLE_SECONDS:
                del self.channels[stream]
        ping = sse.encode(b'{"type":"ping","ts":%.3f}' % time.time(), event="ping")
        self._ping(Blob(ping), list(self.readers))

    def _ping(self, blob: Blob, readers: list[Reader]) -> None:
        for reader in readers[:READERS_A_TURN]:
            reader.ping(blob)
        if len(readers) > READERS_A_TURN:
            self.loop.call_soon(self._ping, blob, readers[READERS_A_TURN:])


_LISTED = frozenset({Start, Done, Error})
