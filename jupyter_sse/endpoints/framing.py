"""What a generator yields, as frames of an event stream, or as events of a log.

| yielded | is |
| --- | --- |
| an event, or a dict whose `type` is a text | that event, by its name; a known one is checked |
| text or bytes that are a frame already | passed on as they are |
| other text or bytes | data, line by line |
| None | nothing: a point at which the generator can be closed |
| anything else | data, as JSON |

A text is a frame already if it ends with an empty line, and begins with a field of SSE or with a comment.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from .. import sse
from ..events import CONNECTION_TYPES, TERMINAL_TYPES, Event, EventError, Unknown, encode, event_from, type_of

__all__ = ["LAST", "events", "frame", "is_terminal"]

LAST = "end"
"""The id of the frame that ends a call: whoever comes back with it has had everything."""

_FRAMED = re.compile(r"(?:(?:data|event|id|retry):|:).*(?:\n\n|\r\r|\r\n\r\n)", re.DOTALL)


def frame(item: Any, *, again: bool = False) -> bytes:
    """The frames of what was yielded.

    again : whoever comes back after the last one is served anew.

    Raises
    ------
    EventError
        It is an event that is not valid.
    """
    item = _taken(item)
    if isinstance(item, (Event, Unknown)):
        raw = encode(item)
        return sse.encode(raw, event=type_of(raw), id=LAST if is_terminal(item) and not again else None)
    if isinstance(item, str):
        return item.encode("utf-8", "replace") if _FRAMED.fullmatch(item) else sse.encode(item)
    return b"" if item is None else sse.encode(_as_json(item))


def events(item: Any) -> list[Event | Unknown]:
    """The same for a log, which has nothing but events: data is one of the type `message`.

    Raises
    ------
    EventError
        It is an event that is not valid.
    """
    item = _taken(item)
    if item is None:
        return []
    if isinstance(item, (Event, Unknown)):
        return [item]
    if isinstance(item, str):
        if _FRAMED.fullmatch(item):
            return [_event(frame.event, frame.data) for frame in sse.Decoder().feed(item.encode("utf-8", "replace"))]
        return [_message("message", item)]
    return [_message("message", msgspec.json.decode(_as_json(item)))]


def is_terminal(item: Any) -> bool:
    """Nothing may follow it."""
    if isinstance(item, Event):
        return item.__struct_config__.tag in TERMINAL_TYPES
    kind = item.get("type") if isinstance(item, dict) else None
    return isinstance(kind, str) and kind in TERMINAL_TYPES


def _taken(item: Any) -> Any:
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item).decode("utf-8", "replace")
    if isinstance(item, dict) and isinstance(item.get("type"), str):
        item = event_from(item)
    if isinstance(item, (Event, Unknown)):
        kind = item.type if isinstance(item, Unknown) else item.__struct_config__.tag
        if kind in CONNECTION_TYPES:
            raise EventError(f"{kind!r} is made by the connection, not yielded")
    return item


def _event(name: str, data: str) -> Event | Unknown:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return _message(name, data)
    if isinstance(value, dict) and name != "message":
        value = {**value, "type": name}
    taken = _taken(value)
    return taken if isinstance(taken, (Event, Unknown)) else _message(name, value)


def _message(name: str, value: Any) -> Event | Unknown:
    fields = value if isinstance(value, dict) else {"data": value}
    if name in CONNECTION_TYPES or name in TERMINAL_TYPES:
        raise EventError(f"{name!r} with data that is not that event: {str(value)[:80]!r}")
    return event_from({**fields, "type": name})


def _as_json(item: Any) -> bytes:
    return encode(Unknown("message", {"data": item})).removeprefix(b'{"type":"message","data":').removesuffix(b"}")
