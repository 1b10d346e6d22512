"""Files that grow, and are taken away and put back."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import wait_for

from jupyter_sse import Cancelled, follow
from jupyter_sse.kernel import display
from jupyter_sse.kernel.tail import BLOCK, Tail

if TYPE_CHECKING:
    from jupyter_sse.kernel.follow import Follow
    from kernel.link_server import LinkServer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


def everything(tail: Tail) -> tuple[list[str], bytes]:
    """What is to be had now, and what has happened to the file meanwhile."""
    changes: list[str] = []
    parts = []
    for data in itertools.takewhile(bool, iter(tail.read, None)):
        parts.append(data)
        changes += filter(None, [tail.change()])
    return changes + list(filter(None, [tail.change()])), b"".join(parts)


def append(file: Path, data: bytes) -> None:
    with file.open("ab") as to:
        to.write(data)


@pytest.mark.parametrize(
    ("content", "lines", "last"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
        (b"a\nb\n", 2, b"a\nb\n"),
        (b"\n\n\n", 2, b"\n\n"),
        (b"a\nb\n", 0, b""),
        (b"a\nb", 0, b""),
        (b"", 3, b""),
        (b"x\n" + b"y" * (3 * BLOCK) + b"\nz\n", 2, b"y" * (3 * BLOCK) + b"\nz\n"),
        (b"n\n" * BLOCK, BLOCK - 1, b"n\n" * (BLOCK - 1)),
    ],
)
def test_the_last_lines_come_first(file: Path, content: bytes, lines: int, last: bytes) -> None:
    file.write_bytes(content)
    tail = Tail(file, lines)
    assert everything(tail) == ([], last)
    append(file, b"more")
    assert everything(tail) == ([], b"more")
    tail.close()


def test_a_file_that_is_renamed_is_read_to_its_end(file: Path) -> None:
    file.write_bytes(b"1\n")
    tail = Tail(file, 9)
    assert everything(tail) == ([], b"1\n")
    old = file.rename(file.with_suffix(".1"))
    append(old, b"2\n")
    assert everything(tail) == ([], b"2\n")  # whoever writes it may not have another one yet
    file.write_bytes(b"3\n")
    append(old, b"late\n")
    assert everything(tail) == (["new"], b"late\n3\n")
    append(file, b"4\n")
    assert everything(tail) == ([], b"4\n")
    tail.close()


def test_a_file_that_is_emptied_is_read_again(file: Path) -> None:
    file.write_bytes(b"1\n2\n")
    tail = Tail(file, 9)
    everything(tail)
    file.write_bytes(b"3\n")  # as copytruncate leaves it, and what is written after it
    assert everything(tail) == (["emptied"], b"")
    assert everything(tail) == ([], b"3\n")
    tail.close()


def test_a_file_that_is_deleted_and_comes_back(file: Path) -> None:
    file.write_bytes(b"1\n")
    tail = Tail(file, 9)
    everything(tail)
    file.unlink()
    assert everything(tail) == ([], b"")
    file.write_bytes(b"2\n")
    assert everything(tail) == (["new"], b"2\n")
    tail.close()


def test_a_file_that_is_not_there_yet(file: Path) -> None:
    tail = Tail(file, 1)
    assert everything(tail) == (["missing"], b"")
    assert everything(tail) == ([], b"")
    file.write_bytes(b"1\n2\n")
    assert everything(tail) == (["new"], b"1\n2\n")  # all of it is new
    tail.close()


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        follow(tmp_path)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch, linked: LinkServer) -> LinkServer:
    monkeypatch.setattr("jupyter_sse.kernel.follow.in_notebook", lambda: True)
    monkeypatch.setattr(display, "show", lambda stream: None)
    return linked


def lines(followed: Follow) -> list[str]:
    return [log.text for log in followed.snapshot.log.lines]


def test_it_goes_on_in_the_background_until_it_is_cancelled(notebook: LinkServer, file: Path) -> None:
    file.write_bytes(b"1\n2\n3\n")
    followed = follow(file, lines=2)
    assert repr(followed).endswith("running>")
    wait_for(lambda: lines(followed) == ["2", "3"], "the last lines")
    append(file, b"\x1b[32m4\x1b[0m\n10 %\r20 %")
    wait_for(lambda: lines(followed)[2:] == ["\x1b[32m4\x1b[0m", "20 %"], "the new ones")
    file.rename(file.with_suffix(".1"))
    file.write_bytes(b"5\n")
    wait_for(lambda: lines(followed)[4:] == ["Another file has taken its place.", "5"], "the new file")
    notebook.tell(op="cancel", stream=followed.id)
    with pytest.raises(Cancelled):
        followed.wait()
    assert followed.status == "cancelled"
    start = notebook.streams[followed.id][0]
    assert (start["title"], start["kind"]) == ("train.log", "log")


def test_it_ends_when_nobody_watches(notebook: LinkServer, file: Path) -> None:
    file.write_bytes(b"1\n")
    followed = follow(file)
    notebook.wait(lambda: followed.id in notebook.streams)
    notebook.tell(op="unwatched", stream=followed.id)
    assert asyncio.run(_awaited(followed)) is followed
    assert (followed.status, followed.snapshot.reason) == ("done", "closed")
    assert "Nobody watches" in lines(followed)[-1]


async def _awaited(followed: Follow) -> Follow:
    return await followed


def test_what_is_shown_by_this_process_is_watched(notebook: LinkServer, file: Path) -> None:
    """As in VS Code, whose page reads nothing from the server."""
    file.write_bytes(b"1\n")
    followed = follow(file)
    followed._producer.listen(lambda first, events: 0.05)
    wait_for(lambda: followed._producer.shown_from_here, "the view")
    notebook.wait(lambda: followed.id in notebook.streams)
    notebook.tell(op="unwatched", stream=followed.id)
    append(file, b"2\n")
    notebook.tell(op="unwatched", stream=followed.id)
    wait_for(lambda: lines(followed) == ["1", "2"], "what was added")
    assert followed.status == "running"
    followed.cancel()


def test_in_a_script_it_is_passed_on(file: Path, capfdbinary: Any) -> None:
    file.write_bytes(b"1\xff\n")
    followed = follow(file)
    wait_for(lambda: lines(followed) == ["1\ufffd"], "the line")
    followed.cancel()
    with pytest.raises(Cancelled):
        followed.wait()
    assert capfdbinary.readouterr().out == b"1\xff\n"
