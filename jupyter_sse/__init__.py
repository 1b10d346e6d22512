"""Stream LLM answers and watch long-running work in Jupyter."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kernel.answer import Answer
    from .kernel.ask import ask
    from .kernel.chat import Chat
    from .kernel.connect import connect
    from .kernel.producer import Cancelled, StreamError
    from .kernel.progress import track
    from .kernel.stream import stream
    from .kernel.task import Task, task

__version__ = "0.1.0"

__all__ = ["Answer", "Cancelled", "Chat", "StreamError", "Task", "ask", "connect", "stream", "task", "track"]

_MODULES = {
    "Answer": "answer",
    "Cancelled": "producer",
    "Chat": "chat",
    "StreamError": "producer",
    "Task": "task",
    "ask": "ask",
    "connect": "connect",
    "stream": "stream",
    "task": "task",
    "track": "progress",
}


def __getattr__(name: str) -> Any:
    # Loaded when first used: the server imports this package too, and needs none of the kernel's side.
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".kernel.{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .server.app import SSE

    return [{"module": "jupyter_sse", "app": SSE}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "jupyter-sse"}]


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext jupyter_sse``: the magics."""
    from .kernel.magics import load

    load(shell)
