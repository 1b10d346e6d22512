"""How the APIs of models say an answer, as a stream and as a whole: pure, from our events to bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from jupyter_sse.events import Delta, Done, Event, Reasoning, Tool, Usage

__all__ = ["FORMATS", "Answer", "Format"]


class Answer(NamedTuple):
    """What is to be said, as a whole."""

    parts: tuple[str | Event, ...]

    def _all(self, kind: type[Any]) -> list[Any]:
        return [part for part in self.parts if isinstance(part, kind)]

    @property
    def text(self) -> str:
        return "".join(self._all(str))

    @property
    def reasoning(self) -> str:
        return "".join(part.text for part in self._all(Reasoning))

    @property
    def calls(self) -> list[Tool]:
        return self._all(Tool)

    @property
    def cut(self) -> bool:
        """It is longer than the model may answer."""
        return any(done.reason == "length" for done in self._all(Done))

    @property
    def usage(self) -> Usage:
        usage: list[Usage] = self._all(Usage)
        return usage[0] if usage else Usage(input_tokens=5, output_tokens=len(self._all(str)))


class Format:
    """How one API says an answer: whole or as a stream."""

    content_type = "text/event-stream"

    def streams(self, path: str, body: dict[str, Any]) -> bool:
        return body.get("stream") is True

    def stream(self, answer: Answer, events: Iterator[Event]) -> Iterator[bytes]:
        raise NotImplementedError

    def whole(self, answer: Answer) -> dict[str, Any]:
        raise NotImplementedError

    def refuse(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def _frame(data: dict[str, Any], name: str | None = None) -> bytes:
    event = f"event: {name}\n" if name else ""
    return f"{event}data: {json.dumps(data)}\n\n".encode()


def _halves(args: Any) -> tuple[str, str]:
    text = json.dumps(args)
    return text[: len(text) // 2], text[len(text) // 2 :]


class ChatCompletions(Format):
    def _chunk(self, **fields: Any) -> bytes:
        return _frame({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5", **fields})

    def _delta(self, **delta: Any) -> bytes:
        return self._chunk(choices=[{"index": 0, "delta": delta, "finish_reason": None}])

    def _usage(self, usage: Usage) -> dict[str, Any]:
        given, taken = usage.input_tokens, usage.output_tokens
        cost = {} if usage.cost is None else {"cost": usage.cost}  # as OpenRouter says it
        return {"prompt_tokens": given, "completion_tokens": taken, "total_tokens": given + taken, **cost}

    def _reason(self, answer: Answer) -> str:
        return "length" if answer.cut else "tool_calls" if answer.calls else "stop"

    def stream(self, answer: Answer, events: Iterator[Event]) -> Iterator[bytes]:
        yield self._delta(role="assistant", content="")
        index = 0
        for event in events:
            if isinstance(event, Delta):
                yield self._delta(content=event.text)
            elif isinstance(event, Reasoning):
                yield self._delta(reasoning_content=event.text)
            elif isinstance(event, Tool):
                first, second = _halves(event.args)
                begun = {"index": index, "id": event.id, "type": "function"}
                yield self._delta(tool_calls=[{**begun, "function": {"name": event.name, "arguments": first}}])
                yield self._delta(tool_calls=[{"index": index, "function": {"arguments": second}}])
                index += 1
        yield self._chunk(choices=[{"index": 0, "delta": {}, "finish_reason": self._reason(answer)}])
        yield self._chunk(choices=[], usage=self._usage(answer.usage))
        yield b"data: [DONE]\n\n"

    def whole(self, answer: Answer) -> dict[str, Any]:
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.args)}}
            for call in answer.calls
        ]
        message = {"role": "assistant", "content": answer.text, **({"tool_calls": calls} if calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": self._reason(answer)}
        return {
            "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-5",
            "choices": [choice], "usage": self._usage(answer.usage),
        }  # fmt: skip


class Responses(Format):
    def _item(self, event: Event, index: int, text: str) -> dict[str, Any]:
        """An output item: text, reasoning or a call, with what has been said of it."""
        if isinstance(event, Tool):
            call = {"call_id": event.id, "name": event.name, "arguments": text}
            return {"type": "function_call", "id": f"fc_{index}", "status": "completed", **call}
        if isinstance(event, Reasoning):
            summary = [{"type": "summary_text", "text": text}] if text else []
            return {"type": "reasoning", "id": f"rs_{index}", "summary": summary}
        content = [{"type": "output_text", "text": text, "annotations": []}] if text else []
        return {"type": "message", "id": f"msg_{index}", "role": "assistant", "status": "completed", "content": content}

    def _response(self, answer: Answer, output: list[dict[str, Any]], status: str | None = None) -> dict[str, Any]:
        used, cut = answer.usage, answer.cut
        given, taken = used.input_tokens, used.output_tokens
        usage = {
            "input_tokens": given, "output_tokens": taken, "total_tokens": given + taken,
            "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
        }  # fmt: skip
        return {
            "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5", "output": output,
            "status": status or ("incomplete" if cut else "completed"),
            "incomplete_details": {"reason": "max_output_tokens"} if cut and not status else None,
            "usage": None if status else usage, "error": None, "instructions": None, "metadata": {},
            "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        }  # fmt: skip

    def stream(self, answer: Answer, events: Iterator[Event]) -> Iterator[bytes]:
        number = 0

        def frame(name: str, /, **fields: Any) -> bytes:
            nonlocal number
            number += 1
            return _frame({"type": f"response.{name}", "sequence_number": number, **fields}, f"response.{name}")

        yield frame("created", response=self._response(answer, [], "in_progress"))
        output: list[dict[str, Any]] = []
        for event, pieces in _blocks(events):
            index = len(output)
            begun = self._item(event, index, "")
            where: dict[str, Any] = {"item_id": begun["id"], "output_index": index}
            yield frame("output_item.added", output_index=index, item={**begun, "status": "in_progress"})
            if isinstance(event, Reasoning):
                part: dict[str, Any] = {"type": "summary_text", "text": ""}
                where["summary_index"] = 0
                names = "reasoning_summary_part.added", "reasoning_summary_text", "reasoning_summary_part.done"
            else:
                part = {"type": "output_text", "text": "", "annotations": []}
                where["content_index"] = 0
                names = "content_part.added", "output_text", "content_part.done"
            if isinstance(event, Tool):
                del where["content_index"]
                names = "", "function_call_arguments", ""
            else:
                yield frame(names[0], **where, part=part)
            said = ""
            for piece in pieces:
                said += piece
                yield frame(f"{names[1]}.delta", **where, delta=piece, logprobs=[])
            if isinstance(event, Tool):
                yield frame(f"{names[1]}.done", **where, arguments=said, name=event.name)
            else:
                yield frame(f"{names[1]}.done", **where, text=said, logprobs=[])
                yield frame(names[2], **where, part={**part, "text": said})
            output.append(self._item(event, index, said))
            yield frame("output_item.done", output_index=index, item=output[-1])
        response = self._response(answer, output)
        yield frame(response["status"], response=response)

    def whole(self, answer: Answer) -> dict[str, Any]:
        said: list[tuple[Event, str]] = [(Delta(text=""), answer.text)] if answer.text else []
        said += [(call, json.dumps(call.args)) for call in answer.calls]
        return self._response(answer, [self._item(event, index, text) for index, (event, text) in enumerate(said)])


class Messages(Format):
    def _block(self, event: Event, text: str) -> dict[str, Any]:
        if isinstance(event, Tool):
            return {"type": "tool_use", "id": event.id, "name": event.name, "input": json.loads(text) if text else {}}
        if isinstance(event, Reasoning):
            return {"type": "thinking", "thinking": text, "signature": ""}
        return {"type": "text", "text": text}

    def _reason(self, answer: Answer) -> str:
        return "max_tokens" if answer.cut else "tool_use" if answer.calls else "end_turn"

    def _message(self, answer: Answer, content: list[dict[str, Any]], taken: int, reason: str | None) -> dict[str, Any]:
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": content,
            "stop_reason": reason, "stop_sequence": None,
            "usage": {"input_tokens": answer.usage.input_tokens, "output_tokens": taken},
        }  # fmt: skip

    def stream(self, answer: Answer, events: Iterator[Event]) -> Iterator[bytes]:
        def frame(name: str, /, **fields: Any) -> bytes:
            return _frame({"type": name, **fields}, name)

        yield frame("message_start", message=self._message(answer, [], 1, None))
        yield frame("ping")
        for index, (event, pieces) in enumerate(_blocks(events)):
            yield frame("content_block_start", index=index, content_block=self._block(event, ""))
            kind, field = (
                ("input_json_delta", "partial_json") if isinstance(event, Tool)
                else ("thinking_delta", "thinking") if isinstance(event, Reasoning)
                else ("text_delta", "text")
            )  # fmt: skip
            for piece in pieces:
                yield frame("content_block_delta", index=index, delta={"type": kind, field: piece})
            if isinstance(event, Reasoning):
                signature = {"type": "signature_delta", "signature": "s"}
                yield frame("content_block_delta", index=index, delta=signature)
            yield frame("content_block_stop", index=index)
        delta = {"stop_reason": self._reason(answer), "stop_sequence": None}
        used = {"input_tokens": answer.usage.input_tokens, "output_tokens": answer.usage.output_tokens}
        yield frame("message_delta", delta=delta, usage=used)
        yield frame("message_stop")

    def whole(self, answer: Answer) -> dict[str, Any]:
        content = [self._block(Delta(text=""), answer.text)] if answer.text else []
        content += [self._block(call, json.dumps(call.args)) for call in answer.calls]
        return self._message(answer, content, answer.usage.output_tokens, self._reason(answer))

    def refuse(self, status: int, message: str) -> dict[str, Any]:
        names = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}
        return {"type": "error", "error": {"type": names.get(status, "api_error"), "message": message}}


class Ollama(Format):
    content_type = "application/x-ndjson"

    def streams(self, path: str, body: dict[str, Any]) -> bool:
        return body.get("stream", True) is True

    def _line(self, message: dict[str, Any], **fields: Any) -> dict[str, Any]:
        message = {"role": "assistant", "content": "", **message}
        return {"model": "test", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": False, **fields}

    def _end(self, answer: Answer) -> dict[str, Any]:
        return {
            "done": True, "done_reason": "length" if answer.cut else "stop", "total_duration": 1, "eval_duration": 1,
            "prompt_eval_count": answer.usage.input_tokens, "eval_count": answer.usage.output_tokens,
        }  # fmt: skip

    def _calls(self, calls: list[Tool]) -> dict[str, Any]:
        return {"tool_calls": [{"function": {"name": call.name, "arguments": call.args}} for call in calls]}

    def stream(self, answer: Answer, events: Iterator[Event]) -> Iterator[bytes]:
        for event in events:
            message: dict[str, Any] = {}
            if isinstance(event, Delta):
                message["content"] = event.text
            elif isinstance(event, Reasoning):
                message["thinking"] = event.text
            elif isinstance(event, Tool):
                message = self._calls([event])
            yield json.dumps(self._line(message)).encode() + b"\n"
        yield json.dumps(self._line({}, **self._end(answer))).encode() + b"\n"

    def whole(self, answer: Answer) -> dict[str, Any]:
        calls = self._calls(answer.calls) if answer.calls else {}
        return self._line({"content": answer.text, **calls}, **self._end(answer))

    def refuse(self, status: int, message: str) -> dict[str, Any]:
        return {"error": message}


class Gemini(Format):
    def streams(self, path: str, body: dict[str, Any]) -> bool:
        return ":streamGenerateContent" in path

    def _part(self, event: Event, text: str) -> dict[str, Any]:
        if isinstance(event, Tool):
            return {"functionCall": {"id": event.id, "name": event.name, "args": event.args}}
        return {"text": text, "thought": True} if isinstance(event, Reasoning) else {"text": text}

    def _response(self, answer: Answer, parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
        reason = {"finishReason": "MAX_TOKENS" if answer.cut else "STOP"} if last else {}
        given, taken = answer.usage.input_tokens, answer.usage.output_tokens
        usage = {"promptTokenCount": given, "totalTokenCount": given + taken}
        return {
            "candidates": [{"content": {"role": "model", "parts": parts}, "index": 0, **reason}],
            "usageMetadata": {**usage, "candidatesTokenCount": taken} if last else usage,
            "modelVersion": "test", "responseId": "r",
        }  # fmt: skip

    def stream(self, answer: Answer, events: Iterator[Event]) -> Iterator[bytes]:
        for event in events:
            text = event.text if isinstance(event, (Delta, Reasoning)) else ""
            yield _frame(self._response(answer, [self._part(event, text)], last=False))
        yield _frame(self._response(answer, [{"text": ""}], last=True))

    def whole(self, answer: Answer) -> dict[str, Any]:
        parts = [self._part(Delta(text=""), answer.text)] if answer.text else []
        return self._response(answer, parts + [self._part(call, "") for call in answer.calls], last=True)

    def refuse(self, status: int, message: str) -> dict[str, Any]:
        names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
        return {"error": {"code": status, "message": message, "status": names.get(status, "UNAVAILABLE")}}


def _blocks(events: Iterator[Event]) -> Iterator[tuple[Event, Iterator[str]]]:
    """Runs of one kind, each with its pieces as they come; every call is one of its own."""
    ahead = next(events, None)

    def pieces(first: Event) -> Iterator[str]:
        nonlocal ahead
        while type(ahead) is type(first) and isinstance(ahead, (Delta, Reasoning)):
            yield ahead.text
            ahead = next(events, None)

    while ahead is not None:
        if isinstance(ahead, Tool):
            call, ahead = ahead, None
            yield call, iter(_halves(call.args))
            ahead = next(events, None)
        else:
            yield ahead, pieces(ahead)


FORMATS: dict[str, Format] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/responses": Responses(),
    "/v1/messages": Messages(),
    "/api/chat": Ollama(),
    "GenerateContent": Gemini(),
    ":generateContent": Gemini(),
}
