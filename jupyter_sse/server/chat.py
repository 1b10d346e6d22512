"""Questions and their answers: generated here, so that no API key ever leaves the server.

An answer is a stream like any other, and this server is its producer. It goes on when its readers leave; one that
nobody has ever read is ended and forgotten after a while.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import secrets
import time
from collections import OrderedDict
from contextlib import aclosing, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from ..chat import Message, ProviderError, Question, title_of
from ..chat.providers import Providers
from ..events import Done, Error, Event, Origin, Start, encode
from ..log import LogError
from ..state import Snapshot
from .auth import ApiError, ApiHandler, permitted
from .channel import Channel, Closed, Full
from .formats import BODY_BYTES, FormatHandler
from .hub import Hub
from .streams import is_stream_id

if TYPE_CHECKING:
    from .kernels import Producers

__all__ = ["Chats", "handlers"]

PROMPT_SECONDS = 3.0
"""How long a POST waits for the first word: a provider that is down says so by then, and the POST with it."""

REMEMBERED = 1000
"""Answers to GET requests that a browser's EventSource can come back to."""

RETRY_SECONDS = 1.0
"""When the log cannot write, how long an answer waits before it is written again."""

STATUS = {
    "unknown_model": 400,
    "not_installed": 501,
    "provider_rate_limited": 429,
    "provider_timeout": 504,
    "provider_auth": 502,
    "provider_unavailable": 502,
    "provider_refused": 502,
    "provider_error": 502,
}


class Chats:
    """Takes questions, and writes their answers into streams.

    rate : how many questions a user may ask, in the words of the library `limits`, such as "30/minute".
    max_question : characters of one question.
    unread_seconds : an answer that nobody has begun to read is forgotten after so long.
    """

    def __init__(
        self,
        hub: Hub,
        producers: Producers,
        providers: Providers,
        *,
        rate: str,
        max_question: int,
        unread_seconds: float,
    ) -> None:
        self.providers = providers
        self._hub = hub
        self._producers = producers
        self._rate = rate
        self._max_question = max_question
        self._unread_seconds = unread_seconds
        self._answers: dict[str, _Answer] = {}  # those that are being generated
        self._asked: OrderedDict[str, tuple[str, bytes]] = OrderedDict()  # stream -> who, what

    async def start(
        self,
        question: Question,
        *,
        user: str,
        stream: str | None = None,
        origin: Origin | None = None,
        title: str | None = None,
    ) -> Channel:
        """Begin to answer; the channel of the answer's stream.

        stream : the id, if the asker chooses it: asked again with the same id, it is the same answer.

        Raises
        ------
        ApiError
            The question is not taken. Nothing was begun.
        """
        self._check(question)
        stream = stream or secrets.token_urlsafe(16)
        channel = await self._hub.channel(stream)
        if channel.deleted:
            raise ApiError(410, "gone", "This answer has been deleted, or has expired.")
        if stream in self._answers or channel.exists:
            if channel.kind not in (None, "answer"):
                raise ApiError(409, "exists", "There is a stream with this id, and it is no answer.")
            return channel
        answer = self._answers[stream] = _Answer(self, channel)
        try:
            # It may import a large library.
            model = question.model or self.providers.default
            await asyncio.to_thread(self.providers.find, model)
            self._charge(user)
            channel.owner = self._producers.own
            shown = title_of(title or question.message)
            begin = Start(title=shown, kind="answer", model=model, cancellable=True, origin=origin, ts=time.time())
            await self._hub.append(channel, None, [encode(begin)], [begin])
        except BaseException as error:
            del self._answers[stream]
            if isinstance(error, ProviderError):
                raise self._refusal(error.code, error.message, error.retry_after) from None
            if isinstance(error, LogError):
                raise ApiError(507, "log_failed", f"The answer was not begun: {error}", retry_after=5) from None
            raise
        self._producers.writes(self._producers.own, channel, None)
        answer.begin(msgspec.structs.replace(question, model=model))
        self._hub.unread.add(stream)
        self._hub.loop.call_later(self._unread_seconds, self._clean, stream)
        return channel

    def _check(self, question: Question) -> None:
        if not question.message.strip():
            raise ApiError(400, "empty_question", "The question is empty.")
        if len(question.message) > self._max_question:
            raise ApiError(
                413,
                "question_too_long",
                f"The question has {len(question.message)} characters, {self._max_question} are allowed "
                "(SSE.max_question).",
            )

    @cached_property
    def _limiter(self) -> Any:
        if not self._rate:
            return None
        try:
            from limits import parse
            from limits.storage import MemoryStorage
            from limits.strategies import MovingWindowRateLimiter
        except ImportError:  # then there is no real model to pay for either: the extra `chat` brings both
            return None
        return MovingWindowRateLimiter(MemoryStorage()), parse(self._rate)

    def _charge(self, user: str) -> None:
        if self._limiter is None:
            return
        limiter, rate = self._limiter
        if not limiter.hit(rate, user):
            reset, _ = limiter.get_window_stats(rate, user)
            wait = max(1, math.ceil(reset - time.time()))
            raise ApiError(
                429,
                "rate_limited",
                f"That is more than {rate.amount} questions in {rate.get_expiry():g} s (SSE.chat_rate). Try again in "
                f"{wait} s.",
                retry_after=wait,
            )

    def _refusal(self, code: str, message: str, retry_after: float | None) -> ApiError:
        wait = None if retry_after is None else max(1, math.ceil(retry_after))
        return ApiError(STATUS.get(code, 502), code, message, retry_after=wait)

    async def settled(self, channel: Channel) -> None:
        """Wait a moment for the answer's first word.

        Raises
        ------
        ApiError
            It has failed instead.
        """
        answer = self._answers.get(channel.id)
        if answer is None:
            return
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(answer.settled), PROMPT_SECONDS)
        if answer.failure is not None:
            raise self._refusal(answer.failure.code, answer.failure.message, answer.failure.retry_after)

    async def whole(self, channel: Channel) -> Snapshot:
        """The answer when it is complete.

        Raises
        ------
        ApiError
            It was not completed.
        """
        self._hub.unread.discard(channel.id)
        answer = self._answers.get(channel.id)
        if answer is not None:
            await answer.wait()
        snapshot = await channel.snapshot()
        if snapshot.error is not None:
            error = snapshot.error
            raise self._refusal(error.code, error.message, error.retry_after)
        if snapshot.reason not in ("stop", "length", "closed"):
            raise ApiError(410, "cancelled", "The answer was cancelled before it was complete.")
        return snapshot

    def leave(self, channel: Channel) -> None:
        """Who has asked wants no more; the answer ends, unless somebody else reads it."""
        if channel.is_running and channel.on_cancel is not None and not channel.is_read:
            channel.cancels += 1
            channel.on_cancel()

    # a reader whose connection is cut makes the same request again

    def remember(self, channel: Channel, user: str, question: Question) -> None:
        self._asked[channel.id] = (user, _digest(question))
        if len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)

    async def recall(self, user: str, question: Question) -> Channel | None:
        """The answer to the same request, the newest first, but rather one that nobody reads now."""
        wanted = (user, _digest(question))
        asked = [stream for stream, what in reversed(self._asked.items()) if what == wanted]
        channels = [await self._hub.channel(stream) for stream in asked]
        return next((channel for channel in channels if not channel.feeds), channels[0] if channels else None)

    # the end of it

    def ended(self, channel: Channel) -> None:
        self._answers.pop(channel.id, None)
        self._producers.ended(self._producers.own, channel.id)

    def _clean(self, stream: str) -> None:
        if stream in self._hub.unread:
            self._hub.unread.discard(stream)
            self._hub.spawn(self._forget(stream))

    async def _forget(self, stream: str) -> None:
        answer = self._answers.get(stream)
        if answer is not None:
            await answer.stop(Done(reason="timeout", ts=time.time()))
        channel = await self._hub.channel(stream)
        if not channel.deleted:
            await self._hub.delete(channel)

    async def stop(self) -> None:
        """The server stops, and no provider goes on without it."""
        error = Error(
            message="The server was stopped before the answer was complete.",
            code="producer_lost",
            retryable=True,
            ts=time.time(),
        )
        await asyncio.gather(*(answer.stop(error) for answer in list(self._answers.values())))


def _digest(question: Question) -> bytes:
    """What tells a question from others: its history may be long, and a thousand are remembered."""
    return hashlib.sha256(msgspec.json.encode(question)).digest()


class _Answer:
    """One answer on its way."""

    def __init__(self, chats: Chats, channel: Channel) -> None:
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failure: Error | None = None  # before the first word
        self._chats = chats
        self._channel = channel
        self._end: Event = Done(reason="cancelled")
        self._task: asyncio.Task[object] | None = None

    def begin(self, question: Question) -> None:
        hub = self._chats._hub
        self._channel.on_cancel = self._cancel
        self._channel.on_closed = lambda closed: self._cancel()  # deleted
        self._task = hub.spawn(self._run(question))

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def stop(self, end: Event) -> None:
        self._end = end
        self._cancel()
        await self.wait()

    async def wait(self) -> None:
        """To its end, whichever that is."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self, question: Question) -> None:
        channel = self._channel
        try:
            async with aclosing(self._chats.providers.generate(question)) as events:
                async for event in events:
                    if isinstance(event, Error) and not self.settled.done():
                        self.failure = event
                    await self._append(event)
                    self._settle()
        except asyncio.CancelledError:
            with suppress(Closed):
                await self._append(msgspec.structs.replace(self._end, ts=time.time()))
        except Full as full:
            end = Error(message=f"Stopped: {full.message}.", code=full.code, ts=time.time())
            await self._chats._hub.end(channel, end)
        except Closed:
            pass
        finally:
            self._settle()
            channel.on_cancel = channel.on_closed = None
            self._chats.ended(channel)

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)

    async def _append(self, event: Event) -> None:
        hub = self._chats._hub
        if isinstance(event, Error):
            hub.stats.errors[event.code] = hub.stats.errors.get(event.code, 0) + 1
        while True:
            try:
                # A cancel must not come between the log and those who are told what it has.
                await asyncio.shield(hub.append(self._channel, None, [encode(event)], [event]))
                return
            except LogError:
                await asyncio.sleep(RETRY_SECONDS)


class _Body(msgspec.Struct):
    message: str
    history: tuple[Message, ...] = ()
    model: str | None = None
    system: str | None = None
    stream: str | None = None
    title: str | None = None
    origin: Origin | None = None


class ChatHandler(FormatHandler):
    """Route `chat`."""

    @permitted("write")
    async def get(self) -> None:
        """Ask by a query: an EventSource, or `curl -N`."""
        self.refuse_other_sites("A question cannot be asked by a link on another site.")
        message = self.get_query_argument("q", "", strip=False)
        question = Question(message=message, model=self.get_query_argument("model", None) or None)
        if self._is_back():
            await self._resume(await self.sse.chats.recall(self.user, question))
            return
        try:
            self.format()
            self.check_room()
            channel = await self.sse.chats.start(question, user=self.user)
        except ApiError as error:
            await self.fail_sse(error.code, error.message, retry_after=error.retry_after)
            return
        self.sse.chats.remember(channel, self.user, question)
        await self.follow(channel, 0)

    def _is_back(self) -> bool:
        # A page on another origin resumes by the query: it would have to ask for leave to send the header.
        return "Last-Event-ID" in self.request.headers or "after" in self.request.query_arguments

    async def _resume(self, channel: Channel | None) -> None:
        after = await self.cursor()
        if after is None:
            return
        if channel is None or not channel.exists or channel.deleted or (channel.ended and after == channel.last):
            self.set_status(204)  # an EventSource stops at this; to ask once more is for its user to say
            self.finish()
            return
        await self.follow(channel, after)

    @permitted("write")
    async def post(self) -> None:
        """Ask: the stream's address, or with `Accept: text/event-stream` or `?format=` the stream."""
        format = self.format()
        if format is not None:
            await self.answer_in(format)
            return
        body = self._body()
        if body.stream is not None and not is_stream_id(body.stream):
            raise ApiError(400, "bad_stream_id", f"This is not a stream's id: {body.stream[:80]!r}.")
        question = Question(message=body.message, history=body.history, model=body.model or None, system=body.system)
        streams = "text/event-stream" in self.request.headers.get("Accept", "")
        if streams:
            self.check_room()
        if streams and self._is_back():
            known = await self.hub.channel(body.stream) if body.stream else None
            await self._resume(known or await self.sse.chats.recall(self.user, question))
            return
        channel = await self.sse.chats.start(
            question,
            user=self.user,
            stream=body.stream,
            origin=body.origin,
            title=body.title,
        )
        if streams:
            self.sse.chats.remember(channel, self.user, question)
            await self.follow(channel, 0)
            return
        await self.sse.chats.settled(channel)
        url = self.hub.listing.url(channel.id)
        self.set_status(201)
        self.set_header("Location", url)
        self.finish(json.dumps({"stream": channel.id, "url": url}))

    def _body(self) -> _Body:
        if len(self.request.body) > BODY_BYTES:
            raise ApiError(413, "body_too_large", f"The body has at most {BODY_BYTES} bytes.")
        try:
            return msgspec.json.decode(self.request.body, type=_Body)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ApiError(
                400, "bad_question", f'The body must be JSON such as {{"message": "Why is the sky blue?"}}: {error}.'
            ) from None


class ModelsHandler(ApiHandler):
    """Route `models`."""

    @permitted("read")
    async def get(self) -> None:
        """Who can be asked."""
        providers = self.sse.chats.providers
        models = await asyncio.to_thread(lambda: providers.models)
        self.finish(json.dumps({"models": models, "default": providers.default}))


handlers: list[tuple[str, type[ApiHandler]]] = [(r"chat", ChatHandler), (r"models", ModelsHandler)]
