"""A stream in a terminal or a file, as a person reads it: ``jupyter sse tail``.

On purpose:

- What the stream says goes to stdout, how it went to stderr: the answer alone is what ``> answer.md`` gets.
- Escape sequences are taken out, but for a terminal's colours: a stream may hold what a web page has told a model to
  say, and a terminal obeys.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO, Union

import msgspec

from ..events import Audio, Delta, Event, Log, Preview, Progress, Reasoning, Reset, Step, Tool, Unknown, encode
from ..output import (
    bar_part,
    bar_text,
    bars_in_order,
    headline,
    one_line,
    result_text,
    step_text,
    title_text,
    value_text,
)
from ..state import Snapshot, fold

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["JsonView", "LineView", "View", "clean", "exit_code", "follow", "has_rich", "view"]

OPEN_LINES = 6
"""How many lines of the log may wait to be drawn again, as the bars of a program are."""
VALUE = 200
"""Characters shown of a tool's arguments and result."""

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")

Numbered = tuple[int, Union[Event, Unknown]]


def clean(text: str, *, colours: bool = False) -> str:
    """The text without what a terminal would obey, such as to move its cursor; with its colours if asked."""
    return _CONTROL.sub(lambda found: found[0] if colours and _COLOUR.fullmatch(found[0]) else "", text)


def has_rich(out: TextIO) -> bool:
    """Whether to draw: there is a terminal that can be drawn on, and rich."""
    is_terminal = out.isatty() and os.environ.get("TERM") != "dumb"
    return is_terminal and importlib.util.find_spec("rich") is not None


def view(*, json: bool = False, hint: str = "") -> View:
    """What suits stdout. `hint` : said to a person at a terminal as long as the stream runs."""
    if json:
        return JsonView()
    if has_rich(sys.stdout):
        from .terminal import TerminalView

        return TerminalView(hint)
    return LineView()


def follow(events: Iterable[Numbered], view: View) -> Snapshot:
    """Show the events as they come; the state after the last."""
    with view:
        for seq, event in events:
            view.show(seq, event)
    return view.state


def exit_code(snapshot: Snapshot) -> int:
    """The stream's outcome as a program's: 0 done, 1 failed, 3 cancelled, 124 out of time, as `timeout` has it."""
    if snapshot.reason == "timeout":
        return 124
    return {"done": 0, "cancelled": 3}.get(snapshot.status, 1)


class View:
    """Shows the events of one stream. `state` is that after them, but for the texts, which grow."""

    def __init__(self) -> None:
        self.state = Snapshot()

    def __enter__(self) -> View:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There are no more events."""

    def show(self, seq: int, event: Event | Unknown) -> None:
        self.state = event.snapshot if isinstance(event, Reset) else fold(self.state, [(seq, event)])
        self._show(seq, event)
        self.state.text = self.state.reasoning = ""
        self.state.log.lines.clear()

    def _show(self, seq: int, event: Event | Unknown) -> None:
        raise NotImplementedError


class JsonView(View):
    """One event a line, with its `seq`: what a POST of events takes."""

    def _show(self, seq: int, event: Event | Unknown) -> None:
        line = encode(event)
        if not isinstance(event, Reset):  # which has it
            line = b'%s,"seq":%d}' % (line[:-1], seq)
        print(line.decode(), flush=True)


class LineView(View):
    """Plain lines, for files and pipes: of a bar every tenth part, and of a line that is drawn again the last."""

    def __init__(self) -> None:
        super().__init__()
        self._has_begun = False
        self._is_in_line = False  # text without the end of its line was written
        self._open: dict[object, str] = {}  # lines of the log that may be drawn again, by key
        self._bars: dict[str, Progress] = {}  # as they were last written

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, BrokenPipeError):  # nobody reads any more
            return
        self._release(0)
        if self.state.status == "running":
            self._end_line()
            return
        self._bars_at_the_end()
        result = result_text(self.state.result)
        if result is not None:
            self._line(result)
        self._end_line()
        self._outcome()

    def _show(self, seq: int, event: Event | Unknown) -> None:
        if isinstance(event, Reset):
            self._show_state(event.snapshot)
        else:
            self._tell(event)
        self._has_begun = True

    def _show_state(self, state: Snapshot) -> None:
        """What there is so far: at first, and when the server cannot go on where this reader was."""
        if self._has_begun:
            self._release(0)
            self._end_line()
            self._note("Some events can no longer be had. What follows is the state as it is now.")
        left_out = state.log.count - len(state.log.lines)
        if left_out > 0:
            self._line(f"… ({left_out} lines before)")
        for event in (*state.log.lines, *state.tools, *state.previews, *state.steps[-1:]):
            self._tell(event)
        if state.text:
            self._text(state.text)
        if state.status == "running":
            for bar in state.bars:
                self._progress(bar)

    def _tell(self, event: Event | Unknown) -> None:
        if isinstance(event, Delta):
            self._text(event.text)
        elif isinstance(event, Reasoning):
            self._reasoning(event.text)
        elif isinstance(event, Log):
            lines = [event.text] if event.key is not None else event.text.removesuffix("\n").split("\n")
            for line in lines:
                self._open[event.key or object()] = self._log_line(event, line)
            self._release(OPEN_LINES)
        elif isinstance(event, Step):
            self._line(step_text(event))
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Tool):
            self._line(_tool(event))
        elif isinstance(event, (Preview, Audio)):
            self._line(
                f"[{event.mime}{f': {one_line(event.alt)}' if isinstance(event, Preview) and event.alt else ''}]"
            )

    def _bars_at_the_end(self) -> None:
        for _, name, bar in bars_in_order(self.state):
            last = self._bars.get(bar.bar)
            if last is None or (last.n, last.state) != (bar.n, bar.state):
                self._bar(name, msgspec.structs.replace(bar, eta=None))

    def _outcome(self) -> None:
        self._note(": ".join(filter(None, [title_text(self.state), headline(self.state)])))
        if self.state.error is not None:
            self._note((self.state.error.traceback or self.state.error.message).rstrip())

    def _release(self, most: int) -> None:
        """Write the first of the open lines, until so many are left: all once there is one that stays as it is."""
        if any(not isinstance(key, str) for key in self._open):
            most = 0
        while len(self._open) > most:
            self._line(self._open.pop(next(iter(self._open))))

    def _progress(self, event: Progress) -> None:
        """Inner bars begin again and again: of these only the last state is written, at the end."""
        for depth, name, bar in bars_in_order(self.state):
            if bar.bar == event.bar and depth == 0:
                before = self._bars.get(bar.bar)
                if before is None or before.state != bar.state or _tenth(before) != _tenth(bar):
                    self._bar(name, bar)

    def _bar(self, name: str, bar: Progress) -> None:
        self._bars[bar.bar] = bar
        self._line(f"{name}{': ' if name else ''}{bar_text(bar)}")

    def _reasoning(self, text: str) -> None:
        """The thinking is not the answer: only a terminal can set it apart."""

    def _text(self, text: str) -> None:
        text = clean(text)
        if text:
            self._release(0)
            self._write(text)

    def _log_line(self, event: Log, line: str) -> str:
        return line

    def _line(self, text: str) -> None:
        self._end_line()
        self._write(clean(text) + "\n")

    def _end_line(self) -> None:
        if self._is_in_line:
            self._write("\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
        self._is_in_line = not text.endswith("\n")

    def _note(self, text: str) -> None:
        """What is said of the stream, and not by it."""
        print(clean(text), file=sys.stderr, flush=True)


def _tenth(bar: Progress) -> int | None:
    part = bar_part(bar)
    return None if part is None else int(10 * part)


def _tool(tool: Tool) -> str:
    said = tool.args if tool.phase == "call" else tool.result
    value = one_line(value_text(said) or "")
    value = value if len(value) <= VALUE else f"{value[:VALUE]}…"
    return f"{tool.name}({value})" if tool.phase == "call" else f"{tool.name}: {value}"
