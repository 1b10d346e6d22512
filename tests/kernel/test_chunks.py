"""What clients yield, made events: shapes alone, objects or dicts, without any client."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_sse import StreamError, stream
from jupyter_sse.chat.chunks import Chunks, UnknownChunkError
from jupyter_sse.events import (
    Delta,
    Done,
    Error,
    Event,
    EventError,
    Log,
    Ping,
    Preview,
    Progress,
    Reasoning,
    Start,
    Tool,
    Usage,
)


def read(*items: Any) -> list[Event]:
    """All events of a source."""
    chunks = Chunks()
    return [event for item in items for event in chunks.read(item)] + list(chunks.end())


class Data(dict[str, Any]):
    """A dict that clients, too, have as a dict."""


def objects(value: Any) -> Any:
    """The same as objects with attributes."""
    if type(value) is dict:
        return SimpleNamespace(**{name: objects(item) for name, item in value.items()})
    return [objects(item) for item in value] if isinstance(value, list) else value


def call(id: str, name: str, args: Any) -> Tool:
    return Tool(id=id, name=name, phase="call", args=args)


def result(id: str, name: str, result: Any) -> Tool:
    return Tool(id=id, name=name, phase="result", result=result)


def usage(given: int, taken: int, cost: float | None = None) -> Usage:
    return Usage(input_tokens=given, output_tokens=taken, cost=cost)


def text(events: Iterable[Event], kind: type[Delta | Reasoning] = Delta) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


# Text and our own events


def test_text_and_nothing() -> None:
    assert read("Hello ", None, "world") == [Delta(text="Hello "), Delta(text="world"), Done()]
    assert read() == [Done()]


def test_our_own_events_are_passed_on_as_they_are() -> None:
    own: list[Event] = [
        Delta(text="Hello"),
        Reasoning(text="hm"),
        call("1", "add", {"x": 1}),
        result("1", "add", 3),
        Delta(text=" world"),
        usage(1, 2, 0.5),
        Progress(n=1, total=2),
        Log(text="a line"),
        Preview(mime="image/png", url="https://example.org/a.png"),
    ]
    assert read(*own) == [*own, Done()]
    assert read({"type": "delta", "text": "Hello"}, {"type": "done", "reason": "length"})[:-1] == [
        Delta(text="Hello"),
        Done(reason="length"),
    ]


def test_what_begins_a_stream_and_what_is_of_a_connection_is_left_out() -> None:
    assert read(Start(title="Q"), Ping(ts=1.0), {"type": "hello", "ts": 1, "stream": None}, "a") == [
        Delta(text="a"),
        Done(),
    ]


def test_an_event_of_ours_that_is_not_valid() -> None:
    with pytest.raises(EventError, match="text"):
        read({"type": "delta"})


@pytest.mark.parametrize(
    ("item", "named"),
    [
        (b"bytes", "yields bytes"),
        (5, "yields int"),
        ({"type": "text.chunk"}, "yields a dict with type 'text.chunk'"),
        ({"text": "Hello"}, r"yields a dict with keys \['text'\]"),
        (SimpleNamespace(text="Hello"), "yields types.SimpleNamespace"),
        (("token", 1), "yields tuple"),
        (json.JSONDecoder(), r"yields json\.decoder\.JSONDecoder"),
    ],
)
def test_what_nobody_can_read_is_named(item: Any, named: str) -> None:
    with pytest.raises(UnknownChunkError, match=named) as raised:
        read("text", item)
    for accepted in ("str", "OpenAI", "Anthropic", "Google GenAI", "LangChain", "LiteLLM", "Ollama", "pydantic-ai"):
        assert accepted in str(raised.value)


def test_hugging_face_streamers() -> None:
    class Streamer:
        """The protocol of transformers' `TextIteratorStreamer`: `generate` puts texts from a thread of its own."""

        def __init__(self) -> None:
            self.texts: queue.Queue[str | None] = queue.Queue()

        def __iter__(self) -> Streamer:
            return self

        def __next__(self) -> str:
            value = self.texts.get(timeout=30)
            if value is None:
                raise StopIteration
            return value

    streamer = Streamer()

    def generate() -> None:
        for word in ("", "Light ", "scatters.", None):
            streamer.texts.put(word)

    thread = threading.Thread(target=generate)
    thread.start()
    assert stream(streamer).text == "Light scatters."
    thread.join()


# Chat completions


def chunk(*, id: str = "c", finish: str | None = None, used: Any = None, **delta: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": id, "object": "chat.completion.chunk", "choices": choices, "usage": used}


def piece(index: int | None, arguments: str, id: str | None = None, name: str | None = None) -> dict[str, Any]:
    return chunk(tool_calls=[{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}])


@pytest.mark.parametrize("form", [objects, dict], ids=["objects", "dicts"])
def test_chat_completions(form: Any) -> None:
    used = {"prompt_tokens": 7, "completion_tokens": 5, "cost": 0.25}
    chunks = [
        chunk(role="assistant", content=""),
        chunk(content=None, reasoning_content="hm "),
        chunk(reasoning="ok"),  # as OpenRouter calls it
        chunk(content="Hi"),
        chunk(content=" there", finish="length"),
        {"id": "c", "choices": [], "usage": used},
    ]
    assert read(*map(form, chunks)) == [
        Reasoning(text="hm "),
        Reasoning(text="ok"),
        Delta(text="Hi"),
        Delta(text=" there"),
        usage(7, 5, 0.25),
        Done(reason="length"),
    ]


def test_a_refusal_and_the_older_completions_are_text() -> None:
    assert text(read(chunk(refusal="I cannot do that."))) == "I cannot do that."
    assert text(read({"choices": [{"index": 0, "text": "Hello"}]})) == "Hello"


def test_of_several_answers_the_first() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "B"}, "finish_reason": "length"}]}
    assert read(chunk(content="A"), other, chunk(content="a"), chunk(finish="stop")) == [
        Delta(text="A"),
        Delta(text="a"),
        Done(),
    ]


def test_a_call_is_whole_when_the_next_begins_or_the_answer_ends() -> None:
    chunks = Chunks()

    def step(item: Any) -> list[Event]:
        return list(chunks.read(item))

    assert step(piece(0, '{"x"', "a", "add")) == []
    assert step(piece(0, ": 1}")) == []
    assert step(piece(1, "not json", "b", "say")) == [call("a", "add", {"x": 1})]
    assert step(chunk(finish="tool_calls")) == [call("b", "say", "not json")]
    assert list(chunks.end()) == [Done()]


def test_calls_that_servers_number_and_name_in_their_own_ways() -> None:
    all_are_0 = [piece(0, '{"x": 1}', "a", "add"), piece(0, '{"x": 2}', "b", "add")]
    assert read(*all_are_0) == [call("a", "add", {"x": 1}), call("b", "add", {"x": 2}), Done()]
    repeated = [piece(0, '{"x"', "a", "add"), piece(0, ": 1}", "a", "add")]
    assert read(*repeated) == [call("a", "add", {"x": 1}), Done()]
    nameless = [piece(None, "", name="now"), chunk(finish="tool_calls"), piece(None, "", name="then")]
    assert read(*nameless) == [call("call-1", "now", {}), call("call-2", "then", {}), Done()]


def test_pieces_of_calls_that_come_in_turns_make_whole_calls_in_the_end() -> None:
    turns = [piece(0, '{"x"', "a", "add"), piece(1, '{"y"', "b", "add"), piece(0, ": 1}"), piece(1, ": 2}")]
    events = [event for event in read(*turns) if isinstance(event, Tool)]
    assert {event.id: event.args for event in events} == {"a": {"x": 1}, "b": {"y": 2}}


def test_usage_is_the_last_of_an_answer_and_the_sum_of_several() -> None:
    def used(given: int, taken: int) -> dict[str, int]:
        return {"prompt_tokens": given, "completion_tokens": taken}

    chunks = [
        chunk(content="a", used=used(7, 1)),
        chunk(content="b", used=used(7, 2)),
        chunk(content="b", used=used(7, 2)),
        chunk(id="d", content="c", used=used(10, 3)),
    ]
    assert [event for event in read(*chunks) if isinstance(event, Usage)] == [usage(7, 1), usage(7, 2), usage(17, 5)]


def test_events_of_the_client_s_own_helper_are_not_read_twice() -> None:
    made = [
        {"type": "chunk", "chunk": chunk(content="Hi"), "snapshot": {}},
        {"type": "content.delta", "delta": "Hi", "snapshot": "Hi"},
        {"type": "content.done", "content": "Hi"},
        {"type": "tool_calls.function.arguments.delta", "arguments": "{}"},
    ]
    assert read(*map(objects, made)) == [Delta(text="Hi"), Done()]


def test_litellm() -> None:
    """Its documented shape is OpenAI's, with the cost where that is switched on."""
    thinking = [{"type": "thinking", "thinking": "hm", "signature": ""}]
    chunks = [
        chunk(role="assistant", content="", reasoning_content="hm", thinking_blocks=thinking, audio=None),
        chunk(content="Hi", tool_calls=None, function_call=None),
        chunk(finish="stop", content=None),
        chunk(used={"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "cost": 0.001}),
    ]
    assert read(*map(objects, chunks)) == [Reasoning(text="hm"), Delta(text="Hi"), usage(7, 5, 0.001), Done()]


# Responses


def test_responses() -> None:
    item = {"type": "function_call", "id": "fc", "call_id": "a", "name": "add", "arguments": '{"x": 1}'}
    response = {"id": "r", "usage": {"input_tokens": 7, "output_tokens": 5}, "incomplete_details": None}
    items = [
        {"type": "response.created", "response": response},
        {"type": "response.reasoning_summary_part.added", "summary_index": 0},
        {"type": "response.reasoning_summary_text.delta", "delta": "First."},
        {"type": "response.reasoning_summary_part.added", "summary_index": 1},
        {"type": "response.reasoning_summary_text.delta", "delta": "Second."},
        {"type": "response.output_text.delta", "delta": "Hi"},
        {"type": "response.output_text.done", "text": "Hi"},
        {"type": "response.refusal.delta", "delta": " no"},
        {"type": "response.output_item.done", "item": item},
        {"type": "response.completed", "response": response},
    ]
    expected = [
        Reasoning(text="First."),
        Reasoning(text="\n\n"),
        Reasoning(text="Second."),
        Delta(text="Hi"),
        Delta(text=" no"),
        call("a", "add", {"x": 1}),
        usage(7, 5),
        Done(),
    ]
    assert read(*items) == expected
    assert read(*map(objects, items)) == expected


def test_responses_that_are_cut() -> None:
    response = {"id": "r", "incomplete_details": {"reason": "max_output_tokens"}}
    assert read({"type": "response.incomplete", "response": response}) == [Done(reason="length")]


def test_tools_that_run_at_the_provider() -> None:
    items = [
        {"type": "mcp_call", "id": "m", "name": "roll", "arguments": '{"dice": 2}', "output": "7", "error": None},
        {"type": "web_search_call", "id": "w", "status": "completed", "action": {"type": "search", "query": "sky"}},
        {"type": "code_interpreter_call", "id": "p", "code": "1+1", "outputs": [{"type": "logs", "logs": "2"}]},
        {"type": "shell_call", "id": "x", "call_id": "s", "action": {"commands": ["ls"]}},
        {"type": "shell_call_output", "id": "y", "call_id": "s", "output": [{"stdout": "a.txt"}]},
        {"type": "image_generation_call", "id": "i", "result": "iVBORw0KGgo="},
    ]
    assert read(*({"type": "response.output_item.done", "item": item} for item in items))[:-1] == [
        call("m", "roll", {"dice": 2}),
        result("m", "roll", "7"),
        call("w", "web_search", {"type": "search", "query": "sky"}),
        call("p", "code_interpreter", "1+1"),
        result("p", "code_interpreter", [{"type": "logs", "logs": "2"}]),
        call("s", "shell", {"commands": ["ls"]}),
        result("s", "shell", [{"stdout": "a.txt"}]),
        call("i", "image_generation", None),
    ]


def test_errors_that_come_in_the_stream() -> None:
    failed = {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Sorry."}}}
    expected = Error(message="Sorry.", code="server_error")
    assert read(failed)[0] == expected
    error = {"type": "error", "code": "server_error", "message": "Sorry.", "param": None, "sequence_number": 3}
    assert read(error)[0] == expected
    assert read(objects(error))[0] == expected
    anthropic = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert read(anthropic)[0] == read(objects(anthropic))[0] == Error(message="Overloaded", code="overloaded_error")
    with pytest.raises(StreamError, match=r"^Overloaded$") as raised:
        stream([anthropic])
    assert raised.value.answer.snapshot.error.code == "overloaded_error"


# Anthropic


def started(id: str = "m", **used: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": id, "type": "message", "usage": used}}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    begun = {"type": "content_block_start", "index": index, "content_block": start}
    pieces = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [begun, *pieces, {"type": "content_block_stop", "index": index}]


@pytest.mark.parametrize("form", [objects, dict], ids=["objects", "dicts"])
def test_anthropic(form: Any) -> None:
    items = [
        started(input_tokens=7, output_tokens=1, cache_read_input_tokens=100),
        {"type": "ping"},
        *block(
            0,
            {"type": "thinking", "thinking": ""},
            {"type": "thinking_delta", "thinking": "hm"},
            {"type": "signature_delta", "signature": "s"},
        ),
        *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"}),
        *block(
            2,
            {"type": "tool_use", "id": "a", "name": "add", "input": Data()},
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"x"'},
            {"type": "input_json_delta", "partial_json": ": 1}"},
        ),
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    assert read(*map(form, items)) == [
        usage(107, 1),
        Reasoning(text="hm"),
        Delta(text="Hi"),
        call("a", "add", {"x": 1}),
        usage(107, 5),
        Done(reason="length"),
    ]


def test_tools_that_run_at_anthropic_and_text_in_cited_pieces() -> None:
    found = [{"type": "web_search_result", "url": "https://example.org"}]
    items = [
        *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "I look."}),
        *block(
            1,
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"query": "sky"}'},
        ),
        *block(2, {"type": "web_search_tool_result", "tool_use_id": "s", "content": found}),
        *block(3, {"type": "text", "text": ""}, {"type": "text_delta", "text": "It is "}),
        *block(4, {"type": "text", "text": ""}, {"type": "text_delta", "text": "blue"}),
        *block(5, {"type": "text", "text": ""}, {"type": "text_delta", "text": "."}),
    ]
    events = read(*items)
    assert text(events) == "I look.\n\nIt is blue."
    assert [event for event in events if isinstance(event, Tool)] == [
        call("s", "web_search", {"query": "sky"}),
        result("s", "web_search", found),
    ]


def test_several_messages_of_anthropic() -> None:
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}
    tool = {"type": "tool_use", "id": "a", "name": "now", "input": {"zone": "UTC"}}
    said = [*block(0, {"type": "text", "text": "So."})]
    events = read(started("1", input_tokens=7), *block(0, tool), end, started("2", input_tokens=10), *said, end)
    assert [event for event in events if isinstance(event, (Tool, Delta))] == [
        call("a", "now", {"zone": "UTC"}),
        Delta(text="So."),
    ]
    assert [event for event in events if isinstance(event, Usage)][-1] == usage(17, 10)


# Gemini


def part(*parts: dict[str, Any], finish: str | None = None, used: Any = None) -> Any:
    none = {"text": None, "thought": None, "function_call": None, "function_response": None}
    content = {"parts": [{**none, **each} for each in parts]}
    candidates = [{"content": content, "finish_reason": finish}]
    return objects({"response_id": "r", "candidates": candidates, "usage_metadata": used})


def test_gemini() -> None:
    used = {
        "prompt_token_count": 7,
        "candidates_token_count": 5,
        "thoughts_token_count": 20,
        "tool_use_prompt_token_count": None,
    }
    assert read(
        part({"text": "hm", "thought": True}),
        part({"text": "Hi"}),
        part({"function_call": {"id": None, "name": "add", "args": Data(x=1)}}),
        part({"function_response": {"id": None, "name": "add", "response": Data(result=3)}}),
        part({"executable_code": {"code": "1+1"}}, {"code_execution_result": {"outcome": "OUTCOME_OK", "output": "2"}}),
        part(finish="MAX_TOKENS", used=used),
        objects({"response_id": "r", "candidates": None, "usage_metadata": None}),
    ) == [
        Reasoning(text="hm"),
        Delta(text="Hi"),
        call("call-1", "add", {"x": 1}),
        result("call-1", "add", {"result": 3}),
        call("call-2", "code_execution", "1+1"),
        result("call-2", "code_execution", "2"),
        usage(7, 25),
        Done(reason="length"),
    ]


# LangChain


def message(kind: str = "AIMessageChunk", content: Any = "", **fields: Any) -> Any:
    return SimpleNamespace(type=kind, content=content, **{"response_metadata": {}, "id": "m", **fields})


def test_langchain_before_standard_blocks() -> None:
    thought = {"reasoning_content": "hm"}
    first = [{"name": "add", "args": '{"x"', "id": "a", "index": 0}]
    second = [{"name": None, "args": ": 1}", "id": None, "index": 0}]
    assert read(
        message(additional_kwargs=thought, tool_call_chunks=[]),
        message(content=[{"type": "thinking", "thinking": " ok"}, {"type": "text", "text": "Hi"}], tool_call_chunks=[]),
        message(tool_call_chunks=first, usage_metadata={"input_tokens": 7, "output_tokens": 0}),
        message(tool_call_chunks=second, usage_metadata={"input_tokens": 0, "output_tokens": 5}),
        message(response_metadata={"done_reason": "length"}, tool_call_chunks=[]),
    ) == [
        Reasoning(text="hm"),
        Reasoning(text=" ok"),
        Delta(text="Hi"),
        usage(7, 0),
        usage(7, 5),
        call("a", "add", {"x": 1}),
        Done(reason="length"),
    ]


def test_langgraph_messages() -> None:
    metadata = {"langgraph_node": "agent"}
    calls = [{"name": "add", "args": {"x": 1}, "id": "a"}]
    assert read(
        (message("human", "Why?"), metadata),
        (message("ai", "Let me see.", tool_calls=calls), metadata),
        (message("tool", "3", tool_call_id="a", name="add"), metadata),
        (message(content="It is 3.", tool_call_chunks=[], id="n"), metadata),
    ) == [
        Delta(text="Let me see."),
        call("a", "add", {"x": 1}),
        result("a", "add", "3"),
        Delta(text="\n\nIt is 3."),
        Done(),
    ]


def test_langchain_tools_that_run_at_the_provider() -> None:
    def blocks(*content: dict[str, Any]) -> Any:
        return message(content_blocks=list(content), tool_call_chunks=[])

    first = {"type": "server_tool_call_chunk", "id": "s", "name": "web_search", "args": "", "index": 0}
    second = {"type": "server_tool_call_chunk", "args": '{"query": "sky"}', "index": 0}
    done = {"type": "server_tool_result", "tool_call_id": "s", "status": "success", "output": ["blue"]}
    whole = {"type": "server_tool_call", "id": "t", "name": "code", "args": {"code": "1+1"}, "index": 2}
    assert read(blocks(first), blocks(second), blocks(done), blocks(whole)) == [
        call("s", "web_search", {"query": "sky"}),
        result("s", "web_search", ["blue"]),
        call("t", "code", {"code": "1+1"}),
        Done(),
    ]


# Ollama


def test_ollama() -> None:
    function = {"function": {"name": "add", "arguments": Data(x=1)}}
    end = {"done": True, "done_reason": "length", "prompt_eval_count": 7, "eval_count": 5}
    chat = [
        {"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
        {"message": {"role": "assistant", "content": "Hi", "thinking": None}, "done": False},
        {"message": {"role": "assistant", "content": "", "tool_calls": [function]}, "done": False},
        {"message": {"role": "assistant", "content": ""}, **end},
    ]
    generated = [{"response": "", "thinking": "hm", "done": False}, {"response": "Hi", "done": False}]
    head = [Reasoning(text="hm"), Delta(text="Hi")]
    tail = [usage(7, 5), Done(reason="length")]
    assert read(*chat) == read(*map(objects, chat)) == [*head, call("call-1", "add", {"x": 1}), *tail]
    assert read(*generated, {"response": "", **end}) == [*head, *tail]
    again = [event for event in read(*chat, *chat) if isinstance(event, Usage)]
    assert again[-1] == usage(14, 10)


# pydantic-ai


def test_pydantic_ai_of_version_1() -> None:
    """There the usage is a method, and the result of a call a field of its own."""
    run = SimpleNamespace(
        output="3", usage=lambda: SimpleNamespace(input_tokens=7, output_tokens=5), response=None, new_messages=list
    )
    retry = {"part_kind": "retry-prompt", "tool_call_id": "b", "tool_name": "add", "content": "Wrong arguments."}
    returned = {"part_kind": "builtin-tool-return", "tool_call_id": "w", "tool_name": "web", "content": ["blue"]}
    ask = {"part_kind": "tool-call", "tool_call_id": "a", "tool_name": "add", "args": '{"x": 1}'}
    items = [
        {"event_kind": "part_start", "index": 0, "part": {"part_kind": "thinking", "content": "hm"}},
        {"event_kind": "part_delta", "index": 0, "delta": {"part_delta_kind": "thinking", "content_delta": None}},
        {"event_kind": "part_start", "index": 1, "part": {"part_kind": "text", "content": ""}},
        {"event_kind": "part_delta", "index": 1, "delta": {"part_delta_kind": "text", "content_delta": "Hi"}},
        {"event_kind": "part_start", "index": 2, "part": returned},
        {"event_kind": "function_tool_call", "part": ask},
        {"event_kind": "function_tool_call", "part": ask},
        {"event_kind": "function_tool_result", "result": {**ask, "content": 3}},
        {"event_kind": "function_tool_result", "result": retry},
        {"event_kind": "final_result", "tool_name": None},
    ]
    assert read(*map(objects, items), SimpleNamespace(event_kind="agent_run_result", result=run)) == [
        Reasoning(text="hm"),
        Delta(text="Hi"),
        result("w", "web", ["blue"]),
        call("a", "add", {"x": 1}),
        result("a", "add", 3),
        result("b", "add", "Wrong arguments."),
        usage(7, 5),
        Done(),
    ]


# Paragraphs


def test_text_after_a_call_and_thinking_after_anything_begin_a_paragraph() -> None:
    asked = [piece(0, "{}", "a", "now"), chunk(finish="tool_calls")]
    chunks = [
        chunk(reasoning="one"),
        chunk(reasoning=" thought"),
        chunk(content="Let me "),
        chunk(reasoning="another"),
        chunk(content="see."),
        *asked,
        chunk(reasoning="a third"),
        chunk(content="It is late."),
    ]
    events = read(*chunks)
    assert text(events, Reasoning) == "one thought\n\nanother\n\na third"
    assert text(events) == "Let me see.\n\nIt is late."
