"""Streams on a terminal, or wherever else there is no notebook: text as it comes, progress on one line."""

from __future__ import annotations

import shutil
import sys
import threading
from typing import TYPE_CHECKING, TextIO

import msgspec

from ..events import Delta, Event, Log, Progress, Step, Unknown
from ..output import bar_text, headline, label

if TYPE_CHECKING:
    from ..state import Snapshot
    from .live import LiveStream

__all__ = ["TerminalView"]

REDRAW = 0.1


class TerminalView:
    """Text and log lines go to stdout in the caller's thread, as `print` does; bars to stderr if that is a terminal."""

    def __init__(self, stream: LiveStream) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._line = ""
        self._column = 0
        self._bars: dict[str, Progress] = {}
        self._live = _is_terminal(sys.stderr)
        if self._live:
            stream.listen(self._moved)

    def echo(self, event: Event) -> None:
        """Called with each event in the thread that emits it."""
        if isinstance(event, Delta):
            self._write(event.text)
        elif isinstance(event, Log):
            if event.source != "stderr":  # a traceback, which whoever catches the exception prints
                self._write_line(event.text)
        elif isinstance(event, Step):
            of = f"/{event.of}" if event.of is not None else ""
            self._write_line(f"[{event.step}{of}] {event.message}")

    def show_again(self) -> None:
        """Nothing is ever cleared."""

    def finish(self, snapshot: Snapshot) -> None:
        with self._lock:
            self._erase()
            if self._column:
                self._write("\n")
            if snapshot.kind == "answer" and snapshot.status == "done":
                return
            parts = [f"{snapshot.title}: {headline(snapshot)}" if snapshot.title else headline(snapshot)]
            parts += [f"{label(bar)} {bar_text(_without_eta(bar))}".lstrip() for bar in snapshot.bars]
            if snapshot.error is not None:
                parts.append(snapshot.error.message)
            self._put(sys.stderr, " · ".join(parts) + "\n")

    def _write(self, text: str) -> None:
        with self._lock:
            self._erase()
            self._put(sys.stdout, text)
            if text:
                self._column = 0 if text.endswith("\n") else 1

    def _write_line(self, text: str) -> None:
        with self._lock:
            if self._column:
                self._write("\n")
            self._erase()
            self._put(sys.stdout, text.removesuffix("\n") + "\n")

    def _moved(self, first: int, events: list[Event | Unknown]) -> float:
        with self._lock:
            for event in events:
                if isinstance(event, Progress):
                    self._bars.pop(event.bar, None)
                    if event.state != "removed":
                        self._bars[event.bar] = event
            if self._bars and self._stream.status == "running" and not self._column:
                self._draw()
        return REDRAW

    def _draw(self) -> None:
        bars = [f"{label(bar)} {bar_text(bar)}".lstrip() for bar in self._bars.values()]
        title = f"{self._stream.title}: " if self._stream.title else ""
        line = (title + "  |  ".join(bars[-3:]))[: shutil.get_terminal_size().columns - 1]
        self._put(sys.stderr, "\r" + line + " " * max(0, len(self._line) - len(line)))
        self._line = line

    def _erase(self) -> None:
        if self._line:
            self._put(sys.stderr, "\r" + " " * len(self._line) + "\r")
            self._line = ""

    @staticmethod
    def _put(to: TextIO | None, text: str) -> None:
        if to is None:
            return
        try:
            to.write(text)
        except UnicodeEncodeError:
            encoding = to.encoding or "ascii"
            to.write(text.encode(encoding, "replace").decode(encoding))
        to.flush()


def _without_eta(bar: Progress) -> Progress:
    return msgspec.structs.replace(bar, eta=None)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False
