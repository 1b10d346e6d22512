"""Any iterator of text, shown as it comes: an answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import Any

from ..events import Delta, Done, Error, Event, Reasoning
from .answer import Answer
from .chunks import Completion, Piece, UnknownItemError
from .producer import Cancelled, Producer, StreamError, last_line

__all__ = ["Pump", "stream"]

Source = Iterable[Any] | AsyncIterable[Any] | Awaitable[Any]


class Pump:
    """Fills an answer, and the stream that shows it, from a source."""

    def __init__(self, producer: Producer, answer: Answer) -> None:
        self.answer = answer
        self._producer = producer
        self._completion = Completion()

    def _take(self, item: Any) -> None:
        self._producer.check()
        if isinstance(item, (Done, Error)):
            self._producer.end(item)
        elif isinstance(item, Event):
            self._put(item)
        else:
            piece = Piece(text=item) if type(item) is str else self._completion.read(item)
            if piece.reasoning:
                self._put(Reasoning(text=piece.reasoning))
            if piece.text:
                self._put(Delta(text=piece.text))
            if piece.usage is not None:
                self._put(piece.usage)

    def _put(self, event: Event) -> None:
        self.answer._add([event])
        if isinstance(event, (Delta, Reasoning)):
            self._producer.text(event.text, type(event))
        else:
            self._producer.emit(event)

    def _finish(self) -> None:
        if self._producer.status == "running":
            for tool in self._completion.tools():
                self._producer.emit(tool)
            self._producer.done(self._completion.reason)
            self.answer._end(None)
        else:
            self.answer._end_as(self._producer.snapshot)

    def _fail(self, error: BaseException) -> BaseException:
        """End the stream; what to raise."""
        self._producer.fail(error)
        failure = self._failure(error)
        self.answer._end(failure)
        return failure

    def _failure(self, error: BaseException) -> BaseException:
        if self._producer.status == "cancelled":
            return error if isinstance(error, Cancelled) else Cancelled(self._producer.title or "")
        self.answer.error = "Interrupted" if isinstance(error, KeyboardInterrupt) else last_line(error)
        if isinstance(error, UnknownItemError) or not isinstance(error, Exception):
            return error
        failure = StreamError(self.answer.error)
        failure.__cause__ = error
        return failure

    def run(self, source: Iterable[Any]) -> None:
        try:
            for item in source:
                self._take(item)
            self._finish()
        except BaseException as error:
            close = getattr(source, "close", None)
            if close is not None:
                close()
            raise self._fail(error)  # noqa: B904 (the cause is set where there is one)
        self.answer._whole()

    async def run_async(self, source: AsyncIterable[Any] | Awaitable[Any]) -> None:
        try:
            if inspect.isawaitable(source):
                source = await source
            async for item in source:  # type: ignore[union-attr]
                self._take(item)
                while self._producer.crowded:
                    await asyncio.sleep(0.005)
            self._finish()
        except BaseException as error:
            self._fail(error)
            await _close(source)
            if not isinstance(error, (Exception, Cancelled)) and not self._producer.cancelled:
                raise

    def start(self, source: AsyncIterable[Any] | Awaitable[Any]) -> None:
        """Run it in the background of the running loop; where none runs, to its end."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self.run_async(source))
            self.answer._whole()
            return
        self.answer._task = self.cancellable(loop.create_task(self.run_async(source)))

    def cancellable(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """Have a cancel reach the task where it waits: the flag is seen only when the source yields."""
        loop = task.get_loop()
        self._producer.on_cancel.append(lambda: loop.call_soon_threadsafe(task.cancel))
        return task


async def _close(source: Any) -> None:
    close = getattr(source, "aclose", None) or getattr(source, "close", None)
    try:
        closed = close() if close is not None else None
        if inspect.isawaitable(closed):
            await closed
    except Exception:  # it has failed already, and that is what the user should see
        pass


def stream(source: Source, *, title: str | None = None, model: str | None = None, kind: str = "answer") -> Answer:
    """Show a text while it comes: from any sync or async iterator of str, or of an OpenAI client's chunks.

    A sync source runs to its end here. An async one runs in the background of the running loop, for ``await
    stream(...)``; where no loop runs, to its end too.

    Raises
    ------
    StreamError
        If the source raises: the cause is chained, `.answer` holds what came before.
    Cancelled
        If somebody presses Cancel.
    TypeError
        If the source is no such iterator.
    """
    if isinstance(source, str):
        source = [source]
    is_async = hasattr(source, "__aiter__") or inspect.isawaitable(source)
    if hasattr(source, "choices"):
        raise TypeError("this is a whole completion, not a stream: call create(..., stream=True)")
    if not is_async and not hasattr(source, "__iter__"):
        raise TypeError(
            f"stream() takes an iterator of str or of an OpenAI client's chunks, not {type(source).__name__}"
        )
    producer = Producer(title, kind=kind, model=model)
    pump = Pump(producer, Answer(producer))
    if is_async:
        pump.start(source)  # type: ignore[arg-type]
    else:
        pump.run(source)  # type: ignore[arg-type]
    return pump.answer
