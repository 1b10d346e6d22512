"""Films: pictures under one key that come faster than anybody can see them."""

from __future__ import annotations

import base64
import threading
import time
from typing import Any

import pytest
from harness import JupyterServer
from reading import frames_of

from jupyter_sse import task
from jupyter_sse.address import parse
from jupyter_sse.kernel import frames, link
from jupyter_sse.kernel.frames import Frames


@pytest.fixture
def sent_to(make_server: Any) -> JupyterServer:
    server: JupyterServer = make_server()
    link.use(link.Link(parse(server.url, server.token)))
    return server


def picture(number: int, size: int = 20_000) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + number.to_bytes(4, "big") * (size // 4)


def test_a_film_ends_with_its_last_frame_and_costs_the_log_nothing(sent_to: JupyterServer) -> None:
    with task("Film") as t:
        number = 0
        while t.snapshot.seq < 12:
            number += 1
            t.preview(picture(number), key="film", alt=f"frame {number}")
        t.preview(picture(1), key="other")
    (film, other) = t.snapshot.previews
    assert (film.alt, base64.b64decode(film.data or "")) == (f"frame {number}", picture(number))
    assert other.key == "other"
    raw = sent_to.request("GET", f"streams/{t.id}/events").content
    shown = [frame for frame in frames_of(raw) if frame.event == "preview"]
    assert 10 < len(shown) < number / 2
    assert len(raw) < 60_000 + 400 * len(shown)  # but for the first of each key, by reference
    (entry,) = sent_to.request("GET", "streams").json()
    assert entry["bytes"] < 5 << 20


def test_what_waits_is_replaced_and_never_what_comes_last() -> None:
    sent: list[str] = []
    begun, free = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        free.wait(10)
        sent.append("first")

    several = Frames()
    several.put("a", first)
    assert begun.wait(10)
    assert several.is_film("a")
    for name in ("second", "third"):
        several.put("a", lambda name=name: sent.append(name))  # type: ignore[misc]
    several.put("b", lambda: sent.append("other"))
    free.set()
    several.flush(10)
    assert sent[0] == "first"
    assert sorted(sent[1:]) == ["other", "third"]


def test_no_more_than_thirty_a_second_and_the_thread_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "FILM", 0.05)
    times: list[float] = []
    several = Frames()
    for _ in range(2):
        several.put("a", lambda: times.append(time.monotonic()))
        several.flush(10)
    assert times[1] - times[0] >= frames.PACE * 0.99
    thread = several._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    several.put("a", lambda: times.append(0))
    several.flush(10)
    assert times[2] == 0


def test_pictures_that_take_their_time_are_all_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "FILM", 0.0)
    seen: list[str | None] = []
    with task("Sharpen") as t:
        for number in range(3):
            t.preview(picture(number), key="image", alt=str(number))
            seen.append(t.snapshot.previews[0].alt)
    assert seen == ["0", "1", "2"]


def test_a_frame_that_cannot_be_shown_is_said_once_and_the_work_goes_on() -> None:
    with task("Film") as t:
        for number in range(5):
            t.preview(b"\0\0\0\x18ftypisom" + bytes([number]) * (2 << 20 if number else 10), key="film")
            t._running._frames.flush(10)
    assert [line.text.partition(":")[0] for line in t.snapshot.log.lines] == ["A frame could not be shown"]
    with pytest.raises(ValueError, match="not a picture"), task("Film") as t:
        for _ in range(2):
            t.preview(b"\x89PNG\r\n\x1a\n", key="film")
        t.preview(b"not a picture, and said at once", key="film")
