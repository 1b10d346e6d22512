"""What a stream of another protocol must keep to, whatever our events are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jupyter_sse.sse import Decoder, Frame


def frames(data: bytes) -> list[Any]:
    """The frames' JSON; ``[DONE]`` as it is."""
    return bodies(Decoder().feed(data))


def bodies(found: Sequence[Frame]) -> list[Any]:
    """The same of frames that were read one by one."""
    assert all(frame.event == "message" for frame in found)
    return [frame.data if frame.data == "[DONE]" else json.loads(frame.data) for frame in found]


def check_ai_sdk(told: Sequence[Any], *, ended: bool) -> list[str]:
    """The answer's text, in its pieces."""
    *told, last = told if ended else [*told, "[DONE]"]
    assert last == "[DONE]"
    kinds = [frame["type"] for frame in told]
    assert kinds.index("start") == 0
    assert kinds.count("start") == 1
    ends = [index for index, kind in enumerate(kinds) if kind in ("finish", "abort", "error")]
    assert ends == ([len(kinds) - 1] if ended else [])
    opened: dict[str, str] = {}
    seen: set[str] = set()
    tools: set[str] = set()
    text: list[str] = []
    for frame in told:
        kind, _, what = frame["type"].partition("-")
        if kind in ("text", "reasoning"):
            part = frame["id"]
            if what == "start":
                assert part not in seen
                seen.add(part)
                opened[part] = kind
            elif what == "delta":
                assert opened[part] == kind
                assert frame["delta"]
                text += [frame["delta"]] if kind == "text" else []
            else:
                assert what == "end"
                assert opened.pop(part) == kind
        elif what == "input-available":
            tools.add(frame["toolCallId"])
        elif what == "output-available":
            assert frame["toolCallId"] in tools
    assert not (ended and opened)
    return text


def check_ag_ui(told: Sequence[Any], *, ended: bool) -> list[str]:
    """The answer's text, in its pieces."""
    kinds = [frame["type"] for frame in told]
    assert kinds.index("RUN_STARTED") == 0
    assert kinds.count("RUN_STARTED") == 1
    ends = [index for index, kind in enumerate(kinds) if kind in ("RUN_FINISHED", "RUN_ERROR")]
    assert ends == ([len(kinds) - 1] if ended else [])
    opened: set[tuple[str, str]] = set()
    minted: set[str] = set()
    text: list[str] = []
    for frame in told:
        assert None not in frame.values()
        thing, _, phase = frame["type"].rpartition("_")
        key = (thing, frame.get("messageId") or frame.get("toolCallId") or frame.get("stepName") or "")
        if thing == "RUN":
            assert phase == "ERROR" or phase == "STARTED" or not opened
        elif phase in ("START", "STARTED"):
            assert key not in opened
            opened.add(key)
        elif phase in ("END", "FINISHED"):
            opened.remove(key)
        elif phase in ("CONTENT", "ARGS"):
            assert key in opened
            assert frame["delta"]
            text += [frame["delta"]] if thing == "TEXT_MESSAGE" else []
        if frame["type"] in ("TEXT_MESSAGE_START", "REASONING_START", "TOOL_CALL_START", "TOOL_CALL_RESULT"):
            new = frame.get("messageId") or frame["toolCallId"]
            assert new not in minted
            minted.add(new)
        if frame["type"] == "ACTIVITY_SNAPSHOT":
            assert frame["messageId"] not in minted
    return text


def check_openai(told: Sequence[Any], *, ended: bool) -> list[str]:
    """The answer's text, in its pieces."""
    *told, last = told if ended else [*told, "[DONE]"]
    assert last == "[DONE]"
    assert told[0]["choices"][0]["delta"]["role"] == "assistant"
    failed = [index for index, frame in enumerate(told) if "error" in frame]
    chunks = [frame for frame in told if "error" not in frame]
    assert failed in ([], [len(chunks)])
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    finished = [index for index, choice in enumerate(choices) if choice["finish_reason"]]
    assert finished == ([len(choices) - 1] if ended and not failed else [])
    assert all("usage" in chunk for chunk in chunks if not chunk["choices"])
    calls = [call["index"] for choice in choices for call in choice["delta"].get("tool_calls", [])]
    assert calls == list(range(len(calls)))
    return [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]


CHECKS = {"ai-sdk": check_ai_sdk, "ag-ui": check_ag_ui, "openai": check_openai}
