"""AG-UI 1.0, the protocol of CopilotKit and others, as its `HttpAgent` reads it.

A stream is a run. What an agent's user sees beside the conversation, bars and pictures, are activities; the lines of a
log, and what the protocol does not know, are `CUSTOM` events under our names. Ids of messages and calls begin with the
stream's, as a client keeps those of all runs of a thread together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from ..events import Delta, Done, Error, Event, Preview, Progress, Reasoning, Step, Tool, Unknown, Usage
from .adapter import Adapter, Asked, FormatError, Frame, Part, conversation, fields, parsed, text_of, text_of_parts

__all__ = ["AgUi"]

LATER = ("tool", "reasoning", "activity")
"""Roles of messages that our answers left in the client's list: of an answer, a model is told only the text again."""


class AgUi(Adapter):
    def __init__(self, stream: str, *, thread: str | None = None, run: str | None = None) -> None:
        super().__init__(stream)
        self._ids = {"threadId": thread or stream, "runId": run or stream}
        self._open: list[Frame] = []  # what ends the message that is being told
        self._step: str | None = None
        self._messages = 0
        self._tools: set[str] = set()
        self._usage: Usage | None = None

    @classmethod
    def read(cls, body: bytes) -> Asked:
        given = parsed(body, _Body)
        if given.tools:
            raise FormatError("The tools of a page cannot be called from here: send none (`tools`).")
        if given.resume:
            raise FormatError("There are no interrupts here that could be resumed (`resume`).")
        said = [
            (message.role, text_of_parts(message.content)) for message in given.messages if message.role not in LATER
        ]
        wanted = given.props if isinstance(given.props, dict) else {}
        known = [f"{item.description}: {item.value}" for item in given.context]
        question = conversation(
            said, model=_text(wanted, "model"), system="\n\n".join(filter(None, [_text(wanted, "system"), *known]))
        )
        return Asked(question, {"thread": given.thread, "run": given.run})

    @classmethod
    def options(cls, body: Any) -> dict[str, Any]:
        given = body if isinstance(body, dict) else {}
        ids = {"thread": given.get("threadId"), "run": given.get("runId")}
        return {name: id for name, id in ids.items() if isinstance(id, str)}

    def begin(self, ts: float | None) -> Iterator[Frame]:
        yield {"type": "RUN_STARTED", **self._ids}

    def tell(self, event: Event | Unknown) -> Iterator[Frame]:
        match event:
            case Delta(text=text):
                yield from self._text("TEXT_MESSAGE", "assistant", text)
            case Reasoning(text=text):
                yield from self._text("REASONING_MESSAGE", "reasoning", text)
            case Tool():
                yield from self._tool(event)
            case Usage():
                self._usage = event
            case Step(message=message):
                yield from self._end_step()
                self._step = message
                count = {key: value for key, value in fields(event).items() if key in ("step", "of")}
                yield {"type": "STEP_STARTED", "stepName": message, "metadata": count}
            case Progress(bar=bar):
                yield self._activity("progress", f"{self.stream}-progress-{bar}", event)
            case Preview(key=key):
                yield self._activity("preview", f"{self.stream}-preview-{key}" if key else self._next(), event)
            case Unknown():
                yield {"type": "CUSTOM", "name": event.type, "value": event.data}
            case _:
                name = type(event).__name__.lower()
                yield {"type": "CUSTOM", "name": name, "value": fields(event)}

    def end(self, event: Done | Error) -> Iterator[Frame | str]:
        yield from self._close()
        used = {} if self._usage is None else {"usage": [_tokens(self._usage, self.model)]}
        if isinstance(event, Error):
            yield {"type": "RUN_ERROR", "message": event.message, "code": event.code, **used}
            return
        yield from self._end_step()
        finished: Frame = {"type": "RUN_FINISHED", **self._ids, **used, "metadata": {"reason": event.reason}}
        if event.reason in ("cancelled", "timeout"):
            finished["outcome"] = {"type": "cancelled"}
        else:
            finished["outcome"] = {"type": "success"}
            if event.result is not None:
                finished["result"] = event.result
        yield finished

    def _next(self) -> str:
        self._messages += 1
        return f"{self.stream}-message-{self._messages}"

    def _text(self, kind: str, role: str, text: str) -> Iterator[Frame]:
        if not text:
            return
        if not self._open or self._open[0]["type"] != f"{kind}_END":
            yield from self._close()
            message = {"messageId": self._next()}
            self._open = [{"type": f"{kind}_END", **message}]
            if role == "reasoning":
                self._open.append({"type": "REASONING_END", **message})
                yield {"type": "REASONING_START", **message}
            yield {"type": f"{kind}_START", **message, "role": role}
        yield {"type": f"{kind}_CONTENT", "messageId": self._open[0]["messageId"], "delta": text}

    def _close(self) -> Iterator[Frame]:
        yield from self._open
        self._open = []

    def _end_step(self) -> Iterator[Frame]:
        if self._step is not None:
            yield {"type": "STEP_FINISHED", "stepName": self._step}
            self._step = None

    def _tool(self, event: Tool) -> Iterator[Frame]:
        yield from self._close()
        call = {"toolCallId": f"{self.stream}-tool-{event.id}"}
        if event.id not in self._tools:
            self._tools.add(event.id)
            yield {"type": "TOOL_CALL_START", **call, "toolCallName": event.name}
            if event.args is not None:
                yield {"type": "TOOL_CALL_ARGS", **call, "delta": text_of(event.args)}
            yield {"type": "TOOL_CALL_END", **call}
        if event.phase == "result":
            content = {"content": text_of(event.result), "role": "tool"}
            yield {"type": "TOOL_CALL_RESULT", "messageId": self._next(), **call, **content}

    def _activity(self, kind: str, message: str, event: Event) -> Frame:
        return {"type": "ACTIVITY_SNAPSHOT", "messageId": message, "activityType": kind, "content": fields(event)}


def _tokens(usage: Usage, model: str | None) -> Frame:
    counts = {"inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens}
    told = {**counts, "totalTokens": sum(counts.values())}
    return told if model is None else {"model": model, **told}


def _text(props: dict[str, Any], name: str) -> str | None:
    value = props.get(name)
    if value is not None and not isinstance(value, str):
        raise FormatError(f"forwardedProps.{name} is to be text.")
    return value


class _Message(Struct):
    role: str
    content: str | list[Part] | dict[str, Any] | None = None


class _Context(Struct):
    description: str
    value: str


class _Body(Struct):
    messages: list[_Message]
    thread: str | None = field(default=None, name="threadId")
    run: str | None = field(default=None, name="runId")
    tools: list[Any] = []
    context: list[_Context] = []
    props: Any = field(default=None, name="forwardedProps")
    resume: list[Any] = []
