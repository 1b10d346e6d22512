"""Pictures of all sorts become previews, made smaller where they are too large."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_sse import task
from jupyter_sse.kernel import preview

Image = pytest.importorskip("PIL.Image")
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><circle r="5"/></svg>'
LIMIT = 1 << 20


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, format=kind)
    return file.getvalue()


def noise(width: int) -> Any:
    return Image.effect_noise((width, width), 100).convert("RGB")


def decoded(event: Any) -> Any:
    return Image.open(io.BytesIO(base64.b64decode(event.data)))


@pytest.mark.parametrize(
    ("kind", "mime"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/gif"), ("WEBP", "image/webp")],
)
def test_bytes_and_files(tmp_path: Path, kind: str, mime: str) -> None:
    raw = picture(kind)
    path = tmp_path / "picture"
    path.write_bytes(raw)
    for content in (raw, bytearray(raw), memoryview(raw), path, str(path)):
        event = preview.event(content, limit=LIMIT)
        assert (event.mime, event.data) == (mime, base64.b64encode(raw).decode())


@pytest.mark.parametrize("content", [SVG, SVG.encode(), f'<?xml version="1.0"?>\n{SVG}'])
def test_svg(content: Any) -> None:
    assert preview.event(content, limit=LIMIT).mime == "image/svg+xml"


def test_urls() -> None:
    event = preview.event("https://example.org/a.jpg?x=1", limit=LIMIT)
    assert (event.mime, event.url, event.data) == ("image/jpeg", "https://example.org/a.jpg?x=1", None)
    data = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    assert preview.event(data, limit=LIMIT).mime == "image/png"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1", "P", "CMYK", "F"])
def test_pil(mode: str) -> None:
    event = preview.event(Image.new(mode, (8, 6)), key="k", alt="alt", limit=LIMIT)
    assert (event.mime, event.key, event.alt) == ("image/png", "k", "alt")
    assert decoded(event).size == (8, 6)


def test_matplotlib() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1), dpi=50)
    axes = figure.subplots()
    (line,) = axes.plot([1, 2])
    for content in (figure, axes, line):
        assert decoded(preview.event(content, limit=LIMIT)).size == (100, 50)
    large = preview.event(Figure(figsize=(20, 20), dpi=200), limit=12_000)
    assert len(large.data or "") < 12_000


def test_objects_that_draw_themselves() -> None:
    class Png:
        def _repr_png_(self) -> bytes:
            return picture()

    class Encoded:
        def _repr_jpeg_(self) -> tuple[str, dict[str, Any]]:
            return base64.b64encode(picture("JPEG")).decode(), {"width": 5}

    class Svg:
        def _repr_png_(self) -> None:
            return None

        def _repr_svg_(self) -> str:
            return SVG

    assert preview.event(Png(), limit=LIMIT).mime == "image/png"
    assert preview.event(Encoded(), limit=LIMIT).mime == "image/jpeg"
    assert preview.event(Svg(), limit=LIMIT).mime == "image/svg+xml"


def test_what_is_too_large_is_made_smaller() -> None:
    for content in (noise(400), picture("JPEG", (10, 10)) and _jpeg(noise(800))):
        event = preview.event(content, limit=50_000)
        assert len(event.data or "") <= 50_000
        width, height = decoded(event).size
        assert width == height
        assert width < 400


def _jpeg(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=95)
    return file.getvalue()


def test_what_cannot_be_made_smaller_says_so() -> None:
    with pytest.raises(ValueError, match="make it smaller, or give its URL"):
        preview.event(SVG + " " * 100_000, limit=50_000)


def test_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"these bytes: not a picture.*say `mime=`"):
        preview.event(b"hello", limit=LIMIT)
    with pytest.raises(FileNotFoundError):
        preview.event(tmp_path / "missing.png", limit=LIMIT)
    with pytest.raises(TypeError, match="cannot show dict as a picture"):
        preview.event({}, limit=LIMIT)


def test_the_same_key_replaces() -> None:
    with task("Plot") as t:
        t.preview(picture(size=(8, 8)), key="loss", alt="first")
        t.preview(picture(size=(9, 9)), key="loss", alt="second")
        t.preview(picture())
    assert [(shown.key, shown.alt) for shown in t.snapshot.previews] == [("loss", "second"), (None, None)]


@pytest.mark.parametrize(
    ("raw", "mime"),
    [
        (b"\0\0\0\x20ftypisom____", "video/mp4"), (b"\x1aE\xdf\xa3____", "video/webm"), (b"OggS____", "audio/ogg"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"), (b"ID3\x04____", "audio/mpeg"), (b"fLaC____", "audio/flac"),
        (b"glTF\2\0\0\0", "model/gltf-binary"), (b"\0\0\0\x20ftypavif____", "image/avif"),
    ],
)  # fmt: skip
def test_sound_and_films_are_known_by_their_beginnings(raw: bytes, mime: str) -> None:
    assert preview.event(raw, limit=LIMIT).mime == mime


def test_other_bytes_with_their_type(tmp_path: Path) -> None:
    event = preview.event(b"any bytes", mime="audio/midi", limit=LIMIT)
    assert (event.mime, base64.b64decode(event.data or "")) == ("audio/midi", b"any bytes")
    path = tmp_path / "clip.mpeg"
    path.write_bytes(b"any")
    assert preview.event(path, limit=LIMIT).mime == "video/mpeg"
    for mime in ("text/html", "image/png; charset=x", "application/pdf"):
        with pytest.raises(ValueError, match="such as image/png"):
            preview.event(b"any", mime=mime, limit=LIMIT)


def test_bundles_and_sounds_of_ipython() -> None:
    class Bundle:
        def _repr_mimebundle_(self) -> Any:
            return {"text/html": "<b>", "image/png": base64.b64encode(picture()).decode()}, {}

    assert preview.event(Bundle(), limit=LIMIT).mime == "image/png"
    display = pytest.importorskip("IPython.display")
    sound = display.Audio(b"RIFF\0\0\0\0WAVEfmt ", rate=8000)
    assert preview.event(sound, limit=LIMIT).mime == "audio/wav"
    assert preview.event(display.Image(picture()), limit=LIMIT).mime == "image/png"


def test_plotly(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("plotly.graph_objects").Figure()
    monkeypatch.setattr(type(figure), "to_image", lambda figure, format: picture())
    assert preview.event(figure, limit=LIMIT).mime == "image/png"
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(TypeError, match=r"pip install kaleido, or show the figure itself with display\(\)"):
        preview.event(figure, limit=LIMIT)
