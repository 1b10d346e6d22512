"""A log on disk, and memory in its place while the disk takes nothing.

Once a write fails, events go to memory and are read from there; every `RETRY_SECONDS` the disk is offered the oldest of
them, and is in use again when it has them all. Meanwhile the disk has the beginnings of streams, and memory their ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from . import Entry, Gap, Gone, Log, LogError, Media, Meta
from .memory import MemoryLog

__all__ = ["RETRY_SECONDS", "FallbackLog"]

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""How long the disk is left alone after it failed."""


class _Turn(asyncio.Event):
    """An append's place among those of its stream; set when it is over. `late` once it has missed the quick way."""

    late = False


class FallbackLog:
    """The log `disk`, and memory while that cannot be written.

    on_change : called with `problem` after each change of it.
    """

    def __init__(self, disk: Log, *, retry: float = RETRY_SECONDS, clock: Callable[[], float] = time.time) -> None:
        self.problem: str | None = None
        self.on_change: Callable[[str | None], None] = lambda problem: None
        self._disk = disk
        self._retry = retry
        self._ends = MemoryLog(clock=clock)
        self._writing = asyncio.Lock()
        self._turns: dict[str, _Turn] = {}
        self._trying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._disk.open()

    async def close(self) -> None:
        if self._trying is not None:
            self._trying.cancel()
        with suppress(LogError):
            while self.problem is not None:
                await self._write_back()
        lost = await self._ends.entries()
        if lost:
            log.error("The latest events of %d streams could not be written to disk, and are lost.", len(lost))
        await self._disk.close()

    async def append(self, stream: str, seq: int, events: Sequence[bytes], meta: Meta | None = None) -> int:
        before = self._turns.get(stream)
        turn = self._turns[stream] = _Turn()
        try:
            if self.problem is None and not (before and before.late):
                try:
                    return await self._disk.append(stream, seq, events, meta)
                except LogError as error:
                    self._fall_back(error)
                except Gap:
                    if not (before and before.late):
                        raise
            turn.late = True
            if before is not None:
                await before.wait()
            async with self._writing:
                if self.problem is None:
                    try:
                        return await self._disk.append(stream, seq, events, meta)
                    except LogError as error:
                        self._fall_back(error)
                await self._adopt(stream, known=seq > 1)
                return await self._ends.append(stream, seq, events, meta)
        finally:
            turn.set()
            if self._turns.get(stream) is turn:
                del self._turns[stream]

    async def read(
        self, stream: str, after: int, *, limit: int = 1000, max_bytes: int = 1 << 20
    ) -> list[tuple[int, bytes]]:
        base = self._ends.base(stream)
        if base is None or after < base:
            found = await self._disk.read(stream, after, limit=limit, max_bytes=max_bytes)
            if found or base is None:
                return found
        return await self._ends.read(stream, after, limit=limit, max_bytes=max_bytes)

    async def entry(self, stream: str) -> Entry | None:
        return await self._ends.entry(stream) or await self._disk.entry(stream)

    async def entries(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        path: str | None = None,
        kernel: str | None = None,
        limit: int = 1000,
    ) -> list[Entry]:
        wanted = {"kind": kind, "path": path, "kernel": kernel}
        ends = {entry.id: entry for entry in await self._ends.entries(**wanted, limit=1 << 62)}
        if not ends and self.problem is None:
            return await self._disk.entries(status=status, **wanted, limit=limit)
        # What the disk says of a stream's status is out of date where memory has its end.
        kept = await self._disk.entries(**wanted, limit=1 << 62)
        found = [ends.pop(entry.id, entry) for entry in kept if not await self._is_deleted(entry.id)]
        return [entry for entry in (*ends.values(), *found) if status in (None, entry.status)][:limit]

    async def update(self, stream: str, meta: Meta) -> None:
        if self._ends.base(stream) is None:
            try:
                await self._disk.update(stream, meta)
                return
            except LogError as error:
                self._fall_back(error)
                async with self._writing:
                    await self._adopt(stream, known=True)
        await self._ends.update(stream, meta)

    async def snapshot(self, stream: str) -> bytes | None:
        saved = await self._ends.snapshot(stream)
        return await self._disk.snapshot(stream) if saved is None and not await self._is_deleted(stream) else saved

    async def save_snapshot(self, stream: str, snapshot: bytes) -> None:
        if self._ends.base(stream) is None:
            try:
                await self._disk.save_snapshot(stream, snapshot)
                return
            except LogError as error:
                self._fall_back(error)
                async with self._writing:
                    await self._adopt(stream, known=True)
        await self._ends.save_snapshot(stream, snapshot)

    async def put_media(
        self, stream: str, name: str, mime: str, data: bytes, *, key: str | None, keep: int, room: int = 0
    ) -> int:
        # Memory is for what must not be lost: of this, the producer has a smaller version.
        if self._ends.base(stream) is not None:
            raise LogError(self.problem or "The disk has not got all of this stream yet.")
        return await self._disk.put_media(stream, name, mime, data, key=key, keep=keep, room=room)

    async def media(self, stream: str, name: str, start: int = 0, length: int = 1 << 20) -> Media | None:
        if await self._is_deleted(stream):
            return None
        return await self._disk.media(stream, name, start, length)

    async def touch(self, streams: Sequence[str]) -> None:
        await self._ends.touch(streams)
        with suppress(LogError):  # an append will find out
            await self._disk.touch(streams)

    async def delete(self, stream: str) -> None:
        try:
            await self._disk.delete(stream)  # which may make room, so that it is tried in any case
        except LogError as error:
            self._fall_back(error)
            async with self._writing:
                await self._adopt(stream, known=True)
        await self._ends.delete(stream)

    async def expire(self, *, max_age: float, max_streams: int, max_bytes: int) -> list[str]:
        found = await self._ends.expire(max_age=max_age, max_streams=max_streams, max_bytes=max_bytes)
        try:
            found += await self._disk.expire(max_age=max_age, max_streams=max_streams, max_bytes=max_bytes)
        except LogError:
            if self.problem is None:
                raise
        return found

    async def _is_deleted(self, stream: str) -> bool:
        entry = await self._ends.entry(stream)
        return entry is not None and entry.deleted

    async def _adopt(self, stream: str, *, known: bool) -> None:
        """Have the stream's end in memory. One that is not `known` to exist needs no disk that can be read."""
        if self._ends.base(stream) is not None:
            return
        try:
            entry = await self._disk.entry(stream)
        except LogError:
            if known:
                raise
            entry = None
        if entry is not None:
            self._ends.adopt(entry)

    def _fall_back(self, error: LogError) -> None:
        if self.problem is None:
            self.problem = str(error)
            self._trying = asyncio.ensure_future(self._try_again())
            self.on_change(self.problem)

    async def _try_again(self) -> None:
        while self.problem is not None:
            await asyncio.sleep(self._retry)
            with suppress(LogError):
                while self.problem is not None:
                    await self._write_back()

    async def _write_back(self) -> None:
        """Offer the disk some of what memory has; if that has nothing left, the disk is in use again."""
        async with self._writing:
            stream = self._ends.oldest()
            if stream is None:
                self.problem = None
                self.on_change(None)
                return
            entry = await self._ends.entry(stream)
            assert entry is not None
            if entry.deleted:
                await self._disk.delete(stream)
                self._ends.let_go(stream, entry.seq)
                return
            rows = await self._ends.read(stream, 0, limit=1 << 62)
            last = rows[-1][0] if rows else entry.seq
            # A stream on disk has not ended before it has all its events.
            meta = Meta(**{**entry.known, "status": entry.status if last == entry.seq else None})
            snapshot = await self._ends.snapshot(stream)
            try:
                if rows:
                    await self._disk.append(stream, rows[0][0], [raw for _, raw in rows], meta)
                else:
                    await self._disk.update(stream, meta)
                if last == entry.seq and snapshot is not None:
                    await self._disk.save_snapshot(stream, snapshot)
            except (Gap, Gone) as error:
                log.error("The latest events of the stream %s have no place on disk any more: %s.", stream, error)
                last = entry.seq
            self._ends.let_go(stream, last)
