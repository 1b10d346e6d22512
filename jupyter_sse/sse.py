"""Server-sent events as bytes: an encoder and an incremental decoder. No I/O.

Format: the WHATWG HTML standard, section "Server-sent events". The encoder writes only line feeds, `id` before
`event`, and refuses what would break out of a field. The decoder takes bytes in any portions, and does a line that
comes in many of them in linear time.
"""

from __future__ import annotations

import codecs
import re

from msgspec import Struct

__all__ = ["Decoder", "Frame", "FrameTooLarge", "encode"]

_BREAK = re.compile(rb"\r\n|\r|\n")
_IN_EVENT = re.compile(r"[\r\n]")
_IN_ID = re.compile(r"[\r\n\0]")
_MILLISECONDS = re.compile(r"[0-9]{1,15}")  # the standard sets no bound, but `int` refuses thousands of digits


class FrameTooLarge(ValueError):
    """A frame is longer than the decoder was told to accept."""


class Frame(Struct, frozen=True):
    """One dispatched event. `id` is the last one set, also by an earlier frame."""

    event: str
    data: str
    id: str = ""


def encode(
    data: bytes | str, *, event: str | None = None, id: str | int | None = None, retry: int | None = None
) -> bytes:
    """One frame. `retry` in milliseconds.

    Raises
    ------
    ValueError
        For a line break in `event`, or a line break or NUL in `id`.
    """
    head = ""
    if retry is not None:
        head = f"retry: {retry:d}\n"
    if id is not None:
        id = str(id)
        if _IN_ID.search(id):
            raise ValueError(f"an id cannot hold a line break or NUL: {id!r}")
        head += f"id: {id}\n"
    if event is not None:
        if _IN_EVENT.search(event):
            raise ValueError(f"an event's name cannot hold a line break: {event!r}")
        head += f"event: {event}\n"
    if isinstance(data, str):
        data = data.encode("utf-8", "replace")
    if b"\n" in data or b"\r" in data:
        data = _BREAK.sub(b"\ndata: ", data)
    return b"%bdata: %b\n\n" % (head.encode(), data)


class Decoder:
    """Frames out of bytes that come in any portions.

    max_frame : the most bytes of one frame, a security limit.
    last_id, retry : what the stream has set last; `retry` in milliseconds, None before.
    """

    def __init__(self, *, max_frame: int = 64 << 20) -> None:
        self.max_frame = max_frame
        self.last_id = ""
        self.retry: int | None = None
        self._id = ""
        self._event = ""
        self._data: list[str] = []
        self._line: list[bytes] = []  # a line that has not ended, in the portions it came in
        self._size = 0
        self._after_cr = False
        self._started = False
        self._start = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete.

        Raises
        ------
        FrameTooLarge
        """
        if not self._started:
            data = self._strip_bom(data)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if data.endswith(b"\r"):
            # The LF of this CRLF may come with the next bytes; the line has ended either way.
            self._after_cr = True
        frames: list[Frame] = []
        *ended, rest = _BREAK.split(data)
        for line in ended:
            self._grow(line)
            if self._line:
                line = b"".join([*self._line, line])
                self._line = []
            frame = self._take(line.decode("utf-8", "replace"))
            if frame is not None:
                frames.append(frame)
        if rest:
            self._grow(rest)
            self._line.append(rest)
        return frames

    def _strip_bom(self, data: bytes) -> bytes:
        data = self._start + data
        if len(data) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(data):
            self._start = data
            return b""
        self._started = True
        return data.removeprefix(codecs.BOM_UTF8)

    def _grow(self, line: bytes) -> None:
        self._size += len(line)
        if self._size > self.max_frame:
            raise FrameTooLarge(f"a frame has more than {self.max_frame} bytes")

    def _take(self, line: str) -> Frame | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry" and _MILLISECONDS.fullmatch(value):
            self.retry = int(value)
        return None

    def _dispatch(self) -> Frame | None:
        self.last_id = self._id
        data, event = self._data, self._event
        self._data, self._event, self._size = [], "", 0
        if not data:
            return None
        return Frame(event or "message", "\n".join(data), self.last_id)
