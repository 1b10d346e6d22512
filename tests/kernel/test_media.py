"""What is too large for an event goes to a real server by itself, and stays in the notebook."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import pytest
from harness import JupyterServer, wait_for

from jupyter_sse import task
from jupyter_sse.address import parse
from jupyter_sse.kernel import link
from jupyter_sse.kernel.media import ONE
from jupyter_sse.kernel.preview import INLINE
from jupyter_sse.output import mimebundle

Image = pytest.importorskip("PIL.Image")


def film(size: int, mark: int = 0) -> bytes:
    return b"\0\0\0\x18ftypisom" + bytes([mark]) * size


@pytest.fixture
def sent_to(make_server: Any) -> JupyterServer:
    """A real server, with this process's streams going to it by the secret that kernels get."""
    server: JupyterServer = make_server()
    link.use(link.Link(parse(server.url, server.token)))
    return server


def snapshot_of(server: JupyterServer, stream: str, status: str = "done") -> dict[str, Any]:
    def told() -> Any:
        answer = server.request("GET", f"streams/{stream}").json()
        return answer if answer.get("status") == status else None

    found: dict[str, Any] = wait_for(told, f"the stream to be {status}")
    return found


def load(server: JupyterServer, url: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{server.port}{url}", headers=server.headers, trust_env=False, timeout=60)


def test_large_ones_go_by_reference(sent_to: JupyterServer) -> None:
    small, large = film(1000), film(3 << 20)
    with task("Films") as t:
        t.preview(small)
        t.preview(large, alt="large", key="film")
        t.result = film(INLINE + 1, 7)
    told = snapshot_of(sent_to, t.id)
    first, second = told["previews"]
    assert (first["mime"], base64.b64decode(first["data"])) == ("video/mp4", small)
    assert (second["mime"], second["alt"], second["key"], second.get("data")) == ("video/mp4", "large", "film", None)
    answer = load(sent_to, second["url"])
    assert (answer.content == large, answer.headers["Content-Type"]) == (True, "video/mp4")
    assert told["result"]["mime"] == "video/mp4"
    assert load(sent_to, told["result"]["url"]).content == film(INLINE + 1, 7)
    assert len(sent_to.request("GET", f"streams/{t.id}/events").content) < 10_000


def test_the_notebook_has_them_without_the_server(sent_to: JupyterServer) -> None:
    image = Image.effect_noise((500, 500), 100)
    with task("Pictures") as t:
        for _ in range(3):
            t.preview(image, key="same")
        t.preview(film(4 << 20), alt="too large to be saved")
    for bundle in (mimebundle(t.snapshot), sent_to.request("GET", f"streams/{t.id}/output").json()):
        picture, large = next(value for key, value in bundle.items() if "sse" in key)["snapshot"]["previews"]
        assert Image.open(io.BytesIO(base64.b64decode(picture["data"]))).size == (500, 500)
        assert large["url"].startswith("/jupyter-sse/streams/")
        markdown = bundle["text/markdown"]
        assert f"data:image/png;base64,{picture['data'][:50]}" in markdown
        assert "/jupyter-sse/streams/" not in markdown
        assert "*video/mp4: too large to be saved*" in markdown
        assert sum(len(str(value)) for value in bundle.values()) < 20 << 20


def test_a_very_large_picture_is_saved_in_fewer_pixels(sent_to: JupyterServer) -> None:
    image = Image.effect_noise((1300, 1300), 100)
    with task("Pictures") as t:
        t.preview(image)
    (shown,) = snapshot_of(sent_to, t.id)["previews"]
    assert Image.open(io.BytesIO(load(sent_to, shown["url"]).content)).size == image.size
    raw = base64.b64decode(t.snapshot.previews[0].data or "")
    assert len(raw) <= ONE
    assert 500 < Image.open(io.BytesIO(raw)).width < 1300


def test_where_nothing_takes_it_it_is_made_smaller(make_server: Any) -> None:
    server = make_server("--SSE.max_stream_bytes=1200000")
    link.use(link.Link(parse(server.url, server.token)))
    with task("Pictures") as t:
        t.preview(Image.effect_noise((1200, 1200), 100))  # larger than what is left of the stream
        with pytest.raises(ValueError, match="make it smaller, or give its URL"):
            t.preview(film(2 << 20))
    (preview,) = snapshot_of(server, t.id)["previews"]
    assert Image.open(io.BytesIO(base64.b64decode(preview["data"]))).width < 1200


def test_without_a_server_it_is_in_the_event() -> None:
    with task("Pictures") as t:
        t.preview(Image.effect_noise((500, 500), 100))
    assert (t.snapshot.previews[0].url, t.snapshot.previews[0].mime) == (None, "image/png")
    assert len(t.snapshot.previews[0].data or "") > INLINE
