"""The kernel's end of the link against a server that cuts, loses, refuses, closes and stalls."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_sse import connect, stream, task, track
from jupyter_sse.address import parse
from jupyter_sse.events import Delta, Done, Log, Preview, Start
from jupyter_sse.kernel import link
from jupyter_sse.kernel.producer import Producer
from kernel.link_server import TOKEN, LinkServer, Message

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

PIECES = [f"{i} " for i in range(2000)]


def until(condition: Any, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


def test_hello_and_one_stream(linked: LinkServer) -> None:
    answer = stream(iter(["Hello ", "world"]), title="Greeting")
    linked.wait(lambda: linked.ended(answer.id))
    assert linked.hellos[0]["v"] == 1
    assert linked.hellos[0]["kernel"] is None
    start, *_, done = linked.streams[answer.id]
    assert (start["type"], start["title"], start["kind"]) == ("start", "Greeting", "answer")
    assert linked.texts(answer.id) == "Hello world"
    assert (done["type"], done["reason"]) == ("done", "stop")
    assert linked.authorization == [f"Bearer {TOKEN}"]


def test_deltas_of_a_burst_are_merged_and_none_is_lost(linked: LinkServer) -> None:
    answer = stream(iter(PIECES))
    linked.wait(lambda: linked.ended(answer.id))
    assert linked.texts(answer.id) == "".join(PIECES)
    assert len(linked.streams[answer.id]) < len(PIECES) / 4


def test_order_is_kept_between_deltas_and_other_events(linked: LinkServer) -> None:
    producer = Producer("mixed")
    for i in range(300):
        producer.delta(f"{i} ")
        if i % 3 == 0:
            producer.emit(Log(text=str(i)))
    producer.done()
    linked.wait(lambda: linked.ended(producer.id))
    seen = ""
    for event in linked.streams[producer.id]:
        if event["type"] == "delta":
            seen += event["text"]
        elif event["type"] == "log":
            assert seen.split()[-1] == event["text"]


def test_a_server_that_comes_later_gets_everything(monkeypatch: pytest.MonkeyPatch, server: LinkServer) -> None:
    server.stop()
    link.use(link.Link(parse(server.url, TOKEN)))
    answer = stream(iter(PIECES))
    server.start()
    server.wait(lambda: server.ended(answer.id))
    assert server.texts(answer.id) == "".join(PIECES)


def test_the_users_seed_gives_the_same_numbers_while_a_server_is_away(
    monkeypatch: pytest.MonkeyPatch, server: LinkServer
) -> None:
    tries = 0

    def refuse(*_: Any) -> None:
        nonlocal tries
        tries += 1
        raise ConnectionRefusedError

    monkeypatch.setattr("jupyter_sse.kernel.websocket.connect", refuse)
    random.seed(1)
    state = random.getstate()
    link.use(link.Link(parse(server.url, TOKEN)))
    Producer("away").emit(Delta(text="x"))
    until(lambda: tries > 2)
    assert random.getstate() == state


def test_a_cut_in_the_middle_loses_and_repeats_nothing(linked: LinkServer) -> None:
    cuts = 0

    def fault(connection: ServerConnection, message: Message) -> bool:
        nonlocal cuts
        if cuts < 4 and len(linked.hellos) > cuts:  # the first of each of four connections
            cuts += 1
            if cuts % 2:
                linked.keep(connection, message, ack=False)
            linked.drop(connection)
            return True
        return False

    linked.fault = fault
    producer = Producer("cut")
    for i in range(200):
        producer.emit(Log(text=str(i)))
        if i % 20 == 0:
            time.sleep(0.01)
    producer.done()
    linked.wait(lambda: cuts == 4 and linked.ended(producer.id))
    assert linked.lines(producer.id) == list(map(str, range(200)))
    assert len({hello["producer"] for hello in linked.hellos}) == 1


def test_a_gap_is_sent_again(linked: LinkServer) -> None:
    dropped: list[int] = []

    def fault(connection: ServerConnection, message: Message) -> bool:
        if message["seq"] > 1 and len(dropped) < 2:
            dropped.append(message["seq"])
            return True  # lost without a word: the next append makes the gap
        return False

    linked.fault = fault
    producer = Producer("gap")
    linked.wait(lambda: linked.types(producer.id) == ["start"])
    for i in range(50):
        producer.emit(Log(text=str(i)))
        producer.snapshot  # noqa: B018 (one batch each)
    producer.done()
    linked.wait(lambda: linked.ended(producer.id))
    assert len(dropped) == 2
    assert linked.lines(producer.id) == list(map(str, range(50)))


def in_memory(connection: ServerConnection, message: Message) -> bool:
    """As a server whose disk is full."""
    seq = message["seq"] + len(message["events"]) - 1
    connection.send(json.dumps({"op": "taken", "stream": message["stream"], "seq": seq}))
    return True


def test_a_server_whose_disk_is_full_does_not_make_the_producer_wait(server: LinkServer) -> None:
    link.use(link.Link(parse(server.url, TOKEN), max_unacked=20_000))
    server.fault = in_memory
    producer = Producer("much")
    server.wait(lambda: len(server.appends) == 1)
    for index in range(100):
        producer.emit(Log(text=f"{index} " + 1000 * "x"))
    producer.emit(Log(text="the last"))
    server.wait(lambda: "the last" in json.dumps(server.appends[-1:]))
    producer.done()
    server.wait(lambda: "done" in json.dumps(server.appends[-1:]))
    server.tell(op="ack", stream=producer.id, seq=producer._channel.seq)
    until(lambda: producer._channel.settled)


def test_what_a_server_has_in_memory_only_is_kept_until_it_is_on_disk(linked: LinkServer) -> None:
    linked.fault = in_memory
    producer = Producer("kept")
    for index in range(20):  # more than may be under way without an answer
        producer.emit(Log(text=str(index)))
        sent = f'"{index}"'
        linked.wait(lambda sent=sent: any(sent in json.dumps(message["events"]) for message in linked.appends))  # type: ignore[misc]
    producer.done()
    linked.fault = None
    linked.cut()
    linked.wait(lambda: linked.types(producer.id)[-1:] == ["done"])
    assert linked.lines(producer.id) == list(map(str, range(20)))


def test_a_server_that_lost_the_end_is_told_to_end_what_it_has(linked: LinkServer) -> None:
    producer = Producer("half")
    producer.emit(Log(text="kept"))
    producer.emit(Log(text="lost"))
    until(lambda: producer._channel.acked == 3)
    with pytest.warns(RuntimeWarning, match="lost events") as warned:
        del linked.streams[producer.id][2:]
        linked.tell(op="gap", stream=producer.id, seq=2)
        until(lambda: len(warned) > 0)
    linked.wait(lambda: linked.types(producer.id) == ["start", "log", "error"])
    producer.done()


def test_a_server_that_lost_the_beginning_ends_the_sending(linked: LinkServer) -> None:
    producer = Producer("forgotten")
    linked.wait(lambda: linked.types(producer.id) == ["start"])
    until(lambda: producer._channel.acked == 1)
    with pytest.warns(RuntimeWarning, match="lost events") as warned:
        linked.tell(op="gap", stream=producer.id, seq=0)
        until(lambda: len(warned) > 0)
    producer.emit(Log(text="goes on here"))
    assert producer.snapshot.log.count == 1
    producer.done()


def test_a_refused_event_is_replaced_by_a_line_that_says_so(linked: LinkServer) -> None:
    def fault(connection: ServerConnection, message: Message) -> bool:
        for index, event in enumerate(message["events"]):
            if event.get("text") == "bad":
                linked.keep(connection, {**message, "events": message["events"][:index]})
                refusal = {"op": "refused", "stream": message["stream"], "seq": message["seq"] + index}
                connection.send(json.dumps({**refusal, "code": "bad_event", "message": "no such thing"}))
                return True
        return False

    linked.fault = fault
    producer = Producer("refused")
    for text in ("one", "bad", "two"):
        producer.emit(Log(text=text))
    producer.done()
    linked.wait(lambda: linked.ended(producer.id))
    logs = [event for event in linked.streams[producer.id] if event["type"] == "log"]
    assert [log["text"] for log in logs] == ["one", "An event (log) was left out: no such thing", "two"]
    assert (logs[1]["level"], logs[1]["source"]) == ("error", "jupyter_sse")


def test_a_refused_result_still_ends_the_stream(linked: LinkServer) -> None:
    def fault(connection: ServerConnection, message: Message) -> bool:
        for index, event in enumerate(message["events"]):
            if event["type"] == "done" and "result" in event:
                linked.keep(connection, {**message, "events": message["events"][:index]})
                refusal = {"op": "refused", "stream": message["stream"], "seq": message["seq"] + index}
                connection.send(json.dumps({**refusal, "code": "event_too_large", "message": "too large"}))
                return True
        return False

    linked.fault = fault
    producer = Producer("refused")
    producer.done(result="x" * 1000)
    linked.wait(lambda: linked.ended(producer.id))
    assert linked.types(producer.id) == ["start", "log", "done"]
    assert "result" not in linked.streams[producer.id][-1]


def test_a_closed_stream_is_no_longer_sent_and_the_user_told_once(linked: LinkServer) -> None:
    producer = Producer("closed")
    linked.wait(lambda: linked.types(producer.id) == ["start"])
    with pytest.warns(RuntimeWarning, match="was deleted") as warned:
        linked.tell(op="closed", stream=producer.id, seq=1, code="deleted", message="it was deleted")
        until(lambda: producer._channel.closed)
        linked.tell(op="closed", stream=producer.id, seq=1, code="deleted", message="it was deleted")
        producer.emit(Log(text="not sent"))
        other = stream(iter(["x"]))
        linked.wait(lambda: linked.ended(other.id))
    assert len(warned) == 1
    assert linked.types(producer.id) == ["start"]
    producer.done()


def test_cancel_reaches_the_producer(linked: LinkServer) -> None:
    producer = Producer("cancel")
    linked.wait(lambda: linked.types(producer.id) == ["start"])
    linked.tell(op="cancel", stream=producer.id)
    until(lambda: producer.cancelled)
    producer.done("cancelled")


def test_an_event_that_is_too_large_is_replaced_and_a_result_left_out(linked: LinkServer) -> None:
    linked.max_event = 2048
    first = stream(iter(["known"]))
    linked.wait(lambda: linked.ended(first.id))
    producer = Producer("large")
    producer.emit(Preview(mime="image/png", data="A" * 5000))
    producer.done(result="x" * 5000)
    linked.wait(lambda: linked.ended(producer.id))
    assert linked.types(producer.id) == ["start", "log", "log", "done"]
    texts = [event["text"] for event in linked.streams[producer.id] if event["type"] == "log"]
    assert "preview" in texts[0]
    assert "2048" in texts[0]
    assert "result" in texts[1]


def test_long_text_is_split_at_characters(linked: LinkServer) -> None:
    text = "ب𝄞\x00" * 200_000
    answer = stream(iter([text]))
    linked.wait(lambda: linked.ended(answer.id))
    assert linked.texts(answer.id) == text
    assert all(len(json.dumps(event).encode()) < 1 << 20 for event in linked.streams[answer.id])


def test_lone_surrogates_and_nul_pass(linked: LinkServer) -> None:
    answer = stream(iter(["a\x00b\ud800c"]))
    linked.wait(lambda: linked.ended(answer.id))
    assert linked.texts(answer.id) == "a\x00b\ufffdc"


def test_away_and_full_loses_truthfully_and_never_blocks(server: LinkServer) -> None:
    server.stop()
    away = link.Link(parse(server.url, TOKEN), max_unacked=20_000)
    link.use(away)
    producer = Producer("away")
    with pytest.warns(RuntimeWarning, match="events were lost"):
        started = time.monotonic()
        for i in range(1000):
            producer.emit(Log(text=f"{i} " + "x" * 100))
            producer.snapshot  # noqa: B018 (no merging of the queue)
        assert time.monotonic() - started < 5
        assert away._outbox.unacked < 40_000
        producer.done()
        server.start()
        server.wait(lambda: server.ended(producer.id))
    events = server.streams[producer.id]
    said = [event for event in events if event.get("source") == "jupyter_sse"]
    kept = [event for event in events if event["type"] == "log" and event.get("source") != "jupyter_sse"]
    assert len(said) == 1
    assert said[0]["text"].startswith(f"{1000 - len(kept)} events were lost here")
    assert events[-1]["type"] == "done"


def test_connected_but_slow_makes_the_producer_wait(server: LinkServer) -> None:
    held = threading.Event()

    def fault(connection: ServerConnection, message: Message) -> bool:
        if message["seq"] > 1:
            held.wait(20)
        return False

    server.fault = fault
    slow = link.Link(parse(server.url, TOKEN), max_unacked=100_000)
    slow.dial(10)
    link.use(slow)
    producer = Producer("slow")
    written = 0

    def write() -> None:
        nonlocal written
        for i in range(60_000):
            producer.emit(Log(text=f"{i} " + "x" * 90))
            written = i + 1
        producer.done()

    thread = threading.Thread(target=write)
    thread.start()
    # Now nothing more is taken, before the server says that it has something.
    until(lambda: slow._outbox.full and len(slow._data) > link.MAX_QUEUED)
    assert written < 60_000
    assert slow._outbox.unacked < 2_000_000
    held.set()
    thread.join(30)
    assert not thread.is_alive()
    server.wait(lambda: server.ended(producer.id), 30)
    assert len(server.lines(producer.id)) == 60_000


def test_many_threads_keep_their_own_order(linked: LinkServer) -> None:
    producer = Producer("threads")

    def write(name: int) -> None:
        for i in range(500):
            producer.emit(Log(text=f"{name}:{i}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    producer.done()
    linked.wait(lambda: linked.ended(producer.id))
    lines = [line.split(":") for line in linked.lines(producer.id)]
    assert len(lines) == 4000
    for name in range(8):
        assert [int(i) for who, i in lines if who == str(name)] == list(range(500))


def test_in_asyncio_a_call_does_no_io(server: LinkServer) -> None:
    server.stop()  # connecting fails again and again, elsewhere
    link.use(link.Link(parse(server.url, TOKEN)))

    async def main() -> float:
        longest = 0.0
        async with task("async") as t:
            for i in range(100):
                started = time.perf_counter()
                t.log(str(i))
                longest = max(longest, time.perf_counter() - started)
                await asyncio.sleep(0)
        return longest

    assert asyncio.run(main()) < 0.5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_after_a_fork_the_child_writes_new_streams_and_not_old_ones(linked: LinkServer) -> None:
    producer = Producer("parent")
    producer.emit(Log(text="from the parent"))
    linked.wait(lambda: linked.types(producer.id) == ["start", "log"])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            import warnings

            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                producer.emit(Log(text="from the child"))
                producer.emit(Log(text="from the child again"))
                told = [str(warning.message) for warning in warned if "forked" in str(warning.message)]
            own = Producer("child")
            own.emit(Log(text="own"))
            own.done()
            if len(told) == 1 and link.current().flush(10):
                code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    producer.done()
    linked.wait(lambda: linked.ended(producer.id))
    assert linked.types(producer.id) == ["start", "log", "done"]
    (other,) = [key for key in linked.streams if key != producer.id]
    assert linked.types(other) == ["start", "log", "done"]
    assert len({hello["producer"] for hello in linked.hellos}) == 2


def _work(name: str) -> str:
    with task(name) as t:
        t.log("at work")
        return t.id


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_multiprocessing_workers_write_streams(
    linked: LinkServer, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    monkeypatch.setenv("JUPYTER_SSE_URL", linked.url)
    monkeypatch.setenv("JUPYTER_SSE_TOKEN", TOKEN)
    Producer("in the parent").done()
    with multiprocessing.get_context(method).Pool(1) as pool:
        ids = pool.map_async(_work, ["a", "b"]).get(60)
        pool.close()
        pool.join()
    for key in ids:
        linked.wait(lambda key=key: linked.ended(key))  # type: ignore[misc]
        assert linked.types(key) == ["start", "log", "done"]


SCRIPT = """
import sys
from jupyter_sse import task
from jupyter_sse.kernel.producer import Producer
Producer("never ended").delta("x")
with task("short") as t:
    for i in range(1000):
        t.log(i)
print(t.id)
"""


def _run(code: str, server: LinkServer, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "JUPYTER_SSE_URL": server.url, "JUPYTER_SSE_TOKEN": TOKEN, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_at_exit_everything_is_sent_and_what_runs_is_ended(server: LinkServer) -> None:
    out = _run(SCRIPT, server).stdout
    key = out.split()[-1]
    assert server.lines(key) == list(map(str, range(1000)))
    assert server.ended(key)
    (other,) = [stream for stream in server.streams if stream != key]
    assert server.streams[other][-1]["code"] == "producer_exited"


def test_at_exit_a_server_that_is_away_is_not_waited_for_long(server: LinkServer) -> None:
    server.stop()
    started = time.monotonic()
    result = _run(SCRIPT, server)
    assert time.monotonic() - started < 10
    assert result.returncode == 0


def test_the_token_is_in_no_repr_log_or_error(
    server: LinkServer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = "not-the-" + TOKEN
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(ConnectionError, match="403") as refused:
            connect(server.url, wrong)
        connected = connect(f"{server.url}?token={TOKEN}")
        assert connected.connected
        stream(iter(["x"]))
    shown = [repr(connected), repr(link.current()), repr(link.current().address), repr(refused.value)]
    shown += [record.getMessage() for record in caplog.records if record.name != "websockets.server"]
    shown += [*capsys.readouterr()]
    assert not [text for text in shown if TOKEN in text]


def test_connect_explains_what_is_wrong(server: LinkServer) -> None:
    with pytest.raises(ConnectionError, match="does not have the jupyter_sse extension"):
        connect(f"http://127.0.0.1:{server.port}/elsewhere/", TOKEN)
    with pytest.raises(ValueError, match="not the URL of a Jupyter server"):
        connect("localhost:8888")
    server.stop()
    with pytest.raises(ConnectionError, match="No answer from"):
        connect(server.url, TOKEN, timeout=0.3)


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://h:8888/jupyter-sse/", "http://h:8888/jupyter-sse/"),
        ("http://h:8888/jupyter-sse", "http://h:8888/jupyter-sse/"),
        ("http://h:8888/", "http://h:8888/jupyter-sse/"),
        ("https://h/user/me/lab/tree/a.ipynb?token=t", "https://h/user/me/jupyter-sse/"),
        ("ws://h:1/base/tree#x", "http://h:1/base/jupyter-sse/"),
        ("http://me:pw@h:1/lab", "http://h:1/jupyter-sse/"),
        ("http://h/user/jupyter-sse-fan/jupyter-sse/#/s", "http://h/user/jupyter-sse-fan/jupyter-sse/"),
        ("http://h/user/jupyter-sse-fan/lab", "http://h/user/jupyter-sse-fan/jupyter-sse/"),
    ],
)
def test_any_url_that_jupyterlab_shows_will_do(url: str, root: str) -> None:
    assert str(parse(url)) == root


def test_loopback_is_told_from_elsewhere() -> None:
    assert parse("https://127.0.0.1:1/").is_loopback
    assert parse("https://[::1]:1/").is_loopback
    assert parse("https://localhost/").is_loopback
    assert not parse("https://example.org/").is_loopback
    assert not parse("https://10.0.0.1/").is_loopback


def test_without_a_server_snapshots_and_listeners_work() -> None:
    producer = Producer("local")
    heard: list[tuple[int, list[Any]]] = []
    begun: list[int] = []
    producer.emit(Log(text="before"))

    def listener(first: int, events: list[Any]) -> float:
        heard.append((first, events))
        return 0.05

    producer.listen(listener, lambda snapshot: begun.append(snapshot.seq))
    for i in range(100):
        producer.emit(Log(text=str(i)))
    producer.done()
    until(lambda: heard and heard[-1][1][-1] == Done(ts=producer.snapshot.ended))
    assert begun == [2]
    following = 3
    lines = []
    for first, events in heard:
        assert first == following
        following += len(events)
        lines += [line for event in events if isinstance(event, Log) for line in event.text.split()]
    assert lines == [str(i) for i in range(100)]
    assert producer.snapshot.log.count == 101
    assert producer.snapshot.seq == following - 1


def test_a_burst_of_log_lines_is_merged_and_a_few_are_not(linked: LinkServer) -> None:
    producer = Producer("burst")
    linked.wait(lambda: linked.types(producer.id) == ["start"])
    for text in ("one", "", "three\nfour"):
        producer.emit(Log(text=text))
    producer.snapshot  # noqa: B018 (the burst is another batch)
    for i in range(5000):
        producer.emit(Log(text="" if i % 2 else f"{i}\n", level="info" if i % 3 else None))
    producer.done()
    linked.wait(lambda: linked.ended(producer.id))
    events = [event for event in linked.streams[producer.id] if event["type"] == "log"]
    assert [event["text"] for event in events[:3]] == ["one", "", "three\nfour"]
    assert linked.lines(producer.id)[4:] == ["" if i % 2 else str(i) for i in range(5000)]
    assert producer.snapshot.log.count == 5004
    assert len(events) < 4000  # levels are kept apart
    plain = [
        line for event in events[3:] if "level" not in event for line in event["text"].removesuffix("\n").split("\n")
    ]
    assert plain == ["" if i % 2 else str(i) for i in range(0, 5000, 3)]


def test_what_is_merged_stays_below_the_size_of_an_event(linked: LinkServer) -> None:
    linked.max_event = 1024
    first = Producer("first")
    linked.wait(lambda: linked.types(first.id) == ["start"])
    until(lambda: link.current().max_event == 1024)
    producer = Producer("small")
    for i in range(3000):
        producer.delta(f"{i} ")
    for i in range(3000):
        producer.emit(Log(text=str(i)))
    producer.done()
    first.done()
    linked.wait(lambda: linked.ended(producer.id))
    assert linked.texts(producer.id) == "".join(f"{i} " for i in range(3000))
    assert linked.lines(producer.id) == [str(i) for i in range(3000)]


def test_a_listener_that_fails_is_dropped() -> None:
    producer = Producer("local")

    def listener(first: int, events: list[Any]) -> float:
        raise KeyError("broken view")

    with pytest.warns(RuntimeWarning, match="broken view") as warned:
        producer.listen(listener)
        producer.emit(Log(text="x"))
        until(lambda: len(warned) > 0)
    until(lambda: producer._channel.listener is None)
    producer.done()
    assert producer.snapshot.status == "done"


def test_ended_streams_are_forgotten(linked: LinkServer) -> None:
    for _ in range(20):
        stream(iter(["x"]))
    current = link.current()
    assert current.flush(10)
    until(lambda: not current._outbox.channels)
    assert current._outbox.unacked == 0
    assert not current._outbox._sendable


def test_interrupt_while_waiting_for_room(server: LinkServer) -> None:
    """A producer that waits for a slow server can still be interrupted."""
    held = threading.Event()

    def fault(connection: ServerConnection, message: Message) -> bool:
        if message["seq"] > 1:
            held.wait(20)
        return False

    server.fault = fault
    slow = link.Link(parse(server.url, TOKEN), max_unacked=10_000)
    slow.dial(10)
    link.use(slow)
    producer = Producer("slow")

    def interrupt() -> None:
        until(lambda: slow.crowded)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        for i in range(1_000_000):
            producer.emit(Log(text=str(i)))
    thread.join()
    held.set()
    producer.done()


def test_events_are_the_canonical_json_of_the_vocabulary(linked: LinkServer) -> None:
    producer = Producer("raw", kind="task")
    producer.emit(Start(title="again"))
    producer.delta("x")
    producer.done()
    linked.wait(lambda: linked.ended(producer.id))
    assert linked.streams[producer.id][2] == {"type": "delta", "text": "x"}
    assert Delta(text="x").text == "x"


def test_track_sends_its_last_state(linked: LinkServer) -> None:
    for _ in track(range(1000), "Loop"):
        pass
    until(lambda: len(linked.streams) == 1)
    (key,) = linked.streams
    linked.wait(lambda: linked.ended(key))
    bars = [event for event in linked.streams[key] if event["type"] == "progress"]
    assert bars[-1]["n"] == 1000
    assert bars[-1]["pct"] == 100
