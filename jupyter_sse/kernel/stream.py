"""Answers: any iterator of text, shown as it comes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Literal

from ..events import Delta, Reasoning, Usage
from .chunks import Completion, Piece, UnknownItemError
from .display import display_object
from .producer import Cancelled, Producer, StreamError, last_line

if TYPE_CHECKING:
    from ..state import Snapshot

__all__ = ["Answer", "stream"]

Source = Iterable[Any] | AsyncIterable[Any] | Awaitable[Any]


class Answer:
    """What comes out of a stream: `text`, whole once `status` is no longer "running"; prints as its text."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._completion = Completion()
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

    def _take(self, item: Any) -> None:
        self._producer.check()
        piece = Piece(text=item) if type(item) is str else self._completion.read(item)
        if piece.reasoning:
            self._reasoning.append(piece.reasoning)
            self._producer.text(piece.reasoning, Reasoning)
        if piece.text:
            self._text.append(piece.text)
            self._producer.text(piece.text, Delta)
        if piece.usage is not None:
            self.usage = piece.usage
            self._producer.emit(piece.usage)

    def _finish(self) -> None:
        for tool in self._completion.tools():
            self._producer.emit(tool)
        self._producer.done(self._completion.reason)

    def _fail(self, error: BaseException) -> BaseException:
        """End the stream; what to raise."""
        self._producer.fail(error)
        if self._producer.status == "cancelled":
            return error if isinstance(error, Cancelled) else Cancelled(self._producer.title or "")
        self.error = "Interrupted" if isinstance(error, KeyboardInterrupt) else last_line(error)
        if isinstance(error, UnknownItemError) or not isinstance(error, Exception):
            return error
        failure = StreamError(self.error)
        failure.answer = self
        failure.__cause__ = error
        return failure

    def _run(self, source: Iterable[Any]) -> None:
        try:
            for item in source:
                self._take(item)
            self._finish()
        except BaseException as error:
            close = getattr(source, "close", None)
            if close is not None:
                close()
            raise self._fail(error)  # noqa: B904 (the cause is set where there is one)

    async def _run_async(self, source: AsyncIterable[Any] | Awaitable[Any]) -> None:
        try:
            if inspect.isawaitable(source):
                source = await source
            async for item in source:  # type: ignore[union-attr]
                self._take(item)
                while self._producer.crowded:
                    await asyncio.sleep(0.005)
            self._finish()
        except BaseException as error:
            self._failure = self._fail(error)
            await _close(source)
            if not isinstance(error, (Exception, Cancelled)) and not self._producer.cancelled:
                raise

    def _start(self, source: AsyncIterable[Any] | Awaitable[Any]) -> None:
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
    answer = Answer(Producer(title, kind=kind, model=model))
    if is_async:
        answer._start(source)  # type: ignore[arg-type]
    else:
        answer._run(source)  # type: ignore[arg-type]
    return answer
