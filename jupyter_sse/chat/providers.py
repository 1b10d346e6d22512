"""From a question to its events: which provider answers it, and what makes of its texts a stream that ends well."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

import msgspec

from ..events import Done, Error, Event
from . import Provider, ProviderError, Question, demo
from .chunker import Chunker
from .chunks import Chunks

__all__ = ["Providers"]

GROUP = "jupyter_sse.providers"
"""The entry points of packages that bring a provider."""

QUEUED = 64
"""Events that a provider may be ahead; then it waits."""

FOUND = 100
"""Models whose clients are kept for the next question."""

KEYS = {
    "OPENAI_API_KEY": ("openai:gpt-5", "openai"),
    "ANTHROPIC_API_KEY": ("anthropic:claude-sonnet-5-5", "anthropic"),
    "GOOGLE_API_KEY": ("google:gemini-3.8-flash", "google.genai"),
    "GEMINI_API_KEY": ("google:gemini-3.8-flash", "google.genai"),
}
"""What is asked where nobody has named a model, by the keys that are there, and the library that it takes."""

_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
_SECRET = re.compile(r"\b(sk|pk|key|gsk|xai)-[A-Za-z0-9_*-]{8,}|\bAIza[A-Za-z0-9_-]{20,}|(?<=Bearer )\S{8,}")


class Providers:
    """All that can answer.

    named : providers by name, before those of installed packages: a callable, a pydantic-ai agent or model,
        ``module:name`` of one, or the address of an OpenAI-compatible server.
    default : the model where a question names none; None: by the keys there are, or the demo.
    models : further names to offer for choice.
    keys : API keys by provider, such as ``{"openai": "sk-..."}``; others come from the environment.
    words, seconds : how texts are joined, see `Chunker`.
    timeout : seconds that a provider may be silent.
    """

    def __init__(
        self,
        named: Mapping[str, Any] | None = None,
        *,
        default: str | None = None,
        models: Sequence[str] = (),
        keys: Mapping[str, str] | None = None,
        words: int = 6,
        seconds: float = 0.05,
        timeout: float = 120.0,
    ) -> None:
        self._named = dict(named or {})
        self._default = default
        self._models = tuple(models)
        self._keys = dict(keys or {})
        self._chunker: Callable[[], Chunker] = lambda: Chunker(words=words, seconds=seconds)
        self._timeout = timeout
        self._found: dict[str, tuple[Provider, str | None]] = {}

    @property
    def default(self) -> str:
        """The model that answers where a question names none."""
        if self._default:
            return self._default
        for name, (model, library) in KEYS.items():
            is_there = os.environ.get(name) or model.partition(":")[0] in self._keys
            if is_there and _is_installed("pydantic_ai") and _is_installed(library):
                return model
        return demo.MODEL

    @property
    def models(self) -> list[str]:
        """Names to offer for choice, the default first."""
        packages = [entry.name for entry in entry_points(group=GROUP)]
        return list(dict.fromkeys([self.default, *self._models, *self._named, *packages, demo.MODEL]))

    def find(self, model: str | None) -> tuple[Provider, str | None]:
        """The provider for a model, and what the provider itself is to be asked for.

        May import a large library: not for an event loop's thread.

        Raises
        ------
        ProviderError
            There is none, or it cannot be used.
        """
        full = model or self.default
        found = self._found.get(full)
        if found is None:
            try:
                found = self._find(full)
            except ProviderError as error:
                raise self._safe(error) from None
            except Exception as error:
                raise self._safe(ProviderError(f"The provider of {full} cannot be loaded: {error}")) from error
            self._found[full] = found
            if len(self._found) > FOUND:
                del self._found[next(iter(self._found))]
        return found

    def _find(self, full: str) -> tuple[Provider, str | None]:
        name, _, rest = full.partition(":")
        for key, model in ((full, None), (name, rest or None)):
            if key in self._named:
                return self._provider(key, self._named[key]), model
        if name == demo.MODEL:
            return demo.provider, None
        for entry in entry_points(group=GROUP):
            if entry.name == name:
                return self._provider(name, entry.load()), rest or None
        if not rest:
            raise ProviderError(
                f"There is no model {full!r}. Name one as <provider>:<model>, such as openai:gpt-5, or one of "
                f"{', '.join(self.models)}.",
                "unknown_model",
            )
        if not _is_installed("pydantic_ai"):
            raise ProviderError(
                f'{full} needs a library that is not installed here: pip install "jupyter-sse[chat]", then restart.',
                "not_installed",
            )
        from .engine import model_provider

        return model_provider(full, self._keys), None

    def _provider(self, name: str, given: Any) -> Provider:
        if isinstance(given, str) and given.startswith(("http://", "https://")):
            from .engine import compatible_provider

            return compatible_provider(name, given, self._keys.get(name))
        if isinstance(given, str):
            module, _, attribute = given.partition(":")
            given = getattr(importlib.import_module(module), attribute)
        if hasattr(given, "run_stream_events") or hasattr(given, "request_stream"):
            from .engine import agent_provider

            return agent_provider(given)
        if isinstance(given, type):
            given = given()
        if not callable(given):
            raise ProviderError(f"The provider {name!r} is no callable that takes a question, but {type(given)}.")
        provider: Provider = given
        return provider

    async def generate(self, question: Question) -> AsyncGenerator[Event, None]:
        """The events of the answer, of which exactly the last is a `Done` or an `Error`.

        Closing it, or cancelling its task, ends the provider's request.
        """
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUED)
        pump = asyncio.ensure_future(self._pump(question, queue))
        coming: asyncio.Task[Event] | None = None
        chunker = self._chunker()
        silent_at = time.monotonic() + self._timeout
        try:
            while True:
                now = time.monotonic()
                if chunker.due is not None and chunker.due <= now:
                    for ready in chunker.flush(now):
                        yield ready
                if coming is None:
                    coming = asyncio.ensure_future(queue.get())
                # `asyncio.wait_for` would forget a cancel that comes together with an event, before Python 3.12.
                await asyncio.wait({coming}, timeout=max(0.0, min(silent_at, chunker.due or silent_at) - now))
                if coming.done():
                    event, coming = coming.result(), None
                elif time.monotonic() < silent_at:
                    continue
                else:
                    event = Error(
                        message=f"The model has sent nothing for {self._timeout:g} s (SSE.chat_timeout).",
                        code="provider_timeout",
                        retryable=True,
                        ts=time.time(),
                    )
                silent_at = time.monotonic() + self._timeout
                for ready in chunker.add(event, time.monotonic()):
                    yield ready
                if isinstance(event, (Done, Error)):
                    return
        finally:
            if coming is not None:
                coming.cancel()
            pump.cancel()
            with suppress(asyncio.CancelledError):
                await pump

    async def _pump(self, question: Question, queue: asyncio.Queue[Event]) -> None:
        """Run the provider in one task, from its first step to its end: its libraries may keep their state in it."""
        try:
            provider, model = await asyncio.to_thread(self.find, question.model)
            events = provider(msgspec.structs.replace(question, model=model))
            try:
                end = await _read(events, queue)
            finally:
                close = getattr(events, "aclose", None)
                if close is not None:
                    await close()
        except Exception as error:
            failure = self._safe(error if isinstance(error, ProviderError) else ProviderError(_says(error)))
            end = Error(
                message=failure.message,
                code=failure.code,
                retryable=failure.retryable,
                retry_after=failure.retry_after,
            )
        await queue.put(msgspec.structs.replace(end, ts=time.time()))

    def _safe(self, error: ProviderError) -> ProviderError:
        """The error without any of our secrets, which providers like to quote."""
        known = [*self._keys.values(), *(value for name, value in os.environ.items() if _SECRET_NAME.search(name))]
        for secret in sorted(known, key=len, reverse=True):
            if len(secret) >= 8:
                error.message = error.message.replace(secret, "[secret]")
        error.message = _SECRET.sub("[secret]", error.message)[:2000]
        return error


async def _read(items: AsyncIterable[Any], queue: asyncio.Queue[Event]) -> Done | Error:
    """Pass on what a provider yields; how it ends."""
    chunks = Chunks()
    async for item in items:
        for event in chunks.read(item):
            if isinstance(event, (Done, Error)):
                return event
            await queue.put(event)
    *rest, done = chunks.end()
    for event in rest:
        await queue.put(event)
    assert isinstance(done, Done)
    return done


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:  # of what it is a part of
        return False


def _says(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
