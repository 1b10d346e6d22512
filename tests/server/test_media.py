"""What is too large for an event, over HTTP: kept with the stream, shown safely, deleted with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import JupyterServer

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def put(server: JupyterServer, stream: str, body: bytes = PNG, mime: str = "image/png", **query: str) -> httpx.Response:
    return server.request("POST", f"streams/{stream}/media", content=body, params=query, headers={"Content-Type": mime})


def get(server: JupyterServer, url: str, **headers: str) -> httpx.Response:
    options: dict[str, Any] = {"headers": {**server.headers, **headers}, "trust_env": False, "timeout": 60}
    return httpx.get(f"http://127.0.0.1:{server.port}{url}", **options)


@pytest.fixture(params=["sqlite", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


def test_it_is_told_as_it_was_given(make_server: Any, kind: str) -> None:
    server = make_server(f"--SSE.log_type={kind}", base_url="/user/zoe@example.org/")
    stream = server.create()
    answer = put(server, stream)
    assert answer.status_code == 201
    url = answer.json()["url"]
    assert url == answer.headers["Location"]
    assert url.startswith(f"/user/zoe@example.org/jupyter-sse/streams/{stream}/media/")
    assert url.endswith(".png")
    answer = get(server, url)
    assert (answer.status_code, answer.content) == (200, PNG)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert "immutable" in answer.headers["Cache-Control"]
    assert "Content-Disposition" not in answer.headers


def test_a_document_is_to_be_saved_and_no_script_runs(server: JupyterServer) -> None:
    stream = server.create()
    page = get(server, put(server, stream, b"<script>alert(1)</script>", "text/html; charset=utf-8").json()["url"])
    assert page.headers["Content-Disposition"] == "attachment"
    svg = get(server, put(server, stream, SVG, "image/svg+xml").json()["url"])
    assert svg.headers["Content-Type"] == "image/svg+xml"
    for answer in (page, svg):
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert "allow-scripts" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=10-19", 10, 19), ("bytes=1000-", 1000, 1031), ("bytes=-32", 1000, 1031),
     ("bytes=5-9999", 5, 1031), ("bytes=-9999", 0, 1031)],
)  # fmt: skip
def test_a_part_of_it(server: JupyterServer, asked: str, first: int, last: int) -> None:
    url = put(server, server.create(), PNG, "video/mp4").json()["url"]
    answer = get(server, url, Range=asked)
    assert answer.content == PNG[first : last + 1]
    if last - first + 1 < len(PNG):
        assert (answer.status_code, answer.headers["Content-Range"]) == (206, f"bytes {first}-{last}/1032")


def test_parts_that_are_not_there(server: JupyterServer) -> None:
    url = put(server, server.create()).json()["url"]
    answer = get(server, url, Range="bytes=1032-")
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */1032")
    assert answer.json()["code"] == "bad_range"
    for asked in ("bytes=-", "lines=1-2", "bytes=1-2,5-6"):
        assert (get(server, url, Range=asked).status_code, get(server, url, Range=asked).content) == (200, PNG)


def test_a_large_film(server: JupyterServer) -> None:
    film = bytes(range(251)) * 20_000  # 5 MB
    url = put(server, server.create(), film, "video/mp4").json()["url"]
    assert get(server, url).content == film
    assert get(server, url, Range="bytes=3000000-4500000").content == film[3_000_000:4_500_001]


def test_one_who_leaves_in_the_middle_is_no_error(make_server: Any) -> None:
    server = make_server()
    url = put(server, server.create(), bytes(30_000_000), "video/mp4").json()["url"]
    for _ in range(3):
        with httpx.stream(
            "GET", f"http://127.0.0.1:{server.port}{url}", headers=server.headers, trust_env=False
        ) as film:
            next(film.iter_raw())
    assert get(server, url, Range="bytes=0-9").content == bytes(10)
    assert "Traceback" not in server.output


def test_any_type_can_be_had_again(server: JupyterServer) -> None:
    """Whatever the ending that this machine knows for it."""
    stream = server.create()
    for mime in ("application/manifest+json", "application/x-nobody-knows", "model/gltf-binary"):
        url = put(server, stream, b"{}", mime).json()["url"]
        assert get(server, url).content == b"{}"


def test_the_same_key_replaces_and_gives_its_room_back(make_server: Any, kind: str) -> None:
    server = make_server(f"--SSE.log_type={kind}", f"--SSE.max_stream_bytes={1 << 16}")
    stream = server.create()
    urls = [put(server, stream, PNG * 20, key="loss").json()["url"] for _ in range(20)]
    assert [get(server, url).status_code for url in urls] == [404] * 18 + [200] * 2
    assert 2 * len(PNG) * 20 < server.request("GET", "streams").json()[0]["bytes"] < 3 * len(PNG) * 20
    answer = put(server, stream, PNG * 60)
    assert (answer.status_code, answer.json()["code"]) == (413, "stream_full")
    assert server.append(stream, '{"type":"log","text":"' + "x" * 20_000 + '"}').status_code == 200
    assert server.append(stream, '{"type":"log","text":"' + "x" * 20_000 + '"}').status_code == 413


def test_it_goes_with_the_stream_and_survives_a_restart(make_server: Any, tmp_path: Path) -> None:
    server = make_server(home=tmp_path / "home")
    kept, deleted = server.create(), server.create()
    urls = [put(server, stream).json()["url"] for stream in (kept, deleted)]
    server.request("DELETE", f"streams/{deleted}")
    assert (put(server, deleted).status_code, get(server, urls[1]).status_code) == (410, 410)
    server.stop()
    server.start()
    assert [get(server, url).status_code for url in urls] == [200, 410]
    server.append(kept, '{"type":"done"}')
    answer = put(server, kept)
    assert (answer.status_code, answer.json()["code"]) == (409, "ended")


def test_bad_input(server: JupyterServer) -> None:
    stream = server.create()
    for body, mime in (
        (PNG, ""),
        (PNG, "png"),
        (PNG, "image/p\u00fcg".encode("latin-1").decode("latin-1")),
        (b"", "image/png"),
    ):
        headers = {"Content-Type": mime.encode("latin-1")} if mime else {}
        assert server.request("POST", f"streams/{stream}/media", content=body, headers=headers).status_code == 400
    assert put(server, "nope").status_code == 404
    assert get(server, f"/jupyter-sse/streams/{stream}/media/nope.png").status_code == 404
    assert get(server, f"/jupyter-sse/streams/{stream}/media/..%2f..%2fx").status_code == 404


def test_who_may(server: JupyterServer) -> None:
    stream = server.create()
    url = put(server, stream).json()["url"]
    for headers in ({"Authorization": ""}, {"Authorization": "token wrong"}, {"Authorization": "Bearer wrong"}):
        assert get(server, url, **headers).status_code == 403
        answer = server.request(
            "POST", f"streams/{stream}/media", content=PNG, headers={**headers, "Content-Type": "image/png"}
        )
        assert answer.status_code == 403
