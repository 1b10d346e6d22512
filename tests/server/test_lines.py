"""A stream's log by its lines, over HTTP."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import JupyterServer

from jupyter_sse.server.lines import MATCHES


def log(text: str, **fields: Any) -> str:
    return json.dumps({"type": "log", "text": text, **fields})


def ask(server: JupyterServer, stream: str, **query: Any) -> dict[str, Any]:
    answer = server.request("GET", f"streams/{stream}/log", params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def texts(told: dict[str, Any]) -> list[tuple[int, str]]:
    return [(line["line"], line["text"]) for line in told["lines"]]


def numbered(numbers: Sequence[int]) -> list[tuple[int, str]]:
    return [(number, f"line {number}") for number in numbers]


@pytest.fixture(scope="module")
def long(server: JupyterServer) -> str:
    """100 000 lines: one an event, several an event, and other events between them."""
    stream = server.create()
    for start in range(1, 100_001, 10_000):
        events = [log(f"line {number}") for number in range(start, start + 5000)]
        for number in range(start + 5000, start + 10_000, 50):
            many = "".join(f"line {one}\n" for one in range(number, number + 50))
            events += [log(many), json.dumps({"type": "progress", "n": number})]
        assert server.append(stream, *events).status_code == 200
    return stream


def test_any_lines_are_told_by_their_numbers(server: JupyterServer, long: str) -> None:
    told = ask(server, long)
    assert (told["count"], told["first"]) == (100_000, 1)
    assert texts(told) == numbered(range(99_801, 100_001))
    for before, limit in ((2, 5), (18, 1), (201, 200), (5003, 4), (77_777, 1000), (100_001, 3), (10**15, 2)):
        last = min(before, 100_001)
        assert texts(ask(server, long, before=before, limit=limit)) == numbered(range(max(1, last - limit), last))
    for query in ({"before": 1}, {"before": 0}, {"limit": 0}):
        assert texts(ask(server, long, **query)) == []
    assert len(ask(server, long, limit=10**9)["lines"]) == 1000


def test_the_whole_log_is_searched(server: JupyterServer, long: str) -> None:
    told = ask(server, long, q="LINE 17")
    expected = [number for number in range(1, 100_001) if str(number).startswith("17")]
    assert (told["total"], told["matches"]) == (len(expected), expected)
    assert ask(server, long, q="line 17", after=17_000)["matches"] == [one for one in expected if one > 17_000]
    many = ask(server, long, q="line")
    assert (many["total"], many["matches"]) == (100_000, list(range(100_001 - MATCHES, 100_001)))
    for text in ("nothing", "line.17", "1\nline"):
        assert ask(server, long, q=text)["total"] == 0


def test_a_log_that_grows(server: JupyterServer) -> None:
    stream = server.create()
    assert ask(server, stream) == {"count": 0, "first": 1, "lines": []}
    for number in range(1, 6):
        server.append(stream, log(f"line {number}", level="error", source="logging"))
        told = ask(server, stream)
        assert texts(told) == numbered(range(1, number + 1))
    assert told["lines"][0] == {"line": 1, "text": "line 1", "level": "error", "source": "logging"}
    server.append(stream, log(""), log("\n"), log("a\n\nb\n"), log("سطر"))
    assert texts(ask(server, stream, limit=6)) == [(6, ""), (7, ""), (8, "a"), (9, ""), (10, "b"), (11, "سطر")]
    assert ask(server, stream, q="سطر")["matches"] == [11]


def test_a_line_that_is_drawn_again_is_told_as_it_was_last(server: JupyterServer) -> None:
    stream = server.create()
    server.append(
        stream, log("before"), log("bar 10 %", key="bar"), log("after"), log("\x1b[31mbar\x1b[0m 99 %", key="bar")
    )
    assert [text for _, text in texts(ask(server, stream))] == ["before", "\x1b[31mbar\x1b[0m 99 %", "after"]
    assert ask(server, stream, q="10 %")["matches"] == []
    assert ask(server, stream, q="bar 99")["matches"] == [2]
    # Farther back than the reducer remembers it, it is a new line; also across what is counted at a time.
    server.append(stream, *[log(f"line {number}") for number in range(4, 2004)], log("bar 100 %", key="bar"))
    server.append(stream, log("end"), log("bar: done", key="bar"))
    told = ask(server, stream, limit=3)
    assert texts(told) == [(2003, "line 2003"), (2004, "bar: done"), (2005, "end")]
    assert told["count"] == server.request("GET", f"streams/{stream}").json()["log"]["count"]
    assert texts(ask(server, stream, before=3, limit=1))[0][1].endswith("99 %")


def test_a_line_without_end_is_cut(server: JupyterServer) -> None:
    stream = server.create()
    server.append(stream, log("x" * 100_000 + "end"))
    (line,) = ask(server, stream)["lines"]
    assert line["text"] == "x" * 4000 + "\n… (96003 more characters)"
    assert ask(server, stream, q="end")["matches"] == [1]


def test_what_was_trimmed_is_not_told(make_server: Any, tmp_path: Path) -> None:
    server = make_server(home=tmp_path / "home")
    stream = server.create()
    server.append(stream, *[log(f"line {number}") for number in range(1, 501)])
    server.append(stream, *[log(f"line {number}") for number in range(501, 3001)])
    server.request("GET", f"streams/{stream}")  # a snapshot is kept
    server.stop()
    with sqlite3.connect(tmp_path / "home" / "data" / "jupyter-sse" / "streams.db") as db:
        db.execute("DELETE FROM events WHERE key & 0xFFFFFFFF <= 401")  # of them one is the start
        db.execute("UPDATE streams SET first = 402")
    server.start()
    told = ask(server, stream, before=403)
    assert (told["count"], told["first"]) == (3000, 401)
    assert texts(told) == numbered([401, 402])
    assert texts(ask(server, stream, before=2500, limit=3)) == numbered([2497, 2498, 2499])
    assert ask(server, stream, q="line 4")["matches"] == list(range(401, 500))


@pytest.mark.parametrize("query", ["before=x", "before=-1", "limit=1e3", "after=٣", "q=", f"q={'x' * 201}"])
def test_bad_questions(server: JupyterServer, query: str) -> None:
    answer = server.request("GET", f"streams/{server.create()}/log?{query}")
    assert answer.status_code == 400
    assert answer.json()["code"] in ("bad_line", "bad_query")


def test_unknown_and_deleted_streams(server: JupyterServer) -> None:
    assert server.request("GET", "streams/nope/log").status_code == 404
    stream = server.create()
    server.request("DELETE", f"streams/{stream}")
    assert server.request("GET", f"streams/{stream}/log").status_code == 410
    answer = server.request("GET", f"streams/{stream}/log", headers={"Authorization": "token wrong"})
    assert answer.status_code == 403
