"""Real models through pydantic-ai and the real SDKs, over HTTP, against a server in each one's wire format."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import SECONDS, wait_for
from model_server import CUT, HANG, Refusal, model_server

from jupyter_sse.chat import Message, ProviderError, Question
from jupyter_sse.chat.providers import Providers
from jupyter_sse.events import Delta, Done, Error, Event, Reasoning, Tool, Usage

KEY = "a-key-that-nobody-may-see"
NAMES = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "ANTHROPIC_API_KEY",
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
    "OLLAMA_BASE_URL",
)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def answer(providers: Providers, message: str = "Why?", **fields: Any) -> list[Event]:
    async def collect() -> list[Event]:
        return [event async for event in providers.generate(Question(message=message, **fields))]

    return asyncio.run(asyncio.wait_for(collect(), SECONDS))


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def the(events: list[Event], kind: type[Any]) -> Any:
    found = [event for event in events if isinstance(event, kind)]
    assert len(found) == 1, events
    return found[0]


Connect = Callable[[pytest.MonkeyPatch, Any], str]


def openai(patch: pytest.MonkeyPatch, model: Any) -> str:
    patch.setenv("OPENAI_API_KEY", KEY)
    patch.setenv("OPENAI_BASE_URL", model.base_url)
    return "openai:gpt-5"


def anthropic(patch: pytest.MonkeyPatch, model: Any) -> str:
    patch.setenv("ANTHROPIC_API_KEY", KEY)
    patch.setenv("ANTHROPIC_BASE_URL", model.url)
    return "anthropic:claude-sonnet-5-5"


def ollama(patch: pytest.MonkeyPatch, model: Any) -> str:
    patch.setenv("OLLAMA_BASE_URL", model.base_url)
    return "ollama:qwen3"


@pytest.mark.parametrize("connect", [openai, anthropic, ollama])
def test_a_model_string_is_enough(monkeypatch: pytest.MonkeyPatch, connect: Connect) -> None:
    parts: list[Any] = [
        Reasoning(text="Hm. "),
        "It is ",
        "blue. ",
        "لأن الضوء",
        Usage(input_tokens=11, output_tokens=7),
    ]
    with model_server(parts) as server:
        model = connect(monkeypatch, server)
        history = (Message("user", "Hello"), Message("assistant", "Hi"))
        events = answer(Providers(), model=model, system="Be brief.", history=history)
        assert server.requests, events
        sent = server.requests[0]
    assert text_of(events) == "It is blue. لأن الضوء"
    usage = the(events, Usage)
    assert (usage.input_tokens, usage.output_tokens) == (11, 7)
    assert (usage.cost or 0) > 0 or connect is ollama
    assert the(events, Done).reason == "stop"
    assert events[-1] is the(events, Done)
    said = str(sent.body)
    for text in ("Be brief.", "Hello", "Hi", "Why?"):
        assert text in said


def test_reasoning_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server([Reasoning(text="Let me think."), "Blue."]) as server:
        events = answer(Providers(), model=anthropic(monkeypatch, server))
    assert "".join(event.text for event in events if isinstance(event, Reasoning)) == "Let me think."
    assert text_of(events) == "Blue."


def test_an_answer_that_was_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server(["It is", Done(reason="length")]) as server:
        assert the(answer(Providers(), model=openai(monkeypatch, server)), Done).reason == "length"


def test_an_agent_calls_its_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydantic_ai import Agent

    with model_server([Tool(id="c1", name="look", phase="call", args={"at": "the sky"})], ["It is grey."]) as server:
        agent = Agent(openai(monkeypatch, server), defer_model_check=True)

        @agent.tool_plain
        def look(at: str) -> dict[str, str]:
            return {at: "grey"}

        events = answer(Providers({"helper": agent}), model="helper")
    call, result = [event for event in events if isinstance(event, Tool)]
    assert (call.id, call.name, call.phase, call.args) == ("c1", "look", "call", {"at": "the sky"})
    assert (result.id, result.phase, result.result) == ("c1", "result", {"the sky": "grey"})
    assert text_of(events) == "It is grey."


def test_an_address_is_an_openai_compatible_server() -> None:
    with model_server(["Hello"]) as server:
        providers = Providers({"vllm": server.base_url}, keys={"vllm": KEY}, default="vllm:Qwen/Qwen3-8B")
        assert text_of(answer(providers)) == "Hello"
        request = server.requests[0]
        assert request.path == "/v1/chat/completions"
        assert request.body["model"] == "Qwen/Qwen3-8B"
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert the(answer(providers, model="vllm"), Error).code == "unknown_model"


def test_a_key_from_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server(["Hello"]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        assert text_of(answer(Providers(keys={"openai": KEY}), model="openai:gpt-5")) == "Hello"
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("refusal", "code", "retryable"),
    [
        (Refusal(429, "Slow down", {"Retry-After": "20"}), "provider_rate_limited", True),
        (Refusal(401, f"Incorrect API key provided: {KEY}"), "provider_auth", False),
        (Refusal(404, "There is no gpt-5"), "unknown_model", False),
        (Refusal(400, "I do not like this"), "provider_refused", False),
        (Refusal(503, "Overloaded"), "provider_unavailable", True),
        (Refusal(500, body=b"<html>no JSON</html>"), "provider_unavailable", True),
    ],
)
def test_what_the_provider_refuses_is_explained(
    monkeypatch: pytest.MonkeyPatch, refusal: Refusal, code: str, retryable: bool
) -> None:
    with model_server(refusal) as server:
        events = answer(Providers(), model=openai(monkeypatch, server))
    error = the(events, Error)
    assert (error.code, error.retryable) == (code, retryable)
    assert events == [error]
    assert KEY not in error.message
    if refusal.body is None and code != "provider_auth":
        assert refusal.message in error.message
    assert error.retry_after == (20 if code == "provider_rate_limited" else None)
    assert len(server.requests) == 1


def test_a_provider_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server(["never"]) as server:
        model = openai(monkeypatch, server)
    error = the(answer(Providers(), model=model), Error)
    assert (error.code, error.retryable) == ("provider_unavailable", True)


def test_a_provider_that_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server([HANG]) as server:
        error = the(answer(Providers(timeout=0.5), model=openai(monkeypatch, server)), Error)
        assert (error.code, error.retryable) == ("provider_timeout", True)
        assert server.hung_up.wait(SECONDS)


def test_a_connection_that_breaks_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server(["It is ", CUT]) as server:
        events = answer(Providers(), model=openai(monkeypatch, server))
    assert text_of(events) == "It is "
    assert (events[-1], the(events, Error).code) == (the(events, Error), "provider_unavailable")


@pytest.mark.parametrize("connect", [openai, anthropic])
def test_to_stop_closes_the_connection(monkeypatch: pytest.MonkeyPatch, connect: Connect) -> None:
    gate = threading.Event()

    async def stop() -> str:
        stream = Providers().generate(Question(message="Why?", model=connect(monkeypatch, server)))
        async for event in stream:
            if isinstance(event, Delta):
                await stream.aclose()
                return event.text
        return ""

    with model_server(["It is", gate, " blue"]) as server:
        assert asyncio.run(asyncio.wait_for(stop(), SECONDS)) == "It i"
        assert server.hung_up.wait(SECONDS)
        wait_for(lambda: server.running == 0, "the model to stop")


def test_without_a_key_it_is_said_which_is_missing() -> None:
    with pytest.raises(ProviderError, match="OPENAI_API_KEY") as caught:
        Providers().find("openai:gpt-5")
    assert caught.value.code == "provider_auth"


def test_the_default_is_what_there_is_a_key_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Providers().default == "demo"
    assert Providers(keys={"anthropic": KEY}).default.startswith("anthropic:")
    assert Providers(default="vllm:x").default == "vllm:x"
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    assert Providers().default.startswith("google:")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert Providers().default.startswith("openai:")
    assert Providers(models=["demo", "x:y"]).models[1:] == ["demo", "x:y"]
    monkeypatch.setattr("jupyter_sse.chat.providers._is_installed", lambda library: library != "openai")
    assert Providers().default.startswith("google:")


def test_old_names_of_providers_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    Providers().find("google-gla:gemini-3.8-flash")


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("google:gemini-3.8-flash", {"GOOGLE_API_KEY": KEY}),
        ("openrouter:anthropic/claude-sonnet-4.5", {"OPENROUTER_API_KEY": KEY}),
        (
            "azure:deployment",
            {
                "AZURE_OPENAI_API_KEY": KEY,
                "AZURE_OPENAI_ENDPOINT": "https://example.openai.azure.com",
                "OPENAI_API_VERSION": "2025-01-01",
            },
        ),
    ],
)
def test_what_the_documentation_says_is_enough(
    monkeypatch: pytest.MonkeyPatch, model: str, settings: dict[str, str]
) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    for name, value in settings.items():
        assert name in documented
        monkeypatch.setenv(name, value)
    Providers().find(model)


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_sse.chat.providers._is_installed", lambda library: library != "pydantic_ai")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ProviderError, match=r"pip install \"jupyter-sse\[chat\]\"") as caught:
        Providers().find("openai:gpt-5")
    assert caught.value.code == "not_installed"
    assert Providers().default == "demo"
