"""Python's `logging` in a stream's log."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest

from jupyter_sse import handler, task, track

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_sse.state import Snapshot
    from kernel.link_server import LinkServer


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """One whose records go nowhere else."""
    logger = logging.Logger("app")
    yield logger
    logger.handlers.clear()


def records(snapshot: Snapshot) -> list[tuple[str, str | None, str]]:
    return [(line.text, line.level, line.source) for line in snapshot.log.lines]


def test_records_with_levels_and_tracebacks(logger: logging.Logger) -> None:
    logger.addHandler(handler(level="INFO"))
    with task("Work") as t:
        logger.debug("too little")
        logger.info("one %s", 1)
        logger.critical("two")
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            logger.exception("three")
    assert records(t.snapshot)[:3] == [
        ("one 1", "info", "logging"),
        ("two", "critical", "logging"),
        ("three", "error", "logging"),
    ]
    assert t.snapshot.log.lines[-1].text == "ZeroDivisionError: division by zero"


def test_the_innermost_stream_gets_them_unless_a_task_is_named(logger: logging.Logger) -> None:
    with task("Outer") as outer, task("Inner") as inner:
        logger.addHandler(handler())
        for _ in track(range(1)):
            logger.info("around")
        logger.handlers = [handler(outer)]
        logger.info("named")
    logger.info("after the end")
    assert [text for text, _, _ in records(outer.snapshot)] == ["named"]
    assert [text for text, _, _ in records(inner.snapshot)] == ["around"]


def test_where_no_stream_is_nothing_happens(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logger.addHandler(handler())
    logger.warning("nobody's")
    assert capsys.readouterr() == ("", "")


def test_threads_may_log(logger: logging.Logger) -> None:
    with task("Work") as t:
        logger.addHandler(handler(t))

        def work(name: int) -> None:
            for i in range(50):
                logger.info("%d %d", name, i)

        threads = [threading.Thread(target=work, args=[name]) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert t.snapshot.log.count == 200


def test_what_the_link_logs_is_not_sent(linked: LinkServer, logger: logging.Logger) -> None:
    with task("Work") as t:
        logger.addHandler(handler(t))
        seen = threading.Event()

        def heard(first: int, events: object) -> float:
            logger.info("the link's thread")
            seen.set()
            return 0.0

        t._running.listen(heard)
        logger.info("ours")
        assert seen.wait(10)
    assert [text for text, _, _ in records(t.snapshot)] == ["ours"]


def test_a_record_that_logs_while_it_is_formatted(logger: logging.Logger) -> None:
    class Chatty:
        def __str__(self) -> str:
            logger.info("being formatted")
            return "chatty"

    with task("Work") as t:
        logger.addHandler(handler(t))
        logger.info(Chatty())
    assert [text for text, _, _ in records(t.snapshot)] == ["chatty"]


def test_a_record_that_cannot_be_formatted_breaks_nothing(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    with task("Work") as t:
        logger.addHandler(handler(t))
        logger.info("%d", "no number")
        logger.info("goes on")
    assert "Logging error" in capsys.readouterr().err
    assert [text for text, _, _ in records(t.snapshot)] == ["goes on"]
