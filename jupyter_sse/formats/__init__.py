"""Streams told in the protocols of other chat clients, and the questions that these clients ask.

An adapter is a state machine without I/O: events of one stream in, frames of another protocol out. `FORMATS` has them
by the name that `?format=` takes.
"""

from __future__ import annotations

from .adapter import Adapter, Asked, FormatError, Translation, events_of
from .ag_ui import AgUi
from .ai_sdk import AiSdk
from .openai import OpenAI

__all__ = ["FORMATS", "Adapter", "Asked", "FormatError", "OpenAI", "Translation", "events_of", "named"]

FORMATS: dict[str, type[Adapter]] = {"ai-sdk": AiSdk, "ag-ui": AgUi, "openai": OpenAI}


def named(name: str) -> type[Adapter]:
    """The adapter of this name.

    Raises
    ------
    FormatError
        There is none.
    """
    try:
        return FORMATS[name]
    except KeyError:
        raise FormatError(f"There is no format {name[:80]!r}, only {', '.join(FORMATS)}.", "unknown_format") from None
