"""Where in the notebook a stream was started."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from ..events import Origin

__all__ = ["attended", "kernel_id", "notebook_path", "origin", "parent_message", "place", "shell"]

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


def place() -> object:
    """What is being run: the request in a notebook, the prompt in a terminal; None where neither is."""
    return parent_message().get("header", {}).get("msg_id") or getattr(shell(), "execution_count", None)


def attended() -> bool:
    """Somebody may be looking on. What runs notebooks on its own (nbclient, and so nbconvert and papermill) says that
    nobody is there to ask for input; front ends with a person before them take it."""
    return bool(parent_message().get("content", {}).get("allow_stdin", True))


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
    """The notebook's path, cell, execution and kernel, as far as they are known.

    with_cell : not for a stream without an output there, which a page would put back.
    """
    message = parent_message()
    known = Origin(
        path=notebook_path(),
        cell=message.get("metadata", {}).get("cellId") if with_cell else None,
        execution=message.get("header", {}).get("msg_id") if with_cell else None,
        kernel=kernel_id(),
    )
    return known if known != Origin() else None
