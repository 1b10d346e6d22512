"""The append-only log: the protocol that `memory` and `sqlite` implement, and what passes through it.

The log keeps bytes and numbers. It knows nothing of events beyond the `Meta` that the server hands it, so that
listing streams parses nothing. An append returns when it is committed: what a reader has seen can be read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct

__all__ = ["FRAMES", "TOMBSTONE_SECONDS", "Entry", "Gap", "Gone", "Log", "LogError", "Media", "Meta", "overdue"]

TOMBSTONE_SECONDS = 30 * 86400.0
"""How long a deleted stream is remembered as deleted; after that it has never existed."""

FRAMES = 64
"""How many of the media with the same key are kept at most, beyond those that always are."""


class LogError(Exception):
    """The log cannot read or write. Nothing of what was asked has been stored."""


class Gap(Exception):
    """Events before these are missing; the stream has those up to `last`."""

    def __init__(self, last: int) -> None:
        super().__init__(f"events before these are missing: the stream has those up to {last}")
        self.last = last


class Gone(Exception):
    """The stream has been deleted."""


class Meta(Struct, frozen=True, kw_only=True):
    """What is known of a stream from the events appended with it, and who sends them; None leaves what was there.

    `path`, `cell`, `execution` and `kernel` say where it was started, `created` when, if not just now. It is
    `dismissed` when its output has been taken out of its cell: nobody is to put it back.
    """

    status: str | None = None
    kind: str | None = None
    title: str | None = None
    path: str | None = None
    cell: str | None = None
    execution: str | None = None
    kernel: str | None = None
    producer: str | None = None
    dismissed: bool | None = None
    created: float | None = None

    @property
    def known(self) -> dict[str, Any]:
        """What is not None."""
        values = ((name, getattr(self, name)) for name in Meta.__struct_fields__)
        return {name: value for name, value in values if value is not None}


class Entry(Meta, frozen=True, kw_only=True):
    """A stream as the log lists it.

    `seq` is its last event, `first` the oldest kept (`seq` + 1 when none is), `bytes` the size of those kept and of its
    media.
    `created` and `updated` (written last, or touched) are seconds since 1970 by the server's clock. A `deleted` stream
    keeps its numbers alone.
    """

    id: str
    seq: int
    first: int
    bytes: int
    status: str = "running"
    dismissed: bool = False
    created: float
    updated: float
    deleted: bool = False


class Media(Struct, frozen=True):
    """A part of something that is too large for an event; `size` is that of the whole."""

    mime: str
    size: int
    data: bytes


class Log(Protocol):
    """All streams of one server. Used from one asyncio loop.

    Calls may overlap; writes take effect in the order in which they were made. Cancelling a write that is
    under way does not undo it. Every method raises `LogError` when the log cannot read or write.

    problem : why what is appended now is in memory only, though it should be on disk; None if all is as it should be.
    """

    problem: str | None

    async def open(self) -> None: ...

    async def close(self) -> None:
        """Commit what is pending, and let go of everything."""

    async def append(self, stream: str, seq: int, events: Sequence[bytes], meta: Meta | None = None) -> int:
        """Store events numbered from `seq`, and return the stream's last number once they are committed.

        The stream begins with number 1. Numbers it has are passed over, so that sending twice is harmless; `meta`
        counts only if something is new.

        Raises
        ------
        Gap
            `seq` is beyond the next number.
        Gone
            The stream has been deleted.
        """
        ...

    async def read(
        self, stream: str, after: int, *, limit: int = 1000, max_bytes: int = 1 << 20
    ) -> list[tuple[int, bytes]]:
        """Events with a number above `after`: at most `limit`, and of `max_bytes` in all, but one if there is any."""
        ...

    async def entry(self, stream: str) -> Entry | None:
        """The stream, also a deleted one; None if it never existed."""
        ...

    async def entries(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        path: str | None = None,
        kernel: str | None = None,
        limit: int = 1000,
    ) -> list[Entry]:
        """The streams that are not deleted, the one created last first."""
        ...

    async def update(self, stream: str, meta: Meta) -> None:
        """Change what is known of a stream, unless it is deleted."""
        ...

    async def snapshot(self, stream: str) -> bytes | None:
        """The snapshot saved last."""
        ...

    async def save_snapshot(self, stream: str, snapshot: bytes) -> None:
        """Keep a state of the stream, so that joining needs only the events behind it. It knows its own number."""

    async def put_media(
        self, stream: str, name: str, mime: str, data: bytes, *, key: str | None, keep: int, room: int = 0
    ) -> int:
        """Keep this with the stream, and of its media with the same `key` only the `keep` newest; but up to `FRAMES` as
        long as they have at most `room` bytes together.

        Returns by how many bytes the stream has grown.

        Raises
        ------
        Gone
            There is no such stream, or none any more.
        """
        ...

    async def media(self, stream: str, name: str, start: int = 0, length: int = 1 << 20) -> Media | None:
        """What is kept under this name, at most `length` bytes of it."""
        ...

    async def touch(self, streams: Sequence[str]) -> None:
        """Set `updated` of these running streams to now: whoever writes them is there, though nothing has come."""

    async def delete(self, stream: str) -> None:
        """Forget events, media, snapshot and meta; that the stream existed is remembered for `TOMBSTONE_SECONDS`."""

    async def expire(self, *, max_age: float, max_streams: int, max_bytes: int) -> list[str]:
        """Delete what `overdue` says, and the memory of streams deleted long ago; returns the ids deleted now."""
        ...


def overdue(entries: Iterable[Entry], now: float, *, max_age: float, max_streams: int, max_bytes: int) -> list[str]:
    """Which ended streams are to be deleted, oldest first.

    They were last written more than `max_age` seconds ago, or are the oldest of more than `max_streams`, or of more
    than `max_bytes` in all.
    """
    ended = sorted(
        (entry for entry in entries if entry.status != "running"), key=lambda entry: entry.updated, reverse=True
    )
    kept = size = 0
    for entry in ended:
        size += entry.bytes
        if now - entry.updated > max_age or kept == max_streams or size > max_bytes:
            break
        kept += 1
    return [entry.id for entry in reversed(ended[kept:])]
