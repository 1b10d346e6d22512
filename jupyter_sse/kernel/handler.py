"""Python's `logging` in the log of whatever stream the code runs in."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING

from .progress import around

if TYPE_CHECKING:
    from .producer import Producer
    from .task import Task

__all__ = ["StreamHandler", "handler"]

OURS = "jupyter_sse"


class StreamHandler(logging.Handler):
    """Writes records, with their levels and tracebacks, into a task's log; without a task, into that of the stream
    around the code that logs. Where there is none, they are nobody's."""

    def __init__(self, task: Task | None = None, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._task = task
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        # What the link logs while it sends a record would be the next one to send.
        if getattr(self._busy, "on", False) or threading.current_thread().name.startswith(OURS):
            return
        self._busy.on = True
        try:
            producer = self._producer()
            if producer is None or producer.status != "running":
                return
            if not (producer.slim and _is_printed(record)):
                producer.log(self.format(record), level=record.levelname.lower(), source="logging")
        except Exception:
            self.handleError(record)
        finally:
            self._busy.on = False

    def _producer(self) -> Producer | None:
        return next(around(), None) if self._task is None else self._task._producer


def _is_printed(record: logging.LogRecord) -> bool:
    """Another handler writes it where the cell's output goes, which its stream has too."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        for other in logger.handlers:
            stream = other.stream if isinstance(other, logging.StreamHandler) else None
            if stream is not None and stream in (sys.stdout, sys.stderr) and record.levelno >= other.level:
                return True
        logger = logger.parent if logger.propagate else None
    return False


def handler(task: Task | None = None, level: int | str = logging.NOTSET) -> StreamHandler:
    """A handler for `logging`: ``logging.getLogger().addHandler(jupyter_sse.handler())``.

    Records go to `task`, or to the task, loop or cell around the code that logs them, from any thread.
    """
    return StreamHandler(task, level)
