"""Which cells are streams by themselves: those that run for long, while they are monitored, and those with ``%%task``.

IPython says when a cell begins and ends; meanwhile what it prints and displays is looked at on its way. ``%%task`` is
no magic that runs code: its line is taken out, and the rest runs as any cell does, with its last value, its `await`,
its own magics and tracebacks.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from ..output import cut
from .cell import CellStream
from .progress import look_for_cell
from .result import shown
from .task import Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["AFTER", "Cells", "title_of", "without_task"]

AFTER = 10.0
"""Seconds after which a cell that is monitored is shown, where nothing else is said."""
TITLE = 80
VALUE = 10_000
_SAYS_LITTLE = re.compile(r"(?:import|from)\s|%")


class Cells:
    """Follows the cells of an IPython shell.

    after : seconds after which a cell is shown; None while cells are not monitored.
    parse : the arguments in the rest of a ``%%task`` line; None if it does not ask for a task.
    """

    def __init__(self, shell: Any, parse: Callable[[str], argparse.Namespace | None]) -> None:
        self.after: float | None = None
        self._shell = shell
        self._publisher = shell.display_pub  # in %%capture the shell has another one
        self._parse = parse
        self._stream: CellStream | None = None
        self._nested = 0
        self._request: object = None
        self._undo: list[Callable[[], object]] = []
        shell.events.register("pre_run_cell", self._begins)
        shell.events.register("post_run_cell", self._ended)
        look_for_cell(self._around)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def close(self) -> None:
        """Follow no more cells."""
        self._finish(None, None)
        self._shell.events.unregister("pre_run_cell", self._begins)
        self._shell.events.unregister("post_run_cell", self._ended)
        look_for_cell(None)

    def _begins(self, info: Any) -> None:
        if self._stream is not None:
            if self._asked_by() == self._request and self._request is not None:
                self._nested += 1  # a cell within this one, as %%capture runs it
                return
            self._finish(None, None)  # nobody said that it had ended
        asked = _task_line(info.raw_cell)
        given = None if asked is None else self._parse(asked)
        if given is None and self.after is None:
            return
        title = " ".join(given.title) if given is not None else ""
        self._nested, self._request = 0, self._asked_by()
        self._stream = stream = CellStream(title or title_of(info.raw_cell), stall=given.stall if given else None)
        task = Task(stream.title or "", timeout=given.timeout if given else None, stall=given.stall if given else None)
        task._begin(stream)
        self._look_at_outputs(stream)
        if given is not None:
            stream.begin()
            if task.timeout is not None:
                self._raise_timeout(stream)
        elif self.after is not None:
            stream.begin_after(self.after)

    def _asked_by(self) -> object:
        return self._header(self._publisher)

    @staticmethod
    def _header(output: Any) -> object:
        """The request whose output this takes now, from this thread; None where there are no requests."""
        header = getattr(output, "parent_header", None)
        return header.get("msg_id") if isinstance(header, dict) else None

    def _around(self) -> CellStream | None:
        stream = self._stream
        return stream if stream is not None and not stream.silent and self._asked_by() == self._request else None

    def _look_at_outputs(self, stream: CellStream) -> None:
        for name in ("stdout", "stderr"):
            self._look_at(getattr(sys, name), name, stream)
        publisher, request = self._publisher, self._request
        if not hasattr(publisher, "register_hook"):  # a terminal
            return

        def published(message: Any) -> Any:
            if message["parent_header"].get("msg_id") == request:
                if message["msg_type"] == "clear_output":
                    stream.cleared()
                else:
                    stream.displayed(message["content"])
            return message

        publisher.register_hook(published)
        self._undo.append(lambda: publisher.unregister_hook(published))

    def _look_at(self, output: Any, name: str, stream: CellStream) -> None:
        """Of the object that print and logging hold, so that it does not matter who got it when."""
        write = output.write

        def look_and_write(text: str) -> Any:
            written = write(text)
            if stream is self._stream and self._header(output) == self._request:
                stream.wrote(name, text)
            return written

        def undo() -> None:
            if output.write is not look_and_write:
                return  # somebody else does the same, and will put it back
            if before is None:
                del output.write
            else:
                output.write = before

        look_and_write.alone = write  # type: ignore[attr-defined]
        before = vars(output).get("write")
        output.write = look_and_write
        self._undo.append(undo)

    def _raise_timeout(self, stream: CellStream) -> None:
        """Where a time limit interrupts the cell, have the exception say so."""
        before = signal.getsignal(signal.SIGINT)
        # In coroutines ipykernel has its own way, by which the event loop goes on.
        if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
            return

        def interrupted(number: int, frame: FrameType | None) -> None:
            raise stream.meant(KeyboardInterrupt())

        signal.signal(signal.SIGINT, interrupted)
        self._undo.append(lambda: signal.signal(signal.SIGINT, before))

    def _ended(self, result: Any) -> None:
        if self._stream is None or (result is not None and not result.info.raw_cell.strip()):
            return  # of a cell that is empty, the beginning is not told
        if self._nested:
            self._nested -= 1
        elif result is None:  # the coroutine was interrupted
            self._finish(KeyboardInterrupt(), None)
        else:
            self._finish(result.error_before_exec or result.error_in_exec, result.result)

    def _finish(self, error: BaseException | None, value: Any) -> None:
        stream, self._stream = self._stream, None
        undo, self._undo = self._undo[::-1], []
        for one in undo:
            one()
        if stream is not None:
            stream.finish(error, self._readable(stream, value) if stream.begun else None)

    def _readable(self, stream: CellStream, value: Any) -> Any:
        """The value as the cell shows it: of a large one that is short."""
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            return cut(value, VALUE)
        if type(value).__module__.partition(".")[0] != "matplotlib":  # a figure is among the displays already
            told = shown(value, limit=stream.max_event, upload=None)
            if told is not value:
                return told
        data, _ = self._shell.display_formatter.format(value, include={"text/plain"})
        return cut(data.get("text/plain", ""), VALUE) or None

    def _forked(self) -> None:
        """A child's output is its parent's to tell; locks may be held by threads that it does not have."""
        self._stream = None


def title_of(source: str) -> str:
    """A cell in a few words: its first comment or line of code, which is no magic and no import if there is another."""
    lines = [line.strip() for line in source.splitlines() if not line.startswith("#|")]
    lines = [line.lstrip("#").strip(" %") if line.startswith("#") else line for line in lines]
    lines = [line for line in lines if line]
    title = next((line for line in lines if not _SAYS_LITTLE.match(line)), next(iter(lines), "Cell"))
    return title if len(title) <= TITLE else title[: TITLE - 1].rstrip() + "…"


def _task_line(source: str) -> str | None:
    """What follows ``%%task`` at the beginning of a cell, or below other magics."""
    for line in source.splitlines():
        if line.strip() and not line.startswith("%%"):
            return None
        if line.split(None, 1)[:1] == ["%%task"]:
            return line[len("%%task") :]
    return None


def without_task(lines: list[str], parse: Callable[[str], argparse.Namespace | None]) -> list[str]:
    """A cell's lines without that of ``%%task``, unless it is wrong, which the magic then says."""
    if not lines or lines[0].split(None, 1)[:1] != ["%%task"] or parse(lines[0][len("%%task") :]) is None:
        return lines
    rest = lines[1:]
    while rest and not rest[0].strip():
        rest = rest[1:]
    if rest and rest[0].startswith("%%"):
        return rest
    return [f"# {lines[0]}", *lines[1:]]  # the others keep their numbers in tracebacks
