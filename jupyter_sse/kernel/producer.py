"""The one who writes a stream: what tasks, loops and answers have in common."""

from __future__ import annotations

import time
import traceback
from asyncio import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from .. import events
from ..events import Delta, Done, Error, Event, Log, Reasoning, Start, Unknown
from ..output import with_media
from . import preview
from .frames import Frames
from .link import tell
from .live import LiveStream, status_after
from .media import Media
from .result import shown
from .sound import WHOLE, Sound

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ..state import Snapshot
    from .channel import Sampler
    from .interrupt import Interrupt
    from .progress import Bar
    from .task import Task

__all__ = ["Cancelled", "Producer", "StreamError", "TaskTimeout", "last_line"]

PIECE = 65536
"""Characters of one text event: at most 256 KiB in UTF-8, and below the smallest usual limit however it is escaped."""
TRACEBACK_LINES = 30
TRACEBACK = 10_000
MESSAGE = 2000
NO_WEBHOOK = (
    "jupyter_sse: the webhook will not be sent: that is done by a Jupyter server with jupyter_sse, and this process"
    " knows of none. Name one: jupyter_sse.connect(url, token)."
)
FRAME_SECONDS = 5.0
"""How long the end of a stream waits for a film's last frame."""
CANCEL_PATIENCE = 30.0
TIMEOUT_PATIENCE = 1.0
"""Seconds after which work that has not seen that it is to stop is interrupted: by Cancel, by its time limit."""


class Cancelled(BaseException):
    """Somebody pressed Cancel.

    Not an `Exception`, so that code which retries or logs all errors does not swallow it.
    """

    def _render_traceback_(self) -> list[str]:
        """One line in a notebook: nothing went wrong."""
        return [f"Cancelled: {self}" if str(self) else "Cancelled"]


class TaskTimeout(TimeoutError):
    """The work took longer than its `timeout`."""


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
    """Writes one stream: `emit` while it runs, then once `done` or `fail`.

    cancelled : it is to stop, because somebody has pressed Cancel or its time is up: `check` raises.
    task : what the user has of it, if that is a task.
    """

    task: Task | None = None

    def __init__(
        self,
        title: str | None = None,
        *,
        kind: str = "task",
        cancellable: bool = True,
        total: float | None = None,
        unit: str | None = None,
        model: str | None = None,
        stall: float | None = None,
        webhook: str | None = None,
        show: bool = True,
    ) -> None:
        super().__init__(title, show=show)
        self.kind = kind
        self.cancellable = cancellable
        self.cancelled = False
        self.time_limit: float | None = None  # once it is over
        self._has_raised = False
        self._interrupt: Interrupt | None = None
        self._at_once = False
        self.bars: dict[str, Bar] = {}
        self._record = self._channel = self._link.open(self.id, self.title or kind, webhook)
        self.on_cancel.append(self._ask_to_stop)
        self._media = Media(self._link, self._channel)
        self._frames = Frames()
        self._has_frame_failed = False
        self._sound: Sound | None = None
        self._put = self._link.put
        if webhook is not None and not self.remote:
            tell(NO_WEBHOOK)
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
                stall=stall,
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

    def pass_on(self, event: Unknown, size: int) -> None:
        """Append an event of the user's own type, which no view here shows; `size` as `emit` has it."""
        if self.status != "running":
            raise RuntimeError(f"{self.title or 'The stream'!r} has ended: nothing can be added to it")
        self._put(self._channel, event, size)

    @property
    def refused(self) -> bool:
        """The server takes no more of the stream: it is full, or deleted."""
        return self._channel.closed

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

    def log(self, text: str, *, level: str | None = None, source: str = "stdout") -> None:
        """Write lines that somebody has called for, and not printed."""
        self.text(text, Log, level=level, source=source)

    def preview(self, content: Any, *, key: str | None, alt: str | None, mime: str | None, rate: float | None) -> None:
        """Show it: at once, or as a frame of a film if it takes the place of one that has just come."""
        named = key is not None and not (isinstance(content, str) and content.startswith("http"))
        if named and not self.silent and self._frames.is_film(str(key)):
            mime, raw = preview.as_bytes(content, mime, rate)
            self._frames.put(str(key), lambda: self._show_frame(raw, key=key, alt=alt, mime=mime))
        else:
            self._show(content, key=key, alt=alt, mime=mime, rate=rate, inline=preview.INLINE)

    def _show(self, content: Any, **options: Any) -> None:
        event = preview.event(content, limit=self.max_event, upload=self.upload, **options)
        self.emit(event, len(event.data or ""))

    def _show_frame(self, raw: bytes, **options: Any) -> None:
        try:
            # By reference however small it is: of a film the log would be full in a minute.
            self._show(raw, inline=0, **options)
        except Exception as error:
            if self.status == "running" and not self._has_frame_failed:
                self._has_frame_failed = True
                self.log(f"A frame could not be shown: {error}", level="error", source="jupyter_sse")

    def audio(self, chunk: Any, mime: str | None, rate: float | None) -> None:
        """Append sound, in pieces if it is long."""
        if self._sound is None:
            self._sound = Sound()
        for event in self._sound.events(chunk, mime, rate, self.max_event):
            self.emit(event, len(event.data))

    def reached_by(self, interrupt: Interrupt, *, at_once: bool = False) -> None:
        """Where the work is to stop and does not see it in time, or `at_once`, interrupt it like this."""
        self._interrupt, self._at_once = interrupt, at_once

    def upload(self, mime: str, raw: bytes, key: str | None) -> str | None:
        """Have the server keep what is too large for an event; its URL, or None where there is no server that does."""
        return self._media.put(mime, raw, key)

    @property
    def snapshot(self) -> Snapshot:
        """The state, with what its URLs on the server stand for: it is shown and saved where that may be no more."""
        return with_media(super().snapshot, self._media.kept)

    def _ask_to_stop(self) -> None:
        """The next call of the work raises `Cancelled`; if it makes none for too long, it is interrupted."""
        if not self.cancellable or self.time_limit is not None:
            return
        again, self.cancelled = self.cancelled, True
        if again and self.origin is not None and self.origin.thread is not None:
            self._force(Cancelled)  # an interrupt of the kernel, which the server sees to, does not reach it
        elif self._interrupt is not None:
            self.later(0 if self._at_once else CANCEL_PATIENCE, lambda: self._force(Cancelled))

    def expire_after(self, seconds: float) -> None:
        """From then on `check` raises `TaskTimeout`."""

        def expire() -> None:
            if self.status == "running" and not self.cancelled:
                self.cancelled, self.time_limit = True, seconds
                self.later(0 if self._at_once else TIMEOUT_PATIENCE, lambda: self._force(TaskTimeout))

        self.later(seconds, expire)

    def _force(self, error: type[BaseException]) -> None:
        # Work that has seen it is tidying up.
        if self.status == "running" and not self._has_raised and self._interrupt is not None:
            self._interrupt(error)

    def check(self) -> None:
        if not self.cancelled:
            return
        self._has_raised = True
        raise self._reason()

    def _reason(self) -> BaseException:
        if self.time_limit is None:
            return Cancelled(self.title or "")
        return TaskTimeout(f"{self.title or 'This'} took longer than {self.time_limit:g} s")

    def meant(self, error: BaseException) -> BaseException:
        """What this exception stands for, if it is the way by which the work was made to stop."""
        if not self.cancelled or (isinstance(error, (Cancelled, TaskTimeout)) and error.args):
            return error
        if self.time_limit is None:
            return self._reason() if isinstance(error, (Cancelled, CancelledError)) else error
        return self._reason() if isinstance(error, (TaskTimeout, KeyboardInterrupt, CancelledError)) else error

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
        self,
        reason: Literal["stop", "length", "cancelled", "timeout", "closed"] = "stop",
        result: Any = None,
        via: Literal["producer", "interrupt"] | None = None,
    ) -> None:
        self.end(_finished(reason, shown(result, limit=self.max_event, upload=self.upload), via))

    def fail(self, error: BaseException, trace: TracebackType | None = None) -> None:
        """End as this exception says, which is the caller's to raise again; `trace` is the part of its own to show."""
        if self.status != "running":
            return
        forced = self.cancelled and not self._has_raised and not isinstance(error, CancelledError)
        via: Literal["producer", "interrupt"] = "interrupt" if forced else "producer"
        if isinstance(self.meant(error), TaskTimeout) and self.time_limit is not None:
            self.done("timeout", via=via)
        elif isinstance(error, (Cancelled, CancelledError)) or (
            self.cancelled and isinstance(error, KeyboardInterrupt)
        ):
            self.done("cancelled", via=via)
        elif isinstance(error, GeneratorExit) or (isinstance(error, SystemExit) and not error.code):
            self.done("closed")
        elif isinstance(error, KeyboardInterrupt):
            self.end(Error(message="Interrupted", code="KeyboardInterrupt", ts=time.time()))
        else:
            frames = trace or error.__traceback__
            lines = "".join(traceback.format_exception(type(error), error, frames)).splitlines()
            last = "\n".join(lines[-TRACEBACK_LINES:])[-TRACEBACK:]
            self.end(Error(message=last_line(error), code=type(error).__name__[:200], traceback=last, ts=time.time()))

    def end(self, event: Done | Error) -> None:
        """End as this event says, unless it has ended."""
        if self.status != "running":
            return
        if not self.silent:
            self._frames.flush(FRAME_SECONDS)
            self._show_sound()
        self.emit(event)
        self.status = status_after(event)
        if self._view is not None and not self.silent:
            view, self._view, self._echo = self._view, None, None
            view.finish(self.kept(self.snapshot))

    def _show_sound(self) -> None:
        """All that was played, as one file: for those who come later, and for the notebook."""
        with suppress(Exception):  # it is not what its type says, or too large, and no server takes it
            whole = self._sound.whole() if self._sound is not None else None
            if whole is not None:
                mime, raw = whole
                self._show(raw, key=WHOLE, alt="Sound", mime=mime)

    def kept(self, snapshot: Snapshot) -> Snapshot:
        """What of its state stays in the notebook."""
        return snapshot


def _finished(reason: Any, result: Any, via: Any) -> Done:
    """With the result as JSON will have it: it is shown here just as in the browser."""
    done = Done(reason=reason, result=result, via=via, ts=time.time())
    try:
        plain = events.decode(events.encode(done))
        assert isinstance(plain, Done)
        return plain
    except Exception:
        return Done(reason=reason, result=repr(result), via=via, ts=done.ts)


def last_line(error: BaseException) -> str:
    """What the traceback of this exception ends with."""
    described = traceback.TracebackException.from_exception(error, capture_locals=False)
    described.__notes__ = None
    return list(described.format_exception_only())[-1].strip()[:MESSAGE]
