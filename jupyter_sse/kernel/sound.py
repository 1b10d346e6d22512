"""Sound in chunks, as it is made: numbered, cut to the size of an event, and put together again for the end."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

from ..events import Audio
from . import array, preview

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["WHOLE", "Sound"]

KEPT = 16 << 20
"""Bytes up to which the whole is kept: six minutes of speech as samples, or a quarter of an hour of MP3."""
PIECE = 192 << 10
"""Bytes of one event, at most; where events may have less, a third of it."""
WHOLE = "audio"
"""The key of the preview that the whole becomes."""
_WAV = frozenset({"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"})
_HEAD = struct.Struct("<4sI4s4sIHHIIHH4sI")


class Sound:
    """The sound of one stream."""

    def __init__(self) -> None:
        self.mime: str | None = None
        self._n = 0
        self._kept: list[bytes] | None = []
        self._size = 0

    def events(self, chunk: Any, mime: str | None, rate: float | None, limit: int) -> Iterator[Audio]:
        """The chunk as events whose JSON has at most `limit` bytes.

        Raises
        ------
        TypeError, ValueError
            If it is no sound, or nobody has said which; and that of one stream is all of one type.
        """
        if isinstance(chunk, (bytes, bytearray, memoryview)):
            raw = bytes(chunk)
            mime = mime or (f"audio/pcm;rate={rate:g};channels=1" if rate is not None else self.mime or _kind(raw))
        elif array.is_array(chunk):
            if rate is None:
                raise ValueError("say `rate=`, the samples a second of this array")
            raw, channels = array.samples(chunk, rate)
            mime = f"audio/pcm;rate={rate:g};channels={channels}"
        else:
            raise TypeError(f"a chunk of sound is bytes or an array of samples, not {type(chunk).__name__}")
        if not mime.startswith("audio/") or len(mime) > 200:
            raise ValueError(f"sound is of a type such as audio/mpeg or audio/pcm;rate=24000; not {mime!r}")
        if self.mime is None:
            self.mime = mime
        elif mime != self.mime:
            raise ValueError(f"the sound of a stream is of one type: it has begun with {self.mime}, and this is {mime}")
        piece = max(64, min(PIECE, limit // 3))
        return (self._event(raw[start : start + piece], mime) for start in range(0, len(raw), piece))

    def _event(self, raw: bytes, mime: str) -> Audio:
        event = Audio(mime=mime, data=base64.b64encode(raw).decode("ascii"), n=self._n)
        self._n += 1
        self.keep(mime, raw)
        return event

    def keep(self, mime: str, raw: bytes) -> None:
        """Remember a chunk for the whole, if that does not become too large."""
        if mime != self.mime is not None:
            self._kept = None
        self.mime = mime
        self._size += len(raw)
        if self._size > KEPT:
            self._kept = None
        if self._kept is not None:
            self._kept.append(raw)

    def whole(self) -> tuple[str, bytes] | None:
        """All of it as one file, with its type; None if there is none, or too much."""
        if not self._kept or self.mime is None:
            return None
        kind, _, rest = (part.strip() for part in self.mime.partition(";"))
        kind = kind.lower()
        if kind in ("audio/pcm", "audio/l16"):
            given = dict(part.strip().partition("=")[::2] for part in rest.split(";"))
            raw = b"".join(self._kept)
            if kind == "audio/l16" and given.get("codec") != "pcm":
                raw = _swapped(raw)
            rate, channels = float(given.get("rate") or 24000), int(given.get("channels") or 1)
            return "audio/wav", _wav(raw, int(rate), channels)
        if kind in _WAV:
            joined = _joined(self._kept)
            return None if joined is None else ("audio/wav", joined)
        return kind, b"".join(self._kept)


def _kind(raw: bytes) -> str:
    kind = preview.sniffed(raw)
    # Of WebM the first bytes do not tell a film from a sound.
    kind = "audio/webm" if kind == "video/webm" else "audio/aac" if raw[:2] in (b"\xff\xf1", b"\xff\xf9") else kind
    if kind is None or not kind.startswith("audio/"):
        raise ValueError("a sound that is not known by its first bytes: say `mime=`, or for samples of 16 bits `rate=`")
    return kind


def _swapped(raw: bytes) -> bytes:
    swapped = bytearray(raw[: len(raw) // 2 * 2])
    swapped[::2], swapped[1::2] = swapped[1::2], swapped[::2]
    return bytes(swapped)


def _wav(raw: bytes, rate: int, channels: int) -> bytes:
    """A file of samples of 16 bits."""
    frame = 2 * channels
    raw = raw[: len(raw) // frame * frame]
    head = (b"RIFF", 36 + len(raw), b"WAVE", b"fmt ", 16, 1, channels, rate, rate * frame, frame, 16, b"data", len(raw))
    return _HEAD.pack(*head) + raw


def _joined(chunks: list[bytes]) -> bytes | None:
    """One file of several, or of the parts of one; None if they are of several sorts."""
    files: list[bytearray] = []
    for chunk in chunks:
        if chunk[:4] == b"RIFF" or not files:
            files.append(bytearray(chunk))
        else:
            files[-1] += chunk
    shape: bytes | None = None
    samples = bytearray()
    for file in files:
        at = 12
        while file[at : at + 4] != b"data":
            if at + 8 > len(file):
                return None
            (size,) = struct.unpack_from("<I", file, at + 4)
            if file[at : at + 4] == b"fmt ":
                said = bytes(file[at + 8 : at + 8 + size])
                if shape is not None and said != shape:
                    return None
                shape = said
            at += 8 + size + size % 2
        (size,) = struct.unpack_from("<I", file, at + 4)
        # Who writes a file while it is made does not know its size.
        samples += file[at + 8 :] if size == 0 or size >= 0x7FFF0000 else file[at + 8 : at + 8 + size]
    if shape is None:
        return None
    head = b"WAVEfmt " + struct.pack("<I", len(shape)) + shape + b"data" + struct.pack("<I", len(samples))
    return b"RIFF" + struct.pack("<I", len(head) + len(samples)) + head + bytes(samples)
