"""What model clients yield, read by its shape: no client is imported."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from ..events import Tool, Usage

__all__ = ["Completion", "Piece", "UnknownItemError"]


class UnknownItemError(TypeError):
    """A source yielded something that is neither text nor a chunk."""


class Piece(NamedTuple):
    """What one chunk adds."""

    text: str = ""
    reasoning: str = ""
    usage: Usage | None = None


class Completion:
    """Reads the chunks of one OpenAI chat completion, objects or dicts; tool calls come in pieces and are joined."""

    def __init__(self) -> None:
        self.reason: Literal["stop", "length"] = "stop"
        self._calls: dict[int, dict[str, str]] = {}

    def read(self, item: Any) -> Piece:
        if isinstance(item, str):
            return Piece(text=str(item))
        if item is None:
            return Piece()
        choices = _get(item, "choices")
        if not isinstance(choices, (list, tuple)):
            kind = type(item).__name__
            raise UnknownItemError(
                f"stream() takes an iterator of str or of an OpenAI client's chunks, this one yields {kind}"
            )
        text = reasoning = ""
        if choices:  # the last chunk may have usage alone
            delta = _get(choices[0], "delta")
            text = _text(_get(delta, "content"))
            reasoning = _text(_get(delta, "reasoning_content")) or _text(_get(delta, "reasoning"))
            for call in _get(delta, "tool_calls") or ():
                self._call(call)
            if _get(choices[0], "finish_reason") == "length":
                self.reason = "length"
        return Piece(text, reasoning, _usage(_get(item, "usage")))

    def _call(self, piece: Any) -> None:
        index = _get(piece, "index") or 0
        call = self._calls.setdefault(index, {"id": "", "name": "", "args": ""})
        function = _get(piece, "function")
        call["id"] += _text(_get(piece, "id"))
        call["name"] += _text(_get(function, "name"))
        call["args"] += _text(_get(function, "arguments"))

    def tools(self) -> list[Tool]:
        """The calls that the model asks for, whole once the completion has ended."""
        return [
            Tool(id=call["id"] or f"call-{index}", name=call["name"], phase="call", args=_args(call["args"]))
            for index, call in sorted(self._calls.items())
        ]


def _get(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _args(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _usage(value: Any) -> Usage | None:
    given, taken = _get(value, "prompt_tokens"), _get(value, "completion_tokens")
    if not isinstance(given, int) or not isinstance(taken, int):
        return None
    return Usage(input_tokens=given, output_tokens=taken)
