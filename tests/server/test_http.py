"""The routes, over real HTTP against a real jupyter_server with its token and XSRF checks on."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import JupyterServer, signed_in, wait_for
from reading import Reading, frames_of


def test_an_event_arrives_as_it_happens(server: JupyterServer) -> None:
    stream = server.create(title="نص")
    reading = Reading(server, f"streams/{stream}/events")
    hello, start = reading.read(2)
    assert hello.event == "hello"
    assert hello.id == ""
    assert json.loads(hello.data)["stream"] == stream
    assert json.loads(hello.data)["v"] == 1
    assert start.id == "1"
    for index, text in enumerate(["مرحبا", "بالعالم 🌍", "\u2028 \0 \ud800".encode("utf-8", "replace").decode()]):
        assert server.append(stream, json.dumps({"type": "delta", "text": text})).json() == {"seq": index + 2}
        frame = reading.read(index + 3)[-1]
        assert frame.event == "delta"
        assert frame.id == str(index + 2)
        assert json.loads(frame.data) == {"type": "delta", "text": text}
    server.append(stream, '{"type":"done"}')
    assert reading.read()[-1].event == "done"


def test_the_headers_keep_proxies_from_buffering(server: JupyterServer) -> None:
    reading = Reading(server, f"streams/{server.create()}/events")
    assert reading.answer.status == 200
    assert reading.answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert reading.answer.headers["Cache-Control"] == "no-cache, no-transform"
    assert reading.answer.headers["X-Accel-Buffering"] == "no"
    assert reading.answer.headers["Content-Encoding"] is None
    assert reading.decoder.retry is None
    reading.read(1)
    assert reading.decoder.retry == 1000
    reading.close()


def test_http_1_0_gets_no_chunks(server: JupyterServer) -> None:
    stream = server.create()
    server.append(stream, '{"type":"done"}')
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(
            f"GET /jupyter-sse/streams/{stream}/events?token={server.token} HTTP/1.0\r\n"
            "Host: 127.0.0.1\r\n\r\n".encode()
        )
        answer = b""
        while data := sock.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert [frame.event for frame in frames_of(body)] == ["hello", "start", "done"]


def test_resume_is_strictly_after_the_cursor_and_the_header_beats_the_query(server: JupyterServer) -> None:
    stream = server.create()
    server.append(stream, *[json.dumps({"type": "log", "text": str(index)}) for index in range(8)])
    reading = Reading(server, f"streams/{stream}/events?after=2", Last_Event_ID="7")
    assert [frame.id for frame in reading.read(3)[1:]] == ["8", "9"]
    reading.close()
    server.append(stream, '{"type":"done"}')
    assert [frame.id for frame in Reading(server, f"streams/{stream}/events?after=8").read()[1:]] == ["9", "10"]
    assert server.request("GET", f"streams/{stream}/events", headers={"Last-Event-ID": "10"}).status_code == 204


def test_a_cursor_that_cannot_be_served_gets_a_reset(server: JupyterServer) -> None:
    stream = server.create(title="T")
    server.append(stream, '{"type":"delta","text":"abc"}', '{"type":"done"}')
    for query, reason in (("after=99", "ahead"), ("snapshot=1", "snapshot")):
        frames = frames_of(server.request("GET", f"streams/{stream}/events?{query}").content)
        assert [frame.event for frame in frames] == ["hello", "reset"]
        reset = json.loads(frames[1].data)
        assert frames[1].id == "3"
        assert (reset["reason"], reset["seq"]) == (reason, 3)
        assert reset["snapshot"]["text"] == "abc"
        assert reset["snapshot"]["status"] == "done"


def test_bad_input_on_an_event_stream_is_an_error_event(server: JupyterServer) -> None:
    stream = server.create()
    for cursor in ("abc", "-5", "1e3", "9" * 40, "٣"):
        frames = frames_of(server.request("GET", f"streams/{stream}/events", params={"after": cursor}).content)
        assert [frame.event for frame in frames] == ["hello", "error"]
        assert json.loads(frames[1].data)["code"] == "bad_cursor"


def test_unknown_and_deleted_streams(server: JupyterServer) -> None:
    for path in ("streams/nope", "streams/nope/events"):
        answer = server.request("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    stream = server.create()
    reading = Reading(server, f"streams/{stream}/events")
    reading.read(2)
    assert server.request("DELETE", f"streams/{stream}").status_code == 204
    assert json.loads(reading.read()[-1].data)["code"] == "gone"
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/events")):
        answer = server.request(method, f"streams/{stream}{path}", content=b'{"type":"done"}')
        assert (answer.status_code, answer.json()["code"]) == (410, "gone")


def test_a_path_that_leaves_the_prefix_finds_nothing(server: JupyterServer) -> None:
    for path in ("streams/../x", "streams/%2e%2e%2fx/events", "streams/a b", "zzz"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/jupyter-sse/" + path.replace(" ", "%20"), headers=server.headers)
        answer = connection.getresponse()
        assert answer.status == 404
        assert json.loads(answer.read())["code"] == "not_found"
        connection.close()


BAD_LINES = [
    ("{", 400, "bad_event"),
    ("[]", 400, "bad_event"),
    ("{}", 400, "bad_event"),
    ('{"type":"delta"}', 400, "bad_event"),
    ('{"type":"delta","text":5}', 400, "bad_event"),
    ('{"type":"delta","text":"\\ud800"}', 400, "bad_event"),
    ('{"type":"progress","n":NaN}', 400, "bad_event"),
    ('{"type":"done","reason":"because"}', 400, "bad_event"),
    ('{"type":"hello","ts":1,"stream":"x"}', 400, "bad_event"),
    ('{"type":"a b"}', 400, "bad_event"),
    ('{"type":"delta","text":"x","seq":"1"}', 400, "bad_event"),
    ("[" * 100_000, 400, "bad_event"),
    ("", 400, "no_events"),
    ('{"type":"delta","text":"x","seq":99}', 409, "gap"),
    ('{"type":"done"}\n{"type":"delta","text":"after"}', 409, "ended"),
    ('{"type":"delta","text":"' + "x" * (2 << 20) + '"}', 413, "event_too_large"),
]


@pytest.mark.parametrize(("line", "status", "code"), BAD_LINES, ids=[f"{line[:30]}" for line, *_ in BAD_LINES])
def test_a_bad_line_refuses_the_whole_body(server: JupyterServer, line: str, status: int, code: str) -> None:
    stream = server.create()
    answer = server.append(stream, *(['{"type":"log","text":"good"}'] if line else []), line)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["message"]
    assert server.request("GET", f"streams/{stream}").json()["seq"] == 1


def test_a_beginning_has_the_limit_of_any_event(server: JupyterServer) -> None:
    answer = server.request("POST", "streams", json={"title": "x" * (2 << 20)})
    assert (answer.status_code, answer.json()["code"]) == (413, "event_too_large")
    assert all(len(entry["title"] or "") < 2 << 20 for entry in server.request("GET", "streams").json())


def test_unknown_types_and_fields_are_passed_on(server: JupyterServer) -> None:
    stream = server.create()
    server.append(
        stream,
        '{"n": 1,\t"type": "progress", "colour": "red"}',
        '{"type":"mood","value":[1,{"a":null}]}',
        '{"type":"done"}',
    )
    _, progress, mood, done = Reading(server, f"streams/{stream}/events").read()[1:]
    assert json.loads(progress.data) == {"type": "progress", "bar": "main", "n": 1, "colour": "red"}
    assert (mood.event, json.loads(mood.data)) == ("mood", {"type": "mood", "value": [1, {"a": None}]})
    assert json.loads(done.data) == {"type": "done", "reason": "stop"}


def test_seq_makes_an_append_idempotent(server: JupyterServer) -> None:
    stream = server.create()
    lines = ['{"type":"delta","text":"a","seq":2}', '{"type":"delta","text":"b"}']
    assert server.append(stream, *lines).json() == {"seq": 3}
    assert server.append(stream, *lines).json() == {"seq": 3}
    assert server.append(stream, *lines, '{"type":"delta","text":"c","seq":4}').json() == {"seq": 4}
    assert server.request("GET", f"streams/{stream}").json()["text"] == "abc"
    assert server.append(stream, '{"type":"done"}').json() == {"seq": 5}
    late = server.append(stream, '{"type":"delta","text":"late"}')
    assert (late.status_code, late.json()["code"]) == (409, "ended")


def test_the_list_is_newest_first_and_filtered(server: JupyterServer) -> None:
    first = server.create(kind="k1", title="first", origin={"path": "a.ipynb"})
    second = server.create(kind="k1", title="second", origin={"path": "b.ipynb"})
    server.append(first, '{"type":"error","message":"broken"}')

    def listed(query: str) -> list[str]:
        return [entry["stream"] for entry in server.request("GET", f"streams?{query}").json()]

    assert listed("kind=k1") == [second, first]
    assert listed("kind=k1&status=running") == [second]
    assert listed("kind=k1&status=error") == [first]
    assert listed("path=b.ipynb") == [second]
    entry = server.request("GET", "streams?kind=k1").json()[1]
    assert entry["title"] == "first"
    assert entry["url"] == f"/jupyter-sse/streams/{first}/events"


@pytest.mark.parametrize("body", ["[]", "{", '"x"', '{"total":"many"}', '{"kind":5}', "[" * 100_000])
def test_a_stream_that_cannot_begin(server: JupyterServer, body: str) -> None:
    answer = server.request("POST", "streams", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_stream")


def test_cancel_of_a_stream_written_by_post(server: JupyterServer) -> None:
    stream = server.create(cancellable=True)
    answer = server.request("POST", f"streams/{stream}/cancel")
    assert (answer.status_code, answer.json()["via"]) == (202, "producer")
    assert server.append(stream, '{"type":"log","text":"x"}').json() == {"seq": 2, "cancelled": True}
    server.append(stream, '{"type":"done","reason":"cancelled"}')
    assert server.request("GET", f"streams/{stream}").json()["status"] == "cancelled"
    assert server.request("POST", f"streams/{stream}/cancel").json()["via"] == "ended"


def test_a_stream_as_the_output_of_its_cell(server: JupyterServer) -> None:
    origin = {"path": "out.ipynb", "cell": "c1", "execution": "e1", "kernel": "k1"}
    stream = server.create(title="Build", origin=origin)
    mime = "application/vnd.jupyter-sse.v1+json"
    output = server.request("GET", f"streams/{stream}/output").json()
    assert output[mime] == {"stream": stream, "v": 1}
    assert output["text/plain"] == "Build: running"
    server.append(stream, '{"type":"delta","text":"**bold**"}', '{"type":"done","reason":"stop"}')
    output = server.request("GET", f"streams/{stream}/output").json()
    assert output[mime]["snapshot"] == server.request("GET", f"streams/{stream}").json() | output[mime]["snapshot"]
    assert output[mime]["snapshot"]["text"] == "**bold**"
    assert "**bold**" in output["text/markdown"]

    [entry] = server.request("GET", "streams?kernel=k1").json()
    assert {**origin, "dismissed": False}.items() <= entry.items()
    assert server.request("DELETE", f"streams/{stream}/output").status_code == 204
    [entry] = server.request("GET", "streams?kernel=k1").json()
    assert entry["dismissed"] is True
    assert server.request("GET", f"streams/{stream}").status_code == 200
    for method in ("GET", "DELETE"):
        assert server.request(method, "streams/none/output").status_code == 404


def test_one_connection_for_many_streams(server: JupyterServer) -> None:
    a, b = server.create(), server.create()
    server.append(a, '{"type":"delta","text":"one"}')
    reading = Reading(server, "events", body=json.dumps({"streams": {a: 1}}))
    hello = json.loads(reading.read(1)[0].data)
    assert hello["stream"] is None
    assert reading.read(2)[1].id == f"{a}:2"
    answer = server.request("POST", f"events/{hello['connection']}", json={"add": {b: -1}})
    assert answer.status_code == 204
    reset = reading.read(3)[2]
    assert (reset.event, reset.id) == ("reset", f"{b}:1")
    server.append(b, '{"type":"done"}')
    assert reading.read(4)[3].id == f"{b}:2"
    server.request("POST", f"events/{hello['connection']}", json={"remove": [a]})
    server.append(a, '{"type":"delta","text":"unheard"}')
    c = "C" * 22
    server.request("POST", f"events/{hello['connection']}", json={"add": {c: 0}})
    d = server.create()
    server.request("POST", f"events/{hello['connection']}", json={"add": {d: 0}})
    assert reading.read(5)[4].id == f"{d}:1"
    reading.close()
    wait_for(
        lambda: server.request("POST", f"events/{hello['connection']}", json={}).status_code == 404,
        "the server to notice that the connection is closed",
    )


def test_the_list_is_told_as_it_changes(make_server: Any) -> None:
    server = make_server()
    known = server.create(title="Known")
    reading = Reading(server, "events", body=json.dumps({"list": True}))

    numbers = itertools.count(2)

    def told() -> dict[str, Any]:
        frame = reading.read(number := next(numbers))[number - 1]
        assert (frame.event, frame.id) == ("listed", "")
        listed: dict[str, Any] = json.loads(frame.data)
        return listed

    connection = json.loads(reading.read(1)[0].data)["connection"]
    first = told()
    assert first["all"] is True
    assert first["streams"] == server.request("GET", "streams").json()
    assert first["streams"][0]["stream"] == known

    begun = server.create(title="Begun")
    assert [(entry["stream"], entry["status"]) for entry in told()["streams"]] == [(begun, "running")]
    server.append(begun, '{"type":"log","text":"nothing to list"}')
    server.append(begun, '{"type":"done"}')
    server.append(known, '{"type":"start","title":"Renamed"}', '{"type":"log","text":"x"}')
    ended: dict[str, Any] = {}
    while len(ended) < 2:  # on a busy machine one comes after the other
        ended |= {entry["stream"]: entry for entry in told()["streams"]}
    assert (ended[begun]["status"], ended[known]["title"]) == ("done", "Renamed")
    server.request("DELETE", f"streams/{begun}")
    assert told() == {"type": "listed", "streams": [], "gone": [begun]}

    server.request("POST", f"events/{connection}", json={"list": False})
    server.request("DELETE", f"streams/{known}")
    server.request("POST", f"events/{connection}", json={"list": True})
    again = told()
    assert again["all"] is True
    assert known not in [entry["stream"] for entry in again["streams"]]
    reading.close()


@pytest.mark.parametrize("body", ["", "[]", '{"streams":{"../x":0}}', '{"streams":{"a":"0"}}', '{"stream":{}}'])
def test_a_bad_multiplex_request(server: JupyterServer, body: str) -> None:
    assert server.request("POST", "events", content=body).status_code == 400


def test_nobody_gets_in_without_a_token(server: JupyterServer) -> None:
    stream = server.create()
    for method, path in (
        ("GET", "streams"), ("POST", "streams"), ("GET", f"streams/{stream}"), ("DELETE", f"streams/{stream}"),
        ("GET", f"streams/{stream}/events"), ("POST", f"streams/{stream}/events"), ("POST", f"streams/{stream}/cancel"),
        ("POST", "events"), ("POST", "events/x"), ("GET", "socket"), ("GET", "kernel"), ("GET", ""), ("GET", "zzz"),
    ):  # fmt: skip
        for headers in ({}, {"Authorization": "token wrong"}, {"Authorization": "Bearer wrong"}):
            answer = httpx.request(method, server.url + path, headers=headers, trust_env=False, follow_redirects=False)
            assert answer.status_code in (401, 403), (method, path)
            assert "location" not in answer.headers
            if path != "kernel":
                assert answer.json()["code"] == "forbidden"


def test_a_page_needs_the_xsrf_header_to_write(server: JupyterServer) -> None:
    with signed_in(server) as page:
        assert page.get("/jupyter-sse/streams", headers={"Referer": server.root}).status_code == 200
        refused = page.post("/jupyter-sse/streams", json={"kind": "task"})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        taken = page.post("/jupyter-sse/streams", json={"kind": "task"}, headers={"X-XSRFToken": page.cookies["_xsrf"]})
        assert taken.status_code == 201


def test_a_page_of_another_origin_is_refused(server: JupyterServer) -> None:
    with signed_in(server) as page:
        headers = {"Origin": "http://evil.example", "X-XSRFToken": page.cookies["_xsrf"]}
        assert page.get("/jupyter-sse/streams", headers=headers).status_code in (403, 404)
        assert page.post("/jupyter-sse/streams", json={}, headers=headers).status_code in (403, 404)


def test_a_heartbeat_comes_and_a_reader_that_never_reads_is_dropped(make_server: Any) -> None:
    server = make_server("--SSE.heartbeat=0.1", "--SSE.max_lag_bytes=65536", "--SSE.stall_seconds=1")
    stream = server.create()
    reading = Reading(server, f"streams/{stream}/events")
    assert [frame.event for frame in reading.read(2, pings=2)] == ["hello", "start"]
    assert reading.decoder.last_id == "1"
    reading.close()
    with socket.socket() as never:
        never.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        never.connect(("127.0.0.1", server.port))
        never.sendall(
            f"GET /jupyter-sse/streams/{stream}/events?token={server.token} HTTP/1.1\r\n"
            "Host: 127.0.0.1\r\n\r\n".encode()
        )
        line = json.dumps({"type": "log", "text": "x" * 50_000})

        def dropped() -> bool:
            server.append(stream, *[line] * 10)
            found = re.search(r"^jupyter_sse_dropped_readers_total (\d+)", metrics(server), re.MULTILINE)
            return found is not None and int(found[1]) == 1

        wait_for(dropped, "the reader to be dropped")


def metrics(server: JupyterServer) -> str:
    return httpx.get(server.root + "metrics", headers=server.headers, trust_env=False).text


def test_the_figures_are_in_the_servers_metrics(server: JupyterServer) -> None:
    stream = server.create(kind="counted")
    reading = Reading(server, f"streams/{stream}/events")
    reading.read(2)
    text = metrics(server)
    assert 'jupyter_sse_streams{kind="counted",status="running"} 1.0' in text
    assert re.search(r"^jupyter_sse_connections [1-9]", text, re.MULTILINE)
    server.append(stream, '{"type":"done"}')
    reading.read()
    assert 'jupyter_sse_streams{kind="counted",status="ended"} 1.0' in metrics(server)


def test_too_many_connections_get_429(make_server: Any) -> None:
    server = make_server("--SSE.max_connections=2", base_url="/some/where/")
    stream = server.create()
    open_ones = [Reading(server, f"streams/{stream}/events") for _ in range(2)]
    for reading in open_ones:
        reading.read(2)
    answer = server.request("GET", f"streams/{stream}/events")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["code"] == "too_many_connections"
    open_ones[0].close()
    wait_for(lambda: Reading(server, f"streams/{stream}/events").answer.status == 200, "a connection to be free again")


def test_a_kill_loses_nothing_that_was_acknowledged(make_server: Any) -> None:
    server = make_server()
    stream = server.create()
    acknowledged = 1
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        lines = [json.dumps({"type": "log", "text": f"{acknowledged + index}"}) for index in range(1, 6)]
        acknowledged = server.append(stream, *lines).json()["seq"]
    server.kill()
    again = make_server(home=server.home)
    snapshot = again.request("GET", f"streams/{stream}").json()
    assert snapshot["seq"] >= acknowledged
    assert snapshot["log"]["lines"][-1]["text"] == str(snapshot["seq"])
    reading = Reading(again, f"streams/{stream}/events?after={acknowledged - 3}")
    assert [frame.id for frame in reading.read(4)[1:]] == [str(acknowledged - 2 + index) for index in range(3)]


def test_the_file_is_readable_by_its_owner_alone(server: JupyterServer) -> None:
    server.create()
    path = server.home / "data" / "jupyter-sse" / "streams.db"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for extra in path.parent.glob("streams.db-*"):
        assert extra.stat().st_mode & 0o077 == 0


def is_guarded(method: Any) -> bool:
    """Whether the outermost decorator is tornado's `authenticated`, or one of jupyter_server's."""
    outermost = method.__code__.co_filename.replace("\\", "/").endswith("tornado/web.py") and hasattr(
        method, "__wrapped__"
    )
    return outermost or hasattr(method, "__allow_unauthenticated")


def test_every_handler_has_its_guard(server: JupyterServer) -> None:
    from jupyter_sse.server import app
    from jupyter_sse.server.auth import NotFoundHandler

    features = [module for module in vars(app).values() if hasattr(module, "handlers") and hasattr(module, "__file__")]
    assert len(features) > 8
    handlers: list[Any] = [handler for feature in features for _, handler in feature.handlers]
    for handler in {*handlers, NotFoundHandler}:
        verbs = [verb for verb in ("get", "post", "put", "patch", "delete", "head") if verb in vars(handler)]
        assert verbs, handler
        for verb in verbs:
            assert is_guarded(getattr(handler, verb)), (handler, verb)
    # jupyter_server's own check, which runs because the server was started with allow_unauthenticated_access=False.
    assert "registered for /jupyter-sse" not in server.output


def test_a_page_of_another_origin_can_read_why_it_is_refused(server: JupyterServer) -> None:
    answer = server.request("GET", "streams/never-was", headers={"Origin": "https://app.example"})
    assert answer.status_code == 404
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"


AWAY = """
from jupyter_server.auth.identity import IdentityProvider
from tornado.web import HTTPError

class Away(IdentityProvider):
    async def get_user(self, handler):
        if "X-Away" in handler.request.headers:
            raise HTTPError(502, "The Hub does not answer")
        return await super().get_user(handler)
"""


def test_who_cannot_be_known_is_told_why(tmp_path: Path, make_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "away.py").write_text(AWAY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    server = make_server("--ServerApp.identity_provider_class=away.Away")
    answer = server.request("GET", "streams", headers={"X-Away": "yes"})
    assert (answer.status_code, answer.json()["message"]) == (502, "The Hub does not answer")
    assert "Uncaught exception in write_error" not in server.output
