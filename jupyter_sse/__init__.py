"""Stream LLM answers and watch long-running work in Jupyter."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kernel.answer import Answer
    from .kernel.ask import ask
    from .kernel.chat import Chat
    from .kernel.connect import connect
    from .kernel.endpoint import broadcast, endpoint
    from .kernel.follow import follow
    from .kernel.handler import handler
    from .kernel.producer import Cancelled, StreamError, TaskTimeout
    from .kernel.progress import track
    from .kernel.run import run
    from .kernel.stream import stream
    from .kernel.task import Task, current, task
    from .kernel.tqdm import tqdm, trange

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Cancelled",
    "Chat",
    "StreamError",
    "Task",
    "TaskTimeout",
    "ask",
    "broadcast",
    "connect",
    "current",
    "endpoint",
    "follow",
    "handler",
    "run",
    "stream",
    "task",
    "tqdm",
    "track",
    "trange",
]

_MODULES = {
    "Answer": "answer",
    "Cancelled": "producer",
    "Chat": "chat",
    "StreamError": "producer",
    "Task": "task",
    "TaskTimeout": "producer",
    "ask": "ask",
    "broadcast": "endpoint",
    "connect": "connect",
    "current": "task",
    "endpoint": "endpoint",
    "follow": "follow",
    "handler": "handler",
    "run": "run",
    "stream": "stream",
    "task": "task",
    "tqdm": "tqdm",
    "track": "progress",
    "trange": "tqdm",
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


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext jupyter_sse``."""
    from .kernel.magics import unload

    unload(shell)
