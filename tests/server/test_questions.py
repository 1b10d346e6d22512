"""Questions over the kernel link: a bare WebSocket against a real jupyter_server."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from answering_server import Gate, running, words
from harness import JupyterServer, wait_for
from websockets.sync.client import ClientConnection, connect


class Kernel:
    """Asks, and hears what the server says."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def hear(self) -> dict[str, Any]:
        heard: dict[str, Any] = json.loads(self.socket.recv(30))
        return heard

    def ask(self, message: str, model: str = "gated", stream: str | None = None, after: int = 0, **more: Any) -> str:
        stream = stream or secrets.token_urlsafe(16)
        self.say(op="ask", stream=stream, after=after, question={"message": message, "model": model}, **more)
        return stream

    def events(self, stream: str, until: Any) -> list[tuple[int, dict[str, Any]]]:
        """The numbered events of one stream, up to one that meets the condition."""
        found: list[tuple[int, dict[str, Any]]] = []
        while True:
            said = self.hear()
            if said["op"] == "watched":
                continue
            assert (said["op"], said["stream"]) == ("events", stream), said
            found += enumerate(said["events"], said["seq"])
            if until(found):
                return found


def ended(found: list[tuple[int, dict[str, Any]]]) -> bool:
    return found[-1][1]["type"] in ("done", "error")


def text_of(found: list[tuple[int, dict[str, Any]]]) -> str:
    return "".join(event["text"] for _, event in found if event["type"] == "delta")


def has_text(text: str) -> Any:
    return lambda found: text_of(found).rstrip() == text.rstrip()  # the last grapheme may not be whole yet


def status(server: JupyterServer, stream: str) -> str | None:
    listed = server.request("GET", "streams").json()
    return next((entry["status"] for entry in listed if entry["stream"] == stream), None)


@contextmanager
def kernel(server: JupyterServer, **options: Any) -> Iterator[Kernel]:
    url = server.url.replace("http", "ws") + "kernel"
    with connect(url, additional_headers=server.headers, compression=None, proxy=None, **options) as socket:
        made = Kernel(socket)
        made.say(op="hello", v=1, producer=secrets.token_hex(8), kernel=None)
        assert made.hear()["chat"] is True
        yield made


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    with running(tmp_path_factory.mktemp("questions")) as server:
        yield server


def test_an_answer_event_by_event(answering: JupyterServer) -> None:
    gate = Gate(answering, "simple")
    with kernel(answering) as one:
        stream = one.ask("simple question", title="Simple", origin={"path": "a.ipynb", "cell": "c"})
        found = one.events(stream, has_text(words(20)))
        gate.allow(30, end=True)
        found += one.events(stream, ended)
    assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
    start = found[0][1]
    assert (start["type"], start["kind"], start["title"], start["model"]) == ("start", "answer", "Simple", "gated")
    assert start["origin"] == {"path": "a.ipynb", "cell": "c"}
    assert text_of(found) == words(30)
    snapshot = answering.request("GET", f"streams/{stream}").json()
    assert (snapshot["text"], snapshot["seq"], snapshot["status"]) == (words(30), found[-1][0], "done")


def test_asked_again_it_goes_on_after_the_cursor_and_costs_nothing(answering: JupyterServer) -> None:
    gate = Gate(answering, "again")
    with kernel(answering) as one:
        stream = one.ask("again")
        found = one.events(stream, has_text(words(20)))
    with kernel(answering) as two:
        two.ask("again", stream=stream, after=found[-1][0])
        gate.allow(40, end=True)
        found += two.events(stream, ended)
    assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
    assert text_of(found) == words(40)
    with kernel(answering) as three:
        three.ask("again", stream=stream)
        assert three.events(stream, ended) == found
    assert gate.times_asked == 1


def test_an_answer_goes_on_when_the_kernel_leaves_at_once(answering: JupyterServer) -> None:
    gate = Gate(answering, "left")
    with kernel(answering) as one:
        stream = one.ask("left")
    gate.wait_asked()
    gate.allow(50, end=True)
    wait_for(lambda: status(answering, stream) == "done", "the answer")
    assert answering.request("GET", f"streams/{stream}").json()["text"] == words(50)


def test_a_cancel_ends_the_models_work(answering: JupyterServer) -> None:
    gate = Gate(answering, "cancelled")
    with kernel(answering) as one:
        stream = one.ask("cancelled")
        one.events(stream, has_text(words(20)))
        one.say(op="cancel", stream=stream)
        last = one.events(stream, ended)[-1][1]
    assert (last["type"], last["reason"]) == ("done", "cancelled")
    gate.wait_ended()


def test_a_cancel_that_comes_with_the_question(answering: JupyterServer) -> None:
    with kernel(answering) as one:
        stream = one.ask("at once")
        one.say(op="cancel", stream=stream)
        assert one.events(stream, ended)[-1][1]["reason"] == "cancelled"


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ({"message": "  ", "model": "gated"}, "empty_question"),
        ({"message": "x" * 10_001, "model": "gated"}, "question_too_long"),
        ({"message": "x", "model": "nobody"}, "unknown_model"),
        ({"message": 5}, "bad_question"),
        ({"message": "x", "history": [{"role": "robot", "content": "x"}]}, "bad_question"),
        ({"message": "x", "history": [{"role": "user", "content": "x" * (1 << 20)}]}, "question_too_long"),
    ],
)
def test_what_is_not_answered_is_told_and_the_link_stays(
    answering: JupyterServer, question: dict[str, Any], code: str
) -> None:
    with kernel(answering) as one:
        one.say(op="ask", stream="refused", question=question)
        said = one.hear()
        assert (said["op"], said["stream"], said["code"]) == ("failed", "refused", code)
        assert said["message"]
        stream = one.ask("still", model="told")
        assert one.events(stream, ended)
    assert answering.request("GET", "streams/refused").status_code == 404


def test_a_rate_limit_says_when_to_come_again(tmp_path: Any) -> None:
    with running(tmp_path, rate="1/minute") as server, kernel(server) as one:
        one.events(one.ask("first", model="told"), ended)
        one.ask("second", model="told")
        said = one.hear()
        assert (said["op"], said["code"]) == ("failed", "rate_limited")
        assert 0 < said["retry_after"] <= 60


def test_cursors_that_cannot_be_served(answering: JupyterServer) -> None:
    with kernel(answering) as one:
        stream = one.ask("cursor", model="told")
        found = one.events(stream, ended)
        one.ask("cursor", model="told", stream=stream, after=found[-1][0] + 5)
        said = one.hear()
        assert (said["op"], said["seq"], said["reason"]) == ("reset", found[-1][0], "ahead")
        assert said["snapshot"]["text"] == text_of(found)
        one.ask("cursor", model="told", stream="never-was", after=5)
        said = one.hear()
        assert (said["op"], said["code"]) == ("failed", "answer_lost")


def test_a_deleted_answer_is_told(answering: JupyterServer) -> None:
    gate = Gate(answering, "deleted")
    with kernel(answering) as one:
        stream = one.ask("deleted")
        one.events(stream, has_text(words(20)))
        assert answering.request("DELETE", f"streams/{stream}").status_code == 204
        said = one.hear()
        assert (said["op"], said["code"]) == ("failed", "gone")
    gate.wait_ended()


def test_a_kernel_that_does_not_read_misses_nothing_and_holds_up_nobody(answering: JupyterServer) -> None:
    gate = Gate(answering, "slow")
    count = 100_000  # about 1 MB of text, and more than sockets hold
    gate.allow(count, end=True)
    with kernel(answering, max_queue=1, ping_interval=None) as slow, kernel(answering) as other:
        stream = slow.ask("slow")
        wait_for(lambda: status(answering, stream) == "done", "the long answer")
        assert other.events(other.ask("meanwhile", model="told"), ended)
        found = slow.events(stream, ended)
    assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
    assert text_of(found) == words(count)


def test_a_kernel_that_asks_is_a_reader(tmp_path: Any) -> None:
    with running(tmp_path, "--SSE.unread_seconds=0.5") as server:
        with kernel(server) as one:
            stream = one.ask("reader")
            one.events(stream, has_text(words(20)))
        with kernel(server) as two:
            unread = server.request("POST", "chat", json={"message": "unread", "model": "gated"}).json()["stream"]
            wait_for(lambda: status(server, unread) is None, "the unread to go")  # a GET of itself would be a reading
            Gate(server, "reader").allow(25, end=True)
            two.ask("reader", stream=stream)
            assert text_of(two.events(stream, ended)) == words(25)
