"""Questions that come in another protocol, and are answered in it; the routes that OpenAI's clients expect.

Such a client says that it wants no more by closing its connection, and has no other word for it. So the answer to its
question is cancelled then, unless somebody else reads it.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
from jupyter_server.auth.decorator import allow_unauthenticated

from ..formats import Adapter, Asked, FormatError, OpenAI
from .auth import ApiError, ApiHandler, ProducerHandler, permitted
from .channel import Channel
from .streams import SseHandler

__all__ = ["BODY_BYTES", "FormatHandler", "handlers"]

BODY_BYTES = 1 << 20
"""A security limit: a question with all that was said before."""


class FormatHandler(SseHandler, ProducerHandler):
    """Answers questions in the protocol in which they are asked."""

    _has_left = False
    _awaited: Channel | None = None  # by a client that wants the whole answer

    async def answer_in(self, format: type[Adapter]) -> None:
        asked = self._read(format)
        if asked.stream:
            self.check_room()
        channel = await self.sse.chats.start(asked.question, user=self.user)
        if asked.stream:
            reader = await self.follow(channel, 0, format(channel.id, **asked.options))
            if reader is None:
                self.sse.chats.leave(channel)
            else:
                reader.on_close(lambda: self.sse.chats.leave(channel))
            return
        self._awaited = channel
        if self._has_left:
            self.sse.chats.leave(channel)
        snapshot = await self.sse.chats.whole(channel)
        self._awaited = None
        self.finish(msgspec.json.encode(format.whole(snapshot)))

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._has_left = True
        if self._awaited is not None:
            self.sse.chats.leave(self._awaited)

    def _read(self, format: type[Adapter]) -> Asked:
        if len(self.request.body) > BODY_BYTES:
            raise ApiError(413, "body_too_large", f"The body has at most {BODY_BYTES} bytes.")
        try:
            asked = format.read(self.request.body)
        except FormatError as error:
            raise ApiError(400, error.code, error.message) from None
        model = asked.question.model or self.get_query_argument("model", None) or None
        return msgspec.structs.replace(asked, question=msgspec.structs.replace(asked.question, model=model))


class _OpenAIHandler(ApiHandler):
    @allow_unauthenticated
    def options(self, *args: Any, **kwargs: Any) -> None:
        super().options(*args, **kwargs)
        # OpenAI's client says where it runs, which a page on another origin may only do if it is allowed to.
        asked = self.request.headers.get("Access-Control-Request-Headers", "").lower().replace(" ", "").split(",")
        about = [name for name in asked if name.startswith("x-stainless-")]
        allowed = self._headers["Access-Control-Allow-Headers"]
        self.set_header("Access-Control-Allow-Headers", ", ".join([allowed, *about]))


class CompletionsHandler(_OpenAIHandler, FormatHandler):
    """Route `openai/chat/completions`: below a client's `baseURL`."""

    def format(self) -> type[Adapter]:
        return OpenAI

    @permitted("write")
    async def post(self) -> None:
        await self.answer_in(OpenAI)


class ModelsHandler(_OpenAIHandler):
    """Route `openai/models`."""

    @permitted("read")
    async def get(self) -> None:
        providers = self.sse.chats.providers
        self.finish(json.dumps(OpenAI.models(await asyncio.to_thread(lambda: providers.models))))


handlers: list[tuple[str, type[ApiHandler]]] = [
    (r"openai/chat/completions", CompletionsHandler),
    (r"openai/models", ModelsHandler),
]
