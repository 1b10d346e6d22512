from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from jupyter_sse.log import FRAMES, TOMBSTONE_SECONDS, Entry, Gap, Gone, Log, LogError, Media, Meta, overdue
from jupyter_sse.log import sqlite as sqlite_module
from jupyter_sse.log.fallback import FallbackLog
from jupyter_sse.log.memory import MemoryLog
from jupyter_sse.log.sqlite import SqliteLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

HELLO = [b'{"type":"start"}', b'{"type":"delta","text":"hi"}', b'{"type":"done","reason":"stop"}']


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Disk(SqliteLog):
    """A file on a disk that can be full."""

    full = False

    async def _write(self, job: Callable[[sqlite3.Connection], Any]) -> Any:
        if self.full:
            await asyncio.sleep(0)
            raise LogError("the disk is full")
        return await super()._write(job)


class Bench:
    """A log, its clock, and an event loop to run it in."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.clock = Clock()
        self.folder = folder
        self.runner = asyncio.new_event_loop()
        self.kind = kind
        self.connect()

    def connect(self) -> None:
        self.disk = Disk(self.folder / "log.db", clock=self.clock)
        self.log: Log = self.disk
        if self.kind == "memory":
            self.log = MemoryLog(clock=self.clock)
        elif self.kind == "fallback":
            self.log = FallbackLog(self.disk, retry=0.01, clock=self.clock)

    def run(self, work: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            return await asyncio.wait_for(work, 20)

        return self.runner.run_until_complete(bounded())

    def append(self, stream: str, *events: bytes, seq: int = 1, **meta: Any) -> int:
        last: int = self.run(self.log.append(stream, seq, events, Meta(**meta) if meta else None))
        return last

    def entry(self, stream: str) -> Entry:
        entry = self.run(self.log.entry(stream))
        assert isinstance(entry, Entry)
        return entry

    def ids(self, **wanted: Any) -> list[str]:
        return [entry.id for entry in self.run(self.log.entries(**wanted))]

    def expire(self, max_age: float = 1e9, max_streams: int = 10**6, max_bytes: int = 1 << 40) -> list[str]:
        gone: list[str] = self.run(self.log.expire(max_age=max_age, max_streams=max_streams, max_bytes=max_bytes))
        return gone

    def reopen(self) -> None:
        self.run(self.log.close())
        self.connect()
        self.run(self.log.open())

    def close(self) -> None:
        self.run(self.log.close())
        self.runner.run_until_complete(self.runner.shutdown_default_executor())
        self.runner.close()


@contextlib.contextmanager
def opened(kind: str, folder: Path) -> Iterator[Bench]:
    bench = Bench(kind, folder)
    try:
        bench.run(bench.log.open())
        yield bench
    finally:
        bench.close()


@pytest.fixture(params=["memory", "sqlite", "fallback", "fallback on a full disk"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    kind, _, full = request.param.partition(" ")
    with opened(kind, tmp_path) as bench:
        if full:
            bench.disk.full = True
        yield bench


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Bench]:
    with opened("sqlite", tmp_path) as bench:
        yield bench


# what every log does


def test_events_come_back_as_they_were_with_their_numbers(bench: Bench) -> None:
    events = ["مرحبا".encode(), b"\0\xff", "🙂".encode(), b""]
    assert bench.append("s", *events) == 4
    assert bench.run(bench.log.read("s", 0)) == list(enumerate(events, 1))
    assert bench.run(bench.log.read("s", 2)) == [(3, events[2]), (4, events[3])]
    assert bench.run(bench.log.read("s", 4)) == []
    assert bench.run(bench.log.read("s", -1)) == list(enumerate(events, 1))


def test_sending_again_changes_nothing(bench: Bench) -> None:
    bench.append("s", b"1", b"2", title="T")
    before = bench.entry("s")
    bench.clock.now += 5
    assert bench.append("s", b"x", b"y", title="U", status="done") == 2
    assert bench.append("s", b"y", seq=2) == 2
    assert bench.entry("s") == before
    assert bench.append("s", b"y", b"3", seq=2) == 3
    assert bench.run(bench.log.read("s", 0)) == [(1, b"1"), (2, b"2"), (3, b"3")]


def test_a_gap_is_refused_and_says_where_the_stream_ends(bench: Bench) -> None:
    with pytest.raises(Gap) as refusal:
        bench.append("s", b"2", seq=2)
    assert refusal.value.last == 0
    assert bench.run(bench.log.entry("s")) is None
    bench.append("s", b"1", b"2")
    with pytest.raises(Gap) as refusal:
        bench.append("s", b"4", seq=4, status="done")
    assert refusal.value.last == 2
    assert bench.entry("s").status == "running"
    with pytest.raises(ValueError, match="from 1"):
        bench.append("s", b"0", seq=0)


def test_nothing_to_append_makes_no_stream(bench: Bench) -> None:
    assert bench.append("s", title="T") == 0
    assert bench.run(bench.log.entry("s")) is None


def test_a_read_is_bounded_by_number_and_bytes_but_always_gets_on(bench: Bench) -> None:
    bench.append("s", *[b"x" * 100] * 10)
    assert [seq for seq, _ in bench.run(bench.log.read("s", 2, limit=3))] == [3, 4, 5]
    assert [seq for seq, _ in bench.run(bench.log.read("s", 2, max_bytes=250))] == [3, 4]
    assert [seq for seq, _ in bench.run(bench.log.read("s", 2, max_bytes=1))] == [3]


def test_an_entry_tells_what_the_stream_is(bench: Bench) -> None:
    bench.append("s", b"12", b"345", kind="task", title="Rendern", path="a.ipynb", producer="p", status="running")
    bench.clock.now += 7
    bench.append("s", b"6", seq=3, status="done")
    assert bench.entry("s") == Entry(
        id="s", seq=3, first=1, bytes=6, status="done", kind="task", title="Rendern", path="a.ipynb",
        producer="p", created=1_000_000.0, updated=1_000_007.0, deleted=False,
    )  # fmt: skip


def test_streams_are_listed_newest_first_and_by_what_they_are(bench: Bench) -> None:
    bench.append("a", b"1", kind="task", path="x.ipynb")
    bench.append("b", b"1", kind="answer", path="x.ipynb", status="done")
    bench.append("c", b"1")
    bench.append("a", b"2", seq=2)
    assert bench.ids() == ["c", "b", "a"]
    assert bench.ids(status="running") == ["c", "a"]
    assert bench.ids(kind="answer") == ["b"]
    assert bench.ids(path="x.ipynb") == ["b", "a"]
    assert bench.ids(path="x.ipynb", status="running", kind="task") == ["a"]
    assert bench.ids(limit=1) == ["c"]


def test_what_is_known_of_a_stream_can_change_later(bench: Bench) -> None:
    bench.append("s", b"1", cell="c", execution="e", kernel="k", title="T")
    bench.run(bench.log.update("s", Meta()))
    bench.run(bench.log.update("s", Meta(dismissed=True)))
    entry = bench.entry("s")
    assert (entry.cell, entry.execution, entry.kernel, entry.title, entry.dismissed) == ("c", "e", "k", "T", True)
    assert bench.ids(kernel="k") == ["s"]
    assert bench.ids(kernel="other") == []
    bench.run(bench.log.delete("s"))
    bench.run(bench.log.update("s", Meta(title="secret")))
    bench.run(bench.log.update("none", Meta(title="secret")))
    assert (bench.entry("s").title, bench.entry("s").cell) == (None, None)
    assert bench.run(bench.log.entry("none")) is None


def test_the_last_snapshot_is_kept(bench: Bench) -> None:
    bench.run(bench.log.save_snapshot("s", b"too early"))
    bench.append("s", b"1", b"2")
    assert bench.run(bench.log.snapshot("s")) is None
    bench.run(bench.log.save_snapshot("s", b"one"))
    bench.run(bench.log.save_snapshot("s", b"two"))
    assert bench.run(bench.log.snapshot("s")) == b"two"
    bench.run(bench.log.delete("s"))
    bench.run(bench.log.save_snapshot("s", b"too late"))
    assert bench.run(bench.log.snapshot("s")) is None


def test_media_are_told_in_parts_and_go_with_their_stream(bench: Bench) -> None:
    bench.append("s", *HELLO)
    film = bytes(range(256)) * 40
    if bench.disk.full:  # memory is not for films
        with pytest.raises(LogError):
            bench.run(bench.log.put_media("s", "film", "video/mp4", film, key=None, keep=2))
        return
    assert bench.run(bench.log.put_media("s", "film", "video/mp4", film, key=None, keep=2)) == len(film)
    for start, length in ((0, 0), (0, 1), (255, 600), (len(film) - 5, 100), (len(film), 1), (0, len(film))):
        part = bench.run(bench.log.media("s", "film", start, length))
        assert part == Media("video/mp4", len(film), film[start : start + length])
    assert bench.run(bench.log.media("s", "other")) is None
    assert bench.run(bench.log.media("other", "film")) is None
    bench.run(bench.log.delete("s"))
    assert bench.run(bench.log.media("s", "film")) is None
    with pytest.raises(Gone):
        bench.run(bench.log.put_media("s", "film", "video/mp4", film, key=None, keep=2))


def test_of_a_film_more_frames_are_kept_while_there_is_room(bench: Bench) -> None:
    bench.append("s", *HELLO)
    if bench.disk.full:
        return

    def put(name: str, size: int, key: str | None = "film") -> int:
        grown: int = bench.run(bench.log.put_media("s", name, "image/png", bytes(size), key=key, keep=2, room=1000))
        return grown

    def kept(names: list[str]) -> list[str]:
        return [name for name in names if bench.run(bench.log.media("s", name)) is not None]

    before = bench.entry("s").bytes
    put("other", 900, key="other")
    grown = [put(str(number), 100) for number in range(30)]
    assert grown == [100] * 10 + [0] * 20
    assert kept(list(map(str, range(30)))) == [str(number) for number in range(20, 30)]
    put("large", 700)
    assert kept(list(map(str, range(30)))) == ["27", "28", "29"]
    put("larger", 5000)
    assert kept([*map(str, range(30)), "large", "larger", "other"]) == ["large", "larger", "other"]
    assert bench.entry("s").bytes == before + 900 + 700 + 5000
    small = [f"small-{number}" for number in range(100)]
    for name in small:
        put(name, 1)
    assert kept(small) == small[-FRAMES:]


def test_a_deleted_stream_is_remembered_as_such_and_nothing_else_of_it(bench: Bench) -> None:
    bench.append("s", *HELLO, kind="task", title="secret", path="p.ipynb")
    bench.run(bench.log.save_snapshot("s", b"secret"))
    bench.clock.now += 1
    bench.run(bench.log.delete("s"))
    entry = bench.entry("s")
    assert (entry.deleted, entry.seq, entry.first, entry.bytes) == (True, 3, 4, 0)
    assert (entry.kind, entry.title, entry.path, entry.updated) == (None, None, None, bench.clock.now)
    assert bench.run(bench.log.read("s", 0)) == []
    assert bench.run(bench.log.snapshot("s")) is None
    assert bench.ids() == []
    for seq in (1, 4, 9):
        with pytest.raises(Gone):
            bench.append("s", b"x", seq=seq)
    bench.clock.now += 1
    bench.run(bench.log.delete("s"))
    bench.run(bench.log.delete("never existed"))
    assert bench.entry("s") == entry


def test_old_streams_expire_and_running_ones_do_not(bench: Bench) -> None:
    bench.append("old", b"1", status="done")
    bench.append("running", b"1")
    bench.clock.now += 100
    bench.append("new", b"1", status="error")
    assert bench.expire(max_age=100) == []
    bench.clock.now += 1
    assert bench.expire(max_age=100) == ["old"]
    assert bench.entry("old").deleted
    assert bench.ids() == ["new", "running"]
    assert bench.expire(max_age=100) == []


def test_the_oldest_streams_expire_above_a_number_and_above_a_size(bench: Bench) -> None:
    for index in range(6):
        bench.clock.now += 1
        bench.append(f"s{index}", b"x" * 10, status="done")
    bench.append("running", b"x" * 1000)
    assert bench.expire(max_streams=4) == ["s0", "s1"]
    assert bench.expire(max_bytes=25) == ["s2", "s3"]
    assert bench.expire(max_bytes=0, max_streams=0) == ["s4", "s5"]
    assert bench.ids() == ["running"]


def test_after_a_month_a_deleted_stream_has_never_existed(bench: Bench) -> None:
    bench.append("s", b"1")
    bench.run(bench.log.delete("s"))
    bench.clock.now += TOMBSTONE_SECONDS
    bench.expire()
    assert bench.entry("s").deleted
    bench.clock.now += 1
    bench.expire()
    assert bench.run(bench.log.entry("s")) is None
    assert bench.append("s", b"again") == 1
    assert bench.run(bench.log.read("s", 0)) == [(1, b"again")]


def test_appends_that_overlap_are_taken_in_the_order_of_their_calls(bench: Bench) -> None:
    async def many() -> list[int]:
        return await asyncio.gather(*[bench.log.append("s", seq, [b"%d" % seq]) for seq in range(1, 201)])

    assert bench.run(many()) == list(range(1, 201))
    assert bench.run(bench.log.read("s", 0)) == [(seq, b"%d" % seq) for seq in range(1, 201)]


def test_a_refusal_does_not_touch_what_is_committed_with_it(bench: Bench) -> None:
    async def mixed() -> Any:
        return await asyncio.gather(
            bench.log.append("a", 1, [b"1"]),
            bench.log.append("a", 3, [b"3"]),
            bench.log.append("b", 1, [b"1"]),
            return_exceptions=True,
        )

    first, gap, other = bench.run(mixed())
    assert (first, other) == (1, 1)
    assert isinstance(gap, Gap)
    assert gap.last == 1


def test_overdue_prefers_to_keep_what_was_written_last() -> None:
    def entry(name: str, updated: float, size: int, status: str = "done") -> Entry:
        return Entry(
            id=name, seq=1, first=1, bytes=size, status=status, created=0.0, updated=updated
        )  # fmt: skip

    streams = [entry("a", 5, 10), entry("b", 9, 10), entry("c", 7, 10), entry("r", 1, 99, "running")]
    assert overdue(streams, 10, max_age=4, max_streams=9, max_bytes=99) == ["a"]
    assert overdue(streams, 10, max_age=99, max_streams=1, max_bytes=99) == ["a", "c"]
    assert overdue(streams, 10, max_age=99, max_streams=9, max_bytes=19) == ["a", "c"]
    assert overdue(streams, 10, max_age=99, max_streams=9, max_bytes=30) == []


async def replay(log: Log, stream: str) -> list[tuple[int, bytes]]:
    """All events, in as many reads as it takes."""
    rows: list[tuple[int, bytes]] = []
    while found := await log.read(stream, rows[-1][0] if rows else 0):
        rows += found
    return rows


class Pair(RuleBasedStateMachine):
    """Whatever is done, a log on disk answers as one in memory does, also after it was closed and opened again."""

    kind = "sqlite"
    streams = st.sampled_from(["a", "b", "c"])

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.memory = Bench("memory", Path(self.folder.name))
        self.sqlite = Bench(self.kind, Path(self.folder.name))
        self.sqlite.run(self.sqlite.log.open())

    def both(self, call: Callable[[Log], Awaitable[Any]]) -> None:
        def outcome(bench: Bench) -> Any:
            try:
                return bench.run(call(bench.log))
            except (Gap, Gone) as refusal:
                return type(refusal), str(refusal)

        assert outcome(self.sqlite) == outcome(self.memory)

    @rule(
        stream=streams,
        back=st.integers(-2, 3),
        events=st.lists(st.binary(max_size=30), max_size=5),
        meta=st.none()
        | st.builds(
            Meta,
            status=st.sampled_from([None, "running", "done", "error", "cancelled"]),
            kind=st.sampled_from([None, "task"]),
            title=st.none() | st.text(st.characters(codec="utf-8"), max_size=5),
            path=st.sampled_from([None, "p.ipynb"]),
            kernel=st.sampled_from([None, "k"]),
        ),
    )
    def append(self, stream: str, back: int, events: list[bytes], meta: Meta | None) -> None:
        entry = self.memory.run(self.memory.log.entry(stream))
        seq = max(1, (entry.seq if entry else 0) + 1 - back)
        self.both(lambda log: log.append(stream, seq, events, meta))

    @rule(stream=streams, dismissed=st.none() | st.booleans())
    def update(self, stream: str, dismissed: bool | None) -> None:
        self.both(lambda log: log.update(stream, Meta(dismissed=dismissed)))

    @rule(stream=streams, after=st.integers(-1, 20), limit=st.integers(1, 20), max_bytes=st.integers(1, 100))
    def read(self, stream: str, after: int, limit: int, max_bytes: int) -> None:
        self.both(lambda log: log.read(stream, after, limit=limit, max_bytes=max_bytes))

    @rule(stream=streams, snapshot=st.binary(max_size=10))
    def save_snapshot(self, stream: str, snapshot: bytes) -> None:
        self.both(lambda log: log.save_snapshot(stream, snapshot))

    @rule(stream=streams)
    def delete(self, stream: str) -> None:
        self.both(lambda log: log.delete(stream))

    @rule(age=st.integers(0, 50), number=st.integers(0, 4), size=st.integers(0, 200))
    def expire(self, age: int, number: int, size: int) -> None:
        self.both(lambda log: log.expire(max_age=age, max_streams=number, max_bytes=size))

    @rule(seconds=st.sampled_from([1.0, 30.0, TOMBSTONE_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.memory.clock.now += seconds
        self.sqlite.clock.now += seconds

    @rule()
    def reopen(self) -> None:
        self.sqlite.reopen()

    @rule(status=st.sampled_from([None, "running", "done"]), kind=st.sampled_from([None, "task"]))
    def look(self, status: str | None, kind: str | None) -> None:
        self.both(lambda log: log.entries(status=status, kind=kind))
        for stream in ("a", "b", "c"):
            self.both(lambda log, stream=stream: log.entry(stream))  # type: ignore[misc]
            self.both(lambda log, stream=stream: log.snapshot(stream))  # type: ignore[misc]
            self.both(lambda log, stream=stream: replay(log, stream))  # type: ignore[misc]

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.memory.close()
            self.sqlite.close()
            self.folder.cleanup()


TestPair = pytest.mark.timeout(120)(Pair.TestCase)
TestPair.settings = settings(max_examples=25, stateful_step_count=25)


# what the one on disk does besides


def test_what_was_committed_is_there_after_a_restart(disk: Bench) -> None:
    disk.append("s", *HELLO, kind="task", title="T", status="done")
    disk.run(disk.log.save_snapshot("s", b"{}"))
    before = disk.entry("s")
    disk.reopen()
    assert disk.entry("s") == before
    assert disk.run(disk.log.read("s", 0)) == list(enumerate(HELLO, 1))
    assert disk.run(disk.log.snapshot("s")) == b"{}"


def test_closing_commits_what_is_pending(disk: Bench) -> None:
    async def close_at_once() -> list[int]:
        appends = [asyncio.ensure_future(disk.log.append("s", seq, [b"x"])) for seq in range(1, 101)]
        await asyncio.sleep(0)
        await disk.log.close()
        return await asyncio.gather(*appends)

    assert disk.run(close_at_once())[-1] == 100
    disk.reopen()
    assert disk.entry("s").seq == 100


def test_a_closed_log_says_so(disk: Bench) -> None:
    disk.run(disk.log.close())
    with pytest.raises(LogError, match="closed"):
        disk.append("s", b"1")
    with pytest.raises(LogError, match="closed"):
        disk.run(disk.log.entries())


_APPENDER = """
import asyncio, sys
from jupyter_sse.log.sqlite import SqliteLog

async def write(log, stream):
    seq = 1
    while True:
        last = await log.append(stream, seq, [b"%d" % n for n in range(seq, seq + 3)])
        print(stream, last, flush=True)
        seq = last + 1

async def main():
    log = SqliteLog(sys.argv[1])
    await log.open()
    await asyncio.gather(*[write(log, f"s{index}") for index in range(4)])

asyncio.run(main())
"""


def test_kill_9_loses_nothing_that_was_acked(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with subprocess.Popen([sys.executable, "-c", _APPENDER, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acked: dict[str, int] = {}
        for line in writer.stdout:
            stream, last = line.split()
            acked[stream] = int(last)
            if min(acked.values()) > 300 and len(acked) == 4:
                break
        writer.kill()
        for line in writer.stdout:  # what it said before it died
            if line.endswith("\n"):
                stream, last = line.split()
                acked[stream] = int(last)
    with opened("sqlite", tmp_path) as bench:
        for stream, seen in acked.items():
            events = bench.run(bench.log.read(stream, 0, limit=1_000_000))
            assert len(events) >= seen
            assert events == [(seq, b"%d" % seq) for seq in range(1, len(events) + 1)]
            assert bench.entry(stream).seq == len(events)


def test_a_log_that_another_process_writes_too(disk: Bench) -> None:
    assert isinstance(disk.log, SqliteLog)
    with subprocess.Popen([sys.executable, "-c", _APPENDER, disk.log.path], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            for seq in range(1, 51):
                disk.append("mine", b"x", seq=seq)
            assert disk.entry("mine").seq == 50
            assert disk.run(disk.log.read("s0", 0))[0] == (1, b"1")
        finally:
            other.kill()


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with opened("sqlite", tmp_path / "new" / "folder") as bench:
            bench.append("s", b"1")
            for file in (tmp_path / "new" / "folder").iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
            assert stat.S_IMODE((tmp_path / "new" / "folder").stat().st_mode) == 0o700
    finally:
        os.umask(before)


@pytest.mark.parametrize("damage", ["not a database", "garbage inside", "cut off"])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"
    if damage == "not a database":
        path.write_bytes(b"this is no database, " * 100)
    else:
        with opened("sqlite", tmp_path) as bench:
            bench.append("old", *[b"x" * 500] * 500)
        content = bytearray(path.read_bytes())
        if damage == "cut off":
            del content[len(content) // 2 :]
        else:
            content[8192 : len(content) // 2] = b"\xa5" * (len(content) // 2 - 8192)
        path.write_bytes(content)
    spoilt = path.read_bytes()
    with opened("sqlite", tmp_path) as bench:
        assert bench.ids() == []
        assert bench.append("s", b"1") == 1
    (aside,) = tmp_path.glob("log.db.damaged-*")
    assert aside.read_bytes() == spoilt
    assert "damaged" in caplog.text
    assert aside.name in caplog.text


def test_a_sound_file_is_not_set_aside(disk: Bench) -> None:
    disk.append("s", *[b"x" * 500] * 500)
    disk.reopen()
    assert disk.entry("s").seq == 500
    assert list(disk.folder.glob("*damaged*")) == []


_FIRST_SCHEMA = """
CREATE TABLE streams (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL,
    first INTEGER NOT NULL, bytes INTEGER NOT NULL, status TEXT NOT NULL, kind TEXT, title TEXT, path TEXT,
    producer TEXT, created REAL NOT NULL, updated REAL NOT NULL, deleted INTEGER NOT NULL DEFAULT 0);
CREATE TABLE events (key INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE snapshots (stream INTEGER PRIMARY KEY, data BLOB NOT NULL);
INSERT INTO streams VALUES (1, 's', 1, 1, 2, 'running', 'task', 'Old', 'p.ipynb', 'p', 1.0, 2.0, 0);
INSERT INTO events VALUES ((1 << 32) + 1, 'ab');
PRAGMA application_id = 1783845701;
PRAGMA user_version = 1;
"""


def test_a_file_of_an_older_version_is_taken_over(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "log.db")) as db:
        db.executescript(_FIRST_SCHEMA)
    with opened("sqlite", tmp_path) as bench:
        old = Entry(
            id="s", seq=1, first=1, bytes=2, kind="task", title="Old", path="p.ipynb", producer="p",
            created=1.0, updated=2.0,
        )  # fmt: skip
        assert bench.entry("s") == old
        bench.append("s", b"c", seq=2)
        bench.append("new", b"1", cell="c")
        bench.reopen()
        assert bench.entry("s").seq == 2
        assert bench.entry("new").cell == "c"


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "log.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LogError, match=r"newer jupyter_sse \(schema 99.*Upgrade"), opened("sqlite", tmp_path):
        pass
    assert list(tmp_path.glob("*damaged*")) == []


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "log.db")) as db:
        db.execute("CREATE TABLE mine (a)")
    before = (tmp_path / "log.db").read_bytes()
    with pytest.raises(LogError, match="another program"), opened("sqlite", tmp_path):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "log.db")) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    assert len(before) == (tmp_path / "log.db").stat().st_size


def test_a_path_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match="file"), opened("sqlite", tmp_path / "file"):
        pass


def test_a_full_disk_fails_the_append_whole_and_passes(disk: Bench) -> None:
    assert isinstance(disk.log, SqliteLog)
    disk.append("s", b"1")

    def limit(pages: int) -> None:
        assert isinstance(disk.log, SqliteLog)
        disk.log._writing.submit(disk.log._writer.execute, f"PRAGMA max_page_count = {pages}").result(10)

    limit(20)
    before = disk.entry("s")

    async def large_and_small() -> Any:
        large = disk.log.append("s", 2, [b"x" * 1000] * 1000)
        small = disk.log.append("t", 1, [b"1"])
        return await asyncio.gather(large, small, return_exceptions=True)

    failure, small = disk.run(large_and_small())
    assert isinstance(failure, LogError)
    assert "disk is full" in str(failure)
    assert small == 1
    assert disk.entry("s") == before
    assert disk.run(disk.log.read("s", 1)) == []
    limit(1_000_000)
    assert disk.append("s", *[b"x" * 1000] * 1000, seq=2) == 1001


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_write_error_fails_the_append_and_passes(disk: Bench) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    disk.append("s", b"1")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(LogError, match="Cannot write"):
            disk.append("s", *[b"x" * 1000] * 2000, seq=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert disk.append("s", *[b"x" * 1000] * 2000, seq=2) == 2001
    disk.reopen()
    assert disk.entry("s").seq == 2001


def test_a_lock_held_by_another_is_waited_for_and_then_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "BUSY_SECONDS", 0.1)
    with opened("sqlite", tmp_path) as bench, contextlib.closing(sqlite3.connect(tmp_path / "log.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogError, match="another process"):
            bench.append("s", b"1")
        other.rollback()
        assert bench.append("s", b"1") == 1


def test_what_cannot_be_stored_fails_alone(disk: Bench) -> None:
    async def both() -> Any:
        return await asyncio.gather(
            disk.log.append("a", 1, [b"1"]),
            disk.log.append("b", 1, [b"1"], Meta(title="\ud800")),
            disk.log.append("c", 1, [b"1"]),
            return_exceptions=True,
        )

    first, failure, last = disk.run(both())
    assert (first, last) == (1, 1)
    assert isinstance(failure, UnicodeEncodeError)
    assert disk.ids() == ["c", "a"]


@pytest.mark.skipif(sys.platform != "linux", reason="this VFS without shared memory is there on Linux")
def test_where_there_is_no_wal_it_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: connect(f"{path}&vfs=unix-dotfile", **options))
    with opened("sqlite", tmp_path) as bench:
        assert bench.append("s", *HELLO) == 3
        assert bench.run(bench.log.read("s", 1)) == [(2, HELLO[1]), (3, HELLO[2])]
        assert not (tmp_path / "log.db-wal").exists()


def test_reading_does_not_wait_for_a_write(disk: Bench) -> None:
    disk.append("s", b"1")
    with contextlib.closing(sqlite3.connect(disk.folder / "log.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert disk.run(disk.log.read("s", 0)) == [(1, b"1")]
        other.rollback()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="sqlite3 has no blobopen")
def test_a_part_of_a_film_costs_no_more_than_the_part(disk: Bench) -> None:
    disk.append("s", *HELLO)
    disk.run(disk.log.put_media("s", "film", "video/mp4", bytes(32 << 20), key=None, keep=2))
    began = time.process_time()
    for start in range(0, 32 << 20, 64 << 10):
        disk.run(disk.log.media("s", "film", start, 100))
    assert time.process_time() - began < 2


def test_the_room_of_what_expired_goes_back_to_the_disk(disk: Bench) -> None:
    disk.append("s", *[b"x" * 1000] * 2000, status="done")
    disk.reopen()  # so that the file, and not its write-ahead log, has it
    size = (disk.folder / "log.db").stat().st_size
    assert disk.expire(max_bytes=0) == ["s"]
    disk.reopen()
    assert (disk.folder / "log.db").stat().st_size < size / 10


def test_a_waiter_that_gives_up_does_not_disturb_the_others(disk: Bench) -> None:
    async def impatient() -> int:
        waiter = asyncio.ensure_future(disk.log.append("s", 1, [b"1"]))
        await asyncio.sleep(0)
        waiter.cancel()
        return await disk.log.append("s", 2, [b"2"])

    assert disk.run(impatient()) == 2
