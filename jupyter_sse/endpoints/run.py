"""Runs the user's function for a call: sync code in a thread of its own, async code on one loop for all of it.

So neither the process's main thread, busy with a cell, nor a generator that blocks delays any other.

On purpose:

- A generator is closed where it runs, at its `yield` (or, async, at its `await`), and its `finally` blocks run there.
- Whoever reads is told at once when it is over; a generator in a long call hears of it when that returns.
- What a call prints, and its traceback, goes where the endpoint was declared: in a notebook to that cell.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from ..events import Done, Error, Event, EventError
from .framing import events, is_terminal

__all__ = ["Run", "Sink", "is_generator"]

MESSAGE = 2000
"""Characters of an exception that readers are told. They are not told where in the program it was."""

_HERE = str(Path(__file__).parent)
_ONE = (str, bytes, bytearray, memoryview, dict, Event)
"""What can be iterated, and is one thing all the same."""


class Sink(Protocol):
    """Where the items of a run go."""

    @property
    def crowded(self) -> bool:
        """`put` may block: not to be called in a loop."""

    def put(self, item: Any) -> Future[None] | None:
        """Pass on what was yielded; a future if no more should come before it is done."""

    def end(self, event: Done | Error, *, again: bool = False) -> None:
        """Pass on how it ended: nothing comes after. `again`: another reader may begin anew."""

    def returned_nothing(self) -> bool:
        """The function was no generator and has returned None. True: the sink is filled by somebody else now."""


class Run:
    """One run of a function, from `start` until its sink is ended.

    on_over : called once, in any thread, when the function's code runs no more.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: dict[str, Any],
        sink: Sink,
        *,
        context: contextvars.Context,
        timeout: float | None,
        on_over: Callable[[Run], object] = lambda run: None,
    ) -> None:
        self.ended = False
        self._function = function
        self._arguments = arguments
        self._sink = sink
        self._context = context
        self._timeout = timeout
        self._on_over = on_over
        self._stopped = False
        self._lock = threading.Lock()
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None

    def start(self) -> None:
        with self._lock:  # one that has ended would be kept until its time is up
            if self._timeout is not None and not self.ended:
                self._timer = Timer(self._timeout, lambda: self.close(Done(reason="timeout", ts=time.time())))
        function = inspect.unwrap(self._function)
        if inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function):
            self._on_loop(self._drive_async(None))
        else:
            self._in_thread(self._drive, None)

    def close(self, event: Done | Error, *, again: bool = False) -> None:
        """End it like this, unless it has ended; from any thread."""
        was_stopped, self._stopped = self._stopped, True
        self._end(event, again=again)
        task = self._task
        if task is not None and not was_stopped:  # a second time would cancel what its `finally` blocks await
            task.get_loop().call_soon_threadsafe(task.cancel)

    def _end(self, event: Done | Error, *, again: bool = False) -> None:
        with self._lock:
            if self.ended:
                return
            self.ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._sink.end(event, again=again)

    def _put(self, item: Any) -> Future[None] | None:
        """Pass an item on, unless it is the last one."""
        if is_terminal(item):
            (last,) = events(item)
            assert isinstance(last, (Done, Error))
            self._stopped = True
            self._end(last)
            return None
        return self._sink.put(item)

    # Sync.

    def _in_thread(self, work: Callable[[Any], None], argument: Any) -> None:
        name = f"jupyter_sse endpoint {getattr(self._function, '__name__', '')}"
        context = self._context.copy()
        threading.Thread(target=context.run, args=(work, argument), name=name, daemon=True).start()

    def _drive(self, result: Any) -> None:
        over = True
        try:
            if self._stopped:
                return
            if result is None:
                result = self._function(**self._arguments)
            over = self._take(result)
        except BaseException as error:
            self._fail(error)
        finally:
            if over:
                self._on_over(self)

    def _take(self, result: Any) -> bool:
        """Pass on what the function returned; False if it is now a matter of the loop."""
        if isinstance(result, AsyncIterable) or inspect.isawaitable(result):
            self._on_loop(self._drive_async(result))
            return False
        if result is None:
            if self._sink.returned_nothing():
                if self._timer is not None:
                    self._timer.cancel()
                return True
        elif isinstance(result, _ONE) or not isinstance(result, Iterable):
            self._put(result)
        else:
            self._iterate(result)
        self._end(Done(reason="closed", ts=time.time()))
        return True

    def _iterate(self, source: Iterable[Any]) -> None:
        items: Iterator[Any] = iter(source)
        try:
            for item in items:
                if self._stopped:
                    return
                wait = self._put(item)
                if wait is not None:
                    wait.result()
                if self._stopped:
                    return
        finally:
            close = getattr(items, "close", None)
            if callable(close):
                close()

    # Async.

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        loop = _loops.get("async")

        loop.call_soon_threadsafe(lambda: loop.create_task(work), context=self._context.copy())

    async def _drive_async(self, result: Any) -> None:
        over = True
        self._task = asyncio.current_task()  # not before: one that is cancelled before it has begun does nothing at all
        try:
            if self._stopped:
                return
            if result is None:
                result = self._function(**self._arguments)
            if inspect.isawaitable(result):
                result = await result
            if isinstance(result, AsyncIterable):
                await self._iterate_async(result)
                self._end(Done(reason="closed", ts=time.time()))
            elif isinstance(result, Iterable) and not isinstance(result, _ONE):
                self._in_thread(self._drive, result)  # its next item may take long
                over = False
            else:
                over = self._take(result)
        except BaseException as error:
            self._fail(error)
        finally:
            if over:
                self._on_over(self)

    async def _iterate_async(self, source: AsyncIterable[Any]) -> None:
        items = source.__aiter__()
        try:
            async for item in items:
                if self._stopped:
                    return
                wait = await asyncio.to_thread(self._put, item) if self._sink.crowded else self._put(item)
                if wait is not None:
                    await asyncio.wrap_future(wait)
                else:
                    await asyncio.sleep(0)  # one that never waits would keep the loop for itself
                if self._stopped:
                    return
        finally:
            close = getattr(items, "aclose", None)
            if callable(close):
                await close()

    def _fail(self, error: BaseException) -> None:
        if self._stopped and isinstance(error, (GeneratorExit, asyncio.CancelledError)):
            return
        if isinstance(error, SystemExit) and not error.code:
            self._end(Done(reason="closed", ts=time.time()))
            return
        self._context.copy().run(_report, self._function, error)
        last = "".join(traceback.format_exception_only(type(error), error)).strip()
        code = "bad_event" if isinstance(error, EventError) else type(error).__name__[:200]
        self._end(Error(message=last[:MESSAGE], code=code, ts=time.time()))


def is_generator(function: Callable[..., Any]) -> bool:
    """Calling it runs none of its code yet."""
    function = inspect.unwrap(function)
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _report(function: Callable[..., Any], error: BaseException) -> None:
    """Print the traceback, without our part of it."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next
    with suppress(Exception):  # such as a stderr that is closed
        lines = traceback.format_exception(type(error), error, frames)
        print(f"The endpoint {getattr(function, '__name__', function)!r} failed:\n{''.join(lines)}", file=sys.stderr)


class Timer:
    """Calls this after so many seconds, in a thread that runs nothing of the user's."""

    def __init__(self, seconds: float, action: Callable[[], object]) -> None:
        self._loop = _loops.get("timers")
        self._loop.call_soon_threadsafe(self._begin, seconds, action)

    def _begin(self, seconds: float, action: Callable[[], object]) -> None:
        self._handle = self._loop.call_later(seconds, action)

    def cancel(self) -> None:
        self._loop.call_soon_threadsafe(lambda: self._handle.cancel())


class _Loops:
    """Event loops in threads of their own, by name, begun when first used."""

    def __init__(self) -> None:
        self._loops: dict[str, asyncio.AbstractEventLoop] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> asyncio.AbstractEventLoop:
        with self._lock:
            loop = self._loops.get(name)
            if loop is None:
                loop = self._loops[name] = asyncio.new_event_loop()
                thread = threading.Thread(target=loop.run_forever, name=f"jupyter_sse {name}", daemon=True)
                # Not what the thread that happens to come first has set.
                contextvars.Context().run(thread.start)
            return loop

    def forget(self) -> None:
        """In a forked child: the threads are gone."""
        self._loops, self._lock = {}, threading.Lock()


_loops = _Loops()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_loops.forget)
