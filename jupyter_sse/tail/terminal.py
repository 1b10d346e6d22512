"""The same on a terminal, by rich: bars that move, the current step and the time at the bottom, colours."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..events import Event, Log, Progress, Unknown
from ..output import bar_figures, bars_in_order, duration, headline, step_text, title_text
from ..state import Snapshot
from . import LineView, clean

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import ConsoleOptions, RenderResult

__all__ = ["TerminalView", "console"]

BAR = 30
"""Columns of a bar, at most."""
GAP = 2
"""Columns between those of a table."""
REFRESH = 10
"""Times a second."""
LEVELS = {"debug": 2, "warning": 33, "warn": 33, "error": 31, "critical": 31}
"""Colours (SGR) of log levels."""
OUTCOME = {"done": ("✓", "green"), "error": ("✗", "red"), "cancelled": ("■", "yellow")}


def console() -> Console:
    """Shows text as it is: what a stream says is no markup of rich's."""
    return Console(highlight=False, markup=False, emoji=False)


class TerminalView(LineView):
    """Lines go up as they come; below them stays what changes."""

    def __init__(self, hint: str = "") -> None:
        """hint : said below, as long as the stream runs."""
        super().__init__()
        self._console = console()
        self._hint = hint
        self._style = ""
        self._rest = ""  # of the text, the line that has not ended
        self._waiting: list[Text] = []  # lines to be printed above
        self._printed = 0.0
        self._spinner = Spinner("dots")
        # Drawn by a thread of rich's: what it reads is put there as a whole.
        self._shown: tuple[Snapshot, tuple[Text, ...]] = (self.state, ())
        self._live = Live(self, console=self._console, refresh_per_second=REFRESH, transient=True)

    def __enter__(self) -> TerminalView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release(0)
        self._end_line()
        self._print_waiting()
        self._shown = Snapshot(), ()
        self._live.stop()
        super().__exit__(kind, error, trace)

    def show(self, seq: int, event: Event | Unknown) -> None:
        super().show(seq, event)
        self._draw()
        if time.monotonic() - self._printed > 1 / REFRESH:
            self._print_waiting()

    def _draw(self) -> None:
        rest = [Text(self._rest, style=self._style)] if self._rest else []
        open_lines = [_ansi(line) for line in self._open.values()]
        self._shown = msgspec.structs.replace(self.state), (*self._waiting, *open_lines, *rest)

    def _print_waiting(self) -> None:
        """Put lines above what changes, many at a time: each time all below is drawn again."""
        lines, self._waiting = self._waiting, []
        self._draw()
        if lines:
            self._console.print(*lines, sep="\n")
        self._printed = time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        state, lines = self._shown
        if state.status != "running" or not state.seq:
            return
        room = max(1, console.height - len(state.bars) - 3)
        wrapped = [part for line in lines[-room:] for part in line.wrap(console, options.max_width)]
        yield from wrapped[-room:]
        yield _bars(state, options.max_width)
        words = [clean(title_text(state) or state.kind or "")]
        if state.steps:
            words.append(clean(step_text(state.steps[-1])))
        if state.started is not None:
            words.append(duration(max(0.0, time.time() - state.started)))
        bottom_line = Table.grid(padding=(0, 1))
        bottom_line.add_row(self._spinner, Text(" · ".join(filter(None, words)), style="bold", overflow="ellipsis"))
        bottom_line.columns[1].no_wrap = True
        yield bottom_line
        if self._hint:
            yield Text(self._hint, style="dim", no_wrap=True, overflow="ellipsis")

    def _release(self, most: int) -> None:
        """Lines with a key wait to be drawn again, and those below them wait too."""
        while self._open:
            key = next(iter(self._open))
            if isinstance(key, str) and len(self._open) <= most:
                return
            self._line(self._open.pop(key))

    def _progress(self, event: Progress) -> None:
        """Bars are below, until the end."""

    def _bars_at_the_end(self) -> None:
        if self.state.bars:
            self._console.print(_bars(self.state, self._console.width))

    def _outcome(self) -> None:
        self._print_waiting()
        mark, colour = OUTCOME[self.state.status]
        words = ": ".join(filter(None, [title_text(self.state), headline(self.state)]))
        self._console.print(Text(clean(f"{mark} {words}"), style=f"bold {colour}"))
        if self.state.error is not None:
            error = self.state.error
            self._console.print(_ansi((error.traceback or error.message).rstrip()))

    def _text(self, text: str, style: str = "") -> None:
        text = clean(text)
        if not text:
            return
        self._release(0)
        if style != self._style:
            self._end_line()
            self._style = style
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._waiting.append(Text("\n".join(lines), style=style))

    def _reasoning(self, text: str) -> None:
        self._text(text, "dim italic")

    def _log_line(self, event: Log, line: str) -> str:
        colour = LEVELS.get((event.level or "").lower())
        return f"\x1b[{colour}m{line}\x1b[0m" if colour else line

    def _line(self, text: str) -> None:
        self._end_line()
        self._waiting.append(_ansi(text))

    def _end_line(self) -> None:
        if self._rest:
            rest, self._rest = self._rest, ""
            self._waiting.append(Text(rest, style=self._style))

    def _note(self, text: str) -> None:
        self._end_line()
        self._waiting.append(Text(clean(text), style="yellow"))


def _ansi(line: str) -> Text:
    return Text.from_ansi(clean(line, colours=True), overflow="fold")


def _bars(state: Snapshot, width: int) -> Table:
    table = Table.grid(padding=(0, 1))
    for depth, name, bar in bars_in_order(state):
        ended = state.status != "running" or bar.state is not None
        shown = msgspec.structs.replace(bar, eta=None) if ended else bar
        total = None if bar.total is None else max(bar.total, 1e-9)
        drawn = ProgressBar(total, bar.n, width=min(BAR, width // 3), pulse=total is None and not ended)
        table.add_row(
            Text("  " * depth + clean(name), no_wrap=True, overflow="ellipsis"),
            drawn,
            Text(clean(" · ".join(bar_figures(shown))), no_wrap=True, overflow="ellipsis"),
        )
    return table


def table(head: Sequence[str], rows: Sequence[Sequence[str]], statuses: Sequence[str]) -> None:
    """A table with the second column in the status's colour. The last two share the room that the others leave.

    A narrow terminal has the first columns: what is to be copied is whole.
    """
    to = console()
    widths = [max(cell_len(row[number]) for row in (head, *rows)) for number in range(len(head))]
    room = to.width - sum(widths[:-2]) - GAP * (len(head) - 1)
    widths[-1] = min(widths[-1], max(room // 3, room - widths[-2]))
    widths[-2] = min(widths[-2], room - widths[-1])
    while len(widths) > 1 and (widths[-1] <= 0 or sum(widths) + GAP * (len(widths) - 1) > to.width):
        widths.pop()
    shown = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    for width in widths:
        shown.add_column(overflow="ellipsis", no_wrap=True, width=width)
    shown.add_row(*head[: len(widths)], style="dim")
    for row, status in zip(rows, statuses, strict=True):
        colour = OUTCOME.get(status, ("", "blue"))[1]
        shown.add_row(
            *(Text(text, style=colour if number == 1 else "") for number, text in enumerate(row[: len(widths)]))
        )
    to.print(shown)
