"""Questions: answered by the Jupyter server, or where there is none, here."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..chat import Question, title_of
from . import link
from .answer import Answer
from .follower import Follower
from .origin import in_coroutine
from .producer import Producer
from .stream import Pump
from .websocket import RefusedError

__all__ = ["ask", "begin"]

QUESTION_BYTES = 1 << 20
"""What a server takes, with all that was said before."""


def ask(
    question: str,
    model: str | None = None,
    *,
    system: str | None = None,
    history: Any = (),
    title: str | None = None,
    display: bool = True,
) -> Answer:
    """Ask a model, and show its answer while it comes.

    The cell waits for the answer's end. A coroutine does not, nor a cell's statement with an ``await`` in it: there the
    answer comes in the background, for ``await ask(...)``.

    Parameters
    ----------
    model
        As the server's list of models has it, such as ``openai:gpt-5``; the server's default if None.
    system
        Instructions to the model.
    history
        What was said before: an `Answer`, which continues its conversation, or a list of answers,
        ``{"role": ..., "content": ...}`` and ``(question, answer)``.
    display
        Show it in this cell.

    Raises
    ------
    StreamError
        If there is no answer, or no whole one: `.answer` holds what came.
    Cancelled
        If somebody presses Cancel.
    """
    answer = begin(question, model, system=system, history=history, title=title, display=display)
    return answer if in_coroutine(sys._getframe(1)) else answer.wait()


def begin(
    question: str,
    model: str | None = None,
    *,
    system: str | None = None,
    history: Any = (),
    title: str | None = None,
    display: bool = True,
) -> Answer:
    """`ask`, without waiting for anything."""
    if not isinstance(question, str):
        raise TypeError(f"a question is text, not {type(question).__name__}")
    said: dict[str, Any] = {"message": question, "history": messages(history), "model": model, "system": system}
    checked = msgspec.convert(said, Question)
    size = len(msgspec.json.encode(checked))
    if size > QUESTION_BYTES:
        raise ValueError(f"the question and its history have {size} bytes, at most {QUESTION_BYTES} can be asked")
    if title is None:
        title = title_of(question)
    to = link.current()
    if to.address is None or isinstance(to.problem, RefusedError):
        return _answer_here(checked, said["history"], title, display)
    return Follower(said, title, show=display).answer


def messages(history: Any) -> list[dict[str, str]]:
    """What was said before as a list of role and content.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If one of the answers is still on its way.
    """
    if isinstance(history, Answer):
        _check_over(history)
        return history.messages if history.text else history._history
    if isinstance(history, (str, Mapping)) or not isinstance(history, Iterable):
        raise TypeError(f"history is an Answer or a list, not {type(history).__name__}")
    found: list[dict[str, str]] = []
    for entry in history:
        found += _turn(entry)
    return found


def _turn(entry: Any) -> list[dict[str, str]]:
    if isinstance(entry, Answer):
        _check_over(entry)
        # Models refuse an empty answer, and a question without one says nothing.
        return entry.messages[len(entry._history) :] if entry.text else []
    if isinstance(entry, tuple) and len(entry) == 2:
        return [{"role": "user", "content": str(entry[0])}, {"role": "assistant", "content": str(entry[1])}]
    role, content = (
        (entry.get("role"), entry.get("content"))
        if isinstance(entry, Mapping)
        else (getattr(entry, "role", None), getattr(entry, "content", None))
    )
    if role not in ("user", "assistant", "system") or not isinstance(content, str):
        raise TypeError(
            'history has answers, {"role": "user" or "assistant", "content": text} and (question, answer), '
            f"not {entry!r:.80}"
        )
    return [{"role": role, "content": content}]


def _check_over(answer: Answer) -> None:
    if answer.status == "running":
        raise ValueError("an answer in the history is not over: await it first")


def _answer_here(question: Question, history: list[dict[str, str]], title: str, display: bool) -> Answer:
    """Generate it in this process, in a thread: the caller's may be busy with waiting, or with a loop of its own."""
    from ..chat.providers import Providers

    providers = Providers()
    producer = Producer(title, kind="answer", model=question.model or providers.default, show=display)
    pump = Pump(producer, Answer(producer, question=question.message, history=history))

    async def run() -> None:
        await pump.cancellable(asyncio.ensure_future(pump.run_async(providers.generate(question))))

    threading.Thread(target=lambda: asyncio.run(run()), name="jupyter_sse answer", daemon=True).start()
    return pump.answer
