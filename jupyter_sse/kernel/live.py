"""A stream while it runs, as its views and its user see it: a `Producer` writes it, a `Follower` reads it."""

from __future__ import annotations

import secrets
import weakref
from typing import TYPE_CHECKING, Any

from ..events import Done, Error
from . import display, link
from .origin import origin, place
from .websocket import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..state import Snapshot, Status
    from .record import Listener, Record

__all__ = ["LiveStream", "shown_at", "status_after"]


class LiveStream:
    """What producers and followers have in common.

    title : cut at 1000 characters.
    show : it has an output in the cell that runs.
    slim : it is shown by what is not in the cell's own output.
    publisher : how its output gets into the notebook, if not as others do now.
    """

    slim = False
    publisher: Any = None

    def __init__(self, title: str | None, *, show: bool = True) -> None:
        self.id = secrets.token_urlsafe(16)
        self.title = str(title)[:1000] if title is not None else None
        self.status: Status = "running"
        self.origin = origin(with_cell=show)
        self._link = link.current()
        self._record: Record
        self._view: display.View | None = None
        self.shown_at: object = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.status}>"

    def show(self) -> None:
        """Show it where it was started."""
        self._view = display.show(self)
        if self._view is not None:
            self.shown_at = place()
            _shown.add(self)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do this in the link's thread, then."""
        self._link.later(seconds, action)

    def listen(self, listener: Listener, begin: Callable[[Snapshot], None] | None = None) -> None:
        """Have `begin` told of the state now, and the listener of every event after, in the link's thread."""
        self._link.listen(self._record, listener, begin)

    def cancel(self) -> None:
        """Do what the Cancel button does."""
        if self.status == "running":
            for action in list(self._record.on_cancel):
                action()

    @property
    def on_cancel(self) -> list[Callable[[], object]]:
        """Called, in whichever thread, when a cancel arrives."""
        return self._record.on_cancel

    @property
    def on_unwatched(self) -> list[Callable[[], object]]:
        """Called in the link's thread when nobody has read the stream from the server for a while."""
        return self._record.on_unwatched

    @property
    def shown_from_here(self) -> bool:
        """A view gets the stream from this process: the server does not know of it."""
        return self._record.listener is not None

    @property
    def watched(self) -> bool:
        """A page shows the stream, and gets it from the server."""
        return self._record.watched

    @property
    def snapshot(self) -> Snapshot:
        """The stream's state after everything so far."""
        return self._link.snapshot(self._record)

    @property
    def sound(self) -> dict[str, Any] | None:
        """Its last chunks of sound, for a page that is fed from here; for the link's thread."""
        record = self._record
        return {"from": record.sound_from, "chunks": list(record.sound)} if record.sound else None

    @property
    def remote(self) -> bool:
        """There is a server that has this stream, as far as is known."""
        return self._link.address is not None and not isinstance(self._link.problem, RefusedError)


_shown: weakref.WeakSet[LiveStream] = weakref.WeakSet()


def shown_at(where: object) -> bool:
    """A stream that is shown there runs."""
    return any(stream.status == "running" and stream.shown_at == where for stream in list(_shown))


def status_after(event: Done | Error) -> Status:
    """What becomes of a stream that ends like this."""
    if isinstance(event, Error):
        return "error"
    return "cancelled" if event.reason == "cancelled" else "done"
