"""What all adapters share: how a stream begins and ends, what a late joiner is told, and how questions are read.

On purpose, nobody resumes: the clients of these protocols do not. They are told a stream from its beginning, or, in
place of what has been trimmed or what they did not want to wait for, from a snapshot. The frames have ids all the same:
by them the server knows an EventSource that comes back, and does not ask its question again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import msgspec
from msgspec import Struct

from .. import sse
from ..chat import Message, Question
from ..events import (
    Delta,
    Done,
    Error,
    Event,
    EventError,
    Hello,
    Ping,
    Progress,
    Reasoning,
    Reset,
    Start,
    Tool,
    Unknown,
    decode,
)
from ..state import Snapshot, bar_after

__all__ = [
    "Adapter",
    "Asked",
    "FormatError",
    "Part",
    "Translation",
    "conversation",
    "events_of",
    "fields",
    "parsed",
    "text_of",
    "text_of_parts",
]

Body = TypeVar("Body")
Frame = dict[str, Any]

HEARTBEAT = b": ping\n\n"
DONE = "[DONE]"
"""What OpenAI, and after it others, put behind the last frame."""


class FormatError(ValueError):
    """A request that cannot be told in our terms; `code` is for programs."""

    def __init__(self, message: str, code: str = "bad_question") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Asked(Struct, frozen=True):
    """A question in another protocol's words.

    options : what the adapter of the answer is made with, beside the stream's id.
    stream : the answer is wanted as it comes, and not whole.
    """

    question: Question
    options: dict[str, Any] = {}
    stream: bool = True


class Adapter:
    """One stream in another protocol.

    headers : what the protocol wants with the answer.
    """

    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.model: str | None = None
        self._bars: dict[str, Progress] = {}
        self._begun = False
        self._ended = False

    @classmethod
    def read(cls, body: bytes) -> Asked:
        """The question in a request's body.

        Raises
        ------
        FormatError
            It is none, or asks for what no provider here is told.
        """
        raise NotImplementedError

    @classmethod
    def options(cls, body: Any) -> dict[str, Any]:
        """What a request's JSON calls the answer, beside the stream's id; for one that asks no question."""
        return {}

    @classmethod
    def whole(cls, snapshot: Snapshot) -> Frame:
        """An answer that is complete, where `read` has found that no stream is wanted."""
        raise NotImplementedError

    @classmethod
    def failed(cls, message: str, code: str) -> Frame:
        """What a client of this protocol reads in the JSON of an HTTP error, beside our own words."""
        return {}

    def add(self, event: Event | Unknown, id: str | None = None) -> bytes:
        """The frames that tell this event: none, one or several. After a terminal event nothing is told any more.

        id : of the last of them, which tells the event to its end.
        """
        if isinstance(event, Ping):
            return HEARTBEAT
        told = [*map(_json, self._all(event))]
        return b"".join(sse.encode(data, id=id if data is told[-1] else None) for data in told)

    def _all(self, event: Event | Unknown) -> Iterator[Frame | str]:
        if self._ended:
            return
        if isinstance(event, (Hello, Start)):
            self.model = event.model or self.model
        if not self._begun:
            self._begun = True
            yield from self.begin(getattr(event, "ts", None))
        if isinstance(event, Reset):
            for known in events_of(msgspec.convert(event.snapshot, Snapshot)):
                yield from self._all(known)
        elif isinstance(event, (Done, Error)):
            self._ended = True
            yield from self.end(event)
        elif isinstance(event, Progress):
            bar = self._bars[event.bar] = bar_after(self._bars.get(event.bar), event)
            yield from self.tell(bar)
        elif not isinstance(event, Hello):
            yield from self.tell(event)

    def begin(self, ts: float | None) -> Iterator[Frame]:
        """What comes before the first event."""
        raise NotImplementedError

    def tell(self, event: Event | Unknown) -> Iterator[Frame]:
        """An event of the stream but for the terminal one. One of a bar is its whole state."""
        raise NotImplementedError

    def end(self, event: Done | Error) -> Iterator[Frame | str]:
        """The terminal event, with all that it closes."""
        raise NotImplementedError


class Translation:
    """Server-sent events in, in portions of any size; the frames of an adapter out. What is no event of ours is told as
    one of a type that is not known.
    """

    def __init__(self, adapter: Adapter, framing: Callable[[bytes], bytes]) -> None:
        self.adapter = adapter
        self._framing = framing
        self._decoder = sse.Decoder(max_frame=1 << 62)  # they are our own

    def __call__(self, data: bytes) -> bytes:
        told = self.told(data)
        return self._framing(told) if told else b""  # an empty chunk would end the answer

    def told(self, data: bytes) -> bytes:
        return b"".join(self.adapter.add(_event_in(frame), frame.id or None) for frame in self._decoder.feed(data))


def _event_in(frame: sse.Frame) -> Event | Unknown:
    try:
        return decode(frame.data)
    except EventError:  # a program's own frame, which went through as it was
        return Unknown(frame.event, {"data": frame.data})


def _json(frame: Frame | str) -> bytes:
    return frame.encode() if isinstance(frame, str) else msgspec.json.encode(frame)


def fields(event: Event) -> Frame:
    """An event's fields, without those that are not set, as JSON has them."""
    found: Frame = {**msgspec.to_builtins(event)}
    found.pop("type", None)
    return found


def text_of(value: Any) -> str:
    """A tool's arguments or result where text is wanted: JSON, unless it is one."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def events_of(snapshot: Snapshot) -> Iterator[Event]:
    """Events that make such a snapshot: what is worth telling to somebody who joins now."""
    yield Start(
        title=snapshot.title,
        kind=snapshot.kind or "task",
        total=snapshot.total,
        unit=snapshot.unit,
        cancellable=snapshot.cancellable,
        origin=snapshot.origin,
        model=snapshot.model,
        stall=snapshot.stall,
        ts=snapshot.started,
    )
    yield from snapshot.steps
    yield from snapshot.log.lines
    yield from snapshot.bars
    yield from snapshot.previews
    if snapshot.reasoning:
        yield Reasoning(text=snapshot.reasoning)
    for tool in snapshot.tools:
        if tool.phase == "result":
            yield Tool(id=tool.id, name=tool.name, phase="call", args=tool.args)
        yield tool
    if snapshot.text:
        yield Delta(text=snapshot.text)
    if snapshot.usage is not None:
        yield snapshot.usage
    if snapshot.error is not None:
        yield snapshot.error
    elif snapshot.status != "running":
        reason: Any = snapshot.reason or "stop"
        yield Done(reason=reason, result=snapshot.result, ts=snapshot.ended)


def parsed(body: bytes, type: type[Body]) -> Body:
    """The JSON of a request's body, checked."""
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise FormatError(f"The body is not what this format's clients send: {error}.") from None


class Part(Struct):
    """A part of a message, in the words that all three protocols share."""

    type: str
    text: str = ""


def text_of_parts(content: str | Sequence[Part] | Mapping[str, Any] | None) -> str:
    """A message's text, which may be in parts, and must not have others."""
    if content is None or isinstance(content, str):
        return content or ""
    kinds = {part.type if isinstance(part, Part) else "object" for part in content} - {"text"}
    if kinds:
        raise FormatError(f"A message has a part of type {min(kinds)[:40]!r}, and only text can be asked here.")
    return "\n\n".join(part.text for part in content if isinstance(part, Part))


def conversation(said: Sequence[tuple[str, str]], *, model: str | None = None, system: str | None = None) -> Question:
    """The question that a conversation ends with.

    said : who said what. What is empty, such as an answer that was only a tool's call, is left out.
    """
    unknown = next((role for role, _ in said if role not in ROLES), None)
    if unknown is not None:
        raise FormatError(f"A message has a role that is not known here: {unknown[:40]!r}.")
    if not said or said[-1][0] != "user":
        last = f"of the role {said[-1][0]!r}" if said else "missing"
        raise FormatError(f"The last message is to be the user's question, and it is {last}.")
    history = tuple(Message(ROLES[role], text) for role, text in said[:-1] if text)
    return Question(said[-1][1], history, model or None, system or None)


ROLES: dict[str, Any] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
"""Who speaks in other protocols' messages, in ours."""
