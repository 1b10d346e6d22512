"""`stream`: how sources of any kind are run, ended, cancelled and closed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_sse import Answer, Cancelled, StreamError, stream
from jupyter_sse.chat.chunks import UnknownChunkError
from jupyter_sse.events import Done, Error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


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
    with pytest.raises(TypeError, match="not bytes"):
        stream(b"text")
    with pytest.raises(TypeError, match="not a dict with keys"):
        stream({"text": "text"})


class Manager:
    """A context manager that gives a source."""

    def __init__(self, given: Any) -> None:
        self.given = given
        self.left: list[Any] = []

    def __enter__(self) -> Any:
        return self.given

    def __exit__(self, kind: Any, *rest: Any) -> None:
        self.left.append(kind)


class AsyncManager:
    def __init__(self, given: Any) -> None:
        self.given = given
        self.left: list[Any] = []

    async def __aenter__(self) -> Any:
        return self.given

    async def __aexit__(self, kind: Any, *rest: Any) -> None:
        self.left.append(kind)


@pytest.mark.parametrize("kind", [Manager, AsyncManager], ids=["sync", "async"])
def test_a_context_manager_is_entered_and_left(kind: Any) -> None:
    def made(*items: Any) -> Any:
        return kind(words(*items) if kind is AsyncManager else iter(items))

    manager = made("a", "b")
    assert stream(manager).text == "ab"
    assert manager.left == [None]
    manager = made("a", object())
    with pytest.raises(TypeError, match="yields object"):
        stream(manager)
    assert manager.left == [UnknownChunkError]
    manager = kind(5)
    with pytest.raises(TypeError, match="not int"):
        stream(manager)
    assert manager.left == [UnknownChunkError]


def test_a_source_is_closed_at_the_end() -> None:
    source = Closing(["a"])
    stream(source)
    assert source.closed
    source = Closing(["a", Done(reason="length"), "never read"])
    answer = stream(source)
    assert (answer.text, answer.snapshot.reason, source.closed) == ("a", "length", True)


def test_a_source_that_cannot_be_closed_does_not_hide_what_happened() -> None:
    class Stuck(Closing):
        def close(self) -> None:
            raise OSError("cannot close")

    assert stream(Stuck(["a"])).text == "a"
    with pytest.raises(TypeError, match="yields object"):
        stream(Stuck(["a", object()]))


def test_an_error_that_the_source_words_itself() -> None:
    source = Closing(["half", Error(message="Too many questions.", code="rate_limited", retryable=True), "more"])
    with pytest.raises(StreamError, match=r"^Too many questions\.$") as raised:
        stream(source)
    answer = raised.value.answer
    assert (answer.text, answer.status, answer.error) == ("half", "error", "Too many questions.")
    error = answer.snapshot.error
    assert (error.message, error.code, error.retryable) == ("Too many questions.", "rate_limited", True)
    assert answer.snapshot.log.count == 0
    assert source.closed


def test_a_cancel_that_the_source_reports() -> None:
    with pytest.raises(Cancelled):
        stream(["half", Done(reason="cancelled")])


class Both:
    """A stream that is sync and async at once, as LiteLLM's are: it works as what it was made of."""

    def __init__(self, completion_stream: Any = None, make_call: Any = None) -> None:
        self.completion_stream = completion_stream
        self.make_call = make_call

    def __iter__(self) -> Any:
        return iter(["sync"])

    async def __aiter__(self) -> Any:
        yield "async"


def test_a_stream_of_both_kinds_works_as_the_one_that_it_was_made_for() -> None:
    async def call() -> None: ...

    assert stream(Both(iter([]))).text == "sync"
    assert stream(Both(make_call=print)).text == "sync"
    assert stream(Both(words())).text == "async"
    assert stream(Both(make_call=call)).text == "async"

    async def awaited() -> Both:
        return Both(iter([]))

    assert stream(awaited()).text == "async"


def test_an_interrupt_goes_on() -> None:
    def source() -> Iterator[str]:
        yield "half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream(source())


def test_cancel_closes_the_source(answers: list[Answer]) -> None:
    class Source(Closing):
        def __next__(self) -> str:
            if len(answers[0].text) == 3:
                answers[0].cancel()
            return "x"

    source = Source([])
    with pytest.raises(Cancelled):
        stream(source)
    assert source.closed
    assert (answers[0].status, answers[0].text) == ("cancelled", "xxx")


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
