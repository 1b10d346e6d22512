"""Files that grow, such as the logs of others, shown as they do."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from ..events import Log
from .display import in_notebook
from .handle import Handle
from .producer import Cancelled, Producer
from .run import pass_on
from .screen import Screen
from .tail import Tail

if TYPE_CHECKING:
    from .tail import Change

__all__ = ["Follow", "follow"]

LOOK_SECONDS = 0.2
SOURCE = "file"

_SAY: dict[Change, str] = {
    "missing": "There is no such file yet: waiting for it.",
    "new": "Another file has taken its place.",
    "emptied": "The file was emptied.",
    "unreadable": "The file cannot be read: {problem}. Trying again.",
}


class Follow(Handle):
    """A file that is followed, in the background."""

    def __init__(self, tail: Tail, producer: Producer, *, show: bool) -> None:
        super().__init__(producer)
        self._tail = tail
        self._producer = producer
        self._show = show
        self._stop = threading.Event()
        producer.on_cancel.append(self._stop.set)
        producer.on_unwatched.append(self._leave)
        threading.Thread(target=self._run, name="jupyter_sse follow", daemon=True).start()

    def __repr__(self) -> str:
        return f"<Follow {self._tail.path} {self.status}>"

    def _leave(self) -> None:
        """Nobody reads it from the server any more."""
        if self._show and not self._producer.shown_from_here:
            self._stop.set()

    def _run(self) -> None:
        producer = self._producer
        try:
            self._read()
            if producer.cancelled:
                producer.done("cancelled")
                self._end(Cancelled(producer.title or ""))
            else:
                self._say("Nobody watches any more: no longer followed.")
                producer.done("closed")
                self._end(None)
        except BaseException as error:
            producer.fail(error)
            self._end(error)
        finally:
            self._tail.close()

    def _read(self) -> None:
        tail, screen = self._tail, Screen(SOURCE)
        while True:
            data = tail.read()
            change = tail.change()
            if change is not None:
                screen.end_line()
                self._put(screen)
                text = _SAY[change].format(problem=tail.problem and tail.problem.strerror)
                self._say(text)
            if data and not self._show:
                pass_on("stdout", data)
            screen.feed(data)
            self._put(screen)
            if self._stop.wait(0 if data else LOOK_SECONDS):
                self._put(screen, final=True)
                return

    def _say(self, text: str) -> None:
        self._producer.emit(Log(text=text, level="info", source="jupyter_sse"))

    def _put(self, screen: Screen, *, final: bool = False) -> None:
        for log in screen.take(pending=True, final=final):
            self._producer.emit(log, len(log.text))


def follow(path: str | os.PathLike[str], *, lines: int = 20, title: str | None = None) -> Follow:
    """Show the last lines of a file, and what is added to it, as ``tail -F`` does.

    It goes on in the background until somebody presses Cancel, or for a minute nobody looks at it from the server; in
    a script, to the script's end. `Follow.wait` and ``await`` wait for that.

    Parameters
    ----------
    path
        It may be renamed, emptied or deleted, as logs are, or not be there yet.
    lines
        How many of those that it has are shown.
    title
        What it is called; else the file's name.

    Raises
    ------
    IsADirectoryError
        If it is a directory.
    """
    tail = Tail(path, lines)
    show = in_notebook()
    title = title if title is not None else tail.path.name
    return Follow(tail, Producer(title, kind="log", show=show), show=show)
