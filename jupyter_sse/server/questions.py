"""Questions that come over the kernel link: begun as any other, and told to the kernel event by event.

A kernel is no `Reader`: its messages go through tornado's WebSocket, with those about its own streams. It is given the
next ones when it has taken the last, so a slow one costs no memory; what it has not seen is in the feed, or the log.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Union

import msgspec
from msgspec import Struct
from tornado.websocket import WebSocketClosedError

from ..chat import Question
from ..events import Origin
from ..log import LogError
from .auth import ApiError
from .feed import Blob, Feed

if TYPE_CHECKING:
    from .channel import Channel
    from .kernels import KernelHandler

__all__ = ["Ask", "Asked", "Cancel"]

QUESTION_BYTES = 1 << 20
"""A security limit: a question with all that was said before."""

RESET_BYTES = 3 << 20
"""The largest state that a kernel is sent: it takes messages of 4 MiB."""

BEGIN_SECONDS = 0.05
RETRY_SECONDS = 1.0
"""When the log cannot be read, how long until it is asked again."""


class Ask(Struct, tag_field="op", tag="ask"):
    """Without a question: follow the answer that somebody else has asked for."""

    stream: str
    question: Union[msgspec.Raw, msgspec.UnsetType] = msgspec.UNSET
    after: int = 0
    title: str | None = None
    origin: Origin | None = None


class Cancel(Struct, tag_field="op", tag="cancel"):
    stream: str


class _Events(Feed):
    """The events as they are in a JSON array, each with its comma."""

    def frame(self, seq: int, raw: bytes) -> bytes:
        return raw + b","


class Asked:
    """One question of a kernel, until it has the whole answer or is gone."""

    def __init__(self, link: KernelHandler, given: Ask, user: str) -> None:
        self._link = link
        self._given = given
        self._user = user
        self._channel: Channel | None = None
        self._cancelled = False
        self._gone = False
        self._news = asyncio.Event()
        # Not of the task that the end of the link cancels: what has been asked is answered.
        self._begun = asyncio.ensure_future(self._begin())
        self._begun.add_done_callback(lambda begun: begun.cancelled() or begun.exception())
        self.task = link.hub.spawn(self._run())

    def cancel(self) -> None:
        """Stop the answer."""
        self._cancelled = True
        channel = self._channel
        if channel is not None and not channel.ended:
            channel.cancels += 1
            if channel.on_cancel is not None:
                channel.on_cancel()

    def stop(self) -> None:
        """Tell nothing more; the answer goes on."""
        self.task.cancel()

    async def _run(self) -> None:
        stream = self._given.stream
        with suppress(WebSocketClosedError):
            try:
                channel = self._channel = await asyncio.shield(self._begun)
                if self._cancelled:
                    self.cancel()
                await self._follow(channel)
            except ApiError as error:
                failed = {"code": error.code, "message": error.message, "retry_after": error.retry_after}
                await self._tell(msgspec.json.encode({"op": "failed", "stream": stream, **failed}))

    async def _begin(self) -> Channel:
        """The answer's channel.

        Raises
        ------
        ApiError
            There is none.
        """
        given, hub = self._given, self._link.hub
        if isinstance(given.question, msgspec.UnsetType):
            channel = await hub.channel(given.stream)
            await hub.look(channel)
            if channel.kind != "answer":
                raise ApiError(404, "not_found", "There is no answer with this id.")
            return channel
        if len(bytes(given.question)) > QUESTION_BYTES:
            raise ApiError(413, "question_too_long", f"A question and its history have at most {QUESTION_BYTES} bytes.")
        try:
            question = msgspec.json.decode(given.question, type=Question)
        except msgspec.DecodeError as error:
            raise ApiError(400, "bad_question", f"This is no question: {error}.") from None
        channel = await hub.channel(given.stream)
        if given.after and not channel.exists:
            # Asked again it would be another answer, and the kernel has the beginning of the first.
            raise ApiError(410, "answer_lost", "The server was started again, and has lost this answer.")
        if channel.exists:
            await hub.look(channel)
        while True:
            channel = await self._link.sse.chats.start(
                question, user=self._user, stream=given.stream, origin=given.origin, title=given.title
            )
            if channel.exists:
                return channel
            await asyncio.sleep(BEGIN_SECONDS)  # asked before a cut, and just being begun

    async def _follow(self, channel: Channel) -> None:
        hub, cursor = self._link.hub, self._given.after
        hub.unread.discard(channel.id)
        if (reason := channel.reset_reason(cursor)) is not None:
            cursor = await self._reset(channel, reason)
        self._on_watched(channel)
        feed = channel.feed("events,", _Events)
        feed.join(self)
        try:
            while not self._gone:
                self._news.clear()
                try:
                    data, after = await feed.after(cursor)
                except LogError:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if data:
                    head = f'{{"op":"events","stream":"{channel.id}","seq":{cursor + 1},"events":['.encode()
                    await self._tell(head + data[:-1] + b"]}")
                    hub.stats.delivered += after - cursor
                    hub.stats.delivered_bytes += len(data)
                elif channel.ended and after >= channel.last:
                    return
                else:
                    await self._news.wait()
                cursor = after
        finally:
            feed.forget(self)
            channel.on_watched = None
        raise ApiError(410, "gone", "This answer has been deleted.")

    async def _reset(self, channel: Channel, reason: str) -> int:
        snapshot = await channel.snapshot()
        said = {"op": "reset", "stream": channel.id, "seq": snapshot.seq, "reason": reason, "snapshot": snapshot}
        message = msgspec.json.encode(said)
        if len(message) > RESET_BYTES:
            raise ApiError(410, "answer_lost", "The server cannot go on where this kernel is, and all is too much.")
        await self._tell(message)
        return snapshot.seq

    def _on_watched(self, channel: Channel) -> None:
        def tell() -> None:
            said = msgspec.json.encode({"op": "watched", "stream": channel.id})
            self._link.hub.spawn(self._tell(said))

        channel.on_watched = tell
        if channel.watched:
            tell()

    async def _tell(self, message: bytes) -> None:
        """Returns when the kernel's socket has taken it."""
        await self._link.write_message(message)

    # What a feed says to those who follow it.

    def send(self, blob: Blob) -> None:
        self._news.set()

    def finish(self, feed: Feed) -> None:
        self._news.set()

    def gone(self, feed: Feed) -> None:
        self._gone = True
        self._news.set()

    def lag(self, feed: Feed) -> int:
        return 0

    def drop(self) -> None:
        """It is never behind: it asks for more when it has taken the last."""
