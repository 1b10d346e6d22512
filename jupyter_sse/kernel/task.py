"""Long-running work that tells how it goes."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from ..events import Step
from ..webhook import check
from . import preview
from .display import display_object
from .interrupt import interrupt_here
from .producer import Producer
from .progress import NAME, Bar, around, enter, leave, number, total_or_none

if TYPE_CHECKING:
    from types import TracebackType

    from ..state import Snapshot

__all__ = ["Task", "current", "task"]


def _seconds(value: Any, what: str) -> float:
    seconds = float(number(value, what))
    if seconds < 0:
        raise ValueError(f"{what} must not be negative, and is {value}")
    return seconds


class Task:
    """One piece of work, used as ``with task("Render") as t:`` or ``async with``.

    Set `result` to what came out of it: a number, a text, a URL, anything that JSON can hold; a picture, sound or film
    as for `preview`, a `Path` of one, a table of pandas, or IPython's `Markdown`.
    """

    result: Any = None
    _awaited: asyncio.Task[Any] | None = None
    _stopped = False

    def __init__(
        self,
        title: str,
        *,
        steps: int | None = None,
        total: float | None = None,
        unit: str | None = None,
        cancellable: bool = True,
        timeout: float | None = None,
        stall: float | None = None,
        webhook: str | None = None,
        kind: str = "task",
    ) -> None:
        self.title = title
        self.steps = None if steps is None else int(steps)
        self.total = total_or_none(total)
        self.unit = unit
        self.timeout = None if timeout is None else _seconds(timeout, "timeout")
        self.stall = None if stall is None else _seconds(stall, "stall")
        if webhook is not None:
            check(webhook)
        self._webhook = webhook
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
        producer = Producer(
            self.title,
            kind=self._kind,
            cancellable=self._cancellable,
            total=self.total,
            unit=self.unit,
            stall=self.stall,
            webhook=self._webhook,
        )
        self._begin(producer)
        self._scope = enter(producer)
        producer.reached_by(interrupt_here())
        return self

    def _begin(self, producer: Producer) -> None:
        self._producer, producer.task = producer, self
        if self.timeout is not None:
            producer.expire_after(self.timeout)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        producer = self._running
        leave(self._scope)
        for bar in producer.bars.values():
            if bar.running:
                bar.end()
        if error is None:
            producer.done(result=self.result)
            return
        producer.fail(error)
        meant = producer.meant(error)
        if meant is not error:
            raise meant from None

    async def __aenter__(self) -> Task:
        self.__enter__()
        loop, self._awaited = asyncio.get_running_loop(), asyncio.current_task()
        self._running.reached_by(lambda error: loop.call_soon_threadsafe(self._stop_waiting), at_once=True)
        return self

    def _stop_waiting(self) -> None:
        """It is reached where it waits, as asyncio does it."""
        if self.status == "running" and self._awaited is not None:
            self._stopped = True
            self._awaited.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stopped and self._awaited is not None and sys.version_info >= (3, 11):
            self._awaited.uncancel()  # the block has been cancelled, and not what is around it
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
        """It is to stop: the next `step` or `progress` raises `Cancelled`, or `TaskTimeout` if its time is up."""
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
        unit: str | None = None,
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
            found = Bar(producer, bar[:NAME], n=count or 0, total=whole, unit=unit or self.unit, parent=parent)
            producer.bars[bar] = found
        found.running, found.state = True, None
        if count is not None:
            found.n = count
        if whole is not None:
            found.total = whole
        if parent is not None:
            found.parent = parent[:NAME]
        if unit is not None:
            found.unit = unit
        found.message = None if message is None else str(message)[: preview.TEXT]
        found.touch()

    def log(self, *values: object, level: str | int | None = None) -> None:
        """Write a line, as `print` does; `level` is a name or number of `logging`'s."""
        text = values[0] if len(values) == 1 and type(values[0]) is str else " ".join(map(str, values))
        if isinstance(level, int):
            level = logging.getLevelName(level).lower()
        producer = self._running
        if producer.time_limit is not None:
            producer.check()
        producer.log(text, level=level)

    def preview(
        self,
        content: Any,
        key: str | None = None,
        alt: str | None = None,
        *,
        mime: str | None = None,
        rate: float | None = None,
    ) -> None:
        """Show a picture, sound, film or 3D model; the same `key` replaces the one before.

        Pictures of one key that follow one another within a second are frames of a film: what is too fast is left out,
        never the last.

        content : bytes, a path, a URL, a PIL image, a figure of matplotlib or plotly, or an array: height x width (x 1
            to 4 channels), of uint8 or of floats from 0 to 1.
        mime : what bytes are, where their beginning does not say.
        rate : samples a second of an array that is sound, of floats from -1 to 1 or int16.

        Raises
        ------
        TypeError, ValueError
            If it cannot be shown, or is too large to be sent even after making it smaller.
        """
        self._running.preview(content, key=key, alt=alt, mime=mime, rate=rate)

    def audio(self, chunk: Any, mime: str | None = None, *, rate: float | None = None) -> None:
        """Have the next chunk of sound played, right behind the one before.

        chunk : bytes, such as a model sends them, or an array: samples (x channels), floats from -1 to 1 or int16.
        mime : what bytes are, where the first ones of the sound do not say: "audio/mpeg".
        rate : samples a second, of an array, or of bytes that are samples of 16 bits (little-endian, one channel).

        Raises
        ------
        TypeError, ValueError
            If it is no sound, nobody has said which, or it is another than before.
        """
        producer = self._running
        producer.check()
        producer.audio(chunk, mime, rate)


def current() -> Task | None:
    """The task that this code runs in: the innermost ``with task(...)``, or the cell where that is one."""
    return next((producer.task for producer in around() if producer.task is not None), None)


def task(
    title: str,
    *,
    steps: int | None = None,
    total: float | None = None,
    unit: str | None = None,
    cancellable: bool = True,
    timeout: float | None = None,
    stall: float | None = None,
    webhook: str | None = None,
    kind: str = "task",
) -> Task:
    """Show a piece of work while it runs: ``with task("Render video", steps=8) as t: t.step("Reading")``.

    The block's exception is shown too, and goes on as usual. Pressing Cancel raises `Cancelled` in it, and so does
    `TaskTimeout` when it has run for `timeout` seconds: at the next `step`, `progress` or round of `track`, in asyncio
    where it waits; what makes no such call is interrupted. Without an event for `stall` seconds (120 if not given, 0
    for never) it is shown as stalled. When it has ended, however it did, the Jupyter server posts that to the URL
    `webhook`, which no reader gets to see.
    """
    return Task(
        title,
        steps=steps,
        total=total,
        unit=unit,
        cancellable=cancellable,
        timeout=timeout,
        stall=stall,
        webhook=webhook,
        kind=kind,
    )
