"""How work is reached that does not look whether it is to stop: from another thread, wherever it is."""

from __future__ import annotations

import _thread
import ctypes
import signal
import threading
from collections.abc import Callable

from .origin import shell

__all__ = ["Interrupt", "interrupt_here"]

Interrupt = Callable[[type[BaseException]], object]


def interrupt_here() -> Interrupt:
    """How to interrupt this thread: the main one by `KeyboardInterrupt`, as the kernel's stop button does, unless it
    has gone on to another cell; another one by this exception, as soon as it runs Python again."""
    thread = threading.get_ident()
    if threading.current_thread() is not threading.main_thread():
        return lambda error: _raise_in(thread, error)
    cell = _cell()
    return lambda error: _interrupt_main(thread) if _cell() == cell else None


def _cell() -> object:
    return getattr(shell(), "execution_count", None)


def _interrupt_main(thread: int) -> None:
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(thread, signal.SIGINT)  # it ends a `sleep` too, which interrupt_main would wait for
    else:
        _thread.interrupt_main()


def _raise_in(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
