"""Answers: what any model streams, shown as it comes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Generator, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, Literal

from ..chat.chunks import Chunks, UnknownChunkError, check_source
from ..events import Delta, Done, Error, Event, Reasoning, Usage
from .display import display_object
from .producer import Cancelled, Producer, StreamError, last_line

if TYPE_CHECKING:
    from ..state import Snapshot

__all__ = ["Answer", "stream"]

Source = (
    Iterable[Any]
    | AsyncIterable[Any]
    | Awaitable[Any]
    | AbstractContextManager[Iterable[Any]]
    | AbstractAsyncContextManager[AsyncIterable[Any]]
)


class Answer:
    """What comes out of a stream: `text`, whole once `status` is no longer "running"; prints as its text."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._chunks = Chunks()
        self._end: Done | Error | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self.usage: Usage | None = None
        self.error: str | None = None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Answer {self.status}, {len(self.text)} characters>"

    def _ipython_display_(self) -> None:
        display_object(self._producer)

    def __await__(self) -> Generator[Any, None, Answer]:
        if self._task is not None:
            yield from self._task.__await__()
        if self._failure is not None:
            raise self._failure
        return self

    @property
    def id(self) -> str:
        """The stream's id, as in the server's URLs."""
        return self._producer.id

    @property
    def text(self) -> str:
        return _joined(self._text)

    @property
    def reasoning(self) -> str:
        return _joined(self._reasoning)

    @property
    def status(self) -> Literal["running", "done", "error", "cancelled"]:
        return self._producer.status

    @property
    def snapshot(self) -> Snapshot:
        return self._producer.snapshot

    def cancel(self) -> None:
        """Do what the Cancel button does."""
        for action in list(self._producer.on_cancel):
            action()

    def _take(self, item: Any) -> bool:
        """Show what this item brings; False if the answer ends with it."""
        self._producer.check()
        if type(item) is str:
            self._put_text(item)
        else:
            self._put(self._chunks.read(item))
        return self._end is None

    def _put_text(self, text: str) -> None:
        if text:
            self._text.append(text)
            self._producer.text(text, Delta)

    def _put(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Delta):
                self._put_text(event.text)
            elif isinstance(event, Reasoning):
                self._reasoning.append(event.text)
                self._producer.text(event.text, Reasoning)
            elif isinstance(event, (Done, Error)):
                self._end = event
                return
            else:
                if isinstance(event, Usage):
                    self.usage = event
                self._producer.emit(event)

    def _finish(self) -> None:
        if self._end is None:
            self._put(self._chunks.end())
        if isinstance(self._end, Error):
            self._producer.failed(self._end)
            raise StreamError(self._end.message)
        assert self._end is not None
        self._producer.done(self._end.reason, self._end.result)
        if self._producer.status == "cancelled":
            raise Cancelled(self._producer.title or "")

    def _fail(self, error: BaseException) -> BaseException:
        """End the stream; what to raise."""
        self._producer.fail(error)
        if self._producer.status == "cancelled":
            return error if isinstance(error, Cancelled) else Cancelled(self._producer.title or "")
        worded = isinstance(self._end, Error)
        self.error = (
            "Interrupted" if isinstance(error, KeyboardInterrupt) else str(error) if worded else last_line(error)
        )
        if isinstance(error, UnknownChunkError) or not isinstance(error, Exception):
            return error
        failure = StreamError(self.error)
        failure.answer = self
        failure.__cause__ = None if worded else error
        return failure

    def _run(self, source: Any) -> None:
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

    async def _run_async(self, source: Any) -> None:
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
            self._failure = self._fail(error)
            await _close_async(source, items, error)
            if not isinstance(error, (Exception, Cancelled)) and not self._producer.cancelled:
                raise
        else:
            await _close_async(source, items)

    def _start(self, source: Any) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._run_async(source))
            if self._failure is not None:
                raise self._failure from self._failure.__cause__
            return
        task = self._task = loop.create_task(self._run_async(source))
        # The flag is seen only when the source yields; this reaches it where it waits.
        self._producer.on_cancel.append(lambda: loop.call_soon_threadsafe(task.cancel))


def _joined(parts: list[str]) -> str:
    """The whole text, leaving it joined: asking after every piece stays cheap."""
    if len(parts) > 1:
        count = len(parts)
        parts[:count] = ["".join(parts[:count])]
    return parts[0] if parts else ""


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
    answer = Answer(Producer(title, kind=kind, model=model))
    if _is_async(source):
        answer._start(source)
    else:
        answer._run(source)
    return answer
