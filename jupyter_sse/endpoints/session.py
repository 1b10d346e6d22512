"""A path that many readers share: one run of its function, or none at all, and one stream that they all follow.

The stream is in the log, so those who come late get its state, and those who come after its end that and its end.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from ..events import Done, Error, Event, Unknown
from .framing import events, is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .run import Run

__all__ = ["Publisher", "Session", "closed"]


def closed() -> Done:
    """How something ends whose generator has returned, or is wanted no more."""
    return Done(reason="closed", ts=time.time())


class Publisher(Protocol):
    """Writes one stream.

    closed : it takes no more, being full or deleted.
    """

    id: str

    @property
    def closed(self) -> bool: ...

    @property
    def crowded(self) -> bool: ...

    def emit(self, event: Event | Unknown) -> None: ...

    def end(self, event: Done | Error) -> None: ...

    def listen(self, *, on_cancel: Callable[[], object], on_unwatched: Callable[[], object]) -> None:
        """Call these, in any thread: when somebody wants it to stop, and while nobody reads it, every minute or so."""


class Session:
    """One expanded path with its arguments, from its first reader or broadcast on.

    patience : seconds without a reader and without an event after which a session that `broadcast` fills is over; None
        for never. A run that nobody reads is ended at once.
    """

    def __init__(self, publisher: Publisher, *, patience: float | None) -> None:
        self.publisher = publisher
        self.run: Run | None = None
        self.end_event: Done | Error | None = None
        self._patience = patience
        self._fed_at = time.monotonic()
        self._is_open = False
        self._given_up = False
        self._was_told = False  # its end, by a broadcast
        self._is_new = True
        publisher.listen(on_cancel=self._cancelled, on_unwatched=self._unwatched)

    @property
    def stale(self) -> bool:
        """Who comes now gets a new one: this one has been given up, or did not come to its own end."""
        end = self.end_event
        if end is None:
            return self.publisher.closed
        is_cut = isinstance(end, Error) or end.reason in ("cancelled", "timeout")
        return self._given_up or (is_cut and not self._was_told)

    def is_new(self) -> bool:
        """True for the one that asks first: nobody else has seen an event of it, so that none is in need of a state."""
        was_new, self._is_new = self._is_new, False
        return was_new

    # The sink of its run.

    @property
    def crowded(self) -> bool:
        return self.publisher.crowded

    def put(self, item: Any) -> Future[None] | None:
        if self.end_event is not None or self.publisher.closed:
            self.close(self.end_event or closed(), again=self.end_event is None)
            return None
        self._fed_at = time.monotonic()
        for event in events(item):
            if is_terminal(event):
                assert isinstance(event, (Done, Error))
                self._was_told = True
                self.close(event)
                break
            if self.end_event is None:
                self.publisher.emit(event)
        return None

    def end(self, event: Done | Error, *, again: bool = False) -> None:
        if self.end_event is None:
            self.end_event = event
            self._given_up = again
            self.publisher.end(event)

    def returned_nothing(self) -> bool:
        self._is_open = True
        return True

    # Whatever else ends it.

    def close(self, event: Done | Error, *, again: bool = False) -> None:
        """End it like this, unless it has ended. `again`: the next reader begins anew."""
        if self.run is not None:
            self.run.close(event, again=again)
        self.end(event, again=again)
        self._given_up |= again

    def _cancelled(self) -> None:
        self.close(Done(reason="cancelled", via="producer", ts=time.time()))

    def _unwatched(self) -> None:
        silent = time.monotonic() - self._fed_at
        if not self._is_open or (self._patience is not None and silent > self._patience):
            self.close(closed(), again=True)
