"""The hub over real sockets: order, resume, slow readers, limits."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tornado.iostream import IOStream, StreamClosedError

from jupyter_sse.endpoints import Registry
from jupyter_sse.events import Delta, Done, Event, Log, Start, encode
from jupyter_sse.log import Gap, LogError
from jupyter_sse.log.memory import MemoryLog
from jupyter_sse.server import endpoints, kernels, modules
from jupyter_sse.server import hub as hub_module
from jupyter_sse.server import reader as reader_module
from jupyter_sse.server.activity import Activity
from jupyter_sse.server.channel import Channel, Closed, Full
from jupyter_sse.server.feed import Blob, as_is
from jupyter_sse.server.hub import Hub, Limits
from jupyter_sse.server.reader import Reader
from jupyter_sse.server.routes import Routes
from jupyter_sse.sse import Decoder, Frame

SECONDS = 60


def run(scenario: Callable[[Hub], Awaitable[object]], *, log: MemoryLog | None = None, **options: Any) -> None:
    async def main() -> None:
        hub = Hub(log or MemoryLog(), **options)
        await hub.log.open()
        hub.start()
        try:
            await asyncio.wait_for(scenario(hub), 30)
        finally:
            await hub.close()
            while sockets:
                sockets.pop().close()

    asyncio.run(main())


sockets: list[socket.socket] = []


class Client:
    """The far end of a reader's socket."""

    def __init__(self, hub: Hub, *, keep: bool = False, small: bool = False) -> None:
        near, self.socket = socket.socketpair()
        sockets.append(self.socket)
        if small:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        near.setblocking(False)
        self.socket.setblocking(False)
        self.reader = Reader(hub, _stream(near), framing=as_is, keep=keep)
        self.decoder = Decoder()
        self.frames: list[Frame] = []
        self.ended = False

    async def read(self, until: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        while not until():
            data = await asyncio.wait_for(loop.sock_recv(self.socket, 1 << 16), SECONDS)
            if not data:
                self.ended = True
                assert until(), "the connection ended early"
                return
            self.frames += self.decoder.feed(data)

    async def read_events(self, count: int) -> None:
        await self.read(lambda: len(self.ids) >= count)

    async def read_to_end(self) -> None:
        await self.read(lambda: self.ended)

    @property
    def ids(self) -> list[str]:
        return [frame.id for frame in self.frames if frame.event not in ("hello", "ping")]


class _UnixStream(IOStream):
    def set_nodelay(self, value: bool) -> None:
        """A socket pair has no TCP to tell."""


def _stream(near: socket.socket) -> IOStream:
    return _UnixStream(near)


async def write(hub: Hub, stream: str, events: list[Event], first: int | None = None) -> Channel:
    channel = await hub.channel(stream)
    await hub.append(channel, first, [encode(event) for event in events], events)
    return channel


def numbers(first: int, last: int) -> list[str]:
    return [str(seq) for seq in range(first, last + 1)]


def test_a_reader_gets_every_event_once_and_in_order_whenever_it_comes() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        clients: list[Client] = []
        for round_ in range(20):
            client = Client(hub)
            client.reader.follow(channel.feed(""), 0)
            clients.append(client)
            await write(hub, "s", [Delta(text=f"{round_}-{index}") for index in range(10)])
        await write(hub, "s", [Done()])
        for client in clients:
            await client.read_to_end()
            assert client.ids == numbers(1, 202)

    run(scenario)


def test_a_reader_resumes_strictly_after_its_cursor() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start(), *[Delta(text=str(index)) for index in range(8)], Done()])
        client = Client(hub)
        client.reader.follow(channel.feed(""), 7)
        await client.read_to_end()
        assert client.ids == numbers(8, 10)

    run(scenario)


def test_a_slow_reader_does_not_hold_the_others_and_catches_up_alone() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        slow, quick = Client(hub, small=True), Client(hub)
        for client in (slow, quick):
            client.reader.follow(channel.feed(""), 0)
            await client.read_events(1)
        for _ in range(100):
            await write(hub, "s", [Delta(text="x" * 1000)] * 10)
        await write(hub, "s", [Done()])
        await quick.read_to_end()
        assert quick.ids == numbers(1, 1002)
        await slow.read_to_end()
        assert slow.ids == numbers(1, 1002)

    run(scenario)


def test_a_reader_that_never_reads_is_dropped_and_can_resume() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        client = Client(hub, small=True)
        client.reader.follow(channel.feed(""), 0)
        await client.read_events(1)
        while not client.reader.closed:
            await write(hub, "s", [Delta(text="x" * 1000)] * 10)
            await asyncio.sleep(0.006)
        assert hub.stats.dropped == 1
        assert hub.stats.connections == 0
        await client.read(lambda: client.ended)
        again = Client(hub)
        again.reader.follow(channel.feed(""), int(client.ids[-1]))
        await write(hub, "s", [Done()])
        await again.read_to_end()
        assert client.ids + again.ids == numbers(1, channel.last)

    run(scenario, limits=Limits(lag_bytes=200_000))


def test_memory_of_recent_frames_is_bounded_and_the_log_serves_the_rest() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        slow, quick = Client(hub, small=True), Client(hub)
        for client in (slow, quick):
            client.reader.follow(channel.feed(""), 0)
            await client.read_events(1)
        for _ in range(60):
            await write(hub, "s", [Delta(text="x" * 100_000)])
            await quick.read_events(channel.last)
        feed = channel.feeds[""]
        assert sum(map(len, feed.frames)) < 5 << 20
        await write(hub, "s", [Done()])
        await slow.read_to_end()
        assert slow.ids == numbers(1, 62)

    run(scenario)


def test_one_connection_follows_many_streams() -> None:
    async def scenario(hub: Hub) -> None:
        client = Client(hub, keep=True)
        for name in "abc":
            channel = await write(hub, name, [Start()])
            client.reader.follow(channel.feed(f"{name}:"), 0)
        for index in range(50):
            for name in "abc":
                await write(hub, name, [Delta(text=str(index))])
        await write(hub, "b", [Done()])
        await write(hub, "a", [Delta(text="after b's end")])
        await client.read_events(3 * 51 + 2)
        for name, count in (("a", 52), ("b", 52), ("c", 51)):
            assert [id for id in client.ids if id.startswith(name)] == [f"{name}:{seq}" for seq in range(1, count + 1)]
        assert not client.reader.closed
        assert {feed.channel.id for feed in client.reader.feeds} == {"a", "c"}

    run(scenario)


def test_a_snapshot_stands_for_what_went_before_it() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start(title="T"), *[Log(text=f"line {index}") for index in range(1000)]])
        frame, seq = await hub.reset(channel, "", "snapshot")
        client = Client(hub)
        client.reader.tell(frame)
        client.reader.follow(channel.feed(""), seq)
        await write(hub, "s", [Done()])
        await client.read_to_end()
        assert client.ids == ["1001", "1002"]
        assert '"count":1000' in client.frames[0].data

    run(scenario)


def test_a_stream_found_in_the_log_has_the_same_snapshot() -> None:
    log = MemoryLog()
    snapshots = []

    async def first(hub: Hub) -> None:
        channel = await write(hub, "s", [Start(title="T"), *[Delta(text=f"{index} ") for index in range(5000)]])
        snapshots.append(await channel.snapshot())

    async def second(hub: Hub) -> None:
        channel = await hub.channel("s")
        snapshots.append(await channel.snapshot())
        await write(hub, "s", [Delta(text="end")])
        assert (await channel.snapshot()).text.endswith("4999 end")

    run(first, log=log)
    run(second, log=log)
    assert snapshots[0] == snapshots[1]


class CountingLog(MemoryLog):
    """Counts the events that were read, and takes its time as a disk does."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    async def read(
        self, stream: str, after: int, *, limit: int = 1000, max_bytes: int = 1 << 20
    ) -> list[tuple[int, bytes]]:
        await asyncio.sleep(0)
        rows = await super().read(stream, after, limit=limit, max_bytes=max_bytes)
        self.count += len(rows)
        return rows


@pytest.mark.parametrize("kind", [Log, Delta])
@pytest.mark.parametrize("ended", [False, True])
def test_joining_after_restarts_folds_the_state_and_not_the_history(kind: type[Log | Delta], ended: bool) -> None:
    log = CountingLog()

    async def more(hub: Hub) -> None:  # a server on whose watch nobody looked
        for _ in range(60):
            await write(hub, "s", [kind(text="word ") for _ in range(500)])

    async def end(hub: Hub) -> None:
        await write(hub, "s", [Done()])

    async def join(hub: Hub) -> None:
        log.count = 0
        snapshot = await (await hub.channel("s")).snapshot()
        assert (snapshot.log.count, len(snapshot.text)) == ((90_000, 0) if kind is Log else (0, 450_000))
        assert snapshot.status == ("done" if ended else "running")
        read.append(log.count)

    read: list[int] = []
    run(lambda hub: write(hub, "s", [Start(title="T")]), log=log)
    for _ in range(3):
        run(more, log=log)
    if ended:
        run(end, log=log)
    run(join, log=log)
    assert read[0] < (5_000 if kind is Log else 20_000)  # and a text is as long as its events are many

    log._snapshots.clear()  # killed before any was saved
    run(join, log=log)
    run(join, log=log)
    assert read[1] > 90_000
    assert read[2] == 0


def test_a_reader_that_comes_while_the_state_is_restored_misses_nothing() -> None:
    log = CountingLog()

    async def first(hub: Hub) -> None:
        await write(hub, "s", [Start(), *[Delta(text=f"{index} ") for index in range(5000)]])

    async def second(hub: Hub) -> None:
        channel = await hub.channel("s")
        joining = [asyncio.ensure_future(channel.snapshot())]
        for index in range(5000, 5100):
            await write(hub, "s", [Delta(text=f"{index} ")])
            joining.append(asyncio.ensure_future(channel.snapshot()))
        texts = [(await task).text for task in joining]
        whole = "".join(f"{index} " for index in range(5100))
        assert texts[-1] == whole
        assert all(whole.startswith(text) and len(text) >= len("0 ") * 5000 for text in texts)

    run(first, log=log)
    log._snapshots.clear()
    run(second, log=log)


def test_a_repeated_append_changes_nothing_and_a_gap_is_refused() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start(), Delta(text="a"), Delta(text="b")], 1)
        client = Client(hub)
        client.reader.follow(channel.feed(""), 0)
        assert await hub.append(channel, 2, [encode(Delta(text="a"))], [Delta(text="a")]) == 3
        await write(hub, "s", [Delta(text="b"), Delta(text="c")], 3)
        with pytest.raises(Gap) as gap:
            await write(hub, "s", [Delta(text="z")], 6)
        assert gap.value.last == 4
        await write(hub, "s", [Done()])
        await client.read_to_end()
        assert client.ids == numbers(1, 5)
        assert (await channel.snapshot()).text == "abc"

    run(scenario)


def test_nothing_comes_after_the_terminal_event() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start(), Done()])
        with pytest.raises(Closed) as closed:
            await write(hub, "s", [Delta(text="late")])
        assert closed.value.code == "ended"
        assert await hub.append(channel, 2, [encode(Done())], [Done()]) == 2
        with pytest.raises(Closed):
            await write(hub, "t", [Done(), Delta(text="late")])
        assert (await hub.channel("t")).last == 0

    run(scenario)


def test_a_stream_past_its_size_takes_its_end_and_no_more() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        with pytest.raises(Full):
            await write(hub, "s", [Delta(text="x" * 2000)])
        with pytest.raises(Full):
            await write(hub, "s", [Delta(text="x" * 2000), Done()])
        assert channel.last == 1
        await write(hub, "s", [Done()])
        assert channel.ended

    run(scenario, limits=Limits(stream_bytes=1000))


class _FailingLog(MemoryLog):
    failing = False

    async def append(self, *args: Any, **kwargs: Any) -> int:
        await asyncio.sleep(0)
        if self.failing:
            raise LogError("the disk is full")
        return await super().append(*args, **kwargs)


def test_what_the_log_could_not_write_was_not_published_and_can_be_sent_again() -> None:
    log = _FailingLog()

    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()], 1)
        client = Client(hub)
        client.reader.follow(channel.feed(""), 0)
        log.failing = True
        under_way = [
            asyncio.ensure_future(write(hub, "s", [Delta(text=str(seq))], seq))
            for seq in (2, 3, 4)
        ]  # fmt: skip
        results = await asyncio.gather(*under_way, return_exceptions=True)
        assert all(isinstance(result, (LogError, Gap)) for result in results)
        log.failing = False
        assert channel.last == channel.accepted == 1
        await write(hub, "s", [Delta(text="2"), Delta(text="3"), Done()], 2)
        await client.read_to_end()
        assert client.ids == numbers(1, 4)
        assert (await channel.snapshot()).text == "23"

    run(scenario, log=log)


def test_a_deleted_stream_tells_its_readers() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        client = Client(hub)
        client.reader.follow(channel.feed(""), 0)
        await client.read_events(1)
        await hub.delete(channel)
        await client.read_to_end()
        assert client.frames[-1].event == "error"
        assert client.frames[-1].id == "0"
        assert (await hub.channel("s")).deleted

    run(scenario)


def test_heartbeats_come_without_an_id() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        client = Client(hub)
        client.reader.follow(channel.feed(""), 0)
        await client.read(lambda: sum(frame.event == "ping" for frame in client.frames) >= 3)
        assert client.decoder.last_id == "1"

    run(scenario, heartbeat=0.02)


def test_a_reader_that_leaves_is_forgotten() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        client = Client(hub)
        client.reader.follow(channel.feed(""), 0)
        await client.read_events(1)
        client.socket.close()
        while not client.reader.closed:
            await asyncio.sleep(0.005)
        assert not channel.feeds
        assert not hub.readers
        assert hub.stats.connections == 0

    run(scenario)


def test_what_runs_is_listed_however_much_has_ended_since() -> None:
    async def scenario(hub: Hub) -> None:
        for number in range(1100):
            channel = await hub.channel(f"s{number}")
            end: list[Event] = [Done()] if number else []
            await hub.append(channel, 1, [encode(event) for event in (Start(), *end)], [Start(), *end])
        client = Client(hub, keep=True)
        await hub.listing.watch(client.reader)
        await client.read(lambda: bool(client.frames))
        listed = [entry["stream"] for entry in json.loads(client.frames[0].data)["streams"]]
        assert listed == [*(f"s{number}" for number in range(1099, 99, -1)), "s0"]

    run(scenario)


def test_a_stream_without_news_is_told_and_so_is_its_next_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "STALL_SECONDS", 0.3)  # longer than changes of the list are gathered

    async def scenario(hub: Hub) -> None:
        await write(hub, "s", [Start(title="Silent")])
        await write(hub, "patient", [Start(stall=1000)])
        await write(hub, "off", [Start(stall=0)])
        await write(hub, "over", [Start(), Done()])
        client = Client(hub, keep=True)
        await hub.listing.watch(client.reader)

        def told() -> list[tuple[str, bool]]:
            """After the list itself."""
            entries = [entry for frame in client.frames[1:] for entry in json.loads(frame.data)["streams"]]
            return [(entry["stream"], entry["stalled"] is not None) for entry in entries]

        await client.read(lambda: bool(told()))
        await write(hub, "s", [Delta(text="x")], 2)
        await client.read(lambda: len(told()) == 2)
        assert told() == [("s", True), ("s", False)]

    run(scenario, stall_look=0.02)


def test_a_snapshot_says_when_the_last_event_came() -> None:
    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        channel.came -= 100
        frame, _ = await hub.reset(await hub.channel("s"), "", "snapshot")
        (reset,) = Decoder().feed(frame)
        assert json.loads(reset.data)["ts"] == pytest.approx(time.time() - 100, abs=10)

    run(scenario)


def test_so_does_that_of_a_stream_that_was_not_in_memory() -> None:
    async def scenario(hub: Hub) -> None:
        await write(hub, "s", [Start(), Done()])
        del hub.channels["s"]
        now[0] += 100
        assert (await hub.channel("s")).heard == pytest.approx(now[0] - 100, abs=10)

    now = [time.time() - 100]
    run(scenario, log=MemoryLog(clock=lambda: now[0]))


def test_who_looks_on_does_not_hide_that_a_stream_has_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "STALL_SECONDS", 0.3)

    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        await hub.listing.watch(Client(hub, keep=True).reader)
        until = time.monotonic() + SECONDS
        while channel.stalled is None:
            assert time.monotonic() < until
            await hub.channel("s")
            await asyncio.sleep(0.01)

    run(scenario, stall_look=0.02)


def test_streams_without_news_are_told_after_a_log_that_could_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "STALL_SECONDS", 0.1)

    class Faulty(MemoryLog):
        faults = 1

        async def snapshot(self, stream: str) -> bytes | None:
            if self.faults:
                self.faults -= 1
                raise LogError("disk I/O error")
            return await super().snapshot(stream)

    log = Faulty()

    async def scenario(hub: Hub) -> None:
        await log.append("s", 1, [encode(Start())])
        channel = await hub.channel("s")
        await hub.listing.watch(Client(hub, keep=True).reader)
        until = time.monotonic() + SECONDS
        while channel.stalled is None:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        assert log.faults == 0

    run(scenario, log=log, stall_look=0.02)


def test_media_that_come_together_do_not_pass_the_limit() -> None:
    class Slow(MemoryLog):
        async def put_media(self, *given: Any, **options: Any) -> int:
            await asyncio.sleep(0.01)
            return await super().put_media(*given, **options)

    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        before = channel.bytes
        puts = [hub.put_media(channel, f"{n}", "image/png", bytes(400), key=None, keep=9) for n in range(5)]
        results = await asyncio.gather(*puts, return_exceptions=True)
        assert [type(result) for result in results] == [type(None)] * 2 + [Full] * 3
        assert channel.bytes == before + 800
        await hub.log.delete("s")
        with pytest.raises(Closed):
            await hub.put_media(channel, "6", "image/png", bytes(100), key=None, keep=9)
        assert channel.bytes == before + 800

    run(scenario, log=Slow(), limits=Limits(stream_bytes=1000))


def test_what_never_begins_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a kernel has said who is to be told of the end, and died before it sent anything."""
    monkeypatch.setattr(hub_module, "IDLE_SECONDS", 0.05)

    async def scenario(hub: Hub) -> None:
        (await hub.channel("s")).webhook = "https://example.org/"
        until = time.monotonic() + SECONDS
        while hub.channels:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)

    run(scenario, heartbeat=0.02)


def test_a_cell_began_before_there_was_anything_to_tell() -> None:
    async def scenario(hub: Hub) -> None:
        await write(hub, "s", [Start(kind="cell", ts=1000.5)])
        entry = await hub.log.entry("s")
        assert entry is not None
        assert entry.created == 1000.5

    run(scenario)


def test_a_stream_without_producer_ends_though_the_log_fails_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "RETRY_SECONDS", 0.001)

    class Faulty(MemoryLog):
        faults = 0

        async def entry(self, stream: str) -> Any:
            self.fail()
            return await super().entry(stream)

        async def append(self, *args: Any, **options: Any) -> int:
            self.fail()
            return await super().append(*args, **options)

        def fail(self) -> None:
            if self.faults:
                self.faults -= 1
                raise LogError("disk I/O error")

    log = Faulty()

    async def scenario(hub: Hub) -> None:
        channel = await write(hub, "s", [Start()])
        producers = kernels.Producers(hub, {}, Activity({}, {}), grace=0.0)
        producers.writes("lost", channel, None)
        log.faults = 3
        producers._await_return("lost")
        while not channel.ended:
            await asyncio.sleep(0.001)
        snapshot = await channel.snapshot()
        assert snapshot.error is not None
        assert (snapshot.error.code, log.faults) == ("producer_lost", 0)

    run(scenario, log=log)


def test_a_call_whose_reader_left_before_its_first_frame_is_closed() -> None:
    class Pipe:
        closed = False

        async def read(self) -> bytes | None:
            await asyncio.sleep(1000)
            return None

        def close(self) -> None:
            self.closed = True

    async def scenario(hub: Hub) -> None:
        for leaves in ("before", "at once", "later"):
            client, pipe = Client(hub), Pipe()
            if leaves == "before":
                client.reader.close()
            endpoints.pump(pipe, client.reader)
            if leaves == "later":
                await asyncio.sleep(0)
            client.reader.close()
            assert pipe.closed, leaves

    run(scenario)


def test_a_call_that_fails_here_leaves_no_reader_waiting() -> None:
    class Pipe:
        async def read(self) -> bytes | None:
            raise ZeroDivisionError

        def close(self) -> None: ...

    failures: list[str] = []

    async def scenario(hub: Hub) -> None:
        client = Client(hub)
        endpoints.pump(Pipe(), client.reader)
        await client.read_to_end()
        await asyncio.sleep(0)

    run(scenario, on_error=failures.append)
    assert failures


@pytest.mark.parametrize("ends", [False, True])
def test_a_slow_reader_is_kept_as_long_as_it_takes_something(monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    now = 0.0
    monkeypatch.setattr(reader_module, "time", SimpleNamespace(monotonic=lambda: now))

    async def scenario(hub: Hub) -> None:
        nonlocal now
        client = Client(hub, small=True)
        writing = asyncio.ensure_future(client.reader.write(b": " + b"x" * 500_000 + b"\n\n"))
        await asyncio.sleep(0)
        if ends:
            client.reader.end()
        loop, taken = asyncio.get_running_loop(), 0
        while taken < 400_000:
            taken += len(await asyncio.wait_for(loop.sock_recv(client.socket, 1 << 12), SECONDS))
            for _ in range(3):
                await asyncio.sleep(0)
            now += 0.00005
            client.reader.ping(Blob(b": ping\n\n"))
            assert not client.reader.closed, f"after {taken} bytes in {now} s"
        now += 0.0011
        client.reader.ping(Blob(b": ping\n\n"))
        assert client.reader.closed
        with pytest.raises(StreamClosedError):
            await writing

    run(scenario, limits=Limits(stall_seconds=0.001))


def test_a_shared_run_in_the_server_does_not_wait_for_a_log_that_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(hub: Hub) -> None:
        def channel(stream: str) -> None:
            raise LogError("the disk is gone")

        monkeypatch.setattr(hub, "channel", channel)
        published = modules.Modules(hub, cast(Any, None), Routes(), Registry(), most=1).publish("/x")
        event = Delta(text="x" * 100_000)

        def emit() -> None:
            while not published.closed:
                published.emit(event)

        thread = threading.Thread(target=emit, daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()

    failures: list[str] = []
    run(scenario, on_error=failures.append)
    assert failures == ["the disk is gone"]
