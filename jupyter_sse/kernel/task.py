"""Long-running work that tells how it goes."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from ..events import Log, Step
from . import preview
from .display import display_object
from .producer import Producer
from .progress import NAME, Bar, enter, leave, number, total_or_none

if TYPE_CHECKING:
    from types import TracebackType

    from ..state import Snapshot

__all__ = ["Task", "task"]


class Task:
    """One piece of work, used as ``with task("Render") as t:`` or ``async with``.

    Set `result` to what came out of it: a number, a text, a URL, or anything that JSON can hold.
    """

    result: Any = None

    def __init__(
        self,
        title: str,
        *,
        steps: int | None = None,
        total: float | None = None,
        unit: str | None = None,
        cancellable: bool = True,
        kind: str = "task",
    ) -> None:
        self.title = title
        self.steps = None if steps is None else int(steps)
        self.total = total_or_none(total)
        self.unit = unit
        self._cancellable = cancellable
        self._kind = kind
        self._step = 0
        self._producer: Producer | None = None

    def __repr__(self) -> str:
        return f"<Task {self.title!r} {self.status}>"

    def _ipython_display_(self) -> None:
        if self._producer is not None:
            display_object(self._producer)
        else:
            print(repr(self))

    def __enter__(self) -> Task:
        if self._producer is not None:
            raise RuntimeError(f"{self.title!r} has been used already: make a new task")
        self._producer = Producer(
            self.title, kind=self._kind, cancellable=self._cancellable, total=self.total, unit=self.unit
        )
        self._scopes = enter(self._producer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        producer = self._running
        leave(self._scopes)
        for bar in producer.bars.values():
            if bar.running:
                bar.end()
        if error is None:
            producer.done(result=self.result)
        else:
            producer.fail(error)

    async def __aenter__(self) -> Task:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    @property
    def _running(self) -> Producer:
        if self._producer is None:
            raise RuntimeError(f"not started: write `with task({self.title!r}) as t:`")
        return self._producer

    @property
    def id(self) -> str:
        """The stream's id, as in the server's URLs."""
        return self._running.id

    @property
    def status(self) -> str:
        return self._producer.status if self._producer is not None else "not started"

    @property
    def cancelled(self) -> bool:
        """Somebody has pressed Cancel; the next `step` or `progress` raises `Cancelled`."""
        return self._running.cancelled

    @property
    def snapshot(self) -> Snapshot:
        return self._running.snapshot

    def cancel(self) -> None:
        """Do what the Cancel button does."""
        self._running.cancel()

    def step(self, message: object, *, of: int | None = None) -> None:
        """Begin the next named step."""
        producer = self._running
        producer.check()
        self._step += 1
        text = str(message)[: preview.TEXT]
        of = self.steps if of is None else of
        producer.emit(Step(step=self._step, of=of, message=text, ts=time.time()), len(text))

    def progress(
        self,
        n: Any = None,
        total: Any = None,
        message: object = None,
        bar: str = "main",
        parent: str | None = None,
    ) -> None:
        """Set a bar; rate and time left are worked out here. Without `n` only the rest changes.

        Raises
        ------
        ValueError
            If `n` is not finite.
        """
        producer = self._running
        producer.check()
        count = None if n is None else number(n, "n")
        whole = total_or_none(total)
        found = producer.bars.get(bar)
        if found is None:
            if whole is None and bar == "main":
                whole = self.total
            found = Bar(producer, bar[:NAME], n=count or 0, total=whole, unit=self.unit, parent=parent)
            producer.bars[bar] = found
        found.running = True
        if count is not None:
            found.n = count
        if whole is not None:
            found.total = whole
        if parent is not None:
            found.parent = parent[:NAME]
        found.message = None if message is None else str(message)[: preview.TEXT]
        found.touch()

    def log(self, *values: object, level: str | int | None = None) -> None:
        """Write a line, as `print` does; `level` is a name or number of `logging`'s."""
        text = values[0] if len(values) == 1 and type(values[0]) is str else " ".join(map(str, values))
        if isinstance(level, int):
            level = logging.getLevelName(level).lower()
        self._running.text(text, Log, level=level)

    def preview(self, content: Any, key: str | None = None, alt: str | None = None) -> None:
        """Show a picture: bytes, a path, a URL, a figure, a PIL image; the same `key` replaces the one before.

        Raises
        ------
        TypeError, ValueError
            If it is no picture, or too large to be sent even after making it smaller.
        """
        producer = self._running
        event = preview.event(content, key=key, alt=alt, limit=producer.max_event)
        producer.emit(event, len(event.data or ""))


def task(
    title: str,
    *,
    steps: int | None = None,
    total: float | None = None,
    unit: str | None = None,
    cancellable: bool = True,
    kind: str = "task",
) -> Task:
    """Show a piece of work while it runs: ``with task("Render video", steps=8) as t: t.step("Reading")``.

    The block's exception is shown too, and goes on as usual. Pressing Cancel raises `Cancelled` in it.
    """
    return Task(title, steps=steps, total=total, unit=unit, cancellable=cancellable, kind=kind)
