"""The log in memory: what there is without a disk, and what the other one is tested against."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from . import FRAMES, TOMBSTONE_SECONDS, Entry, Gap, Gone, Media, Meta, overdue

__all__ = ["MemoryLog"]


class MemoryLog:
    """Streams that live as long as the process."""

    problem: str | None = None

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._events: dict[str, list[bytes]] = {}
        self._snapshots: dict[str, bytes] = {}
        self._media: dict[str, dict[str, tuple[str | None, str, bytes]]] = {}  # by name: key, type, data
        self._base: dict[str, int] = {}  # of streams whose events up to here are kept elsewhere

    def adopt(self, entry: Entry) -> None:
        """Go on with a stream whose events so far are kept elsewhere."""
        self._entries[entry.id] = entry
        self._events[entry.id] = []
        self._base[entry.id] = entry.seq

    def base(self, stream: str) -> int | None:
        """The number up to which the stream's events are kept elsewhere; None for a stream that is not here."""
        return self._base.get(stream, 0) if stream in self._entries else None

    def oldest(self) -> str | None:
        """The stream that came here first."""
        return next(iter(self._entries), None)

    def let_go(self, stream: str, last: int) -> None:
        """The stream's events up to `last` are kept elsewhere now; without any left, so is the stream."""
        entry = self._entries[stream]
        if last < entry.seq and not entry.deleted:
            del self._events[stream][: last - self._base.get(stream, 0)]
            self._base[stream] = last
            return
        for part in (self._entries, self._events, self._snapshots, self._base):
            part.pop(stream, None)

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def append(self, stream: str, seq: int, events: Sequence[bytes], meta: Meta | None = None) -> int:
        if seq < 1:
            raise ValueError(f"events are numbered from 1, not {seq}")
        entry = self._entries.get(stream)
        last = entry.seq if entry else 0
        if entry and entry.deleted:
            raise Gone(stream)
        if seq > last + 1:
            raise Gap(last)
        new = events[last + 1 - seq :]
        if not new:
            return last
        now = self._clock()
        meta = meta or Meta()
        if entry is None:
            entry = Entry(id=stream, seq=0, first=1, bytes=0, created=now, updated=now)
        self._events.setdefault(stream, []).extend(new)
        self._entries[stream] = replace(
            entry,
            seq=last + len(new),
            bytes=entry.bytes + sum(map(len, new)),
            updated=now,
            **meta.known,
        )
        return last + len(new)

    async def read(
        self, stream: str, after: int, *, limit: int = 1000, max_bytes: int = 1 << 20
    ) -> list[tuple[int, bytes]]:
        base = self._base.get(stream, 0)
        after = max(after, base)
        found: list[tuple[int, bytes]] = []
        size = 0
        for seq, event in enumerate(self._events.get(stream, [])[after - base : after - base + limit], after + 1):
            size += len(event)
            if found and size > max_bytes:
                break
            found.append((seq, event))
        return found

    async def entry(self, stream: str) -> Entry | None:
        return self._entries.get(stream)

    async def entries(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        path: str | None = None,
        kernel: str | None = None,
        limit: int = 1000,
    ) -> list[Entry]:
        found = [
            entry
            for entry in reversed(self._entries.values())
            if not entry.deleted
            and status in (None, entry.status)
            and kind in (None, entry.kind)
            and path in (None, entry.path)
            and kernel in (None, entry.kernel)
        ]
        return found[:limit]

    async def update(self, stream: str, meta: Meta) -> None:
        entry = self._entries.get(stream)
        if entry is not None and not entry.deleted:
            self._entries[stream] = replace(entry, **meta.known)

    async def snapshot(self, stream: str) -> bytes | None:
        return self._snapshots.get(stream)

    async def save_snapshot(self, stream: str, snapshot: bytes) -> None:
        if stream in self._events:
            self._snapshots[stream] = snapshot

    async def put_media(
        self, stream: str, name: str, mime: str, data: bytes, *, key: str | None, keep: int, room: int = 0
    ) -> int:
        entry = self._entries.get(stream)
        if entry is None or entry.deleted:
            raise Gone(stream)
        media = self._media.setdefault(stream, {})
        media[name] = (key, mime, data)
        grown = len(data)
        total = 0
        for place, one in enumerate([other for other, kept in reversed(media.items()) if kept[0] == key], 1):
            size = len(media[one][2])
            total += size
            if place > keep and (place > FRAMES or total > room):
                grown -= size
                del media[one]
        self._entries[stream] = replace(entry, bytes=entry.bytes + grown)
        return grown

    async def media(self, stream: str, name: str, start: int = 0, length: int = 1 << 20) -> Media | None:
        found = self._media.get(stream, {}).get(name)
        return found and Media(found[1], len(found[2]), found[2][start : start + length])

    async def touch(self, streams: Sequence[str]) -> None:
        for stream in streams:
            entry = self._entries.get(stream)
            if entry is not None and entry.status == "running" and not entry.deleted:
                self._entries[stream] = replace(entry, updated=self._clock())

    async def delete(self, stream: str) -> None:
        entry = self._entries.get(stream)
        if entry is None or entry.deleted:
            return
        for part in (self._events, self._snapshots, self._media, self._base):
            part.pop(stream, None)
        self._entries[stream] = Entry(
            id=stream,
            seq=entry.seq,
            first=entry.seq + 1,
            bytes=0,
            status=entry.status,
            created=entry.created,
            updated=self._clock(),
            deleted=True,
        )

    async def expire(self, *, max_age: float, max_streams: int, max_bytes: int) -> list[str]:
        now = self._clock()
        for entry in list(self._entries.values()):
            if entry.deleted and now - entry.updated > TOMBSTONE_SECONDS:
                del self._entries[entry.id]
        living = [entry for entry in self._entries.values() if not entry.deleted]
        found = overdue(living, now, max_age=max_age, max_streams=max_streams, max_bytes=max_bytes)
        for stream in found:
            await self.delete(stream)
        return found
