"""The golden vectors: what an event is in JSON, in a frame, and in a snapshot. vitest reads the same file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_sse import sse
from jupyter_sse.events import EVENT_TYPES, canonical, decode, encode, event_from, type_of
from jupyter_sse.state import Snapshot, fold

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "wire" / "vectors.json").read_text(encoding="utf-8")
)
each = pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])


def test_every_type_of_a_stream_has_a_vector() -> None:
    seen = {event["type"] for vector in VECTORS for _, event in vector["events"]}
    assert set(EVENT_TYPES) - seen == {"hello", "reset", "ping"}


@each
def test_events_become_these_frames_and_come_back(vector: dict[str, Any]) -> None:
    for (seq, event), frame in zip(vector["events"], vector["frames"], strict=True):
        raw = encode(event_from(event))
        assert canonical(raw)[0] == raw
        assert json.loads(raw) == event
        assert sse.encode(raw, event=type_of(raw), id=seq).decode() == frame
        [decoded] = sse.Decoder().feed(frame.encode())
        assert decoded == sse.Frame(event["type"], raw.decode(), str(seq))


@each
def test_events_come_to_this_snapshot_in_any_portions(vector: dict[str, Any]) -> None:
    numbered = [(seq, decode(json.dumps(event))) for seq, event in vector["events"]]
    want = msgspec.convert(vector["snapshot"], Snapshot)
    assert fold(Snapshot(stream=vector["name"]), numbered) == want
    chance = random.Random(vector["name"])
    for _ in range(20):
        snapshot = Snapshot(stream=vector["name"])
        rest = numbered
        while rest:
            size = chance.randint(1, len(rest))
            snapshot, rest = fold(snapshot, rest[:size]), rest[size:]
        assert snapshot == want


@each
def test_a_snapshot_survives_the_wire(vector: dict[str, Any]) -> None:
    snapshot = msgspec.convert(vector["snapshot"], Snapshot)
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot
