"""Chats as outputs: a page whose notebook has no kernel saves what was said by itself."""

from __future__ import annotations

import json

import msgspec

from ..transcript import ChatState, chatbundle
from .auth import ApiError, ApiHandler, permitted

__all__ = ["handlers"]

BODY_BYTES = 8 << 20


class _Chat(ChatState):
    chat: str = ""
    kernel: str | None = None


class TranscriptHandler(ApiHandler):
    """Route `chat/output`."""

    @permitted("read")
    async def post(self) -> None:
        """The data of an output by MIME type, as a notebook saves it. Nothing is kept here."""
        if len(self.request.body) > BODY_BYTES:
            raise ApiError(413, "body_too_large", f"A chat has at most {BODY_BYTES} bytes.")
        try:
            chat = msgspec.json.decode(self.request.body, type=_Chat)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ApiError(400, "bad_chat", f"This is no chat: {error}.") from None
        state = ChatState(**{name: getattr(chat, name) for name in ChatState.__struct_fields__})
        self.finish(json.dumps(chatbundle(chat.chat, state, chat.kernel)))


handlers: list[tuple[str, type[ApiHandler]]] = [(r"chat/output", TranscriptHandler)]
