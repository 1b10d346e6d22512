"""The one who writes a stream: what tasks, loops and answers have in common."""

from __future__ import annotations

import time
import traceback
from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, Literal

from .. import events
from ..events import Delta, Done, Error, Event, Log, Reasoning, Start
from .live import LiveStream, status_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from .channel import Sampler
    from .progress import Bar

__all__ = ["Cancelled", "Producer", "StreamError", "last_line"]

PIECE = 65536
"""Characters of one text event: at most 256 KiB in UTF-8, and below the smallest usual limit however it is escaped."""
TRACEBACK_LINES = 30
MESSAGE = 2000


class Cancelled(BaseException):
    """Somebody pressed Cancel.

    Not an `Exception`, so that code which retries or logs all errors does not swallow it.
    """

    def _render_traceback_(self) -> list[str]:
        """One line in a notebook: nothing went wrong."""
        return [f"Cancelled: {self}" if str(self) else "Cancelled"]


class StreamError(Exception):
    """The source of an answer failed; the cause is chained, `answer` holds what came before."""

    answer: Any = None

    @property
    def _render_traceback_(self) -> Callable[[], list[str]]:
        """One line in a notebook where it was the model that failed, and no code here."""
        if self.__cause__ is not None:
            raise AttributeError("_render_traceback_")
        return lambda: [f"{type(self).__name__}: {self}"]


class Producer(LiveStream):
    """Writes one stream: `emit` while it runs, then once `done` or `fail`."""

    def __init__(
        self,
        title: str | None = None,
        *,
        kind: str = "task",
        cancellable: bool = True,
        total: float | None = None,
        unit: str | None = None,
        model: str | None = None,
        show: bool = True,
    ) -> None:
        super().__init__(title, show=show)
        self.kind = kind
        self.cancellable = cancellable
        self.cancelled = False
        self.bars: dict[str, Bar] = {}
        self._record = self._channel = self._link.open(self.id, self.title or kind)
        self.on_cancel.append(self._ask_to_stop)
        self._put = self._link.put
        if show:
            self.show()
        self._echo = self._view.echo if self._view is not None else None
        self.emit(
            Start(
                title=self.title,
                kind=kind,
                total=total,
                unit=None if unit is None else str(unit),
                cancellable=cancellable,
                origin=self.origin,
                model=model,
                ts=time.time(),
            )
        )

    def emit(self, event: Event, size: int = 0) -> None:
        """Append an event that is not text; `size` in characters if it may be large."""
        if self.status != "running":
            raise RuntimeError(f"{self.title or 'The stream'!r} has ended: nothing can be added to it")
        self._put(self._channel, event, size)
        if self._echo is not None:
            self._echo(event)

    def delta(self, text: str) -> None:
        self.text(text, Delta)

    def text(self, text: str, kind: type[Delta | Reasoning | Log], **fields: Any) -> None:
        """Append text, in pieces if it is long."""
        size = len(text)
        if size <= PIECE and size * 8 < self._link.max_event:
            self.emit(kind(text=text, **fields), size)
            return
        piece = max(64, min(PIECE, self._link.max_event // 8))
        for start in range(0, size, piece):
            self.emit(kind(text=text[start : start + piece], **fields), piece)

    def sample(self, sampler: Sampler) -> None:
        if self.status == "running":
            self._put(self._channel, sampler)

    def _ask_to_stop(self) -> None:
        """The next call of the work raises `Cancelled`."""
        self.cancelled = self.cancellable

    def check(self) -> None:
        if self.cancelled:
            raise Cancelled(self.title or "")

    @property
    def silent(self) -> bool:
        """True in a forked child for a stream of its parent."""
        return self._link.silent

    @property
    def crowded(self) -> bool:
        return self._link.crowded

    @property
    def max_event(self) -> int:
        return self._link.max_event

    def done(
        self, reason: Literal["stop", "length", "cancelled", "timeout", "closed"] = "stop", result: Any = None
    ) -> None:
        self.end(_finished(reason, result))

    def fail(self, error: BaseException) -> None:
        """End as this exception says, which is the caller's to raise again."""
        if self.status != "running":
            return
        if isinstance(error, (Cancelled, CancelledError)) or (self.cancelled and isinstance(error, KeyboardInterrupt)):
            self.done("cancelled")
        elif isinstance(error, GeneratorExit) or (isinstance(error, SystemExit) and not error.code):
            self.done("closed")
        elif isinstance(error, KeyboardInterrupt):
            self.end(Error(message="Interrupted", code="KeyboardInterrupt", ts=time.time()))
        else:
            lines = "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines()
            self.text("\n".join(lines[-TRACEBACK_LINES:]), Log, level="error", source="stderr")
            self.end(Error(message=last_line(error), code=type(error).__name__[:200], ts=time.time()))

    def end(self, event: Done | Error) -> None:
        """End as this event says, unless it has ended."""
        if self.status != "running":
            return
        self.emit(event)
        self.status = status_after(event)
        if self._view is not None and not self.silent:
            view, self._view, self._echo = self._view, None, None
            view.finish(self.snapshot)


def _finished(reason: Any, result: Any) -> Done:
    """With the result as JSON will have it: it is shown here just as in the browser."""
    done = Done(reason=reason, result=result, ts=time.time())
    try:
        plain = events.decode(events.encode(done))
        assert isinstance(plain, Done)
        return plain
    except Exception:
        return Done(reason=reason, result=repr(result), ts=done.ts)


def last_line(error: BaseException) -> str:
    """What the traceback of this exception ends with."""
    described = traceback.TracebackException.from_exception(error, capture_locals=False)
    described.__notes__ = None
    return list(described.format_exception_only())[-1].strip()[:MESSAGE]
