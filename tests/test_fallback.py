"""A log that goes on in memory while its disk is full: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import wait_for
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from test_log import Bench, Disk, Pair, opened, replay

from jupyter_sse.log import Gap, Gone, LogError, Meta
from jupyter_sse.log.fallback import FallbackLog


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with opened("fallback", tmp_path) as bench:
        yield bench


def told(bench: Bench) -> list[str | None]:
    said: list[str | None] = []
    assert isinstance(bench.log, FallbackLog)
    bench.log.on_change = said.append
    return said


def make_room(bench: Bench) -> None:
    assert isinstance(bench.log, FallbackLog)
    log = bench.log
    bench.disk.full = False
    wait_for(lambda: bench.run(asyncio.sleep(0.005)) or log.problem is None, "the disk to be in use again", 20)


def rows(first: int, last: int) -> list[tuple[int, bytes]]:
    return [(seq, b"%d" % seq) for seq in range(first, last + 1)]


def test_a_full_disk_is_told_once_and_events_go_on_from_memory(bench: Bench) -> None:
    said = told(bench)
    bench.append("s", b"1", b"2", title="T", status="running")
    bench.disk.full = True
    assert bench.append("s", b"3", seq=3) == 3
    assert bench.append("s", b"3", b"4", seq=3) == 4
    assert bench.append("new", b"1", status="done") == 1
    assert said == ["the disk is full"]
    assert bench.run(bench.log.read("s", 0)) == rows(1, 2)
    assert bench.run(bench.log.read("s", 2)) == rows(3, 4)
    assert (bench.entry("s").seq, bench.entry("s").title) == (4, "T")
    assert bench.ids() == ["new", "s"]
    assert bench.ids(status="done") == ["new"]
    with pytest.raises(Gap) as gap:
        bench.append("s", b"9", seq=9)
    assert gap.value.last == 4


def test_with_room_again_all_is_written_and_the_disk_in_use(bench: Bench) -> None:
    said = told(bench)
    bench.append("s", b"1")
    bench.disk.full = True
    bench.append("s", *[b"%d" % seq for seq in range(2, 3001)], seq=2, status="done")
    bench.run(bench.log.save_snapshot("s", b"{}"))
    bench.append("other", b"1", title="O")
    make_room(bench)
    assert said == ["the disk is full", None]
    assert bench.run(bench.disk.read("s", 0, limit=9999)) == rows(1, 3000)
    assert bench.run(bench.disk.snapshot("s")) == b"{}"
    kept = bench.run(bench.disk.entry("s"))
    assert kept == bench.entry("s")
    assert (kept.seq, kept.status) == (3000, "done")
    assert bench.run(bench.disk.entry("other")).title == "O"
    assert bench.append("other", b"2", seq=2) == 2
    assert bench.run(bench.disk.read("other", 0)) == rows(1, 2)


def test_what_is_deleted_meanwhile_stays_deleted(bench: Bench) -> None:
    bench.append("s", b"1")
    bench.disk.full = True
    bench.append("s", b"2", seq=2)
    bench.run(bench.log.delete("s"))
    for _ in range(2):
        assert bench.ids() == []
        assert bench.entry("s").deleted
        with pytest.raises(Gone):
            bench.append("s", b"3", seq=3)
        make_room(bench)


def test_a_stop_of_the_server_is_the_last_try(bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench.append("s", b"1")
    bench.disk.full = True
    bench.append("s", b"2", seq=2)
    bench.disk.full = False
    bench.run(bench.log.close())
    with opened("sqlite", tmp_path) as again:
        assert again.run(again.log.read("s", 0)) == rows(1, 2)
    assert not caplog.records


def test_a_stop_of_the_server_says_what_is_lost(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.disk.full = True
    bench.append("s", b"1")
    bench.run(bench.log.close())
    assert "The latest events of 1 streams could not be written" in caplog.text


class Flaky(Disk):
    """Fails now and then, and takes its time."""

    def _commit(self, jobs: list[Any]) -> list[Any]:
        time.sleep(random.choice([0, 0.001]))
        if random.random() < 0.2:
            return [LogError("the disk is flaky") for _ in jobs]
        return super()._commit(jobs)


@pytest.mark.parametrize("seed", range(10))
def test_appends_that_overlap_keep_their_order_whenever_the_disk_fails(seed: int, tmp_path: Path) -> None:
    random.seed(seed)

    async def scenario() -> None:
        disk = Flaky(tmp_path / "log.db")
        log = FallbackLog(disk, retry=0.002)
        await log.open()
        last = dict.fromkeys("ab", 0)
        under_way = []
        for _ in range(300):
            stream, count = random.choice("ab"), random.randint(1, 3)
            first = last[stream] + 1
            last[stream] += count
            events = [b"%d" % seq for seq in range(first, first + count)]
            under_way.append(asyncio.ensure_future(log.append(stream, first, events, Meta(title=stream))))
            await asyncio.sleep(random.choice([0, 0, 0, 0.002]))
        await asyncio.gather(*under_way)
        for stream, seq in last.items():
            assert await replay(log, stream) == rows(1, seq)
        while log.problem is not None:
            await asyncio.sleep(0.001)
        for stream, seq in last.items():
            assert await disk.read(stream, 0, limit=9999) == rows(1, seq)
        await log.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


class FallbackPair(Pair):
    """The same as one that is in memory from the first, whether its disk is full or not."""

    kind = "fallback"

    @initialize()
    def start(self) -> None:
        super().start()

    @rule(full=st.booleans())
    def fill(self, full: bool) -> None:
        if full:
            self.sqlite.disk.full = True
        else:
            make_room(self.sqlite)

    @rule(stream=Pair.streams, after=st.integers(-1, 20), limit=st.integers(1, 20), max_bytes=st.integers(1, 100))
    def read(self, stream: str, after: int, limit: int, max_bytes: int) -> None:
        found, wanted = (
            bench.run(bench.log.read(stream, after, limit=limit, max_bytes=max_bytes))
            for bench in (self.sqlite, self.memory)
        )
        assert found == wanted[: len(found)]  # to where memory takes over from the disk
        assert bool(found) == bool(wanted)

    # What is written back is dated then, what is lost with the server is lost, a full disk deletes nothing, and a
    # stream that was begun and deleted meanwhile has never existed.

    @precondition(lambda self: not self.sqlite.disk.full)
    @rule(seconds=st.sampled_from([1.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.memory.clock.now += seconds
        self.sqlite.clock.now += seconds

    @precondition(lambda self: not self.sqlite.disk.full)
    @rule(age=st.integers(0, 50), number=st.integers(0, 4), size=st.integers(0, 200))
    def expire(self, age: int, number: int, size: int) -> None:
        self.both(lambda log: log.expire(max_age=age, max_streams=number, max_bytes=size))

    @precondition(lambda self: not self.sqlite.disk.full)
    @rule(stream=Pair.streams)
    def delete(self, stream: str) -> None:
        self.both(lambda log: log.delete(stream))

    @precondition(lambda self: not self.sqlite.disk.full)
    @rule()
    def reopen(self) -> None:
        self.sqlite.reopen()


TestFallbackPair = pytest.mark.timeout(120)(FallbackPair.TestCase)
TestFallbackPair.settings = settings(max_examples=40, stateful_step_count=25)
