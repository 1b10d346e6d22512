"""A program, what it writes, and how it is stopped with all that it has started.

One thread reads (on Windows one for each output) and one waits for the end; what they have goes through one bounded
queue, from which `next` gives it. So a program waits for who takes its output, as in a pipe.

On purpose:

- Each output is a terminal of its own where there are any: a program then colours what it writes, and writes a line
  when it has it, and stdout and stderr can still be told apart. Their order is that in which they arrive, which within
  a millisecond need not be that in which they were written.
- It leads a session, and so a process group, of its own, which has no controlling terminal: its children are stopped
  with it, and who asks for a password there is refused at once, where nobody could type one.
- What the program leaves in the background may hold its outputs open for ever. It is not waited for, and may go on to
  write: that is read and dropped.
"""

from __future__ import annotations

import atexit
import os
import queue
import selectors
import signal
import struct
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO

__all__ = ["Command", "Process"]

Command = str | Sequence[str | os.PathLike[str]]

READ = 65536
QUEUED = 32
"""Pieces of output that wait to be taken."""
GRACE = 3.0
"""Seconds between SIGTERM and SIGKILL."""
QUIET = 0.3
"""Seconds without output after which an output that is still open is taken to be held by the background."""
LOUD, MUCH = 2.0, 1 << 20
"""The same if there is no such pause: seconds after the exit, and bytes, more than it can have left in its outputs."""
LOOK = 0.02
COLUMNS, LINES = 100, 24

POSIX = os.name == "posix"
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)  # macOS cannot wait for terminals otherwise


class Process:
    """A program that has been started.

    terminals : which of stdout and stderr are terminals, where there are any; the others are pipes.
    input : what it reads, None for what this process would; b"" for nothing.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def __init__(
        self,
        command: Command,
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        input: bytes | None = b"",
        terminals: tuple[bool, bool] = (True, True),
        size: tuple[int, int] = (COLUMNS, LINES),
    ) -> None:
        self.returncode: int | None = None
        self._owner = os.getpid()
        self._queue: queue.Queue[tuple[str, bytes | None]] = queue.Queue(QUEUED)
        self._open = {"stdout", "stderr"}
        self._exited_at: float | None = None
        self._heard_at = 0.0
        self._after_exit = 0
        self._stopping: threading.Thread | None = None
        self._stop_lock = threading.Lock()
        self._terminals: list[int] = []
        self._over = False
        self._start(command, cwd, env, input, terminals, size)
        _running.add(self)

    def __repr__(self) -> str:
        return f"<Process {self.pid}{'' if self.returncode is None else f', exit code {self.returncode}'}>"

    def _start(
        self,
        command: Command,
        cwd: str | os.PathLike[str] | None,
        env: Mapping[str, str] | None,
        input: bytes | None,
        terminals: tuple[bool, bool],
        size: tuple[int, int],
    ) -> None:
        ends: dict[str, int] = {}
        given: list[int] = []
        try:
            for name, terminal in zip(("stdout", "stderr"), terminals, strict=True):
                ours, theirs = _open_terminal(size) if terminal and POSIX else os.pipe()
                ends[name] = ours
                given.append(theirs)
                if terminal and POSIX:
                    self._terminals.append(ours)
            self._process = subprocess.Popen(
                command,
                shell=isinstance(command, str),
                cwd=cwd,
                env=_environment(terminals) if env is None else env,
                stdin=subprocess.PIPE if input else subprocess.DEVNULL if input == b"" else None,
                stdout=given[0],
                stderr=given[1],
                start_new_session=True,
            )
        except BaseException:
            for end in ends.values():
                os.close(end)
            raise
        finally:
            for end in given:
                os.close(end)
        self.pid = self._process.pid
        if POSIX:
            self._begin(partial(self._read_all, ends))
        else:
            for name, end in ends.items():
                self._begin(partial(self._read, name, end))
        if input:
            stdin = self._process.stdin
            assert stdin is not None
            self._begin(partial(_write_all, stdin, input))
        self._begin(self._wait)

    @staticmethod
    def _begin(work: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=work, name="jupyter_sse process", daemon=True)
        thread.start()
        return thread

    # Threads of their own.

    def _read_all(self, ends: dict[str, int]) -> None:
        """Both outputs; where both have something, stdout first: most often it was, as with a traceback at the end."""
        with _Selector() as selector:
            for name, end in ends.items():
                os.set_blocking(end, False)
                selector.register(end, selectors.EVENT_READ, name)
            while selector.get_map():
                for key, _ in sorted(selector.select(), key=lambda ready: ready[0].data, reverse=True):
                    if not self._read_some(key.data, key.fd):
                        selector.unregister(key.fd)
                        self._close(key.data, key.fd)

    def _read_some(self, name: str, end: int) -> bool:
        """What there is for now; False if that was all."""
        try:
            for _ in range(QUEUED):
                data = os.read(end, READ)
                if not data:
                    return False
                self._give(name, data)
        except BlockingIOError:
            pass
        except OSError:  # how the end of a terminal is told on Linux
            return False
        return True

    def _read(self, name: str, end: int) -> None:
        """One output, where none can be waited for together with another."""
        with suppress(OSError):
            while data := os.read(end, READ):
                self._give(name, data)
        self._close(name, end)

    def _give(self, name: str, data: bytes | None) -> None:
        if not self._over:
            self._queue.put((name, data))

    def _close(self, name: str, end: int) -> None:
        with self._stop_lock:
            if end in self._terminals:
                self._terminals.remove(end)
            os.close(end)
        self._give(name, None)

    def _wait(self) -> None:
        returncode = self._process.wait()
        self.returncode = returncode
        self._give("", None)

    # The taker's.

    def next(self, timeout: float | None = None) -> tuple[str, bytes] | None:
        """The next output: which one, and what it wrote; None if none comes in time, or it has `ended`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.ended:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self._exited_at is not None:
                left = LOOK if left is None else min(left, LOOK)
            try:
                name, data = self._queue.get(timeout=left)
            except queue.Empty:
                if deadline is not None and time.monotonic() >= deadline:
                    return None
                continue
            self._heard_at = time.monotonic()
            if data is not None:
                if self._exited_at is not None:
                    self._after_exit += len(data)
                return name, data
            if name:
                self._open.discard(name)
            else:
                self._exited_at = self._heard_at
        return None

    @property
    def ended(self) -> bool:
        """It has exited, and nothing more is to be had from it."""
        if not self._over and self._is_over():
            self._over = True
            with suppress(queue.Empty):  # a reader may wait for room
                while True:
                    self._queue.get_nowait()
        return self._over

    def _is_over(self) -> bool:
        if self._exited_at is None or (self._stopping is not None and self._stopping.is_alive()):
            return False
        if not self._open or self._after_exit > MUCH:
            return True
        now = time.monotonic()
        return self._queue.empty() and (now > self._heard_at + QUIET or now > self._exited_at + LOUD)

    # From any thread.

    def resize(self, columns: int, lines: int) -> None:
        """Tell the program how large its terminal is now."""
        with self._stop_lock:
            for terminal in self._terminals:
                _set_size(terminal, columns, lines)
        if POSIX:
            self.signal(signal.SIGWINCH)

    def signal(self, number: int) -> bool:
        """Send the whole group a signal; False if nobody is left there."""
        if not POSIX:
            self._process.terminate()
            return False
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS has the latter for those that have exited
            return False
        return True

    def stop(self) -> None:
        """Ask the program and all that it has started to end; after `GRACE` seconds, end them."""
        with self._stop_lock:
            if self._stopping is None:
                self._stopping = self._begin(self._stop)

    def _stop(self) -> None:
        if not POSIX:
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(self.pid)], capture_output=True, check=False)
            return
        deadline = time.monotonic() + GRACE
        there = self.signal(signal.SIGTERM)
        while there and time.monotonic() < deadline:
            time.sleep(LOOK)
            there = self.signal(0)
        if there:
            self.signal(signal.SIGKILL)


def _environment(terminals: tuple[bool, bool]) -> dict[str, str]:
    """This process's, with what helps to see the output."""
    env = {**os.environ, "PAGER": "cat", "GIT_PAGER": "cat"}  # another one would wait for keys that nobody can press
    if not POSIX or not all(terminals):
        env.setdefault("PYTHONUNBUFFERED", "1")  # else what Python writes into a pipe comes at its end
    elif env.get("TERM", "dumb") == "dumb":
        env["TERM"] = "xterm-256color"
    return env


def _open_terminal(size: tuple[int, int]) -> tuple[int, int]:
    import pty

    ours, theirs = pty.openpty()
    _set_size(theirs, *size)
    return ours, theirs


def _set_size(terminal: int, columns: int, lines: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def _write_all(to: IO[bytes], data: bytes) -> None:
    with suppress(OSError), to:  # it may not read it all
        to.write(data)


_running: weakref.WeakSet[Process] = weakref.WeakSet()


def _at_exit() -> None:
    """What nobody would see or stop any more goes with this process."""
    running = [process for process in _running if process.returncode is None and process._owner == os.getpid()]
    for process in running:
        process.stop()
    for process in running:
        if process._stopping is not None:
            process._stopping.join(GRACE + LOOK)


atexit.register(_at_exit)
