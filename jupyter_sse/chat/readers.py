"""One reader for each shape in which models' clients yield an answer. Shapes are known by their fields: no client is
imported, and dicts are read as objects are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from ..events import Audio, Delta, Error, Event, Reasoning, Tool, Usage

__all__ = ["READERS", "Reader"]

SPOKEN = "audio/pcm;rate=24000;channels=1"
"""What OpenAI streams an answer's sound in, and nothing else: `pcm16`."""
CUT = {"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded"}
"""What the APIs call the end of an answer that is longer than it may be."""


class Reader:
    """Reads one shape; holds what is known of the answer so far.

    how : to stream with this client.
    """

    how = ""

    def __init__(self) -> None:
        self.reason: Literal["stop", "length"] = "stop"
        self.result: Any = None
        self._calls: dict[Any, _Call] = {}
        self._open: list[_Call] = []
        self._names: dict[str, str] = {}
        self._usage: dict[Any, Usage] = {}
        self._sounds = 0

    @staticmethod
    def knows(item: Any) -> bool:
        """It is one of those that this reader can read."""
        raise NotImplementedError

    @classmethod
    def is_whole(cls, source: Any) -> bool:
        """It is what the client gives without streaming: for some, of the same shape."""
        return cls.knows(source)

    def read(self, item: Any) -> Iterator[Event]:
        raise NotImplementedError

    def end(self) -> Iterator[Event]:
        """The calls that nobody has said to be whole."""
        return self._whole()

    def _finished(self, reason: Any) -> None:
        if reason is not None:
            value = getattr(reason, "value", reason)
            self.reason = "length" if str(value).lower() in CUT else "stop"
            self._calls.clear()

    def _piece(self, key: Any, id: Any = None, name: Any = None, args: Any = None) -> Iterator[Event]:
        """A piece of the call at this place; the one before it is whole when another begins."""
        call = self._calls.get(key)
        if call is None or (id and call.id and id != call.id):  # some servers number all calls 0
            yield from self._whole()
            call = self._calls[key] = _Call(_text(id) or f"call-{len(self._names) + 1}")
        call.name = call.name or _text(name)
        call.args += _text(args)
        if call not in self._open:
            self._open.append(call)

    def _whole(self) -> Iterator[Event]:
        calls, self._open = self._open, []
        for call in calls:
            yield self._call(call.id, call.name, _parsed(call.args))

    def _call(self, id: Any, name: Any, args: Any) -> Tool:
        id = _text(id) or f"call-{len(self._names) + 1}"
        self._names[id] = _text(name) or "tool"
        return Tool(id=id, name=self._names[id], phase="call", args=_plain(args))

    def _result(self, id: Any, result: Any, name: Any = None) -> Tool:
        id = _text(id)
        return Tool(id=id, name=self._names.get(id) or _text(name) or "tool", phase="result", result=_plain(result))

    def _used(self, key: Any, given: Any, taken: Any, cost: Any = None) -> Iterator[Event]:
        """What one of the answers in this stream has used up to now; the event is the sum over all."""
        if not isinstance(given, int) or not isinstance(taken, int):
            return
        usage = Usage(input_tokens=given, output_tokens=taken, cost=None if cost is None else float(cost))
        if self._usage.get(key) != usage:
            self._usage[key] = usage
            costs = [each.cost for each in self._usage.values() if each.cost is not None]
            yield Usage(
                input_tokens=sum(each.input_tokens for each in self._usage.values()),
                output_tokens=sum(each.output_tokens for each in self._usage.values()),
                cost=sum(costs) if costs else None,
            )


class _Call:
    def __init__(self, id: str) -> None:
        self.id = id
        self.name = ""
        self.args = ""


class ChatCompletions(Reader):
    """OpenAI's chat completions, and all that speak like them: LiteLLM, vLLM, OpenRouter."""

    how = "call create(..., stream=True)"

    @staticmethod
    def knows(item: Any) -> bool:
        return isinstance(_get(item, "choices"), (list, tuple)) or _helper(item)

    def read(self, item: Any) -> Iterator[Event]:
        if _helper(item):  # of `chat.completions.stream()`: the chunks, and what the client makes of them
            item = _get(item, "chunk")
        for choice in _get(item, "choices") or ():
            if _get(choice, "index"):  # of several answers, the first
                continue
            delta = _get(choice, "delta")
            yield Reasoning(text=_text(_get(delta, "reasoning_content")) or _text(_get(delta, "reasoning")))
            yield Delta(
                text=_text(_get(delta, "content")) or _text(_get(delta, "refusal")) or _text(_get(choice, "text"))
            )
            yield from self._spoken(_get(delta, "audio"))
            for call in _get(delta, "tool_calls") or ():
                function = _get(call, "function")
                yield from self._piece(
                    _get(call, "index") or 0, _get(call, "id"), _get(function, "name"), _get(function, "arguments")
                )
            if (reason := _get(choice, "finish_reason")) is not None:
                yield from self._whole()
                self._finished(reason)
        usage = _get(item, "usage")
        given, taken = _get(usage, "prompt_tokens"), _get(usage, "completion_tokens")
        yield from self._used(_get(item, "id"), given, taken, _get(usage, "cost"))

    def _spoken(self, audio: Any) -> Iterator[Event]:
        yield Delta(text=_text(_get(audio, "transcript")))
        if data := _text(_get(audio, "data")):
            yield Audio(mime=SPOKEN, data=data, n=self._sounds)
            self._sounds += 1


def _helper(item: Any) -> bool:
    kind = _kind(item)
    return kind == "chunk" or kind.startswith(("content.", "refusal.", "tool_calls.", "logprobs."))


class Responses(Reader):
    """The events of OpenAI's Responses."""

    how = "call create(..., stream=True)"

    @staticmethod
    def knows(item: Any) -> bool:
        kind = _kind(item)
        return kind.startswith("response.") or (kind == "error" and _get(item, "sequence_number") is not None)

    @classmethod
    def is_whole(cls, source: Any) -> bool:
        return bool(_get(source, "object") == "response")

    def read(self, item: Any) -> Iterator[Event]:
        kind = _kind(item).removeprefix("response.")
        if kind in ("output_text.delta", "refusal.delta"):
            yield Delta(text=_text(_get(item, "delta")))
        elif kind in ("reasoning_summary_text.delta", "reasoning_text.delta"):
            yield Reasoning(text=_text(_get(item, "delta")))
        elif kind == "reasoning_summary_part.added" and _get(item, "summary_index"):
            yield Reasoning(text="\n\n")
        elif kind == "output_item.done":
            yield from self._item(_get(item, "item"))
        elif kind in ("completed", "incomplete"):
            response = _get(item, "response")
            usage = _get(response, "usage")
            self._finished(_get(_get(response, "incomplete_details"), "reason") or "stop")
            key, cost = _get(response, "id"), _get(usage, "cost")
            yield from self._used(key, _get(usage, "input_tokens"), _get(usage, "output_tokens"), cost)
        elif kind in ("failed", "error"):
            yield _failure(item if kind == "error" else _get(_get(item, "response"), "error"))

    def _item(self, item: Any) -> Iterator[Event]:
        """A function to call, a tool that has run at the provider, or such a tool's result."""
        kind = _kind(item)
        id = _get(item, "call_id") or _get(item, "id")
        if kind.endswith("_call"):
            args = _first(item, "arguments", "input", "action", "queries", "code")
            name = _get(item, "name") or kind.removesuffix("_call")
            yield self._call(id, name, _parsed(args) if kind in ("function_call", "mcp_call") else args)
        if kind.endswith(("_call", "_call_output")):
            result = _first(item, "output", "results", "outputs", "error")
            if result is not None:
                yield self._result(id, result)


class Messages(Reader):
    """Anthropic's events, raw, or those of `messages.stream()`, which are the same and some made of them."""

    how = "call messages.stream(...), or create(..., stream=True)"

    RAW = frozenset(f"{what}_{when}" for what in ("message", "content_block") for when in ("start", "delta", "stop"))
    MADE = frozenset({"text", "thinking", "signature", "input_json", "citation", "compaction"})

    def __init__(self) -> None:
        super().__init__()
        self._id: Any = None
        self._counts: dict[str, int] = {}

    @staticmethod
    def knows(item: Any) -> bool:
        kind = _kind(item)
        if kind in Messages.RAW:
            return True
        if isinstance(item, dict):
            return (kind == "ping" and "ts" not in item) or (kind == "error" and isinstance(item.get("error"), dict))
        return kind in Messages.MADE or kind == "ping" or (kind == "error" and hasattr(item, "error"))

    @classmethod
    def is_whole(cls, source: Any) -> bool:
        return _kind(source) == "message" and _get(source, "content") is not None

    def read(self, item: Any) -> Iterator[Event]:
        kind = _kind(item)
        if kind == "message_start":
            message = _get(item, "message")
            self._id, self._counts = _get(message, "id"), {}
            yield from self._count(_get(message, "usage"))
        elif kind == "content_block_start":
            yield from self._block(_get(item, "index"), _get(item, "content_block"))
        elif kind == "content_block_delta":
            delta = _get(item, "delta")
            yield Delta(text=_text(_get(delta, "text")))
            yield Reasoning(text=_text(_get(delta, "thinking")))
            if _kind(delta) == "input_json_delta":
                yield from self._piece(_get(item, "index"), args=_get(delta, "partial_json"))
        elif kind == "content_block_stop":
            yield from self._whole()
        elif kind == "message_delta":
            self._finished(_get(_get(item, "delta"), "stop_reason"))
            yield from self._count(_get(item, "usage"))
        elif kind == "error":
            yield _failure(_get(item, "error"))

    def _block(self, index: Any, block: Any) -> Iterator[Event]:
        kind = _kind(block)
        if kind.endswith("tool_use"):
            self._calls.pop(index, None)
            given = _get(block, "input")
            yield from self._piece(index, _get(block, "id"), _get(block, "name"), json.dumps(given) if given else "")
        elif kind.endswith("tool_result"):
            yield self._result(_get(block, "tool_use_id"), _get(block, "content"), kind.removesuffix("_tool_result"))
        else:
            yield Delta(text=_text(_get(block, "text")))
            yield Reasoning(text=_text(_get(block, "thinking")))

    def _count(self, usage: Any) -> Iterator[Event]:
        """Counts are of the message so far, and left out where they have not changed."""
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"):
            if isinstance(count := _get(usage, name), int):
                self._counts[name] = count
        taken = self._counts.get("output_tokens", 0)
        yield from self._used(self._id, sum(self._counts.values()) - taken, taken)


class Gemini(Reader):
    """Google GenAI's `generate_content_stream`."""

    how = "call generate_content_stream(...)"

    @staticmethod
    def knows(item: Any) -> bool:
        return _has(item, "candidates") and _has(item, "usage_metadata")

    def read(self, item: Any) -> Iterator[Event]:
        for candidate in (_get(item, "candidates") or ())[:1]:
            for part in _get(_get(candidate, "content"), "parts") or ():
                yield from self._part(part)
            self._finished(_get(candidate, "finish_reason"))
        usage = _get(item, "usage_metadata")
        given = _sum(usage, "prompt_token_count", "tool_use_prompt_token_count")
        taken = _sum(usage, "candidates_token_count", "thoughts_token_count")
        if usage is not None:
            yield from self._used(_get(item, "response_id"), given, taken)

    def _part(self, part: Any) -> Iterator[Event]:
        text = _text(_get(part, "text"))
        yield Reasoning(text=text) if _get(part, "thought") else Delta(text=text)
        if call := _get(part, "function_call"):
            yield self._call(_get(call, "id"), _get(call, "name"), _get(call, "args"))
        if code := _get(part, "executable_code"):
            yield self._call(_get(code, "id"), "code_execution", _get(code, "code"))
        if given := _get(part, "function_response"):
            yield self._answer(given, _get(given, "name"), _get(given, "response"))
        if ran := _get(part, "code_execution_result"):
            yield self._answer(ran, "code_execution", _get(ran, "output"))

    def _answer(self, part: Any, name: Any, result: Any) -> Event:
        """Ids may be missing: then it is the last call of that name."""
        last = next((id for id, called in reversed(self._names.items()) if called == name), name)
        return self._result(_get(part, "id") or last, result, name)


class LangChain(Reader):
    """LangChain's messages in pieces, also with metadata as LangGraph yields them (`stream_mode="messages"`)."""

    how = "call model.stream(...) or astream(...)"

    @staticmethod
    def knows(item: Any) -> bool:
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], dict):
            item = item[0]
        return hasattr(item, "response_metadata") and hasattr(item, "content")

    def read(self, item: Any) -> Iterator[Event]:
        message = item[0] if isinstance(item, tuple) else item
        kind = _kind(message)
        if kind in ("tool", "ToolMessageChunk"):
            yield from self._whole()
            yield self._result(_get(message, "tool_call_id"), _get(message, "content"), _get(message, "name"))
        elif kind in ("ai", "AIMessageChunk"):
            yield from self._answer(message)

    def _answer(self, message: Any) -> Iterator[Event]:
        for block in _blocks(message):
            kind = _kind(block)
            if kind == "text":
                yield Delta(text=_text(_get(block, "text")))
            elif kind in ("reasoning", "thinking"):
                yield Reasoning(text=_text(_get(block, "reasoning")) or _text(_get(block, "thinking")))
            elif kind in ("server_tool_call", "server_tool_call_chunk"):
                key, args = ("server", _get(block, "index")), _get(block, "args")
                args = args if isinstance(args, str) else json.dumps(args)
                yield from self._piece(key, _get(block, "id"), _get(block, "name"), args)
            elif kind == "server_tool_result":
                yield from self._whole()
                yield self._result(_get(block, "tool_call_id"), _get(block, "output"))
        id = _get(message, "id")
        pieces = _get(message, "tool_call_chunks")
        for piece in pieces or ():
            key = (id, _get(piece, "index"))
            yield from self._piece(key, _get(piece, "id"), _get(piece, "name"), _get(piece, "args"))
        if pieces is None:
            for call in _get(message, "tool_calls") or ():
                yield self._call(_get(call, "id"), _get(call, "name"), _get(call, "args"))
        ending = _get(message, "response_metadata")
        reason = _first(ending, "finish_reason", "stop_reason", "done_reason", "incomplete_details")
        if reason is not None or _get(message, "chunk_position") == "last":
            yield from self._whole()
            self._finished(_get(reason, "reason") or reason)
        usage = _get(message, "usage_metadata")
        given, taken = _get(usage, "input_tokens"), _get(usage, "output_tokens")
        if isinstance(given, int) and isinstance(taken, int):  # pieces of it add up, as the messages do
            before = self._usage.get(id, Usage(input_tokens=0, output_tokens=0))
            yield from self._used(id, before.input_tokens + given, before.output_tokens + taken)


class Ollama(Reader):
    """Ollama's `chat` and `generate`."""

    how = "call chat(..., stream=True)"

    def __init__(self) -> None:
        super().__init__()
        self._ended = 0

    @staticmethod
    def knows(item: Any) -> bool:
        return _has(item, "done") and (_has(item, "message") or _has(item, "response"))

    def read(self, item: Any) -> Iterator[Event]:
        message = _get(item, "message") or item
        yield Reasoning(text=_text(_get(message, "thinking")))
        yield Delta(text=_text(_get(message, "content")) or _text(_get(item, "response")))
        for call in _get(message, "tool_calls") or ():
            function = _get(call, "function")
            yield self._call(_get(call, "id"), _get(function, "name"), _get(function, "arguments"))
        if _get(item, "done"):
            self._finished(_get(item, "done_reason"))
            self._ended += 1
            yield from self._used(self._ended, _get(item, "prompt_eval_count") or 0, _get(item, "eval_count") or 0)


class PydanticAI(Reader):
    """The events of pydantic-ai's agents and of its models."""

    how = "call agent.run_stream_events(...), or stream_text(delta=True) of what run_stream() gives"

    def __init__(self) -> None:
        super().__init__()
        self._output: Any = None

    @staticmethod
    def knows(item: Any) -> bool:
        return isinstance(_get(item, "event_kind"), str)

    @classmethod
    def is_whole(cls, source: Any) -> bool:
        return hasattr(source, "new_messages") and (hasattr(source, "output") or hasattr(source, "stream_text"))

    def read(self, item: Any) -> Iterator[Event]:
        kind = _get(item, "event_kind")
        if kind == "part_start":
            yield from self._part(_get(item, "part"))
        elif kind == "part_delta":
            delta = _get(item, "delta")
            text = _text(_get(delta, "content_delta"))
            yield Reasoning(text=text) if _get(delta, "part_delta_kind") == "thinking" else Delta(text=text)
        elif kind == "final_result":
            self._output = _get(item, "tool_call_id")
        elif kind in ("part_end", "function_tool_call"):
            part = _get(item, "part")
            id = _get(part, "tool_call_id")
            # The output may come as a call, which is no tool's: it is the result.
            if _has(part, "args") and id not in self._names and id != self._output:
                yield self._call(id, _get(part, "tool_name"), _parsed(_get(part, "args")))
        elif kind == "function_tool_result":
            yield self._answer(_first(item, "part", "result"))
        elif kind == "agent_run_result":
            yield from self._run(_get(item, "result"))

    def _part(self, part: Any) -> Iterator[Event]:
        kind, text = _get(part, "part_kind"), _get(part, "content")
        if kind == "text":
            yield Delta(text=_text(text))
        elif kind == "thinking":
            yield Reasoning(text=_text(text))
        elif _text(kind).endswith("-return"):
            yield self._answer(part)

    def _answer(self, part: Any) -> Event:
        return self._result(_get(part, "tool_call_id"), _get(part, "content"), _get(part, "tool_name"))

    def _run(self, run: Any) -> Iterator[Event]:
        usage = _get(run, "usage")
        if not _has(usage, "input_tokens") and callable(usage):  # a method in version 1
            usage = usage()
        given, taken = _get(usage, "input_tokens"), _get(usage, "output_tokens")
        yield from self._used("run", given, taken, _get(usage, "cost"))
        self._finished(_get(_get(run, "response"), "finish_reason"))
        output = _get(run, "output")
        self.result = None if isinstance(output, str) else _plain(output)


READERS: tuple[type[Reader], ...] = (ChatCompletions, Responses, Messages, Gemini, LangChain, Ollama, PydanticAI)


def _get(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)


def _has(item: Any, name: str) -> bool:
    return name in item if isinstance(item, dict) else hasattr(item, name)


def _first(item: Any, *names: str) -> Any:
    return next((value for name in names if (value := _get(item, name)) is not None), None)


def _sum(item: Any, *names: str) -> int:
    return sum(value for name in names if isinstance(value := _get(item, name), int))


def _kind(item: Any) -> str:
    return _text(_get(item, "type"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _parsed(args: Any) -> Any:
    """Arguments as the model wrote them: JSON, or what was to be JSON."""
    if not isinstance(args, str):
        return args
    try:
        return json.loads(args) if args else {}
    except ValueError:
        return args


def _plain(value: Any) -> Any:
    """A client's own objects as the JSON that they came from."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", exclude_none=True, warnings=False) if callable(dump) else value


def _blocks(message: Any) -> Any:
    """A LangChain message's content, in its standard blocks where it can say it so (from 1.0)."""
    blocks = _get(message, "content_blocks")
    if blocks is not None:
        return blocks
    content = _get(message, "content")
    thought = _text(_get(_get(message, "additional_kwargs"), "reasoning_content"))
    said = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [{"type": "reasoning", "reasoning": thought}, *said]


def _failure(error: Any) -> Error:
    code = _first(error, "code", "type")
    return Error(message=_text(_get(error, "message")) or "The model has failed.", code=_text(code) or "error")
