"""The Vercel AI SDK's UI message stream, version 1, which `useChat` and `readUIMessageStream` read.

Tools were run by the server, so they are `providerExecuted`: a page is not asked to run them. What the protocol does
not know becomes a `data-*` part of the message; lines of the log and sound are transient, so that a message does not
grow by them.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from ..events import (
    Audio,
    Delta,
    Done,
    Error,
    Event,
    Log,
    Preview,
    Progress,
    Reasoning,
    Start,
    Step,
    Tool,
    Unknown,
    Usage,
)
from .adapter import DONE, Adapter, Asked, FormatError, Frame, Part, conversation, fields, parsed

__all__ = ["AiSdk"]

FINISH = {"stop": "stop", "length": "length", "closed": "stop", "timeout": "other"}


class AiSdk(Adapter):
    headers = {"x-vercel-ai-ui-message-stream": "v1"}  # noqa: RUF012

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._open: Frame | None = None  # what ends the part that is being told
        self._parts = 0
        self._tools: set[str] = set()

    @classmethod
    def read(cls, body: bytes) -> Asked:
        given = parsed(body, _Body)
        said = [(message.role, message.text()) for message in given.messages]
        return Asked(conversation(said, model=given.model, system=given.system))

    def begin(self, ts: float | None) -> Iterator[Frame]:
        if self.stream:
            known = {} if self.model is None else {"messageMetadata": {"model": self.model}}
            yield {"type": "start", "messageId": self.stream, **known}
        else:
            yield {"type": "start"}

    def tell(self, event: Event | Unknown) -> Iterator[Frame]:
        match event:
            case Delta(text=text):
                yield from self._text("text", text)
            case Reasoning(text=text):
                yield from self._text("reasoning", text)
            case Tool():
                yield from self._tool(event)
            case Start():
                known = {"kind": event.kind, "title": event.title, "model": event.model}
                yield {"type": "message-metadata", "messageMetadata": _without_none(known)}
            case Usage():
                counts = {"inputTokens": event.input_tokens, "outputTokens": event.output_tokens}
                usage = {**counts, "totalTokens": sum(counts.values()), "cost": event.cost}
                yield {"type": "message-metadata", "messageMetadata": {"usage": _without_none(usage)}}
            case Progress():
                yield {"type": "data-progress", "id": event.bar, "data": fields(event)}
            case Step():
                yield {"type": "data-step", "data": fields(event)}
            case Preview(key=None):
                url = event.url or f"data:{event.mime};base64,{event.data}"
                yield {"type": "file", "mediaType": event.mime, "url": url}
            case Preview():
                yield {"type": "data-preview", "id": event.key, "data": fields(event)}
            case Log():
                yield {"type": "data-log", "data": fields(event), "transient": True}
            case Audio():
                yield {"type": "data-audio", "data": fields(event), "transient": True}
            case Unknown():
                yield {"type": f"data-{event.type}", "data": event.data}

    def end(self, event: Done | Error) -> Iterator[Frame | str]:
        yield from self._close()
        if isinstance(event, Error):
            yield {"type": "error", "errorText": event.message}
        elif event.reason == "cancelled":
            yield {"type": "abort", "reason": "cancelled"}
        else:
            if event.result is not None:
                yield {"type": "data-result", "data": event.result}
            yield {"type": "finish", "finishReason": FINISH[event.reason]}
        yield DONE

    def _text(self, kind: str, text: str) -> Iterator[Frame]:
        if not text:
            return
        end = f"{kind}-end"
        if self._open is None or self._open["type"] != end:
            yield from self._close()
            self._parts += 1
            self._open = {"type": end, "id": f"{kind}-{self._parts}"}
            yield {"type": f"{kind}-start", "id": self._open["id"]}
        yield {"type": f"{kind}-delta", "id": self._open["id"], "delta": text}

    def _close(self) -> Iterator[Frame]:
        if self._open is not None:
            yield self._open
            self._open = None

    def _tool(self, event: Tool) -> Iterator[Frame]:
        yield from self._close()
        if event.phase == "call" or event.id not in self._tools:
            self._tools.add(event.id)
            call = {"toolCallId": event.id, "toolName": event.name, "providerExecuted": True, "dynamic": True}
            yield {"type": "tool-input-start", **call}
            yield {"type": "tool-input-available", **call, "input": {} if event.args is None else event.args}
        if event.phase == "result":
            ran = {"toolCallId": event.id, "output": event.result, "providerExecuted": True, "dynamic": True}
            yield {"type": "tool-output-available", **ran}


def _without_none(known: Frame) -> Frame:
    return {name: value for name, value in known.items() if value is not None}


class _Message(Struct):
    role: str
    parts: list[Part]

    def text(self) -> str:
        """Its text. Of an answer only that: its tools and thoughts are not told to a model again."""
        if self.role == "user" and any(part.type == "file" for part in self.parts):
            raise FormatError("A message has a file, and only text can be asked here.")
        return "\n\n".join(part.text for part in self.parts if part.type == "text")


class _Body(Struct):
    messages: list[_Message]
    model: str | None = None
    system: str | None = None
