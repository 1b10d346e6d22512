"""Routes under `e/`: whoever asks for one is connected to the endpoint that has it, wherever that runs."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

import msgspec
from tornado.iostream import StreamClosedError

from ..endpoints import LAST, Request, frame
from ..events import EVENT_TYPES, Error, type_of
from ..formats import FORMATS, Adapter
from ..log import LogError
from .auth import ApiError, permitted
from .calls import Opened, Pipe
from .reader import Reader
from .streams import ANNOUNCE_SECONDS, SseHandler

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["EndpointHandler", "handlers", "pump"]

_SECRET_HEADER = re.compile(r"auth|cookie|token|xsrf|csrf|^referer$", re.IGNORECASE)
_SECRET_FIELDS = frozenset({"token", "_xsrf"})
"""What a kernel is not told: it may not act as the user. (The address of the page before may have had a token.)"""

_CURSOR = re.compile(r"[A-Za-z0-9_-]{22}:[0-9]{1,18}")
"""An id of a shared run: that of its stream, and the seq."""


class EndpointHandler(SseHandler):
    """Calls the endpoint that has the path."""

    def format(self) -> type[Adapter] | None:
        """The protocol that `?format=` names; another word is the endpoint's own."""
        return FORMATS.get(self.get_query_argument("format", ""))

    @permitted("read")
    async def get(self) -> None:
        self.refuse_other_sites("An endpoint cannot be called by a link on another site.")
        await self._call()

    @permitted("write")
    async def post(self) -> None:
        await self._call()

    async def _call(self) -> None:
        if self.request.headers.get("Last-Event-ID") == LAST or await self._has_seen_it_fail():
            self._nothing_more()
            return
        self.check_room()
        path = self.request.path[self.request.path.index("/jupyter-sse/e/") + len("/jupyter-sse/e") :]
        served = await self.sse.routes.find(path)
        if self.request.method not in served.methods:
            message = f"{served.route.path} takes {' and '.join(served.methods)}, not {self.request.method}."
            raise ApiError(405, "method_not_allowed", message, allow=", ".join(served.methods))
        request = self._request(path)
        self.hub.stats.calls += 1
        try:
            begun = await served.source.begin(served.route.shape, request, None)
            channel = await self._shared(begun)
            if channel is not None and channel.deleted:
                begun = await served.source.begin(served.route.shape, request, channel.id)
                channel = await self._shared(begun)
        except ApiError as error:
            if error.status != 400 or self.request.method != "GET":
                raise
            self._count(error.code)
            failure = frame(Error(message=error.message, code=error.code))
            await self.finish_sse(self.hub.hello(None) + failure, self._adapter(request, ""))
            return
        if channel is not None:
            adapter = self._adapter(request, channel.id)
            await self._join(channel, adapter, is_new=isinstance(begun, Opened) and begun.new)
        elif not isinstance(begun, Opened):
            # Nobody knows this id again, but clients keep a run's messages apart by it.
            await self._pass_through(begun, self._adapter(request, secrets.token_urlsafe(16)))

    async def _shared(self, begun: Pipe | Opened) -> Channel | None:
        if not isinstance(begun, Opened) or begun.stream is None:
            return None
        channel = await self.hub.channel(begun.stream)
        await self.hub.look(channel)
        return channel

    def _adapter(self, request: Request, stream: str) -> Adapter | None:
        format = self.format()
        return None if format is None else format(stream, **format.options(request.body))

    def _count(self, code: str) -> None:
        self.hub.stats.errors[code] = self.hub.stats.errors.get(code, 0) + 1

    def _nothing_more(self) -> None:
        self.set_status(204)
        self.finish()

    def _request(self, path: str) -> Request:
        body = None
        if len(self.request.body) > self.sse.max_body_bytes:
            message = f"The body has at most {self.sse.max_body_bytes} bytes (SSE.max_body_bytes)."
            raise ApiError(413, "body_too_large", message)
        if self.request.body:
            try:
                body = msgspec.json.decode(self.request.body)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                raise ApiError(400, "bad_body", f"The body must be JSON: {error}.") from None
        query = {
            name.encode("latin-1").decode("utf-8", "replace"): self.get_query_arguments(name, strip=False)
            for name in self.request.query_arguments
        }
        return Request(
            method=self.request.method or "GET",
            path=path,
            headers={
                name.lower(): text for name, text in self.request.headers.items() if not _SECRET_HEADER.search(name)
            },
            query={name: values for name, values in query.items() if not _is_ours(name, values[-1])},
            body=body,
        )

    async def _pass_through(self, pipe: Pipe, adapter: Adapter | None) -> None:
        reader = None
        try:
            reader = await self.open_sse(self.hub.hello(None), adapter=adapter)
        finally:
            if reader is None:
                pipe.close()
        if reader is not None:
            pump(pipe, reader)

    async def _join(self, channel: Channel, adapter: Adapter | None, *, is_new: bool) -> None:
        """Follow a stream, whose id is in those of its events: a path may be another's tomorrow."""
        prefix = f"{channel.id}:"
        stream, seq = self._run_read()
        if adapter is not None and stream:
            self._nothing_more()  # nobody resumes in another protocol
            return
        after = -1 if channel.exists and not is_new else 0
        if stream == channel.id:
            after = seq
            self.hub.stats.reconnects += 1
        if channel.ended and after == channel.last:
            self._nothing_more()
            return
        first = self.hub.hello(channel.id)
        if (reason := channel.reset_reason(after)) is not None:
            reset, after = await self.hub.reset(channel, prefix, reason)
            first += reset
            if channel.ended or await self._is_in_no_state(channel, after):
                after -= 1  # this one as well: who knows no `reset` is to see the end
        reader = await self.open_sse(first, adapter=adapter)
        if reader is None:
            return
        reader.follow(channel.feed(prefix), after)
        if not channel.exists:
            self.hub.loop.call_later(ANNOUNCE_SECONDS, _give_up, reader, channel)

    def _run_read(self) -> tuple[str, int]:
        """Of which shared run the reader has had something, "" for none, and up to where."""
        # A page on another origin resumes by the query: it would have to ask for leave to send the header.
        given = self.request.headers.get("Last-Event-ID") or self.get_query_argument("after", "")
        stream, _, seq = given.partition(":") if _CURSOR.fullmatch(given) else ("", "", "-1")
        return stream, int(seq)

    async def _has_seen_it_fail(self) -> bool:
        """The reader has had all of a run that was cut off: coming back it would begin another, for ever."""
        stream, seq = self._run_read()
        if not stream:
            return False
        channel = await self.hub.channel(stream)
        if channel.deleted or not channel.ended or seq != channel.last:
            return False
        state = await channel.snapshot()
        return state.reason in ("cancelled", "timeout") or (state.error is not None and not state.error.retryable)

    async def _is_in_no_state(self, channel: Channel, seq: int) -> bool:
        """The event is one of the user's own types: of those the state has nothing."""
        try:
            rows = await self.hub.log.read(channel.id, seq - 1, limit=1)
        except LogError:
            return False
        return bool(rows) and type_of(rows[0][1]) not in EVENT_TYPES


def _is_ours(name: str, value: str) -> bool:
    """The server reads it. A `format` or an `after` of another kind is the endpoint's own."""
    if name == "format":
        return value in FORMATS
    return name in _SECRET_FIELDS or (name == "after" and _CURSOR.fullmatch(value) is not None)


def _give_up(reader: Reader, channel: Channel) -> None:
    if not channel.exists:
        reader.tell(
            frame(Error(message="The endpoint's process has gone.", code="producer_lost", retryable=True), again=True)
        )
        reader.end()


def pump(pipe: Pipe, reader: Reader) -> None:
    """Pass a call's frames on, until it or its reader is over."""
    # Not left to the task: one that is cancelled before it has begun does nothing at all.
    reader.on_close(pipe.close)
    pumping = reader.hub.spawn(_pump(pipe, reader))
    reader.on_close(pumping.cancel)


async def _pump(pipe: Pipe, reader: Reader) -> None:
    try:
        while (data := await pipe.read()) is not None:
            await reader.write(data)
        reader.end()
    except StreamClosedError:
        reader.close()
    except Exception:
        reader.close()  # who waits for what will not come is to ask again
        raise


handlers: list[tuple[str, type[SseHandler]]] = [(r"e/.*", EndpointHandler)]
