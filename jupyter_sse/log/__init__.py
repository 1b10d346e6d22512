"""The append-only log of streams: one protocol, kept in memory (memory.py) or in a file (sqlite.py).

An append returns when it is committed: an ack may be given for it. Appending what is already there does nothing, so
that a producer may send again whatever it is not sure of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

__all__ = ["TOMBSTONE_SECONDS", "Entry", "Gap", "Gone", "Log", "LogError", "Meta"]

TOMBSTONE_SECONDS = 30 * 86400.0
"""How long it is remembered that a stream was deleted, so that its readers are told so (410 and not 404)."""


class LogError(Exception):
    """The log could not read or write (disk full, damaged, not permitted); nothing is half-written."""


class Gap(Exception):
    """Events before these are missing: the stream ends at `last`."""

    def __init__(self, last: int) -> None:
        super().__init__(f"the stream ends at seq {last}")
        self.last = last


class Gone(Exception):
    """The stream has been deleted."""


class Meta(Struct, frozen=True, kw_only=True):
    """What a list of streams shows, known to whoever appends the events that say so; None leaves it as it was."""

    status: str | None = None
    kind: str | None = None
    title: str | None = None
    path: str | None = None


class Entry(Struct, kw_only=True):
    """A stream in the list.

    seq : of the last event. first : of the oldest one kept. bytes : of the events kept.
    created, updated : seconds since 1970. deleted : only this entry is left of it.
    """

    id: str
    seq: int = 0
    first: int = 1
    bytes: int = 0
    status: str = "running"
    kind: str | None = None
    title: str | None = None
    path: str | None = None
    created: float
    updated: float
    deleted: bool = False


class Log(Protocol):
    """All methods belong to one event loop."""

    async def open(self) -> None:
        """Raises LogError if the log cannot be used."""

    async def close(self) -> None:
        """Commit what is pending, then close."""

    async def append(self, stream: str, seq: int, events: Sequence[bytes], meta: Meta | None = None) -> int:
        """Commit events numbered from `seq`, creating the stream at 1; returns its last seq.

        Events with numbers the stream has are passed over. Calls take effect in the order in which they were made.

        Raises
        ------
        Gap, Gone, LogError
        """

    async def read(
        self, stream: str, after: int, *, limit: int = 1000, max_bytes: int = 1 << 20
    ) -> list[tuple[int, bytes]]:
        """Events strictly after a seq: at most `limit`, and no more once they have `max_bytes`."""

    async def entry(self, stream: str) -> Entry | None:
        """None if there has never been such a stream."""

    async def entries(
        self, *, status: str | None = None, kind: str | None = None, path: str | None = None, limit: int = 1000
    ) -> list[Entry]:
        """The streams that are not deleted, newest first."""

    async def snapshot(self, stream: str) -> bytes | None:
        """The checkpoint saved last."""

    async def save_snapshot(self, stream: str, snapshot: bytes) -> None:
        """Keep a folded state, so that whoever joins need not read the history."""

    async def delete(self, stream: str) -> None:
        """Forget the stream but for its entry."""

    async def expire(self, *, max_age: float, max_streams: int, max_bytes: int) -> list[str]:
        """Delete ended streams: older than `max_age` seconds, then the oldest above a number or a size in all.

        Running streams stay. Returns the ids of those deleted.
        """
