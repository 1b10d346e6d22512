"""Fan-out of one stream: a frame is encoded once, and sent to all who are up to date.

A `Feed` is a channel's frames in one framing. The readers (reader.py) that are up to date share its cursor, so that
a flush is one blob and one `send` a reader. There is no queue a reader: one that cannot keep up is simply behind, and
catches up by itself from the recent frames here, or from the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from .. import sse
from ..events import type_of

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["LAST_CHUNK", "READERS_A_TURN", "Blob", "Feed", "Follower", "Framing", "as_chunk", "as_is", "as_message"]

READERS_A_TURN = 256
"""How many readers a flush serves before it lets the loop do something else."""

RECENT_BYTES = 4 << 20
"""How much of a stream's latest frames a feed keeps in memory for readers that fall behind."""

REPLAY_BYTES = 256 << 10
"""How much a reader that is behind is given at a time."""


Framing = Callable[[bytes], bytes]
"""How a connection puts bytes on its wire."""


def as_is(data: bytes) -> bytes:
    return data


def as_chunk(data: bytes) -> bytes:
    """HTTP/1.1's chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def as_message(data: bytes) -> bytes:
    """One text message of a WebSocket (RFC 6455, section 5.2), as a server sends it: whole and not masked."""
    size = len(data)
    if size < 126:
        return b"\x81%c%b" % (size, data)
    if size < 1 << 16:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), data)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), data)


LAST_CHUNK = b"0\r\n\r\n"


class Blob:
    """Whole frames for many readers; put into a framing once for all of them."""

    __slots__ = ("_framed", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._framed: dict[Framing, bytes] = {}

    def framed(self, framing: Framing) -> bytes:
        framed = self._framed.get(framing)
        if framed is None:
            framed = self._framed[framing] = framing(self.data)
        return framed


class Follower(Protocol):
    """Who follows a feed: a `Reader`, or a kernel that has asked."""

    def send(self, blob: Blob) -> None:
        """Serve one that is live."""

    def lag(self, feed: Feed) -> int:
        """Bytes published in this feed since the follower last took some."""

    def drop(self) -> None:
        """Let go of one that is too slow."""

    def finish(self, feed: Feed) -> None:
        """The stream is over, and this follower has all of it."""

    def gone(self, feed: Feed) -> None:
        """The stream has been deleted."""


class Feed:
    """A channel's frames in one framing, and those who follow them."""

    def __init__(self, channel: Channel, prefix: str) -> None:
        self.channel = channel
        self.prefix = prefix
        self.base = channel.last  # the frames in memory are those of base+1, base+2, ...
        self.frames: list[bytes] = []
        self.sent = channel.last  # up to here every live reader has been served
        self.total = 0  # bytes ever published
        self.live: set[Follower] = set()
        self.behind: set[Follower] = set()
        self._size = 0
        self._waiting: set[Follower] = set()
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

    def join(self, reader: Follower) -> None:
        self.behind.discard(reader)
        self.live.add(reader)

    def leave(self, reader: Follower) -> int:
        """The reader is no longer served with the others; returns its cursor."""
        self.live.discard(reader)
        if reader in self._waiting:
            self._waiting.discard(reader)
            return self._from
        return self.sent

    def forget(self, reader: Follower) -> None:
        self.leave(reader)
        self.behind.discard(reader)
        if not self.live and not self.behind:
            self.channel.feeds.pop(self.prefix, None)
