"""`@endpoint` from end to end: a real server, real kernels, and a client that reads."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from harness import JupyterServer, signed_in, wait_for
from reading import Reading
from server_kernel import Kernel
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from jupyter_sse.sse import Frame

MakeServer = Callable[..., JupyterServer]


@pytest.fixture(scope="module")
def kernel(server: JupyterServer) -> Iterator[Kernel]:
    """One kernel for all tests that leave it as it is; each has paths of its own."""
    kernel = Kernel(server)
    kernel.ask("from jupyter_sse import broadcast, endpoint; import asyncio, threading, time")
    yield kernel
    kernel.stop()


@pytest.fixture
def make_kernel() -> Iterator[Callable[..., Kernel]]:
    made: list[Kernel] = []

    def make(server: JupyterServer) -> Kernel:
        made.append(Kernel(server))
        made[-1].ask("from jupyter_sse import broadcast, endpoint; import asyncio, threading, time")
        return made[-1]

    yield make
    for kernel in made:
        kernel.stop()


def said(frames: list[Frame]) -> list[tuple[str, Any]]:
    return [(frame.event, json.loads(frame.data)) for frame in frames]


def call(server: JupyterServer, path: str, **options: Any) -> Reading:
    """Call an endpoint as soon as it is there: what a cell declares is a moment on its way."""

    def opened() -> Reading | None:
        reading = Reading(server, f"e{path}", **options)
        if reading.answer.status != 404:
            return reading
        reading.close()
        return None

    found: Reading = wait_for(opened, f"{path} to be served")
    return found


def test_a_generator_is_an_event_stream(server: JupyterServer, kernel: Kernel) -> None:
    kernel.ask("""
@endpoint("/first/<session_id>")
def first(session_id, n: int = 1):
    for i in range(n):
        yield {"type": "progress", "n": i, "message": session_id}
    yield {"i": i}
    yield "text"
    yield "event: own\\ndata: x\\n\\n"
""")
    reading = call(server, "/first/a%20b?n=2")
    assert reading.answer.status == 200
    for name, value in (
        ("Content-Type", "text/event-stream; charset=utf-8"),
        ("Cache-Control", "no-cache, no-transform"),
        ("X-Accel-Buffering", "no"),
    ):
        assert reading.answer.getheader(name) == value
    frames = reading.read()
    assert [frame.event for frame in frames] == ["hello", "progress", "progress", "message", "message", "own", "done"]
    assert json.loads(frames[2].data) == {"type": "progress", "bar": "main", "n": 1, "message": "a b"}
    assert [frame.data for frame in frames[3:6]] == ['{"i":1}', "text", "x"]
    assert json.loads(frames[-1].data)["reason"] == "closed"
    # An EventSource comes back after every end: this stops it.
    again = Reading(server, "e/first/a%20b?n=2", Last_Event_ID=frames[-1].id)
    assert again.answer.status == 204


def test_calls_are_served_while_the_main_thread_is_busy_and_do_not_wait_for_each_other(
    server: JupyterServer, kernel: Kernel
) -> None:
    kernel.ask("""
together, release = threading.Barrier(50), threading.Event()
@endpoint("/busy/block")
def block():
    together.wait(60)
    yield 1
@endpoint("/busy/async/<int:n>")
async def go(n):
    await asyncio.sleep(0.001 * n)
    yield n
@endpoint("/busy/release", methods=["POST"])
def let_go():
    release.set()
""")
    kernel.start("print('busy', flush=True)\nassert release.wait(100)")
    readings = [call(server, "/busy/block") for _ in range(49)]
    # 49 generators block, and so does the cell: others are served at once.
    assert said(call(server, "/busy/async/7").read())[1] == ("message", 7)
    readings.append(call(server, "/busy/block"))
    for reading in readings:
        assert said(reading.read())[1] == ("message", 1)
    assert said(call(server, "/busy/release", body="{}").read())[-1][0] == "done"
    assert kernel.ask("print(release.is_set())") == "True"


def test_arguments_come_from_path_query_and_body_and_the_request_has_no_secrets(
    server: JupyterServer, kernel: Kernel
) -> None:
    kernel.ask("""
@endpoint("/asked/<int:a>")
def asked(a, b: float, request, tags: list[str] = (), c: bool = False):
    yield {"a": a, "b": b, "c": c, "tags": tags}
    yield {"method": request.method, "path": request.path, "headers": request.headers,
           "query": request.query, "body": request.body}
""")
    hidden = {
        "Cookie": "secret=1",
        "X_Auth_Request_Access_Token": "t",
        "Referer": f"{server.root}lab?token={server.token}",
    }
    got = said(call(server, f"/asked/1?b=2&tags=x&tags=y&token={server.token}", **hidden, X_Own="o").read())
    assert got[1] == ("message", {"a": 1, "b": 2.0, "c": False, "tags": ["x", "y"]})
    request = got[2][1]
    assert (request["method"], request["path"], request["body"]) == ("GET", "/asked/1", None)
    assert request["query"] == {"b": ["2"], "tags": ["x", "y"]}
    assert request["headers"]["x-own"] == "o"
    assert server.token not in json.dumps(request)
    secrets = {"cookie", "authorization", "x-auth-request-access-token", "referer"}
    assert not secrets & set(request["headers"])
    posted = said(call(server, "/asked/1", body=json.dumps({"b": 0.5, "c": True})).read())
    assert posted[1] == ("message", {"a": 1, "b": 0.5, "c": True, "tags": []})
    assert (posted[2][1]["method"], posted[2][1]["body"]) == ("POST", {"b": 0.5, "c": True})

    frames = said(call(server, "/asked/1?b=x").read())
    assert frames[0][0] == "hello"
    assert (frames[1][0], frames[1][1]["code"]) == ("error", "bad_argument")
    assert frames[1][1]["message"] == "\"b\" in the query: Expected `float`, got `str`: 'x'."
    assert len(frames) == 2
    for body, status, code in (
        (b"{}", 400, "missing_argument"),
        (b"{", 400, "bad_body"),
        (b'{"b": "x"}', 400, "bad_argument"),
        (b'{"b": 1, "x": "' + (1 << 20) * b"x" + b'"}', 413, "body_too_large"),
    ):
        answer = server.request("POST", "e/asked/1", content=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_arguments_are_in_any_script_and_have_their_spaces(server: JupyterServer, kernel: Kernel) -> None:
    kernel.ask("""
@endpoint("/said/<كلمة>")
def said_it(كلمة, اسم: str = "", gap: str = ""):
    yield {"word": كلمة, "name": اسم, "gap": gap}
""")
    encoded = quote("/said/سلام") + "?" + urlencode({"اسم": "ليلى", "gap": " ; "})
    got = said(call(server, encoded).read())[1][1]
    assert got == {"word": "سلام", "name": "ليلى", "gap": " ; "}
    assert "no endpoint at /وداع." in server.request("GET", "e/وداع").json()["message"]


def test_what_is_not_there_says_so(server: JupyterServer, kernel: Kernel) -> None:
    kernel.ask("""
@endpoint("/only/get", methods=["get"])
def only():
    yield 1
""")
    call(server, "/only/get")
    answer = server.request("POST", "e/only/get")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    answer = server.request("GET", "e/nothing/here")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_endpoint")
    assert "/nothing/here" in answer.json()["message"]


def test_who_may_call(server: JupyterServer, kernel: Kernel) -> None:
    kernel.ask("""
@endpoint("/who")
def who():
    yield 1
""")
    call(server, "/who")
    url = f"{server.url}e/who"
    assert httpx.get(url, trust_env=False).status_code == 403
    # What EventSource does, which can send no header.
    answer = httpx.get(url, params={"token": server.token}, trust_env=False)
    assert (answer.status_code, "event: done" in answer.text) == (200, True)
    with signed_in(server) as page:
        assert page.get("/jupyter-sse/e/who").status_code == 200
        foreign = page.get("/jupyter-sse/e/who", headers={"Sec-Fetch-Site": "cross-site"})
        assert (foreign.status_code, foreign.json()["code"]) == (403, "cross_site"), "a link, or an image"
        assert page.post("/jupyter-sse/e/who").status_code == 403, "no XSRF header"
        answer = page.post("/jupyter-sse/e/who", headers={"X-XSRFToken": page.cookies["_xsrf"]})
        assert answer.status_code == 200
    secret = kernel.ask("import os; print(os.environ['JUPYTER_SSE_TOKEN'])")
    for method in ("GET", "POST"):
        answer = httpx.request(method, url, headers={"Authorization": f"Bearer {secret}"}, trust_env=False)
        assert answer.status_code == 403, "a kernel's secret is for producers"


def test_curl_sees_each_event_as_it_comes(server: JupyterServer, kernel: Kernel) -> None:
    curl = shutil.which("curl")
    assert curl, "the tests need curl"
    kernel.ask("""
go_on = threading.Event()
@endpoint("/curl")
def curl():
    yield "one"
    assert go_on.wait(60)
    yield "two"
@endpoint("/curl/go")
def go():
    go_on.set()
""")
    command = [curl, "-sN", "--noproxy", "*", "-H", f"Authorization: token {server.token}", f"{server.url}e/curl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert "data: one\n" in lines
        call(server, "/curl/go").read()
        assert "data: two\n" in lines
        assert "event: done\n" in lines
        process.wait(20)


def test_an_error_is_told_once_and_its_traceback_is_in_the_notebook(server: JupyterServer, kernel: Kernel) -> None:
    declared = kernel.client.execute("""
@endpoint("/broken")
def broken():
    yield 1
    raise KeyError("no such thing")
""")
    kernel.ask("'another cell'")
    frames = said(call(server, "/broken").read())
    assert [name for name, _ in frames] == ["hello", "message", "error"]
    assert (frames[-1][1]["message"], frames[-1][1]["code"]) == ("KeyError: 'no such thing'", "KeyError")
    printed = ""
    while "KeyError: 'no such thing'" not in printed:
        message = kernel.client.get_iopub_msg(timeout=60)
        if message["msg_type"] == "stream" and message["content"]["name"] == "stderr":
            printed += message["content"]["text"]
            assert message["parent_header"]["msg_id"] == declared, "in the cell that has declared it"
    assert 'raise KeyError("no such thing")' in printed


def test_a_silent_generator_has_a_heartbeat_and_a_time_limit(
    make_server: MakeServer, make_kernel: Callable[..., Kernel]
) -> None:
    server = make_server("--SSE.heartbeat=0.1")
    kernel = make_kernel(server)
    kernel.ask("""
closed = threading.Event()
@endpoint("/silent", timeout=1)
async def silent():
    try:
        await asyncio.sleep(1000)
        yield 1
    finally:
        closed.set()
""")
    reading = call(server, "/silent")
    (_, (name, end)) = said(reading.read())
    assert (name, end["reason"]) == ("done", "timeout")
    assert reading.pings
    assert kernel.ask("print(closed.wait(20))") == "True"


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_reader_that_goes_has_the_generator_closed(server: JupyterServer, kernel: Kernel, kind: str) -> None:
    kernel.ask(f"""
seen, over = [], threading.Event()
@endpoint("/leave")
{kind} leave():
    try:
        yield "here"
        while True:
            {"await asyncio.sleep(0.01)" if kind == "async def" else "time.sleep(0.01)"}
            yield None
    except (GeneratorExit, asyncio.CancelledError) as error:
        seen.append(type(error).__name__)
        raise
    finally:
        over.set()
""")
    reading = call(server, "/leave")
    reading.read(2)
    reading.close()
    assert kernel.ask("print(over.wait(30), seen)") in ("True ['GeneratorExit']", "True ['CancelledError']")


def rss(pid: int) -> int:
    """Bytes of memory that a process has."""
    return (
        next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line)
        * 1024
    )


def test_a_reader_that_stops_stops_the_generator_and_costs_no_memory(server: JupyterServer, kernel: Kernel) -> None:
    pid = int(kernel.ask("""
import os
made = 0
over = threading.Event()
@endpoint("/huge")
def huge():
    global made
    try:
        while True:
            made += 1
            yield "x" * (1 << 16)
    finally:
        over.set()
@endpoint("/huge/made")
def count():
    yield made
print(os.getpid())
"""))  # fmt: skip

    def made() -> int:
        count: int = said(call(server, "/huge/made").read())[1][1]
        return count

    assert server.process is not None
    made()
    before = rss(pid), rss(server.process.pid)
    reading = call(server, "/huge")
    reading.read(3)
    counts = [0]

    def stands_still() -> bool:
        counts.append(made())
        return len(counts) > 5 and len(set(counts[-5:])) == 1

    wait_for(stands_still, "the generator to wait for its reader")
    assert counts[-1] < 400, "some 25 MB are in sockets and buffers at most"
    taken = 0
    while taken < 300 << 20:
        taken += len(reading.answer.read1(1 << 20))
    assert made() * (1 << 16) > 300 << 20
    after = rss(pid), rss(server.process.pid)
    assert max(now - then for now, then in zip(after, before, strict=True)) < 60 << 20
    reading.close()
    assert kernel.ask("print(over.wait(30))") == "True"


def test_a_call_that_stands_still_delays_nothing_else_on_the_link(server: JupyterServer, kernel: Kernel) -> None:
    kernel.ask("""
@endpoint("/stuck")
def stuck():
    while True:
        yield "x" * 100_000
""")
    readings = [call(server, "/stuck") for _ in range(3)]
    for reading in readings:
        reading.read(2)
    stream = kernel.ask("""
from jupyter_sse import task
with task("beside") as t:
    for i in range(1000):
        t.log(str(i))
print(t.id)
""")
    state = wait_for(lambda: _ended(server, stream), "the task to be in the log, acked")
    assert state["log"]["count"] == 1000


def _ended(server: JupyterServer, stream: str) -> Any:
    answer = server.request("GET", f"streams/{stream}")
    return answer.status_code == 200 and answer.json()["status"] == "done" and answer.json()


def test_running_the_cell_again_replaces_the_route(server: JupyterServer, kernel: Kernel) -> None:
    kernel.ask("""
closed = threading.Event()
@endpoint("/again/<x>")
def again(x):
    try:
        while True:
            yield "old"
            time.sleep(0.01)
    finally:
        closed.set()
""")
    reading = call(server, "/again/1")
    reading.read(2)
    kernel.ask("""
@endpoint("/again/<y>")
def again(y):
    yield "new"
""")
    frames = reading.read()
    assert (frames[-1].event, json.loads(frames[-1].data)["reason"]) == ("done", "closed")
    assert frames[-1].id == "", "an EventSource comes back, to the new one"
    assert call(server, "/again/1").read()[1].data == "new"
    assert kernel.ask("print(closed.wait(30))") == "True"


def test_a_restart_takes_the_route_away_and_says_what_to_do(
    server: JupyterServer, make_kernel: Callable[..., Kernel]
) -> None:
    kernel = make_kernel(server)
    declare = """
from jupyter_sse import endpoint
import os, time
os.environ["JPY_SESSION_NAME"] = os.path.join(os.environ["JUPYTER_SSE_ROOT"], "sub", "a.ipynb")
@endpoint("/restart/<session_id>")
def restart(session_id):
    yield session_id
    while session_id == "stay":
        time.sleep(0.01)
        yield
"""
    kernel.ask(declare)
    assert call(server, "/restart/a").read()[1].data == "a"
    reading = call(server, "/restart/stay")
    reading.read(2)
    kernel.api("POST", f"kernels/{kernel.id}/restart")
    end = reading.read()[-1]
    assert (end.event, json.loads(end.data)["retryable"]) == ("error", True)

    def gone() -> Any:
        answer = server.request("GET", "e/restart/a")
        return answer.status_code == 404 and answer.json()

    answer = wait_for(gone, "the route to go")
    assert answer["code"] == "endpoint_gone"
    assert answer["message"] == (
        'The notebook "sub/a.ipynb" that had /restart/<session_id> was restarted: run its cell again.'
    )
    kernel.wait_ready()
    kernel.ask(declare)
    assert call(server, "/restart/b").read()[1].data == "b"
    kernel.api("DELETE", f"kernels/{kernel.id}")
    answer = wait_for(gone, "the route to go")
    assert "was shut down" in answer["message"]


def test_a_kernel_that_says_nothing_is_not_waited_for(
    server: JupyterServer, make_kernel: Callable[..., Kernel]
) -> None:
    kernel = make_kernel(server)
    pid = int(kernel.ask("@endpoint('/still')\ndef still(): yield 1\nimport os; print(os.getpid())"))
    call(server, "/still").read()
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = server.request("GET", "e/still")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (504, "kernel_silent", "5")
    assert call(server, "/still").read()[1].data == "1"


def test_two_notebooks_with_one_path_are_told(server: JupyterServer, make_kernel: Callable[..., Kernel]) -> None:
    one, two = make_kernel(server), make_kernel(server)
    warned = """
import warnings
told = []
warnings.showwarning = lambda message, *rest: told.append(str(message))
@endpoint("/mine/<x>")
def mine(x):
    yield {name!r}
"""
    one.ask(warned.replace("{name!r}", "'one'"))
    assert call(server, "/mine/1").read()[1].data == "one"
    two.ask(warned.replace("{name!r}", "'two'"))
    wait_for(lambda: call(server, "/mine/1").read()[1].data == "two", "the latest to win")
    lost = wait_for(lambda: one.ask("print(*told)"), "the warning of the one that lost")
    assert lost == (
        "jupyter_sse: the kernel has declared /mine/<x> as well, and is served there from now on."
        " Give one of the two another path."
    )
    won = wait_for(lambda: two.ask("print(*told)"), "the warning of the one that won")
    assert won == "jupyter_sse: /mine/<x> is served from here now, and no more by the kernel."
    one.ask("@endpoint('/mine/other')\ndef other(): yield 1")
    call(server, "/mine/other")
    assert call(server, "/mine/1").read()[1].data == "two", "what else it declares does not win it back"
    two.api("DELETE", f"kernels/{two.id}")
    wait_for(lambda: call(server, "/mine/1").read()[1].data == "one", "the other to be served again")


def test_who_comes_late_gets_the_state_and_then_the_rest(server: JupyterServer, kernel: Kernel) -> None:
    kernel.ask("""
step, runs = threading.Event(), []
@endpoint("/shared/<session_id>", mode="shared")
def shared(session_id):
    runs.append(session_id)
    yield {"type": "progress", "n": 1, "total": 3}
    yield {"type": "log", "text": "begun"}
    assert step.wait(60)
    yield {"type": "progress", "n": 3, "total": 3}
    yield {"type": "done", "result": "ready"}
@endpoint("/shared/go/on")
def go():
    step.set()
""")
    first = call(server, "/shared/a")
    frames = first.read(4)
    assert [frame.event for frame in frames] == ["hello", "start", "progress", "log"]
    stream = json.loads(frames[0].data)["stream"]
    assert frames[3].id == f"{stream}:3"
    late = call(server, "/shared/a")
    reset = json.loads(late.read(2)[1].data)
    assert reset["type"] == "reset"
    assert reset["snapshot"]["bars"][0]["n"] == 1
    assert (reset["snapshot"]["kind"], reset["snapshot"]["title"]) == ("endpoint", "/shared/a")
    call(server, "/shared/go/on").read()
    assert [frame.event for frame in first.read()[4:]] == ["progress", "done"]
    assert [frame.event for frame in late.read()[2:]] == ["progress", "done"]
    # Resuming, over, and coming after the end.
    resumed = call(server, "/shared/a", Last_Event_ID=f"{stream}:4")
    assert [frame.event for frame in resumed.read()] == ["hello", "done"]
    assert call(server, "/shared/a", Last_Event_ID=f"{stream}:5").answer.status == 204
    after = said(call(server, "/shared/a").read())
    assert [name for name, _ in after] == ["hello", "reset", "done"]
    assert after[1][1]["snapshot"]["result"] == after[2][1]["result"] == "ready"
    assert kernel.ask("print(runs)") == "['a']"
    # A stream that was deleted begins anew.
    assert server.request("DELETE", f"streams/{stream}").status_code == 204
    assert [name for name, _ in said(call(server, "/shared/a").read())][-1] == "done"
    assert kernel.ask("print(runs)") == "['a', 'a']"


def test_who_comes_late_gets_the_last_of_ones_own_events_too(server: JupyterServer, kernel: Kernel) -> None:
    kernel.ask("""
more = threading.Event()
@endpoint("/dashboard", mode="shared")
def dashboard():
    yield {"cpu": 1}
    yield {"cpu": 2}
    assert more.wait(60)
    yield {"cpu": 3}
""")
    call(server, "/dashboard").read(4)
    late = call(server, "/dashboard")
    assert json.loads(late.read(3)[2].data) == {"type": "message", "cpu": 2}
    kernel.ask("more.set()")
    assert [(frame.event, frame.id.rpartition(":")[2]) for frame in late.read()[1:]] == [
        ("reset", "3"), ("message", "3"), ("message", "4"), ("done", "5"),
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["error", "timeout", "cancelled"])
def test_who_has_seen_a_run_fail_does_not_begin_the_next(server: JupyterServer, kernel: Kernel, how: str) -> None:
    """An EventSource comes back after every end: it would run what fails every few seconds, for ever."""
    kernel.ask(f"""
runs = []
@endpoint("/fails", mode="shared", timeout={0.2 if how == "timeout" else None})
async def fails():
    runs.append(1)
    yield 1
    {"raise RuntimeError" if how == "error" else "await asyncio.sleep(1000)"}
""")
    first = call(server, "/fails")
    stream = json.loads(first.read(3)[0].data)["stream"]
    if how == "cancelled":
        assert server.request("POST", f"streams/{stream}/cancel").status_code == 202
    end = first.read()[-1]
    assert end.event == ("error" if how == "error" else "done")
    assert call(server, "/fails", Last_Event_ID=end.id).answer.status == 204
    assert kernel.ask("print(len(runs))") == "1"
    again = call(server, "/fails")
    assert json.loads(again.read(3)[0].data)["stream"] != stream, "who is new begins anew"
    assert kernel.ask("print(len(runs))") == "2"
    again.close()


def test_a_broadcast_reaches_all_who_watch_and_those_who_come_late(server: JupyterServer, kernel: Kernel) -> None:
    kernel.ask("""
@endpoint("/upload/<session_id>", mode="shared")
def upload(session_id): ...
""")
    watching = [call(server, "/upload/u1") for _ in range(3)]
    other = call(server, "/upload/u2")
    for reading in (*watching, other):
        assert reading.read(2)[1].event in ("start", "reset")
    kernel.ask("""
def work():
    for n in range(1, 4):
        broadcast("u1", {"type": "progress", "n": n, "total": 4})
worker = threading.Thread(target=work); worker.start(); worker.join()
""")
    for reading in watching:
        assert [json.loads(frame.data)["n"] for frame in reading.read(5)[2:]] == [1, 2, 3]
    late = call(server, "/upload/u1")
    assert json.loads(late.read(2)[1].data)["snapshot"]["bars"][0]["n"] == 3
    kernel.ask("broadcast('/upload/u1', {'type': 'done', 'result': 'stored'})")
    for reading in (*watching, late):
        assert json.loads(reading.read()[-1].data)["result"] == "stored"
    assert [frame.event for frame in call(server, "/upload/u1").read()] == ["hello", "reset", "done"]
    assert other.frames[-1].event == "start"
    kernel.ask("broadcast('u2', {'type': 'error', 'message': 'no room'})")
    assert json.loads(other.read()[-1].data)["message"] == "no room"


def test_a_shared_run_that_nobody_watches_is_closed(
    make_server: MakeServer, make_kernel: Callable[..., Kernel]
) -> None:
    server = make_server("--SSE.heartbeat=0.1")
    kernel = make_kernel(server)
    kernel.ask("""
closed, runs = threading.Event(), []
@endpoint("/watched", mode="shared", timeout=None)
def watched():
    runs.append(1)
    try:
        while True:
            yield {"type": "progress", "n": 1}
            time.sleep(0.01)
    finally:
        closed.set()
""")
    reading = call(server, "/watched")
    stream = json.loads(reading.read(3)[0].data)["stream"]
    reading.close()
    assert kernel.ask("print(closed.wait(60))") == "True"
    assert wait_for(lambda: _ended(server, stream), "its end")["reason"] == "closed"
    call(server, "/watched").read(3)
    assert kernel.ask("print(len(runs))") == "2"


def test_limits_are_told(make_server: MakeServer, make_kernel: Callable[..., Kernel]) -> None:
    server = make_server("--SSE.max_calls=2", "--SSE.max_connections=4", "--SSE.max_event_bytes=2000")
    kernel = make_kernel(server)
    kernel.ask("""
@endpoint("/limit")
async def limit():
    yield "here"
    await asyncio.sleep(1000)
@endpoint("/large")
def large():
    yield "x" * 3000
""")
    frames = said(call(server, "/large").read())
    assert (frames[1][0], frames[1][1]["code"]) == ("error", "bad_event")
    assert "SSE.max_event_bytes" in frames[1][1]["message"]
    readings = [call(server, "/limit") for _ in range(2)]
    for reading in readings:
        reading.read(2)
    answer = server.request("GET", "e/limit")
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (429, "too_many_calls", "1")
    stream = server.create()
    others = [Reading(server, f"streams/{stream}/events") for _ in range(2)]
    answer = server.request("GET", "e/limit")
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_connections")
    metrics = httpx.get(f"{server.root}metrics", headers=server.headers, trust_env=False).text
    assert "jupyter_sse_connections 4.0" in metrics
    assert "jupyter_sse_calls_total 4.0" in metrics
    for reading in (*readings, *others):
        reading.close()
    wait_for(lambda: server.request("GET", "e/large").status_code == 200, "room again")


MODULE = """
import asyncio, threading, time
from pathlib import Path
from jupyter_sse import broadcast, endpoint

@endpoint("/module/each/<int:n>")
def each(n):
    try:
        for i in range(n):
            yield {"i": i, "thread": threading.current_thread() is threading.main_thread()}
        while n == 0:
            time.sleep(0.01)
            yield "x" * 100_000
    finally:
        Path("closed").touch()

@endpoint("/module/async")
async def go():
    await asyncio.sleep(0)
    yield 1

@endpoint("/module/up/<name>", mode="shared")
def up(name): ...

@endpoint("/module/tell/<name>")
def tell(name, n: int):
    broadcast(f"/module/up/{name}", {"type": "progress", "n": n} if n else {"type": "done", "result": 7})
"""


BROKEN = """
from jupyter_sse import endpoint

@endpoint("/module/half")
def half():
    yield "of a module"
"""


def test_a_module_of_the_server_has_endpoints_too(
    tmp_path: Path, make_server: MakeServer, make_kernel: Callable[..., Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_endpoints.py").write_text(MODULE)
    (tmp_path / "broken_endpoints.py").write_text(f"{BROKEN}import no_such_module_at_all")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    server = make_server("--SSE.endpoints=broken_endpoints", "--SSE.endpoints=own_endpoints")
    frames = said(Reading(server, "e/module/each/2").read())
    assert frames[1:3] == [("message", {"i": i, "thread": False}) for i in range(2)]
    assert frames[3][1]["reason"] == "closed"
    assert said(Reading(server, "e/module/async").read())[1] == ("message", 1)
    assert server.request("GET", "e/module/each/x").status_code == 404
    assert said(Reading(server, "e/module/tell/a").read())[1][1]["code"] == "missing_argument"
    (server.home / "closed").unlink()
    reading = Reading(server, "e/module/each/0")
    reading.read(2)
    reading.close()
    wait_for((server.home / "closed").exists, "the finally block")

    watching = Reading(server, "e/module/up/a")
    watching.read(2)
    Reading(server, "e/module/tell/a?n=5").read()
    assert json.loads(watching.read(3)[2].data)["n"] == 5
    late = Reading(server, "e/module/up/a")
    assert json.loads(late.read(2)[1].data)["snapshot"]["bars"][0]["n"] == 5
    Reading(server, "e/module/tell/a?n=0").read()
    for one in (watching, late):
        assert json.loads(one.read()[-1].data)["result"] == 7

    assert "The module 'broken_endpoints' of SSE.endpoints could not be imported" in server.output
    assert "No module named 'no_such_module_at_all'" in server.output
    assert server.request("GET", "e/module/half").status_code == 404
    kernel = make_kernel(server)
    kernel.ask("""
@endpoint("/module/async")
def mine():
    yield "from the notebook"
@endpoint("/module/notebook")
def other():
    yield 1
""")
    call(server, "/module/notebook")
    assert said(Reading(server, "e/module/async").read())[1] == ("message", 1), (
        "a notebook takes nothing from the server"
    )


def test_the_link_word_by_word(server: JupyterServer) -> None:
    """What docs/protocol.md says, spoken by hand."""
    url = server.url.replace("http", "ws") + "kernel"
    with connect(url, additional_headers=server.headers, compression=None, proxy=None, max_size=None) as link:

        def say(**message: Any) -> None:
            link.send(json.dumps(message))

        def hear() -> dict[str, Any]:
            heard: dict[str, Any] = json.loads(link.recv(20))
            return heard

        say(op="hello", producer="by-hand")
        assert hear()["endpoints"] is True
        say(op="routes", notebook="n.ipynb", routes=[{"path": "/hand/<x>", "methods": ["GET", "POST"], "declared": 1}])
        wait_for(lambda: server.request("PUT", "e/hand/1").status_code == 405, "the server")
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(server.request("POST", "e/hand/1?q=2", content=b"[3]")))
        asking.start()
        called = hear()
        number = called["call"].to_bytes(4, "big")
        assert (called["op"], called["route"], called["gone"]) == ("call", "/hand/<str>", None)
        assert called["request"]["body"] == [3]
        say(op="opened", call=called["call"])
        link.send(number + b"\0data: a\n\n")
        assert hear() == {"op": "credit", "call": called["call"], "bytes": 9}
        link.send(number + b"\1data: b\n\n")
        asking.join()
        assert answers[0].text.endswith("data: a\n\ndata: b\n\n")

        asking = threading.Thread(target=lambda: answers.append(server.request("POST", "e/hand/1")))
        asking.start()
        say(op="refused", call=hear()["call"], status=409, code="not_now", message="Not now.", retry_after=7)
        asking.join()
        assert (answers[1].status_code, answers[1].json()["code"], answers[1].headers["Retry-After"]) == (
            409,
            "not_now",
            "7",
        )

        reading = threading.Thread(target=lambda: answers.append(server.request("GET", "e/hand/1")))
        reading.start()
        called = hear()
        say(op="opened", call=called["call"])
        number = called["call"].to_bytes(4, "big")
        for _ in range(called["credit"] // 1000 + 1):
            link.send(number + b"\0data: " + b"x" * 992 + b"\n\n")
    reading.join()
    assert '"code":"producer_lost"' in answers[2].text
    answer = server.request("GET", "e/hand/1")
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "kernel_away", "1")
    assert answer.json()["message"].startswith('The notebook "n.ipynb" that has /hand/<x> is not connected now.')


def test_who_comes_while_the_link_is_cut_waits_for_it(server: JupyterServer) -> None:
    """An EventSource comes back a second after the cut, and never again after a 503."""
    url = server.url.replace("http", "ws") + "kernel"
    routes = [{"path": "/cut/off", "methods": ["GET"], "declared": 1}]

    @contextmanager
    def linked() -> Iterator[ClientConnection]:
        with connect(url, additional_headers=server.headers, compression=None, proxy=None) as link:
            link.send(json.dumps({"op": "hello", "producer": "cut-off"}))
            link.recv(20)
            link.send(json.dumps({"op": "routes", "routes": routes}))
            yield link

    with linked():
        wait_for(lambda: server.request("POST", "e/cut/off").status_code == 405, "the route")
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    client.request("GET", "/jupyter-sse/e/cut/off", headers=server.headers)
    assert server.request("GET", "e/absent").status_code == 404  # so the one before is there
    with linked() as link:
        call = json.loads(link.recv(20))["call"]
        link.send(json.dumps({"op": "opened", "call": call}))
        link.send(call.to_bytes(4, "big") + b"\1data: here\n\n")
        answer = client.getresponse()
        assert (answer.status, answer.read().endswith(b"data: here\n\n")) == (200, True)
    client.close()


def test_a_kernel_cannot_fill_the_servers_memory(server: JupyterServer) -> None:
    url = server.url.replace("http", "ws") + "kernel"
    with connect(url, additional_headers=server.headers, compression=None, proxy=None, max_queue=None) as link:
        link.send(json.dumps({"op": "hello", "producer": "too-much"}))
        routes = [{"path": "/too/much", "methods": ["GET"], "declared": 1}]
        link.send(json.dumps({"op": "routes", "routes": routes}))
        link.recv(20)
        wait_for(lambda: server.request("POST", "e/too/much").status_code == 405, "the route")
        with socket.create_connection(("127.0.0.1", server.port)) as client:  # which reads nothing
            request = f"GET /jupyter-sse/e/too/much HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            client.sendall(f"{request}Authorization: token {server.token}\r\n\r\n".encode())
            called = json.loads(link.recv(20))
            link.send(json.dumps({"op": "opened", "call": called["call"]}))
            with pytest.raises(ConnectionClosed, match="more of a call than its reader had room for"):
                while True:
                    link.send(called["call"].to_bytes(4, "big") + b"\0data: " + b"x" * 100_000 + b"\n\n")
