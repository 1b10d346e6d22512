"""Streams in the protocols of other chat clients: each event, all orders of events, and the questions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from format_streams import ends, events
from hypothesis import given
from hypothesis import strategies as st
from legal import CHECKS, frames

from jupyter_sse.chat import Message, Question
from jupyter_sse.events import (
    EVENT_TYPES,
    Delta,
    Done,
    Error,
    Event,
    Hello,
    Ping,
    Progress,
    Reset,
    Start,
    Unknown,
    decode,
    encode,
)
from jupyter_sse.formats import FORMATS, FormatError, Translation, named
from jupyter_sse.sse import encode as frame
from jupyter_sse.state import Snapshot, fold

GOLDEN = Path(__file__).parent / "formats"
EVENTS = [decode(line) for line in (GOLDEN / "events.ndjson").read_bytes().splitlines()]


def told(name: str, told: list[Event | Unknown]) -> bytes:
    adapter = FORMATS[name]("s1")
    return b"".join(map(adapter.add, told))


def test_the_events_of_the_vectors_are_all_there_are() -> None:
    types = {event.type if isinstance(event, Unknown) else type(event).__name__.lower() for event in EVENTS}
    assert types == {*EVENT_TYPES, "weather"} - {"error", "reset"}  # they have tests of their own


@pytest.mark.parametrize("name", FORMATS)
def test_every_event(name: str) -> None:
    assert told(name, EVENTS).decode() == (GOLDEN / f"{name}.sse").read_text()


@pytest.mark.parametrize("name", FORMATS)
@given(st.lists(events), ends)
def test_any_order_of_events_is_legal(name: str, given: list[Event | Unknown], end: Event | None) -> None:
    hello = Hello(ts=1.0, stream="s1")
    found = frames(told(name, [hello, *given, *([end, *given] if end else [])]))
    assert CHECKS[name](found, ended=end is not None) == [e.text for e in given if isinstance(e, Delta) and e.text]


@pytest.mark.parametrize("name", FORMATS)
@given(st.lists(events), st.lists(events), ends)
def test_who_joins_late_is_told_the_state_and_then_the_rest(
    name: str, before: list[Event | Unknown], after: list[Event | Unknown], end: Event | None
) -> None:
    past = [event for event in before if not isinstance(event, Ping)]
    snapshot = fold(Snapshot(stream="s1"), enumerate(past, 1))
    reset = decode(encode(Reset(reason="snapshot", snapshot=snapshot, seq=len(past))))
    rest = [*after, *([end] if end else [])]
    found = frames(told(name, [Hello(ts=1.0, stream="s1"), reset, *rest]))
    text = "".join(event.text for event in [*past, *after] if isinstance(event, Delta))
    pieces = CHECKS[name](found, ended=end is not None)
    assert "".join(pieces) == text
    assert not snapshot.text or pieces[0] == snapshot.text


@pytest.mark.parametrize("name", FORMATS)
def test_a_snapshot_of_a_stream_that_has_ended_ends(name: str) -> None:
    for end in (Done(reason="cancelled"), Done(reason="length"), Error(message="No.", code="tired")):
        past = [Start(kind="answer"), Delta(text="Hi"), end]
        snapshot = msgspec.to_builtins(fold(Snapshot(stream="s1"), enumerate(past, 1)))
        late = frames(told(name, [Hello(ts=1.0, stream="s1"), Reset(reason="snapshot", snapshot=snapshot, seq=3)]))
        assert CHECKS[name](late, ended=True) == ["Hi"]
        assert late[-2:] == frames(told(name, [Hello(ts=1.0, stream="s1"), *past]))[-2:]


@pytest.mark.parametrize(
    ("name", "end", "frames_at_the_end"),
    [
        ("ai-sdk", Error(message="No.", code="tired"), [{"type": "error", "errorText": "No."}, "[DONE]"]),
        ("ai-sdk", Done(reason="cancelled"), [{"type": "abort", "reason": "cancelled"}, "[DONE]"]),
        ("ai-sdk", Done(reason="timeout"), [{"type": "finish", "finishReason": "other"}, "[DONE]"]),
        ("ag-ui", Error(message="No.", code="tired"), [{"type": "RUN_ERROR", "message": "No.", "code": "tired"}]),
        (
            "ag-ui",
            Done(reason="cancelled"),
            [
                {
                    "type": "RUN_FINISHED",
                    "threadId": "s1",
                    "runId": "s1",
                    "metadata": {"reason": "cancelled"},
                    "outcome": {"type": "cancelled"},
                }
            ],
        ),
        (
            "openai",
            Error(message="No.", code="tired"),
            [{"error": {"message": "No.", "type": "jupyter_sse_error", "param": None, "code": "tired"}}, "[DONE]"],
        ),
        (
            "openai",
            Done(reason="cancelled"),
            [
                {
                    "error": {
                        "message": "The answer was cancelled before it was complete.",
                        "type": "jupyter_sse_error",
                        "param": None,
                        "code": "cancelled",
                    }
                },
                "[DONE]",
            ],
        ),
    ],
)
def test_how_it_ends(name: str, end: Event, frames_at_the_end: list[Any]) -> None:
    found = frames(told(name, [Hello(ts=1.0, stream="s1"), Delta(text="Hi"), end]))
    CHECKS[name](found, ended=True)
    assert found[-len(frames_at_the_end) :] == frames_at_the_end


def test_a_bar_keeps_what_was_said_of_it_once() -> None:
    found = frames(told("ai-sdk", [Progress(bar="a", n=1, total=3, unit="B"), Progress(bar="a", n=2)]))
    assert found[-1] == {"type": "data-progress", "id": "a", "data": {"bar": "a", "n": 2, "total": 3, "unit": "B"}}


@given(st.data())
def test_our_frames_are_translated_in_any_portions(data: st.DataObject) -> None:
    raw = b"".join(frame(encode(event), id=str(seq)) for seq, event in enumerate(EVENTS))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    translation = Translation(FORMATS["ag-ui"]("s1"), lambda data: b"<" + data + b">")
    parts = [translation(raw[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert b"<>" not in parts  # as a chunk of HTTP it would end the answer
    said = b"".join(part[1:-1] for part in parts).decode()
    assert re.sub(r"^id: \d+\n", "", said, flags=re.MULTILINE) == (GOLDEN / "ag-ui.sse").read_text()
    assert said.startswith('id: 0\ndata: {"type":"RUN_STARTED"')  # the last frame of an event has its id
    assert '\n\ndata: {"type":"REASONING_START"' in said


@pytest.mark.parametrize("data", ["50 %", '{"n": 50}', '{"type": "delta"}'])
def test_a_frame_that_is_no_event_is_told_by_its_name(data: str) -> None:
    (_, found) = frames(Translation(FORMATS["ai-sdk"]("s1"), bytes)(frame(data, event="battery")))
    assert found == {"type": "data-battery", "data": {"data": data}}


def test_an_unknown_name_is_told_which_there_are() -> None:
    with pytest.raises(FormatError, match=r"no format 'grpc', only ai-sdk, ag-ui, openai"):
        named("grpc")


# questions


def read(name: str, **body: Any) -> Any:
    return FORMATS[name].read(json.dumps(body).encode())


def test_the_messages_of_the_ai_sdk() -> None:
    asked = read(
        "ai-sdk",
        id="c1",
        trigger="submit-message",
        model="openai:gpt-5",
        system="Be brief.",
        messages=[
            {"id": "0", "role": "user", "parts": [{"type": "text", "text": "Why?"}]},
            {
                "id": "1",
                "role": "assistant",
                "metadata": {"usage": {}},
                "parts": [
                    {"type": "step-start"},
                    {"type": "reasoning", "text": "Hm."},
                    {"type": "dynamic-tool", "toolName": "look", "state": "output-available", "output": 1},
                    {"type": "text", "text": "One."},
                    {"type": "file", "url": "data:,", "mediaType": "image/png"},
                    {"type": "data-step", "data": {"step": 1}},
                    {"type": "text", "text": "Two."},
                ],
            },
            {"id": "2", "role": "user", "parts": [{"type": "text", "text": "مرحبا"}]},
        ],
    )
    history = (Message("user", "Why?"), Message("assistant", "One.\n\nTwo."))
    assert asked.question == Question("مرحبا", history, "openai:gpt-5", "Be brief.")
    assert asked.stream


def test_the_messages_of_ag_ui() -> None:
    asked = read(
        "ag-ui",
        threadId="t",
        runId="r",
        protocolVersion="1.0",
        tools=[],
        state={"a": 1},
        context=[{"description": "The page", "value": "Home"}],
        forwardedProps={"model": "told", "system": "Be brief."},
        messages=[
            {"id": "0", "role": "developer", "content": "Rhyme."},
            {"id": "1", "role": "user", "content": "Why?"},
            {"id": "2", "role": "reasoning", "content": "Hm."},
            {"id": "3", "role": "assistant", "toolCalls": [{"id": "c", "type": "function", "function": {}}]},
            {"id": "4", "role": "tool", "toolCallId": "c", "content": "blue"},
            {"id": "5", "role": "activity", "activityType": "progress", "content": {"n": 1}},
            {"id": "6", "role": "assistant", "content": "So."},
            {"id": "7", "role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "how?"}]},
        ],
    )
    history = (Message("system", "Rhyme."), Message("user", "Why?"), Message("assistant", "So."))
    assert asked.question == Question("And\n\nhow?", history, "told", "Be brief.\n\nThe page: Home")
    assert asked.options == {"thread": "t", "run": "r"}


def test_the_messages_of_openai() -> None:
    asked = read(
        "openai",
        model="told",
        stream=True,
        stream_options={"include_usage": True},
        temperature=0.2,
        max_tokens=100,
        tools=[],
        n=1,
        response_format={"type": "text"},
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
            {"role": "tool", "tool_call_id": "c", "content": "blue"},
            {"role": "assistant", "content": "So."},
            {"role": "user", "content": [{"type": "text", "text": "And how?"}]},
        ],
    )
    history = (Message("system", "Be brief."), Message("user", "Why?"), Message("assistant", "So."))
    assert asked.question == Question("And how?", history, "told")
    assert asked.options == {"usage": True}
    assert asked.stream
    assert not read("openai", messages=[{"role": "user", "content": "Why?"}]).stream


USER = {"role": "user", "content": "Hi", "parts": [{"type": "text", "text": "Hi"}]}


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        *((name, {}, "missing required field `messages`") for name in FORMATS),
        *((name, {"messages": []}, "question, and it is missing") for name in FORMATS),
        *((name, {"messages": [USER, {**USER, "role": "assistant"}]}, "of the role 'assistant'") for name in FORMATS),
        *((name, {"messages": [{**USER, "role": "bot"}, USER]}, "not known here: 'bot'") for name in FORMATS),
        *((name, {"messages": [USER], "model": 3}, "model") for name in ("ai-sdk", "openai")),
        ("ai-sdk", {"messages": [{"role": "user", "parts": [{"type": "file", "url": "data:,"}]}]}, "has a file"),
        ("ag-ui", {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "part of type 'image'"),
        ("ag-ui", {"messages": [USER], "tools": [{"name": "a"}]}, "`tools`"),
        ("ag-ui", {"messages": [USER], "resume": [{"interruptId": "a"}]}, "`resume`"),
        ("ag-ui", {"messages": [USER], "forwardedProps": {"model": 3}}, "forwardedProps.model"),
        ("openai", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "part of type 'image_url'"),
        ("openai", {"messages": [USER, {"role": "tool", "content": "blue"}]}, "no result of one can be sent"),
        ("openai", {"messages": [USER], "tools": [{"type": "function"}]}, "`tools`"),
        ("openai", {"messages": [USER], "n": 2}, "`n`"),
        ("openai", {"messages": [USER], "response_format": {"type": "json_object"}}, "`response_format`"),
    ],
)
def test_what_cannot_be_asked_is_refused(name: str, body: dict[str, Any], says: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(name, **body)
    assert says in caught.value.message
    assert caught.value.code == "bad_question"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 5000, b'{"messages": null}'])
def test_what_is_no_request_is_refused(name: str, body: bytes) -> None:
    with pytest.raises(FormatError):
        FORMATS[name].read(body)
