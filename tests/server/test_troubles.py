"""The troubles of docs/troubleshooting.md: each is made to appear, and to go away by what the page says."""

from __future__ import annotations

import json
from http.client import IncompleteRead
from pathlib import Path

import pytest
from conftest import MakeServer
from harness import JupyterServer
from proxies import nginx
from reading import Reading

from jupyter_sse.sse import Decoder

GATE = """
import asyncio
from pathlib import Path


async def gate(question):
    yield "One "
    while not Path({go!r}).exists():
        await asyncio.sleep(0.01)
    yield "two."


c.SSE.providers = {{"gate": gate}}
"""


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """The model says its second word when this file exists."""
    return tmp_path / "go"


def gated(make_server: MakeServer, home: Path, go: Path, *options: str) -> JupyterServer:
    (home / "config").mkdir(parents=True)
    (home / "config" / "jupyter_server_config.py").write_text(GATE.format(go=str(go)))
    return make_server(*options, home=home)


def text_of(reading: Reading) -> str:
    return "".join(json.loads(frame.data)["text"] for frame in reading.frames if frame.event == "delta")


def test_a_proxy_that_buffers_shows_nothing_until_the_end(make_server: MakeServer, tmp_path: Path, go: Path) -> None:
    server = gated(make_server, tmp_path / "home", go)
    buffering = "proxy_ignore_headers X-Accel-Buffering;"
    with nginx(server, tmp_path / "wrong", buffering) as port, pytest.raises(TimeoutError):
        Reading(server, "chat?q=x&model=gate", port=port, timeout=1).read(1)
    with nginx(server, tmp_path / "right") as port:
        reading = Reading(server, "chat?q=x&model=gate", port=port)
        reading.read(3)
        assert text_of(reading) == "One"
        go.touch()
        reading.read()
        assert text_of(reading) == "One two."


def test_a_proxy_cuts_what_is_silent_and_heartbeats_keep_it(make_server: MakeServer, tmp_path: Path, go: Path) -> None:
    impatient = "proxy_read_timeout 1s;"
    mute = gated(make_server, tmp_path / "mute", go)  # the next heartbeat is 20 s away
    with nginx(mute, tmp_path / "wrong", impatient) as port:
        reading = Reading(mute, "chat?q=x&model=gate", port=port)
        with pytest.raises(IncompleteRead):
            reading.read()
        assert [reading.frames[-1].event, text_of(reading)] == ["delta", "One"]
        back = Reading(mute, "chat?q=x&model=gate", port=port, Last_Event_ID=reading.frames[-1].id)
        go.touch()
        back.read()
        assert text_of(reading) + text_of(back) == "One two."
    go.unlink()
    beating = gated(make_server, tmp_path / "beating", go, "--SSE.heartbeat=0.3")
    with nginx(beating, tmp_path / "right", impatient) as port:
        reading = Reading(beating, "chat?q=x&model=gate", port=port)
        reading.read(3, pings=7)
        go.touch()
        reading.read()
        assert text_of(reading) == "One two."


def test_bytes_decoded_a_chunk_at_a_time_are_mangled(make_server: MakeServer, tmp_path: Path, go: Path) -> None:
    server = gated(make_server, tmp_path / "home", go)
    go.touch()
    body = server.request("GET", "chat", params={"q": "لماذا؟"}).content
    chunks = [body[start : start + 7] for start in range(0, len(body), 7)]
    naive = "".join(chunk.decode(errors="replace") for chunk in chunks)
    assert "\ufffd" in naive
    decoder = Decoder()
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    text = "".join(json.loads(frame.data)["text"] for frame in frames if frame.event == "delta")
    assert "النموذج التجريبي" in text
    assert "\ufffd" not in text
