from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jupyter_sse.sse import Decoder, Frame, FrameTooLarge, encode

BOM = b"\xef\xbb\xbf"


def decode(stream: bytes, sizes: list[int] | None = None) -> list[Frame]:
    """The frames of a stream that comes in portions of these sizes, then the rest."""
    decoder = Decoder()
    frames = []
    for size in sizes or []:
        frames += decoder.feed(stream[:size])
        stream = stream[size:]
    return frames + decoder.feed(stream)


def by_the_book(stream: bytes) -> tuple[list[Frame], str, int | None]:
    """WHATWG's steps as they are written, on the whole stream at once: frames, last id, retry."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    frames = []
    data = event = buffered_id = last_id = ""
    retry = None
    for line in re.split("\r\n|\r|\n", text)[:-1]:
        name, colon, value = line.partition(":")
        if colon and value.startswith(" "):
            value = value[1:]
        if line == "":
            last_id = buffered_id
            if data:
                frames.append(Frame(event or "message", data[:-1], last_id))
            data = event = ""
        elif name == "event":
            event = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            buffered_id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            retry = int(value)
    return frames, last_id, retry


# what is written


@pytest.mark.parametrize(
    ("arguments", "frame"),
    [
        ({"data": b"{}"}, b"data: {}\n\n"),
        ({"data": "سلام"}, "data: سلام\n\n".encode()),
        ({"data": b""}, b"data: \n\n"),
        (
            {"data": b"{}", "event": "hello", "id": "s:7", "retry": 1000},
            b"retry: 1000\nid: s:7\nevent: hello\ndata: {}\n\n",
        ),
        ({"data": b"x", "id": 0}, b"id: 0\ndata: x\n\n"),
        ({"data": b"x", "id": ""}, b"id: \ndata: x\n\n"),
        ({"data": b"a\nb\r\nc\rd\n"}, b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"),
        ({"data": "a\u2028b\u2029c\x0bd\x0ce\x85f"}, "data: a\u2028b\u2029c\x0bd\x0ce\x85f\n\n".encode()),
    ],
)
def test_a_frame_is_written_in_one_form(arguments: dict[str, str | bytes | int], frame: bytes) -> None:
    assert encode(**arguments) == frame  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "done\n\ndata: forged"])
def test_nothing_breaks_out_of_the_event_field(name: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        encode(b"{}", event=name)


@pytest.mark.parametrize("id_", ["1\n", "1\r", "\0", "1\nevent: forged"])
def test_nothing_breaks_out_of_the_id_field(id_: str) -> None:
    with pytest.raises(ValueError, match="line break or NUL"):
        encode(b"{}", id=id_)


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8")),
            st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1),
            st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")),
            st.none() | st.integers(0, 10**9),
        )
    ),
    st.lists(st.integers(1, 9)),
)
def test_what_is_written_is_read(
    frames: list[tuple[str, str | None, str | None, int | None]], sizes: list[int]
) -> None:
    wire = b"".join(encode(data, event=event, id=id_, retry=retry) for data, event, id_, retry in frames)
    last_id = ""
    expected = []
    for data, event, id_, _ in frames:
        last_id = last_id if id_ is None else id_
        expected.append(Frame(event or "message", re.sub("\r\n|\r", "\n", data), last_id))
    assert decode(wire, sizes) == expected


@given(st.binary(), st.sampled_from([None, "delta"]))
def test_any_bytes_are_one_frame(data: bytes, event: str | None) -> None:
    assert len(decode(encode(data, event=event) + encode(b"next"))) == 2


# what is read


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"data: a\n\n", [("message", "a", "")]),
        (b"data:a\n\ndata:  a\n\n", [("message", "a", ""), ("message", " a", "")]),
        (b"data\n\n", [("message", "", "")]),
        (b"data\ndata\n\n", [("message", "\n", "")]),
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\r\n", [("message", text, "") for text in "abc"]),
        (b"data: a\r\ndata: b\rdata: c\ndata: d\r\n\r\n", [("message", "a\nb\nc\nd", "")]),
        (b": comment\n\n:\ndata: a\n\n", [("message", "a", "")]),
        (b"event: x\n\ndata: a\n\n", [("message", "a", "")]),
        (b"event: x\nevent: y\ndata: a\n\n", [("y", "a", "")]),
        (b"event: x\nevent\ndata: a\n\n", [("message", "a", "")]),
        (
            b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
            [("message", "a", "1"), ("message", "b", "1"), ("message", "c", "")],
        ),
        (b"id: 1\n\ndata: a\n\n", [("message", "a", "1")]),
        (b"id: 1\nid: 2\0\ndata: a\n\n", [("message", "a", "1")]),
        (b"unknown: 1\nDATA: x\n data: y\ndata : z\ndata: a:b\n\n", [("message", "a:b", "")]),
        (b"data: a\n", []),
        (b"data: a", []),
        (b"", []),
        (BOM + b"data: a\n\n", [("message", "a", "")]),
        (BOM + BOM + b"data: a\n\n", []),
        (b"\n" + BOM + b"data: a\n\n", []),
        (BOM[:2] + b"\ndata: a\n\n", [("message", "a", "")]),
        ("data: a\u2028b\n\n".encode(), [("message", "a\u2028b", "")]),
        (b"data: \xff\xf0\x9f\x99\n\n", [("message", "\ufffd\ufffd", "")]),
    ],
)
def test_a_stream_is_read_as_the_standard_says(stream: bytes, frames: list[tuple[str, str, str]]) -> None:
    expected = [Frame(*frame) for frame in frames]
    assert decode(stream) == expected
    assert decode(stream, [1] * len(stream)) == expected
    assert by_the_book(stream)[0] == expected


PIECES = st.sampled_from(
    [
        b"\n", b"\r", b"\r\n", b"\n\n", b"data", b"data:", b"data: ", b"event: ", b"id: ", b"id", b"retry: ", b"retry:",
        b":", b" ", b"1", b"42", b"x", BOM, b"\xef", b"\xbb", b"\xbf", b"\0", "🙂".encode(), "🙂".encode()[:3],
        "\u2028".encode(), b"\xff",
    ]
)  # fmt: skip


@given(st.lists(PIECES | st.binary(max_size=3), max_size=40).map(b"".join), st.lists(st.integers(0, 5)))
@example(b"data: a\r\ndata: b\r\n\r\n", [8])
@example(BOM + b"data: a\n\n", [1, 1, 1])
@example(b"\r", [])
def test_however_a_stream_is_cut_it_reads_the_same(stream: bytes, sizes: list[int]) -> None:
    decoder = Decoder()
    frames = []
    rest = stream
    for size in sizes:
        frames += decoder.feed(rest[:size])
        rest = rest[size:]
    frames += decoder.feed(rest)
    assert (frames, decoder.last_id, decoder.retry) == by_the_book(stream)


def test_a_frame_comes_with_the_byte_that_ends_it() -> None:
    decoder = Decoder()
    assert decoder.feed(b"id: 3\r\ndata: a\r\n\r") == [Frame("message", "a", "3")]
    assert decoder.last_id == "3"
    assert decoder.feed(b"\ndata: b\r\n\r") == [Frame("message", "b", "3")]


def test_an_id_counts_once_its_block_has_ended() -> None:
    decoder = Decoder()
    decoder.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")
    assert decoder.last_id == "1"
    decoder.feed(b"\n")
    assert decoder.last_id == "2"


@pytest.mark.parametrize(
    ("value", "retry"),
    [(b"1500", 1500), (b"0", 0), (b"-1", 7), (b"1.5", 7), (b"", 7), (b"1 ", 7), ("٣".encode(), 7), (b"9" * 5000, 7)],
)
def test_retry_is_digits_only(value: bytes, retry: int) -> None:
    decoder = Decoder()
    assert decoder.feed(b"retry: 7\n\nretry: " + value + b"\n\n") == []
    assert decoder.retry == retry


@pytest.mark.timeout(30)
def test_a_long_line_in_many_portions_takes_linear_time() -> None:
    # Quadratic, this would move 250 GB.
    decoder = Decoder()
    decoder.feed(b"data: ")
    for _ in range(1 << 16):
        assert decoder.feed(b"x" * 128) == []
    (frame,) = decoder.feed(b"\n\n")
    assert len(frame.data) == 128 << 16


@pytest.mark.parametrize("line", [b"data: " + b"x" * 50, b"data: x\n" * 20, b": comment\n" * 20])
def test_a_frame_cannot_grow_without_bound(line: bytes) -> None:
    decoder = Decoder(max_frame=64)
    for _ in range(10):
        assert decoder.feed(b"data: " + b"x" * 40 + b"\n\n")
    with pytest.raises(FrameTooLarge, match="64 bytes"):
        for _ in range(3):
            decoder.feed(line)
