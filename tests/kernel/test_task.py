"""`task` and `track`: what they write into their stream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_sse import Cancelled, Task, TaskTimeout, current, task, track
from jupyter_sse.kernel import producer, progress
from jupyter_sse.kernel.producer import Producer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from jupyter_sse.state import Snapshot


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Producer]:
    """All producers made in this test, in order."""
    producers: list[Producer] = []
    original = Producer.__init__

    def remember(self: Producer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        producers.append(self)

    monkeypatch.setattr(Producer, "__init__", remember)
    return producers


def bars(snapshot: Snapshot) -> dict[str, tuple[float, float | None]]:
    return {bar.bar: (bar.n, bar.total) for bar in snapshot.bars}


def test_a_task_from_start_to_end() -> None:
    with task("Render", steps=2, total=8, unit="frames") as t:
        t.step("Reading")
        t.progress(4)
        t.log("a", 1, None)
        t.log("warned", level=logging.WARNING)
        t.step("Writing")
        t.result = {"path": "out.mp4"}
    snapshot = t.snapshot
    assert (snapshot.title, snapshot.kind, snapshot.status, snapshot.cancellable) == ("Render", "task", "done", True)
    assert (snapshot.total, snapshot.unit) == (8, "frames")
    assert [(step.step, step.of, step.message) for step in snapshot.steps] == [(1, 2, "Reading"), (2, 2, "Writing")]
    assert [(line.text, line.level) for line in snapshot.log.lines] == [("a 1 None", None), ("warned", "warning")]
    assert bars(snapshot) == {"main": (4, 8)}
    assert snapshot.result == {"path": "out.mp4"}
    assert snapshot.started is not None
    assert snapshot.ended is not None
    assert snapshot.started <= snapshot.ended


def test_an_exception_ends_the_stream_in_an_error_and_goes_on() -> None:
    t = task("Bad")
    with pytest.raises(KeyError), t:
        dict[str, int]()["missing"]
    assert t.status == "error"
    error = t.snapshot.error
    assert error is not None
    assert (error.code, error.message) == ("KeyError", "KeyError: 'missing'")
    assert (error.traceback or "").startswith("Traceback")
    assert (error.traceback or "").endswith("KeyError: 'missing'")
    assert t.snapshot.log.count == 0


def test_an_interrupt_is_an_error_unless_cancel_was_pressed() -> None:
    plain, pressed = task("a"), task("b")
    with pytest.raises(KeyboardInterrupt), plain:
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), pressed:
        pressed.cancel()
        raise KeyboardInterrupt
    error = plain.snapshot.error
    assert error is not None
    assert (error.code, error.message) == ("KeyboardInterrupt", "Interrupted")
    assert (pressed.status, pressed.snapshot.reason) == ("cancelled", "cancelled")


@pytest.mark.parametrize("call", [lambda t: t.step("x"), lambda t: t.progress(1)])
def test_cancel_raises_at_the_next_call(call: Any) -> None:
    t = task("Slow")
    with pytest.raises(Cancelled), t:
        t.progress(1, 10)
        t.cancel()
        assert t.cancelled
        t.log("cleaning up")  # a log line does not raise
        call(t)
    assert t.status == "cancelled"
    assert bars(t.snapshot) == {"main": (1, 10)}


def test_cancel_is_not_swallowed_by_code_that_retries() -> None:
    t = task("Retry")
    rounds = 0
    with pytest.raises(Cancelled), t:
        t.cancel()
        while rounds < 10:
            rounds += 1
            with contextlib.suppress(Exception):
                t.step("again")
    assert rounds == 1


def test_a_task_that_cannot_be_cancelled_is_not() -> None:
    with task("Critical", cancellable=False) as t:
        t.cancel()
        t.step("goes on")
        assert not t.cancelled
    assert t.status == "done"
    assert not t.snapshot.cancellable


@pytest.mark.parametrize("n", [math.nan, math.inf, -math.inf])
def test_n_must_be_finite_and_nothing_is_written_if_it_is_not(n: float) -> None:
    with task("Numbers") as t:
        with pytest.raises(ValueError, match="n must be a finite number"):
            t.progress(n, 10)
        assert t.snapshot.bars == []


def test_n_must_be_a_number() -> None:
    with task("Numbers") as t, pytest.raises(TypeError, match="n must be a number, not str"):
        t.progress("x1y")


@pytest.mark.parametrize("total", [math.nan, math.inf, None])
def test_a_total_that_is_not_finite_is_unknown(total: float | None) -> None:
    with task("Numbers") as t:
        t.progress(1, total)
    assert bars(t.snapshot) == {"main": (1, None)}
    assert t.snapshot.bars[0].pct is None


def test_total_zero() -> None:
    with task("Empty") as t:
        t.progress(0, 0)
        assert list(track([], "Nothing")) == []
    assert [(bar.n, bar.total, bar.pct) for bar in t.snapshot.bars] == [(0, 0, 100), (0, 0, 100)]


def test_numbers_of_other_kinds() -> None:
    numpy = pytest.importorskip("numpy")
    with task("Numbers") as t:
        t.progress(numpy.int64(3), numpy.float32(4))
        t.progress(10**30, bar="huge")
        t.result = numpy.float64(0.5)
    assert bars(t.snapshot) == {"main": (3, 4), "huge": (1e30, None)}
    assert t.snapshot.result == 0.5


def test_a_result_that_json_does_not_have_is_shown_by_its_repr() -> None:
    with task("Objects") as t:
        t.result = object
    assert t.snapshot.result == "<class 'object'>"


def test_after_the_end_nothing_can_be_added() -> None:
    with task("Short") as t:
        pass
    with pytest.raises(RuntimeError, match="has ended"):
        t.log("late")
    with pytest.raises(RuntimeError, match="has been used already"), t:
        pass
    with pytest.raises(RuntimeError, match="not started"):
        task("Never").log("x")


def test_async_with() -> None:
    async def main() -> Task:
        async with task("Async") as t:
            t.step("x")
            await asyncio.sleep(0)
        return t

    assert asyncio.run(main()).status == "done"


def test_nested_tasks_have_streams_of_their_own(written: list[Producer]) -> None:
    with task("Outer") as outer, task("Inner") as inner:
        inner.log("x")
    assert len(written) == 2
    assert outer.snapshot.log.count == 0
    assert inner.snapshot.log.count == 1


def test_track_alone_has_a_stream_of_its_own(written: list[Producer]) -> None:
    assert list(track(range(5), "Loop", unit="files")) == [0, 1, 2, 3, 4]
    (producer,) = written
    (bar,) = producer.snapshot.bars
    assert (bar.bar, bar.n, bar.total, bar.pct, bar.unit) == ("main", 5, 5, 100, "files")
    assert producer.snapshot.title == "Loop"
    assert producer.status == "done"


def test_track_in_a_task_is_a_bar_of_it(written: list[Producer]) -> None:
    with task("Train") as t:
        for _ in track(range(3), "Epoch"):
            for _ in track(range(4), "Batch"):
                pass
        for _ in track(range(2), "Test"):
            pass
    assert len(written) == 1
    assert bars(t.snapshot) == {"Epoch": (3, 3), "Batch": (4, 4), "Test": (2, 2)}
    assert {bar.bar: bar.parent for bar in t.snapshot.bars} == {"Epoch": None, "Batch": "Epoch", "Test": None}


def test_nested_tracks_share_the_outer_stream(written: list[Producer]) -> None:
    for _ in track("ab", "Outer"):
        for _ in track("cd", "Inner"):
            pass
    assert len(written) == 1
    assert [(bar.bar, bar.parent) for bar in written[0].snapshot.bars] == [("main", None), ("Inner", "main")]


def test_a_thousand_titles_do_not_make_a_thousand_bars(written: list[Producer]) -> None:
    for i in track(range(1000), "Outer"):
        for _ in track(range(1), f"Inner {i}"):
            pass
    assert len(written[0].snapshot.bars) <= progress.MAX_BARS


def test_loops_after_a_loop_that_was_left_are_not_inside_it(written: list[Producer]) -> None:
    for _ in track(range(5), "Left"):
        break
    for _ in track(range(2), "Next"):
        pass
    assert len(written) == 2
    assert [(p.status, p.snapshot.reason) for p in written] == [("done", "closed"), ("done", "stop")]
    assert bars(written[0].snapshot) == {"main": (0, 5)}


def test_an_exception_in_the_body_ends_the_stream_at_once(written: list[Producer]) -> None:
    with pytest.raises(ZeroDivisionError) as kept:  # the traceback holds the frame, but not the loop's iterator
        for i in track(range(5), "Body"):
            1 / (2 - i)
    assert written[0].status != "running"
    assert kept.value.__traceback__ is not None
    assert bars(written[0].snapshot) == {"main": (2, 5)}


def test_an_exception_of_the_iterable_is_an_error(written: list[Producer]) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        list(track(source()))
    assert written[0].status == "error"


def test_cancel_in_a_loop(written: list[Producer]) -> None:
    done = []
    with pytest.raises(Cancelled):
        for i in track(range(10), "Loop"):
            done.append(i)
            if i == 2:
                written[0].cancel()
    assert done == [0, 1, 2]
    assert written[0].status == "cancelled"
    assert bars(written[0].snapshot) == {"main": (3, 10)}


def test_an_async_iterable(written: list[Producer]) -> None:
    async def source() -> AsyncIterator[int]:
        for i in range(5):
            yield i

    async def main() -> list[int]:
        seen = [i async for i in track(source(), "All", total=5)]
        async for _ in track(source(), "Some"):
            break
        async for i in track([7, 8]):
            seen.append(i)
        return seen

    assert asyncio.run(main()) == [0, 1, 2, 3, 4, 7, 8]
    assert [p.status for p in written] == ["done", "done", "done"]
    assert bars(written[0].snapshot) == {"main": (5, 5)}
    assert written[1].snapshot.reason == "closed"
    with pytest.raises(TypeError, match="async for"):
        list(track(source()))


def test_concurrent_loops_each_have_a_bar() -> None:
    async def work(count: int) -> None:
        async for _ in track(range(count), "Part"):
            await asyncio.sleep(0)

    async def main() -> Snapshot:
        async with task("All") as t:
            await asyncio.gather(work(3), work(4))
        return t.snapshot

    assert bars(asyncio.run(main())) == {"Part": (3, 3), "Part 2": (4, 4)}


def test_totals_are_found_out() -> None:
    assert track([1, 2]).total == 2
    assert track(iter([1, 2])).total == 2
    assert track(i for i in range(3)).total is None
    assert track((i for i in range(3)), total=3).total == 3
    assert len(track([1, 2])) == 2
    with pytest.raises(TypeError):
        track(5)  # type: ignore[call-overload, arg-type, unused-ignore]


def test_a_loop_that_slows_down_shows_where_it_is(written: list[Producer]) -> None:
    """The last state is seen though nothing follows it."""
    loop = iter(track(range(1000)))
    for _ in range(500):
        next(loop)
    deadline = time.monotonic() + 5
    while not any(bar.n == 499 for bar in written[0].snapshot.bars):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    loop.close()  # type: ignore[attr-defined]


def test_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bar = progress.Bar(Producer(), "main", total=100, unit="it")
    assert (bar.sample().rate, bar.sample().eta) == (None, None)
    for _ in range(5):
        now += 1
        bar.n += 10
        sampled = bar.sample()
    assert sampled.rate == pytest.approx(10)
    assert sampled.eta == pytest.approx(5)
    now += 1
    bar.n += 2  # slower: the latest counts, but not alone
    slower = bar.sample().rate
    assert slower is not None
    assert 2 < slower < 10
    bar.end()
    final = bar.sample()
    assert final.rate == pytest.approx(52 / 6, rel=1e-3)
    bar.running = True
    bar.n = 0
    assert bar.sample().rate is None  # started again


def test_progress_without_n_keeps_it() -> None:
    with task("Message") as t:
        t.progress(5, 10, "five")
        t.progress(message="still")
        t.progress(1, bar="part", parent="main")
    assert [(bar.bar, bar.n, bar.message, bar.parent) for bar in t.snapshot.bars] == [
        ("main", 5, "still", None),
        ("part", 1, None, "main"),
    ]


def test_ten_thousand_log_lines_are_all_counted() -> None:
    with task("Lines") as t:
        for i in range(10_000):
            t.log(i)
    assert t.snapshot.log.count == 10_000
    assert t.snapshot.log.lines[-1].text == "9999"


def how(t: Task) -> tuple[str, str | None, str | None]:
    return t.status, t.snapshot.reason, t.snapshot.via


def until_raised(action: Any) -> None:
    """Do it again and again: it is to raise."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        action()
        time.sleep(0.005)


@pytest.mark.parametrize("call", [lambda t: t.step("x"), lambda t: t.progress(1), lambda t: t.log("x")])
def test_the_time_limit_raises_at_the_next_call(call: Any) -> None:
    t = task("Late", timeout=0.05)
    with pytest.raises(TaskTimeout, match=r"^Late took longer than 0\.05 s$") as caught, t:
        until_raised(lambda: call(t))
    assert isinstance(caught.value, TimeoutError)
    assert how(t) == ("done", "timeout", "producer")
    assert t.snapshot.error is None


def test_the_time_limit_raises_in_a_loop_inside(written: list[Producer]) -> None:
    with pytest.raises(TaskTimeout), task("Late", timeout=0.05) as t:
        for _ in track(range(10**9), "Loop"):
            pass
    assert how(t) == ("done", "timeout", "producer")


def test_work_that_calls_nothing_is_interrupted_at_its_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "TIMEOUT_PATIENCE", 0.05)
    t = task("Deaf", timeout=0.05)
    with pytest.raises(TaskTimeout, match=r"Deaf took longer"), t:
        time.sleep(60)
    assert how(t) == ("done", "timeout", "interrupt")


@pytest.mark.parametrize("timeout", [0.02, None])
def test_work_that_tidies_up_is_not_interrupted(monkeypatch: pytest.MonkeyPatch, timeout: float | None) -> None:
    for patience in ("TIMEOUT_PATIENCE", "CANCEL_PATIENCE"):
        monkeypatch.setattr(producer, patience, 1)
    with pytest.raises((TaskTimeout, Cancelled)), task("Tidy", timeout=timeout) as t:
        if timeout is None:
            t.cancel()
        try:
            until_raised(lambda: t.step("x"))
        finally:
            tidied = threading.Event()
            t._running.later(1.5, tidied.set)  # an interrupt would have come by then
            assert tidied.wait(10)
    assert t.snapshot.via == "producer"


def test_a_task_that_ends_in_time_has_no_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "TIMEOUT_PATIENCE", 0.0)
    with task("Fast", timeout=0.5) as t:
        pass
    over = threading.Event()
    t._running.later(0.6, over.set)
    assert over.wait(10)
    assert how(t) == ("done", "stop", None)


@pytest.mark.parametrize("value", [-1, math.nan, "5", True and math.inf])
def test_a_time_limit_is_a_number_of_seconds(value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="timeout"):
        task("x", timeout=value)


def test_the_time_limit_reaches_a_coroutine_where_it_waits() -> None:
    async def main() -> Task:
        with pytest.raises(TaskTimeout, match="Async took longer"):
            async with task("Async", timeout=0.05) as t:
                await asyncio.sleep(60)
        await asyncio.sleep(0)  # only the block was cancelled
        return t

    assert how(asyncio.run(main())) == ("done", "timeout", "producer")


def test_cancel_reaches_a_coroutine_where_it_waits() -> None:
    async def main() -> Task:
        with pytest.raises(Cancelled, match="Async"):
            async with task("Async") as t:
                t.cancel()
                await asyncio.sleep(60)
        await asyncio.sleep(0)
        return t

    assert how(asyncio.run(main())) == ("cancelled", "cancelled", "producer")


def in_thread(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work, name="worker")
    thread.start()
    return thread


@pytest.mark.parametrize("timeout", [0.05, None])
def test_a_thread_that_calls_nothing_is_reached(monkeypatch: pytest.MonkeyPatch, timeout: float | None) -> None:
    monkeypatch.setattr(producer, "TIMEOUT_PATIENCE", 0.05)
    t, begun = task("Thread", timeout=timeout), threading.Event()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with t:
                begun.set()
                until_raised(lambda: None)
        except BaseException as error:
            raised.append(error)

    thread = in_thread(work)
    assert begun.wait(10)
    if timeout is None:
        t.cancel()
        t.cancel()  # as the second press
    thread.join(10)
    assert [str(error) for error in raised] == ["Thread" if timeout is None else "Thread took longer than 0.05 s"]
    assert how(t)[1:] == ("cancelled" if timeout is None else "timeout", "interrupt")
    origin = t.snapshot.origin
    assert origin is not None
    assert origin.thread == "worker"


def test_a_cancel_that_is_not_seen_interrupts_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "CANCEL_PATIENCE", 0.05)
    t = task("Deaf")
    with pytest.raises(KeyboardInterrupt), t:
        t.cancel()
        time.sleep(60)
    assert how(t) == ("cancelled", "cancelled", "interrupt")


def test_which_way_of_cancelling_acted() -> None:
    asked, pressed = task("a"), task("b")
    with pytest.raises(Cancelled), asked:
        asked.cancel()
        asked.step("x")
    with pytest.raises(KeyboardInterrupt), pressed:
        pressed.cancel()
        raise KeyboardInterrupt
    assert (how(asked)[2], how(pressed)[2]) == ("producer", "interrupt")


def test_the_current_task() -> None:
    assert current() is None
    with task("Outer") as outer:
        assert current() is outer
        with task("Inner") as inner:
            assert current() is inner
            for _ in track(range(1)):
                assert current() is inner
        assert current() is outer
    assert current() is None


def test_how_long_a_task_may_be_silent() -> None:
    with task("Slow", stall=5) as t:
        pass
    assert t.snapshot.stall == 5
