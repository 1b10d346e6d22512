"""Texts are joined to pieces worth an event, and nothing is cut inside a grapheme."""

from __future__ import annotations

import wcwidth
from hypothesis import example, given
from hypothesis import strategies as st

from jupyter_sse.chat.chunker import Chunker
from jupyter_sse.events import Delta, Event, Reasoning, Tool

CALL = Tool(id="1", name="look", phase="call")


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, (Delta, Reasoning))]


def joined(pieces: list[str], chunker: Chunker | None = None) -> list[str]:
    chunker = chunker or Chunker()
    events = [event for piece in pieces for event in chunker.add(Delta(text=piece), 0.0)]
    return texts(events + chunker.finish())


def test_the_first_token_leaves_at_once() -> None:
    chunker = Chunker()
    assert texts(chunker.add(Delta(text="Hello"), 0.0)) == ["Hell"]
    assert chunker.add(Delta(text=" there"), 0.0) == []


def test_the_rest_leaves_at_so_many_words() -> None:
    words = [f" w{number}" for number in range(20)]
    assert joined(words) == [" w", "0 w1 w2 w3 w4 w5", " w6 w7 w8 w9 w10 w11", " w12 w13 w14 w15 w16 w17", " w18 w19"]
    assert len(joined(words, Chunker(words=2))) > 8


def test_punctuation_ends_a_piece() -> None:
    assert joined(["One", " two", ",", " three", " four", "؟", " five"]) == ["On", "e two,", " three four؟", " five"]


def test_what_has_waited_long_enough_leaves() -> None:
    chunker = Chunker(seconds=0.05)
    chunker.add(Delta(text="a "), 0.0)
    assert chunker.due == 0.05
    chunker.add(Delta(text="big"), 0.01)
    assert chunker.due == 0.05
    assert texts(chunker.flush(0.06)) == [" bi"]
    assert chunker.due == 0.06 + 0.05
    assert texts(chunker.flush(0.2)) == []
    assert chunker.due is None
    assert texts(chunker.finish()) == ["g"]


def test_words_stay_whole_while_there_is_a_space_to_cut_at() -> None:
    chunker = Chunker()
    chunker.add(Delta(text="We"), 0.0)
    chunker.add(Delta(text=" understand par"), 0.0)
    assert texts(chunker.flush(1.0)) == ["e understand"]
    assert texts(chunker.flush(2.0)) == [" pa"]


def test_other_events_come_after_the_text_before_them() -> None:
    chunker = Chunker()
    events = [
        *chunker.add(Reasoning(text="Let me see"), 0.0),
        *chunker.add(Delta(text="It is"), 0.0),
        *chunker.add(CALL, 0.0),
        *chunker.add(Delta(text=" blue"), 0.0),
        *chunker.finish(),
    ]
    kinds = [type(event) for event in events]
    assert kinds == [Reasoning, Reasoning, Delta, Delta, Tool, Delta]
    assert texts(events[:2]) == ["Let me se", "e"]
    assert "".join(texts(events[2:])) == "It is blue"


ALPHABET = "ab 1.,\n\r\u0301\u200d\ufe0f\u20e3👩👧🏽🇩🇪مَقक्ष가ᄀ한中。\u0600"


@example(["e", "\u0301"], [])
@example(["a\r", "\n b"], [0, 1])
@example(["\u0600", " x"], [0, 1])
@example(["\u06001\ufe0f", "x"], [])
@given(st.lists(st.text(ALPHABET, max_size=6)), st.lists(st.integers(0, 30)))
def test_nothing_is_lost_and_nothing_cut_inside_a_grapheme(pieces: list[str], flushes: list[int]) -> None:
    chunker = Chunker()
    events: list[Event] = []
    for index, piece in enumerate(pieces):
        events += chunker.add(Delta(text=piece), float(index))
        if index in flushes:
            events += chunker.flush(index + 0.5)
    whole = texts(events + chunker.finish())
    assert "".join(whole) == "".join(pieces)
    assert [grapheme for piece in whole for grapheme in wcwidth.iter_graphemes(piece)] == list(
        wcwidth.iter_graphemes("".join(pieces))
    )
