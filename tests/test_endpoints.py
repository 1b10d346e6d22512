"""What kernel and server share of the endpoints: routes, arguments, framing, runs, credit, sessions."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import string
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import pytest
from harness import wait_for
from hypothesis import example, given
from hypothesis import strategies as st

from jupyter_sse.endpoints import Call, CallError, Publisher, Registry, Request, Route, Session, framing
from jupyter_sse.endpoints import endpoint as declare
from jupyter_sse.endpoints.arguments import Arguments
from jupyter_sse.endpoints.run import Run
from jupyter_sse.events import Delta, Done, Error, EventError, Progress, Unknown
from jupyter_sse.sse import Decoder, Frame

NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=6)
TEXTS = st.text(min_size=1).filter(lambda text: text not in (".", ".."))


# Routes.


@pytest.mark.parametrize(
    ("route", "path", "given"),
    [
        ("/now", "/now", {}),
        ("/now", "/now/", None),
        ("/progress/<session_id>", "/progress/abc", {"session_id": "abc"}),
        ("/progress/<session_id>", "/progress/a/b", None),
        ("/progress/<session_id>", "/progress/a%2Fb", {"session_id": "a/b"}),
        ("/progress/<session_id>", "/progress/%C3%A9", {"session_id": "é"}),
        ("/rows/<int:first>-<int:last>", "/rows/-3-12", {"first": "-3", "last": "12"}),
        ("/rows/<int:first>", "/rows/x", None),
        ("/at/<float:t>.json", "/at/1.5.json", {"t": "1.5"}),
        ("/files/<path:name>", "/files/a/b%20c.txt", {"name": "a/b c.txt"}),
        ("/café/<x>", "/caf%C3%A9/1", {"x": "1"}),
        ("/a.b", "/axb", None),
        ("/~me", "/%7Eme", {}),
    ],
)
def test_a_route_takes_its_paths(route: str, path: str, given: dict[str, str] | None) -> None:
    assert Route(route).match(path) == given


@given(st.lists(NAMES, min_size=1, max_size=3, unique=True), st.data())
def test_what_a_route_expands_to_it_takes_back(names: list[str], data: st.DataObject) -> None:
    kinds = [data.draw(st.sampled_from(["", "int:", "float:"])) for _ in names[1:]]
    kinds.append(data.draw(st.sampled_from(["", "path:"])))
    route = Route("".join(f"/{data.draw(NAMES)}/<{kind}{name}>" for kind, name in zip(kinds, names, strict=True)))
    texts = {"": TEXTS, "path:": TEXTS, "int:": st.integers().map(str), "float:": st.integers().map(lambda n: f"{n}.5")}
    values = {name: data.draw(texts[kind]) for kind, name in zip(kinds, names, strict=True)}
    assert route.match(route.expand(**values)) == values


@given(TEXTS)
@example("%2F")
def test_a_path_is_the_same_however_it_is_encoded(text: str) -> None:
    route = Route("/x/<name>")
    path = route.expand(name=text)
    every = "/x/" + "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))
    if not any("\ud800" <= one <= "\udfff" for one in text):
        assert route.match(every) == route.match(path) == {"name": text}


@pytest.mark.parametrize("path", ["now", "//now", "/a b", "/a?b=1", "/<>", "/<a><", "/<a>/<a>", "/<uuid:a>", "/<1a>"])
def test_what_is_no_route_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"path|<"):
        Route(path)


def test_the_narrowest_route_is_the_one_that_is_meant() -> None:
    paths = ["/<path:rest>", "/a/<x>", "/a/b", "/a/<int:n>", "/a/<float:n>"]
    assert [route.path for route in sorted(map(Route, paths), key=lambda route: route.rank)] == [
        "/a/b", "/a/<int:n>", "/a/<float:n>", "/a/<x>", "/<path:rest>",
    ]  # fmt: skip
    assert Route("/a/<x>").shape == Route("/a/<y>").shape != Route("/a/<int:x>").shape


# Arguments.


def bind(function: Callable[..., Any], path: str = "/", at: str = "/", body: Any = None, **query: Any) -> Any:
    route = Route(path)
    given = route.match(at)
    assert given is not None
    values = {name: value if isinstance(value, list) else [value] for name, value in query.items()}
    return Arguments(route, function).bind(Request(method="GET", path=at, query=values, body=body), given)


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass
class Typed:
    type: str = "error"


def test_arguments_come_from_path_body_and_query_as_their_types_say() -> None:
    def function(
        n: int, ratio: float, on: bool, tags: list[str], word: Any, kind: Literal["a", "b"] = "a",
        most: int | None = None, few: Annotated[int, msgspec.Meta(le=5)] = 1, point: Point | None = None,
        *, request: Request,
    ) -> None: ...  # fmt: skip

    bound = bind(
        function, "/<int:n>", "/7", {"point": {"x": 1}, "few": 3}, ratio="0.5", on="true", tags=["x", "y"],
        word=["1", "2"], few="9", unknown="1",
    )  # fmt: skip
    assert bound.pop("request").path == "/7"
    assert bound == {
        "n": 7, "ratio": 0.5, "on": True, "tags": ["x", "y"], "word": "2", "few": 3, "point": Point(1),
    }  # fmt: skip
    assert bind(lambda tags: None, tags="x") == {"tags": "x"}

    def more(a: int, **rest: Any) -> None: ...

    assert bind(more, "/<b>", "/2", {"c": 3}, a="1", d="4") == {"a": 1, "b": "2", "c": 3, "d": "4"}


def test_whatever_can_be_called_has_its_types() -> None:
    def function(n: int, m: Sequence[int]) -> None: ...

    class Callee:
        def __call__(self, n: int) -> None: ...

        def method(self, n: int) -> None: ...

    assert bind(partial(function, m=[0]), n="1") == {"n": 1}
    assert bind(partial(function, m=[0]), n="1", m="2") == {"n": 1, "m": [2]}
    assert bind(Callee(), n="1") == bind(Callee().method, n="1") == {"n": 1}


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ({}, "missing_argument", '"n" is missing: give it in the query (?n=...)'),
        ({"n": "x"}, "bad_argument", "\"n\" in the query: Expected `int`, got `str`: 'x'."),
        ({"n": "x" * 1000}, "bad_argument", "..."),
    ],
)
def test_what_cannot_be_bound_is_said(query: dict[str, str], code: str, said: str) -> None:
    def function(n: int) -> None: ...

    with pytest.raises(CallError) as caught:
        bind(function, **query)
    assert (caught.value.status, caught.value.code) == (400, code)
    assert said in caught.value.message
    assert len(caught.value.message) < 300


def test_a_body_is_taken_by_its_types() -> None:
    def function(n: int) -> None: ...

    with pytest.raises(CallError, match='"n" in the body: Expected `int`, got `str`'):
        bind(function, body={"n": "1"})


def test_a_function_that_does_not_fit_its_path_is_refused_where_it_is_declared() -> None:
    def positional(a: int, /) -> None: ...
    def missing(a: int) -> None: ...
    def unknown(a: Nonsense) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for function, path, said in (
        (positional, "/<a>", "cannot be given by name"),
        (missing, "/<b>", "takes no b, which '/<b>' gives it"),
        (unknown, "/<a>", "Nonsense"),
    ):
        with pytest.raises(TypeError, match=said):
            Arguments(Route(path), function)


# Framing.


@pytest.mark.parametrize(
    ("item", "data"),
    [
        ({"type": "progress", "n": 50}, b'event: progress\ndata: {"type":"progress","bar":"main","n":50}\n\n'),
        (Progress(n=50), b'event: progress\ndata: {"type":"progress","bar":"main","n":50}\n\n'),
        ({"type": "tick", "n": 1}, b'event: tick\ndata: {"type":"tick","n":1}\n\n'),
        ({"n": 1, "type": None}, b'data: {"n":1,"type":null}\n\n'),
        ({"n": float("nan")}, b'data: {"n":null}\n\n'),
        ([1, "é"], 'data: [1,"é"]\n\n'.encode()),
        (Point(1), b'data: {"x":1,"y":0}\n\n'),
        (Typed(), b'data: {"type":"error"}\n\n'),
        (1.5, b"data: 1.5\n\n"),
        ("one\ntwo\r\nthree", b"data: one\ndata: two\ndata: three\n\n"),
        ("", b"data: \n\n"),
        (b"\xff", "data: \ufffd\n\n".encode()),
        (bytearray(b"x"), b"data: x\n\n"),
        (None, b""),
        ("data: x\n\n", b"data: x\n\n"),
        (b"id: 7\nevent: tick\ndata: x\n\n: a comment\n\n", b"id: 7\nevent: tick\ndata: x\n\n: a comment\n\n"),
        ("event: a\r\ndata: x\r\n\r\n", b"event: a\r\ndata: x\r\n\r\n"),
        ("data: x\n", b"data: data: x\ndata: \n\n"),
        ("Dear data: x\n\n", b"data: Dear data: x\ndata: \ndata: \n\n"),
        (Done(), b'id: end\nevent: done\ndata: {"type":"done","reason":"stop"}\n\n'),
    ],
)
def test_whatever_is_yielded_is_framed(item: Any, data: bytes) -> None:
    assert framing.frame(item) == data


@pytest.mark.parametrize(
    "item",
    [
        {"type": "progress"},
        {"type": "progress", "n": "x"},
        {"type": "no name"},
        {"type": "ping", "ts": 1},
        Unknown("reset", {}),
    ],
)
def test_an_event_that_is_not_valid_is_refused(item: Any) -> None:
    with pytest.raises(EventError):
        framing.frame(item)
    with pytest.raises(EventError):
        framing.events(item)


@pytest.mark.parametrize(
    ("item", "events"),
    [
        ({"type": "progress", "n": 50}, [Progress(n=50)]),
        ({"n": 1}, [Unknown("message", {"n": 1})]),
        ("text", [Unknown("message", {"data": "text"})]),
        (5, [Unknown("message", {"data": 5})]),
        (None, []),
        (
            'event: progress\ndata: {"n": 5}\n\nevent: tick\ndata: x\n\n',
            [Progress(n=5), Unknown("tick", {"data": "x"})],
        ),
        ('data: {"type": "delta", "text": "a"}\n\n: nothing\n\n', [Delta(text="a")]),
        ("data: plain\n\n", [Unknown("message", {"data": "plain"})]),
    ],
)
def test_a_log_has_the_same_as_events(item: Any, events: list[Any]) -> None:
    assert framing.events(item) == events


@given(st.text())
def test_no_text_breaks_out_of_its_frame(text: str) -> None:
    data = framing.frame(text) + framing.frame({"type": "last"})
    frames = Decoder().feed(data)
    assert frames[-1].event == "last"
    if len(frames) == 2 and not text.startswith((":", "data:", "event:", "id:", "retry:")):
        lines = text.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\r", "\n")
        assert frames[0].data == lines


# Runs.


class Log:
    """A publisher whose stream is a list."""

    closed = False
    crowded = False

    def __init__(self, title: str = "") -> None:
        self.id = f"{title}#{id(self)}"
        self.events: list[Any] = []

    def emit(self, event: Any) -> None:
        assert not any(isinstance(old, (Done, Error)) for old in self.events), "the stream has ended"
        self.events.append(event)

    def end(self, event: Done | Error) -> None:
        self.emit(event)

    def listen(self, *, on_cancel: Callable[[], object], on_unwatched: Callable[[], object]) -> None:
        self.on_cancel, self.on_unwatched = on_cancel, on_unwatched


class Hosting:
    def __init__(self) -> None:
        self.logs: list[Log] = []
        self.changes = 0

    def changed(self) -> None:
        self.changes += 1

    def publish(self, title: str) -> Publisher:
        self.logs.append(Log(title))
        return self.logs[-1]


class Reader:
    """Takes what comes, as the link or the server does."""

    def __init__(
        self,
        registry: Registry,
        path: str,
        query: dict[str, str] | None = None,
        *,
        credit: int = 1 << 16,
        most: int = 100,
    ) -> None:
        self.rung = threading.Event()
        self.data = b""
        self.over = False
        values = {name: [value] for name, value in (query or {}).items()}
        (shape,) = [shape for shape, one in registry.endpoints.items() if one.route.match(path) is not None]
        request = Request(method="GET", path=path, query=values)
        self.call = registry.call(
            shape, request, lambda outlet: self.rung.set(), credit=credit, max_event=1 << 20, max_calls=most
        )

    def read(self, until: Callable[[], Any], *, credit: bool = True) -> None:
        assert isinstance(self.call, Call)
        deadline = time.monotonic() + 20
        while not until():
            assert time.monotonic() < deadline, self.data[-1000:]
            if self.rung.wait(0.05):
                self.rung.clear()
                data, self.over = self.call.outlet.take()
                self.data += data
                if credit and data:
                    self.call.outlet.credit(len(data))

    @property
    def frames(self) -> list[Frame]:
        return Decoder().feed(self.data)

    def all(self) -> list[tuple[str, Any]]:
        self.read(lambda: self.over)
        return [(one.event, json.loads(one.data) if one.data[0] in '{["123' else one.data) for one in self.frames]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    made = Registry()
    made.host = Hosting()
    monkeypatch.setattr("jupyter_sse.endpoints.registry", made)
    yield made
    made.exit()


def ends(frames: list[tuple[str, Any]]) -> Any:
    name, data = frames[-1]
    data.pop("ts")
    return name, data


CLOSED = ("done", {"type": "done", "reason": "closed"})


def test_every_kind_of_function_can_be_an_endpoint(registry: Registry) -> None:
    def generator() -> Iterator[int]:
        yield 1
        yield 2

    async def generator_async() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0)
        yield 2

    def listing() -> list[int]:
        return [1, 2]

    async def listing_async() -> list[int]:
        return [1, 2]

    def calls_generator() -> Iterator[int]:
        return generator()

    def calls_async() -> AsyncIterator[int]:
        return generator_async()

    async def gives_async() -> AsyncIterator[int]:
        return generator_async()

    for function in (
        generator, generator_async, listing, listing_async, calls_generator, calls_async, gives_async,
    ):  # fmt: skip
        assert declare("/x")(function) is function
        frames = Reader(registry, "/x").all()
        assert frames[:-1] == [("message", 1), ("message", 2)], function
        assert ends(frames) == CLOSED
        wait_for(lambda: not registry.running, f"{function} to be over")

    async def one() -> dict[str, int]:
        return {"n": 1}

    declare("/x")(one)
    assert Reader(registry, "/x").all()[0] == ("message", {"n": 1})
    declare("/x")(lambda: None)
    assert ends(Reader(registry, "/x").all()) == CLOSED


def test_a_terminal_event_is_the_last_one(registry: Registry) -> None:
    closed = threading.Event()

    @declare("/x")
    def function() -> Iterator[Any]:
        try:
            yield 1
            yield {"type": "done", "reason": "length", "result": 7}
            yield 2
        finally:
            closed.set()

    frames = Reader(registry, "/x").all()
    assert frames[1:] == [("done", {"type": "done", "reason": "length", "result": 7})]
    assert closed.wait(10)


@pytest.mark.parametrize("is_async", [False, True])
def test_an_exception_is_one_error_and_its_traceback_is_the_owners(
    registry: Registry, capsys: pytest.CaptureFixture[str], is_async: bool
) -> None:
    def function() -> Iterator[int]:
        yield 1
        raise RuntimeError("it broke")

    async def function_async() -> AsyncIterator[int]:
        yield 1
        raise RuntimeError("it broke")

    declare("/x")(function_async if is_async else function)
    reader = Reader(registry, "/x")
    name, data = ends(reader.all())
    assert (name, data["message"], data["code"]) == ("error", "RuntimeError: it broke", "RuntimeError")
    assert "traceback" not in data
    assert reader.frames[-1].id == "end"
    wait_for(lambda: not registry.running, "the run to be over")
    told = capsys.readouterr().err
    assert told.startswith("The endpoint 'function")
    assert 'raise RuntimeError("it broke")' in told
    assert "endpoints/run.py" not in told


def test_what_only_looks_like_the_end_is_data(registry: Registry) -> None:
    declare("/x")(lambda: [Typed("done"), Typed("error"), 1])
    frames = Reader(registry, "/x").all()
    assert frames[:-1] == [("message", {"type": "done"}), ("message", {"type": "error"}), ("message", 1)]
    assert ends(frames) == CLOSED


def test_what_cannot_be_sent_is_an_error_that_says_why(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    for item, said in (
        ({"type": "progress"}, "missing required field `n`"),
        ("x" * (1 << 20), "an event at most 1048576 (SSE.max_event_bytes)"),
    ):
        declare("/x")(lambda item=item: [item])
        name, data = ends(Reader(registry, "/x").all())
        assert (name, data["code"]) == ("error", "bad_event")
        assert said in data["message"]
        wait_for(lambda: not registry.running, "the run to be over")
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("is_async", [False, True])
def test_no_more_is_made_than_the_reader_takes(registry: Registry, is_async: bool) -> None:
    made = 0

    def function() -> Iterator[str]:
        nonlocal made
        for made in range(1, 101):  # noqa: B007
            yield "x" * 1000

    async def function_async() -> AsyncIterator[str]:
        for item in function():
            yield item

    declare("/x")(function_async if is_async else function)
    reader = Reader(registry, "/x", credit=5000)
    reader.read(lambda: len(reader.frames) == 5, credit=False)
    assert not reader.rung.wait(0.1)
    assert made == 5
    assert isinstance(reader.call, Call)
    reader.call.outlet.credit(len(reader.data))
    assert len(reader.all()) == 101


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("waits", ["at the yield", "between"])
def test_a_reader_that_goes_closes_the_generator(registry: Registry, is_async: bool, waits: str) -> None:
    seen: list[str] = []
    go = threading.Event()

    def function() -> Iterator[str]:
        try:
            yield "x"
            if waits == "between":
                go.wait(20)
            yield "y"
            yield "z"
        except GeneratorExit:
            seen.append("exit")
            raise
        finally:
            seen.append("finally")

    async def function_async() -> AsyncIterator[str]:
        try:
            yield "x"
            if waits == "between":
                await asyncio.sleep(60)
            yield "y"
        except (GeneratorExit, asyncio.CancelledError):
            seen.append("exit")
            raise
        finally:
            seen.append("finally")

    declare("/x")(function_async if is_async else function)
    reader = Reader(registry, "/x", credit=1 if waits == "at the yield" else 1000)
    reader.read(lambda: reader.frames, credit=False)
    assert isinstance(reader.call, Call)
    reader.call.close()
    go.set()
    wait_for(lambda: not registry.running, "the generator to be closed")
    assert seen == ["exit", "finally"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_time_out_is_told_at_once_and_closes_the_generator(registry: Registry, is_async: bool) -> None:
    go, closed = threading.Event(), threading.Event()

    def function() -> Iterator[int]:
        try:
            yield 1
            go.wait(20)
            yield 2
        finally:
            closed.set()

    async def function_async() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            closed.set()

    declare("/x", timeout=1)(function_async if is_async else function)
    frames = Reader(registry, "/x").all()
    assert frames[0] == ("message", 1)
    assert ends(frames) == ("done", {"type": "done", "reason": "timeout"})
    go.set()
    assert closed.wait(10)


def test_what_a_finally_block_awaits_is_not_cancelled_by_a_second_end(registry: Registry) -> None:
    tidying, go, tidied = threading.Event(), threading.Event(), threading.Event()

    @declare("/x", timeout=1)
    async def function() -> AsyncIterator[int]:
        try:
            await asyncio.sleep(60)
            yield 1
        finally:
            tidying.set()
            await asyncio.to_thread(go.wait, 20)
            tidied.set()

    reader = Reader(registry, "/x")
    assert tidying.wait(20)
    assert isinstance(reader.call, Call)
    reader.call.close()
    go.set()
    assert tidied.wait(20)


def test_many_that_block_do_not_wait_for_each_other(registry: Registry) -> None:
    together = threading.Barrier(51)

    @declare("/x")
    def function() -> Iterator[int]:
        together.wait(20)
        yield 1

    readers = [Reader(registry, "/x") for _ in range(50)]
    with pytest.raises(CallError, match=r"50 calls of endpoints run at once here \(SSE.max_calls\)"):
        Reader(registry, "/x", most=50)
    together.wait(20)
    assert all(len(reader.all()) == 2 for reader in readers)


def test_declared_anew_it_ends_what_runs_and_whoever_comes_back_begins_anew(registry: Registry) -> None:
    go = threading.Event()

    @declare("/a/<x>")
    def function(x: str) -> Iterator[str]:
        yield "old"
        go.wait(20)
        yield "never"

    reader = Reader(registry, "/a/1")
    reader.read(lambda: reader.frames)
    declare("/a/<y>")(lambda y: ["new"])
    assert ends(reader.all()) == CLOSED
    assert reader.frames[-1].id == ""
    go.set()
    assert [data for _, data in Reader(registry, "/a/1").all()][:1] == ["new"]
    assert len(registry.endpoints) == 1


# Sessions and broadcasts.


def hosting(registry: Registry) -> Hosting:
    assert isinstance(registry.host, Hosting)
    return registry.host


def session(registry: Registry, path: str, **query: str) -> Session:
    call = Reader(registry, path, query).call
    assert isinstance(call, Session)
    return call


def test_a_call_that_is_over_is_forgotten_before_its_time_limit(registry: Registry) -> None:
    def function() -> Iterator[int]:
        yield 1

    declare("/x", timeout=1000)(function)
    reader = Reader(registry, "/x")
    reader.all()
    wait_for(lambda: not registry.running, "the run to be over")
    assert isinstance(reader.call, Call)
    ended = Run(function, {}, reader.call.outlet, context=contextvars.copy_context(), timeout=1000)
    ended.close(Done())
    ended.start()
    runs = [weakref.ref(reader.call._run), weakref.ref(ended)]
    del reader, ended

    def are_forgotten() -> bool:
        gc.collect()
        return not any(run() for run in runs)

    wait_for(are_forgotten, "the runs to be forgotten", 20)


def test_who_joins_a_run_makes_no_more_of_them(registry: Registry) -> None:
    go = threading.Event()

    @declare("/x/<name>", mode="shared")
    def function(name: str) -> Iterator[int]:
        go.wait(20)
        yield 1

    first = Reader(registry, "/x/a", most=1).call
    assert Reader(registry, "/x/a", most=1).call is first
    with pytest.raises(CallError, match=r"SSE\.max_calls"):
        Reader(registry, "/x/b", most=1)
    go.set()


def test_a_shared_endpoint_has_one_run_for_a_path_and_its_arguments(registry: Registry) -> None:
    @declare("/sum/<int:n>", mode="shared")
    def function(n: int, more: int = 0) -> Iterator[int]:
        yield n + more

    first = session(registry, "/sum/1")
    wait_for(lambda: first.end_event, "the end")
    assert first.is_new()
    assert session(registry, "/sum/1", other="2") is first
    assert not first.is_new()
    assert session(registry, "/sum/1", more="2") is not first
    assert session(registry, "/sum/2") is not first
    events = hosting(registry).logs[0].events
    assert events[0] == Unknown("message", {"data": 1})
    assert events[1].reason == "closed"


def test_a_broadcast_reaches_a_session_by_path_and_by_its_parameter(registry: Registry) -> None:
    @declare("/up/<name>", mode="shared")
    def function(name: str) -> None: ...

    registry.broadcast("a b", {"type": "progress", "n": 1})  # before anybody watches
    watched = session(registry, "/up/a%20b")
    assert not watched.is_new(), "a broadcast came before"
    registry.broadcast("/up/a b", {"type": "progress", "n": 2})
    registry.broadcast("/up/a%20b", {"n": 3})
    registry.broadcast("other", {"type": "progress", "n": 9})
    log, other = hosting(registry).logs
    assert watched.publisher is log
    assert log.events == [Progress(n=1), Progress(n=2), Unknown("message", {"n": 3})]
    registry.broadcast("a b", {"type": "done", "result": "there"})
    assert log.events[-1].result == "there"
    assert session(registry, "/up/a%20b") is watched, "it is over, and who comes now sees that"
    registry.broadcast("a b", {"type": "progress", "n": 4})
    assert hosting(registry).logs[2].events == [Progress(n=4)], "more begins it anew"
    assert other.events == [Progress(n=9)]
    registry.broadcast("a b", {"type": "error", "message": "no"})
    for reason in ("timeout", "cancelled"):
        registry.broadcast(reason, {"type": "done", "reason": reason})
        assert session(registry, f"/up/{reason}").publisher is hosting(registry).logs[-1], "so is an end that was told"
    assert session(registry, "/up/a%20b").publisher is hosting(registry).logs[2], (
        "an error that was told is kept as well"
    )
    registry.broadcast("خبز", 1)
    assert hosting(registry).logs[-1].id.startswith("/up/خبز#")
    declare("/count/<int:n>", mode="shared")(lambda n: None)
    registry.broadcast(7, {"type": "progress", "n": 1})
    assert session(registry, "/count/7").publisher is hosting(registry).logs[-1]
    with pytest.raises(LookupError, match="Nobody can watch '/down/1'"):
        registry.broadcast("/down/1", 1)
    with pytest.raises(EventError):
        registry.broadcast("a b", {"type": "progress"})


def test_a_broadcast_joins_what_a_generator_yields_and_begins_none(registry: Registry) -> None:
    go = threading.Event()

    @declare("/job/<name>", mode="shared")
    def function(name: str) -> Iterator[Any]:
        yield {"type": "progress", "n": 1}
        go.wait(20)
        yield {"type": "progress", "n": 2}

    registry.broadcast("a", {"type": "log", "text": "too early"})
    assert not hosting(registry).logs
    session(registry, "/job/a")
    (log,) = hosting(registry).logs
    wait_for(lambda: log.events, "the first event")
    registry.broadcast("a", {"type": "done"})
    assert [type(event) for event in log.events] == [Progress, Done]
    go.set()
    wait_for(lambda: not registry.running, "the generator to be closed")
    assert len(log.events) == 2


@pytest.mark.parametrize("how", ["unwatched", "failed", "full", "gone", "timeout", "cancelled"])
def test_a_session_that_was_given_up_begins_anew(registry: Registry, how: str) -> None:
    go = threading.Event()

    @declare("/x", mode="shared")
    def function() -> Iterator[int]:
        yield 1
        go.wait(20)
        if how == "failed":
            raise RuntimeError
        yield 2

    first = session(registry, "/x")
    (log,) = hosting(registry).logs
    wait_for(lambda: log.events, "the first event")
    if how == "unwatched":
        log.on_unwatched()
        assert log.events[-1].reason == "closed"
    elif how == "full":
        log.closed = True
    elif how == "timeout":
        assert first.run is not None
        first.run.close(Done(reason="timeout"))
    elif how == "cancelled":
        log.on_cancel()
    go.set()
    wait_for(lambda: not registry.running, "the run to be over")
    gone = log.id if how == "gone" else None
    again = registry.endpoints["/x"].join("/x", {}, hosting(registry), gone=gone)
    assert again is not first


def test_a_session_without_a_run_is_over_when_nobody_watches_and_nothing_comes(registry: Registry) -> None:
    declare("/up/<name>", mode="shared", timeout=1000)(lambda name: None)
    first = session(registry, "/up/a")
    (log,) = hosting(registry).logs
    wait_for(lambda: not registry.running, "the function to have returned")
    log.on_unwatched()
    assert first.end_event is None
    first._fed_at -= 2000
    log.on_unwatched()
    assert first.end_event is not None
    assert session(registry, "/up/a") is not first


def test_cancel_ends_a_session(registry: Registry) -> None:
    go = threading.Event()

    @declare("/x", mode="shared")
    def function() -> Iterator[int]:
        while True:
            yield 1
            go.wait(20)

    session(registry, "/x")
    (log,) = hosting(registry).logs
    log.on_cancel()
    assert log.events[-1].reason == "cancelled"
    go.set()
    wait_for(lambda: not registry.running, "the generator to be closed")


def test_what_makes_no_endpoint_is_refused(registry: Registry) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"mode": "both"}, "mode"),
        ({"timeout": 0}, "timeout"),
        ({"methods": ["PUT"]}, "methods"),
        ({"methods": []}, "methods"),
    ]
    for arguments, said in refused:
        with pytest.raises(ValueError, match=said):
            declare("/x", **arguments)(lambda: None)
    assert not registry.endpoints
