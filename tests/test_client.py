"""The Python reader, blocking and awaited, against a real server behind connections that fail."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from faults import FaultProxy, fault_proxy
from harness import JupyterServer, free_port, wait_for

from jupyter_sse import address
from jupyter_sse.address import Address
from jupyter_sse.client import AsyncClient, Client, ClientError
from jupyter_sse.client.protocol import Following, show
from jupyter_sse.events import Delta, Done, Event, Reset, Start, Unknown
from jupyter_sse.sse import encode

SECONDS = 60
Numbered = tuple[int, Event | Unknown]
Read = Callable[..., list[Numbered]]


def blocking(client: Client, stream: str, after: int = 0, into: list[Numbered] | None = None) -> list[Numbered]:
    """All events, which are put into the given list as they come."""
    events = [] if into is None else into
    with client:
        for numbered in client.events(stream, after):
            events.append(numbered)
    return events


def awaited(client: Client, stream: str, after: int = 0, into: list[Numbered] | None = None) -> list[Numbered]:
    """The same with an `AsyncClient` to the same place."""
    events = [] if into is None else into

    async def read() -> None:
        async with AsyncClient(client.url, client._address.token, heartbeat=client._silence.read / 2.5) as other:  # type: ignore[operator]
            async for numbered in other.events(stream, after):
                events.append(numbered)

    with client:
        asyncio.run(asyncio.wait_for(read(), SECONDS))
    return events


@pytest.fixture(params=[blocking, awaited])
def read(request: pytest.FixtureRequest) -> Any:
    return request.param


def client_of(server: JupyterServer, port: int | None = None, **options: Any) -> Client:
    return Client(server.root.replace(str(server.port), str(port or server.port)), server.token, **options)


class Reader(threading.Thread):
    """Reads a stream to its end, beside the test."""

    def __init__(self, read: Read, client: Client, stream: str, after: int = 0) -> None:
        super().__init__(daemon=True)
        self.events: list[Numbered] = []
        self.error: BaseException | None = None
        self._read = read
        self._arguments = client, stream, after
        self.start()
        # Until it has had an answer, a fault is an error: nobody may be there.
        wait_for(lambda: self.events or not self.is_alive(), "the reader's first event")

    def run(self) -> None:
        try:
            self._read(*self._arguments, self.events)
        except BaseException as error:
            self.error = error

    def finish(self) -> list[Numbered]:
        self.join(SECONDS)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.events


def texts(events: list[Numbered]) -> list[str]:
    return [event.text for _, event in events if isinstance(event, Delta)]


def delta(text: str) -> str:
    return f'{{"type":"delta","text":"{text}"}}'


DONE = '{"type":"done"}'


def test_it_reads_a_stream_to_its_end(server: JupyterServer, read: Read) -> None:
    stream = server.create(title="Long")
    server.append(stream, delta("a"), '{"type":"new_in_v9","x":1}', delta("b"), DONE)
    events = read(client_of(server), stream)
    assert [seq for seq, _ in events] == [1, 2, 3, 4, 5]
    assert isinstance(events[0][1], Start)
    assert events[2][1] == Unknown("new_in_v9", {"x": 1})
    assert isinstance(events[-1][1], Done)
    assert [seq for seq, _ in read(client_of(server), stream, 3)] == [4, 5]
    assert read(client_of(server), stream, 5) == []


def test_it_begins_with_the_state_if_asked(server: JupyterServer, read: Read) -> None:
    stream = server.create(title="Long")
    server.append(stream, delta("a"), delta("b"))
    reader = Reader(read, client_of(server), stream, -1)
    server.append(stream, delta("c"), DONE)
    (first, reset), *rest = reader.finish()
    assert isinstance(reset, Reset)
    assert (first, reset.seq, reset.snapshot.text, reset.snapshot.title) == (3, 3, "ab", "Long")
    assert [seq for seq, _ in rest] == [4, 5]


def _open_connections(server: JupyterServer) -> bool:
    metrics = server.request("GET", "../metrics").text
    lines = [line for line in metrics.splitlines() if line.startswith("jupyter_sse_connections ")]
    return float(lines[0].split()[1]) > 0


def test_a_stream_that_has_ended_needs_no_more_than_its_state(server: JupyterServer, read: Read) -> None:
    stream = server.create()
    server.append(stream, delta("a"), DONE)
    ((seq, reset),) = read(client_of(server), stream, -1)
    assert seq == 3
    assert isinstance(reset, Reset)
    assert (reset.snapshot.status, reset.snapshot.text) == ("done", "a")


def test_every_event_comes_once_over_a_connection_that_is_cut_everywhere(server: JupyterServer, read: Read) -> None:
    stream = server.create()
    sent = [str(index) for index in range(300)]
    with fault_proxy(server.port) as proxy:
        cuts = CutStreams(proxy, chain([900, 10, 2500, 400, 5001, 1], repeat(1 << 20)))
        reader = Reader(read, client_of(server, cuts.port), stream)
        for start in range(0, 300, 50):
            server.append(stream, *map(delta, sent[start : start + 50]))
        wait_for(lambda: proxy.cuts >= 6 or reader.error, "the cuts")
        server.append(stream, DONE)
        events = reader.finish()
    assert texts(events) == sent
    assert [seq for seq, _ in events] == list(range(1, 303))


class CutStreams:
    """Cuts each connection of a `FaultProxy` that reads one stream after so many bytes."""

    def __init__(self, proxy: FaultProxy, lengths: Iterator[int]) -> None:
        proxy.path = b"/events HTTP"
        proxy.cut_streams(lengths)
        self.port = proxy.port


def test_it_waits_out_a_server_that_is_killed_and_started_again(
    make_server: Callable[..., JupyterServer], read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server()
    stream = server.create()
    server.append(stream, delta("before"))
    reader = Reader(read, client_of(server), stream)
    server.kill()
    wait_for(lambda: "trying again" in caplog.text, "the reader to notice")
    server.start()
    server.append(stream, delta("after"), DONE)
    events = reader.finish()
    assert [seq for seq, _ in events] == [1, 2, 3, 4]
    assert texts(events) == ["before", "after"]
    assert server.token not in caplog.text


def test_it_waits_out_a_proxy_that_says_503(server: JupyterServer, read: Read) -> None:
    stream = server.create()
    with fault_proxy(server.port) as proxy:
        reader = Reader(read, client_of(server, proxy.port), stream)
        proxy.unavailable()
        wait_for(lambda: proxy.refused >= 2, "two refusals")
        server.append(stream, delta("a"), DONE)
        proxy.mend()
        assert texts(reader.finish()) == ["a"]


def test_a_connection_without_a_heartbeat_is_dead(make_server: Callable[..., JupyterServer], read: Read) -> None:
    server = make_server("--SSE.heartbeat=0.2")
    stream = server.create()
    with fault_proxy(server.port) as proxy:
        reader = Reader(read, client_of(server, proxy.port, heartbeat=0.4), stream)
        proxy.hang()
        server.append(stream, delta("a"), DONE)
        proxy.mend()  # what hung stays dead: it is the reader who has to find out
        assert texts(reader.finish()) == ["a"]


def test_deleted_meanwhile(server: JupyterServer, read: Read) -> None:
    stream = server.create()
    reader = Reader(read, client_of(server), stream)
    server.request("DELETE", f"streams/{stream}")
    with pytest.raises(ClientError, match="deleted") as gone:
        reader.finish()
    assert gone.value.code == "gone"


@pytest.mark.parametrize("stream", ["nosuchstream", "../api/status", "a b?"])
def test_no_such_stream(server: JupyterServer, read: Read, stream: str) -> None:
    with pytest.raises(ClientError) as missing:
        read(client_of(server), stream)
    assert (missing.value.status, missing.value.code) == (404, "not_found")


def test_a_wrong_token_is_said_and_not_shown(server: JupyterServer, read: Read) -> None:
    stream = server.create()
    client = Client(server.url, "wr0ng-token")
    assert "wr0ng" not in repr(client)
    with pytest.raises(ClientError, match="did not accept the token") as refused:
        read(client, stream)
    assert (refused.value.status, refused.value.code) == (403, "forbidden")
    assert "wr0ng" not in str(refused.value)


def test_nobody_there(read: Read) -> None:
    with pytest.raises(ClientError, match="No Jupyter server answers at"):
        read(Client(f"http://127.0.0.1:{free_port()}/", "x"), "any")


def test_a_server_without_the_extension(make_server: Callable[..., JupyterServer], read: Read) -> None:
    server = make_server("--ServerApp.jpserver_extensions={'jupyter_sse': False}")
    with pytest.raises(ClientError, match="is not jupyter_sse"):
        read(client_of(server), "any")


def test_lists_shows_cancels_and_forgets(server: JupyterServer) -> None:
    stream = server.create(title="One", kind="test-client", cancellable=True)
    with client_of(server) as client:
        (found,) = client.streams(kind="test-client", status="running")
        assert (found.stream, found.title, found.status) == (stream, "One", "running")
        assert client.snapshot(stream).title == "One"
        assert client.cancel(stream).via == "producer"
        assert server.append(stream, DONE).json()["cancelled"]
        assert client.cancel(stream).via == "ended"
        client.delete(stream)
        with pytest.raises(ClientError, match="deleted"):
            client.snapshot(stream)

    async def same() -> None:
        stream = server.create(title="Two", kind="test-async")
        async with client_of_async(server) as client:
            assert [info.stream for info in await client.streams(kind="test-async")] == [stream]
            assert (await client.snapshot(stream)).title == "Two"
            assert (await client.cancel(stream)).via == "producer"
            await client.delete(stream)
            assert await client.streams(kind="test-async") == []

    asyncio.run(asyncio.wait_for(same(), SECONDS))


def client_of_async(server: JupyterServer) -> AsyncClient:
    return AsyncClient(server.url, server.token)


def test_it_asks(make_server: Callable[..., JupyterServer]) -> None:
    server = make_server("--SSE.chat_model=demo")
    with client_of(server) as client:
        stream = client.ask("Why is the sky blue?")
        answer = "".join(texts(list(client.events(stream))))
        assert answer
        assert client.snapshot(stream).text == answer
        with pytest.raises(ClientError, match="nosuch") as unknown:
            client.ask("Why?", model="nosuch:model")
        assert unknown.value.code == "unknown_model"


def test_who_leaves_early_closes_the_connection(server: JupyterServer) -> None:
    wait_for(lambda: not _open_connections(server), "the readers of other tests to be gone")
    stream = server.create()
    with client_of(server) as client:
        with closing(client.events(stream)) as events:
            next(events)
            assert _open_connections(server)
        server.append(stream, delta("a"))  # a server notices when it sends something
        wait_for(lambda: not _open_connections(server), "the connection to end")

    async def leave() -> None:
        async with client_of_async(server) as client, aclosing(client.events(stream)) as events:
            await anext(events)

    asyncio.run(asyncio.wait_for(leave(), SECONDS))
    server.append(stream, delta("b"))
    wait_for(lambda: not _open_connections(server), "the connection to end")


# The core, without a server.


def following(after: int = 0, patience: float = 100.0) -> Following:
    return Following(Address("http://server/jupyter-sse/", "t0ken"), "s", after, patience=patience)


SSE = {"content-type": "text/event-stream; charset=utf-8"}


def opened(after: int = 0, **options: Any) -> Following:
    made = following(after, **options)
    made.answered(200, SSE, b"", 0.0)
    return made


@pytest.mark.parametrize("status", [408, 424, 429, 500, 502, 503, 504])
def test_what_may_be_another_answer_later_is_asked_again(status: int) -> None:
    one = opened(7)
    one.answered(status, {}, b"<html>", 1.0)
    assert not one.ended
    assert one.headers["Last-Event-ID"] == "7"
    assert 0 <= one.delay <= 1


def test_a_redirect_to_the_hub_is_that_of_a_server_that_does_not_run_now() -> None:
    one = opened(7)
    one.answered(302, {"location": "/hub/user/amal/jupyter-sse/streams/x/events"}, b"", 1.0)
    assert not one.ended
    with pytest.raises(ClientError) as refused:
        one.answered(302, {"location": "/hub/login?next=%2Fhub%2Fuser%2Famal%2F"}, b"", 1.0)
    assert refused.value.code == "forbidden"


def test_retry_after_is_kept_to() -> None:
    one = opened(patience=1000.0)
    one.answered(429, {"retry-after": "77"}, b"", 1.0)
    assert one.delay == 77
    date = {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT", "date": "Fri, 31 Dec 1999 23:58:09 GMT"}
    one.answered(503, date, b"", 1.0)
    assert one.delay == 110


@pytest.mark.parametrize(
    "said", ["soon", "-7", "Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 25:61:00 GMT", "9" * 99]
)
def test_a_retry_after_that_says_nothing_is_none(said: str) -> None:
    one = opened()
    one.answered(503, {"retry-after": said, "date": "Sat, 01 Jan 2000 00:00:00 GMT"}, b"", 1.0)
    assert one.delay <= 1


def test_delays_grow_to_a_bound_and_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.SystemRandom.random", lambda _: 1.0)
    state = random.getstate()
    one = opened()
    delays = []
    for _ in range(40):
        one.lost("cut", 1.0)
        delays.append(one.delay)
    assert delays[:6] == [1, 2, 4, 8, 16, 30]
    assert delays[-1] == 30
    assert list(one.received(b": a word\n\n")) == []
    one.lost("cut", 1.0)
    assert one.delay == 1
    assert random.getstate() == state  # the user's


def test_patience_ends() -> None:
    one = opened(patience=10.0)
    one.lost("cut", 5.0)
    one.lost("refused", 14.0)
    with pytest.raises(ClientError, match="did not come back in 10 s: refused"):
        one.lost("refused", 15.1)


def test_a_server_that_wants_to_be_left_alone_for_longer_does_not_outlast_patience() -> None:
    one = opened(patience=10.0)
    one.lost("cut", 5.0)
    one.answered(503, {"retry-after": "3600"}, b"", 8.0)
    assert one.delay == 7


def test_what_comes_again_is_passed_over() -> None:
    one = opened(2)
    frames = b"".join(encode(delta(str(seq)), event="delta", id=seq) for seq in (1, 2, 3, 3, 4))
    assert [list(one.received(bytes([byte]))) for byte in frames].count([]) == len(frames) - 2
    assert one.cursor == 4


def test_a_reset_goes_on_from_its_number_also_if_that_is_lower() -> None:
    one = opened(9)
    reset = b'{"type":"reset","reason":"ahead","seq":3,"snapshot":{"seq":3,"status":"running","text":"abc"}}'
    ((seq, event),) = one.received(encode(reset, event="reset", id=3))
    assert isinstance(event, Reset)
    assert (seq, event.snapshot.text, one.cursor, one.ended) == (3, "abc", 3, False)
    assert [seq for seq, _ in one.received(encode(delta("d"), event="delta", id=4))] == [4]


def test_what_came_before_the_stream_was_deleted_is_given_out_first() -> None:
    one = opened()
    gone = b'{"type":"error","message":"This stream has been deleted.","code":"gone"}'
    events = one.received(encode(delta("a"), event="delta", id=1) + encode(gone, event="error", id=0))
    seq, _ = next(events)
    assert seq == 1
    with pytest.raises(ClientError, match="deleted"):
        next(events)


def test_what_a_later_version_says_of_the_connection_is_passed_over() -> None:
    one = opened()
    frames = encode(b'{"type":"moved"}', event="moved") + encode(delta("a"), event="delta", id=1)
    assert [seq for seq, _ in one.received(frames)] == [1]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_that_is_not_ready_is_not_taken_for_another_program(status: int) -> None:
    with pytest.raises(ClientError, match=rf"cannot answer now \(HTTP {status}\)") as busy:
        show("s").answered(Address("http://server/jupyter-sse/"), status, b"<html>")
    assert (busy.value.status, busy.value.code) == (status, "unavailable")


def test_an_answer_of_somebody_else_is_no_stream() -> None:
    with pytest.raises(ClientError, match="is not jupyter_sse"):
        following().answered(200, {"content-type": "text/html"}, b"", 0.0)


# Which server.


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("JUPYTER_SSE_URL", "JUPYTER_SSE_TOKEN", "JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def info(runtime: Path, port: int, token: str, *, pid: int | None = None, **more: Any) -> None:
    values = {"url": f"http://localhost:{port}/", "token": token, "pid": pid or os.getpid(), "port": port, **more}
    (runtime / f"jpserver-{port}.json").write_text(repr(values).replace("'", '"'))


def test_the_only_server_that_runs_is_taken(runtime: Path) -> None:
    info(runtime, 8001, "one")
    (runtime / "jpserver-8002.json").write_text("{")
    assert address.find() == Address("http://localhost:8001/jupyter-sse/", "one")


def test_one_that_has_died_does_not_run(runtime: Path) -> None:
    info(runtime, 8001, "one", pid=2**22 + 1)
    with pytest.raises(ClientError, match="No Jupyter server of yours runs") as none:
        Client()
    assert none.value.code == "no_server"


def test_of_several_it_asks_which(runtime: Path) -> None:
    info(runtime, 8001, "t-one")
    info(runtime, 8002, "t-two")
    with pytest.raises(LookupError, match=r"Several .*http://localhost:8001/.*http://localhost:8002/") as several:
        address.find()
    assert "t-one" not in str(several.value)
    assert address.find("http://127.0.0.1:8002/lab/tree/a.ipynb").token == "t-two"


def test_the_one_that_started_this_kernel_comes_first(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info(runtime, 8001, "t-one")
    info(runtime, 8002, "t-two", hostname="0.0.0.0", url="http://machine:8002/")
    monkeypatch.setenv("JUPYTER_SSE_URL", "http://127.0.0.1:8002/jupyter-sse/")
    monkeypatch.setenv("JUPYTER_SSE_TOKEN", "opens only what producers need")
    assert address.find() == Address("http://127.0.0.1:8002/jupyter-sse/", "t-two")


def test_the_token_of_the_environment_is_the_last_choice(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_TOKEN", "of the environment")
    info(runtime, 8001, "of the server")
    assert address.find().token == "of the server"
    assert address.find("https://far.example/user/me/").token == "of the environment"
    assert address.find("https://far.example/user/me/?token=its").token == "its"
    assert address.find("http://localhost:8001/", "given").token == "given"


def test_the_hubs_token_opens_the_server_that_the_hub_has_started_and_is_sent_to_no_other(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "the hub's")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ann@example.org/")
    info(runtime, 8001, "", url="http://127.0.0.1:8001/user/ann%40example.org/")
    ours = Address("http://127.0.0.1:8001/user/ann%40example.org/jupyter-sse/", "the hub's")
    assert address.find() == ours
    assert address.find("http://localhost:8001/user/ann@example.org/lab").token == "the hub's"
    assert address.find(token="given").token == "given"
    for other in (
        "http://127.0.0.1:8002/user/ann@example.org/",
        "https://far.example/user/ann@example.org/",
        "http://127.0.0.1:8001/",
    ):
        assert address.find(other).token is None
    info(runtime, 8002, "", url="http://127.0.0.1:8002/")
    assert address.find("http://127.0.0.1:8002/").token is None, "a server that the user has started beside it"
    for file in runtime.iterdir():  # the server that started this terminal may have another place for them
        file.unlink()
    monkeypatch.setenv("JUPYTER_SSE_URL", ours.url)
    assert address.find() == ours
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN")
    assert address.find().token is None


def test_what_a_server_of_jupyterhubs_wants_is_said() -> None:
    of_hub = Address("http://hub.example/user/ann/jupyter-sse/")
    with pytest.raises(ClientError, match=r"wants a token \(HTTP 403\).*/hub/token.*JUPYTERHUB_API_TOKEN") as refused:
        show("s").answered(of_hub, 403, b"{}")
    assert refused.value.code == "forbidden"
    with pytest.raises(ClientError) as other:
        show("s").answered(Address("http://server/jupyter-sse/"), 403, b"{}")
    assert "hub" not in str(other.value).lower()


def test_a_real_server_is_found(make_server: Callable[..., JupyterServer], runtime: Path) -> None:
    server = make_server(home=runtime / "home", base_url="/a/b/")
    os.environ["JUPYTER_RUNTIME_DIR"] = server.env()["JUPYTER_RUNTIME_DIR"]
    with Client() as client:
        assert client.streams() == []
        assert client.url.endswith(f":{server.port}/a/b/jupyter-sse/")


def test_httpx_logs_no_token(server: JupyterServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with client_of(server) as client:
        client.streams()
    assert "jupyter-sse/streams" in caplog.text
    assert server.token not in caplog.text
