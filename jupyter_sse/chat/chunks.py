"""What a model's client yields, made events: the chunks of any of them, text, and our own events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..events import CONNECTION_TYPES, EVENT_TYPES, Delta, Done, Event, Reasoning, Tool, event_from
from .readers import READERS, Reader

__all__ = ["Chunks", "UnknownChunkError", "check_source"]

ACCEPTED = (
    "str, of what the clients of OpenAI, Anthropic, Google GenAI, LangChain, LiteLLM, Ollama and pydantic-ai stream, "
    "or of events"
)


class UnknownChunkError(TypeError):
    """A source is, or yields, what cannot be read."""


class Chunks:
    """Reads all that one source yields: calls come in pieces, usage is a sum."""

    def __init__(self) -> None:
        self._readers: dict[type[Reader], Reader] = {}
        self._said: set[type[Event]] = set()
        self._interrupted: set[type[Event]] = set()

    def read(self, item: Any) -> Iterator[Event]:
        """The events in this item; a `Done` or `Error` among them ends the answer.

        Raises
        ------
        UnknownChunkError
            It is nothing that is known.
        EventError
            It is one of our events, and not valid.
        """
        if isinstance(item, str):
            yield Delta(text=str(item))
        elif item is not None:
            reader = self._reader(item)
            yield from self._paragraphs(reader.read(item)) if reader is not None else _own(item)

    def end(self) -> Iterator[Event]:
        """What is left when the source has no more; last a `Done` that says why."""
        done = Done()
        for reader in self._readers.values():
            yield from reader.end()
            done = Done(reason=reader.reason, result=reader.result)
        yield done

    def _reader(self, item: Any) -> Reader | None:
        for kind in () if isinstance(item, Event) else (*self._readers, *READERS):
            if kind.knows(item):
                if kind not in self._readers:
                    self._readers[kind] = kind()
                return self._readers[kind]
        return None

    def _paragraphs(self, events: Iterable[Event]) -> Iterator[Event]:
        """Text that goes on after a call, and thinking that goes on after text or a call, begins a new paragraph.

        The APIs have blocks for that; in one text they would run together.
        """
        for event in events:
            if isinstance(event, Tool):
                self._interrupted |= self._said
            elif isinstance(event, (Delta, Reasoning)):
                if not event.text:
                    continue
                kind = type(event)
                if kind in self._interrupted:
                    self._interrupted.remove(kind)
                    event = kind(text=f"\n\n{event.text}")
                if kind is Delta:
                    self._interrupted |= self._said & {Reasoning}
                self._said.add(kind)
            yield event


def _own(item: Any) -> Iterator[Event]:
    if not isinstance(item, Event) and not (isinstance(item, dict) and item.get("type") in EVENT_TYPES):
        raise UnknownChunkError(f"an answer is an iterator of {ACCEPTED}; this one yields {_name(item)}")
    event = event_from(item)
    # The stream has its own beginning, and a connection's events are no part of it.
    if isinstance(event, Event) and type(event).__struct_config__.tag not in {"start", *CONNECTION_TYPES}:
        yield event


def check_source(source: Any, *ways: str) -> None:
    """Raise for an answer as a whole, and for what cannot be read in any of these ways, such as ``__iter__``.

    Raises
    ------
    UnknownChunkError
        It says how to stream an answer that came as a whole.
    """
    for reader in READERS:
        if reader.is_whole(source):
            raise UnknownChunkError(f"{_name(source)} is a whole answer, not a stream: {reader.how}")
    if isinstance(source, (bytes, dict)) or not any(hasattr(source, way) for way in ways):
        raise UnknownChunkError(f"stream() takes an iterator, sync or async, of {ACCEPTED}; not {_name(source)}")


def _name(item: Any) -> str:
    """The type, in the words that find it in its library's documentation."""
    kind = type(item)
    if isinstance(item, dict):
        return f"a dict with type {item['type']!r}" if "type" in item else f"a dict with keys {list(item)}"[:200]
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
