"""A log that ends with its process: for tests, and for servers that must leave nothing on disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice

import msgspec

from . import TOMBSTONE_SECONDS, Entry, Gap, Gone, Meta

__all__ = ["MemoryLog", "expired", "updated_entry"]


def updated_entry(entry: Entry, events: Sequence[bytes], meta: Meta | None) -> Entry:
    """The entry after these events have been appended."""
    changes = {name: value for name, value in msgspec.structs.asdict(meta).items() if value is not None} if meta else {}
    return msgspec.structs.replace(
        entry,
        seq=entry.seq + len(events),
        bytes=entry.bytes + sum(map(len, events)),
        updated=time.time(),
        **changes,
    )


def expired(entries: list[Entry], *, max_age: float, max_streams: int, max_bytes: int) -> list[str]:
    """Which of these (newest first) must go."""
    oldest = time.time() - max_age
    total = sum(entry.bytes for entry in entries if entry.status == "running")
    gone = []
    kept = 0
    for entry in entries:
        if entry.status == "running":
            continue
        if entry.updated < oldest or kept >= max_streams or total + entry.bytes > max_bytes:
            gone.append(entry.id)
        else:
            kept += 1
            total += entry.bytes
    return gone


class MemoryLog:
    """Implements `Log` with dictionaries."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._events: dict[str, list[bytes]] = {}
        self._snapshots: dict[str, bytes] = {}

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def append(self, stream: str, seq: int, events: Sequence[bytes], meta: Meta | None = None) -> int:
        now = time.time()
        entry = self._entries.get(stream) or Entry(id=stream, created=now, updated=now)
        if entry.deleted:
            raise Gone(stream)
        if seq > entry.seq + 1:
            raise Gap(entry.seq)
        new = events[entry.seq + 1 - seq :]
        if new:
            self._entries[stream] = entry = updated_entry(entry, new, meta)
            self._events.setdefault(stream, []).extend(new)
        return entry.seq

    async def read(
        self, stream: str, after: int, *, limit: int = 1000, max_bytes: int = 1 << 20
    ) -> list[tuple[int, bytes]]:
        rows: list[tuple[int, bytes]] = []
        size = 0
        for seq, event in enumerate(islice(self._events.get(stream, ()), after, after + limit), after + 1):
            rows.append((seq, event))
            size += len(event)
            if size >= max_bytes:
                break
        return rows

    async def entry(self, stream: str) -> Entry | None:
        return self._entries.get(stream)

    async def entries(
        self, *, status: str | None = None, kind: str | None = None, path: str | None = None, limit: int = 1000
    ) -> list[Entry]:
        found = (
            entry
            for entry in reversed(self._entries.values())
            if not entry.deleted
            and status in (None, entry.status)
            and kind in (None, entry.kind)
            and path in (None, entry.path)
        )
        return list(islice(found, limit))

    async def snapshot(self, stream: str) -> bytes | None:
        return self._snapshots.get(stream)

    async def save_snapshot(self, stream: str, snapshot: bytes) -> None:
        if stream in self._events:
            self._snapshots[stream] = snapshot

    async def delete(self, stream: str) -> None:
        entry = self._entries.get(stream)
        if entry is not None:
            self._entries[stream] = msgspec.structs.replace(
                entry, deleted=True, first=entry.seq + 1, bytes=0, title=None, path=None, updated=time.time()
            )
            self._events.pop(stream, None)
            self._snapshots.pop(stream, None)

    async def expire(self, *, max_age: float, max_streams: int, max_bytes: int) -> list[str]:
        gone = expired(
            await self.entries(limit=len(self._entries)),
            max_age=max_age,
            max_streams=max_streams,
            max_bytes=max_bytes,
        )
        for stream in gone:
            await self.delete(stream)
        oldest = time.time() - TOMBSTONE_SECONDS
        for entry in list(self._entries.values()):
            if entry.deleted and entry.updated < oldest:
                del self._entries[entry.id]
        return gone
