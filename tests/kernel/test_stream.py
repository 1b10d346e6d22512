"""`stream`: answers from iterators of text and of an OpenAI client's chunks."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_sse import Answer, Cancelled, StreamError, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def chunk(text: str | None = None, **delta: Any) -> Any:
    choice = SimpleNamespace(delta=SimpleNamespace(content=text, **delta), finish_reason=None)
    return SimpleNamespace(choices=[choice], usage=None)


def last(reason: str = "stop", usage: tuple[int, int] | None = (7, 5)) -> list[Any]:
    end = SimpleNamespace(
        choices=[SimpleNamespace(delta=SimpleNamespace(content=None), finish_reason=reason)], usage=None
    )
    if usage is None:
        return [end]
    used = SimpleNamespace(prompt_tokens=usage[0], completion_tokens=usage[1])
    return [end, SimpleNamespace(choices=[], usage=used)]


class Closing:
    """A source that knows whether it was closed."""

    def __init__(self, items: list[Any]) -> None:
        self._items = iter(items)
        self.closed = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._items)

    def close(self) -> None:
        self.closed = True


def test_an_iterator_of_str(capsys: pytest.CaptureFixture[str]) -> None:
    answer = stream(iter(["Hello ", "", "world"]), title="Q", model="m")
    assert (str(answer), answer.text, answer.status, answer.error, answer.usage) == (
        "Hello world",
        "Hello world",
        "done",
        None,
        None,
    )
    assert repr(answer) == "<Answer done, 11 characters>"
    assert capsys.readouterr().out == "Hello world\n"
    snapshot = answer.snapshot
    assert (snapshot.title, snapshot.kind, snapshot.model, snapshot.text) == ("Q", "answer", "m", "Hello world")


@pytest.mark.parametrize("source", [["a", "b"], ("a", "b"), "ab", (c for c in "ab"), [None, "ab"]])
def test_any_iterable(source: Any) -> None:
    assert stream(source).text == "ab"


def test_openai_chunks() -> None:
    answer = stream([chunk(""), chunk(None, reasoning_content="hm "), chunk("Hi"), chunk(" there"), *last()])
    assert (answer.text, answer.reasoning) == ("Hi there", "hm ")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 5)
    assert answer.snapshot.reasoning == "hm "
    assert answer.snapshot.reason == "stop"


def test_openai_chunks_as_dicts_and_the_length_limit() -> None:
    answer = stream([{"choices": [{"delta": {"content": "cut"}, "finish_reason": "length"}]}])
    assert (answer.text, answer.status, answer.snapshot.reason) == ("cut", "done", "length")


def test_tool_calls_come_in_pieces() -> None:
    def piece(index: int, **fields: Any) -> Any:
        function = {"name": fields.get("name"), "arguments": fields.get("arguments")}
        return {
            "choices": [{"delta": {"tool_calls": [{"index": index, "id": fields.get("id"), "function": function}]}}]
        }

    answer = stream(
        [
            piece(0, id="a", name="add", arguments='{"x"'),
            piece(0, arguments=": 1}"),
            piece(1, id="b", name="say", arguments="not json"),
        ]
    )
    assert [(tool.id, tool.name, tool.phase, tool.args) for tool in answer.snapshot.tools] == [
        ("a", "add", "call", {"x": 1}),
        ("b", "say", "call", "not json"),
    ]


def test_a_source_that_raises() -> None:
    def source() -> Iterator[str]:
        yield "half "
        raise OSError("connection lost")

    with pytest.raises(StreamError, match="connection lost") as raised:
        stream(source())
    assert isinstance(raised.value.__cause__, OSError)
    answer = raised.value.answer
    assert (answer.text, answer.status, answer.error) == ("half ", "error", "OSError: connection lost")
    assert answer.snapshot.error.code == "OSError"


def test_an_unknown_item_is_named() -> None:
    source = Closing(["text", b"bytes"])
    with pytest.raises(TypeError, match="yields bytes"):
        stream(source)
    assert source.closed


def test_what_is_no_source() -> None:
    with pytest.raises(TypeError, match="not int"):
        stream(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="stream=True"):
        stream(chunk("a whole completion"))


def test_an_interrupt_goes_on() -> None:
    def source() -> Iterator[str]:
        yield "half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream(source())


def test_cancel_closes_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Answer] = []
    original = Answer.__init__

    def remember(self: Answer, *args: Any) -> None:
        original(self, *args)
        made.append(self)

    monkeypatch.setattr(Answer, "__init__", remember)

    class Source(Closing):
        def __next__(self) -> str:
            if len(made[0].text) == 3:
                made[0].cancel()
            return "x"

    source = Source([])
    with pytest.raises(Cancelled):
        stream(source)
    assert source.closed
    assert (made[0].status, made[0].text) == ("cancelled", "xxx")


async def words(*items: str) -> AsyncIterator[str]:
    for item in items:
        await asyncio.sleep(0)
        yield item


def test_async_where_no_loop_runs() -> None:
    assert stream(words("a ", "b")).text == "a b"


def test_async_in_a_running_loop() -> None:
    async def main() -> None:
        answer = stream(words("a ", "b"))
        assert answer.status == "running"
        assert await answer is answer
        assert (answer.text, answer.status) == ("a b", "done")
        assert await stream(words()) is not answer

    asyncio.run(main())


def test_a_coroutine_that_makes_the_source() -> None:
    async def create() -> AsyncIterator[str]:
        return words("from ", "a client")

    async def main() -> str:
        return (await stream(create())).text

    assert asyncio.run(main()) == "from a client"


def test_async_errors() -> None:
    async def source() -> AsyncIterator[str]:
        yield "half"
        raise OSError("gone")

    async def main() -> None:
        answer = stream(source())
        with pytest.raises(StreamError, match="gone"):
            await answer
        assert (answer.status, answer.text) == ("error", "half")

    asyncio.run(main())
    with pytest.raises(StreamError, match="gone"):
        stream(source())


def test_async_cancel_reaches_a_source_that_waits() -> None:
    closed = False

    async def source() -> AsyncIterator[str]:
        nonlocal closed
        try:
            yield "half"
            await asyncio.sleep(60)
        finally:
            closed = True

    async def main() -> Answer:
        answer = stream(source())
        while not answer.text:
            await asyncio.sleep(0)
        answer.cancel()
        with pytest.raises(Cancelled):
            await answer
        return answer

    started = time.monotonic()
    assert asyncio.run(main()).status == "cancelled"
    assert time.monotonic() - started < 10
    assert closed


def test_async_time_out_of_the_one_who_waits() -> None:
    async def source() -> AsyncIterator[str]:
        yield "half"
        await asyncio.sleep(60)

    async def main() -> Answer:
        answer = stream(source())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(answer, 0.05)
        return answer

    assert asyncio.run(main()).status == "cancelled"


def test_a_million_characters() -> None:
    answer = stream("x" * 1000 for _ in range(1000))
    assert len(answer.text) == 1_000_000
    assert len(answer.snapshot.text) == 1_000_000


def test_asking_for_the_text_after_each_piece_is_cheap() -> None:
    answer = None

    def source() -> Iterator[str]:
        for _ in range(20_000):
            yield "word "

    started = time.process_time()
    answer = stream(source())
    for _ in range(20_000):
        assert answer.text
    assert time.process_time() - started < 5


def test_the_openai_client() -> None:
    openai = pytest.importorskip("openai")
    httpx = pytest.importorskip("httpx")

    def data(**fields: Any) -> str:
        return json.dumps({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields})

    lines = [
        data(choices=[{"index": 0, "delta": {"content": "Hi"}}]),
        data(choices=[{"index": 0, "delta": {"content": " مرحبا"}, "finish_reason": "stop"}]),
        data(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
        "[DONE]",
    ]
    body = "".join(f"data: {line}\n\n" for line in lines)

    def answer_request(request: Any) -> Any:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=body)

    with httpx.Client(transport=httpx.MockTransport(answer_request)) as http:
        client = openai.OpenAI(api_key="none", base_url="http://model.test/v1", http_client=http)
        answer = stream(
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True)
        )
    assert answer.text == "Hi مرحبا"
    assert answer.usage is not None
    assert answer.usage.input_tokens == 3
