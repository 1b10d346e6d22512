"""A stream while somebody writes or reads it: its feeds, its state, and who produces it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..events import Event, Unknown, decode
from ..state import Snapshot, fold
from .feed import Feed

if TYPE_CHECKING:
    from ..log import Entry
    from .hub import Hub
    from .lines import Lines

__all__ = ["HTTP", "Channel", "Closed", "Full"]

HTTP = "http"
"""The producer of streams whose events come by POST: they have no connection that could be lost."""

UNWATCHED_BEATS = 3
"""Heartbeats without a reader after which nobody watches: a page that is reloaded does not count as gone. It is said
again after as many, as the link may be cut meanwhile."""

FOLD_EVENTS = 512
"""How many events are held before they are folded though nobody has asked for the state."""

CHECKPOINT_EVENTS = 2000
"""A snapshot is saved at the earliest after so many events, so that joining needs to fold no more of them."""

FEW_EVENTS = 200
"""So few are folded again rather than saved when a stream ends."""


class Closed(Exception):
    """The stream takes no more events."""

    def __init__(self, last: int, code: str, message: str) -> None:
        super().__init__(message)
        self.last = last
        self.code = code
        self.message = message


class Full(Closed):
    """The stream has reached its size limit."""


class Channel:
    """A stream while somebody writes or reads it."""

    def __init__(self, hub: Hub, stream: str) -> None:
        self.hub = hub
        self.id = stream
        self.exists = False
        self.written_here = False
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
        self.watched = False  # a page has shown it, with no help of the kernel
        self.on_watched: Callable[[], None] | None = None
        self.on_unwatched: Callable[[], None] | None = None
        self._unread_beats = 0
        self.webhook: str | None = None  # where its producer wants its end to be told
        self.told = False  # its end, to webhooks
        self.epoch = 0  # goes up when an append fails, which undoes those under way behind it
        self.touched = time.monotonic()
        self.came = self.touched  # the last event; who only looks on touches the stream, but brings no news
        self.stalled: float | None = None  # since when nothing has come, if that is longer than it may be
        self.lines: Lines | None = None  # of its log, once somebody has asked for them
        self._snapshot = Snapshot(stream=stream)
        self._unfolded: list[tuple[int, Event | Unknown]] = []
        self._unfolded_bytes = 0
        self._whole = True  # nothing but the unfolded is missing from the snapshot
        self._restoring = asyncio.Lock()
        self._saved = 0  # the seq of the snapshot in the log, and its size
        self._saved_bytes = 0
        self._new_bytes = 0  # since then

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
        self.came = time.monotonic() - max(0.0, time.time() - entry.updated)
        self._whole = False

    @property
    def is_running(self) -> bool:
        return self.exists and not self.ended and not self.deleted

    @property
    def idle(self) -> bool:
        return not self.is_running and not self.feeds and self.accepted == self.last and self.on_closed is None

    @property
    def shared(self) -> bool:
        """Another server on the same log may write it: it has the producer's link, or whoever POSTs has asked it."""
        return not self.ended and (not self.written_here or self.owner == HTTP)

    def feed(self, prefix: str, kind: type[Feed] = Feed) -> Feed:
        feed = self.feeds.get(prefix)
        if feed is None:
            feed = self.feeds[prefix] = kind(self, prefix)
        return feed

    @property
    def is_read(self) -> bool:
        return any(feed.live or feed.behind for feed in self.feeds.values())

    def watch(self) -> None:
        """A page shows the stream."""
        first, self.watched = not self.watched, True
        if first and self.on_watched is not None:
            self.on_watched()

    def beat(self) -> None:
        """Told with every heartbeat: whether anybody reads."""
        if self.is_read:
            self._unread_beats = 0
            return
        self._unread_beats += 1
        if self._unread_beats % UNWATCHED_BEATS == 0 and self.on_unwatched is not None:
            self.on_unwatched()

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
        if not self._whole:
            await self._restore()
        return self._fold()

    async def _restore(self) -> None:
        """Fold what the log has; what is committed meanwhile comes after it."""
        async with self._restoring:
            if self._whole:
                return
            last, read = self.last, 0
            snapshot = Snapshot(stream=self.id)
            saved = await self.hub.log.snapshot(self.id)
            if saved is not None:
                snapshot = msgspec.json.decode(saved, type=Snapshot)
                self._saved, self._saved_bytes = snapshot.seq, len(saved)
            while snapshot.seq < last:
                rows = await self.hub.log.read(self.id, snapshot.seq)
                if not rows:
                    break
                read += sum(len(raw) for _, raw in rows)
                snapshot = fold(snapshot, [(seq, decode(raw)) for seq, raw in rows])
            self._snapshot, self._whole = snapshot, True
            self._new_bytes += read
        self._save_if_grown()

    @property
    def heard(self) -> float:
        """When the last event came, seconds since 1970."""
        return time.time() - (time.monotonic() - self.came)

    async def look_for_stall(self, limit: float) -> None:
        """See whether nothing has come for too long: for `limit` seconds, if the stream does not say itself."""
        stall = (await self.snapshot()).stall
        limit = limit if stall is None else float(stall)
        if limit and self.stalled is None and not self.ended and time.monotonic() - self.came >= limit:
            self.stalled = self.heard
            self.hub.listing.changed(self.id)

    def _fold(self) -> Snapshot:
        if self._unfolded:
            self._snapshot = fold(self._snapshot, self._unfolded)
            self._unfolded = []
            self._unfolded_bytes = 0
        return self._snapshot

    def committed(self, first: int, raws: Sequence[bytes], events: Sequence[Event | Unknown]) -> None:
        """Publish what the log has."""
        self.last = first + len(raws) - 1
        self.touched = self.came = time.monotonic()
        if self.stalled is not None:
            self.stalled = None
            self.hub.listing.changed(self.id)
        size = sum(map(len, raws))
        self.bytes += size
        for feed in list(self.feeds.values()):
            feed.publish(first, raws)
        self._unfolded += enumerate(events, first)
        self._unfolded_bytes += size
        self._new_bytes += size
        if not self._whole:
            # Not only when somebody asks: with nobody watching, what is to be folded would grow without end.
            if not self._restoring.locked():
                self.hub.spawn(self._restore())
        elif self._is_much() or self.ended:
            self._save_if_grown()

    def _is_much(self) -> bool:
        """Whether to fold what has come. Folding copies the text: not before it has grown by a quarter."""
        return len(self._unfolded) >= FOLD_EVENTS and 4 * self._unfolded_bytes >= len(self._snapshot.text)

    def _save_if_grown(self) -> None:
        snapshot = self._fold()
        new = snapshot.seq - self._saved
        # Not before as many bytes have come as were saved, so that a growing text costs no more than twice.
        if (new >= CHECKPOINT_EVENTS and self._new_bytes >= self._saved_bytes) or (self.ended and new > FEW_EVENTS):
            data = msgspec.json.encode(snapshot)
            self._saved, self._saved_bytes, self._new_bytes = snapshot.seq, len(data), 0
            self.hub.spawn(self.hub.log.save_snapshot(self.id, data))
