"""Pictures that take each other's place faster than they can be sent: of those that wait, only the newest counts."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PACE", "Frames"]

FILM = 1.0
"""Seconds within which a picture takes the place of another to be a frame, which may be left out."""
PACE = 1 / 30
"""Seconds between two frames of a film, at least."""


class Frames:
    """The frames of one stream, by the key under which they are shown."""

    def __init__(self) -> None:
        self._came: dict[str, float] = {}
        self._waiting: dict[str, Callable[[], None]] = {}
        self._sending: str | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def is_film(self, key: str) -> bool:
        """Whether the picture that comes now follows one that came just before."""
        now = time.monotonic()
        with self._changed:
            came = self._came.pop(key, None)
            self._came[key] = now
            while now - self._came[oldest := next(iter(self._came))] > FILM:
                del self._came[oldest]
            return key in self._waiting or key == self._sending or (came is not None and now - came < FILM)

    def put(self, key: str, send: Callable[[], None]) -> None:
        """Have it sent, from another thread, unless one of the same key comes before its turn."""
        with self._changed:
            self._waiting.pop(key, None)
            self._waiting[key] = send
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jupyter_sse frames", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout: float) -> None:
        """Wait until all have been sent, and for no longer."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and self._sending is None, timeout)

    def _run(self) -> None:
        last: dict[str, float] = {}
        while True:
            with self._changed:
                # The thread goes with the film, and the next one begins another.
                if not self._changed.wait_for(lambda: self._waiting, FILM):
                    self._thread = None
                    return
                key = min(self._waiting, key=lambda key: last.get(key, 0.0))
                self._sending = key
            pause = last.get(key, 0.0) + PACE - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            last[key] = time.monotonic()
            with self._changed:
                send = self._waiting.pop(key)
            try:
                send()
            finally:
                with self._changed:
                    self._sending = None
                    self._changed.notify_all()
