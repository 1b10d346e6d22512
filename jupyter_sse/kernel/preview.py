"""Pictures, sound, films and 3D models of all sorts as `preview` events."""

from __future__ import annotations

import base64
import io
import mimetypes
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..events import Preview
from . import array

__all__ = ["INLINE", "TEXT", "Upload", "as_bytes", "event", "is_shown", "smaller", "sniffed"]

TEXT = 10_000
"""Characters of a message or alternative text."""
INLINE = 128 << 10
"""Bytes that are sent in an event itself, where there is another way."""
OVERHEAD = 4096
SMALLEST = 64
MAX_FILE = 256 << 20

_REPRS = (
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_svg_", "image/svg+xml"),
)
_BUNDLED = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/svg+xml")
_MIME = re.compile(r"(image|audio|video|model)/[a-z0-9][a-z0-9.+_-]{0,80}")
_BEGINNINGS = (
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"....ftypavi[fs]", "image/avif"),
    (rb"....ftyp(qt  |isom|mp4|M4V|avc|iso|dash)", "video/mp4"),
    (rb"....ftypM4[AB]", "audio/mp4"),
    (rb"\x1aE\xdf\xa3", "video/webm"),
    (rb"RIFF....WAVE", "audio/wav"),
    (rb"OggS", "audio/ogg"),
    (rb"fLaC", "audio/flac"),
    (rb"ID3|\xff[\xfb\xf3\xf2]", "audio/mpeg"),
    (rb"glTF", "model/gltf-binary"),
    (rb"(?i).{0,4096}?<svg", "image/svg+xml"),
)

_MODELS = {".glb": "model/gltf-binary", ".gltf": "model/gltf+json"}  # Python knows them from 3.14 on

Upload = Callable[[str, bytes, "str | None"], "str | None"]
"""Given a MIME type, bytes and a key: keeps them, and returns their URL; None if it cannot."""


def event(
    content: Any,
    *,
    key: str | None = None,
    alt: str | None = None,
    mime: str | None = None,
    rate: float | None = None,
    limit: int,
    upload: Upload | None = None,
    inline: int = INLINE,
) -> Preview:
    """A preview whose JSON has at most `limit` bytes; what has more than `inline` is uploaded, where that can be."""
    alt = None if alt is None else str(alt)[:TEXT]
    key = None if key is None else str(key)[:200]
    if mime is not None and not _MIME.fullmatch(mime):
        raise ValueError(f"a preview is of a type such as image/png, audio/wav, video/mp4; not {mime!r}")
    room = limit - OVERHEAD - 4 * len(alt or "") - 4 * len(key or "")
    if isinstance(content, str) and content.startswith(("http://", "https://")):
        return Preview(mime=mime or _guessed(urlsplit(content).path) or "image/*", url=content, alt=alt, key=key)
    if isinstance(content, str) and content.startswith("data:"):
        content = _from_data_url(content)
    if upload is not None:
        kind, raw = _media(content, mime, rate, MAX_FILE)
        url = upload(kind, raw, key) if len(raw) > inline else None
        if url is not None:
            return Preview(mime=kind, url=url, alt=alt, key=key)
        if _encoded(len(raw)) <= room:
            return Preview(mime=kind, data=base64.b64encode(raw).decode("ascii"), alt=alt, key=key)
    kind, raw = _media(content, mime, rate, room)
    if _encoded(len(raw)) > room:
        kind, raw = smaller(kind, raw, room * 3 // 4)
    return Preview(mime=kind, data=base64.b64encode(raw).decode("ascii"), alt=alt, key=key)


def as_bytes(content: Any, mime: str | None, rate: float | None) -> tuple[str, bytes]:
    """What a preview of it would show now, with its type."""
    return _media(content, mime, rate, MAX_FILE)


def is_shown(content: Any) -> bool:
    """Whether this is meant to be seen or heard, and not read."""
    if isinstance(content, os.PathLike):
        return _guessed(content) is not None and Path(content).is_file()
    if isinstance(content, (bytes, bytearray, memoryview)):
        return sniffed(bytes(content)) is not None
    if isinstance(content, (type, str, int, float, bool, dict, list, tuple, type(None))):
        return False
    return (
        _figure(content) is not None
        or _is_pil(content)
        or _is_plotly(content)
        or _described(content) is not None
        or any(callable(getattr(content, name, None)) for name, _ in _REPRS)
    )


def _guessed(path: str | os.PathLike[str]) -> str | None:
    """The type that a file of this name has."""
    kind = _MODELS.get(Path(path).suffix.lower()) or mimetypes.guess_type(path)[0]
    return kind if kind is not None and _MIME.fullmatch(kind) else None


def _encoded(size: int) -> int:
    return (size + 2) // 3 * 4


def _from_data_url(url: str) -> bytes:
    head, _, data = url.partition(",")
    if not head.endswith(";base64"):
        raise ValueError("a data: URL must be in base64")
    return base64.b64decode(data)


def _media(content: Any, mime: str | None, rate: float | None, room: int) -> tuple[str, bytes]:
    """What to show, with its type; a figure is drawn so that it has room."""
    if isinstance(content, (bytes, bytearray, memoryview)):
        return _named(bytes(content), "these bytes", mime)
    if isinstance(content, str) and content.lstrip()[:5].lower().startswith(("<svg", "<?xml")):
        return _named(content.encode(), "this text", mime)
    if isinstance(content, (str, os.PathLike)):
        path = Path(content)
        if path.stat().st_size > MAX_FILE:
            raise ValueError(f"{path} has {path.stat().st_size >> 20} MiB: too large for a preview")
        raw = path.read_bytes()
        return _named(raw, str(path), mime or sniffed(raw) or _guessed(path))
    figure = _figure(content)
    if figure is not None:
        return "image/png", _drawn(figure, room)
    if _is_pil(content):
        return "image/png", _saved(content)
    if _is_plotly(content):
        return "image/png", _of_plotly(content)
    described = _described(content)
    if described is not None:
        return described
    for name, kind in _REPRS:
        method = getattr(content, name, None)
        made = method() if callable(method) and not isinstance(content, type) else None
        if isinstance(made, tuple):  # with metadata
            made = made[0]
        if made is not None:
            return kind, made.encode() if isinstance(made, str) and kind.endswith("xml") else _decoded(made)
    if array.is_array(content):
        return ("audio/wav", array.wav(content, rate)) if rate is not None else ("image/png", array.png(content))
    raise TypeError(
        f"cannot show {type(content).__name__} as a picture: give bytes, a path, a URL, a PIL image, an array,"
        " a figure of matplotlib or plotly, or an object with _repr_png_"
    )


def _decoded(made: str | bytes) -> bytes:
    return base64.b64decode(made) if isinstance(made, str) else bytes(made)


def _described(content: Any) -> tuple[str, bytes] | None:
    """What an object says of itself: by `_repr_mimebundle_`, or as IPython's `Audio` and `Video` do."""
    data, kind = getattr(content, "data", None), getattr(content, "mimetype", None)
    if isinstance(data, bytes) and isinstance(kind, str) and _MIME.fullmatch(kind):
        return kind, data
    method = getattr(content, "_repr_mimebundle_", None)
    if not callable(method) or isinstance(content, type):
        return None
    bundle = method()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    for kind in _BUNDLED if isinstance(bundle, dict) else ():
        made = bundle.get(kind)
        if isinstance(made, (str, bytes)):
            return kind, made.encode() if isinstance(made, str) and kind.endswith("xml") else _decoded(made)
    return None


def _named(raw: bytes, what: str, mime: str | None) -> tuple[str, bytes]:
    """With its type, told by its first bytes if nobody has said it."""
    kind = mime or sniffed(raw)
    if kind is None:
        raise ValueError(f"{what}: not a picture, sound or film that is known by its first bytes; say `mime=`")
    return kind, raw


def sniffed(raw: bytes) -> str | None:
    """The type of this, if its first bytes tell it."""
    return next((kind for begins, kind in _BEGINNINGS if re.match(begins, raw, re.DOTALL)), None)


def _figure(content: Any) -> Any | None:
    """The matplotlib figure in a figure, axes or artist."""
    if "matplotlib" not in sys.modules:
        return None
    if callable(getattr(content, "savefig", None)) and hasattr(content, "get_dpi"):
        return content
    figure = getattr(content, "figure", None)
    return figure if callable(getattr(figure, "savefig", None)) else None


def _drawn(figure: Any, room: int) -> bytes:
    dpi = float(figure.get_dpi())
    while True:
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=dpi)
        if _encoded(file.tell()) <= room:
            return file.getvalue()
        if dpi < 10:
            raise _too_large(file.tell(), room * 3 // 4)
        dpi *= 0.7


def _is_plotly(content: Any) -> bool:
    figure = sys.modules.get("plotly.basedatatypes")
    return figure is not None and isinstance(content, figure.BaseFigure)


def _of_plotly(figure: Any) -> bytes:
    try:
        raw: bytes = figure.to_image(format="png")
        return raw
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise TypeError(
            "a plotly figure becomes a picture by kaleido, which could not draw it"
            f" ({reason}): pip install kaleido, or show the figure itself with display()"
        ) from error


def _is_pil(content: Any) -> bool:
    image = sys.modules.get("PIL.Image")
    return image is not None and isinstance(content, image.Image)


def _saved(image: Any, kind: str = "PNG") -> bytes:
    if kind == "PNG" and image.mode not in ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"):
        image = image.convert("RGBA" if "A" in image.mode else "RGB")
    if kind == "JPEG" and image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, format=kind)
    return file.getvalue()


def smaller(mime: str, raw: bytes, most: int) -> tuple[str, bytes]:
    """The same picture in at most so many bytes and fewer pixels, where PIL is there to do it."""
    if not mime.startswith("image/") or mime == "image/svg+xml":
        raise _too_large(len(raw), most)
    try:
        from PIL import Image
    except ImportError:
        raise _too_large(len(raw), most, " (with Pillow installed it would be made smaller)") from None
    image: Any = Image.open(io.BytesIO(raw))
    kind = "JPEG" if mime == "image/jpeg" else "PNG"
    while len(raw) > most:
        width, height = image.size
        if min(width, height) < 2 or max(width, height) < SMALLEST:
            raise _too_large(len(raw), most)
        scale = min(0.9, (most / len(raw)) ** 0.5)
        image = image.resize((max(1, int(width * scale)), max(1, int(height * scale))))
        raw = _saved(image, kind)
    return f"image/{kind.lower()}", raw


def _too_large(size: int, most: int, hint: str = "") -> ValueError:
    return ValueError(f"it has {size} bytes, {most} are allowed{hint}: make it smaller, or give its URL")
