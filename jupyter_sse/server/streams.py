"""Routes of streams: list, create, show, follow, append, cancel, forget; one stream or many over one connection."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from jupyter_core.utils import ensure_async
from tornado.iostream import IOStream, StreamClosedError

from ..events import CONNECTION_TYPES, Event, EventError, Unknown, canonical, decode, encode, type_of
from ..formats import Adapter, FormatError, Translation, named
from ..log import Gap, LogError
from ..webhook import check
from .auth import ApiError, ApiHandler, ExtensionHandler, ProducerHandler, permitted
from .channel import HTTP, Channel, Closed, Full
from .feed import LAST_CHUNK, Framing, as_chunk, as_is
from .hub import Hub
from .reader import Reader

__all__ = [
    "STREAM_ID",
    "ExistingStreamHandler",
    "MultiplexHandler",
    "Multiplexed",
    "SseHandler",
    "handlers",
    "is_stream_id",
]

STREAM_ID = r"[A-Za-z0-9_-]{1,64}"

ANNOUNCE_SECONDS = 10.0
"""How long a multiplexed connection waits for a stream that does not exist yet: browsers may be faster than kernels."""


def is_stream_id(text: str) -> bool:
    return re.fullmatch(STREAM_ID, text) is not None


def parse_events(body: bytes, max_event: int) -> tuple[int | None, list[bytes], list[Event | Unknown]]:
    """The events in NDJSON: the seq of the first (None where none is given), their canonical JSON, and themselves.

    All or nothing: one bad line refuses the whole body.
    """
    first: int | None = None
    raws: list[bytes] = []
    events: list[Event | Unknown] = []
    for number, line in enumerate(body.split(b"\n"), 1):
        line = line.strip()
        if not line:
            continue
        if len(line) > max_event:
            raise ApiError(413, "event_too_large", f"Line {number}: an event has at most {max_event} bytes.")
        try:
            raw, event = canonical(line)
            seq = msgspec.json.decode(line, type=_Numbered).seq
        except (EventError, msgspec.DecodeError) as error:
            raise ApiError(400, "bad_event", f"Line {number}: {error}. Nothing was appended.") from None
        if type_of(raw) in CONNECTION_TYPES:
            raise ApiError(400, "bad_event", f"Line {number}: {type_of(raw)} is made by connections, not appended.")
        if seq is not None:
            first = seq - len(raws) if first is None else first
            if seq != first + len(raws) or first < 1:
                raise ApiError(409, "gap", f"Line {number}: seq {seq} does not follow the line before it.")
        raws.append(raw)
        events.append(event)
    if not raws:
        raise ApiError(400, "no_events", "The body has no event. Send one JSON object a line (NDJSON).")
    return first, raws, events


class _Numbered(msgspec.Struct):
    seq: int | None = None


class ReaderHandler(ExtensionHandler):
    """Hands its connection over to a `Reader`; a user may have so many."""

    def check_room(self) -> None:
        most = self.sse.max_connections
        if self.sse.readers[self.user] >= most:
            raise ApiError(
                429,
                "too_many_connections",
                f"You have {most} connections open (SSE.max_connections). Close some, or use one for many streams.",
                retry_after=5,
            )

    def read_along(self, stream: IOStream, framing: Framing, *, end: bytes = b"", keep: bool) -> Reader:
        user, readers = self.user, self.sse.readers
        reader = Reader(self.hub, stream, framing=framing, end=end, keep=keep)
        readers.update([user])
        reader.on_close(lambda: readers.subtract([user]))
        return reader


class SseHandler(ReaderHandler, ApiHandler):
    """What answers with an event stream have in common."""

    def format(self) -> type[Adapter] | None:
        """The protocol that `?format=` names, None for our own.

        Raises
        ------
        ApiError
            There is none of this name.
        """
        name = self.get_query_argument("format", None)
        try:
            return None if name is None else named(name)
        except FormatError as error:
            raise ApiError(400, error.code, error.message) from None

    async def open_sse(self, first: bytes, *, adapter: Adapter | None = None, keep: bool = False) -> Reader | None:
        """Send the headers and the first frame at once, and take the connection over; None if the client has gone.

        adapter : tells all that is sent, in another protocol.
        """
        self.check_room()
        framing, end = (as_chunk, LAST_CHUNK) if self.request.version == "HTTP/1.1" else (as_is, b"")
        if adapter is not None:
            framing = translation = Translation(adapter, framing)
            first = translation.told(first)
            self._set_headers_of(adapter)
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-cache, no-transform")
        self.set_header("X-Accel-Buffering", "no")
        self.set_header("Connection", "close")
        if self.settings.get("compress_response"):
            # The one way to tell tornado's compression to leave an answer alone.
            self.set_header("Content-Encoding", "identity")
        self.set_status(200)
        self.write(first)
        try:
            await self.flush()
        except StreamClosedError:
            return None
        self.application.log_request(self)
        return self.read_along(self.detach(), framing, end=end, keep=keep)

    def refuse_other_sites(self, message: str) -> None:
        """For a GET that does something: a link or an image on another site would send our cookie along.

        A page on an origin that the server allows sends `Origin`, which jupyter_server has checked.
        """
        site = self.request.headers.get("Sec-Fetch-Site", "none")
        is_foreign = site not in ("none", "same-origin") and "Origin" not in self.request.headers
        if is_foreign and not self.token_authenticated:
            raise ApiError(403, "cross_site", message)

    def _set_headers_of(self, adapter: Adapter) -> None:
        for name, value in adapter.headers.items():
            self.set_header(name, value)

    def in_json(self, message: str, code: str) -> dict[str, Any]:
        try:
            format = self.format()
        except ApiError:
            format = None
        return super().in_json(message, code) | ({} if format is None else format.failed(message, code))

    async def follow(self, channel: Channel, after: int, adapter: Adapter | None = None) -> Reader | None:
        """Answer with the stream after the cursor, to its end; None if the client has gone."""
        format = self.format()
        if adapter is None and format is not None:
            adapter = format(channel.id)
        if after:
            self.hub.stats.reconnects += 1
        first = self.hub.hello(channel.id, model=(await channel.snapshot()).model)
        reason = channel.reset_reason(after)
        if reason is not None:
            reset, after = await self.hub.reset(channel, "", reason)
            first += reset
        reader = await self.open_sse(first, adapter=adapter)
        if reader is not None:
            reader.follow(channel.feed(""), after)
        return reader

    async def cursor(self) -> int | None:
        """The seq after which to go on, -1 for a snapshot; None if it is none, which has been answered."""
        try:
            format = self.format()
        except ApiError as error:
            await self.fail_sse(error.code, error.message)
            return None
        if format is not None and "Last-Event-ID" in self.request.headers:
            self.set_status(204)  # an EventSource, which stops at this: nobody resumes in another protocol
            self.finish()
            return None
        if self.get_query_argument("snapshot", "0") not in ("0", "") and "Last-Event-ID" not in self.request.headers:
            return -1
        given = self.request.headers.get("Last-Event-ID") or self.get_query_argument("after", "0")
        if not given.isascii() or not given.isdigit() or len(given) > 18:
            await self.fail_sse("bad_cursor", f"Last-Event-ID or ?after= must be a number, not {given[:40]!r}.")
            return None
        if int(given) and format is not None:
            await self.fail_sse(
                "bad_cursor",
                "With a format, a stream is told from its beginning, or with ?snapshot=1 from its state: leave out"
                " ?after=.",
            )
            return None
        return int(given)

    async def fail_sse(self, code: str, message: str, *, retry_after: int | None = None) -> None:
        """Answer bad input with an `error` event: an EventSource can read nothing but a 200."""
        self.hub.stats.errors[code] = self.hub.stats.errors.get(code, 0) + 1
        said = self.hub.hello(None, retry_after=retry_after) + self.hub.failure("", code, message)
        adapter = None
        with suppress(ApiError):
            format = self.format()
            adapter = None if format is None else format("")
        await self.finish_sse(said, adapter)

    async def finish_sse(self, said: bytes, adapter: Adapter | None) -> None:
        """Answer with these frames, and no more."""
        if adapter is not None:
            self._set_headers_of(adapter)
            said = Translation(adapter, as_is).told(said)
        self.set_header("Cache-Control", "no-cache, no-transform")
        self.write(said)
        await self.finish(set_content_type="text/event-stream; charset=utf-8")


class StreamsHandler(ProducerHandler):
    @permitted("read")
    async def get(self) -> None:
        """The streams, newest first."""
        entries = await self.hub.log.entries(
            status=self.get_query_argument("status", None),
            kind=self.get_query_argument("kind", None),
            path=self.get_query_argument("path", None),
            kernel=self.get_query_argument("kernel", None),
        )
        self.finish(json.dumps(list(map(self.hub.listing.show, entries))))

    @permitted("write")
    async def post(self) -> None:
        """Begin a stream whose events will come by POST."""
        try:
            given = json.loads(self.request.body or b"{}")
            if not isinstance(given, dict):
                raise EventError('the body must be a JSON object such as {"kind": "task", "title": "Render"}')
            url = given.pop("webhook", None)
            if url is not None:
                check(url)
            event = decode(encode(Unknown("start", {"ts": time.time(), **given, "type": "start"})))
        except (ValueError, RecursionError) as error:
            raise ApiError(400, "bad_stream", f"This cannot begin a stream: {error}.") from None
        raw, most = encode(event), self.hub.limits.event_bytes
        if len(raw) > most:
            raise ApiError(413, "event_too_large", f"This cannot begin a stream: an event has at most {most} bytes.")
        stream = secrets.token_urlsafe(16)
        channel = await self.hub.channel(stream)
        channel.owner = HTTP
        await append(self.hub, channel, None, [raw], [event])
        if url is not None:  # not of one that could not begin: it would wait for ever
            self.sse.webhooks.want(channel, url)
        self.set_status(201)
        url = self.hub.listing.url(stream)
        self.set_header("Location", url)
        self.finish(json.dumps({"stream": stream, "url": url}))


async def append(
    hub: Hub, channel: Channel, first: int | None, raws: Sequence[bytes], events: Sequence[Event | Unknown]
) -> int:
    """`Hub.append` for an HTTP answer: what it raises becomes a status."""
    try:
        return await hub.append(channel, first, raws, events)
    except Gap as gap:
        raise ApiError(409, "gap", f"The stream ends at seq {gap.last}: send from {gap.last + 1} on.") from None
    except Full as full:
        raise ApiError(413, full.code, f"Nothing was appended: {full.message}.") from None
    except Closed as closed:
        status = 410 if closed.code == "deleted" else 409
        raise ApiError(status, closed.code, f"Nothing was appended: {closed.message}.") from None
    except LogError as error:
        raise ApiError(507, "log_failed", f"Nothing was appended: {error}", retry_after=5) from None


class ExistingStreamHandler(ApiHandler):
    """What answers about one stream."""

    async def existing(self, stream: str) -> Channel:
        channel = await self.hub.channel(stream)
        await self.hub.look(channel)
        if channel.deleted:
            raise ApiError(410, "gone", "This stream has been deleted, or has expired.")
        if not channel.exists:
            raise ApiError(404, "not_found", "There is no stream with this id.")
        return channel


class StreamHandler(ExistingStreamHandler):
    @permitted("read")
    async def get(self, stream: str) -> None:
        """The stream's snapshot."""
        channel = await self.existing(stream)
        self.hub.unread.discard(stream)
        self.finish(msgspec.json.encode(await channel.snapshot()))

    @permitted("write")
    async def delete(self, stream: str) -> None:
        """Forget the stream."""
        await self.hub.delete(await self.existing(stream))
        self.set_status(204)
        self.finish()


class StreamEventsHandler(ExistingStreamHandler, SseHandler, ProducerHandler):
    @permitted("read")
    async def get(self, stream: str) -> None:
        """Follow the stream after the cursor, to its end."""
        channel = await self.existing(stream)
        after = await self.cursor()
        if after is None:
            return
        if channel.ended and after == channel.last:
            self.set_status(204)
            self.finish()
            return
        await self.follow(channel, after)

    @permitted("write")
    async def post(self, stream: str) -> None:
        """Append NDJSON events."""
        channel = await self.existing(stream)
        first, raws, events = parse_events(self.request.body, self.hub.limits.event_bytes)
        if channel.owner != HTTP:
            raise ApiError(
                409, "not_producer", "A kernel numbers this stream's events; begin a stream of your own (POST streams)."
            )
        seq = await append(self.hub, channel, first, raws, events)
        answer: dict[str, Any] = {"seq": seq}
        if channel.cancels:
            answer["cancelled"] = True
        self.finish(json.dumps(answer))


class CancelHandler(ExistingStreamHandler):
    @permitted("write")
    async def post(self, stream: str) -> None:
        """Ask the producer to stop; asked again, interrupt its kernel."""
        channel = await self.existing(stream)
        if channel.ended:
            via, message = "ended", "The stream has already ended."
        else:
            channel.cancels += 1
            via, message = await self._pass_on(channel)
        self.set_status(202)
        self.finish(json.dumps({"via": via, "message": message}))

    async def _pass_on(self, channel: Channel) -> tuple[str, str]:
        origin = (await channel.snapshot()).origin
        in_thread = origin is not None and origin.thread is not None  # which an interrupt of the kernel does not reach
        alive = channel.kernel is not None and channel.kernel in self.kernel_manager
        if channel.cancels > 1 and alive and not in_thread:
            interrupt: Any = self.kernel_manager.interrupt_kernel  # a coroutine, or not, as the server is configured
            await ensure_async(interrupt(channel.kernel))
            return "interrupt", "The kernel was interrupted."
        if channel.on_cancel is not None:
            channel.on_cancel()
            return "producer", "The producer was asked to stop; it does so at its next step."
        if channel.owner == HTTP:
            return "producer", "The producer is told in the answer to its next POST."
        return "pending", "The producer is not connected now; it is told as soon as it is."


class _Follow(msgspec.Struct, forbid_unknown_fields=True):
    streams: dict[str, int] = {}
    add: dict[str, int] = {}
    remove: list[str] = []
    listing: bool | None = msgspec.field(default=None, name="list")
    outputs: bool = False  # the page shows streams where the kernel would put a widget


class Multiplexed(ReaderHandler):
    """Many streams over one connection, whichever it is: a browser allows only six a host."""

    def parse_wanted(self, message: str | bytes) -> _Follow:
        try:
            wanted = msgspec.json.decode(message, type=_Follow)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ApiError(400, "bad_request", f'The body must be {{"streams": {{id: after}}}}: {error}.') from None
        for stream in (*wanted.streams, *wanted.add, *wanted.remove):
            if not is_stream_id(stream):
                raise ApiError(400, "bad_stream_id", f"This is not a stream's id: {stream[:80]!r}.")
        return wanted

    async def change(self, reader: Reader, wanted: _Follow) -> None:
        """Bring what this reader follows in line with what its client asks for."""
        if any(after > 0 for after in (*wanted.streams.values(), *wanted.add.values())):
            self.hub.stats.reconnects += 1
        for stream in wanted.remove:
            channel = await self.hub.channel(stream)
            feed = channel.feeds.get(f"{stream}:")
            if feed is not None:
                reader.unfollow(feed)
        for stream, after in {**wanted.streams, **wanted.add}.items():
            await self._follow(reader, stream, after)
            if wanted.outputs:
                (await self.hub.channel(stream)).watch()
        if wanted.listing:
            await self.hub.listing.watch(reader)
        elif wanted.listing is not None:
            self.hub.listing.unwatch(reader)

    async def _follow(self, reader: Reader, stream: str, after: int) -> None:
        channel = await self.hub.channel(stream)
        prefix = f"{stream}:"
        if channel.deleted:
            reader.tell(self.hub.failure(prefix, "gone", "This stream has been deleted, or has expired."))
            return
        if not channel.exists:
            after = 0
            self.hub.loop.call_later(ANNOUNCE_SECONDS, self._not_announced, reader, channel, prefix)
        elif (reason := channel.reset_reason(after)) is not None:
            reset, after = await self.hub.reset(channel, prefix, reason)
            reader.tell(reset)
        if reader.closed or (channel.ended and after >= channel.last):
            return
        feed = channel.feed(prefix)
        reader.unfollow(feed)
        reader.follow(channel.feed(prefix), after)

    def _not_announced(self, reader: Reader, channel: Channel, prefix: str) -> None:
        feed = channel.feeds.get(prefix)
        if not channel.exists and feed is not None and feed in reader.feeds:
            reader.unfollow(feed)
            reader.tell(self.hub.failure(prefix, "not_found", "There is no stream with this id on this server."))


class MultiplexHandler(Multiplexed, SseHandler):
    """The multiplex as an event stream, which is changed by POST."""

    _track_activity = False  # its POSTs only look on

    @permitted("read")
    async def post(self, connection: str | None = None) -> None:
        wanted = self.parse_wanted(self.request.body)
        if connection is None:
            await self._open(wanted)
            return
        user, reader = self.sse.connections.get(connection, ("", None))
        if reader is None or user != self.user:
            raise ApiError(404, "no_connection", "There is no such connection now; open a new one (POST events).")
        await self.change(reader, wanted)
        self.set_status(204)
        self.finish()

    async def _open(self, wanted: _Follow) -> None:
        connection = secrets.token_urlsafe(16)
        reader = await self.open_sse(self.hub.hello(None, connection=connection), keep=True)
        if reader is None:
            return
        self.sse.connections[connection] = (self.user, reader)
        reader.on_close(lambda: self.sse.connections.pop(connection, None))
        await self.change(reader, wanted)


handlers: list[tuple[str, type[ApiHandler]]] = [
    (r"streams", StreamsHandler),
    (rf"streams/({STREAM_ID})", StreamHandler),
    (rf"streams/({STREAM_ID})/events", StreamEventsHandler),
    (rf"streams/({STREAM_ID})/cancel", CancelHandler),
    (r"events", MultiplexHandler),
    (rf"events/({STREAM_ID})", MultiplexHandler),
]
