"""What this process knows of a stream: its state after the latest event, and who is told of the next ones.

Only the link's thread touches what is in here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..events import Audio, Done, Error, Event, Unknown
from ..state import Snapshot, fold

__all__ = ["TERMINAL", "Listener", "Record"]

UNFOLDED = 1024
SOUND = 512 << 10
"""Characters of sound that a page gets with the state where the kernel feeds it: 8 s of samples, 25 of MP3."""
TERMINAL = (Done, Error)

Listener = Callable[[int, "list[Event | Unknown]"], float]
"""Called with the first seq and the events; returns the seconds until it wants more."""


class Record:
    """A stream's events as they come, folded; `Channel` sends them, `Inquiry` gets them."""

    def __init__(self, stream: str, title: str = "") -> None:
        self.id = stream
        self.title = title or stream
        self.snapshot = Snapshot(stream=stream)
        self.seq = 0
        self.ended = False
        self.sound: deque[tuple[int, Audio]] = deque()  # its last chunks, and the number of the one before
        self.sound_from = 0
        self._sound_size = 0
        self.listener: Listener | None = None
        self.unheard: list[Event | Unknown] = []
        self.hear_at = 0.0
        self.on_cancel: list[Callable[[], object]] = []
        self.on_unwatched: list[Callable[[], object]] = []  # called in the link's thread when nobody reads it
        self.watched = False  # a page shows it, from the server
        self._unfolded: list[tuple[int, Event | Unknown]] = []
        self._unfolded_size = 0

    def fold(self) -> Snapshot:
        if self._unfolded:
            self.snapshot = fold(self.snapshot, self._unfolded)
            self._unfolded = []
            self._unfolded_size = 0
        return self.snapshot

    def number(self, event: Event | Unknown) -> None:
        """Give the event its seq and remember it; folding joins all of the text anew, so it is put off for a while."""
        self.seq += 1
        self._unfolded.append((self.seq, event))
        self._unfolded_size += _weight(event)
        if len(self._unfolded) >= UNFOLDED or self._unfolded_size > max(1 << 20, len(self.snapshot.text)):
            self.fold()
        if self.listener is not None:
            self.unheard.append(event)
        if isinstance(event, TERMINAL):
            self.ended = True
        elif isinstance(event, Audio):
            self._keep(event)

    def _keep(self, event: Audio) -> None:
        self.sound.append((self.seq, event))
        self._sound_size += len(event.data)
        while self._sound_size > SOUND and len(self.sound) > 1:
            self.sound_from, old = self.sound.popleft()
            self._sound_size -= len(old.data)

    def tell(self, now: float) -> None:
        """Let the listener have what it has not heard, if its time has come."""
        if self.unheard and (self.hear_at <= now or self.ended):
            events, self.unheard = self.unheard, []
            assert self.listener is not None
            self.hear_at = now + self.listener(self.seq - len(events) + 1, events)


def _weight(event: Event | Unknown) -> int:
    """About the size of an event that may be large, in characters; 0 for others."""
    content = getattr(event, "text", None) or getattr(event, "data", None)
    return len(content) if isinstance(content, str) else 0
