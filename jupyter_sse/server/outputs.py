"""A stream as the output of a cell: what a notebook saves of it."""

from __future__ import annotations

import base64
import re

import msgspec

from ..log import Meta
from ..output import PREVIEWS_ROOM, media_of, mimebundle, with_media
from ..state import Snapshot
from .auth import ApiHandler, permitted
from .hub import Hub
from .streams import STREAM_ID, ExistingStreamHandler

__all__ = ["handlers"]


class OutputHandler(ExistingStreamHandler):
    @permitted("read")
    async def get(self, stream: str) -> None:
        """The stream as an output of a notebook: data by MIME type."""
        channel = await self.existing(stream)
        snapshot = await channel.snapshot()
        self.finish(msgspec.json.encode(mimebundle(await _with_media(self.hub, snapshot))))

    @permitted("write")
    async def delete(self, stream: str) -> None:
        """The output has been taken out of its cell; the stream stays."""
        await self.existing(stream)
        await self.hub.log.update(stream, Meta(dismissed=True))
        self.hub.listing.changed(stream)
        self.set_status(204)
        self.finish()


async def _with_media(hub: Hub, snapshot: Snapshot) -> Snapshot:
    """With what the server keeps of it, the newest first, as far as a notebook has room."""
    room = PREVIEWS_ROOM
    found: dict[str, str] = {}
    for url in reversed(media_of(snapshot)):
        name = re.search(rf"/jupyter-sse/streams/{re.escape(snapshot.stream)}/media/([^/]+)$", url)
        media = name and await hub.log.media(snapshot.stream, name[1], length=room)
        if media and 4 * media.size // 3 < room:
            found[url] = base64.b64encode(media.data).decode("ascii")
            room -= len(found[url])
    return with_media(snapshot, found)


handlers: list[tuple[str, type[ApiHandler]]] = [(rf"streams/({STREAM_ID})/output", OutputHandler)]
