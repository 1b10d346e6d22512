"""The multiplex over a WebSocket, against a real jupyter_server with its token and origin checks on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import websockets.frames
from harness import JupyterServer, wait_for
from reading import Socket, frames_of
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.streams import StreamReader
from websockets.sync.client import connect
from websockets.typing import Origin

from jupyter_sse.server.feed import as_message


def closed(socket: Socket) -> tuple[int | None, str]:
    """With which words the server closes it."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.read()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


OpenSocket = Callable[..., Socket]


@pytest.fixture
def open_socket() -> Iterator[OpenSocket]:
    with ExitStack() as stack:

        def open_one(server: JupyterServer, **options: Any) -> Socket:
            options = {"additional_headers": server.headers, "max_size": None, **options}
            url = server.url.replace("http", "ws", 1) + "socket"
            return Socket(stack.enter_context(connect(url, proxy=None, close_timeout=2, **options)))

        yield open_one


def metric(server: JupyterServer, name: str) -> float:
    text = httpx.get(server.root + "metrics", headers=server.headers, trust_env=False).text
    return float(re.search(rf"^jupyter_sse_{name} (\S+)", text, re.MULTILINE)[1])  # type: ignore[index]


def test_many_streams_over_one_socket(server: JupyterServer, open_socket: OpenSocket) -> None:
    a, b = server.create(title="نص"), server.create()
    server.append(a, '{"type":"delta","text":"مرحبا 🌍"}')
    one = open_socket(server)
    hello = json.loads(one.read(1)[0].data)
    assert (hello["type"], hello["stream"]) == ("hello", None)
    one.say(streams={a: 1})
    assert (one.read(2)[1].id, json.loads(one.frames[1].data)["text"]) == (f"{a}:2", "مرحبا 🌍")
    one.say(add={b: -1})
    assert (one.read(3)[2].event, one.frames[2].id) == ("reset", f"{b}:1")
    server.append(b, '{"type":"done"}')
    assert one.read(4)[3].id == f"{b}:2"
    one.say(remove=[a])
    c = server.create()
    one.say(add={c: 0})
    assert one.read(5)[4].id == f"{c}:1"
    server.append(a, '{"type":"delta","text":"unheard"}')
    server.append(c, '{"type":"done"}')
    assert [frame.id for frame in one.read(6)[5:]] == [f"{c}:2"]
    server.request("DELETE", f"streams/{a}")
    one.say(add={a: 2})
    assert json.loads(one.find(id=f"{a}:0").data)["code"] == "gone"


def test_a_socket_and_an_event_stream_get_the_same_frames(server: JupyterServer, open_socket: OpenSocket) -> None:
    stream = server.create()
    one = open_socket(server)
    one.read(1)
    one.say(streams={stream: 0})
    # Of all three sizes that the framing of messages has.
    for size in (1, 300, 70_000):
        server.append(stream, json.dumps({"type": "log", "text": "x" * size}))
    server.append(stream, '{"type":"done"}')
    frames = one.read(6)[1:]
    read = frames_of(server.request("GET", f"streams/{stream}/events").content)[1:]
    assert [(frame.id, frame.event, frame.data) for frame in frames] == [
        (f"{stream}:{frame.id}", frame.event, frame.data) for frame in read
    ]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_the_header_of_a_message_has_its_length(size: int) -> None:
    reader = StreamReader()
    reader.feed_data(as_message(b"x" * size))
    parsing = websockets.frames.Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    frame = done.value.value
    assert (frame.opcode, frame.fin, len(frame.data)) == (websockets.frames.Opcode.TEXT, True, size)


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ("nonsense", 1007, "The body must be"),
        (b"\xff\x00", 1007, "The body must be"),
        ('{"stream":{}}', 1007, "unknown field"),
        ('{"streams":{"a":"0"}}', 1007, "int"),
        (json.dumps({"add": {"../" + "ع" * 60: 0}}), 1007, "not a stream's id"),
        (json.dumps({"remove": ["x" * (1 << 20)]}), 1009, "at most 1048576 bytes"),
    ],
    ids=["text", "binary", "field", "cursor", "id", "size"],
)
def test_a_bad_message_closes_that_socket_and_nothing_else(
    server: JupyterServer, open_socket: OpenSocket, message: str | bytes, code: int, reason: str
) -> None:
    stream = server.create()
    bad, other = open_socket(server), open_socket(server)
    for one in (bad, other):
        one.read(1)
        one.say(streams={stream: 0})
        one.read(2)
    bad.connection.send(message)
    closed_with, why = closed(bad)
    assert closed_with == code
    assert reason in why
    server.append(stream, '{"type":"done"}')
    assert other.read(3)[2].id == f"{stream}:2"


def test_only_who_is_signed_in_gets_a_socket(server: JupyterServer, open_socket: OpenSocket) -> None:
    for headers in ({}, {"Authorization": "token wrong"}, {"Authorization": "Bearer wrong"}):
        with pytest.raises(InvalidStatus) as refused:
            open_socket(server, additional_headers=headers)
        assert refused.value.response.status_code in (401, 403)
    with httpx.Client(base_url=server.root, trust_env=False, follow_redirects=True) as page:
        page.get("/login", params={"token": server.token})
        cookies = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
    with pytest.raises(InvalidStatus) as refused:
        open_socket(server, additional_headers={"Cookie": cookies}, origin=Origin("http://evil.example"))
    assert refused.value.response.status_code == 403
    one = open_socket(server, additional_headers={"Cookie": cookies}, origin=Origin(server.root.rstrip("/")))
    assert one.read(1)[0].event == "hello"


def test_a_plain_request_is_told_what_this_is(server: JupyterServer) -> None:
    answer = server.request("GET", "socket")
    assert (answer.status_code, answer.json()["code"]) == (426, "not_a_websocket")


def test_a_socket_counts_as_a_connection(make_server: Any, open_socket: OpenSocket) -> None:
    server = make_server("--SSE.max_connections=1", base_url="/some/where/")
    one = open_socket(server)
    one.read(1)
    assert metric(server, "connections") == 1
    with pytest.raises(InvalidStatus) as refused:
        open_socket(server)
    assert refused.value.response.status_code == 429
    assert int(refused.value.response.headers["Retry-After"]) > 0
    # As a browser learns of it, which is not told why a handshake failed.
    assert server.request("GET", "socket").json()["code"] == "too_many_connections"
    one.connection.close()
    wait_for(lambda: metric(server, "connections") == 0, "the closed socket to be counted out")
    open_socket(server).read(1)


def test_a_heartbeat_comes_and_a_socket_that_never_reads_is_dropped(make_server: Any, open_socket: OpenSocket) -> None:
    server = make_server("--SSE.heartbeat=0.1", "--SSE.max_lag_bytes=65536", "--SSE.stall_seconds=1")
    assert [frame.event for frame in open_socket(server).read(1, pings=2)] == ["hello"]
    stream = server.create()
    reading, never = open_socket(server), open_socket(server, max_queue=1)
    for one in (reading, never):
        one.say(streams={stream: 0})
    line = json.dumps({"type": "log", "text": "x" * 50_000})
    seq = 1

    def dropped() -> bool:
        nonlocal seq
        seq = server.append(stream, *[line] * 10).json()["seq"]
        reading.find(id=f"{stream}:{seq}")
        return metric(server, "dropped_readers_total") == 1

    wait_for(dropped, "the socket that is not read to be dropped")
    had = [frame.id for frame in reading.frames if frame.id]
    assert had == [f"{stream}:{number + 1}" for number in range(seq)]


def test_a_socket_resumes_after_its_cursors_and_loses_nothing(server: JupyterServer, open_socket: OpenSocket) -> None:
    stream = server.create()
    ids: list[str] = []
    for turn in range(3):
        one = open_socket(server)
        one.read(1)
        one.say(streams={stream: len(ids)})
        server.append(stream, *[json.dumps({"type": "log", "text": f"{turn}.{index}"}) for index in range(5)])
        ids += [frame.id for frame in one.read(6 if turn else 7)[1:]]
        one.connection.close()
    assert ids == [f"{stream}:{number + 1}" for number in range(16)]
