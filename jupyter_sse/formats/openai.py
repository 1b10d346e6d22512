"""OpenAI's chat completions: chunks of a stream, and the whole where no stream is wanted.

On purpose:

- A call of a tool that has its result is left out: to a client of this protocol, `tool_calls` are what it is to run.
  So is whatever else the protocol has no word for: bars, steps, the log.
- An answer that was cancelled is told as an error: there is no `finish_reason` that says that it is not whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from ..events import Delta, Done, Error, Event, Reasoning, Tool, Unknown, Usage
from ..state import Snapshot
from .adapter import DONE, Adapter, Asked, FormatError, Frame, Part, conversation, parsed, text_of, text_of_parts

__all__ = ["OpenAI"]

LATER = ("tool", "function")
"""Roles of messages about calls: of an earlier answer, a model is told only the text again."""


STOPPED = {
    "cancelled": "The answer was cancelled before it was complete.",
    "timeout": "The answer was given up before it was complete.",
}
"""What is said of an answer that has ended so."""


class OpenAI(Adapter):
    """usage : tell the count of tokens, in a chunk of its own."""

    def __init__(self, stream: str, *, usage: bool = True) -> None:
        super().__init__(stream)
        self._wants_usage = usage
        self._usage: Usage | None = None
        self._created = 0
        self._calls: dict[str, Tool] = {}  # those without a result

    @classmethod
    def read(cls, body: bytes) -> Asked:
        given = parsed(body, _Body)
        given.check()
        said = [
            (message.role, text_of_parts(message.content)) for message in given.messages if message.role not in LATER
        ]
        if given.messages and given.messages[-1].role in LATER:
            raise FormatError("Tools are run where the model is, so no result of one can be sent.")
        options = given.stream_options or {}
        return Asked(
            conversation(said, model=given.model), {"usage": options.get("include_usage") is True}, bool(given.stream)
        )

    def begin(self, ts: float | None) -> Iterator[Frame]:
        self._created = int(ts or 0)
        yield self._chunk({"role": "assistant", "content": ""})

    def tell(self, event: Event | Unknown) -> Iterator[Frame]:
        match event:
            case Delta(text=text) if text:
                yield self._chunk({"content": text})
            case Reasoning(text=text) if text:
                yield self._chunk({"reasoning_content": text})
            case Tool(phase="call"):
                self._calls[event.id] = event
            case Tool():
                self._calls.pop(event.id, None)
            case Usage():
                self._usage = event

    def end(self, event: Done | Error) -> Iterator[Frame | str]:
        if isinstance(event, Error):
            yield self.failed(event.message, event.code)
        elif event.reason in STOPPED:
            yield self.failed(STOPPED[event.reason], event.reason)
        else:
            calls = _calls(self._calls.values())
            for index, call in enumerate(calls):
                yield self._chunk({"tool_calls": [{"index": index, **call}]})
            yield self._chunk({}, _finish_reason(event, calls))
            if self._wants_usage and self._usage is not None:
                yield {**self._chunk({}), "choices": [], "usage": _usage(self._usage)}
        yield DONE

    @classmethod
    def whole(cls, snapshot: Snapshot) -> Frame:
        reason: Any = snapshot.reason or "stop"
        calls = _calls(tool for tool in snapshot.tools if tool.phase == "call")
        message: Frame = {"role": "assistant", "content": snapshot.text, "refusal": None}
        if snapshot.reasoning:
            message["reasoning_content"] = snapshot.reasoning
        if calls:
            message["tool_calls"] = calls
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _finish_reason(Done(reason=reason), calls),
        }
        head = _head("chat.completion", snapshot.stream, int(snapshot.started or 0), snapshot.model)
        usage = {} if snapshot.usage is None else {"usage": _usage(snapshot.usage)}
        return {**head, "choices": [choice], **usage}

    @classmethod
    def failed(cls, message: str, code: str) -> Frame:
        return {"error": {"message": message, "type": "jupyter_sse_error", "param": None, "code": code}}

    @staticmethod
    def models(names: Iterable[str]) -> Frame:
        """The list of those that can be asked."""
        return {
            "object": "list",
            "data": [{"id": name, "object": "model", "created": 0, "owned_by": "jupyter-sse"} for name in names],
        }

    def _chunk(self, delta: Frame, finish_reason: str | None = None) -> Frame:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return {**_head("chat.completion.chunk", self.stream, self._created, self.model), "choices": [choice]}


def _head(kind: str, stream: str, created: int, model: str | None) -> Frame:
    return {"id": stream, "object": kind, "created": created, "model": model or ""}


def _calls(tools: Iterable[Tool]) -> list[Frame]:
    return [
        {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": text_of(tool.args or {})}}
        for tool in tools
    ]


def _finish_reason(done: Done, calls: list[Frame]) -> str:
    if done.reason == "length":
        return "length"
    return "tool_calls" if calls else "stop"


def _usage(usage: Usage) -> Frame:
    total = usage.input_tokens + usage.output_tokens
    return {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": total}


class _Message(Struct):
    role: str
    content: str | list[Part] | None = None


class _Body(Struct):
    messages: list[_Message]
    model: str | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: int | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[Any] | None = None
    logprobs: bool | None = None

    def check(self) -> None:
        """Refuse what would make another answer than the one that comes. (A `temperature` and the like would not.)"""
        asked = {
            "tools": self.tools,
            "functions": self.functions,
            "n": self.n not in (None, 1),
            "response_format": self.response_format and self.response_format.get("type") != "text",
            "modalities": self.modalities and self.modalities != ["text"],
            "logprobs": self.logprobs,
        }
        for name, is_asked in asked.items():
            if is_asked:
                raise FormatError(f"`{name}` cannot be asked for here, where the server chooses how a model is asked.")
