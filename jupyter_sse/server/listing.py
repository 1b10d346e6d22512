"""The list of streams, told to whoever watches it: all of it first, then what changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from .. import sse

if TYPE_CHECKING:
    from ..log import Entry
    from .hub import Hub
    from .reader import Reader

__all__ = ["Listing"]

GATHER_SECONDS = 0.1
"""Changes that come together are told together: a loop may begin and end a hundred streams a second."""


class Listing:
    """Who watches the list, and what has changed since they were told.

    Of other servers that write to the same log nothing is told before the list is asked for again.
    """

    def __init__(self, hub: Hub, base_url: str) -> None:
        self._hub = hub
        self._base_url = base_url
        self._readers: set[Reader] = set()
        self._changed: dict[str, None] = {}
        self._telling = asyncio.Lock()  # who begins to watch is told all before it is told what changed since

    def url(self, stream: str) -> str:
        """Where the stream's events are, as a path on this server."""
        return f"{self._base_url}jupyter-sse/streams/{stream}/events"

    def show(self, entry: Entry) -> dict[str, Any]:
        """An entry as it is told."""
        channel = self._hub.channels.get(entry.id)
        return {
            "stream": entry.id,
            "url": self.url(entry.id),
            "status": entry.status,
            "kind": entry.kind,
            "title": entry.title,
            "path": entry.path,
            "cell": entry.cell,
            "execution": entry.execution,
            "kernel": entry.kernel,
            "dismissed": entry.dismissed,
            "stalled": channel.stalled if channel is not None and entry.status == "running" else None,
            "seq": entry.seq,
            "bytes": entry.bytes,
            "created": entry.created,
            "updated": entry.updated,
        }

    async def watch(self, reader: Reader) -> None:
        """Tell this reader the list, and from now on what changes in it."""
        if reader in self._readers:
            return
        self._readers.add(reader)
        reader.on_close(lambda: self._readers.discard(reader))
        async with self._telling:
            # The log gives the newest ones; what has been running for long is behind them, and is what people look for.
            newest, running = await self._hub.log.entries(), await self._hub.log.entries(status="running")
            entries = {entry.id: entry for entry in (*newest, *running)}
            reader.tell(self._frame(streams=list(map(self.show, entries.values())), all=True))

    @property
    def is_watched(self) -> bool:
        return bool(self._readers)

    def unwatch(self, reader: Reader) -> None:
        self._readers.discard(reader)

    def changed(self, stream: str) -> None:
        """The stream has begun, stalled, gone on, ended, got another title, or was deleted."""
        if not self._readers:
            return
        if not self._changed:
            self._hub.loop.call_later(GATHER_SECONDS, lambda: self._hub.spawn(self._tell()))
        self._changed[stream] = None

    async def _tell(self) -> None:
        async with self._telling:
            changed, self._changed = self._changed, {}
            streams: list[dict[str, Any]] = []
            gone: list[str] = []
            for stream in changed:
                entry = await self._hub.log.entry(stream)
                if entry is None or entry.deleted:
                    gone.append(stream)
                else:
                    streams.append(self.show(entry))
            frame = self._frame(streams=streams, gone=gone)
            for reader in list(self._readers):
                reader.tell(frame)

    @staticmethod
    def _frame(**fields: object) -> bytes:
        return sse.encode(msgspec.json.encode({"type": "listed", **fields}), event="listed")
