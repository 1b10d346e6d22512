"""Real models, through pydantic-ai: its model strings, its agents with their tools, whose events `Chunks` reads."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pydantic_ai import Agent, messages, models, providers
from pydantic_ai import exceptions as failures

from . import Provider, ProviderError, Question

__all__ = ["agent_provider", "compatible_provider", "model_provider"]

RENAMED = {"google-gla": "google", "google-vertex": "google-cloud"}
"""Providers by the names they had in pydantic-ai 1."""

OLLAMA = "http://127.0.0.1:11434/v1"


def model_provider(full: str, keys: Mapping[str, str]) -> Provider:
    """The provider of a model string such as ``openai:gpt-5``.

    keys : API keys by provider; others come from the environment, under the names that pydantic-ai documents.

    Raises
    ------
    ProviderError
        There is no such provider, its library is missing, or it has no key.
    """
    name, _, model = full.partition(":")
    name = RENAMED.get(name, name)
    try:
        made = models.infer_model(f"{name}:{model}", lambda name: _provider(name, keys))
        # What others call OpenAI-compatible is its older API.
        if name == "openai" and "api.openai.com" not in (made.base_url or ""):
            made = models.infer_model(f"openai-chat:{model}", lambda name: _provider("openai", keys))
    except ImportError as error:
        raise ProviderError(str(error), "not_installed") from None
    except ValueError as error:
        how = "Name one as <provider>:<model>, such as openai:gpt-5."
        raise ProviderError(f"There is no model {full!r}: {error}. {how}", "unknown_model") from None
    except failures.UserError as error:
        named = re.search(r"\b[A-Z]+(_[A-Z]+)+\b", str(error))
        how = f"Set {named[0]} where Jupyter is started, or SSE.api_keys." if named else str(error)
        raise ProviderError(f"{full} cannot be asked, something is not set. {how}", "provider_auth") from None
    return agent_provider(_without_retries(made))


def _without_retries(model: models.Model) -> models.Model:
    """Clients retry for as long as the provider asks, a minute and more, in which nobody is told anything."""
    client: Any = getattr(model, "client", None)
    if hasattr(client, "max_retries"):
        client.max_retries = 0
    return model


def _provider(name: str, keys: Mapping[str, str]) -> providers.Provider[Any]:
    options = {"api_key": keys[name]} if name in keys else {}
    if name == "ollama":
        options["base_url"] = os.environ.get("OLLAMA_BASE_URL", OLLAMA)
    if not options:
        return providers.infer_provider(name)
    made: providers.Provider[Any] = providers.infer_provider_class(name)(**options)
    return made


def compatible_provider(name: str, base_url: str, key: str | None) -> Provider:
    """Any model of an OpenAI-compatible server: vLLM, llama.cpp, LM Studio and many more."""
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=base_url, api_key=key or "none")

    async def answer(question: Question) -> AsyncIterator[Any]:
        if question.model is None:
            raise ProviderError(f"Say which model of {name} to ask: {name}:<model>.", "unknown_model")
        agent = Agent(_without_retries(OpenAIChatModel(question.model, provider=provider)))
        async for event in _answer(agent, question):
            yield event

    return answer


def agent_provider(given: Agent[Any, Any] | models.Model) -> Provider:
    """An agent with its tools, or a model alone."""
    agent: Agent[Any, Any] = Agent(given) if isinstance(given, models.Model) else given

    def answer(question: Question) -> AsyncIterator[Any]:
        return _answer(agent, question)

    return answer


async def _answer(agent: Agent[Any, Any], question: Question) -> AsyncIterator[Any]:
    history, instructions = _history(question)
    try:
        async with agent.run_stream_events(
            question.message, message_history=history or None, instructions=instructions
        ) as events:
            async for event in events:
                yield event
    except failures.UserError as error:
        raise ProviderError(f"The agent is not set up as it should be. {error}") from error
    except failures.AgentRunError as error:
        raise _failure(error) from error


def _history(question: Question) -> tuple[list[messages.ModelMessage], list[str]]:
    history: list[messages.ModelMessage] = []
    instructions = [question.system] if question.system else []
    for message in question.history:
        if message.role == "user":
            history.append(messages.ModelRequest(parts=[messages.UserPromptPart(content=message.content)]))
        elif message.role == "assistant":
            history.append(messages.ModelResponse(parts=[messages.TextPart(content=message.content)]))
        else:
            instructions.append(message.content)
    return history, instructions


def _failure(error: failures.AgentRunError) -> ProviderError:
    text = _reason(error)
    retry_after = getattr(error, "retry_after", None)
    if isinstance(error, failures.ModelQuotaExceededError):
        return ProviderError(f"The account's quota at the provider is used up: {text}", "provider_rate_limited")
    if isinstance(error, failures.ModelRateLimitError):
        wait = f" It asks to wait {retry_after:g} s." if retry_after else ""
        return ProviderError(
            f"The provider's rate limit is reached: {text}{wait}",
            "provider_rate_limited",
            retryable=True,
            retry_after=retry_after,
        )
    if isinstance(error, (failures.ModelTimeoutError, failures.ModelRequestTimeout, TimeoutError)):
        return ProviderError("The provider did not answer in time.", "provider_timeout", retryable=True)
    if isinstance(error, failures.ModelConnectionError):
        return ProviderError(f"The provider cannot be reached: {text}", "provider_unavailable", retryable=True)
    if isinstance(error, (failures.ModelUnavailableError, failures.ModelServerError)):
        return ProviderError(f"The provider is in trouble: {text}", "provider_unavailable", retryable=True)
    if isinstance(error, failures.ModelAuthenticationError):
        return ProviderError(f"The provider does not accept the server's API key: {text}", "provider_auth")
    if isinstance(error, failures.ModelNotFoundError):
        return ProviderError(f"The provider has no such model: {text}", "unknown_model")
    if isinstance(error, (failures.ModelRequestRejectedError, failures.ContentFilterError)):
        return ProviderError(f"The provider refused the question: {text}", "provider_refused")
    return ProviderError(f"No answer: {text}")


def _reason(error: failures.AgentRunError) -> str:
    """The provider's own words where there are some: pydantic-ai quotes the whole body."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        inner = body.get("error", body)
        said = inner.get("message") if isinstance(inner, dict) else inner
        if isinstance(said, str) and said:
            return said
    cause = error.__cause__
    return str(error) if cause is None or str(error) else repr(cause)
