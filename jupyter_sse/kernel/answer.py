"""What `stream` and `ask` return."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..events import Delta, Event, Reasoning, Unknown, Usage
from .display import display_object
from .producer import Cancelled, StreamError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from ..state import Snapshot, Status
    from .live import LiveStream

__all__ = ["Answer"]

LOOK_SECONDS = 0.2
"""On Windows nothing interrupts a wait: one that is short is looked up from."""
STOP_SECONDS = 2.0
"""How long an interrupted cell waits to show the answer's end."""


class Answer:
    """What comes out of a stream: `text`, whole once `status` is no longer "running"; prints as its text."""

    def __init__(
        self, stream: LiveStream, *, question: str | None = None, history: Sequence[dict[str, str]] = ()
    ) -> None:
        self._stream = stream
        self._question = question
        self._history = list(history)
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._over: Future[None] = Future()
        self._over.set_running_or_notify_cancel()  # it is not for who waits to cancel
        self.usage: Usage | None = None
        self.error: str | None = None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Answer {self.status}, {len(self.text)} characters>"

    def _ipython_display_(self) -> None:
        display_object(self._stream)

    def __await__(self) -> Generator[Any, None, Answer]:
        if self._task is not None:
            yield from self._task.__await__()
        elif not self._over.done():
            try:
                yield from asyncio.wrap_future(self._over).__await__()
            except asyncio.CancelledError:
                self.cancel()
                raise
        return self._whole()

    @property
    def id(self) -> str:
        """The stream's id, as in the server's URLs."""
        return self._stream.id

    @property
    def text(self) -> str:
        return _joined(self._text)

    @property
    def reasoning(self) -> str:
        return _joined(self._reasoning)

    @property
    def model(self) -> str | None:
        """Who answers, as far as that is known."""
        return self.snapshot.model

    @property
    def cost(self) -> float | None:
        """US dollars; None where the provider's price is not known."""
        return self.usage.cost if self.usage is not None else None

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation up to and with this answer, as model clients take it."""
        asked = [] if self._question is None else [{"role": "user", "content": self._question}]
        return [*self._history, *asked, {"role": "assistant", "content": self.text}]

    @property
    def status(self) -> Status:
        return self._stream.status

    @property
    def snapshot(self) -> Snapshot:
        return self._stream.snapshot

    def cancel(self) -> None:
        """Do what the Cancel button does."""
        self._stream.cancel()

    # For those who fill it: `stream` in the user's thread, a follower in the link's.

    def _add(self, events: Iterable[Event | Unknown]) -> None:
        for event in events:
            if isinstance(event, Delta):
                self._text.append(event.text)
            elif isinstance(event, Reasoning):
                self._reasoning.append(event.text)
            elif isinstance(event, Usage):
                self.usage = event

    def _begin_again(self, snapshot: Snapshot) -> None:
        self._text[:] = [snapshot.text]
        self._reasoning[:] = [snapshot.reasoning]
        self.usage = snapshot.usage

    def _end(self, failure: BaseException | None) -> None:
        """It is whole, or this is why not."""
        self._failure = failure
        if isinstance(failure, StreamError):
            failure.answer = self
        self._over.set_result(None)

    def _end_as(self, snapshot: Snapshot) -> None:
        """It is over, as the stream's state says."""
        if snapshot.error is not None:
            self.error = snapshot.error.message
            self._end(StreamError(self.error))
        else:
            self._end(Cancelled(self._stream.title or "") if snapshot.status == "cancelled" else None)

    def _wait(self) -> Answer:
        """Wait for the end; a KeyboardInterrupt stops the answer as well."""
        try:
            while not self._over.done():
                with suppress(NotYet):
                    self._over.result(LOOK_SECONDS)
        except KeyboardInterrupt:
            self.cancel()
            with suppress(NotYet):
                self._over.result(STOP_SECONDS)
            raise
        return self._whole()

    def _whole(self) -> Answer:
        if self._failure is not None:
            raise self._failure
        return self


def _joined(parts: list[str]) -> str:
    """The whole text, leaving it joined: asking after every piece stays cheap."""
    if len(parts) > 1:
        count = len(parts)
        parts[:count] = ["".join(parts[:count])]
    return parts[0] if parts else ""
