"""The stream that the bars of one cell share, where no task or loop is around them.

It ends with its cell. Bars of other threads, and of asyncio tasks, may go on: then it ends with the last of them.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

from .origin import parent_message, shell
from .producer import Cancelled, Producer
from .progress import surrounding

__all__ = ["CellBars", "Member", "cell_bars", "stream_around"]


class Member(Protocol):
    """Somebody with a bar in such a stream."""

    thread: int

    def settle(self, *, failed: bool) -> None:
        """The cell has ended without closing this one."""


_lock = threading.RLock()
_streams: dict[object, CellBars] = {}
_executing: object = None
_watched: Any = None


class CellBars(Producer):
    """A stream of bars, begun by the first of them, whose title it has."""

    def __init__(self, execution: object, title: str | None, **fields: Any) -> None:
        super().__init__(title, kind="bars", **fields)
        self.members: set[Member] = set()
        self._execution = execution
        self._error: BaseException | None = None
        self._is_over = execution != _executing

    def cell_ended(self, error: BaseException | None) -> None:
        for member in list(self.members):
            if member.thread == threading.get_ident():
                member.settle(failed=error is not None)
        self._error = error
        self._is_over = True
        self.bar_ended()

    def bar_ended(self) -> None:
        with _lock:
            bars = list(self.bars.values())
            if self.status != "running" or not self._is_over or any(bar.running for bar in bars):
                return
            if _streams.get(self._execution) is self:
                del _streams[self._execution]
        unfinished = [bar for bar in bars if bar.state == "early"]
        # An error after all bars were complete is none of theirs.
        if self._error is not None and (unfinished or isinstance(self._error, Cancelled)):
            self.fail(self._error)
        elif self.cancelled and unfinished:
            self.done("cancelled")
        else:
            outermost = [bar for bar in bars if bar.parent is None and bar.state != "removed"]
            self.done("closed" if outermost and outermost[-1].state == "early" else "stop")


def cell_bars(title: str | None, **fields: Any) -> CellBars:
    """The stream of the cell that runs; begun if there is none yet."""
    execution = _current()
    with _lock:
        _watch(execution)
        stream = _streams.get(execution)
        if stream is None or stream.status != "running":
            stream = _streams[execution] = CellBars(execution, title, **fields)
        return stream


def stream_around() -> Producer | None:
    """The stream that a bar made here would be in, if there is one."""
    scope = surrounding()
    stream = scope.producer if scope is not None else _streams.get(_current())
    return stream if stream is not None and stream.status == "running" else None


def _current() -> object:
    """The execute request that this thread works for."""
    return parent_message().get("header", {}).get("msg_id")


def _watch(execution: object) -> None:
    """Have IPython say when a cell begins and ends."""
    global _watched, _executing
    running = shell()
    if running is None or running is _watched:
        return
    _watched = running
    _executing = execution
    running.events.register("pre_run_cell", _cell_begins)
    running.events.register("post_run_cell", _cell_ended)


def _cell_begins(info: Any) -> None:
    global _executing
    _executing = _current()


def _cell_ended(result: Any) -> None:
    global _executing
    _executing = None
    with _lock:
        stream = _streams.get(_current())
    if stream is not None:
        stream.cell_ended(result.error_before_exec or result.error_in_exec)
