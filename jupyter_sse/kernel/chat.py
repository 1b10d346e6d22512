"""`Chat`: a conversation with a model, in a panel with an input box and in Python at the same time.

The panel asks the server by itself, so that it works while the kernel is busy, and tells the kernel of it. Both hold
the messages, and tell each other of changes; what a change is, says `transcript.py`.
"""

from __future__ import annotations

import secrets
import sys
import threading
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from ..chat import title_of
from ..transcript import Change, ChatError, ChatMessage, ChatState, changed
from .ask import begin
from .display import in_notebook
from .follower import Follower
from .origin import in_coroutine
from .panel import Panel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .answer import Answer

__all__ = ["Chat"]


class Chat:
    """A conversation with a model.

    The last line of a cell, ``chat`` shows it as a panel; as often as it is shown, it is one conversation.

    Parameters
    ----------
    model
        As the server's list of models has it, such as ``openai:gpt-5``; the server's default if None.
    system
        Instructions to the model.
    title
        What the panel is headed with.
    """

    def __init__(self, model: str | None = None, *, system: str | None = None, title: str | None = None) -> None:
        self._id = secrets.token_urlsafe(12)
        self._lock = threading.RLock()
        self._state = ChatState(model=model, system=system, title=title)
        self._answers: dict[str, Answer] = {}  # by message, those that are asked for from here and still run
        self._panel = Panel(self._id, self)

    def __repr__(self) -> str:
        return f"<Chat {self.title or self._id}, {len(self._state.messages)} messages>"

    def _ipython_display_(self) -> None:
        if in_notebook():
            self._panel.show()
        else:
            print("\n\n".join(f"{message['role']}: {message['content']}" for message in self.messages) or repr(self))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was said, as model clients take it: a list of role and content. An answer that is not whole has its
        `status` besides, "running", "error" or "cancelled".

        The list is a copy. To change what was said, assign one: ``chat.messages = chat.messages[:2]``.
        """
        return [_told(message, self._answers.get(message.id)) for message in self._state.messages]

    @messages.setter
    def messages(self, messages: Iterable[Mapping[str, Any]]) -> None:
        new = [_message(message) for message in messages]
        with self._lock:
            old = self._state.messages
            same = 0
            for given, message in zip(new, old, strict=False):
                if (given.role, given.content) != (
                    message.role,
                    _told(message, self._answers.get(message.id))["content"],
                ):
                    break
                same += 1
            for message in old[same:]:
                if message.id in self._answers:
                    self._answers.pop(message.id).cancel()
            if len(old) > same or len(new) > same:
                self._change(Change(cut=old[same].id if len(old) > same else None, put=new[same:]))

    @property
    def model(self) -> str | None:
        """The one that is asked next; None is the server's default."""
        return self._state.model

    @model.setter
    def model(self, model: str | None) -> None:
        self._change(Change(model=model))

    @property
    def models(self) -> list[str]:
        """Those to choose from in the panel; where there are none, the panel asks the server which it has."""
        return list(self._state.models)

    @models.setter
    def models(self, models: Iterable[str]) -> None:
        self._set(models=[str(model) for model in models])

    @property
    def system(self) -> str | None:
        """Instructions to the model."""
        return self._state.system

    @system.setter
    def system(self, system: str | None) -> None:
        self._set(system=system)

    @property
    def title(self) -> str | None:
        """What the panel is headed with."""
        return self._state.title

    @title.setter
    def title(self, title: str | None) -> None:
        self._set(title=title)

    def ask(self, question: str) -> Answer:
        """Ask, in the panel and here.

        The cell waits for the answer's end, as it does for `ask`: not in a coroutine, nor in a cell with an ``await``.

        Raises
        ------
        StreamError
            If there is no answer, or no whole one: `.answer` holds what came.
        Cancelled
            If somebody presses Stop.
        """
        answer = self.begin(question)
        return answer if in_coroutine(sys._getframe(1)) else self.wait(answer)

    def begin(self, question: str, *, display: bool = False) -> Answer:
        """`ask`, without waiting for anything; with `display` the answer is shown in the cell, too."""
        answer = self._begin(question, _said(self.messages), display=display)
        said = ChatMessage(id=secrets.token_hex(9), role="user", content=question)
        self._change(Change(put=[said]))
        self._follow(_answer(self._state.model), answer)
        return answer

    def wait(self, answer: Answer) -> Answer:
        """Wait for an answer of this conversation."""
        try:
            return answer.wait()
        finally:
            if answer.status != "running":  # in this thread: nbclient hears nothing that comes after the cell
                for id in [id for id, one in list(self._answers.items()) if one is answer]:
                    self._over(id, answer)

    # What the panel asks for

    @property
    def state(self) -> ChatState:
        return self._state

    def offer(self, models: list[str]) -> None:
        """Have these models to choose from, unless somebody has said which."""
        if not self._state.models:
            self._state = msgspec.structs.replace(self._state, models=models)

    def take(self, change: Change) -> None:
        """A page has changed something."""
        with self._lock:
            self._state = changed(self._state, change)
            kept = {message.id for message in self._state.messages}
            dropped = [self._answers.pop(id) for id in list(self._answers) if id not in kept]
        for answer in dropped:
            answer.cancel()

    def answer(self, id: str, question: str, history: list[dict[str, str]]) -> None:
        """Have this message, which a page has put, be the answer to a question: there is no server to ask."""
        message = self._awaited(id)
        if message is None:
            return
        try:
            answer = self._begin(question, history)
        except Exception as error:
            self._change(Change(put=[_failed(message, str(error), type(error).__name__)]))
            return
        self._follow(message, answer)

    def follow(self, id: str) -> None:
        """The page has asked the server for this message: have the answer here, too."""
        message = self._awaited(id)
        if message is not None and message.stream is not None:
            self._keep(message, Follower(None, None, show=False, stream=message.stream).answer)

    def _awaited(self, id: str) -> ChatMessage | None:
        """The message, if its answer is still to come and nobody here gets it yet."""
        message = next((one for one in self._state.messages if one.id == id), None)
        return message if message is not None and message.status == "running" and id not in self._answers else None

    def running(self, stream: str) -> Answer | None:
        """The answer that this process gets over this stream."""
        return next((answer for answer in list(self._answers.values()) if answer.id == stream), None)

    # The rest

    def _begin(self, question: str, history: list[dict[str, Any]], *, display: bool = False) -> Answer:
        state = self._state
        title = title_of(f"{state.title}: {question}") if state.title else None
        return begin(question, state.model, system=state.system, history=history, title=title, display=display)

    def _follow(self, message: ChatMessage, answer: Answer) -> None:
        with self._lock:
            self._answers[message.id] = answer  # first: a change drops the answers of messages that are not there
            self._change(Change(put=[msgspec.structs.replace(message, stream=answer.id)]))
        self._panel.feed(answer)
        self._keep(message, answer)

    def _keep(self, message: ChatMessage, answer: Answer) -> None:
        """Have the message be this answer."""
        with self._lock:
            self._answers[message.id] = answer
        answer._over.add_done_callback(lambda over: self._over(message.id, answer))

    def _over(self, id: str, answer: Answer) -> None:
        snapshot = answer.snapshot
        with self._lock:
            if self._answers.pop(id, None) is None:
                return  # it has been cut
            message = next(one for one in self._state.messages if one.id == id)
            model = snapshot.model or message.model
            ended = msgspec.structs.replace(message, content=snapshot.text, status=snapshot.status, model=model)
            if snapshot.error is not None:
                ended = _failed(ended, snapshot.error.message, snapshot.error.code)
            self._change(Change(put=[ended]))

    def _change(self, change: Change) -> None:
        with self._lock:
            self.take(change)
            self._panel.changed(change)

    def _set(self, **fields: Any) -> None:
        with self._lock:
            self._state = msgspec.structs.replace(self._state, **fields, rev=self._state.rev + 1)
            self._panel.replaced()


def _said(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is asked with: not what came to nothing, which would be asked once more."""
    return [
        message
        for message, after in zip_longest(messages, messages[1:])
        if message["content"] and (message["role"] != "user" or after is None or after["content"])
    ]


def _answer(model: str | None) -> ChatMessage:
    return ChatMessage(id=secrets.token_hex(9), role="assistant", content="", status="running", model=model)


def _failed(message: ChatMessage, why: str, code: str) -> ChatMessage:
    return msgspec.structs.replace(message, status="error", error=ChatError(message=why, code=code))


def _told(message: ChatMessage, answer: Answer | None) -> dict[str, Any]:
    content, status = message.content, message.status
    error = message.error.message if message.error is not None else None
    if answer is not None:
        content, status, error = answer.text, answer.status, answer.error
    told: dict[str, Any] = {"role": message.role, "content": content}
    if status not in (None, "done"):
        told["status"] = status
    if error is not None:
        told["error"] = error
    return told


def _message(given: Mapping[str, Any]) -> ChatMessage:
    try:
        role, content = given["role"], given["content"]
    except (TypeError, KeyError):
        raise TypeError(f'a message is {{"role": "user" or "assistant", "content": text}}, not {given!r:.80}') from None
    if role not in ("user", "assistant") or not isinstance(content, str):
        hint = "; instructions are chat.system" if role == "system" else ""
        raise TypeError(f'a message is {{"role": "user" or "assistant", "content": text}}, not {given!r:.80}{hint}')
    return ChatMessage(
        id=secrets.token_hex(9), role=role, content=content, status="done" if role == "assistant" else None
    )
