"""One stream on its way from its producer to the server: numbered, folded, kept until acked.

Only the link's thread touches what is in here.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..events import Delta, Done, Error, Event, Log, Reasoning, Unknown
from .record import Record

__all__ = ["Channel", "Sampler", "instead"]

MERGED_TEXT = 16384
"""Characters that merged texts have at most."""
BURST = 32
"""Log lines that are sent one by one in one go; those after them are merged."""
SOURCE = "jupyter_sse"


class Sampler:
    """Something of which only the latest state counts, such as a bar: asked for it at most 20 times a second.

    So a loop may change it a million times a second, and its last state is seen even if nothing follows for hours.
    """

    queued = False
    due = 0.0

    def sample(self) -> Event:
        raise NotImplementedError


class Channel(Record):
    """One stream's way from its producer to the server. Only the link's thread touches what it holds."""

    def __init__(self, stream: str, title: str = "", webhook: str | None = None) -> None:
        super().__init__(stream, title)
        self.webhook = webhook  # where the server is to tell the stream's end, until it knows
        self.server_has_webhook = False
        self.acked = 0
        self.closed = False
        self.lost = 0
        self.max_text = MERGED_TEXT
        self.fresh: list[Event | Unknown] = []
        self.waiting: deque[bytes] = deque()
        self.sent: deque[bytes] = deque()
        self.replaced: set[int] = set()
        self.samplers: dict[Sampler, None] = {}
        self._first: Event | None = None
        self._texts: list[str] = []
        self._text_size = 0

    def limit(self, max_event: int) -> None:
        """Merged texts stay below the size of an event, even if each character is escaped."""
        self.max_text = min(MERGED_TEXT, max_event // 8)

    def take(self, event: Event | Unknown) -> None:
        """Queue an event; a text that follows one of the same kind joins it, a log line only in a burst of them."""
        if isinstance(event, Unknown):
            self.settle()
            self.fresh.append(event)
            return
        kind = type(event)
        if kind is Delta or kind is Reasoning or kind is Log:
            text: str = event.text  # type: ignore[attr-defined]
            first = self._first
            if (
                kind is type(first)
                and self._text_size + len(text) <= self.max_text
                and (kind is not Log or (len(self.fresh) >= BURST and _same_log(first, event)))
            ):
                self._texts.append(text)
                self._text_size += len(text)
                return
            self.settle()
            self._first = event
            self._texts = [text]
            self._text_size = len(text)
            return
        if self._first is not None:
            self.settle()
        self.fresh.append(event)

    def settle(self) -> None:
        """Make one event of the texts gathered so far."""
        event = self._first
        if event is None:
            return
        self._first = None
        if len(self._texts) > 1:
            if isinstance(event, Log):
                lines = "".join([text if text.endswith("\n") else text + "\n" for text in self._texts])
                event = Log(text=lines, level=event.level, source=event.source)
            else:
                event = type(event)(text="".join(self._texts))  # type: ignore[call-arg]
        self.fresh.append(event)

    def rewind(self, seq: int) -> None:
        """What was sent after `seq` is to be sent again."""
        for _ in range(min(len(self.sent), max(0, self.acked + len(self.sent) - seq))):
            self.waiting.appendleft(self.sent.pop())

    def ack(self, seq: int) -> int:
        """Forget what the server has up to `seq`; how many bytes that were."""
        freed = 0
        while self.acked < seq and (self.sent or self.waiting):
            freed += len(self.sent.popleft() if self.sent else self.waiting.popleft())
            self.acked += 1
        return freed

    def stop_sending(self) -> int:
        """Take no more events for the server; how many bytes were waiting."""
        freed = sum(map(len, self.sent)) + sum(map(len, self.waiting))
        self.closed = True
        self.sent.clear()
        self.waiting.clear()
        return freed

    @property
    def settled(self) -> bool:
        """Nothing is left to send."""
        return not (self.waiting or self.sent or self.fresh or self._first or self.samplers or self.lost)


def _same_log(first: Event | None, event: Event) -> bool:
    assert isinstance(first, Log)
    assert isinstance(event, Log)
    plain = all(log.ts is None and log.key is None for log in (first, event))
    return plain and first.level == event.level and first.source == event.source


def instead(kind: str, fields: dict[str, Any], reason: str) -> tuple[Log, Event | None]:
    """What stands for an event that cannot be sent: a line that says so, and the end of the stream if it was one."""
    what = "The result" if kind == "done" else f"An event ({kind})"
    log = Log(text=f"{what} was left out: {reason}"[:1000], level="error", source=SOURCE)
    if kind == "done":
        return log, Done(reason=fields.get("reason", "stop"), ts=fields.get("ts"))
    if kind == "error":
        return log, Error(message=fields["message"][:1000], code=fields.get("code", "error")[:100], ts=fields.get("ts"))
    return log, None
