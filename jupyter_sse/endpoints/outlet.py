"""The frames of one call on their way to its one reader: no more of them than it takes.

They go past the log, so that there may be gigabytes of them. The reader's side gives credit, in bytes, for what it has
taken; when that is used up, the generator waits. What carries the frames, the kernel link or the server's loop, takes
them from here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from ..events import Done, Error, EventError
from .framing import frame

__all__ = ["BATCH", "Outlet", "pack", "unpack"]

BATCH = 64 << 10
"""Bytes that are taken at a time, if no frame is larger."""


def pack(call: int, data: bytes, *, last: bool) -> bytes:
    """A message of the kernel link: the call's number in four bytes, 1 if these are its last frames, else 0, frames."""
    return b"%b%c%b" % (call.to_bytes(4, "big"), last, data)


def unpack(message: bytes) -> tuple[int, bytes, bool]:
    """What `pack` was given.

    Raises
    ------
    ValueError
        It is no such message.
    """
    if len(message) < 5 or message[4] > 1:
        raise ValueError("not the frames of a call")
    return int.from_bytes(message[:4], "big"), message[5:], bool(message[4])


class Outlet:
    """A run's sink, in whichever thread that is, and what carries its frames, in another.

    ring : called, in any thread, when there is something to take.
    """

    crowded = False

    def __init__(self, *, credit: int, max_event: int, ring: Callable[[Outlet], object]) -> None:
        self._credit = credit
        self._max_event = max_event
        self._ring = ring
        self._lock = threading.Lock()
        self._frames: list[bytes] = []
        self._next = 0
        self._ended = False
        self._gone = False
        self._rung = False
        self._wait: Future[None] | None = None

    # The run's side.

    def put(self, item: Any) -> Future[None] | None:
        data = frame(item)
        if len(data) > self._max_event:
            raise EventError(
                f"what was yielded has {len(data)} bytes, and an event at most {self._max_event} (SSE.max_event_bytes)"
            )
        with self._lock:
            if self._gone or self._ended or not data:
                return None
            self._frames.append(data)
            self._credit -= len(data)
            wait = None
            if self._credit <= 0:
                wait = self._wait = Future()
        self._tell()
        return wait

    def end(self, event: Done | Error, *, again: bool = False) -> None:
        with self._lock:
            if not self._gone:
                self._frames.append(frame(event, again=again))
            self._ended = True
            wait, self._wait = self._wait, None
        _release(wait)
        self._tell()

    def returned_nothing(self) -> bool:
        return False

    def _tell(self) -> None:
        with self._lock:
            rung, self._rung = self._rung, True
        if not rung:
            self._ring(self)

    # The carrier's side.

    def take(self) -> tuple[bytes, bool]:
        """Whole frames, `BATCH` bytes or a bit more, and whether these are the last; for others it rings again."""
        with self._lock:
            stop, size = self._next, 0
            while stop < len(self._frames) and size < BATCH:
                size += len(self._frames[stop])
                stop += 1
            data = b"".join(self._frames[self._next : stop])
            self._next = stop
            more = stop < len(self._frames)
            if not more:
                self._frames, self._next = [], 0
            self._rung = more
            last = self._ended and not more
        if more:
            self._ring(self)
        return data, last

    def credit(self, size: int) -> None:
        """The reader has taken so many bytes."""
        with self._lock:
            self._credit += size
            wait = None
            if self._credit > 0:
                wait, self._wait = self._wait, None
        _release(wait)

    def drop(self) -> None:
        """The reader is gone."""
        with self._lock:
            self._gone = True
            self._frames, self._next = [], 0
            wait, self._wait = self._wait, None
        _release(wait)


def _release(wait: Future[None] | None) -> None:
    if wait is not None:
        with suppress(InvalidStateError):  # the run was cancelled meanwhile
            wait.set_result(None)
