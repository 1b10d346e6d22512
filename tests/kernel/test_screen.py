from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_sse.events import Log
from jupyter_sse.kernel.screen import LINE, Screen
from jupyter_sse.state import Snapshot, fold


def logs(*pieces: bytes, at_once: bool = False) -> list[Log]:
    """What comes of these pieces, if each is looked at before the next comes."""
    screen = Screen("stdout")
    taken: list[Log] = []
    for piece in pieces:
        screen.feed(piece)
        taken += screen.take(pending=not at_once)
    screen.feed(b"", final=True)
    return taken + screen.take(final=True)


def shown(*pieces: bytes) -> list[str]:
    """The lines that a view has at the end."""
    events = enumerate(logs(*pieces), 1)
    return [log.text for log in fold(Snapshot(), events).log.lines]


def test_lines() -> None:
    assert shown(b"one\ntwo\r\n\nthree") == ["one", "two", "", "three"]
    assert logs(b"one\r\r\ntwo\r\n") == [Log(text="one\ntwo\n")]
    assert shown(b"", b"\n") == [""]
    assert shown() == []


def test_lines_that_end_are_one_event_without_a_key() -> None:
    assert logs(b"one\n\ntwo\n\n") == [Log(text="one\n\ntwo\n\n")]
    assert logs(b"one\n") == [Log(text="one")]


def test_a_line_is_shown_before_its_end_and_then_replaced() -> None:
    assert shown(b"Pass", b"word: ", b"\nnext\n") == ["Password: ", "next"]
    assert [log.key for log in logs(b"Pass", b"word: ", b"\nnext\n")] == ["stdout-1", "stdout-1", None]


def test_a_bar_is_one_line() -> None:
    bar = [b"%3d %%\r" % percent for percent in range(101)]
    assert shown(b"begin\n", *bar, b"\nend\n") == ["begin", "100 %", "end"]
    assert shown(b"begin\n" + b"".join(bar) + b"\nend\n") == ["begin", "100 %", "end"]


@pytest.mark.parametrize(
    ("written", "line"),
    [
        (b"long line\rshort", "shortline"),
        (b"long line\r\x1b[2Kshort", "short"),
        (b"long line\r\x1b[Kshort", "short"),
        (b"long line\rshort\x1b[K", "short"),
        (b"long line\x1b[4D\x1b[1K", "      ine"),
        (b"abc\b\bX", "aXc"),
        (b"abc\x1b[10Gd", "abc      d"),
        (b"abc\x1b[2Dd", "adc"),
        (b"a\x1b[3Cd", "a   d"),
        (b"a\tb", "a\tb"),
        ("日本\r語".encode(), "語本"),
    ],
)
def test_what_moves_the_cursor_and_erases(written: bytes, line: str) -> None:
    assert shown(written + b"\n") == [line]


@pytest.mark.parametrize("at_once", [True, False])
def test_nested_bars_stay_two_lines(at_once: bool) -> None:
    """As tqdm draws them, in pieces that show the outer one ended before the cursor is moved up to it."""
    pieces = [b"\router 0/2"]
    for outer in (1, 2):
        for inner in range(1, 4):
            pieces += [b"\n", b"\rinner %d/3" % inner, b"\x1b[A"]
        pieces += [b"\router %d/2" % outer]
    taken = logs(*pieces, b"\n\nend\n", at_once=at_once)
    assert [log.text for log in fold(Snapshot(), enumerate(taken, 1)).log.lines] == ["outer 2/2", "inner 3/3", "end"]


def test_many_lines_are_drawn_again() -> None:
    """As rich and docker draw them: the first time without a way to know that they will."""
    frames = [b"a %d\r\nb %d\r\nc %d\r\n" % (n, n, n) for n in range(3)]
    assert shown(b"\x1b[?25l" + frames[0], *(b"\x1b[3A" + frame for frame in frames[1:])) == ["a 2", "b 2", "c 2"]
    assert shown(frames[0] + b"\x1b[3A" + frames[1], b"\x1b[3A" + frames[2]) == ["a 2", "b 2", "c 2"]


def test_colours_stay_and_each_line_has_its_own() -> None:
    assert shown(b"\x1b[31mred\x1b[0m plain\n") == ["\x1b[31mred\x1b[0m plain"]
    assert shown(b"\x1b[1;31mred\nstill\x1b[m\nplain\n") == ["\x1b[1;31mred\x1b[0m", "\x1b[1;31mstill\x1b[0m", "plain"]
    assert shown(b"\x1b[38;5;208;48:2:1:2:300mx\n") == ["\x1b[38;5;208;48;2;1;2;255mx\x1b[0m"]
    assert shown(b"\x1b[38:2::1:2:3mx\n") == ["\x1b[38;2;1;2;3mx\x1b[0m"]
    assert shown(b"\x1b[4:3;58:2::1:4:9;58;5;1mx\x1b[4:0my\n") == ["\x1b[4mx\x1b[0my"]
    assert shown(b"\x1b[1mb\x1b[22m \x1b[4mu\x1b[24;39m.\n") == ["\x1b[1mb\x1b[0m \x1b[4mu\x1b[0m."]
    assert shown(b"\x1b[32mgreen line\x1b[0m\r\x1b[31mred\n") == ["\x1b[31mred\x1b[0m\x1b[32men line\x1b[0m"]


def test_everything_else_is_left_out() -> None:
    assert shown(b"\x1b]0;title\x07a\x1b]8;;https://x.org\x1b\\b\x1b(B\x1b[?2004h\x07c\x00\x1b=\n") == ["abc"]


def test_bytes_that_are_no_text() -> None:
    assert shown(b"caf\xe9 \xff\n") == ["caf\ufffd \ufffd"]
    assert shown("é".encode()[:1], "é".encode()[1:] + b"\n") == ["é"]
    assert shown("é".encode()[:1]) == ["\ufffd"]


def test_a_line_without_end_is_broken() -> None:
    lines = shown(b"x" * (3 * LINE + 5))
    assert [len(line) for line in lines] == [LINE, LINE, LINE, 5]


PARTS = [
    b"a",
    b"bc",
    b"\n",
    b"\r",
    b"\r\n",
    b"\b",
    b"\x1b[A",
    b"\x1b[K",
    b"\x1b[2K",
    b"\x1b[31m",
    b"\x1b[0m",
    "é".encode(),
]


@given(st.lists(st.sampled_from(PARTS), max_size=30), st.data())
@settings(max_examples=300)
def test_pieces_make_no_difference(parts: list[bytes], data: st.DataObject) -> None:
    """However the bytes come: the same lines."""
    written = b"".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(written)))))
    pieces = [written[start:end] for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True)]
    whole, in_pieces = shown(written), shown(*pieces)
    if in_pieces[-1:] == [""] and whole == in_pieces[:-1]:  # a last line that was seen, and then erased
        in_pieces.pop()
    if b"\x1b[A" not in written:  # a line that had ended may be drawn again: then it stands there twice
        assert in_pieces == whole


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_garbage_is_shown_as_text(data: bytes) -> None:
    for line in shown(data):
        assert "\n" not in line
        assert "\r" not in line
