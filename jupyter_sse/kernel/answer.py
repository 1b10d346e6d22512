"""What `stream` and `ask` return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import Delta, Event, Reasoning, Unknown, Usage
from .handle import Handle
from .producer import Cancelled, StreamError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..state import Snapshot
    from .live import LiveStream

__all__ = ["Answer"]


class Answer(Handle):
    """What comes out of a stream: `text`, whole once `status` is no longer "running"; prints as its text."""

    def __init__(
        self, stream: LiveStream, *, question: str | None = None, history: Sequence[dict[str, str]] = ()
    ) -> None:
        super().__init__(stream)
        self._question = question
        self._history = list(history)
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self.usage: Usage | None = None
        self.error: str | None = None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Answer {self.status}, {len(self.text)} characters>"

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
        if isinstance(failure, StreamError):
            failure.answer = self
        super()._end(failure)

    def _end_as(self, snapshot: Snapshot) -> None:
        """It is over, as the stream's state says."""
        if snapshot.error is not None:
            self.error = snapshot.error.message
            self._end(StreamError(self.error))
        else:
            self._end(Cancelled(self._stream.title or "") if snapshot.status == "cancelled" else None)


def _joined(parts: list[str]) -> str:
    """The whole text, leaving it joined: asking after every piece stays cheap."""
    if len(parts) > 1:
        count = len(parts)
        parts[:count] = ["".join(parts[:count])]
    return parts[0] if parts else ""
