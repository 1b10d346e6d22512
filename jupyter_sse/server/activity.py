"""Work that runs is activity, for what culls idle kernels and servers; watching it is none.

A kernel is idle for Jupyter while a thread or an asyncio task of it works, and JupyterHub takes a busy cell for idle as
well, if it prints nothing. Both go by `last_activity`, which is kept up here while a stream's producer is connected,
whether it says something or not: a busy kernel is not culled either. (A server's own is the latest of all settings
whose names end in `_last_activity`; so jupyter_server provides for extensions.)
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

__all__ = ["Activity"]


class Activity:
    """Where jupyter_server keeps what cullers look at."""

    def __init__(self, kernel_manager: Any, settings: dict[str, Any]) -> None:
        self._kernels = kernel_manager
        self._settings = settings

    def mark(self, kernels: Iterable[str]) -> None:
        """The server is active now, and so are these kernels."""
        now = self._settings["jupyter_sse_last_activity"] = datetime.now(timezone.utc)
        for kernel in kernels:
            if kernel in self._kernels:
                self._kernels.get_kernel(kernel).last_activity = now
