"""The reducer: what a stream looks like after its events so far. Pure; `js/src/core/state.ts` is its pair.

Both are pinned by the vectors in tests/wire. A snapshot holds the events that still matter (the last state of each
bar, the last lines of the log), so that joining late costs O(state) and not O(history).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct, field

from .events import (
    Audio,
    Delta,
    Done,
    Error,
    Event,
    Log,
    Origin,
    Preview,
    Progress,
    Reasoning,
    Start,
    Step,
    Tool,
    Unknown,
    Usage,
)

__all__ = ["LOG_LINES", "PREVIEWS", "STEPS", "LogTail", "Snapshot", "Sound", "Status", "fold"]

LOG_LINES = 200
STEPS = 200
PREVIEWS = 20
"""How many of the last log lines, steps and previews a snapshot keeps."""

E = TypeVar("E", bound=Event)

Status = Literal["running", "done", "error", "cancelled"]


class LogTail(Struct, kw_only=True):
    """The last lines, and how many there have been in all."""

    lines: list[Log] = field(default_factory=list)
    count: int = 0


class Sound(Struct, frozen=True, kw_only=True):
    """Which events of the stream are its sound: `count` of those from `first` to `last`. The chunks stay in the log."""

    mime: str
    first: int
    last: int
    count: int


class Snapshot(Struct, kw_only=True):
    """A stream's state after event `seq`.

    `started`, `updated` and `ended` are seconds since 1970 by the producer's clock, None where it gave none.
    `reason` and `via` are those of the `done` event.
    """

    stream: str = ""
    seq: int = 0
    status: Status = "running"
    kind: str | None = None
    title: str | None = None
    model: str | None = None
    total: int | float | None = None
    unit: str | None = None
    cancellable: bool = False
    stall: int | float | None = None
    origin: Origin | None = None
    text: str = ""
    reasoning: str = ""
    bars: list[Progress] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    log: LogTail = field(default_factory=LogTail)
    previews: list[Preview] = field(default_factory=list)
    audio: Sound | None = None
    tools: list[Tool] = field(default_factory=list)
    usage: Usage | None = None
    reason: str | None = None
    via: str | None = None
    result: Any = None
    error: Error | None = None
    started: float | None = None
    updated: float | None = None
    ended: float | None = None


def fold(snapshot: Snapshot, events: Iterable[tuple[int, Event | Unknown]]) -> Snapshot:
    """The snapshot after these numbered events; the one given is left as it is.

    Events that it already holds (seq not above its own) and events after a terminal one change nothing.
    One call for many events costs far less than many calls: texts are joined once.
    """
    new = msgspec.structs.replace(
        snapshot,
        bars=list(snapshot.bars),
        steps=list(snapshot.steps),
        log=LogTail(lines=list(snapshot.log.lines), count=snapshot.log.count),
        previews=list(snapshot.previews),
        tools=list(snapshot.tools),
    )
    text = [new.text]
    reasoning = [new.reasoning]
    for seq, event in events:
        if seq <= new.seq or new.status != "running":
            continue
        new.seq = seq
        if isinstance(event, Delta):
            text.append(event.text)
        elif isinstance(event, Reasoning):
            reasoning.append(event.text)
        elif isinstance(event, Event):
            _apply(new, event)
        if isinstance(event, Event) and event.ts is not None:
            new.updated = event.ts
    new.text = "".join(text)
    new.reasoning = "".join(reasoning)
    return new


def _apply(new: Snapshot, event: Event) -> None:
    if isinstance(event, Progress):
        _set_bar(new.bars, event)
    elif isinstance(event, Log) and event.key is not None:
        known = len(new.log.lines)
        _put(new.log.lines, event, lambda old: old.key == event.key)
        new.log.count += len(new.log.lines) - known
        del new.log.lines[:-LOG_LINES]
    elif isinstance(event, Log):
        lines = event.text.removesuffix("\n").split("\n")
        new.log.count += len(lines)
        if len(lines) == 1 and lines[0] == event.text:
            new.log.lines.append(event)
        else:
            new.log.lines += [msgspec.structs.replace(event, text=line) for line in lines[-LOG_LINES:]]
        del new.log.lines[:-LOG_LINES]
    elif isinstance(event, Step):
        new.steps.append(event)
        del new.steps[:-STEPS]
    elif isinstance(event, Preview):
        _put(new.previews, event, lambda old: event.key is not None and old.key == event.key)
        del new.previews[:-PREVIEWS]
    elif isinstance(event, Audio):
        old = new.audio
        first, count = (new.seq, 0) if old is None else (old.first, old.count)
        new.audio = Sound(mime=event.mime, first=first, last=new.seq, count=count + 1)
    elif isinstance(event, Tool):
        _set_tool(new.tools, event)
    elif isinstance(event, Usage):
        new.usage = event
    elif isinstance(event, Start):
        new.kind = event.kind
        new.title = event.title
        new.model = event.model
        new.total = event.total
        new.unit = event.unit
        new.cancellable = event.cancellable
        new.stall = event.stall
        new.origin = event.origin
        new.started = event.ts
    elif isinstance(event, Done):
        new.status = "cancelled" if event.reason == "cancelled" else "done"
        new.reason = event.reason
        new.via = event.via
        new.result = event.result
        new.ended = event.ts
    elif isinstance(event, Error):
        new.status = "error"
        new.error = event
        new.ended = event.ts


def _put(items: list[E], item: E, same: Callable[[E], bool]) -> None:
    """Put the item where one that is the `same` stands, else last."""
    for index, old in enumerate(items):
        if same(old):
            items[index] = item
            return
    items.append(item)


def _set_bar(bars: list[Progress], event: Progress) -> None:
    if event.state == "removed":
        bars[:] = [bar for bar in bars if bar.bar != event.bar]
        return
    old = next((bar for bar in bars if bar.bar == event.bar), None)
    _put(bars, bar_after(old, event), lambda other: other.bar == event.bar)


def bar_after(old: Progress | None, event: Progress) -> Progress:
    """A bar's total, unit and parent last until they are set anew; everything else is replaced."""
    if old is None:
        return event
    return msgspec.structs.replace(
        event,
        total=old.total if event.total is None else event.total,
        unit=old.unit if event.unit is None else event.unit,
        parent=old.parent if event.parent is None else event.parent,
    )


def _set_tool(tools: list[Tool], event: Tool) -> None:
    """A result joins its call, whose arguments it keeps."""
    old = next((tool for tool in tools if tool.id == event.id), None)
    if old is not None and event.args is None:
        event = msgspec.structs.replace(event, args=old.args)
    _put(tools, event, lambda other: other.id == event.id)
