"""What the user holds of a stream: to look at it, to wait for its end, and to stop it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .display import display_object

if TYPE_CHECKING:
    from collections.abc import Generator

    from typing_extensions import Self

    from ..state import Snapshot, Status
    from .live import LiveStream

__all__ = ["Handle"]

LOOK_SECONDS = 0.2
"""On Windows nothing interrupts a wait: one that is short is looked up from."""


class Handle:
    """A stream whose end can be waited for, with `wait` or by `await`."""

    _stop_seconds = 2.0
    """How long an interrupted cell waits to show the end."""

    def __init__(self, stream: LiveStream) -> None:
        self._stream = stream
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._over: Future[None] = Future()
        self._over.set_running_or_notify_cancel()  # it is not for who waits to cancel

    def _ipython_display_(self) -> None:
        display_object(self._stream)

    def __await__(self) -> Generator[Any, None, Self]:
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
    def status(self) -> Status:
        return self._stream.status

    @property
    def snapshot(self) -> Snapshot:
        return self._stream.snapshot

    def cancel(self) -> None:
        """Do what the Cancel button does."""
        self._stream.cancel()

    def _end(self, failure: BaseException | None) -> None:
        """It is over, or this is why not."""
        self._failure = failure
        self._over.set_result(None)

    def wait(self) -> Self:
        """Wait for the end; a KeyboardInterrupt stops it as well."""
        try:
            while not self._over.done():
                with suppress(NotYet):
                    self._over.result(LOOK_SECONDS)
        except KeyboardInterrupt:
            self.cancel()
            with suppress(NotYet):
                self._over.result(self._stop_seconds)
            raise
        return self._whole()

    def _whole(self) -> Self:
        if self._failure is not None:
            raise self._failure
        return self
