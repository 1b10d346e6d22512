"""The public names. A name that is added or goes is added or goes here as well, and in CHANGELOG.md."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import jupyter_sse

PUBLIC = {
    "jupyter_sse": [
        "Answer", "Cancelled", "Chat", "StreamError", "Task", "TaskTimeout", "ask", "broadcast", "connect",
        "current", "endpoint", "follow", "handler", "run", "stream", "task", "tqdm", "track", "trange",
    ],
    "jupyter_sse.log": [
        "FRAMES", "TOMBSTONE_SECONDS", "Entry", "Gap", "Gone", "Log", "LogError", "Media", "Meta", "overdue",
    ],
    "jupyter_sse.sse": ["Decoder", "Frame", "FrameTooLarge", "encode"],
    "jupyter_sse.state": ["LOG_LINES", "PREVIEWS", "STEPS", "LogTail", "Snapshot", "Sound", "Status", "fold"],
    "jupyter_sse.events": [
        "CONNECTION_TYPES", "EVENT_TYPES", "TERMINAL_TYPES", "Audio", "Delta", "Done", "Error", "Event", "EventError",
        "Hello", "Log", "Origin", "Ping", "Preview", "Progress", "Reasoning", "Reset", "Start", "Step", "Tool",
        "Unknown", "Usage", "canonical", "decode", "encode", "event_from", "type_of",
    ],
}  # fmt: skip
MODULES = ["jupyter_sse", *(module.name for module in pkgutil.walk_packages(jupyter_sse.__path__, "jupyter_sse."))]


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_names_are_these(name: str) -> None:
    assert importlib.import_module(name).__all__ == PUBLIC[name]


@pytest.mark.parametrize("name", MODULES)
def test_every_exported_name_is_there(name: str) -> None:
    module = importlib.import_module(name)
    for exported in getattr(module, "__all__", []):
        assert getattr(module, exported) is not None, exported


def test_lazy_names_behave_like_others() -> None:
    assert set(jupyter_sse.__all__) <= set(dir(jupyter_sse))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        jupyter_sse.nonsense  # noqa: B018
    with pytest.raises(ImportError):
        from jupyter_sse import nonsense  # noqa: F401


def test_jupyter_server_finds_the_extension() -> None:
    (point,) = jupyter_sse._jupyter_server_extension_points()
    assert point["module"] == "jupyter_sse"
    assert point["app"].name == "jupyter_sse"
