"""The hub over real sockets: order, resume, slow readers, limits."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tornado.iostream import IOStream

from jupyter_sse.events import Delta, Done, Event, Log, Start, encode
from jupyter_sse.log import Gap, LogError
from jupyter_sse.log.memory import MemoryLog
from jupyter_sse.server.channel import Channel, Closed, Full
from jupyter_sse.server.feed import as_is
from jupyter_sse.server.hub import Hub, Limits
from jupyter_sse.server.reader import Reader
from jupyter_sse.sse import Decoder, Frame

SECONDS = 10


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
