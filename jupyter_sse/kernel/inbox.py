"""Questions for the server, and the answers' events as it sends them: the outbox's counterpart. Does no I/O.

The kernel names the stream, so a question may be asked again after a cut: the server then goes on after the last event
that this kernel has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ..events import Done, Error, Event, Start, Unknown, event_from
from ..state import Snapshot
from .record import Record

__all__ = ["Inbox", "Inquiry"]

NO_SERVER_SECONDS = 10.0
AWAY_SECONDS = 60.0
"""How long an inquiry waits for a server that has not been there yet, or that was there and is away."""


class Inquiry(Record):
    """A question, and its answer as far as it has come.

    said : the fields of the `ask` message; without a question it is somebody else's, and only followed.
    start : the stream's first event, should the server never get to make it.
    """

    def __init__(self, stream: str, said: dict[str, Any], start: Start) -> None:
        super().__init__(stream, start.title or "")
        self.said = said
        self.start = start
        self.asked = False  # the server may have begun
        self.cancelled = False
        self.on_events: Callable[[list[Event | Unknown]], None] = lambda events: None
        self.on_reset: Callable[[Snapshot], None] = lambda snapshot: None
        self.on_end: Callable[[], None] = lambda: None

    def take(self, first: int, events: list[Event | Unknown]) -> None:
        """Events from the server; those that are here already are passed over."""
        events = events[max(0, self.seq + 1 - first) :]
        for event in events:
            self.number(event)
        if events:
            self.on_events(events)

    def begin_again(self, snapshot: Snapshot) -> None:
        """The server cannot go on after what is here: this is the state instead."""
        self.snapshot, self.seq = snapshot, snapshot.seq
        self.ended = snapshot.status != "running"
        self._unfolded, self._unfolded_size, self.unheard = [], 0, []
        self.on_reset(snapshot)

    def end(self, event: Done | Error) -> None:
        """End it here: the server will not, or cannot be asked."""
        if not self.ended:
            self.take(self.seq + 1, [event] if self.seq else [self.start, event])


class Inbox:
    """All that is asked of one server."""

    def __init__(self) -> None:
        self.connected = False
        self.inquiries: dict[str, Inquiry] = {}
        self._to_ask: dict[Inquiry, None] = {}
        self._to_cancel: dict[Inquiry, None] = {}
        self._able = False
        self._patience = NO_SERVER_SECONDS
        self._alone_since = time.monotonic()

    @property
    def settled(self) -> bool:
        """The server has every question."""
        return not (self._to_ask or self._to_cancel)

    @property
    def give_up_at(self) -> float | None:
        """When to tell those who wait that the server is not there."""
        return self._alone_since + self._patience if self.inquiries and not self.connected else None

    def add(self, inquiry: Inquiry) -> None:
        if not self.connected and not self.inquiries:
            self._alone_since = time.monotonic()  # nobody has tried to connect before
        self.inquiries[inquiry.id] = inquiry
        if self.connected and not self._able:
            self._refuse(inquiry)
        else:
            self._to_ask[inquiry] = None

    def cancel(self, inquiry: Inquiry) -> None:
        """Ask the server to stop the answer; one that it has not been asked for ends at once."""
        inquiry.cancelled = True
        if inquiry.asked:
            self._to_cancel[inquiry] = None
        else:
            inquiry.end(Done(reason="cancelled", ts=time.time()))

    def messages(self) -> Iterator[bytes]:
        """The messages to send now."""
        if not self.connected:
            return
        to_ask, self._to_ask = self._to_ask, {}
        to_cancel, self._to_cancel = self._to_cancel, {}
        for inquiry in to_ask:
            if not inquiry.ended:
                inquiry.asked = True
                yield msgspec.json.encode({"op": "ask", "stream": inquiry.id, "after": inquiry.seq, **inquiry.said})
        for inquiry in to_cancel:
            if not inquiry.ended:
                yield msgspec.json.encode({"op": "cancel", "stream": inquiry.id})

    def cut(self) -> None:
        """The link is cut: what has not ended is asked again."""
        if self.connected:
            self.connected = False
            self._alone_since, self._patience = time.monotonic(), AWAY_SECONDS
        self._to_ask = dict.fromkeys(self.inquiries.values())
        self._to_cancel = {inquiry: None for inquiry in self.inquiries.values() if inquiry.cancelled}

    def give_up(self, problem: Exception | None) -> None:
        """The server has been away for too long."""
        for inquiry in self.inquiries.values():
            why = f": {problem}" if problem is not None else "."
            message = f"The Jupyter server could not be reached for {self._patience:g} s{why}"
            if inquiry.asked:
                message += f" It may have gone on with the answer, which is stream {inquiry.id} there."
            inquiry.end(Error(message=message, code="no_server", retryable=True, ts=time.time()))

    def ended(self) -> list[Inquiry]:
        """Those whose answer is over, which are forgotten here."""
        over = [inquiry for inquiry in self.inquiries.values() if inquiry.ended]
        for inquiry in over:
            del self.inquiries[inquiry.id]
            self._to_ask.pop(inquiry, None)
            self._to_cancel.pop(inquiry, None)
        return over

    def heard(self, said: dict[str, Any]) -> None:
        """Take one message of the server."""
        op = said.get("op")
        if op == "welcome":
            self.connected = True
            self._able = bool(said.get("chat"))
            if not self._able:
                for waiting in self.inquiries.values():
                    self._refuse(waiting)
            return
        inquiry = self.inquiries.get(said.get("stream", ""))
        if inquiry is None or inquiry.ended:
            return
        if op == "events":
            if said["seq"] > inquiry.seq + 1:
                self._to_ask[inquiry] = None
            else:
                inquiry.take(said["seq"], list(map(event_from, said["events"])))
        elif op == "reset":
            inquiry.begin_again(msgspec.convert(said["snapshot"], Snapshot))
        elif op == "failed":
            inquiry.end(_error(said))
        elif op == "watched":
            inquiry.watched = True

    @staticmethod
    def _refuse(inquiry: Inquiry) -> None:
        message = (
            "This Jupyter server's jupyter_sse is too old to answer questions: update it there "
            "(pip install -U jupyter-sse) and start the server again."
        )
        inquiry.end(Error(message=message, code="not_supported", ts=time.time()))


def _error(failed: dict[str, Any]) -> Error:
    wait = failed.get("retry_after")
    return Error(
        message=str(failed["message"]),
        code=failed["code"],
        retryable=wait is not None,
        retry_after=wait,
        ts=time.time(),
    )
