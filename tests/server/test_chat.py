"""Questions over real HTTP: what is taken, what is refused, and what becomes of an answer when everybody leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import wcwidth
from conftest import MakeServer
from harness import JupyterServer, signed_in, wait_for
from model_server import HANG, Refusal, model_server
from reading import Reading

CONFIG = '''
import asyncio
from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from jupyter_sse.chat import ProviderError
from jupyter_sse.events import Delta, Done, Error, Reasoning, Tool, Usage

HOME = Path({home!r})


async def letters(question):
    for letter in question.message:
        yield letter


async def everything(question):
    yield Reasoning(text="Let me think.")
    yield Tool(id="1", name="look", phase="call", args={{"at": "sky"}})
    yield Tool(id="1", name="look", phase="result", result="blue")
    yield repr((question.model, question.system, [(m.role, m.content) for m in question.history]))
    yield Usage(input_tokens=3, output_tokens=5, cost=0.25)
    yield Done(reason="length")


async def gate(question):
    """One word, the next when the test says so; says when it was stopped."""
    name = question.message
    (HOME / (name + ".begun")).touch()
    try:
        yield "One "
        while not (HOME / (name + ".go")).exists():
            await asyncio.sleep(0.01)
        yield "two."
    finally:
        (HOME / (name + ".ended")).touch()


async def failing(question):
    code, _, late = question.message.partition(" ")
    if late:
        yield "A beginning"
    raise ProviderError("It does not work: SECRET-IN-ENV and SECRET-IN-CONFIG.", code, retryable=True, retry_after=7)


async def broken(question):
    raise ZeroDivisionError("Oh")
    yield


async def silent(question):
    try:
        await asyncio.sleep(600)
        yield "never"
    finally:
        (HOME / "silent.ended").touch()


agent = Agent(TestModel(custom_output_text="It is blue."), instructions="Be brief.")


@agent.tool_plain
def colour_of(thing: str) -> str:
    return "blue"


c.SSE.providers = dict(
    letters=letters, everything=everything, gate=gate, failing=failing, broken=broken, silent=silent, agent=agent,
    missing="no_such_module:x",
)
c.SSE.chat_models = ["letters"]
c.SSE.chat_rate = ""
c.SSE.api_keys = {{"openai": "SECRET-IN-CONFIG"}}
'''


def configured(make_server: Any, home: Path, *options: str) -> JupyterServer:
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "jupyter_server_config.py").write_text(CONFIG.format(home=str(home)))
    server: JupyterServer = make_server(*options, home=home)
    return server


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """A server with the providers above."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_API_KEY", "SECRET-IN-ENV")
        server = configured(
            lambda *options, home: JupyterServer(home, *options).start(), tmp_path_factory.mktemp("chat")
        )
    yield server
    server.stop()


def ask(server: JupyterServer, message: str, **fields: Any) -> httpx.Response:
    return server.request("POST", "chat", json={"message": message, **fields})


def begin(server: JupyterServer, message: str, **fields: Any) -> str:
    answer = ask(server, message, **fields)
    assert answer.status_code == 201, answer.text
    stream: str = answer.json()["stream"]
    assert answer.json()["url"] == answer.headers["Location"] == f"{server.base_url}jupyter-sse/streams/{stream}/events"
    return stream


def events_of(reading: Reading, count: int | None = None) -> list[dict[str, Any]]:
    return [json.loads(frame.data) for frame in reading.read(count)]


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "delta")


def status_of(server: JupyterServer, stream: str) -> Any:
    """Without reading it."""
    entry = entry_of(server, stream)
    return entry and entry["status"]


def entry_of(server: JupyterServer, stream: str) -> Any:
    return next((entry for entry in server.request("GET", "streams").json() if entry["stream"] == stream), None)


def test_a_post_begins_an_answer_that_is_read_as_a_stream(chat: JupyterServer) -> None:
    model = "everything:some-model"
    origin = {"path": "a.ipynb", "cell": "c1"}
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    stream = begin(chat, "  Why is\nthe sky blue? ", model=model, system="Be brief.", origin=origin, history=history)
    events = events_of(Reading(chat, f"streams/{stream}/events"))
    said = repr(("some-model", "Be brief.", [("user", "Hi"), ("assistant", "Hello")]))
    start = events[1]
    assert (start["kind"], start["title"], start["model"]) == (
        "answer",
        "Why is the sky blue?",
        "everything:some-model",
    )
    assert start["cancellable"] is True
    assert start["origin"] == origin
    assert text_of(events) == said
    assert "".join(event["text"] for event in events if event["type"] == "reasoning") == "Let me think."
    assert [event for event in events if event["type"] in ("tool", "usage")] == [
        {"type": "tool", "id": "1", "name": "look", "phase": "call", "args": {"at": "sky"}},
        {"type": "tool", "id": "1", "name": "look", "phase": "result", "result": "blue"},
        {"type": "usage", "input_tokens": 3, "output_tokens": 5, "cost": 0.25},
    ]
    assert (events[-1]["type"], events[-1]["reason"]) == ("done", "length")


def test_a_get_streams_the_answer_and_says_which_stream_it_is(chat: JupyterServer) -> None:
    reading = Reading(chat, "chat?q=%D9%84%D9%85%D8%A7%D8%B0%D8%A7%D8%9F&model=demo")
    assert reading.answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert reading.answer.headers["X-Accel-Buffering"] == "no"
    frames = reading.read()
    hello = json.loads(frames[0].data)
    assert hello["model"] == "demo"
    assert hello["ts"] > 0
    assert [frame.id for frame in frames[1:]] == [str(number) for number in range(1, len(frames))]
    assert [frames[1].event, frames[-1].event] == ["start", "done"]
    text = text_of([json.loads(frame.data) for frame in frames])
    assert "النموذج التجريبي" in text
    assert chat.request("GET", f"streams/{hello['stream']}").json()["text"] == text


def test_a_post_that_accepts_events_gets_them_at_once(chat: JupyterServer) -> None:
    body = json.dumps({"message": "Hello there", "model": "letters"})
    events = events_of(Reading(chat, "chat", body=body, Accept="text/event-stream"))
    assert [event["type"] for event in events[:2]] == ["hello", "start"]
    assert text_of(events) == "Hello there"


def test_the_first_word_leaves_at_once(chat: JupyterServer) -> None:
    reading = Reading(chat, "chat?q=first&model=gate")
    assert text_of(events_of(reading, 3)) == "One"
    (chat.home / "first.go").touch()
    assert text_of(events_of(reading)) == "One two."


GRAPHEMES = "e\u0301a 👩‍👩‍👧‍👦 ok 🇩🇪🇫🇷 1️⃣ 👍🏽 مُحَمَّد क्षि 한국 \r\n z̴̡ "


def test_nothing_is_cut_inside_a_grapheme(chat: JupyterServer) -> None:
    text = GRAPHEMES * 5
    events = events_of(Reading(chat, f"streams/{begin(chat, text, model='letters')}/events"))
    deltas = [event["text"] for event in events if event["type"] == "delta"]
    assert "".join(deltas) == text
    assert len(deltas) > 5
    assert [grapheme for delta in deltas for grapheme in wcwidth.iter_graphemes(delta)] == list(
        wcwidth.iter_graphemes(text)
    )


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"message": ""}, 400, "empty_question"),
        ({"message": " \n"}, 400, "empty_question"),
        ({"message": "س" * 10_001}, 413, "question_too_long"),
        ({"message": 7}, 400, "bad_question"),
        ({"message": None}, 400, "bad_question"),
        ({}, 400, "bad_question"),
        ([], 400, "bad_question"),
        ({"message": "x", "history": "y"}, 400, "bad_question"),
        ({"message": "x", "history": [{"role": "wizard", "content": "y"}]}, 400, "bad_question"),
        ({"message": "x", "model": 3}, 400, "bad_question"),
        ({"message": "x", "stream": "../../x"}, 400, "bad_stream_id"),
        ({"message": "x", "model": "nobody"}, 400, "unknown_model"),
        ({"message": "x", "model": "nobody:nothing"}, 400, "unknown_model"),
        ({"message": "x", "model": "missing"}, 502, "provider_error"),
        ({"message": "x", "history": [{"role": "user", "content": "y" * (1 << 20)}]}, 413, "body_too_large"),
    ],
)
def test_a_bad_question_is_refused_and_nothing_is_begun(chat: JupyterServer, body: Any, status: int, code: str) -> None:
    before = len(chat.request("GET", "streams").json())
    answer = chat.request("POST", "chat", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert len(answer.json()["message"]) > 15
    assert len(chat.request("GET", "streams").json()) == before


def test_a_body_that_is_no_json_is_refused(chat: JupyterServer) -> None:
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        assert chat.request("POST", "chat", content=content).json()["code"] == "bad_question"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "empty_question"),
        ("?q=", "empty_question"),
        ("?q=" + "x" * 10_001, "question_too_long"),
        ("?q=x&model=nobody", "unknown_model"),
        ("?q=provider_unavailable&model=failing", "provider_unavailable"),
        ("?q=x&model=broken", "provider_error"),
    ],
)
def test_a_get_says_in_an_error_event_what_is_wrong(chat: JupyterServer, query: str, code: str) -> None:
    reading = Reading(chat, "chat" + query)
    assert reading.answer.status == 200
    events = events_of(reading)
    assert events[0]["type"] == "hello"
    assert (events[-1]["type"], events[-1]["code"]) == ("error", code)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("provider_rate_limited", 429),
        ("provider_timeout", 504),
        ("provider_unavailable", 502),
        ("provider_auth", 502),
        ("unknown_model", 400),
    ],
)
def test_a_provider_that_fails_at_once_fails_the_post(chat: JupyterServer, code: str, status: int) -> None:
    answer = ask(chat, code, model="failing")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Retry-After"] == "7"
    assert "It does not work" in answer.json()["message"]


def test_a_provider_that_fails_later_ends_the_stream(chat: JupyterServer) -> None:
    stream = begin(chat, "provider_rate_limited late", model="failing")
    events = events_of(Reading(chat, f"streams/{stream}/events"))
    assert text_of(events) == "A beginning"
    error = events[-1]
    assert (error["type"], error["code"], error["retryable"], error["retry_after"]) == (
        "error", "provider_rate_limited", True, 7,
    )  # fmt: skip


def test_what_a_provider_raises_is_named(chat: JupyterServer) -> None:
    answer = ask(chat, "x", model="broken")
    assert (answer.status_code, answer.json()["message"]) == (502, "ZeroDivisionError: Oh")


def test_keys_appear_nowhere(chat: JupyterServer) -> None:
    seen = [ask(chat, "provider_error", model="failing").text, Reading(chat, "chat?q=x%20late&model=failing").read()]
    seen += [chat.request("GET", path).text for path in ("streams", "models")]
    seen += [chat.output]
    for text in map(str, seen):
        assert "SECRET-IN" not in text
    assert "[secret] and [secret]" in str(seen[0])


def test_an_agent_with_tools_answers(chat: JupyterServer) -> None:
    events = events_of(Reading(chat, f"streams/{begin(chat, 'Why?', model='agent')}/events"))
    tools = [event for event in events if event["type"] == "tool"]
    assert [(tool["name"], tool["phase"]) for tool in tools] == [("colour_of", "call"), ("colour_of", "result")]
    assert tools[1]["result"] == "blue"
    assert text_of(events) == "It is blue."
    assert [event["type"] for event in events[-2:]] == ["usage", "done"]
    assert events[-2]["output_tokens"] > 0


def test_the_models_to_choose_from(chat: JupyterServer) -> None:
    given = chat.request("GET", "models").json()
    assert given["default"] == "openai:gpt-5"  # there is a key for it
    assert given["models"][:2] == ["openai:gpt-5", "letters"]
    assert {"demo", "agent", "everything"} <= set(given["models"])


def test_the_answer_goes_on_when_its_reader_leaves(chat: JupyterServer) -> None:
    reading = Reading(chat, "chat?q=alone&model=gate")
    stream = events_of(reading, 3)[0]["stream"]
    reading.close()
    (chat.home / "alone.go").touch()
    wait_for(lambda: status_of(chat, stream) == "done", "the answer to be finished")
    back = Reading(chat, f"streams/{stream}/events", Last_Event_ID="2")
    assert text_of(events_of(back)) == " two."


def test_cancel_stops_the_provider(chat: JupyterServer) -> None:
    stream = begin(chat, "cancelled", model="gate")
    reading = Reading(chat, f"streams/{stream}/events")
    reading.read(3)
    answer = chat.request("POST", f"streams/{stream}/cancel")
    assert (answer.status_code, answer.json()["via"]) == (202, "producer")
    events = events_of(reading)
    assert (events[-1]["type"], events[-1]["reason"]) == ("done", "cancelled")
    assert text_of(events) == "One"
    wait_for((chat.home / "cancelled.ended").exists, "the provider to be stopped")


def test_forgetting_the_stream_stops_the_provider(chat: JupyterServer) -> None:
    stream = begin(chat, "forgotten", model="gate")
    assert chat.request("DELETE", f"streams/{stream}").status_code == 204
    wait_for((chat.home / "forgotten.ended").exists, "the provider to be stopped")
    assert chat.request("GET", f"streams/{stream}").status_code == 410


def test_the_same_id_is_the_same_answer(chat: JupyterServer) -> None:
    stream = "chosen-by-the-asker"
    assert begin(chat, "twice", model="gate", stream=stream) == stream
    assert begin(chat, "twice", model="gate", stream=stream) == stream
    (chat.home / "twice.go").touch()
    events = events_of(Reading(chat, f"streams/{stream}/events"))
    assert [event["type"] for event in events].count("start") == 1
    assert text_of(events) == "One two."
    task = chat.create()
    assert ask(chat, "x", stream=task).json()["code"] == "exists"


def test_an_eventsource_that_comes_back_goes_on_and_asks_nothing_twice(chat: JupyterServer) -> None:
    first = Reading(chat, "chat?q=again&model=gate")
    other = Reading(chat, "chat?q=again&model=gate")
    begun = len(chat.request("GET", "streams").json())
    streams = [events_of(reading, 3)[0]["stream"] for reading in (first, other)]
    first.close()
    wait_for(lambda: reader_count(chat) == 1, "the server to see that the reader has gone")
    back = Reading(chat, "chat?q=again&model=gate", Last_Event_ID="2")
    (chat.home / "again.go").touch()
    events = events_of(back)
    assert events[0]["stream"] == streams[0]
    assert text_of(events) == " two."
    assert text_of(events_of(other)) == "One two."
    over = Reading(chat, "chat?q=again&model=gate", Last_Event_ID=back.frames[-1].id)
    assert over.answer.status == 204
    assert Reading(chat, "chat?q=never%20asked", Last_Event_ID="2").answer.status == 204
    assert Reading(chat, "chat?q=never%20asked&after=2").answer.status == 204
    assert len(chat.request("GET", "streams").json()) == begun


@pytest.mark.parametrize("chosen", [None, "by-the-asker"])
def test_a_post_that_comes_back_goes_on_and_asks_nothing_twice(chat: JupyterServer, chosen: str | None) -> None:
    asked = {"message": f"again-{chosen}", "model": "gate", "history": [{"role": "user", "content": "Hi"}]}
    body = json.dumps(asked | ({"stream": chosen} if chosen else {}))

    def post(last: str) -> Reading:
        return Reading(chat, "chat", body=body, Accept="text/event-stream", Last_Event_ID=last)

    first = Reading(chat, "chat", body=body, Accept="text/event-stream")
    stream = events_of(first, 3)[0]["stream"]
    begun = len(chat.request("GET", "streams").json())
    first.close()
    wait_for(lambda: reader_count(chat) == 0, "the server to see that the reader has gone")
    back = post("2")
    (chat.home / f"again-{chosen}.go").touch()
    events = events_of(back)
    assert (events[0]["stream"], text_of(events)) == (stream, " two.")
    assert post(back.frames[-1].id or "").answer.status == 204
    assert len(chat.request("GET", "streams").json()) == begun
    never = json.dumps(asked | {"message": "never asked"})
    assert Reading(chat, "chat", body=never, Accept="text/event-stream", Last_Event_ID="2").answer.status == 204


def reader_count(server: JupyterServer) -> int:
    metrics = httpx.get(server.root + "metrics", headers=server.headers, trust_env=False).text
    return next(
        int(float(line.split()[1])) for line in metrics.splitlines() if line.startswith("jupyter_sse_connections ")
    )


def test_a_link_on_another_site_asks_nothing(chat: JupyterServer) -> None:
    with signed_in(chat) as page:
        ours = page.get("/jupyter-sse/chat?q=mine&model=letters", headers={"Referer": chat.root})
        assert ours.status_code == 200
        before = len(chat.request("GET", "streams").json())
        link = {"Sec-Fetch-Site": "cross-site", "Referer": "http://evil.example/"}
        assert page.get("/jupyter-sse/chat?q=theirs&model=letters", headers=link).status_code in (403, 404)
        assert page.get("/jupyter-sse/chat?q=theirs", headers={"Sec-Fetch-Site": "cross-site"}).status_code in (
            403,
            404,
        )
        assert len(chat.request("GET", "streams").json()) == before


def test_the_rate_is_limited(make_server: MakeServer) -> None:
    server = make_server("--SSE.chat_rate=2/hour")
    assert ask(server, "x", model="nobody").status_code == 400  # costs nothing
    begin(server, "one")
    begin(server, "two")
    answer = ask(server, "three")
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert 3000 < int(answer.headers["Retry-After"]) <= 3600
    reading = Reading(server, "chat?q=four")
    events = events_of(reading)
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "rate_limited")
    assert reading.decoder.retry is not None
    assert reading.decoder.retry > 3_000_000  # an EventSource comes back by itself


def test_an_answer_that_nobody_reads_is_forgotten(make_server: MakeServer, tmp_path: Path) -> None:
    server = configured(make_server, tmp_path, "--SSE.unread_seconds=3")
    unread = begin(server, "unread", model="gate")
    read = begin(server, "read", model="gate")
    Reading(server, f"streams/{read}/events").read(2)
    wait_for(lambda: status_of(server, unread) is None, "the answer to be forgotten")
    wait_for((tmp_path / "unread.ended").exists, "its provider to be stopped")
    assert server.request("GET", f"streams/{unread}/events").status_code == 410
    assert status_of(server, read) == "running"


def test_a_model_that_thinks_is_waited_for_and_a_silent_one_given_up(make_server: MakeServer, tmp_path: Path) -> None:
    server = configured(make_server, tmp_path, "--SSE.heartbeat=0.1", "--SSE.chat_timeout=1")
    reading = Reading(server, "chat?q=x&model=silent")
    events = events_of(reading)
    assert len(reading.pings) >= 3
    assert (events[-1]["type"], events[-1]["code"], events[-1]["retryable"]) == ("error", "provider_timeout", True)
    wait_for((tmp_path / "silent.ended").exists, "the provider to be stopped")
    answer = ask(server, "x", model="silent")
    assert (answer.status_code, answer.json()["code"]) == (504, "provider_timeout")


def test_a_slow_model_does_not_keep_the_post_waiting(make_server: MakeServer, tmp_path: Path) -> None:
    server = configured(make_server, tmp_path)
    stream = begin(server, "x", model="silent")
    assert status_of(server, stream) == "running"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_ends_ends_its_answers(make_server: MakeServer, tmp_path: Path, how: str) -> None:
    server = configured(make_server, tmp_path)
    stream = begin(server, "half", model="gate")
    with closing(Reading(server, f"streams/{stream}/events")) as reading:
        reading.read(3)
        getattr(server, how)()
    if how == "stop":
        assert (tmp_path / "half.ended").exists()
    server.start()
    wait_for(lambda: status_of(server, stream) == "error", "the answer to end", 20)
    snapshot = server.request("GET", f"streams/{stream}").json()
    assert snapshot["text"] == "One"
    assert snapshot["error"]["code"] == "producer_lost"


def test_another_server_on_the_same_log_leaves_a_running_answer_alone(make_server: MakeServer, tmp_path: Path) -> None:
    server = configured(make_server, tmp_path, f"--SSE.log_path={tmp_path / 'streams.db'}")
    stream = begin(server, "shared", model="gate")
    other = make_server(f"--SSE.log_path={tmp_path / 'streams.db'}", home=tmp_path / "other")
    reading = Reading(other, f"streams/{stream}/events")
    reading.read(3)
    for _ in range(5):  # longer than it takes to give a producer up, by the server's own clock
        wait_for(lambda: float(claimed(other, stream)) > 0, "the list")
        before = claimed(other, stream)
        wait_for(lambda before=before: claimed(other, stream) > before, "the server to claim its answer")  # type: ignore[misc]
    (tmp_path / "shared.go").touch()
    assert text_of(events_of(reading)) == "One two."


def claimed(server: JupyterServer, stream: str) -> float:
    return float(entry_of(server, stream)["updated"])


def test_a_real_client_against_a_real_provider(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    refused = Refusal(429, "Slow down", {"Retry-After": "20"})
    with model_server(["It is ", gate, "blue."], refused, [HANG]) as model:
        monkeypatch.setenv("OPENAI_API_KEY", "SECRET-IN-ENV")
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        server = make_server("--SSE.chat_timeout=3")
        stream = begin(server, "Why?")
        reading = Reading(server, f"streams/{stream}/events")
        assert events_of(reading, 3)[1]["model"] == "openai:gpt-5"
        assert server.request("POST", f"streams/{stream}/cancel").json()["via"] == "producer"
        assert model.hung_up.wait(20)
        assert events_of(reading)[-1]["reason"] == "cancelled"
        slow = ask(server, "Why?")
        assert (slow.status_code, slow.json()["code"], slow.headers["Retry-After"]) == (
            429,
            "provider_rate_limited",
            "20",
        )
        hanging = ask(server, "Why?")
        assert (hanging.status_code, hanging.json()["code"]) == (504, "provider_timeout")
        model.close()
        down = ask(server, "Why?")
        assert (down.status_code, down.json()["code"]) == (502, "provider_unavailable")
        assert "SECRET" not in server.output
