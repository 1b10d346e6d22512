"""Where in the notebook a stream was started."""

from __future__ import annotations

import inspect
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

from ..events import Origin

__all__ = [
    "attended",
    "execution",
    "in_coroutine",
    "kernel_id",
    "notebook_path",
    "origin",
    "parent_message",
    "place",
    "shell",
]

_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_PART_OF_ITS_CALLER = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<lambda>"}
_CONNECTION_FILE = re.compile(r"kernel-(.+)\.json")


def shell() -> Any | None:
    """The running IPython shell, if IPython was imported at all."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def _kernel() -> Any | None:
    return getattr(shell(), "kernel", None)


def parent_message() -> dict[str, Any]:
    """The execute request that this thread (else: the last one that anybody) works for."""
    kernel = _kernel()
    try:
        return dict(kernel.get_parent()) if kernel is not None else {}
    except Exception:  # a kernel that is not ipykernel
        return {}


def execution() -> str | None:
    """The id of the request that is being run."""
    found = parent_message().get("header", {}).get("msg_id")
    return None if found is None else str(found)


def place() -> object:
    """What is being run: the request in a notebook, the prompt in a terminal; None where neither is."""
    return execution() or getattr(shell(), "execution_count", None)


def attended() -> bool:
    """Somebody may be looking on. What runs notebooks on its own (nbclient, and so nbconvert and papermill) says that
    nobody is there to ask for input; front ends with a person before them take it."""
    return bool(parent_message().get("content", {}).get("allow_stdin", True))


def in_coroutine(frame: Any) -> bool:
    """Who calls can await: a coroutine, or a cell's statement with an `await` in it."""
    while frame is not None and frame.f_code.co_name in _PART_OF_ITS_CALLER:
        frame = frame.f_back
    return frame is not None and bool(frame.f_code.co_flags & _COROUTINE)


def kernel_id() -> str | None:
    """The server's id of this kernel: its connection file is named after it."""
    path = getattr(getattr(_kernel(), "parent", None), "connection_file", None)
    match = _CONNECTION_FILE.fullmatch(Path(path).name) if isinstance(path, str) else None
    return match[1] if match else None


def notebook_path() -> str | None:
    """The notebook as the server's contents API knows it; where that is not known, its name alone: a stream is saved
    in the notebook, and tells nobody the folders of this machine."""
    name = os.environ.get("JPY_SESSION_NAME")
    if not name:
        return None
    root = os.environ.get("JUPYTER_SSE_ROOT")
    try:
        return Path(name).resolve().relative_to(Path(root).resolve()).as_posix() if root else Path(name).name
    except (ValueError, OSError):
        return Path(name).name


def origin(*, with_cell: bool = True) -> Origin | None:
    """The notebook's path, cell, execution, kernel and thread, as far as they are known.

    with_cell : not for a stream without an output there, which a page would put back.
    """
    message, thread = parent_message(), threading.current_thread()
    known = Origin(
        path=notebook_path(),
        cell=message.get("metadata", {}).get("cellId") if with_cell else None,
        execution=execution() if with_cell else None,
        kernel=kernel_id(),
        thread=None if thread is threading.main_thread() else thread.name[:200],
    )
    return known if known != Origin() else None
