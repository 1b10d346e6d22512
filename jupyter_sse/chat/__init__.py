"""Who answers a question: the providers of answers, known to the server and, where there is none, to the kernel.

A provider is anything that takes a `Question` and gives an async iterator of events, of text, or of what a model's
client streams:

    async def echo(question):
        yield question.message

An installed package offers one under the entry point group `jupyter_sse.providers`, a server's configuration under
`SSE.providers`. Nothing here knows of HTTP or of the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol, Union

from msgspec import Struct

__all__ = ["Message", "Provider", "ProviderError", "Question", "title_of"]

TITLE = 80
"""Characters of a question that its answer is called by."""


class Message(Struct, frozen=True):
    """What was said before, and by whom."""

    role: Literal["user", "assistant", "system"]
    content: str


class Question(Struct, frozen=True):
    """What is asked, after which conversation.

    model : ``<provider>:<model>`` or a provider's name; None is the default model. The provider itself sees only what
        comes after its name.
    system : instructions to the model.
    """

    message: str
    history: tuple[Message, ...] = ()
    model: Union[str, None] = None
    system: Union[str, None] = None


def title_of(message: str) -> str:
    """What the answer to this question is called: its beginning, in one line."""
    line = " ".join(message.split())
    return line if len(line) <= TITLE else f"{line[: TITLE - 1].rstrip()}…"


class Provider(Protocol):
    """Answers a question with `Delta`, `Reasoning`, `Tool`, `Usage`, or what `Chunks` reads; a `Done` may end it.

    When the iterator is closed, or its task cancelled, it ends its own request. It raises `ProviderError` for a failure
    that it can explain.
    """

    def __call__(self, question: Question, /) -> AsyncIterator[Any]: ...


class ProviderError(Exception):
    """There will be no answer, or no more of it.

    message : for people; without secrets.
    code : for programs: unknown_model, not_installed, provider_auth, provider_rate_limited, provider_timeout,
        provider_unavailable, provider_refused or provider_error.
    retry_after : seconds, where the provider has named them.
    """

    def __init__(
        self, message: str, code: str = "provider_error", *, retryable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable
        self.retry_after = retry_after
