"""Streams in other protocols over real HTTP: how they begin, go on and end, and what becomes of an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from answering_server import Gate, running, words
from harness import JupyterServer, signed_in, wait_for
from legal import CHECKS, bodies, frames
from reading import Reading, frames_of
from server_kernel import Kernel

from jupyter_sse.formats import FORMATS

LAST = {"ai-sdk": "finish", "ag-ui": "RUN_FINISHED"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    with running(tmp_path_factory.mktemp("formats")) as server:
        yield server


def body_of(name: str, text: str, **fields: Any) -> dict[str, Any]:
    message = {"id": "1", "role": "user", "content": text, "parts": [{"type": "text", "text": text}]}
    return {"messages": [message], "stream": True, **fields}


def text_of(server: JupyterServer, path: str, name: str) -> str:
    answer = server.request("GET", path)
    assert answer.status_code == 200, answer.text
    return "".join(CHECKS[name](frames(answer.content), ended=True))


def deltas(count: int, start: int = 0) -> list[str]:
    return [json.dumps({"type": "delta", "text": f"م{number} "}) for number in range(start, start + count)]


def texts(count: int) -> str:
    return "".join(f"م{number} " for number in range(count))


@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_is_told_as_it_comes(server: JupyterServer, name: str) -> None:
    stream = server.create(title="Job")
    readings = [Reading(server, f"streams/{stream}/events?format={name}") for _ in range(2)]
    plain = Reading(server, f"streams/{stream}/events")
    for reading in readings:
        assert reading.answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert reading.answer.headers["X-Accel-Buffering"] == "no"
        assert reading.answer.headers.get("x-vercel-ai-ui-message-stream") == ("v1" if name == "ai-sdk" else None)
        assert reading.read(1)  # before anything has happened
    for part in range(3):
        assert server.append(stream, *deltas(2, 2 * part)).status_code == 200
        for reading in readings:
            before = len(reading.frames)
            assert len(reading.read(before + 2)) >= before + 2
    server.append(stream, '{"type":"done"}')
    for reading in readings:
        reading.read()
        assert "".join(CHECKS[name](bodies(reading.frames), ended=True)) == texts(6)
    assert [frame.event for frame in plain.read()] == ["hello", "start", *["delta"] * 6, "done"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_reader_that_falls_behind_misses_nothing(server: JupyterServer, name: str) -> None:
    stream = server.create()
    reading = Reading(server, f"streams/{stream}/events?format={name}")
    for part in range(20):  # more than sockets hold
        assert server.append(stream, *deltas(1000, 1000 * part)).status_code == 200
    server.append(stream, '{"type":"done"}')
    reading.read()
    found = bodies(reading.frames)
    assert "".join(CHECKS[name](found, ended=True)) == texts(20_000)
    assert text_of(server, f"streams/{stream}/events?format={name}", name) == texts(20_000)


@pytest.mark.parametrize("name", FORMATS)
def test_who_joins_late_may_have_the_state_at_once(server: JupyterServer, name: str) -> None:
    stream = server.create()
    server.append(stream, *deltas(300))
    reading = Reading(server, f"streams/{stream}/events?format={name}&snapshot=1")
    begun = reading.read(2)
    while not any("م299" in frame.data for frame in begun):
        begun = reading.read(len(begun) + 1)
    assert any(json.dumps(texts(300), ensure_ascii=False) in frame.data for frame in begun)
    server.append(stream, *deltas(5, 300), '{"type":"done"}')
    reading.read()
    found = bodies(reading.frames)
    assert "".join(CHECKS[name](found, ended=True)) == texts(305)
    ended = f"streams/{stream}/events?format={name}&snapshot=1"
    assert text_of(server, ended, name) == texts(305)


@pytest.mark.parametrize("name", FORMATS)
def test_a_cursor_is_refused(server: JupyterServer, name: str) -> None:
    stream = server.create()
    path = f"streams/{stream}/events?format={name}"
    answer = server.request("GET", f"{path}&after=1")
    CHECKS[name](frames(answer.content), ended=True)
    assert "?snapshot=1" in answer.text


@pytest.mark.parametrize("name", FORMATS)
def test_an_event_source_that_comes_back_asks_nothing(server: JupyterServer, name: str) -> None:
    paths = (f"chat?q=Hi&model=echo&format={name}", f"chat?q=Hi&model=none&format={name}")
    for path in (*paths, f"streams/{server.create()}/events?format={name}&after=1"):
        first = frames_of(server.request("GET", path).content)
        count = len(server.request("GET", "streams").json())
        assert first[-1].id
        assert server.request("GET", path, headers={"Last-Event-ID": first[-1].id}).status_code == 204
        assert len(server.request("GET", "streams").json()) == count


def test_an_unknown_format_is_told_which_there_are(server: JupyterServer) -> None:
    says = "There is no format 'grpc', only ai-sdk, ag-ui, openai."
    answer = server.request("POST", "chat?format=grpc", json=body_of("grpc", "Hi"))
    assert (answer.status_code, answer.json()) == (400, {"message": says, "code": "unknown_format"})
    count = len(server.request("GET", "streams").json())
    for path in ("chat?q=Hi&format=grpc", f"streams/{server.create()}/events?format=grpc"):
        answer = server.request("GET", path)
        assert answer.status_code == 200
        assert "event: error" in answer.text
        assert says in answer.text
    assert len(server.request("GET", "streams").json()) == count + 1  # nothing was asked


@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_that_is_deleted_ends_in_an_error(server: JupyterServer, name: str) -> None:
    stream = server.create()
    server.append(stream, *deltas(1))
    reading = Reading(server, f"streams/{stream}/events?format={name}")
    reading.read(2)
    assert server.request("DELETE", f"streams/{stream}").status_code == 204
    assert "This stream has been deleted." in "".join(frame.data for frame in reading.read())
    assert reading.ended


@pytest.mark.parametrize("name", FORMATS)
def test_a_question_by_get_goes_on_when_its_reader_leaves(server: JupyterServer, name: str) -> None:
    gate = Gate(server, f"get-{name}")
    reading = Reading(server, f"chat?q={gate.question}&model=gated&format={name}")
    reading.read(4)
    reading.close()
    gate.allow(30, end=True)
    gate.wait_ended()
    stream = server.request("GET", "streams?kind=answer").json()[0]["stream"]
    wait_for(lambda: text_of(server, f"streams/{stream}/events?format={name}", name) == words(30), "the whole answer")


@pytest.mark.parametrize("name", FORMATS)
def test_an_answer_that_another_reads_goes_on(server: JupyterServer, name: str) -> None:
    gate = Gate(server, f"shared-{name}")
    body = json.dumps(body_of(name, gate.question))
    asker = Reading(server, f"chat?format={name}&model=gated", body=body)
    asker.read(4)
    stream = server.request("GET", "streams?kind=answer").json()[0]["stream"]
    other = Reading(server, f"streams/{stream}/events")
    other.read(3)
    asker.close()
    gate.allow(30, end=True)
    assert [frame.event for frame in other.read()][-1] == "done"
    assert text_of(server, f"streams/{stream}/events?format={name}", name) == words(30)


def test_an_answer_that_is_wanted_whole_is_cancelled_when_its_asker_leaves(server: JupyterServer) -> None:
    gate = Gate(server, "whole")
    with httpx.Client(base_url=server.url, headers=server.headers, trust_env=False) as client:
        body = body_of("openai", gate.question, stream=False, model="gated")
        with pytest.raises(httpx.ReadTimeout):
            client.post("openai/chat/completions", json=body, timeout=httpx.Timeout(20, read=0.5))
    gate.wait_ended()
    stream = server.request("GET", "streams?kind=answer").json()[0]
    assert stream["title"] == "whole"
    wait_for(lambda: server.request("GET", f"streams/{stream['stream']}").json()["status"] == "cancelled", "its end")


def test_an_answer_that_somebody_else_cancels_is_an_error(server: JupyterServer) -> None:
    gate = Gate(server, "elsewhere")
    body = body_of("openai", gate.question, model="gated")
    reading = Reading(server, "openai/chat/completions", body=json.dumps(body))
    reading.read(3)
    stream = json.loads(reading.frames[0].data)["id"]
    assert server.request("POST", f"streams/{stream}/cancel").status_code == 202
    reading.read()
    assert json.loads(reading.frames[-2].data)["error"]["code"] == "cancelled"


def test_heartbeats_are_comments(tmp_path: Path) -> None:
    with running(tmp_path, "--SSE.heartbeat=0.05") as server:
        stream = server.create()
        for name in FORMATS:
            reading = Reading(server, f"streams/{stream}/events?format={name}")
            seen = b""
            while seen.count(b"\n: ping\n\n") < 2:
                seen += reading.answer.read1(65536)
            assert b"event:" not in seen
            CHECKS[name](frames(seen), ended=False)


@pytest.mark.parametrize("name", FORMATS)
def test_nobody_asks_without_the_token(server: JupyterServer, name: str) -> None:
    path = f"chat?format={name}&model=echo"
    body = body_of(name, "Hi")
    count = len(server.request("GET", "streams").json())
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "token wrong"}):
        answer = httpx.post(server.url + path, json=body, headers=headers, trust_env=False)
        assert answer.status_code == 403
        assert answer.json()["code"] == "forbidden"
        assert ("error" in answer.json()) == (name == "openai")
    with signed_in(server) as page:
        assert page.post(f"jupyter-sse/{path}", json=body).status_code == 403
        assert len(server.request("GET", "streams").json()) == count
        xsrf = {"X-XSRFToken": page.cookies["_xsrf"]}
        assert page.post(f"jupyter-sse/{path}", json=body, headers=xsrf).status_code == 200
    answer = httpx.post(
        server.url + path, json=body, headers={"Authorization": f"Bearer {server.token}"}, trust_env=False
    )
    assert "".join(CHECKS[name](frames(answer.content), ended=True)) == "Hi"


def test_a_page_on_another_origin_may_use_openais_client(tmp_path: Path) -> None:
    origin = "https://example.org"
    wanted = "authorization, content-type, x-stainless-os, x-stainless-retry-count, x-other"
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted}
    with running(tmp_path, f"--ServerApp.allow_origin={origin}") as server:
        for path in ("openai/chat/completions", "openai/models"):
            preflight = httpx.options(server.url + path, headers=asks, trust_env=False)
            assert preflight.status_code == 200, preflight.text
            assert preflight.headers["Access-Control-Allow-Origin"] == origin
            allowed = preflight.headers["Access-Control-Allow-Headers"].replace(" ", "").split(",")
            assert {*wanted.split(", ")} - {*allowed} == {"x-other"}
        body = body_of("openai", "Hi", model="echo")
        answer = server.request("POST", "openai/chat/completions", json=body, headers={"Origin": origin})
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert "".join(CHECKS["openai"](frames(answer.content), ended=True)) == "Hi"


def test_the_limits_are_those_of_any_question(tmp_path: Path) -> None:
    with running(tmp_path, "--SSE.max_question=20", rate="1/hour") as server:
        path = "openai/chat/completions"
        long = server.request("POST", path, json=body_of("openai", "a" * 21, model="echo"))
        large = server.request("POST", path, json=body_of("openai", "a" * (1 << 20), model="echo"))
        assert [(long.status_code, long.json()["error"]["code"]) for long in (long, large)] == [
            (413, "question_too_long"),
            (413, "body_too_large"),
        ]
        assert server.request("POST", path, json=body_of("openai", "Hi", model="echo")).status_code == 200
        refused = server.request("POST", path, json=body_of("openai", "Hi", model="echo"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
        assert int(refused.headers["Retry-After"]) > 0


def test_a_whole_answer_is_not_forgotten_while_it_is_awaited(tmp_path: Path) -> None:
    with running(tmp_path, "--SSE.unread_seconds=0.2") as server, ThreadPoolExecutor() as pool:
        gate = Gate(server, "awaited")
        asked = body_of("openai", gate.question, stream=False, model="gated")
        answer = pool.submit(server.request, "POST", "openai/chat/completions", json=asked)
        gate.wait_asked()
        unread = server.request("POST", "chat", json={"message": "unread", "model": "gated"}).json()["stream"]
        wait_for(lambda: server.request("GET", f"streams/{unread}/output").status_code == 410, "the unread to go")
        gate.allow(20, end=True)
        assert answer.result().json()["choices"][0]["message"]["content"] == words(20)


def test_a_notebook_asks_with_the_key_of_its_kernel(server: JupyterServer) -> None:
    kernel = Kernel(server)
    try:
        said = kernel.ask("""
import os
from openai import OpenAI
client = OpenAI(base_url=os.environ["JUPYTER_SSE_URL"] + "openai", api_key=os.environ["JUPYTER_SSE_TOKEN"])
messages = [{"role": "user", "content": "لماذا؟"}]
chunks = client.chat.completions.create(model="echo", messages=messages, stream=True)
print("".join(chunk.choices[0].delta.content or "" for chunk in chunks))
""")
    finally:
        kernel.stop()
    assert said == "لماذا؟"
