"""One run of a cell as a stream.

What the cell prints and displays is its ordinary output, and goes into the stream as well, for those who look on from
elsewhere. In the notebook itself the stream is shown by what the output does not say: the time it takes, bars, steps.

On purpose:

- The stream is made when the cell begins, and holds back what it is told until there is a reason to show it. A cell
  that ends before that leaves no trace.
- Output counts for the cell that it is shown in, which for a thread's need not be the one that runs.
"""

from __future__ import annotations

import base64
import contextvars
import itertools
import sys
import threading
from asyncio import CancelledError
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from ..events import Event, Log, Preview, Start
from ..output import MIME
from ..state import LogTail
from . import display, preview
from .interrupt import interrupt_here
from .live import shown_at, status_after
from .origin import place, shell
from .producer import Producer
from .screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from ..events import Done, Error
    from ..state import Snapshot
    from .channel import Sampler

__all__ = ["CellStream"]

LOOK_AGAIN = 1.0
"""Seconds after which a cell is looked at again that was left alone, because a stream of its own was running."""
LINGER = 0.5
"""Seconds for which a line is kept back that has not ended, or is drawn again."""
HELD, HELD_EVENTS = 1 << 20, 8000
"""Characters and pieces of output that are held back until the cell is shown; of more, the last."""
MIRRORED = "output-"
"""How the keys of pictures begin that are in the cell's output."""
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")
NOT_SHOWN = (MIME, "application/vnd.jupyter.widget-view+json")


class CellStream(Producer):
    """What one run of a cell tells."""

    slim = True

    def __init__(self, title: str, *, stall: float | None = None) -> None:
        self._held: deque[tuple[Event, int]] | None = deque()
        self._held_size = self._left_out = 0
        self.publisher = getattr(shell(), "display_pub", None)  # not that of %%capture
        self._lock, self._screen_lock = threading.RLock(), threading.RLock()
        self._screens = {name: Screen(name) for name in ("stdout", "stderr")}
        self._lingers = False
        self._pictures = itertools.count(1)
        self._calls_in = self._is_cleared = False
        self._has_result = False
        self._context = contextvars.copy_context()
        super().__init__(title, kind="cell", stall=stall)
        self._place = place()
        self.reached_by(interrupt_here())

    def show(self) -> None:
        """Not before `begin`."""

    @property
    def begun(self) -> bool:
        """It is shown, or was."""
        return self._held is None

    def begin_after(self, seconds: float) -> None:
        """Show it then, unless the cell shows a stream of its own."""

        def look() -> None:
            if self._held is None or self.status != "running":
                return
            # This is the link's thread, for which somebody may wait who holds the lock.
            if shown_at(self._place) or not self._lock.acquire(blocking=False):
                self.later(LOOK_AGAIN, look)
                return
            try:
                self.begin()
            finally:
                self._lock.release()

        self.later(seconds, look)

    def begin(self) -> None:
        """Show it, and send what was held back."""
        with self._lock:
            held = self._held
            if held is None or self.status != "running":
                return
            if display.in_notebook():
                self._context.run(super().show)  # whichever thread this is, the output is the cell's
            for event, size in held:
                self._put(self._channel, event, size)
                if isinstance(event, Start) and self._left_out:
                    self._put(self._channel, Log(text=f"… ({self._left_out} characters before)", source="jupyter_sse"))
            self._held = None

    def emit(self, event: Event, size: int = 0) -> None:
        output = isinstance(event, Log) or (isinstance(event, Preview) and _is_mirrored(event))
        if self._held is not None:
            with self._lock:
                if self._held is not None and (output or isinstance(event, Start)):
                    self._hold(self._held, event, size)
                    return
            self.begin()
        self._calls_in = self._calls_in or not output
        super().emit(event, size)

    def _hold(self, held: deque[tuple[Event, int]], event: Event, size: int) -> None:
        held.append((event, size))
        self._held_size += size
        while (self._held_size > HELD or len(held) > HELD_EVENTS) and len(held) > 2:
            _, dropped = held[1]
            del held[1]
            self._held_size -= dropped
            self._left_out += dropped

    def sample(self, sampler: Sampler) -> None:
        self._calls_in = True
        self.begin()
        super().sample(sampler)

    def _ask_to_stop(self) -> None:
        if self._calls_in:
            super()._ask_to_stop()
        elif self.status == "running" and self._interrupt is not None:
            self._interrupt(KeyboardInterrupt)  # there is nobody to be asked first

    def log(self, text: str, *, level: str | None = None, source: str = "stdout") -> None:
        """What is not printed is missing in the cell's output, so it goes there too."""
        super().log(text, level=level, source=source)
        out = sys.stdout if source == "stdout" else sys.stderr
        getattr(out.write, "alone", out.write)(text.removesuffix("\n") + "\n")

    def cleared(self) -> None:
        """The cell's output is going to be cleared, at once or by what comes next."""
        self._is_cleared = True

    def _show_again(self) -> None:
        if self._is_cleared and self._view is not None:
            self._is_cleared = False
            self._view.show_again()

    def wrote(self, name: str, text: str) -> None:
        """The cell's output has got this text."""
        self._show_again()
        with self._screen_lock:
            screen = self._screens[name]
            screen.feed(text.encode("utf-8", "replace"))
            logs = screen.take()
            if screen.pending and not self._lingers:
                self._lingers = True
                self.later(LINGER, self._take_pending)
        self._put_logs(logs)

    def _take_pending(self) -> None:
        with self._screen_lock:
            self._lingers = False
            logs = [log for screen in self._screens.values() for log in screen.take(pending=True)]
        if self.status == "running":
            self._put_logs(logs)

    def _put_logs(self, logs: Iterable[Log]) -> None:
        for log in logs:
            self.emit(log, len(log.text))

    def displayed(self, content: dict[str, Any]) -> None:
        """The cell's output has got this display."""
        data = content["data"]
        if any(mime in data for mime in NOT_SHOWN):
            return
        self._show_again()
        key = content.get("transient", {}).get("display_id") or next(self._pictures)
        for mime in IMAGES:
            picture = data.get(mime)
            if isinstance(picture, str):
                raw = picture.encode("utf-8", "replace") if mime == "image/svg+xml" else base64.b64decode(picture)
                with suppress(TypeError, ValueError):  # not one, or too large to be sent
                    event = preview.event(raw, mime=mime, key=f"{MIRRORED}{key}", limit=self.max_event)
                    self.emit(event, len(event.data or ""))
                    return
        text = data.get("text/markdown") or data.get("text/plain")
        if isinstance(text, str) and text and not text.startswith("<IPython.core.display."):
            self.text(text, Log)

    def finish(self, error: BaseException | None, value: Any) -> None:
        """The cell is over; `value` is that of its last line, as it can be shown."""
        if self.status != "running":
            return
        self._put_logs([log for screen in self._screens.values() for log in screen.take(final=True)])
        for bar in self.bars.values():
            if bar.running:
                bar.end("complete" if error is None else "early")
        said = self.task.result if self.task is not None else None
        self._has_result = said is not None
        if error is None:
            self.done(result=value if said is None else said)
        elif isinstance(error, (KeyboardInterrupt, CancelledError)):
            self.done("cancelled" if self.time_limit is None else "timeout", via="interrupt")
        else:
            self.fail(error, _of_the_cell(error.__traceback__))

    def end(self, event: Done | Error) -> None:
        with self._lock:
            if self._held is not None:
                self._held = deque()
                self.status = status_after(event)
                return
        super().end(event)

    def kept(self, snapshot: Snapshot) -> Snapshot:
        """The rest is in the cell's output."""
        return msgspec.structs.replace(
            snapshot,
            log=LogTail(),
            previews=[preview for preview in snapshot.previews if not _is_mirrored(preview)],
            result=snapshot.result if self._has_result else None,
            error=None,
        )


def _is_mirrored(preview: Preview) -> bool:
    return preview.key is not None and preview.key.startswith(MIRRORED)


def _of_the_cell(trace: TracebackType | None) -> TracebackType | None:
    """Without the part that runs cells."""
    inner = trace
    while inner is not None and str(inner.tb_frame.f_globals.get("__name__")).startswith("IPython."):
        inner = inner.tb_next
    return inner or trace
