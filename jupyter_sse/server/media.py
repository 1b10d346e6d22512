"""Pictures, sound and films that are too large for an event: kept with the stream, and deleted with it.

They are on the origin of the notebooks, and anybody may have made them: no script in one of them runs.
"""

from __future__ import annotations

import json
import mimetypes
import re
import secrets

from jupyter_server.utils import url_path_join
from tornado.iostream import StreamClosedError

from ..log import LogError
from ..state import PREVIEWS
from .auth import ApiError, ApiHandler, ProducerHandler, permitted
from .channel import Closed, Full
from .streams import STREAM_ID, ExistingStreamHandler

__all__ = ["handlers"]

KEPT = 2
"""How many of the same key are kept: the one that is replaced may be on its way to a page."""
FILM = 16
"""More are kept up to this part of the stream's size: when a page that is far away asks for one frame of a film,
others have followed."""
KEYLESS = 2 * PREVIEWS
"""How many are kept without a key: a snapshot shows half of them."""
PIECE = 1 << 20
SHOWN = re.compile(r"(image|audio|video)/.+")
"""What a browser may show; the rest it is to save."""

POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'; {server}"
NAME = r"[A-Za-z0-9_-]{1,40}(?:\.[a-z0-9]{1,8})?"
_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+_-]{0,80}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class MediaHandler(ExistingStreamHandler, ProducerHandler):
    @permitted("write")
    async def post(self, stream: str) -> None:
        """Keep the body; the same `key` replaces what was kept under it."""
        channel = await self.existing(stream)
        mime = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if not _TYPE.fullmatch(mime):
            raise ApiError(400, "bad_type", "Say in Content-Type what the body is, such as image/png.")
        if not self.request.body:
            raise ApiError(400, "empty", "The body is empty.")
        key = self.get_query_argument("key", None)
        name = secrets.token_urlsafe(16)
        extension = mimetypes.guess_extension(mime) or ""
        if re.fullmatch(NAME, name + extension):
            name += extension
        try:
            keep, room = (KEYLESS, 0) if key is None else (KEPT, self.hub.limits.stream_bytes // FILM)
            await self.hub.put_media(channel, name, mime, self.request.body, key=key, keep=keep, room=room)
        except Full as full:
            raise ApiError(413, full.code, f"It was not kept: {full.message}.") from None
        except Closed as closed:
            raise ApiError(
                410 if closed.code == "deleted" else 409, closed.code, f"It was not kept: {closed.message}."
            ) from None
        except LogError as error:
            raise ApiError(507, "log_failed", f"It was not kept: {error}", retry_after=5) from None
        url = url_path_join(self.base_url, "jupyter-sse/streams", stream, "media", name)
        self.set_status(201)
        self.set_header("Location", url)
        self.finish(json.dumps({"url": url}))


class OneMediaHandler(ExistingStreamHandler):
    @property
    def content_security_policy(self) -> str:
        return POLICY.format(server=super().content_security_policy)

    @permitted("read")
    async def get(self, stream: str, name: str) -> None:
        """What is kept under this name, or a range of it."""
        await self.existing(stream)
        found = await self.hub.log.media(stream, name, length=0)
        if found is None:
            raise ApiError(404, "not_found", "There is nothing of this name, or something newer has replaced it.")
        start, stop = self._range(found.size)
        if start >= stop:
            self.set_status(416)
            self.set_header("Content-Range", f"bytes */{found.size}")
            self.finish(json.dumps({"message": f"There are {found.size} bytes.", "code": "bad_range"}))
            return
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Content-Length", str(stop - start))
        self.set_header("Content-Type", found.mime)
        if not SHOWN.fullmatch(found.mime):
            self.set_header("Content-Disposition", "attachment")
        if (start, stop) != (0, found.size):
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {start}-{stop - 1}/{found.size}")
        for at in range(start, stop, PIECE):
            piece = await self.hub.log.media(stream, name, at, min(PIECE, stop - at))
            if piece is None:  # deleted meanwhile: the answer ends short, and is known to
                self.request.connection.stream.close()  # type: ignore[union-attr]
                return
            self.write(piece.data)
            try:
                await self.flush()
            except StreamClosedError:  # a player asks for the whole, and takes what it plays
                return
        self.finish(set_content_type=found.mime)

    def _range(self, size: int) -> tuple[int, int]:
        """From which byte to before which; none where that is beyond the end."""
        match = _RANGE.fullmatch(self.request.headers.get("Range", ""))
        if match is None or match[1] == match[2] == "":
            return 0, size
        first = int(match[1]) if match[1] else max(0, size - int(match[2]))
        return first, min(size, int(match[2]) + 1) if match[1] and match[2] else size


handlers: list[tuple[str, type[ApiHandler]]] = [
    (rf"streams/({STREAM_ID})/media", MediaHandler),
    (rf"streams/({STREAM_ID})/media/({NAME})", OneMediaHandler),
]
