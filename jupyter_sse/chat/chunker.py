"""Texts on their way from a model: its tokens are joined to pieces worth an event, and never cut inside a grapheme.

The first token leaves at once; what follows at so many words, at punctuation, or after so many seconds. The last
grapheme is held back until it is known to be whole: the next token may begin with the accent, the skin tone or the
joiner that belongs to it.
"""

from __future__ import annotations

import re

import wcwidth

from ..events import Delta, Event, Reasoning

__all__ = ["Chunker"]

WINDOW = 256
"""Characters at the end of a text in which its last grapheme is looked for."""

_PUNCTUATION = re.compile(r"[.!?,;:\n。！？，；：、،؛؟।…]")
_WORD = re.compile(r"\S+")


class Chunker:
    """Joins texts; any other event passes, after the text before it.

    words : a piece leaves when it has so many words.
    seconds : a piece leaves when its oldest text has waited so long.
    """

    def __init__(self, *, words: int = 6, seconds: float = 0.05) -> None:
        self.words = words
        self.seconds = seconds
        self.due: float | None = None
        """When `flush` wants to be called, on the clock that `add` is given."""
        self._kind: type[Delta] | type[Reasoning] = Delta
        self._text = ""
        self._begun: set[type[Event]] = set()

    def add(self, event: Event, now: float) -> list[Event]:
        """What leaves now that this event has come."""
        if type(event) is not Delta and type(event) is not Reasoning:
            return [*self.finish(), event]
        before: list[Event] = []
        if type(event) is not self._kind:
            before = self.finish()
            self._kind = type(event)
        self._text += event.text
        if self._kind not in self._begun:
            after = self._leave(_last(self._text), now)
            if after:
                self._begun.add(self._kind)
            return [*before, *after]
        ends = [match.end() for match in _PUNCTUATION.finditer(self._text[:-1])]
        if ends and (end := _last(self._text[: ends[-1] + 1])):
            return [*before, *self._leave(end, now)]
        if len(_WORD.findall(self._text)) > self.words:
            return [*before, *self.flush(now)]
        if self.due is None and self._text:
            self.due = now + self.seconds
        return before

    def flush(self, now: float) -> list[Event]:
        """What can leave: whole words, or else all but the last grapheme."""
        space = max(self._text.rfind(" "), self._text.rfind("\n"))
        return self._leave(_last(self._text[: space + 1]) or _last(self._text), now)

    def finish(self) -> list[Event]:
        """What is left: nothing will be joined to it."""
        return self._leave(len(self._text), 0.0)

    def _leave(self, end: int, now: float) -> list[Event]:
        text, self._text = self._text[:end], self._text[end:]
        self.due = now + self.seconds if text and self._text else None
        return [self._kind(text=text)] if text else []


def _last(text: str) -> int:
    """Where the last grapheme begins."""
    # Forward: the reverse iterator cuts after a prepended mark. It finds its feet again long before the end.
    *_, last = wcwidth.iter_graphemes(text[-WINDOW:]) if text else ("",)
    return len(text) - len(last)
