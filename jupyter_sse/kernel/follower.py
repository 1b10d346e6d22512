"""Reads a stream that the server writes: the answer to a question of this kernel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..events import Event, Start, Unknown
from .answer import Answer
from .inbox import Inquiry
from .live import LiveStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..state import Snapshot

__all__ = ["Follower"]


class Follower(LiveStream):
    """Asks the server, and fills an `Answer` with what it says, in the link's thread.

    question : the fields of a `Question`; None for an answer that somebody else has asked for.
    stream : that answer's id.
    """

    def __init__(
        self, question: dict[str, Any] | None, title: str | None, *, show: bool, stream: str | None = None
    ) -> None:
        super().__init__(title, show=show)
        self.id = stream or self.id
        said: dict[str, Any] = {"question": question, "title": self.title, "origin": self.origin} if question else {}
        asked = question or {}
        start = Start(kind="answer", title=self.title, model=asked.get("model"), origin=self.origin, ts=time.time())
        self._record = self._inquiry = Inquiry(self.id, said, start)
        history: Sequence[dict[str, str]] = asked.get("history", ())
        self.answer = Answer(self, question=asked.get("message"), history=history)
        self.on_cancel.append(lambda: self._link.cancel(self._inquiry))
        self._inquiry.on_events = self._heard
        self._inquiry.on_reset = self.answer._begin_again
        self._inquiry.on_end = self._ended
        if show:
            self.show()
        self._link.ask(self._inquiry)

    def _heard(self, events: list[Event | Unknown]) -> None:
        self.answer._add(events)
        if self._view is not None and self._view.echo is not None:
            for event in events:
                if isinstance(event, Event):
                    self._view.echo(event)

    def _ended(self) -> None:
        snapshot: Snapshot = self._inquiry.fold()
        self.status = snapshot.status
        if self._view is not None:
            self._view.finish(snapshot)
        self.answer._end_as(snapshot)
