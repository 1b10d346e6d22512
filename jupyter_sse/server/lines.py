"""A stream's log by its lines: some of them by their numbers, and those in which a text is found.

A snapshot has the last lines only. The others are read from the event log, which knows nothing of lines: while
somebody asks, it is remembered after which event each thousandth of them came.
"""

from __future__ import annotations

import asyncio
import bisect
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from ..events import Log, decode, type_of
from ..output import cut
from ..state import LOG_LINES
from .auth import ApiError, ApiHandler, permitted
from .channel import Channel
from .streams import STREAM_ID, ExistingStreamHandler

__all__ = ["Lines", "handlers"]

LIMIT, MOST = 200, 1000
"""How many lines are told at once, if nothing else is asked for, and at most."""
TEXT = 4000
"""Characters of a line; the rest is left out, and said to be."""
MATCHES = 10_000
"""How many matches are told, the last ones; all are counted."""
QUERY = 200
"""A security limit: characters that are searched for."""
MARK = 1000

_ESCAPE = re.compile(r"\x1b\[[\x20-\x3f]*[\x40-\x7e]")


class _Mark(msgspec.Struct):
    """How many lines there are after event `seq`, and which lines can still be drawn again, by their keys."""

    seq: int = 0
    count: int = 0
    keys: dict[str, int] = {}

    def copy(self, seq: int) -> _Mark:
        self.keys = {key: line for key, line in self.keys.items() if line > self.count - LOG_LINES}
        return _Mark(seq, self.count, dict(self.keys))

    def add(self, event: Log) -> int:
        """Count the event's lines as the reducer does; the number of the first."""
        if event.key is None:
            first = self.count + 1
            self.count += max(1, event.text.count("\n") + (not event.text.endswith("\n")))
            return first
        line = self.keys.get(event.key)
        if line is None or line <= self.count - LOG_LINES:
            self.count += 1
            line = self.keys[event.key] = self.count
        return line


class Lines:
    """The lines of one stream's log; `first` is the oldest that is kept."""

    def __init__(self, channel: Channel) -> None:
        self.count = 0
        self.first = 1
        self._channel = channel
        self._last = _Mark()
        self._marks = [_Mark()]
        self._looking = asyncio.Lock()

    async def look(self) -> None:
        """Count up to the last committed event."""
        async with self._looking:
            snapshot = await self._channel.snapshot()
            async for seq, event in self._events(self._last.seq, snapshot.seq):
                if self._last.count >= self._marks[-1].count + MARK:
                    self._marks.append(self._last.copy(seq - 1))
                self._last.add(event)
            self._last.seq = snapshot.seq
            self.count = snapshot.log.count
            self.first = self.count - self._last.count + 1

    async def read(self, before: int, limit: int) -> list[dict[str, Any]]:
        """At most `limit` lines up to the one before this."""
        before = min(before, self.count + 1)
        wanted = range(max(self.first, before - limit), before)
        found: dict[int, dict[str, Any]] = {}
        # What can still be drawn again is among the last lines.
        async for first, event in self._from(wanted.start, wanted.stop + LOG_LINES):
            for line, text in enumerate(_texts(event), first):
                if line in wanted:
                    found[line] = _told(line, text, event)
        return [found[line] for line in sorted(found)]

    async def find(self, text: str, after: int) -> tuple[int, list[int]]:
        """In how many of the lines behind `after` the text is, in whatever case; and in which, of many the last."""
        pattern = re.compile(re.escape(text), re.IGNORECASE)
        found: dict[int, None] = {}
        forgotten = 0
        async for first, event in self._from(max(after + 1, self.first), self.count + 1):
            if event.key is None and not pattern.search(_plain(event.text)):
                continue
            for line, one in enumerate(_texts(event), first):
                if line > after and pattern.search(_plain(one)):
                    found[line] = None
                else:
                    found.pop(line, None)  # it has been drawn again
            if len(found) > 2 * MATCHES:
                forgotten += MATCHES
                found = dict.fromkeys(sorted(found)[MATCHES:])
        matches = sorted(found)
        return forgotten + len(matches), matches[-MATCHES:]

    async def _from(self, start: int, stop: int) -> AsyncIterator[tuple[int, Log]]:
        """The events of these lines, and some before them, each with the number of its first line."""
        left_out = self.first - 1
        at = bisect.bisect_left(self._marks, start - left_out, key=lambda mark: mark.count)
        mark = self._marks[max(0, at - 1)]
        mark = mark.copy(mark.seq)
        async for _, event in self._events(mark.seq, self._last.seq):
            first = mark.add(event) + left_out
            if first >= stop:
                return
            yield first, event

    async def _events(self, after: int, last: int) -> AsyncIterator[tuple[int, Log]]:
        log, stream = self._channel.hub.log, self._channel.id
        while after < last:
            rows = await log.read(stream, after)
            if not rows:
                return
            for seq, raw in rows:
                if seq <= last and type_of(raw) == "log":
                    event = decode(raw)
                    assert isinstance(event, Log)
                    yield seq, event
            after = rows[-1][0]
            await asyncio.sleep(0)  # a log in memory answers at once: others are to have their turn


def _texts(event: Log) -> list[str]:
    return event.text.removesuffix("\n").split("\n") if event.key is None else [event.text]


def _plain(text: str) -> str:
    return _ESCAPE.sub("", text) if "\x1b" in text else text


def _told(line: int, text: str, event: Log) -> dict[str, Any]:
    told = {"line": line, "text": cut(text, TEXT), "source": event.source, "level": event.level}
    return {name: value for name, value in told.items() if value is not None}


class LinesHandler(ExistingStreamHandler):
    @permitted("read")
    async def get(self, stream: str) -> None:
        """Lines of the log up to the one `before`; or with `q`, in which lines `after` this one it is found."""
        channel = await self.existing(stream)
        text = self.get_query_argument("q", None, strip=False)
        if text is not None and not 0 < len(text) <= QUERY:
            raise ApiError(400, "bad_query", f"?q= is a text of at most {QUERY} characters.")
        before, after = self._number("before", 1 << 62), self._number("after", 0)
        limit = min(MOST, self._number("limit", LIMIT))
        if channel.lines is None:
            channel.lines = Lines(channel)
        lines = channel.lines
        await lines.look()
        told: dict[str, Any] = {"count": lines.count, "first": lines.first}
        if text is None:
            told["lines"] = await lines.read(before, limit)
        else:
            told["total"], told["matches"] = await lines.find(text, after)
        self.set_header("Cache-Control", "no-cache")
        self.finish(msgspec.json.encode(told))

    def _number(self, name: str, default: int) -> int:
        given = self.get_query_argument(name, str(default))
        if not given.isascii() or not given.isdigit() or len(given) > 19:
            raise ApiError(400, "bad_line", f"?{name}= must be a number, not {given[:40]!r}.")
        return int(given)


handlers: list[tuple[str, type[ApiHandler]]] = [(rf"streams/({STREAM_ID})/log", LinesHandler)]
