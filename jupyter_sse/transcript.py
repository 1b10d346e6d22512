"""A chat: its messages, how a change changes them, and what a notebook saves of it. Pure.

`js/src/core/conversation.ts` is its pair. A change says the same however often it is made, so that one who has been
away may be sent again what it might have missed.
"""

from __future__ import annotations

from typing import Any, Literal, Union

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from .output import MIME, TEXT, cut, escaped, one_line, safe_markdown
from .state import Status

__all__ = ["Change", "ChatError", "ChatMessage", "ChatState", "changed", "chatbundle"]

ROOM = 1 << 20
"""Characters of the newest messages that a notebook keeps."""


class ChatError(Struct):
    message: str
    code: str = "error"


class ChatMessage(Struct, omit_defaults=True):
    """stream, status, error, model : of an answer; its `content` is whole once it no longer runs."""

    id: str
    role: Literal["user", "assistant"]
    content: str
    stream: Union[str, None] = None
    status: Union[Status, None] = None
    error: Union[ChatError, None] = None
    model: Union[str, None] = None


class Change(Struct, omit_defaults=True):
    """Cut a message and what follows it, then put these: each where one with its id stands, else last."""

    cut: Union[str, None] = None
    put: list[ChatMessage] = field(default_factory=list)
    model: Union[str, UnsetType, None] = UNSET


class ChatState(Struct):
    """rev : how many changes have led here; of two states of a chat the higher is the later one."""

    messages: list[ChatMessage] = field(default_factory=list)
    model: Union[str, None] = None
    models: list[str] = field(default_factory=list)
    system: Union[str, None] = None
    title: Union[str, None] = None
    rev: int = 0


def changed(state: ChatState, change: Change) -> ChatState:
    """The state after a change; the one given is left as it is."""
    messages = list(state.messages)
    at = next((index for index, message in enumerate(messages) if message.id == change.cut), None)
    if at is not None:
        del messages[at:]
    for message in change.put:
        for index, old in enumerate(messages):
            if old.id == message.id:
                messages[index] = message
                break
        else:
            messages.append(message)
    model = state.model if change.model is UNSET else change.model
    return msgspec.structs.replace(state, messages=messages, model=model, rev=state.rev + 1)


def chatbundle(chat: str, state: ChatState, kernel: str | None = None) -> dict[str, Any]:
    """The data of an output. The newest messages, as many as there is room for."""
    kept: list[ChatMessage] = []
    room = ROOM
    for message in reversed(state.messages):
        message = _short(message)
        room -= len(message.content)
        if room < 0:
            break
        kept.append(message)
    kept.reverse()
    left_out = len(state.messages) - len(kept)
    shown = msgspec.to_builtins(msgspec.structs.replace(state, messages=kept))
    return {
        MIME: {"chat": chat, "v": 1, "kernel": kernel, **shown},
        "text/markdown": _markdown(kept, left_out, state.title),
        "text/plain": _plain(kept, left_out, state.title),
    }


def _short(message: ChatMessage) -> ChatMessage:
    error = message.error
    if error is not None:
        error = ChatError(message=cut(error.message, 2000), code=cut(error.code, 200))
    return msgspec.structs.replace(message, content=cut(message.content, TEXT), error=error)


def _end(message: ChatMessage) -> str | None:
    """What is to be said of an answer that is not whole."""
    if message.status == "error":
        return f"Failed: {one_line(message.error.message)}" if message.error is not None else "Failed"
    return {"running": "Still being written", "cancelled": "Stopped"}.get(message.status or "")


def _author(message: ChatMessage) -> str:
    return "You" if message.role == "user" else one_line(message.model or "Assistant")


def _markdown(messages: list[ChatMessage], left_out: int, title: str | None) -> str:
    parts = [f"**{escaped(one_line(title))}**"] if title and title.strip() else []
    if left_out:
        parts.append(f"*{left_out} earlier messages are left out*")
    for message in messages:
        parts.append(f"**{escaped(_author(message))}:**")
        if message.content:
            parts.append(safe_markdown(message.content))
        if (end := _end(message)) is not None:
            parts.append(f"*{escaped(end)}*")
    return "\n\n".join(parts) or "*An empty chat*"


def _plain(messages: list[ChatMessage], left_out: int, title: str | None) -> str:
    parts = [one_line(title)] if title and title.strip() else []
    if left_out:
        parts.append(f"({left_out} earlier messages are left out)")
    for message in messages:
        said = [text for text in (message.content, _end(message)) if text]
        parts.append(f"{_author(message)}: " + "\n".join(said))
    return cut("\n\n".join(parts), TEXT // 8) or "An empty chat"
