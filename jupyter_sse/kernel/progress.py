"""Bars, and loops that drive them."""

from __future__ import annotations

import math
import operator
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from ..events import Progress
from .channel import Sampler
from .interrupt import interrupt_here
from .origin import execution
from .producer import Producer

__all__ = [
    "Bar",
    "Scope",
    "Track",
    "around",
    "enter",
    "leave",
    "look_for_cell",
    "number",
    "open_bar",
    "surrounding",
    "total_or_none",
    "track",
]

T = TypeVar("T")

SMOOTHING = 0.3
"""How much the latest rate counts against the ones before, as in tqdm."""
RATE_INTERVAL = 0.02
MAX_BARS = 50
NAME = 200


def number(value: Any, what: str) -> int | float:
    """The value as a finite int or float.

    Raises
    ------
    TypeError, ValueError
        If it is none.
    """
    try:
        exact = operator.index(value)
        if abs(exact) < 1 << 53:
            return exact
    except TypeError:
        pass
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        result = float(value)
    except TypeError:
        raise TypeError(f"{what} must be a number, not {type(value).__name__}") from None
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise ValueError(f"{what} must be a finite number, not {result}")
    return result


def total_or_none(value: Any) -> int | float | None:
    """A total that is not finite is one that is not known."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    try:
        return number(value, "total")
    except ValueError:
        return None


class Bar(Sampler):
    """One bar: set its fields, then `touch` it.

    Its rate is smoothed as tqdm's is; of a bar that has ended it is the mean.
    """

    def __init__(self, producer: Producer, name: str, **fields: Any) -> None:
        self.name = name
        self.producer = producer
        self.start(**fields)

    def start(
        self,
        *,
        n: float = 0,
        total: float | None = None,
        unit: str | None = None,
        parent: str | None = None,
        label: str | None = None,
    ) -> None:
        """Begin, also anew: short loops that follow one another are one bar, and sampled as one."""
        self.n = n
        self.total = total
        self.unit = unit
        self.parent = parent
        self.label = label
        self.message: str | None = None
        self.scale: int | None = None
        self.rate: float | None = None
        """Its rate where `measured` is False, and somebody else works it out."""
        self.measured = True
        self.running = True
        self.state: Literal["complete", "early", "removed"] | None = None
        self._first_n = self._last_n = n
        self._first = self._last = time.monotonic()
        self._mean_n = self._mean_time = self._samples = 0.0

    def touch(self) -> None:
        if not self.queued:
            self.queued = True
            self.producer.sample(self)

    def end(self, state: Literal["complete", "early", "removed"] | None = None) -> None:
        self.running = False
        self.state = state
        if self.parent is None:  # of nested ones there may be thousands a second
            self.due = 0.0
        self.touch()

    def sample(self) -> Progress:
        n, total = self.n, self.total
        rate = self._rate(n) if self.measured else self.rate
        return Progress(
            bar=self.name,
            n=n,
            total=total,
            pct=None if total is None else _percent(n, total),
            message=self.message,
            rate=None if rate is None else float(f"{rate:.4g}"),
            eta=round((total - n) / rate, 1) if rate and self.running and total is not None and n < total else None,
            unit=self.unit,
            parent=self.parent,
            label=self.label,
            scale=self.scale,
            state=self.state,
        )

    def _rate(self, n: float) -> float | None:
        now = time.monotonic()
        if n < self._last_n:  # started again
            self._first, self._first_n = now, n
            self._last, self._last_n = now, n
            self._mean_n = self._mean_time = self._samples = 0.0
            return None
        if not self.running or (self.total is not None and n >= self.total):
            return (n - self._first_n) / (now - self._first) if now > self._first and n > self._first_n else None
        step = now - self._last
        if step >= RATE_INTERVAL and n > self._last_n:
            self._mean_n += SMOOTHING * (n - self._last_n - self._mean_n)
            self._mean_time += SMOOTHING * (step - self._mean_time)
            self._samples += 1
            self._last, self._last_n = now, n
        # Both means begin at 0, and so are too small by the same factor.
        return self._mean_n / self._mean_time if self._samples else None


def _percent(n: float, total: float) -> float:
    if total <= 0:
        return 100.0
    return round(min(100.0, max(0.0, 100.0 * n / total)), 1)


class Scope(NamedTuple):
    """Where a loop shows its bar: in the task or loop around it."""

    producer: Producer
    bar: Bar | None
    outer: Scope | None

    @property
    def is_open(self) -> bool:
        return (self.bar is None or self.bar.running) and self.producer.status == "running" and not self.producer.silent


_scope: ContextVar[Scope | None] = ContextVar("jupyter_sse_scope", default=None)
_of_main_thread: Scope | None = None
_naming = threading.Lock()


def enter(producer: Producer, bar: Bar | None = None) -> Scope:
    """Loops from here on are inside; hand the result to `leave`."""
    global _of_main_thread
    inner = Scope(producer, bar, _innermost_open(_scope.get()))
    _scope.set(inner)
    if threading.current_thread() is threading.main_thread():
        _of_main_thread = inner
    return inner


def leave(scope: Scope) -> None:
    global _of_main_thread
    # A generator may be closed late, or in another context: then there is nothing to put back.
    if _scope.get() is scope:
        _scope.set(scope.outer)
    if _of_main_thread is scope:
        _of_main_thread = scope.outer


_find_cell: Callable[[], Producer | None] | None = None


def look_for_cell(find: Callable[[], Producer | None] | None) -> None:
    """Have this find the stream that the cell is itself, where there is no other; it begins it if need be."""
    global _find_cell
    _find_cell = find


def _cell_around() -> Producer | None:
    return None if _find_cell is None else _find_cell()


def _innermost_open(scope: Scope | None) -> Scope | None:
    while scope is not None and not scope.is_open:
        scope = scope.outer
    return scope


def surrounding() -> Scope | None:
    """The scope around, unless it was left behind by another cell. A thread without any is inside of what the main
    thread does."""
    scope = _scope.get()
    if scope is None and threading.current_thread() is not threading.main_thread():
        scope = _of_main_thread
    scope = _innermost_open(scope)
    if scope is not None:
        started = scope.producer.origin.execution if scope.producer.origin else None
        if started == execution():
            return scope
    cell = _cell_around()
    return None if cell is None else Scope(cell, None, None)


def around() -> Iterator[Producer]:
    """The streams around, the innermost first."""
    scope = surrounding()
    while scope is not None:
        yield scope.producer
        scope = _innermost_open(scope.outer)
    cell = _cell_around()
    if cell is not None:
        yield cell


def open_bar(
    producer: Producer, title: str | None, *, parent: Bar | None = None, again: bool = True, **fields: Any
) -> Bar:
    """A bar in this stream. With `again`, one of the same name and parent that has ended starts anew."""
    bars, above = producer.bars, None if parent is None else parent.name
    with _naming:
        name = wanted = (title or "main")[:NAME]
        count = 2
        while name in bars and not (_has_ended(bars[name], again) and bars[name].parent == above):
            name, count = f"{wanted} {count}", count + 1
        if name not in bars and len(bars) >= MAX_BARS:
            ended = next((other for other, bar in bars.items() if not bar.running), None)
            if ended is not None:
                bars[ended] = bars.pop(ended)
                name, fields = ended, {"label": title or "", **fields}
        bar = bars.get(name)
        if bar is None:
            bar = bars[name] = Bar(producer, name, parent=above, **fields)
        else:
            bar.start(parent=above, **fields)
    return bar


def _has_ended(bar: Bar, again: bool) -> bool:
    return not bar.running and (again or bar.state == "removed")


class _Run:
    """One pass over an iterable: a bar in the stream around, else in a stream of its own."""

    def __init__(self, title: str | None, total: float | None, unit: str | None) -> None:
        scope = surrounding()
        self.own = scope is None
        if scope is None:
            self.producer = Producer(title, total=total, unit=unit)
            self.producer.reached_by(interrupt_here())
            self.bar = open_bar(self.producer, None, total=total, unit=unit)
        else:
            self.producer = scope.producer
            self.bar = open_bar(self.producer, title, parent=scope.bar, total=total, unit=unit)
        self._scope = enter(self.producer, self.bar)
        self.bar.touch()

    def end(self, error: BaseException | None = None) -> None:
        self.bar.end("complete" if error is None else "early")
        leave(self._scope)
        if not self.own:
            return
        if error is None:
            self.producer.done()
        else:
            self.producer.fail(error)


class Track(Generic[T]):
    """An iterable that shows how far it is."""

    def __init__(
        self, iterable: Iterable[T] | AsyncIterable[T], title: str | None, total: float | None, unit: str | None
    ) -> None:
        if not hasattr(iterable, "__aiter__"):
            iter(iterable)
        self._iterable = iterable
        self._title = title
        self._unit = unit
        if total is None:
            try:
                total = len(iterable)  # type: ignore[arg-type]
            except TypeError:
                total = operator.length_hint(iterable, -1)
                total = None if total < 0 else total
        self.total = total_or_none(total)

    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[T]:
        if not hasattr(self._iterable, "__iter__"):
            raise TypeError("this is an async iterable: write `async for x in track(...)`")
        return self._loop(self._iterable)  # type: ignore[arg-type]

    def _loop(self, iterable: Iterable[T]) -> Iterator[T]:
        run = _Run(self._title, self.total, self._unit)
        producer, bar = run.producer, run.bar
        n = 0
        try:
            for item in iterable:
                if producer.cancelled:
                    producer.check()
                yield item
                n += 1
                bar.n = n
                if not bar.queued:
                    bar.touch()
        except BaseException as error:
            run.end(error)
            raise
        run.end()

    def __aiter__(self) -> AsyncIterator[T]:
        if hasattr(self._iterable, "__aiter__"):
            return _AsyncLoop(self, self._iterable.__aiter__())
        return _AsyncLoop(self, _as_async(self._iterable))


async def _as_async(iterable: Iterable[T]) -> AsyncIterator[T]:
    for item in iterable:
        yield item


class _AsyncLoop(AsyncIterator[T]):
    """Not an async generator: one that is left early is closed only when the loop gets to it."""

    def __init__(self, track: Track[T], source: AsyncIterator[T]) -> None:
        self._track = track
        self._source = source
        self._run: _Run | None = None

    async def __anext__(self) -> T:
        run = self._run
        if run is None:
            run = self._run = _Run(self._track._title, self._track.total, self._track._unit)
            self._started = False
        elif self._started:
            run.bar.n += 1
            run.bar.touch()
        try:
            run.producer.check()
            item = await self._source.__anext__()
        except StopAsyncIteration:
            self._end(run)
            raise
        except BaseException as error:
            self._end(run, error)
            raise
        self._started = True
        return item

    def _end(self, run: _Run, error: BaseException | None = None) -> None:
        if run.bar.running:
            run.end(error)

    def __del__(self) -> None:
        run = getattr(self, "_run", None)
        if run is not None:
            self._end(run, GeneratorExit())


def track(
    iterable: Iterable[T] | AsyncIterable[T],
    title: str | None = None,
    *,
    total: float | None = None,
    unit: str = "it",
) -> Track[T]:
    """Loop with a bar: ``for x in track(data, "Training"): ...``, or ``async for``.

    Inside a `task` or another `track` it is one more bar there; else it has an output of its own. `total` is found out
    where the iterable has a length. Pressing Cancel raises `Cancelled` at the next round.
    """
    return Track(iterable, title, total, unit)
