"""`tqdm`: the same figures and answers as tqdm's own, and what its bars write into their stream."""

from __future__ import annotations

import asyncio
import io
import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import tqdm.auto
import tqdm.notebook
from tqdm import std

from jupyter_sse import Cancelled, task, track, trange
from jupyter_sse import tqdm as ours
from jupyter_sse.kernel import bars
from jupyter_sse.kernel import tqdm as module
from jupyter_sse.kernel.producer import Producer
from jupyter_sse.output import mimebundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_sse.events import Progress

early = tqdm.auto.tqdm  # as libraries have it that were imported before


class Clock:
    """Time that passes when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(std, "time", clock)
    return clock


class Cell:
    """Stands for the notebook; its streams, in order."""

    def __init__(self) -> None:
        self.streams: list[Producer] = []

    @property
    def stream(self) -> Producer:
        (stream,) = self.streams
        return stream

    @property
    def bars(self) -> dict[str, Progress]:
        """As they were when the cell ended."""
        self.end()
        return {bar.bar: bar for bar in self.stream.snapshot.bars}

    def end(self, error: BaseException | None = None) -> None:
        bars._cell_ended(SimpleNamespace(error_before_exec=None, error_in_exec=error))


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cell]:
    """As if a notebook ran one cell."""
    cell = Cell()
    original = Producer.__init__

    def remember(self: Producer, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        cell.streams.append(self)

    monkeypatch.setattr(Producer, "__init__", remember)
    monkeypatch.setattr(module, "in_notebook", lambda: True)
    monkeypatch.setattr(bars, "_streams", {})
    monkeypatch.setattr(bars, "_executing", None)
    monkeypatch.setattr(std.tqdm, "monitor_interval", 0)
    yield cell
    cell.end()


def moved(make: Any, clock: Clock) -> Iterator[object]:
    bar = make(range(10), desc="Loop", unit="file", leave=True)
    for item in bar:
        clock.now += 0.3
        yield item, bar.n, str(bar)
    yield str(bar), bar.n, bar.format_dict["rate"], len(bar), bool(bar)


def by_hand(make: Any, clock: Clock) -> Iterator[object]:
    with make(total=100, initial=10, mininterval=0.5, miniters=5, smoothing=0.1, postfix={"a": 1}) as bar:
        for step in (1, 7, -3, 0.5, 30):
            clock.now += 0.4
            yield bar.update(step), bar.n, bar.last_print_n, bar.miniters, str(bar)
        yield bar.set_postfix(loss=0.123456, name="x", refresh=False), bar.postfix
        yield bar.set_postfix_str("free"), str(bar)
        yield bar.set_description("Said"), bar.desc
        yield bar.set_description_str("bare", refresh=False), str(bar)
        yield bar.unpause(), bar.start_t, bar.refresh(), bar.clear()
        yield bar.reset(total=50), bar.n, bar.total, str(bar)
        yield bar.close(), bar.update(3), bar.n, bar.disable


def scaled(make: Any, clock: Clock) -> Iterator[object]:
    with make(total=5000, unit="B", unit_scale=True, unit_divisor=1024, ascii=True, ncols=60, colour="green") as bar:
        bar.update(2048)
        clock.now += 2
        yield str(bar), bar.colour
    with make(total=10, unit_scale=2.5, bar_format="{desc}|{bar}|{n_fmt}/{total_fmt}", delay=1) as bar:
        clock.now += 2
        yield bar.update(4), str(bar)


def unknown(make: Any, clock: Clock) -> Iterator[object]:
    for total in (None, float("inf"), 0):
        bar = make(itertools.count(), total=total)
        for item in bar:
            clock.now += 1
            if item == 3:
                break
        yield str(bar), bar.total, bool(bar) if total is not None else None


def odd(make: Any, clock: Clock) -> Iterator[object]:
    yield list(make([1, 2], disable=True)), list(reversed(make([1, 2]))), 2 in make([1, 2])
    try:
        make(nonsense=1)
    except KeyError as error:
        yield str(error)
    with make(total=2) as one, make(total=3) as two:
        yield one == two, one < two, one > two, hash(one) == id(one)
    with make.wrapattr(io.BytesIO(b"0123456789"), "read", total=10) as file:
        yield file.read(4), file.read()
    yield list(make.get_lock().__class__.__mro__), make.monitor_interval


@pytest.mark.parametrize("script", [moved, by_hand, scaled, unknown, odd])
def test_figures_and_answers_are_tqdms_own(script: Callable[..., Iterator[object]], clock: Clock, cell: Cell) -> None:
    class Plain(std.tqdm):  # type: ignore[misc]
        """Draws into a file."""

        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), **options)

    expected = [str(said) for said in script(Plain, clock)]
    assert not cell.streams
    clock.now = Clock.now
    assert [str(said) for said in script(ours, clock)] == expected
    assert cell.streams


def test_a_total_that_is_no_number_is_refused_before_anything_is_shown(cell: Cell) -> None:
    with pytest.raises(TypeError, match="total must be a number, not str"):
        ours(total="x")
    assert not cell.streams


def test_outside_a_notebook_it_is_tqdm(capsys: pytest.CaptureFixture[str]) -> None:
    assert issubclass(ours, std.tqdm)
    for _ in ours(range(3), desc="Plain"):
        ours.write("between")
    for _ in trange(2):
        pass
    said = capsys.readouterr()
    assert "Plain: 100%|" in said.err
    assert said.out == "between\n" * 3


def test_a_file_of_ones_own_is_written_as_tqdm_does(cell: Cell) -> None:
    file = io.StringIO()
    for _ in ours(range(3), file=file):
        ours.write("between", file=file)
    assert "3/3" in file.getvalue()
    assert "between\n" in file.getvalue()
    assert not cell.streams


def test_all_bars_of_a_cell_share_one_stream_and_nested_ones_stand_below_the_others(cell: Cell) -> None:
    for _ in ours(range(2), desc="Outer", unit="epoch"):
        for _ in trange(3, desc="inner"):
            for _ in ours([1], desc="innermost", leave=False):
                pass
    with ours(total=4, desc="By hand") as bar:
        bar.update(4)
        for _ in ours([1, 2], desc="inside"):
            pass
    assert cell.stream.title == "Outer"
    assert {name: (bar.n, bar.total, bar.unit, bar.parent, bar.state) for name, bar in cell.bars.items()} == {
        "main": (2, 2, "epoch", None, "complete"),
        "inner": (3, 3, "it", "main", "complete"),
        "By hand": (4, 4, "it", None, "complete"),
        "inside": (2, 2, "it", "By hand", "complete"),
    }
    assert (cell.stream.status, cell.stream.snapshot.reason) == ("done", "stop")


def test_inside_a_task_or_a_track_it_is_one_more_bar_there(cell: Cell) -> None:
    with task("Work") as t:
        for _ in ours(range(2), desc="loop"):
            for _ in track(range(3), "tracked"):
                pass
    assert {bar.bar: (bar.n, bar.parent) for bar in t.snapshot.bars} == {"loop": (2, None), "tracked": (3, "loop")}
    assert len(cell.streams) == 1


def test_postfix_description_units_and_mean_rate(cell: Cell, clock: Clock) -> None:
    with ours(total=4096, unit="B", unit_scale=True, unit_divisor=1024, desc="Load: ") as bar:
        clock.now += 2
        bar.update(1024)
        bar.set_postfix(loss=0.5)
        bar.set_description("Load more")
        clock.now += 6
        bar.update(3072)
    (shown,) = cell.bars.values()
    assert (shown.label, shown.message, shown.unit, shown.scale) == ("Load more", "loss=0.5", "B", 1024)
    assert (shown.rate, shown.eta) == (512, None)


def test_a_unit_scale_that_is_a_number_counts_in_it(cell: Cell) -> None:
    with ours(total=10, unit_scale=2.5) as bar:
        bar.update(4)
    (shown,) = cell.bars.values()
    assert (shown.n, shown.total, shown.scale) == (10, 25, None)


def test_bars_that_are_not_to_be_left_vanish_and_with_them_the_output(cell: Cell) -> None:
    for _ in ours(range(2), leave=False):
        for _ in ours(range(2), leave=None):  # only the outermost is left
            pass
    cell.end()
    assert cell.bars == {}
    bundle = mimebundle(cell.stream.snapshot)
    assert (bundle["text/plain"], bundle["text/markdown"]) == ("", "")


def test_one_that_was_stopped_says_so_and_one_that_has_no_end_does_if_it_failed(cell: Cell) -> None:
    for _ in ours(range(3), desc="broken off"):
        break
    with pytest.raises(KeyError), ours(desc="failed") as bar:
        bar.update()
        raise KeyError
    try:
        raise KeyError
    except KeyError:  # another one, before
        with ours(desc="fine") as bar:
            bar.update()
    cell.end()
    states = [(bar.label or bar.bar, bar.state) for bar in cell.bars.values()]
    assert states == [("main", "early"), ("failed", "early"), ("fine", "complete")]
    text = mimebundle(cell.stream.snapshot)["text/plain"]
    assert "broken off: ░░░░░░░░░░ 0 % · 0/3 · stopped early" in text
    assert "fine" in text
    assert text.count("stopped early") == 2


@pytest.mark.parametrize("total", [5, None])
def test_a_cell_that_fails_ends_its_open_bars_and_the_stream_with_its_error(cell: Cell, total: int | None) -> None:
    bar = ours(total=total)
    bar.update(2)
    cell.end(ValueError("too bad"))
    snapshot = cell.stream.snapshot
    assert (snapshot.status, snapshot.bars[0].state) == ("error", "early")
    assert snapshot.error is not None
    assert snapshot.error.message == "ValueError: too bad"
    bar.close()


def test_an_error_after_the_last_bar_is_none_of_theirs(cell: Cell) -> None:
    for _ in ours(range(2)):
        pass
    cell.end(ValueError("later"))
    assert cell.stream.status == "done"


def test_a_bar_that_is_moved_in_a_later_cell_is_shown_there(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    bar = ours(total=10, desc="Long")
    bar.update(4)
    cell.end()
    monkeypatch.setattr(bars, "_executing", None)
    bar.update(3)
    bar.close()
    first, second = cell.streams
    assert [(bar.n, bar.state) for bar in first.snapshot.bars] == [(4, "early")]
    assert [(bar.n, bar.state) for bar in second.snapshot.bars] == [(7, "early")]


def test_bars_of_threads_stand_side_by_side(cell: Cell) -> None:
    together = threading.Barrier(3)

    def work(name: int) -> None:
        for _ in ours(range(4), desc=f"worker {name}", position=name):
            together.wait(10)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    found = sorted((bar.label or bar.bar, bar.n, bar.parent, bar.state) for bar in cell.bars.values())
    assert [bar[1:] for bar in found] == [(4, None, "complete")] * 3
    cell.end()
    assert all(f"worker {name}: ██" in mimebundle(cell.stream.snapshot)["text/plain"] for name in range(3))


def test_async_loops_nest_too(cell: Cell) -> None:
    async def main() -> list[int]:
        async for _ in ours(range(2), desc="outer"):
            async for _ in ours(range(3), desc="inner"):
                await asyncio.sleep(0)

        async def answer(n: int) -> int:
            return n

        gathered: list[int] = await ours.gather(*map(answer, range(4)), desc="gathered")
        return gathered

    assert asyncio.run(main()) == [0, 1, 2, 3]
    assert {name: (bar.n, bar.parent) for name, bar in cell.bars.items()} == {
        "main": (2, None), "inner": (3, "main"), "gathered": (4, None),
    }  # fmt: skip


def test_cancel_raises_at_the_next_display(cell: Cell, clock: Clock) -> None:
    seen = []
    with pytest.raises(Cancelled) as caught:
        for item in ours(range(10)):
            clock.now += 0.2
            seen.append(item)
            if item == 4:
                cell.stream.cancel()
    assert seen == [0, 1, 2, 3, 4]
    cell.end(caught.value)
    assert (cell.stream.status, cell.bars["main"].state) == ("cancelled", "early")


@pytest.mark.parametrize("options", [{"mininterval": 60}, {"mininterval": 60, "miniters": 1000}])
def test_cancel_does_not_wait_for_a_display_that_is_far_off(cell: Cell, clock: Clock, options: Any) -> None:
    rounds = 0
    with pytest.raises(Cancelled):
        for item in ours(range(10), **options):
            clock.now += 0.01
            rounds += 1
            if item == 4:
                cell.stream.cancel()
    assert rounds == 5


def test_what_cannot_be_cancelled_goes_on_at_its_own_pace(cell: Cell) -> None:
    with task("Critical", cancellable=False) as t:
        bar = ours(range(10), mininterval=7, miniters=3)
        for item in bar:
            if item == 4:
                t.cancel()
        assert (bar.n, bar.mininterval, bar.miniters) == (10, 7, 3)


def test_cancel_ends_the_stream_of_a_thread_that_goes_on_after_its_cell(cell: Cell, clock: Clock) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    def work() -> None:
        with pytest.raises(Cancelled):
            for item in ours(range(10)):
                clock.now += 1
                if item == 1:
                    begun.set()
                    cancelled.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(10)
    cell.end()
    running = cell.stream.status
    cell.stream.cancel()
    cancelled.set()
    thread.join(10)
    assert [running, cell.stream.status] == ["running", "cancelled"]


def test_an_update_from_another_thread_is_not_killed_by_cancel(cell: Cell, clock: Clock) -> None:
    with ours(total=10) as bar:
        cell.stream.cancel()
        clock.now += 1
        with ThreadPoolExecutor(1) as pool:
            pool.submit(bar.update, 1).result(10)
        clock.now += 1
        with pytest.raises(Cancelled):
            bar.update()


def test_write_goes_into_the_stream_around_or_is_printed(cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    ours.write("before")
    for _ in ours(range(1)):
        ours.write("inside")
        ours.write("loud", file=sys.stderr, end="!\n")
    cell.end()
    ours.write("after")
    assert [(line.text, line.source) for line in cell.stream.snapshot.log.lines] == [
        ("inside", "stdout"), ("loud!", "stderr"),
    ]  # fmt: skip
    printed = capsys.readouterr().out
    assert printed.startswith("before\n")
    assert printed.endswith("after\n")


def test_a_hundred_bars_one_after_another_stay_within_bounds(cell: Cell) -> None:
    for number in range(120):
        for _ in ours(range(1), desc=f"file {number}"):
            pass
    cell.end()
    assert len(cell.bars) == 50
    assert "file 119: ██" in mimebundle(cell.stream.snapshot)["text/plain"]


def test_thread_map_and_the_like_take_the_class(cell: Cell) -> None:
    from tqdm.contrib import tenumerate, tzip
    from tqdm.contrib.concurrent import thread_map

    assert thread_map(lambda n: n + 1, range(5), tqdm_class=ours, desc="mapped") == [1, 2, 3, 4, 5]
    assert list(tenumerate("ab", tqdm_class=ours)) == [(0, "a"), (1, "b")]
    assert list(tzip([1, 2], [3, 4], tqdm_class=ours)) == [(1, 3), (2, 4)]
    assert [bar.n for bar in cell.bars.values()] == [5, 2, 2]


def test_progress_apply(cell: Cell) -> None:
    pandas = pytest.importorskip("pandas")
    ours.pandas(desc="rows")
    frame = pandas.DataFrame({"group": [1, 1, 2], "n": [1, 2, 3]})
    assert list(frame["n"].progress_apply(lambda n: n * 2)) == [2, 4, 6]
    assert list(frame["n"].progress_map(lambda n: n + 1)) == [2, 3, 4]
    assert list(frame.progress_apply(lambda row: row["n"], axis=1)) == [1, 2, 3]
    assert list(frame.groupby("group")["n"].progress_apply(sum)) == [3, 3]
    assert [(bar.n, bar.total) for bar in cell.bars.values()] == [(3, 3), (3, 3), (3, 3), (2, 2)]


@pytest.fixture
def installed() -> Iterator[None]:
    ours.install()
    yield
    ours.uninstall()


class Theirs(early):  # type: ignore[misc, valid-type]
    """As libraries have it that bring their own bars."""

    def __init__(self, *given: Any, name: str, **options: Any) -> None:
        super().__init__(*given, desc=f"their {name}", **options)


def test_install_has_all_bars_of_tqdm_shown(cell: Cell, installed: None) -> None:
    ours.install()  # twice is once
    assert tqdm.auto.tqdm is ours
    assert list(early(range(2), desc="imported before"))
    assert list(Theirs(range(3), name="class"))
    assert list(tqdm.auto.tqdm(range(4), desc="auto"))
    assert list(tqdm.auto.trange(5, desc="range"))
    assert list(std.tqdm(range(6), desc="std"))
    assert list(tqdm.notebook.tqdm(range(7), desc="notebook"))
    found = [(bar.label or bar.bar, bar.n) for bar in cell.bars.values()]
    assert found == [("main", 2), ("their class", 3), ("auto", 4), ("range", 5), ("std", 6), ("notebook", 7)]


def test_uninstall_puts_everything_back(cell: Cell) -> None:
    before = {owner: dict(vars(owner)) for owner in (std.tqdm, tqdm.notebook.tqdm_notebook, tqdm.auto)}
    ours.install()
    ours.uninstall()
    ours.uninstall()
    assert {owner: dict(vars(owner)) for owner in before} == before
    file = io.StringIO()
    assert list(std.tqdm(range(2), file=file))
    assert not cell.streams
    assert list(ours(range(2)))
    assert len(cell.streams) == 1


def test_tqdms_own_notebook_bars_that_go_on_stay_what_they_are(cell: Cell) -> None:
    pytest.importorskip("ipywidgets")
    bar = tqdm.notebook.tqdm(total=5)
    ours.install()
    try:
        bar.update(5)
        bar.reset()
        bar.close()
        assert not cell.streams
    finally:
        ours.uninstall()
