"""Programs, with what they write shown while they run."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..events import Error, Log
from ..output import one_line
from .display import in_notebook
from .handle import Handle
from .origin import in_coroutine
from .process import COLUMNS, GRACE, LINES, Command, Process
from .producer import Cancelled, Producer
from .screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Run", "begin", "is_terminal", "pass_on", "run"]

TITLE = 200
GATHER = 0.02
"""Seconds for which the lines of a burst are gathered into one event."""
FIRST_LINGER, LAST_LINGER, SLOWER = 0.05, 1.0, 200
"""Seconds for which a line is kept back that has not ended, or is drawn again: more, the longer the program runs, as a
bar that is drawn for days would fill its stream; the last is reached after `SLOWER` seconds."""


class Run(Handle):
    """A program: `returncode` is None while it runs."""

    _stop_seconds = GRACE + 2

    def __init__(self, process: Process, producer: Producer, command: Command, *, check: bool, show: bool) -> None:
        super().__init__(producer)
        self.command = command
        self.interrupted = False  # from the terminal, for which its end then is no failure
        self._process = process
        self._producer = producer
        self._check = check
        self._show = show
        producer.on_cancel.append(process.stop)
        threading.Thread(target=self._follow, name="jupyter_sse run", daemon=True).start()

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else _outcome(self.returncode)
        return f"<Run {self._producer.title!r}: {state}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; that of a signal is negative, as in `subprocess`."""
        return self._process.returncode

    def signal(self, number: int) -> None:
        """Send a signal to the program and all that it has started."""
        self._process.signal(number)

    def resize(self, columns: int, lines: int) -> None:
        """Tell the program how large its terminal is now."""
        self._process.resize(columns, lines)

    def _follow(self) -> None:
        try:
            self._read()
            self._finish()
        except BaseException as error:
            self._process.stop()
            self._producer.fail(error)
            self._end(error)

    def _read(self) -> None:
        process = self._process
        screens = {name: Screen(name) for name in ("stdout", "stderr")}
        began = time.monotonic()
        lines_due = pending_due = math.inf  # when what has ended is sent, and what has not
        sent_at, last = 0.0, "stdout"
        while not process.ended:
            now = time.monotonic()
            due = min(lines_due, pending_due)
            got = process.next(None if due == math.inf else max(0.0, due - now))
            now = time.monotonic()
            if got is not None:
                source, data = got
                if not self._show and not pass_on(source, data):
                    process.stop()  # nobody reads what it writes, as at the end of `| head`
                if source != last:  # what came before it is told before it
                    self._put(screens[last].take())
                    last = source
                screens[source].feed(data)
                lines_due = min(lines_due, max(now, sent_at + GATHER))
                if screens[source].pending:
                    linger = min(LAST_LINGER, max(FIRST_LINGER, (now - began) / SLOWER))
                    pending_due = min(pending_due, now + linger)
            if now >= min(lines_due, pending_due):
                for screen in screens.values():
                    self._put(screen.take(pending=now >= pending_due))
                pending_due = math.inf if now >= pending_due else pending_due
                lines_due, sent_at = math.inf, now
        for screen in screens.values():
            screen.feed(b"", final=True)
            self._put(screen.take(final=True))

    def _put(self, logs: Iterable[Log]) -> None:
        for log in logs:
            self._producer.emit(log, len(log.text))

    def _finish(self) -> None:
        producer, code = self._producer, self.returncode
        assert code is not None
        if producer.cancelled or (self.interrupted and code in (-signal.SIGINT, 128 + signal.SIGINT)):
            producer.done("cancelled")
            self._end(Cancelled(producer.title or ""))
            return
        if code == 0:
            producer.done(result=code)
        else:
            name = f"exit_{code}" if code > 0 else f"signal_{-code}"
            producer.end(Error(message=f"The command {_outcome(code)}.", code=name, ts=time.time()))
        self._end(subprocess.CalledProcessError(code, self.command) if code and self._check else None)


def _outcome(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    reason = ": the system does that too when it runs out of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{reason}"


def pass_on(source: str, data: bytes) -> bool:
    """Write a program's output as it is where this process writes its own; False if nobody reads that any more."""
    to = sys.stderr if source == "stderr" else sys.stdout
    try:
        if to is not None:
            to.flush()
            raw = getattr(to, "buffer", None)
            if raw is None:
                to.write(data.decode("utf-8", "replace"))
            else:
                raw.write(data)
            to.flush()
    except BrokenPipeError:
        return False
    except ValueError:  # closed
        pass
    return True


def is_terminal(stream: Any) -> bool:
    try:
        return stream is not None and bool(stream.isatty())
    except ValueError:  # closed
        return False


def begin(
    command: Command,
    *,
    title: str | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    input: str | bytes | None = None,
    check: bool = False,
) -> Run:
    """`run`, without waiting for anything."""
    if isinstance(input, str):
        input = input.encode()
    show = in_notebook()
    process = Process(
        command,
        cwd=cwd,
        env=env,
        input=b"" if show and input is None else input,
        terminals=(True, True) if show else (is_terminal(sys.stdout), is_terminal(sys.stderr)),
        size=(COLUMNS, LINES) if show else shutil.get_terminal_size((COLUMNS, LINES)),
    )
    if title is None:
        line = command if isinstance(command, str) else shlex.join([os.fspath(part) for part in command])
        title = one_line(line)[:TITLE]
    return Run(process, Producer(title, kind="process", show=show), command, check=check, show=show)


def run(
    command: Command,
    *,
    title: str | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    input: str | bytes | None = None,
    check: bool = False,
    wait: bool = True,
) -> Run:
    """Run a program, and show what it writes while it does.

    The cell waits for its end. A coroutine does not, nor a cell's statement with an ``await`` in it: there it runs in
    the background, for ``await run(...)``; so it does with ``wait=False``, for `Run.wait`.

    Parameters
    ----------
    command
        A line for the shell, or a list: the program and its arguments.
    title
        What it is called; else the command itself.
    cwd, env
        As in `subprocess.run`.
    input
        What the program reads. Without it, nothing in a notebook, and what this process would read elsewhere.
    check
        Raise if it does not exit with 0.

    Raises
    ------
    OSError
        If it cannot be started.
    subprocess.CalledProcessError
        If `check`, and the exit code is not 0.
    Cancelled
        If somebody presses Cancel, which ends the program and all that it has started.
    """
    running = begin(command, title=title, cwd=cwd, env=env, input=input, check=check)
    return running.wait() if wait and not in_coroutine(sys._getframe(1)) else running
