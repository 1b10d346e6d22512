"""`stream` with the real SDKs, which talk over HTTP to a server that speaks each wire format."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import ollama
import openai
import pytest
from google import genai
from harness import wait_for
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from model_server import CUT, HANG, ModelServer, Refusal, model_server
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from jupyter_sse import Answer, Cancelled, StreamError, stream
from jupyter_sse.events import Done, Reasoning, Tool, Usage

SECONDS = 30
MESSAGES: Any = [{"role": "user", "content": "Why is the sky blue?"}]
CALLS = [
    Tool(id="call_1", name="add", phase="call", args={"x": 1, "y": 2}),
    Tool(id="call_2", name="look_up", phase="call", args={"word": "أزرق"}),
]


def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


def look_up(word: str) -> str:
    """Look a word up."""
    return word.upper()


class Client(NamedTuple):
    """How a client streams, gives an answer as a whole, and what of an answer it does not pass on.

    stream : what is given to `stream`, of the sync client and of the async one.
    """

    stream: Callable[[ModelServer], Any]
    stream_async: Callable[[ModelServer], Any]
    whole: Callable[[ModelServer], Any]
    how: str
    reasons: bool = True
    ids: bool = True


def gpt(model: ModelServer, *, asynchronous: bool = False) -> Any:
    kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    return kind(base_url=model.base_url, api_key="none", max_retries=0)


def claude(model: ModelServer, *, asynchronous: bool = False) -> Any:
    kind = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
    return kind(base_url=model.url, api_key="none", max_retries=0).messages


def gemini(model: ModelServer, kept: list[Any] = []) -> Any:  # noqa: B006 (a client that is collected closes its streams)
    kept[:] = [genai.Client(api_key="none", http_options={"base_url": model.url})]
    return kept[0]


def chain(model: ModelServer) -> Any:
    return ChatOpenAI(model="m", base_url=model.base_url, api_key="none", max_retries=0, stream_usage=True)  # type: ignore[arg-type]


def chain_of_responses(model: ModelServer) -> Any:
    return ChatOpenAI(model="m", base_url=model.base_url, api_key="none", max_retries=0, use_responses_api=True)  # type: ignore[arg-type]


def chain_of_claude(model: ModelServer) -> Any:
    chat = ChatAnthropic(model="m", base_url=model.url, api_key="none", max_retries=0, max_tokens=99)  # type: ignore[call-arg, arg-type]
    return chat.bind_tools([add, look_up])


STREAMED: dict[str, Any] = {"model": "m", "messages": MESSAGES, "stream": True}
WHOLE: dict[str, Any] = {"model": "m", "messages": MESSAGES}
CLAUDE: dict[str, Any] = {"model": "m", "messages": MESSAGES, "max_tokens": 99}
ASKED: dict[str, Any] = {"model": "m", "input": "Why?"}
PROMPT: dict[str, Any] = {"model": "m", "contents": "Why?"}

CLIENTS = {
    "openai-chat": Client(
        lambda model: gpt(model).chat.completions.create(**STREAMED),
        lambda model: gpt(model, asynchronous=True).chat.completions.create(**STREAMED),
        lambda model: gpt(model).chat.completions.create(**WHOLE),
        "stream=True",
    ),
    "openai-chat-helper": Client(
        lambda model: gpt(model).chat.completions.stream(**WHOLE),
        lambda model: gpt(model, asynchronous=True).chat.completions.stream(**WHOLE),
        lambda model: gpt(model).chat.completions.parse(**WHOLE),
        "stream=True",
    ),
    "openai-responses": Client(
        lambda model: gpt(model).responses.create(**ASKED, stream=True),
        lambda model: gpt(model, asynchronous=True).responses.create(**ASKED, stream=True),
        lambda model: gpt(model).responses.create(**ASKED),
        "stream=True",
    ),
    "openai-responses-helper": Client(
        lambda model: gpt(model).responses.stream(**ASKED),
        lambda model: gpt(model, asynchronous=True).responses.stream(**ASKED),
        lambda model: gpt(model).responses.parse(**ASKED),
        "stream=True",
    ),
    "anthropic": Client(
        lambda model: claude(model).create(**CLAUDE, stream=True),
        lambda model: claude(model, asynchronous=True).create(**CLAUDE, stream=True),
        lambda model: claude(model).create(**CLAUDE),
        r"messages.stream\(",
    ),
    "anthropic-helper": Client(
        lambda model: claude(model).stream(**CLAUDE),
        lambda model: claude(model, asynchronous=True).stream(**CLAUDE),
        lambda model: claude(model).parse(**CLAUDE),
        r"messages.stream\(",
    ),
    "google": Client(
        lambda model: gemini(model).models.generate_content_stream(**PROMPT),
        lambda model: gemini(model).aio.models.generate_content_stream(**PROMPT),
        lambda model: gemini(model).models.generate_content(**PROMPT),
        "generate_content_stream",
    ),
    "ollama": Client(
        lambda model: ollama.Client(host=model.url).chat(**STREAMED),
        lambda model: ollama.AsyncClient(host=model.url).chat(**STREAMED),
        lambda model: ollama.Client(host=model.url).chat(**WHOLE),
        "stream=True",
        ids=False,
    ),
    "langchain-openai": Client(
        lambda model: chain(model).stream("Why?"),
        lambda model: chain(model).astream("Why?"),
        lambda model: chain(model).invoke("Why?"),
        r"model.stream\(",
        reasons=False,
    ),
    "langchain-openai-responses": Client(
        lambda model: chain_of_responses(model).stream("Why?"),
        lambda model: chain_of_responses(model).astream("Why?"),
        lambda model: chain_of_responses(model).invoke("Why?"),
        r"model.stream\(",
    ),
    "langchain-anthropic": Client(
        lambda model: chain_of_claude(model).stream("Why?"),
        lambda model: chain_of_claude(model).astream("Why?"),
        lambda model: chain_of_claude(model).invoke("Why?"),
        r"model.stream\(",
    ),
}
all_clients = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with model_server(["Hello"]) as server:
        yield server


async def until(condition: Callable[[], Any], what: str) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.005)

    try:
        await asyncio.wait_for(poll(), SECONDS)
    except asyncio.TimeoutError:
        pytest.fail(f"waited in vain for {what}")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@all_clients
def test_all_that_a_model_says(model: ModelServer, client: Client, asynchronous: bool) -> None:
    end = [Usage(input_tokens=7, output_tokens=9), Done(reason="length")]
    model.answers = [[Reasoning(text="Let me "), Reasoning(text="see."), "Light ", "scatters: أزرق", *CALLS, *end]]

    async def ask() -> Answer:
        return await stream(client.stream_async(model))

    answer = asyncio.run(ask()) if asynchronous else stream(client.stream(model))
    assert answer.text == "Light scatters: أزرق"
    assert answer.reasoning == ("Let me see." if client.reasons else "")
    assert answer.usage == Usage(input_tokens=7, output_tokens=9)
    assert answer.snapshot.reason == "length"
    assert [(tool.id, tool.name, tool.phase, tool.args) for tool in answer.snapshot.tools] == [
        (call.id if client.ids else f"call-{number}", call.name, "call", call.args)
        for number, call in enumerate(CALLS, 1)
    ]


@all_clients
def test_text_and_whole_calls_are_there_while_the_model_goes_on(model: ModelServer, client: Client) -> None:
    gate, more = threading.Event(), threading.Event()
    model.answers = [["Hello ", gate, *CALLS, more]]

    async def ask() -> None:
        answer = stream(client.stream_async(model))
        await until(lambda: answer.text == "Hello ", "the text")
        gate.set()
        await until(lambda: [tool.args for tool in answer.snapshot.tools][:1] == [CALLS[0].args], "the first call")
        assert answer.status == "running"
        more.set()
        await answer
        assert len(answer.snapshot.tools) == 2
        assert answer.snapshot.reason == "stop"

    asyncio.run(ask())


@all_clients
def test_cancel_reaches_the_model_while_it_thinks(model: ModelServer, client: Client) -> None:
    model.answers = [["Hello ", threading.Event()]]

    async def ask() -> None:
        answer = stream(client.stream_async(model))
        await until(lambda: answer.text, "the text")
        answer.cancel()
        with pytest.raises(Cancelled):
            await answer
        assert (answer.status, answer.text) == ("cancelled", "Hello ")
        await until(model.hung_up.is_set, "the client to hang up")

    asyncio.run(ask())


@all_clients
def test_cancel_of_a_sync_client_ends_the_request(model: ModelServer, client: Client, answers: list[Answer]) -> None:
    gate = threading.Event()
    model.answers = [["Hello ", gate, "world", threading.Event()]]

    def cancel() -> None:
        wait_for(lambda: answers and answers[0].text, "the text", SECONDS)
        answers[0].cancel()
        gate.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled):
        stream(client.stream(model))
    thread.join()
    assert (answers[0].status, answers[0].text) == ("cancelled", "Hello ")
    assert model.hung_up.wait(SECONDS)


def test_an_interrupt_ends_the_request_of_a_sync_client_that_waits(model: ModelServer, answers: list[Answer]) -> None:
    model.answers = [["Hello ", threading.Event()]]

    def interrupt() -> None:
        wait_for(lambda: answers and answers[0].text, "the text", SECONDS)
        answers[0].cancel()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Cancelled):
        stream(CLIENTS["openai-chat"].stream(model))
    thread.join()
    assert model.hung_up.wait(SECONDS)


@all_clients
def test_cancel_before_the_model_has_begun(model: ModelServer, client: Client) -> None:
    model.answers = [[HANG]]

    async def ask() -> None:
        answer = stream(client.stream_async(model))
        await until(lambda: model.running, "the request")
        answer.cancel()
        with pytest.raises(Cancelled):
            await answer
        await until(model.hung_up.is_set, "the client to hang up")

    asyncio.run(ask())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@all_clients
def test_a_connection_that_breaks(model: ModelServer, client: Client, asynchronous: bool) -> None:
    gate = threading.Event()
    gate.set()
    model.answers = [["Hello ", gate, CUT]]

    async def ask() -> Answer:
        return await stream(client.stream_async(model))

    with pytest.raises(StreamError) as raised:
        asyncio.run(ask()) if asynchronous else stream(client.stream(model))
    answer = raised.value.answer
    assert raised.value.__cause__ is not None
    assert (answer.status, answer.text) == ("error", "Hello ")


def test_a_model_that_refuses(model: ModelServer) -> None:
    model.answers = [Refusal(429, "slow down", {"Retry-After": "2"})]
    with pytest.raises(StreamError, match="slow down") as raised:
        stream(CLIENTS["anthropic-helper"].stream(model))
    assert isinstance(raised.value.__cause__, anthropic.RateLimitError)

    async def ask() -> Answer:
        return await stream(CLIENTS["openai-chat"].stream_async(model))

    with pytest.raises(StreamError, match="slow down") as raised:
        asyncio.run(ask())
    assert isinstance(raised.value.__cause__, openai.RateLimitError)
    model.close()
    with pytest.raises(StreamError) as raised:
        asyncio.run(ask())
    assert isinstance(raised.value.__cause__, openai.APIConnectionError)


@all_clients
def test_a_whole_answer_is_refused_with_how_to_stream_it(model: ModelServer, client: Client) -> None:
    with pytest.raises(TypeError, match=rf"is a whole answer, not a stream: .*{client.how}"):
        stream(client.whole(model))


def test_a_whole_answer_that_is_awaited_is_refused(model: ModelServer) -> None:
    async def ask() -> Answer:
        return await stream(gpt(model, asynchronous=True).chat.completions.create(**WHOLE))

    with pytest.raises(TypeError, match="stream=True"):
        asyncio.run(ask())


def test_the_text_stream_of_anthropic(model: ModelServer) -> None:
    model.answers = [[Reasoning(text="hm"), "Hello ", "world"]]
    with claude(model).stream(**CLAUDE) as message:
        assert stream(message.text_stream).text == "Hello world"
        assert message.get_final_text() == "Hello world"


def test_results_in_the_client_s_own_objects_are_stored_as_json() -> None:
    found = {"type": "web_search_result", "url": "https://example.org", "title": "Sky", "encrypted_content": "x"}
    block = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [found]}
    event = anthropic.types.RawContentBlockStartEvent.model_validate(
        {"type": "content_block_start", "index": 0, "content_block": block}
    )
    [tool] = stream([event]).snapshot.tools
    assert (tool.id, tool.name, tool.phase, tool.result) == ("s", "web_search", "result", [found])


AGENTS: dict[str, Callable[[ModelServer], Any]] = {
    "chat": lambda model: OpenAIChatModel("m", provider=OpenAIProvider(base_url=model.base_url, api_key="none")),
    "responses": lambda model: OpenAIResponsesModel(
        "m", provider=OpenAIProvider(base_url=model.base_url, api_key="none")
    ),
    "anthropic": lambda model: AnthropicModel(
        "m", provider=AnthropicProvider(base_url=model.url, api_key="none")
    ),
}  # fmt: skip
all_agents = pytest.mark.parametrize("made", AGENTS.values(), ids=AGENTS)


def agent_with_tools(model: ModelServer, made: Callable[[ModelServer], Any]) -> Agent[None, str]:
    first: list[Any] = [Reasoning(text="hm"), "Let me see.", *CALLS, Usage(input_tokens=7, output_tokens=9)]
    model.answers = [first, ["It is ", "3.", Usage(input_tokens=10, output_tokens=2)]]
    return Agent(made(model), tools=[add, look_up])


def seen(answer: Answer) -> None:
    assert (answer.text, answer.reasoning) == ("Let me see.\n\nIt is 3.", "hm")
    assert [(tool.id, tool.name, tool.phase, tool.args, tool.result) for tool in answer.snapshot.tools] == [
        ("call_1", "add", "result", {"x": 1, "y": 2}, 3),
        ("call_2", "look_up", "result", {"word": "أزرق"}, "أزرق"),
    ]


@all_agents
def test_an_agent_with_tools(model: ModelServer, made: Callable[[ModelServer], Any]) -> None:
    agent = agent_with_tools(model, made)
    answer = stream(agent.run_stream_events("Why?"))
    seen(answer)
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (17, 11)


@all_agents
def test_the_nodes_of_an_agent(model: ModelServer, made: Callable[[ModelServer], Any]) -> None:
    agent = agent_with_tools(model, made)

    async def events() -> Any:
        async with agent.iter("Why?") as run:
            async for node in run:
                if Agent.is_model_request_node(node) or Agent.is_call_tools_node(node):
                    async with node.stream(run.ctx) as part:
                        async for event in part:
                            yield event

    seen(stream(events()))


def test_the_text_of_an_agent(model: ModelServer) -> None:
    model.answers = [["It is ", "blue."]]

    async def ask() -> None:
        agent = Agent(AGENTS["chat"](model))
        async with agent.run_stream("Why?") as run:
            assert (await stream(run.stream_text(delta=True))).text == "It is blue."
        with pytest.raises(TypeError, match=r"stream_text\(delta=True\)"):
            await stream(agent.run_stream("Why?"))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="run_stream_events"):
            stream(await agent.run("Why?"))  # type: ignore[arg-type]

    asyncio.run(ask())


def test_the_structured_output_of_an_agent(model: ModelServer) -> None:
    model.answers = [[Tool(id="o", name="final_result", phase="call", args={"response": [1, 2]})]]
    answer = stream(Agent(AGENTS["chat"](model), output_type=list[int]).run_stream_events("Why?"))
    assert answer.snapshot.result == [1, 2]
    assert answer.snapshot.tools == []


@pytest.mark.parametrize("begun", [False, True], ids=["at once", "later"])
def test_cancel_of_an_agent_reaches_the_model(model: ModelServer, begun: bool) -> None:
    model.answers = [["Hello ", threading.Event()] if begun else [HANG]]

    async def ask() -> None:
        answer = stream(Agent(AGENTS["anthropic"](model)).run_stream_events("Why?"))
        await until(lambda: answer.text if begun else model.running, "the model")
        answer.cancel()
        with pytest.raises(Cancelled):
            await answer
        await until(model.hung_up.is_set, "the client to hang up")

    asyncio.run(ask())


DOCUMENTED = re.findall(
    r"^\| (?P<source>[^|`]+) \| `(?P<code>stream\(.+)` \|$",
    (Path(__file__).parents[2] / "docs" / "kernel.md").read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize(("source", "code"), DOCUMENTED, ids=[source for source, _ in DOCUMENTED])
def test_what_the_documentation_says(model: ModelServer, source: str, code: str) -> None:
    model.answers = [["Light ", "scatters."]]
    clients: dict[str, Any] = {
        "OpenAI": gpt(model),
        "Anthropic": anthropic.Anthropic(base_url=model.url, api_key="none"),
        "Google": gemini(model),
        "Ollama": ollama.Client(host=model.url),
        "LangChain": chain(model),
        "pydantic-ai": Agent(AGENTS["chat"](model)),
    }
    client = next((client for name, client in clients.items() if source.startswith(name)), None)
    names = {"model": "m", "messages": MESSAGES, "question": "Why?", "client": client, "chat": client, "agent": client}

    async def run() -> Answer:
        from jupyter_sse import events

        scope = {"stream": stream, "events": events, **names}
        exec(f"async def cell():\n    answer = {code}\n    return await answer", scope)
        cell: Any = scope["cell"]
        answer: Answer = await cell()
        return answer

    assert asyncio.run(run()).text == "Light scatters."
