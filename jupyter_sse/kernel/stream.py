"""Answers: what any model streams, shown as it comes."""

from __future__ import annotations

import asyncio
import base64
import inspect
import time
from collections.abc import AsyncIterable, Awaitable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from typing import Any

import msgspec

from ..chat.chunks import Chunks, UnknownChunkError, check_source
from ..events import Audio, Delta, Done, Error, Event, Reasoning
from .answer import Answer
from .producer import Cancelled, Producer, StreamError, last_line

__all__ = ["Pump", "stream"]

Source = (
    Iterable[Any]
    | AsyncIterable[Any]
    | Awaitable[Any]
    | AbstractContextManager[Iterable[Any]]
    | AbstractAsyncContextManager[AsyncIterable[Any]]
)


class Pump:
    """Fills an answer, and the stream that shows it, from a source."""

    def __init__(self, producer: Producer, answer: Answer) -> None:
        self.answer = answer
        self._producer = producer
        self._chunks = Chunks()

    def _take(self, item: Any) -> bool:
        """Show what this item brings; False if the answer ends with it."""
        self._producer.check()
        if type(item) is str:
            self._put([Delta(text=item)])
        else:
            self._put(self._chunks.read(item))
        return self._producer.status == "running"

    def _put(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, (Delta, Reasoning)):
                if event.text:
                    self.answer._add([event])
                    self._producer.text(event.text, type(event))
            elif isinstance(event, Audio):
                self._producer.audio(base64.b64decode(event.data), event.mime, None)
            elif isinstance(event, Done):
                self._producer.done(event.reason, event.result)
                return
            elif isinstance(event, Error):
                self._producer.end(msgspec.structs.replace(event, ts=time.time()))
                return
            else:
                self.answer._add([event])
                self._producer.emit(event)

    def _finish(self) -> None:
        if self._producer.status == "running":
            self._put(self._chunks.end())
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
        if isinstance(error, UnknownChunkError) or not isinstance(error, Exception):
            return error
        failure = StreamError(self.answer.error)
        failure.__cause__ = error
        return failure

    def run(self, source: Any) -> None:
        items = None
        try:
            items = source if hasattr(source, "__iter__") else source.__enter__()
            check_source(items, "__iter__")
            for item in items:
                if not self._take(item):
                    break
            self._finish()
        except BaseException as error:
            failure = self._fail(error)
            _close(source, items, error)
            raise failure  # noqa: B904 (the cause is set where there is one)
        _close(source, items)
        self.answer._whole()

    async def run_async(self, source: Any) -> None:
        items = None
        try:
            if inspect.isawaitable(source):
                source = await source
            check_source(source, "__aiter__", "__aenter__")
            items = source if hasattr(source, "__aiter__") else await source.__aenter__()
            check_source(items, "__aiter__")
            async for item in items:
                if not self._take(item):
                    break
                while self._producer.crowded:
                    await asyncio.sleep(0.005)
            self._finish()
        except BaseException as error:
            self._fail(error)
            await _close_async(source, items, error)
            if not isinstance(error, (Exception, Cancelled)) and not self._producer.cancelled:
                raise
        else:
            await _close_async(source, items)

    def start(self, source: Any) -> None:
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


def _close(source: Any, items: Any, error: BaseException | None = None) -> None:
    """Leave a source that is a context manager; close one that is not."""
    with suppress(Exception):  # the answer has ended, and how is what the user should see
        if items is not source:
            if items is not None:
                source.__exit__(type(error) if error else None, error, None)
        elif hasattr(source, "close"):
            source.close()


async def _close_async(source: Any, items: Any, error: BaseException | None = None) -> None:
    with suppress(Exception):
        if items is not source:
            if items is not None:
                await source.__aexit__(type(error) if error else None, error, None)
        elif (close := getattr(source, "aclose", None) or getattr(source, "close", None)) is not None:
            closed = close()
            if inspect.isawaitable(closed):
                await closed


def _is_async(source: Any) -> bool:
    if not hasattr(source, "__iter__"):
        return any(hasattr(source, way) for way in ("__aiter__", "__await__", "__aenter__"))
    if not hasattr(source, "__aiter__"):
        return False
    # LiteLLM's stream is of both kinds, and works as the one that it was made for.
    inner = getattr(source, "completion_stream", None)
    return hasattr(inner, "__aiter__") or inspect.iscoroutinefunction(getattr(source, "make_call", None))


def stream(source: Source, *, title: str | None = None, model: str | None = None, kind: str = "answer") -> Answer:
    """Show an answer while it comes: text, thinking, calls of tools with their results, and usage.

    source : a sync or async iterator of str, of events, or of what the clients of OpenAI, Anthropic, Google GenAI,
        LangChain, LiteLLM, Ollama and pydantic-ai stream; a context manager or an awaitable that gives one. It is
        closed at the end, also by Cancel, and with it the connection to the model.

    A sync source runs to its end here. An async one runs in the background of the running loop, for ``await
    stream(...)``; where no loop runs, to its end too.

    Raises
    ------
    StreamError
        If the source raises: the cause is chained, `.answer` holds what came before.
    Cancelled
        If somebody presses Cancel.
    TypeError
        If the source is no such iterator, or an answer as a whole.
    """
    if isinstance(source, str):
        source = [source]
    check_source(source, "__iter__", "__aiter__", "__await__", "__enter__", "__aenter__")
    producer = Producer(title, kind=kind, model=model)
    pump = Pump(producer, Answer(producer))
    if _is_async(source):
        pump.start(source)
    else:
        pump.run(source)
    return pump.answer
