"""The list of streams in a terminal or a file: ``jupyter sse ls``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..output import one_line
from . import clean, has_rich

if TYPE_CHECKING:
    from ..client import StreamInfo

__all__ = ["listing"]

HEAD = ("ID", "STATUS", "KIND", "BEGAN", "TITLE", "NOTEBOOK")


def listing(streams: Sequence[StreamInfo]) -> None:
    """Write a table to stdout: columns in a file are separated by tabs."""
    now = time.time()
    rows = [_row(info, now) for info in streams]
    if not rows:
        print("No streams.", file=sys.stderr)
    elif has_rich(sys.stdout):
        from .terminal import table

        table(HEAD, rows, [info.status for info in streams])
    else:
        for row in (HEAD, *rows):
            print("\t".join(row))


def _row(info: StreamInfo, now: float) -> tuple[str, ...]:
    texts = (info.stream, info.status, info.kind, ago(now - info.created), info.title, info.path)
    return tuple(clean(one_line(text or "")) for text in texts)


def ago(seconds: float) -> str:
    """``5 min ago``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{max(0, seconds):.0f} s ago"
