"""Streams in a plain script: text on stdout, progress on stderr."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from jupyter_sse import stream, task, track

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = """
import time
from jupyter_sse import task, track
with task("Train") as t:
    print("printed")
    for x in track(range(20), "Epoch"):
        time.sleep(0.02)
        if x == 10:
            t.log("half way")
    t.step("Saving")
"""


def test_text_and_lines_come_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    with task("Work", steps=2) as t:
        print("printed")
        t.step("Reading")
        t.log("a line\n")
        for _ in track(range(4), "Loop"):
            pass
    answer = stream(iter(["Hello ", "world"]))
    print("after")
    out, err = capsys.readouterr()
    assert out == "printed\n[1/2] Reading\na line\nHello world\nafter\n"
    assert "\r" not in err
    assert err.startswith("Work: done · ")
    assert "Loop ██████████ 100 % · 4/4" in err
    assert answer.status == "done"


def test_an_error_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), task("Bad"):
        1 / 0  # noqa: B018
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("ZeroDivisionError") == 1
    assert "Traceback" not in err


def test_text_that_the_terminal_cannot_show() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from jupyter_sse import stream; stream(iter(['a\\u2192\\ud800b']))"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "JUPYTER_SSE_URL": ""},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert result.stdout == b"a??b\n"


def test_a_pipe_that_was_closed_does_not_stop_the_work() -> None:
    code = (
        "from jupyter_sse import stream\n"
        "import sys\n"
        "answer = stream('x' * 1000 for _ in range(1000))\n"
        "sys.stderr.write(answer.status)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "JUPYTER_SSE_URL": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert b"done" in process.stderr.read()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_on_a_terminal_progress_moves_on_one_line() -> None:
    import pty

    main, end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "JUPYTER_SSE_URL": "", "COLUMNS": "100"},
        stdout=end,
        stderr=end,
    ) as process:
        os.close(end)
        shown = b"".join(_read(main)).decode()
        assert process.wait(60) == 0
    os.close(main)
    assert "\rTrain: Epoch" in shown
    drawn = [part for part in shown.split("\r") if part.startswith("Train: Epoch")]
    assert len(drawn) > 1
    assert all(len(part) < 100 for part in drawn)
    lines = [line.rsplit("\r", 1)[-1] for line in shown.replace("\r\n", "\n").split("\n")]
    assert lines[:3] == ["printed", "half way", "[1] Saving"]
    assert lines[3].startswith("Train: done · ")


def _read(end: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(end, 65536)
        except OSError:  # Linux says so when the other end is closed
            return
        if not data:
            return
        yield data
