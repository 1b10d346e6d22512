"""What a terminal would show of a program's output, as log lines.

A carriage return, a backspace and the escape sequences that move the cursor or erase let a program draw a line again.
Here such a line is one log event that replaces the one before (`Log.key`), so a bar is one line and not a thousand.
Colours stay in the text, as one form of SGR sequences; everything else that is no text is left out. Does no I/O.

On purpose:

- A line that ends is sent without a key unless it was seen before its end, so that ordinary output stays small.
- There are no columns: a line is as long as it is, up to `LINE`, and a wide character has one place. What
  programs draw with a carriage return or by erasing comes out right all the same.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from ..events import Log

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Screen"]

LINE = 8192
"""Characters of a line; what is longer goes on in the next one, as on a terminal."""
ROWS = 50
"""Lines that the cursor can be moved up to."""
EVENT = 16384
"""Characters of lines that are one event."""

_TOKEN = re.compile(
    r"""(?P<text>[^\x00-\x08\x0a-\x1f\x7f-\x9f]+)
    | \x1b\[(?P<parameters>\??[0-9:;]*)(?P<final>[A-Za-z@`])
    | \x1b\[[\x20-\x3f]*[\x40-\x7e]                      # any other control sequence
    | \x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)   # window titles, links and the like, to their end
    | \x1b[\x20-\x2f]*[\x30-\x5a\x5c\x60-\x7e]
    | (?P<control>[\x00-\x08\x0a-\x1f\x7f-\x9f])""",
    re.VERBOSE,
)
_UNFINISHED = re.compile(r"\x1b(?:\[[\x20-\x3f]{0,64}|[\]PX^_][^\x07\x1b\x9c]{0,4096}\x1b?|[\x20-\x2f]{0,8})?\Z")
_END = re.compile(r"\r*\n")
_PLAIN = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f]*")

_ON = (1, 2, 3, 4, 7, 9)
_OFF = {22: (1, 2), 23: (3,), 24: (4,), 27: (7,), 29: (9,)}
_FOREGROUND, _BACKGROUND = 30, 40
_COLOURS = (38, 48, 58)
"""What a colour follows: that of the text, of what is behind it, of its underline."""

Style = tuple[tuple[int, str], ...]


class _Row:
    """A line: `text`, with its SGR sequences, and how many characters that shows; `cells` while it is drawn over."""

    __slots__ = ("cells", "changed", "key", "sent", "size", "style", "text")

    def __init__(self) -> None:
        self.clear()
        self.key: str | None = None
        self.changed = True
        self.sent = False

    def __str__(self) -> str:
        self._join()
        return self.text + "\x1b[0m" if self.style else self.text

    def clear(self) -> None:
        self.text = ""
        self.size = 0
        self.style: Style = ()
        self.cells: list[tuple[str, Style]] | None = None
        self.changed = True

    def append(self, text: str, style: Style) -> None:
        self._join()
        if style != self.style:
            self.text += ("\x1b[0m" if self.style else "") + _sgr(style)
            self.style = style
        self.text += text
        self.size += len(text)
        self.changed = True

    def put(self, at: int, text: str, style: Style) -> None:
        cells = self.drawn()
        cells += [(" ", ())] * (at - len(cells))
        cells[at : at + len(text)] = [(character, style) for character in text]
        self.size = len(cells)

    def cut(self, at: int) -> None:
        """Erase from there on."""
        if at < self.size:
            del self.drawn()[at:]
            self.size = at

    def drawn(self) -> list[tuple[str, Style]]:
        """Its characters, to be changed."""
        self.changed = True
        if self.cells is None:
            self.cells = []
            style: Style = ()
            for token in _TOKEN.finditer(self.text):
                if token["text"] is not None:
                    self.cells += [(character, style) for character in token["text"]]
                else:
                    style = _styled(style, token["parameters"])
        return self.cells

    def _join(self) -> None:
        cells, self.cells = self.cells, None
        if cells is not None:
            self.text, self.size, self.style = "", 0, ()
            for style, run in groupby(cells, lambda cell: cell[1]):
                self.append("".join([character for character, _ in run]), style)


class Screen:
    """Takes the bytes of one output with `feed`, in any pieces, and gives the log events with `take`."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._rows = [_Row()]
        self._at = 0
        self._column = 0
        self._style: Style = ()
        self._drawing = False  # it draws several lines again and again: they change after their end
        self._keys = 0
        self._ready: list[Log] = []
        self._lines: list[str] = []  # that are to be one event
        self._size = 0

    @property
    def pending(self) -> bool:
        """The last line has not ended, and its state has not been taken."""
        last = self._rows[-1]
        return last.changed and (last.size > 0 or last.sent)

    def feed(self, data: bytes, final: bool = False) -> None:
        """More output; `final` if it is the last."""
        text = self._rest + self._decoder.decode(data, final)
        self._rest = ""
        if not final and (unfinished := _UNFINISHED.search(text)):
            text, self._rest = text[: unfinished.start()], unfinished[0]
        for index, line in enumerate(_END.split(text)):
            if index:
                self._end_line()
            if line:
                self._write(line)

    def end_line(self) -> None:
        """What comes next has nothing to do with what came before."""
        self.feed(b"", final=True)
        self._at, self._style = len(self._rows) - 1, ()
        if self._rows[-1].size:
            self._end_line()

    def take(self, *, pending: bool = False, final: bool = False) -> list[Log]:
        """The events for all that has changed; of the last line too if `pending`, to be replaced when it goes on."""
        for row in self._rows[:-1]:
            self._send(row)
        if (pending or final) and self.pending:
            if not final and self._rows[-1].key is None:
                self._give_key(self._rows[-1])
            self._send(self._rows[-1])
        self._pack()
        ready, self._ready = self._ready, []
        return ready

    def _write(self, line: str) -> None:
        if _PLAIN.fullmatch(line):
            self._draw(line)
            return
        for token in _TOKEN.finditer(line):
            if token["text"] is not None:
                self._draw(token["text"])
            elif token["final"] is not None:
                self._control(token["final"], token["parameters"])
            elif token["control"] == "\r":
                self._column = 0
                row = self._rows[self._at]
                if row.key is None and not row.sent:  # a bar, to which the cursor may be moved up after its end
                    self._give_key(row)
            elif token["control"] == "\b":
                self._column = max(0, self._column - 1)

    def _draw(self, text: str) -> None:
        while text:
            if self._column >= LINE:
                self._end_line()
            piece, text = text[: LINE - self._column], text[LINE - self._column :]
            row = self._rows[self._at]
            if self._column == row.size:
                row.append(piece, self._style)
            else:
                row.put(self._column, piece, self._style)
            self._column += len(piece)

    def _end_line(self) -> None:
        self._column = 0
        self._at += 1
        if self._at < len(self._rows):
            return
        self._rows.append(_Row())
        if self._drawing:
            self._give_key(self._rows[-1])
        if len(self._rows) > 2 * ROWS:
            for row in self._rows[:-ROWS]:
                self._send(row)
            del self._rows[:-ROWS]
            self._at = len(self._rows) - 1

    def _control(self, final: str, parameters: str) -> None:
        if parameters.startswith("?"):
            if parameters == "?25":  # who hides the cursor is about to move it
                self._draw_again(final == "l")
            return
        if final == "m":
            self._style = _styled(self._style, parameters)
            return
        first = parameters.partition(";")[0]
        number = min(int(first), LINE) if first.isdecimal() and len(first) < 6 else 0
        steps = max(1, number)
        if final in "AF":
            self._draw_again(True)
            self._at = max(0, len(self._rows) - ROWS, self._at - steps)
        elif final in "BE":
            self._at = min(len(self._rows) - 1, self._at + steps)
        elif final == "C":
            self._column = min(LINE, self._column + steps)
        elif final == "D":
            self._column = max(0, self._column - steps)
        elif final in "G`":
            self._column = steps - 1
        elif final == "K":
            self._erase(number)
        elif final == "J" and number == 0:
            self._rows[self._at].cut(self._column)
            for row in self._rows[self._at + 1 :]:
                row.clear()
        if final in "EF":
            self._column = 0

    def _draw_again(self, on: bool) -> None:
        if on and not self._drawing:
            for row in self._rows:
                if row.key is None and not row.sent:
                    self._give_key(row)
        self._drawing = on

    def _erase(self, what: int) -> None:
        """From the cursor on (0), up to it (1), or the whole line (2)."""
        row = self._rows[self._at]
        if what == 2 or (what == 0 and self._column == 0):
            row.clear()
        elif what == 0:
            row.cut(self._column)
        elif what == 1:
            row.put(0, " " * min(row.size, self._column + 1), ())

    def _give_key(self, row: _Row) -> None:
        self._keys += 1
        row.key = f"{self._source}-{self._keys}"

    def _send(self, row: _Row) -> None:
        if not row.changed:
            return
        if row.sent and row.key is None:  # it had ended, and is drawn again after all
            self._give_key(row)
        text = str(row)
        row.changed, row.sent = False, True
        if row.key is not None:
            self._pack()
            self._ready.append(Log(text=text, source=self._source, key=row.key))
            return
        if self._size + len(text) > EVENT:
            self._pack()
        self._lines.append(text)
        self._size += len(text) + 1

    def _pack(self) -> None:
        if self._lines:
            lines, self._lines, self._size = self._lines, [], 0
            text = lines[0] if len(lines) == 1 else "\n".join(lines) + "\n"
            self._ready.append(Log(text=text, source=self._source))


def _sgr(style: Style) -> str:
    return f"\x1b[{';'.join([code for _, code in style])}m" if style else ""


@lru_cache
def _styled(style: Style, parameters: str) -> Style:
    """The style after an SGR sequence with these parameters."""
    now = dict(style)
    codes = iter([code for parameter in parameters.split(";") for code in _codes(parameter)])
    for code in codes:
        if code == 0:
            now = {}
        elif code in _ON:
            now[code] = str(code)
        elif code in _OFF:
            for off in _OFF[code]:
                now.pop(off, None)
        elif 30 <= code <= 37 or 90 <= code <= 97:
            now[_FOREGROUND] = str(code)
        elif 40 <= code <= 47 or 100 <= code <= 107:
            now[_BACKGROUND] = str(code)
        elif code == 39:
            now.pop(_FOREGROUND, None)
        elif code == 49:
            now.pop(_BACKGROUND, None)
        elif code in _COLOURS and (colour := _colour(codes)) and code != 58:
            now[_FOREGROUND if code == 38 else _BACKGROUND] = f"{code};{colour}"
    return tuple(sorted(now.items()))


def _codes(parameter: str) -> list[int]:
    """One parameter. Some have parts: an underline its kind, a colour the name of its space before red, green, blue."""
    code, *parts = [int(part) if part.isdecimal() and len(part) < 6 else 0 for part in parameter.split(":")]
    if not parts:
        return [code]
    if code == 4:
        return [4 if parts[0] else 24]
    if code not in _COLOURS:
        return []
    return [code, 2, *parts[-3:]] if parts[0] == 2 else [code, *parts]


def _colour(codes: Iterator[int]) -> str | None:
    """One of 256 colours, or one by red, green and blue."""
    way = next(codes, 0)
    if way == 5:
        return f"5;{min(255, next(codes, 0))}"
    if way == 2:
        return "2;" + ";".join([str(min(255, next(codes, 0))) for _ in range(3)])
    return None
