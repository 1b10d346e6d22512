"""The vocabulary: one typed struct an event, JSON in and out.

Everything else produces, stores or shows these events; this module touches no socket, clock or thread.
`js/src/core/events.ts` is generated from it (`python js/generate_events.py`).

On purpose:

- The JSON of an event always begins with ``{"type":"``, has no line break, and is valid UTF-8. So a frame can be
  built from stored bytes without parsing them (`type_of`), and no producer can break out of a frame.
- Types and fields that this version does not know are kept and passed on: a newer producer may talk through
  an older server.
- A field with a plain default is left out of the JSON while it has it; one with a factory default is always
  written.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta, Struct, field

__all__ = [
    "CONNECTION_TYPES",
    "EVENT_TYPES",
    "TERMINAL_TYPES",
    "Audio",
    "Delta",
    "Done",
    "Error",
    "Event",
    "EventError",
    "Hello",
    "Log",
    "Origin",
    "Ping",
    "Preview",
    "Progress",
    "Reasoning",
    "Reset",
    "Start",
    "Step",
    "Tool",
    "Unknown",
    "Usage",
    "canonical",
    "decode",
    "encode",
    "event_from",
    "type_of",
]

Number = Union[int, float]
Name = Annotated[str, Meta(max_length=1024)]

DEPTH = 64
"""How deep a value may be nested that cannot be encoded as it is."""

_TYPE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


class EventError(ValueError):
    """An event that is not valid: not JSON, no type, or a field of the wrong type."""


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What all events share.

    ts : the producer's clock, seconds since 1970, where the moment matters (start, step, done, error).
    """

    ts: float | None = None


class Origin(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a stream was started: the notebook's path, the cell, the execute request, the kernel.

    thread : its name, where that is not the kernel's main one, which alone an interrupt of the kernel reaches.
    """

    path: str | None = None
    cell: str | None = None
    execution: str | None = None
    kernel: str | None = None
    thread: str | None = None


class Hello(Event, frozen=True, kw_only=True, tag="hello"):
    """First frame of every connection. `stream` is None on a multiplexed one, which has a `connection` id.

    notice : what those who watch should know of the server, until a `ping` says otherwise.
    """

    ts: float
    stream: str | None
    v: int = field(default_factory=lambda: 1)
    model: str | None = None
    connection: str | None = None
    notice: str | None = None


class Start(Event, frozen=True, kw_only=True, tag="start"):
    """The producer began. `total` is in `unit`s.

    stall : seconds without an event after which it is shown as stalled; 0 for never.
    """

    title: str | None = None
    kind: Name = field(default_factory=lambda: "task")
    status: str = field(default_factory=lambda: "running")
    total: Number | None = None
    unit: str | None = None
    cancellable: bool = field(default_factory=lambda: False)
    origin: Origin | None = None
    model: str | None = None
    stall: Number | None = None


class Delta(Event, frozen=True, kw_only=True, tag="delta"):
    """A piece of the answer."""

    text: str


class Reasoning(Event, frozen=True, kw_only=True, tag="reasoning"):
    """A piece of the model's thinking."""

    text: str


class Tool(Event, frozen=True, kw_only=True, tag="tool"):
    """A tool call, and later its result under the same id."""

    id: Name
    name: Name
    phase: Literal["call", "result"]
    args: Any = None
    result: Any = None


class Progress(Event, frozen=True, kw_only=True, tag="progress"):
    """One bar's state. `pct` 0 to 100; `rate` in units a second; `eta` in seconds; `parent` is another bar's name.

    label : what it is called, where that is not its name.
    message : what is said beside it, such as tqdm's postfix.
    scale : figures are shown with prefixes (k, M, G), each this much larger than the one before.
    state : how it ended. A `removed` one is shown no more.
    """

    bar: Name = field(default_factory=lambda: "main")
    n: Number
    total: Number | None = None
    pct: Number | None = None
    message: str | None = None
    rate: Number | None = None
    eta: Number | None = None
    unit: str | None = None
    parent: Name | None = None
    label: str | None = None
    scale: int | None = None
    state: Literal["complete", "early", "removed"] | None = None


class Step(Event, frozen=True, kw_only=True, tag="step"):
    """A named step, counted from 1."""

    step: int
    of: int | None = None
    message: str


class Log(Event, frozen=True, kw_only=True, tag="log"):
    """Output: one line, or several separated by line feeds. It may have a terminal's colours (SGR escape sequences).

    key : it is one line, and takes the place of the one with this key, such as a bar that a terminal draws again.
    """

    text: str
    level: str | None = None
    source: str = field(default_factory=lambda: "stdout")
    key: Name | None = None


class Preview(Event, frozen=True, kw_only=True, tag="preview"):
    """An image, sound, video or model, by `url` or as base64 `data`; the same `key` replaces."""

    mime: Name
    url: str | None = None
    data: str | None = None
    alt: str | None = None
    key: Name | None = None

    def __post_init__(self) -> None:
        if (self.url is None) == (self.data is None):
            raise ValueError("a preview has either `url` or `data`")


class Audio(Event, frozen=True, kw_only=True, tag="audio"):
    """A chunk of sound (base64), played in the order of `n`, from 0."""

    mime: Name
    data: str
    n: int


class Usage(Event, frozen=True, kw_only=True, tag="usage"):
    """What the stream has cost up to now. `cost` in US dollars."""

    input_tokens: int
    output_tokens: int
    cost: Number | None = None


class Done(Event, frozen=True, kw_only=True, tag="done"):
    """Terminal: the stream ended as meant.

    via : what made it end before its time: the producer itself, which saw that it was asked to, or an interrupt.
    """

    reason: Literal["stop", "length", "cancelled", "timeout", "closed"] = field(default_factory=lambda: "stop")
    result: Any = None
    via: Literal["producer", "interrupt"] | None = None


class Error(Event, frozen=True, kw_only=True, tag="error"):
    """Terminal: the stream failed. `code` is for programs, `message` for people; `retry_after` in seconds.

    traceback : where in the program, as Python prints it.
    """

    message: str
    code: Name = field(default_factory=lambda: "error")
    retryable: bool = field(default_factory=lambda: False)
    retry_after: Number | None = None
    traceback: str | None = None


class Reset(Event, frozen=True, kw_only=True, tag="reset"):
    """Start again from this snapshot, which holds all events up to `seq`; the last of them came at `ts`."""

    reason: str
    snapshot: Any
    seq: int


class Ping(Event, frozen=True, kw_only=True, tag="ping"):
    """Heartbeat, and what those who watch should know of the server now."""

    ts: float
    notice: str | None = None


class Unknown(Struct, frozen=True):
    """An event of a type this version does not know: passed on, ignored by views."""

    type: str
    data: dict[str, Any]


EVENT_TYPES: dict[str, type[Event]] = {
    cls.__struct_config__.tag: cls  # type: ignore[misc]
    for cls in (
        Hello, Start, Delta, Reasoning, Tool, Progress, Step, Log, Preview, Audio, Usage, Done, Error, Reset, Ping,
    )
}  # fmt: skip
TERMINAL_TYPES = frozenset({"done", "error"})
CONNECTION_TYPES = frozenset({"hello", "reset", "ping"})
"""Types that a connection makes for itself: they have no seq and cannot be appended to a stream."""

_AnyEvent: Any = Union[tuple(EVENT_TYPES.values())]
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(_AnyEvent)


def _readable(value: Any) -> Any:
    """What the encoder calls for a value that JSON does not have."""
    item = getattr(value, "item", None)  # numpy scalars and one-element arrays, tensors
    if callable(item):
        try:
            return item()
        except Exception:
            pass
    return _text(value)


def _text(value: Any) -> str:
    """The value as text that UTF-8 can carry: lone surrogates become U+FFFD."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:  # a `__repr__` is anybody's code, and it recurses
        text = f"<{type(value).__name__}>"
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_encoder = msgspec.json.Encoder(enc_hook=_readable)


def _well_formed(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """The same value made of what JSON has, in text that UTF-8 can carry, and not nested beyond `DEPTH`.

    inside : the ids of what holds the value.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return _text(value)
    if id(value) in inside or len(inside) == DEPTH:
        return "..."
    inside = (*inside, id(value))
    if isinstance(value, dict):
        return {_text(_readable(key)): _well_formed(item, inside) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_well_formed(item, inside) for item in value]
    if isinstance(value, Struct):
        return {name: _well_formed(getattr(value, name), inside) for name in value.__struct_fields__}
    try:
        return msgspec.json.decode(_encoder.encode(value))
    except Exception:
        return _text(value)


def encode(event: Event | Unknown) -> bytes:
    """The event as one line of JSON that begins with its type.

    Lone surrogates become U+FFFD, NaN and infinities null, and values that JSON does not have their `repr`.
    """
    try:
        return _encode(event)
    except Exception:  # surrogates, cycles, the user's own `__repr__`: an event is made of it all the same
        if isinstance(event, Unknown):
            return _encode(Unknown(event.type, _well_formed(event.data)))
        clean = {name: _well_formed(getattr(event, name)) for name in event.__struct_fields__}
        return _encode(type(event)(**clean))


def _encode(event: Event | Unknown) -> bytes:
    if isinstance(event, Unknown):
        return _encoder.encode({"type": event.type, **event.data})
    return _encoder.encode(event)


def decode(raw: bytes | str) -> Event | Unknown:
    """The event in one JSON text, checked.

    Raises
    ------
    EventError
        If it is not a JSON object with a known `type` and right fields, or with an unknown but well-formed `type`.
    """
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        unknown = _unknown(raw)
        if unknown is not None:
            return unknown
        raise EventError(f"not a valid event: {_explain(error)}") from None


def _unknown(raw: bytes | str) -> Unknown | None:
    try:
        data = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    kind = data.pop("type", None) if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind in EVENT_TYPES or not _TYPE_NAME.fullmatch(kind):
        return None
    return Unknown(kind, data)


def _explain(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeError):
        return "not UTF-8"
    return str(error).replace("Object missing required field `type`", "it has no `type`")


def event_from(value: Any) -> Event | Unknown:
    """The event in a mapping such as ``{"type": "progress", "n": 50}``, checked as `decode` does."""
    if isinstance(value, (Event, Unknown)):
        return value
    try:
        return decode(_encoder.encode(_well_formed(value)))
    except (TypeError, msgspec.EncodeError) as error:
        raise EventError(f"not a valid event: {error}") from None


def canonical(raw: bytes) -> tuple[bytes, Event | Unknown]:
    """An event that came from outside: its JSON in the form this module promises, and itself, checked.

    Unknown fields are kept, a `seq` field is not.
    """
    event = decode(raw)
    if isinstance(event, Unknown):
        event.data.pop("seq", None)
        return encode(event), event
    if encode(event) == raw:
        return raw, event
    given = msgspec.json.decode(raw)
    given.pop("seq", None)
    return _encoder.encode({"type": given["type"], **msgspec.to_builtins(event), **given}), event


def type_of(raw: bytes) -> str:
    """The type of an event in canonical JSON, without parsing it."""
    return raw[9 : raw.index(b'"', 9)].decode("ascii")
