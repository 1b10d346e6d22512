"""Writes vectors.json: streams as their events, the bytes of their frames, and the snapshot they come to.

    python tests/wire/generate.py

pytest and vitest read the file; a change of it is a change of the wire, and must be meant.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from jupyter_sse import sse
from jupyter_sse.events import decode, event_from, type_of
from jupyter_sse.events import encode as encode_event
from jupyter_sse.state import Snapshot, fold

TARGET = Path(__file__).with_name("vectors.json")

TEXTS = ["Hello", "مرحبا بالعالم", "日本語。", "👩‍👩‍👧‍👦", 'tab\tNUL\0 line\nCR\r sep\u2028 "quoted" \\', ""]

STREAMS: dict[str, list[tuple[int, dict[str, Any]]]] = {
    "answer": [
        (1, {"type": "start", "ts": 10.5, "title": "Why?", "kind": "answer", "cancellable": True, "model": "demo"}),
        (2, {"type": "reasoning", "text": "Think "}),
        (3, {"type": "reasoning", "text": "hard"}),
        *[(4 + index, {"type": "delta", "text": text}) for index, text in enumerate(TEXTS)],
        (10, {"type": "tool", "id": "t1", "name": "search", "phase": "call", "args": {"q": "سماء"}}),
        (11, {"type": "tool", "id": "t2", "name": "clock", "phase": "call"}),
        (12, {"type": "tool", "id": "t1", "name": "search", "phase": "result", "result": ["blue"]}),
        (13, {"type": "usage", "input_tokens": 7, "output_tokens": 20}),
        (14, {"type": "usage", "input_tokens": 9, "output_tokens": 30, "cost": 0.0012}),
        (15, {"type": "done", "reason": "length", "ts": 12.25}),
    ],
    "task": [
        (
            1,
            {
                "type": "start",
                "ts": 1,
                "title": "Train",
                "total": 10,
                "unit": "epoch",
                "stall": 60,
                "origin": {"path": "a/b.ipynb", "cell": "c1", "execution": "m1", "kernel": "k1", "thread": "T"},
            },
        ),
        (2, {"type": "step", "step": 1, "of": 2, "message": "Load", "ts": 2}),
        (3, {"type": "progress", "bar": "outer", "n": 0, "total": 10, "unit": "epoch"}),
        (4, {"type": "progress", "bar": "inner", "n": 1.5, "total": 4, "parent": "outer", "rate": 3.5, "eta": 0.7}),
        (5, {"type": "progress", "bar": "inner", "n": 2, "message": "half"}),
        (6, {"type": "progress", "bar": "outer", "n": 3, "pct": 30}),
        (7, {"type": "progress", "n": 5}),
        (8, {"type": "progress", "bar": "empty", "n": 0, "total": 0}),
        (9, {"type": "log", "text": "one\ntwo\n", "level": "info", "source": "logging"}),
        (10, {"type": "log", "text": "", "source": "stderr"}),
        (11, {"type": "log", "text": "three\r"}),
        (12, {"type": "preview", "mime": "image/png", "data": "AAAA", "key": "plot"}),
        (13, {"type": "preview", "mime": "image/png", "url": "/files/x.png", "alt": "صورة"}),
        (14, {"type": "preview", "mime": "image/png", "data": "BBBB", "key": "plot"}),
        (15, {"type": "audio", "mime": "audio/wav", "data": "UklGRg==", "n": 0}),
        (16, {"type": "step", "step": 2, "message": "Save", "ts": 3}),
        (17, {"type": "progress", "bar": "bytes", "n": 2048, "scale": 1024, "label": "ملف", "state": "early"}),
        (18, {"type": "progress", "bar": "inner", "n": 4, "state": "removed"}),
        (19, {"type": "progress", "bar": "never", "n": 1, "state": "removed"}),
        (20, {"type": "progress", "bar": "outer", "n": 10, "state": "complete"}),
        (21, {"type": "done", "result": {"loss": 0.25, "list": [1, None]}, "ts": 4}),
    ],
    "failed": [
        (1, {"type": "start", "title": "Fail"}),
        (2, {"type": "error", "message": "ZeroDivisionError: division by zero", "code": "ZeroDivisionError", "ts": 5}),
        (3, {"type": "delta", "text": "after the end"}),
        (4, {"type": "done"}),
    ],
    "cancelled": [(1, {"type": "start"}), (2, {"type": "done", "reason": "cancelled", "via": "interrupt"})],
    "seen before": [
        (1, {"type": "delta", "text": "a"}),
        (2, {"type": "delta", "text": "b"}),
        (2, {"type": "delta", "text": "again"}),
        (1, {"type": "delta", "text": "older"}),
        (3, {"type": "delta", "text": "c"}),
    ],
    "unknown": [
        (1, {"type": "mood", "ts": 3, "value": {"deep": [True, None, 1.5]}}),
        (2, {"type": "delta", "text": "still here", "colour": "red"}),
    ],
    "long log": [(1, {"type": "log", "text": "\n".join(f"line {index}" for index in range(450))})]
    + [(2 + index, {"type": "log", "text": f"last {index}"}) for index in range(3)],
    "redrawn lines": [
        (1, {"type": "log", "text": " 10 %", "source": "stderr", "key": "stderr-1"}),
        (2, {"type": "log", "text": "between"}),
        (3, {"type": "log", "text": "\u001b[32m100 %\u001b[0m", "source": "stderr", "key": "stderr-1"}),
        (4, {"type": "log", "text": "one\ntwo", "key": "both"}),
        (5, {"type": "log", "text": "", "key": "both"}),
        (6, {"type": "log", "text": "\n".join(f"line {index}" for index in range(200))}),
        (7, {"type": "log", "text": "out of reach", "key": "stderr-1"}),
    ],
    "many steps": [(index, {"type": "step", "step": index, "message": f"step {index}"}) for index in range(1, 206)],
    "many previews": [
        (index, {"type": "preview", "mime": "image/png", "url": f"/{index}.png"}) for index in range(1, 24)
    ],
    "speech": [
        (3, {"type": "audio", "mime": "audio/pcm;rate=24000;channels=1", "data": "AAA=", "n": 0}),
        (4, {"type": "delta", "text": "between"}),
        (7, {"type": "audio", "mime": "audio/pcm;rate=24000;channels=1", "data": "AQA=", "n": 1}),
    ],
    "empty": [],
}


def vectors() -> list[dict[str, Any]]:
    made = []
    for name, events in STREAMS.items():
        raws = [encode_event(event_from(event)) for _, event in events]
        snapshot = fold(Snapshot(stream=name), [(seq, decode(raw)) for (seq, _), raw in zip(events, raws, strict=True)])
        frames = [
            sse.encode(raw, event=type_of(raw), id=seq).decode() for (seq, _), raw in zip(events, raws, strict=True)
        ]
        made.append(
            {
                "name": name,
                "events": [[seq, json.loads(raw)] for (seq, _), raw in zip(events, raws, strict=True)],
                "frames": frames,
                "snapshot": msgspec.to_builtins(snapshot),
            }
        )
    return made


if __name__ == "__main__":
    TARGET.write_text(json.dumps(vectors(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
