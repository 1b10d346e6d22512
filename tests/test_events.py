from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_sse import events
from jupyter_sse.events import (
    CONNECTION_TYPES,
    EVENT_TYPES,
    TERMINAL_TYPES,
    Delta,
    Done,
    Error,
    Event,
    EventError,
    Hello,
    Log,
    Origin,
    Preview,
    Progress,
    Start,
    Step,
    Tool,
    Unknown,
    canonical,
    decode,
    encode,
    event_from,
    type_of,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
NUMBER = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
EVENTS = st.one_of(
    st.builds(Delta, text=TEXT, ts=st.none() | st.just(1.5)),
    st.builds(Start, title=st.none() | TEXT, total=st.none() | NUMBER, origin=st.none() | st.builds(Origin, path=TEXT)),
    st.builds(Progress, bar=TEXT, n=NUMBER, total=st.none() | NUMBER, message=st.none() | TEXT),
    st.builds(Step, step=st.integers(0, 99), message=TEXT),
    st.builds(Log, text=TEXT, level=st.none() | TEXT),
    st.builds(Tool, id=TEXT, name=TEXT, phase=st.sampled_from(["call", "result"]), args=JSON, result=JSON),
    st.builds(Preview, mime=TEXT, data=TEXT, key=st.none() | TEXT),
    st.builds(Done, reason=st.sampled_from(["stop", "cancelled"]), result=JSON),
    st.builds(Error, message=TEXT, code=TEXT, retryable=st.booleans()),
    st.builds(
        Unknown,
        st.from_regex(r"x[A-Za-z0-9_.-]{0,9}", fullmatch=True),
        st.dictionaries(TEXT.filter(lambda key: key not in ("type", "seq")), JSON, max_size=3),
    ),
)


def keeps_its_promises(raw: bytes) -> None:
    """What frames are built on: one line of UTF-8 that begins with the type."""
    assert raw.startswith(b'{"type":"')
    assert b"\n" not in raw
    assert b"\r" not in raw
    assert type_of(raw) == json.loads(raw.decode("utf-8"))["type"]


@given(EVENTS)
def test_what_is_encoded_is_decoded(event: Event | Unknown) -> None:
    raw = encode(event)
    keeps_its_promises(raw)
    assert decode(raw) == event
    assert decode(raw.decode()) == event
    assert canonical(raw) == (raw, event)
    assert event_from(json.loads(raw)) == event


@given(EVENTS, st.dictionaries(TEXT.map("x".__add__), JSON, max_size=3), st.randoms(use_true_random=False))
def test_an_event_from_outside_gets_the_canonical_form(
    event: Event | Unknown, more: dict[str, Any], random: Any
) -> None:
    fields = [*json.loads(encode(event)).items(), *more.items()]
    random.shuffle(fields)
    raw, parsed = canonical(json.dumps(dict([*fields, ("seq", 7)]), indent=1).encode())
    keeps_its_promises(raw)
    assert json.loads(raw) == dict(fields)
    assert canonical(raw) == (raw, parsed)
    if isinstance(event, Event):
        assert parsed == event


def test_every_type_has_its_struct() -> None:
    assert sorted(EVENT_TYPES) == sorted(
        [
            "hello",
            "start",
            "delta",
            "reasoning",
            "tool",
            "progress",
            "step",
            "log",
            "preview",
            "audio",
            "usage",
            "done",
            "error",
            "reset",
            "ping",
        ]
    )
    assert set(EVENT_TYPES) >= TERMINAL_TYPES | CONNECTION_TYPES
    for name, struct in EVENT_TYPES.items():
        assert getattr(events, struct.__name__) is struct
        assert struct.__name__.lower() == name
        assert struct.__struct_config__.frozen


def test_constant_fields_are_written_and_defaults_are_not() -> None:
    assert encode(Delta(text="hi")) == b'{"type":"delta","text":"hi"}'
    assert encode(Done()) == b'{"type":"done","reason":"stop"}'
    assert json.loads(encode(Hello(ts=1.0, stream=None))) == {"type": "hello", "ts": 1.0, "stream": None, "v": 1}
    assert json.loads(encode(Start(title="T"))) == {
        "type": "start", "title": "T", "kind": "task", "status": "running", "cancellable": False,
    }  # fmt: skip
    assert json.loads(encode(Error(message="m"))) == {
        "type": "error", "message": "m", "code": "error", "retryable": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"hello", "malformed"),
        (b"[]", "Expected `object`"),
        (b"null", "Expected `object`"),
        (b"{}", "no `type`"),
        (b'{"text":"hi"}', "no `type`"),
        (b'{"type":1}', "Expected `str`"),
        (b'{"type":""}', "Invalid value"),
        (b'{"type":"a b"}', "Invalid value"),
        (b'{"type":"x\\n\\ndata: forged"}', "Invalid value"),
        (b'{"type":"%s"}' % (b"x" * 65), "Invalid value"),
        (b'{"type":"delta"}', "`text`"),
        (b'{"type":"delta","text":1}', "Expected `str`"),
        (b'{"type":"delta","text":"a"} {}', "malformed"),
        (b'{"type":"delta","text":"a\nb"}', "malformed"),
        (b'{"type":"delta","text":"\xff"}', "."),
        (b'{"type":"delta","text":"\xed\xa0\x80"}', "."),
        (b'{"type":"delta","text":"\\ud800"}', "."),
        (b'{"type":"progress"}', "`n`"),
        (b'{"type":"progress","n":"50"}', "Expected `int | float`"),
        (b'{"type":"progress","n":true}', "Expected `int | float`"),
        (b'{"type":"progress","n":NaN}', "malformed"),
        (b'{"type":"progress","n":1e999}', "out of range"),
        (b'{"type":"progress","n":1,"bar":"%s"}' % (b"x" * 1025), "length <= 1024"),
        (b'{"type":"tool","id":"1","name":"f","phase":"middle"}', "Invalid enum value"),
        (b'{"type":"done","reason":"because"}', "Invalid enum value"),
        (b'{"type":"preview","mime":"image/png"}', "either `url` or `data`"),
        (b'{"type":"preview","mime":"image/png","url":"u","data":"d"}', "either `url` or `data`"),
        (b'{"type":"done","result":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"type":"other","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "."),
    ],
)
def test_what_is_not_an_event_is_refused_and_said_why(raw: bytes, why: str) -> None:
    with pytest.raises(EventError, match=why):
        decode(raw)
    with pytest.raises(EventError, match=why):
        canonical(raw)


LIKELY = st.dictionaries(
    st.sampled_from(["type", "text", "n", "message", "step", "result", "seq"]),
    st.sampled_from(["delta", "progress", "done", "error", "other", "a b"]) | JSON,
)


@given(st.binary(max_size=50) | LIKELY.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_event_or_refused(raw: bytes) -> None:
    try:
        raw, _ = canonical(raw)
    except EventError:
        return
    keeps_its_promises(raw)


def test_newer_types_and_fields_pass_through() -> None:
    raw, event = canonical(b'{"warmth": 3, "type": "mood", "seq": 4}')
    assert event == Unknown("mood", {"warmth": 3})
    assert raw == b'{"type":"mood","warmth":3}'
    raw, event = canonical(b'{"type":"delta","text":"a","voice":"low"}')
    assert event == Delta(text="a")
    assert raw == b'{"type":"delta","text":"a","voice":"low"}'


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("I have no words")


class Broken:
    def __repr__(self) -> str:
        return "\ud800"


class Tensor:
    def item(self) -> float:
        raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")

    def __repr__(self) -> str:
        return "tensor([1, 2])"


@dataclass
class Point:
    x: int
    label: str = "a"


CYCLE: list[Any] = []
CYCLE += [CYCLE, CYCLE]
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (math.nan, None),
        (math.inf, None),
        (2**100, 2**100),
        ("a\ud800b\0", "a\ufffdb\0"),
        ({"\ud83d": ["\udc00"]}, {"\ufffd": ["\ufffd"]}),
        ({1: 2, None: 3, (1, 2): 4}, {"1": 2, "None": 3, "(1, 2)": 4}),
        ((1, 2), [1, 2]),
        ({1}, [1]),
        (np.float64(1.5), 1.5),
        (np.float32("nan"), None),
        (np.array(3), 3),
        (np.arange(2), "array([0, 1])"),
        ({np.int64(3): np.bool_(True)}, {"3": True}),
        (b"\xff", "/w=="),
        (1j, "1j"),
        (Point(1), {"x": 1, "label": "a"}),
        (Point(1, "\ud800"), "Point(x=1, label='\\ud800')"),
        (Silent(), "<Silent>"),
        ([Broken(), "b"], ["\ufffd", "b"]),
        ({Broken(): 1}, {"\ufffd": 1}),
        (Tensor(), "tensor([1, 2])"),
        (CYCLE, ["...", "..."]),
    ],
)
def test_any_value_becomes_json(value: Any, result: Any) -> None:
    for raw in (
        encode(Done(result=value)),
        encode(event_from({"type": "done", "result": value})),
        encode(Unknown("other", {"result": value})),
    ):
        keeps_its_promises(raw)
        assert json.loads(raw).get("result") == result
        decode(raw)


@pytest.mark.filterwarnings("default")
def test_a_value_nested_too_deeply_is_cut() -> None:
    raw = encode(Done(result=DEEP))
    keeps_its_promises(raw)
    assert b'["..."]' in raw
    assert isinstance(decode(raw), Done)


def test_surrogates_in_any_field_are_replaced() -> None:
    start = Start(title="a\ud800", origin=Origin(path="\udfff.ipynb"))
    assert decode(encode(start)) == Start(title="a\ufffd", origin=Origin(path="\ufffd.ipynb"))
    # Two halves that were cut apart and meet in one text are one character.
    assert decode(encode(Delta(text="\ud83d\ude42"))) == Delta(text="🙂")


def test_a_value_is_not_changed_by_being_encoded() -> None:
    result = {"a": ["\ud800"]}
    event = Done(result=result)
    encode(event)
    assert result == {"a": ["\ud800"]}
    assert event.result is result


@pytest.mark.parametrize(
    "value", [None, 5, "delta", [], {"text": "a"}, {"type": "delta"}, {"type": None}, {"type": "a b"}]
)
def test_a_mapping_that_is_no_event_is_refused(value: Any) -> None:
    with pytest.raises(EventError):
        event_from(value)


def test_an_event_is_taken_as_it_is() -> None:
    event = Delta(text="a")
    assert event_from(event) is event


def test_events_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Delta(text="a").text = "b"  # type: ignore[misc]
    with pytest.raises(ValueError, match="either `url` or `data`"):
        Preview(mime="image/png")
    assert msgspec.structs.asdict(Delta(text="a")) == {"ts": None, "text": "a"}
