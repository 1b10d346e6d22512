"""Pictures of all sorts as `preview` events."""

from __future__ import annotations

import base64
import io
import mimetypes
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..events import Preview

__all__ = ["TEXT", "event"]

TEXT = 10_000
"""Characters of a message or alternative text."""
OVERHEAD = 4096
SMALLEST = 64
MAX_FILE = 256 << 20

_REPRS = (
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_svg_", "image/svg+xml"),
)


def event(content: Any, *, key: str | None = None, alt: str | None = None, limit: int) -> Preview:
    """A preview whose JSON has at most `limit` bytes."""
    alt = None if alt is None else str(alt)[:TEXT]
    key = None if key is None else str(key)[:200]
    room = limit - OVERHEAD - 4 * len(alt or "") - 4 * len(key or "")
    if isinstance(content, str) and content.startswith(("http://", "https://")):
        mime, _ = mimetypes.guess_type(urlsplit(content).path)
        return Preview(mime=mime or "image/*", url=content, alt=alt, key=key)
    if isinstance(content, str) and content.startswith("data:image/"):
        content = _from_data_url(content)
    mime, raw = _picture(content, room)
    if _encoded(len(raw)) > room:
        mime, raw = _smaller(mime, raw, room)
    return Preview(mime=mime, data=base64.b64encode(raw).decode("ascii"), alt=alt, key=key)


def _encoded(size: int) -> int:
    return (size + 2) // 3 * 4


def _from_data_url(url: str) -> bytes:
    head, _, data = url.partition(",")
    if not head.endswith(";base64"):
        raise ValueError("a data: URL must be in base64")
    return base64.b64decode(data)


def _picture(content: Any, room: int) -> tuple[str, bytes]:
    if isinstance(content, (bytes, bytearray, memoryview)):
        return _named(bytes(content), "these bytes")
    if isinstance(content, str) and content.lstrip()[:5].lower().startswith(("<svg", "<?xml")):
        return _named(content.encode(), "this text")
    if isinstance(content, (str, os.PathLike)):
        path = Path(content)
        if path.stat().st_size > MAX_FILE:
            raise ValueError(f"{path} has {path.stat().st_size >> 20} MiB: too large for a preview")
        return _named(path.read_bytes(), str(path))
    figure = _figure(content)
    if figure is not None:
        return "image/png", _drawn(figure, room)
    if _is_pil(content):
        return "image/png", _saved(content)
    for name, mime in _REPRS:
        method = getattr(content, name, None)
        made = method() if callable(method) and not isinstance(content, type) else None
        if isinstance(made, tuple):  # with metadata
            made = made[0]
        if made is not None:
            return mime, made.encode() if isinstance(made, str) and mime.endswith("xml") else _decoded(made)
    raise TypeError(
        f"cannot show {type(content).__name__} as a picture: give image bytes, a path, a URL, a PIL image,"
        " a matplotlib figure, or an object with _repr_png_"
    )


def _decoded(made: str | bytes) -> bytes:
    return base64.b64decode(made) if isinstance(made, str) else bytes(made)


def _named(raw: bytes, what: str) -> tuple[str, bytes]:
    """The picture with its type, told by its first bytes."""
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png", raw
    if raw.startswith(b"\xff\xd8\xff"):
        return "image/jpeg", raw
    if raw.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif", raw
    if raw.startswith(b"RIFF") and raw[8:12] == b"WEBP":
        return "image/webp", raw
    if b"<svg" in raw[:4096].lower():
        return "image/svg+xml", raw
    raise ValueError(f"{what}: not a PNG, JPEG, GIF, WebP or SVG picture")


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
            raise _too_large(file.tell(), room)
        dpi *= 0.7


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


def _smaller(mime: str, raw: bytes, room: int) -> tuple[str, bytes]:
    """The same picture in fewer pixels, where PIL is there to do it."""
    if mime == "image/svg+xml":
        raise _too_large(len(raw), room)
    try:
        from PIL import Image
    except ImportError:
        raise _too_large(len(raw), room, " (with Pillow installed it would be made smaller)") from None
    image: Any = Image.open(io.BytesIO(raw))
    kind = "JPEG" if mime == "image/jpeg" else "PNG"
    while _encoded(len(raw)) > room:
        width, height = image.size
        if min(width, height) < 2 or max(width, height) < SMALLEST:
            raise _too_large(len(raw), room)
        scale = min(0.9, (room / _encoded(len(raw))) ** 0.5)
        image = image.resize((max(1, int(width * scale)), max(1, int(height * scale))))
        raw = _saved(image, kind)
    return f"image/{kind.lower()}", raw


def _too_large(size: int, room: int, hint: str = "") -> ValueError:
    return ValueError(
        f"the picture has {size} bytes, {room * 3 // 4} are allowed{hint}: make it smaller, or give its URL"
    )
