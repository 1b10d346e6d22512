from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_sse.events import (
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
from jupyter_sse.state import LOG_LINES, PREVIEWS, STEPS, Snapshot, fold

if TYPE_CHECKING:
    from collections.abc import Iterable

WORD = st.sampled_from(["", "a", "ب", "🙂"])
EVENTS = st.lists(
    st.one_of(
        st.builds(Start, title=WORD, ts=st.just(1.0)),
        st.builds(Delta, text=WORD),
        st.builds(Reasoning, text=WORD),
        st.builds(Log, text=st.sampled_from(["a", "a\nb\n", "\n", ""])),
        st.builds(Progress, bar=WORD, n=st.integers(0, 9), total=st.none() | st.just(9), parent=st.none() | WORD),
        st.builds(Step, step=st.integers(0, 9), message=WORD),
        st.builds(Preview, mime=st.just("image/png"), data=WORD, key=st.none() | WORD),
        st.builds(Tool, id=WORD, name=WORD, phase=st.sampled_from(["call", "result"]), args=st.none() | WORD),
        st.builds(Usage, input_tokens=st.integers(0, 9), output_tokens=st.integers(0, 9)),
        st.builds(Unknown, st.just("other"), st.just({})),
        st.builds(Done) | st.builds(Error, message=WORD),
    ),
    max_size=12,
)


def after(*events: Event | Unknown) -> Snapshot:
    return fold(Snapshot(), enumerate(events, 1))


@given(EVENTS, st.lists(st.integers(0, 5)))
def test_it_does_not_matter_in_which_portions_events_come(events: list[Event | Unknown], sizes: list[int]) -> None:
    numbered = list(enumerate(events, 1))
    snapshot = Snapshot()
    rest = numbered
    for size in sizes:
        snapshot = fold(snapshot, rest[:size])
        rest = rest[size:]
    assert fold(snapshot, rest) == fold(Snapshot(), numbered)


@given(EVENTS, st.integers(0, 12))
def test_events_that_come_again_change_nothing(events: list[Event | Unknown], start: int) -> None:
    snapshot = after(*events)
    assert fold(snapshot, list(enumerate(events, 1))[start:]) == snapshot


@given(EVENTS, EVENTS)
def test_a_snapshot_is_never_changed(first: list[Event | Unknown], then: list[Event | Unknown]) -> None:
    snapshot = after(*first)
    before = msgspec.json.encode(snapshot)
    fold(snapshot, enumerate(then, snapshot.seq + 1))
    assert msgspec.json.encode(snapshot) == before


@given(EVENTS)
def test_a_snapshot_survives_json(events: list[Event | Unknown]) -> None:
    snapshot = after(*events)
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot


@pytest.mark.parametrize(
    ("end", "status", "fields"),
    [
        (Done(result={"a": 1}, ts=9.0), "done", {"reason": "stop", "result": {"a": 1}, "error": None}),
        (Done(reason="cancelled", ts=9.0), "cancelled", {"reason": "cancelled"}),
        (Done(reason="length", ts=9.0), "done", {"reason": "length"}),
        (
            Error(message="m", code="c", ts=9.0),
            "error",
            {"error": Error(message="m", code="c", ts=9.0), "reason": None},
        ),
    ],
)
def test_a_terminal_event_ends_it(end: Event, status: str, fields: dict[str, Any]) -> None:
    snapshot = after(Start(ts=1.0), Delta(text="a"), end, Delta(text="late"), Done(result="late"))
    assert snapshot.status == status
    assert {name: getattr(snapshot, name) for name in fields} == fields
    assert (snapshot.seq, snapshot.text, snapshot.started, snapshot.ended) == (3, "a", 1.0, 9.0)


def test_a_start_says_what_it_is() -> None:
    start = Start(
        title="T", kind="answer", total=8, unit="it", cancellable=True, origin=Origin(path="a.ipynb"), model="m", ts=2.0
    )
    snapshot = after(start)
    for name in ("title", "kind", "total", "unit", "cancellable", "origin", "model"):
        assert getattr(snapshot, name) == getattr(start, name)
    assert (snapshot.status, snapshot.started, snapshot.updated) == ("running", 2.0, 2.0)


def test_texts_grow_and_the_clock_is_the_producers() -> None:
    snapshot = after(Delta(text="مر"), Reasoning(text="hm", ts=3.0), Delta(text="حبا"), Reasoning(text="."))
    assert (snapshot.text, snapshot.reasoning) == ("مرحبا", "hm.")
    assert (snapshot.started, snapshot.updated) == (None, 3.0)


def bars(*events: Progress) -> list[Progress]:
    return after(*events).bars


def test_a_bar_keeps_its_place_total_unit_and_parent() -> None:
    assert bars(
        Progress(bar="outer", n=0, total=3, unit="epoch"),
        Progress(bar="inner", n=5, total=10, parent="outer", message="warm", rate=2.0, eta=3.0),
        Progress(bar="outer", n=1),
        Progress(bar="inner", n=6),
    ) == [
        Progress(bar="outer", n=1, total=3, unit="epoch"),
        Progress(bar="inner", n=6, total=10, parent="outer"),
    ]
    assert bars(Progress(n=1, total=3), Progress(n=1, total=0)) == [Progress(n=1, total=0)]


def test_the_log_keeps_its_last_lines_and_counts_all() -> None:
    def lines(*events: Log) -> list[str]:
        return [line.text for line in after(*events).log.lines]

    assert lines(Log(text="a\n"), Log(text="b\nc"), Log(text=""), Log(text="d\n\n")) == ["a", "b", "c", "", "d", ""]
    many = after(*[Log(text=f"{index}\nx") for index in range(LOG_LINES)])
    assert many.log.count == 2 * LOG_LINES
    assert len(many.log.lines) == LOG_LINES
    assert many.log.lines[-2].text == str(LOG_LINES - 1)
    flood = after(Log(text="\n".join(map(str, range(1000))), level="error", source="stderr"))
    assert (flood.log.count, flood.log.lines[0]) == (
        1000,
        Log(text=str(1000 - LOG_LINES), level="error", source="stderr"),
    )


def test_steps_and_previews_are_bounded() -> None:
    snapshot = after(
        *[Step(step=index, message="m") for index in range(STEPS + 5)],
        *[Preview(mime="image/png", url=str(index)) for index in range(PREVIEWS + 5)],
    )
    assert [step.step for step in snapshot.steps] == list(range(5, STEPS + 5))
    assert [preview.url for preview in snapshot.previews] == [str(index) for index in range(5, PREVIEWS + 5)]


def test_a_preview_replaces_the_one_with_its_key() -> None:
    def shown(*keys: str | None) -> Iterable[tuple[str | None, str | None]]:
        previews = [Preview(mime="image/png", data=str(index), key=key) for index, key in enumerate(keys)]
        return [(preview.key, preview.data) for preview in after(*previews).previews]

    assert shown("loss", "image", "loss") == [("loss", "2"), ("image", "1")]
    assert shown(None, None) == [(None, "0"), (None, "1")]


def test_a_result_joins_its_call() -> None:
    assert after(
        Tool(id="1", name="search", phase="call", args={"q": "x"}),
        Tool(id="2", name="search", phase="call", args={"q": "y"}),
        Tool(id="1", name="search", phase="result", result=[1]),
    ).tools == [
        Tool(id="1", name="search", phase="result", args={"q": "x"}, result=[1]),
        Tool(id="2", name="search", phase="call", args={"q": "y"}),
    ]


def test_usage_is_the_last_one() -> None:
    assert after(Usage(input_tokens=1, output_tokens=1), Usage(input_tokens=1, output_tokens=7)).usage == Usage(
        input_tokens=1, output_tokens=7
    )


def test_an_unknown_event_counts_and_changes_nothing_else() -> None:
    assert after(Delta(text="a"), Unknown("mood", {"text": "b"})) == Snapshot(seq=2, text="a")


@pytest.mark.timeout(20)
def test_many_events_at_once_cost_linear_time() -> None:
    # Joined one by one, these texts would move 50 GB.
    text = "x" * 1000
    assert len(after(*[Delta(text=text)] * 10_000, *[Reasoning(text=text)] * 10_000).text) == 10_000_000
