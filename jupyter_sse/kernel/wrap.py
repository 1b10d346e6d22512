"""``jupyter sse run``: a program of a terminal or a batch job, as it would be without us, and as a stream.

On purpose:

- What it writes to a terminal it writes to one, and into a file or a pipe where that is what it would.
- It runs whether a server is there or not, and does not wait for one.
- It gets the signals that come here, and they alone decide what becomes of it: a batch system may give it minutes
  to save its work. Cancel, which people press, is what ends it for sure.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from ..address import find
from . import link, websocket
from .producer import Cancelled
from .run import Run, begin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from ..address import Address

__all__ = ["wrap"]

CONNECT_SECONDS, LOOK_SECONDS = 5.0, 0.05
"""How long the end of a short program waits for the connection to be made."""
SEND_SECONDS = 60.0
"""How long the end waits for a server that is there to take the rest of the output."""
FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")


def wrap(command: Sequence[str], *, title: str | None = None, url: str | None = None) -> int:
    """Run the program; its exit code, as a shell has it."""
    warnings.showwarning = lambda message, *rest, **more: say(str(message))
    address = _server(url)
    if address is not None:
        link.use(link.Link(address))
    try:
        running = begin(list(command), title=title)
    except OSError as error:
        say(f"cannot run {command[0]}: {error.strerror}")
        return 126 if isinstance(error, PermissionError) else 127
    if os.name == "posix":
        _pass_signals_to(running)
    with suppress(Cancelled):
        running.wait()
    if address is not None:
        _send_rest(link.current())
    code = running.returncode
    assert code is not None
    return code if code >= 0 else 128 - code


def _send_rest(to: link.Link) -> None:
    """Let the server have the rest, if there is one."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while not to.flush(LOOK_SECONDS) and not to.connected and to.problem is None and time.monotonic() < deadline:
        pass
    if to.connected:
        to.flush(SEND_SECONDS)
    elif not isinstance(to.problem, websocket.RefusedError):  # of which it has been warned
        say(f"the Jupyter server at {to.address} does not answer: the output was shown here only.")


def say(message: str) -> None:
    print(f"jupyter sse: {message.removeprefix('jupyter_sse: ')}", file=sys.stderr, flush=True)


def _server(url: str | None) -> Address | None:
    started_by = websocket.from_environment()
    if started_by is not None and not url:
        return started_by
    try:
        return find(url)
    except (LookupError, ValueError) as error:
        say(f"{error} The output is shown here only.")
        return None


def _pass_signals_to(running: Run) -> None:
    def forward(number: int, frame: FrameType | None) -> None:
        running.interrupted = running.interrupted or number == signal.SIGINT
        running.signal(number)

    def pause(number: int, frame: FrameType | None) -> None:
        running.signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        running.signal(signal.SIGCONT)

    def resize(number: int, frame: FrameType | None) -> None:
        running.resize(*shutil.get_terminal_size())

    for name in FORWARDED:
        if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:  # as under nohup
            signal.signal(getattr(signal, name), forward)
    signal.signal(signal.SIGTSTP, pause)
    signal.signal(signal.SIGWINCH, resize)
