"""The real clients of other protocols, in Node, against a real server: `ai`, `@ag-ui/client` and `openai`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import format_streams as streams
import pytest
from answering_server import Gate, events, running, words
from harness import JupyterServer, wait_for
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from npm import CLIENTS, install, run, run_script

from jupyter_sse.events import Delta, Done, Event, Hello, Unknown
from jupyter_sse.formats import FORMATS

pytestmark = pytest.mark.timeout(700)  # the first may install

SPOKEN = "سَلام عليكم، 👩🏽‍🚀 يا أهلاً 🇵🇸! नमस्ते\n\n- 日本語 👨‍👩‍👧‍👦"
TOLD: list[Any] = [SPOKEN, None, None, []]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    install(CLIENTS)
    with running(tmp_path_factory.mktemp("clients"), "--SSE.heartbeat=0.05") as server:
        yield server


def client(name: str, server: JupyterServer, **config: Any) -> Any:
    return run_script(CLIENTS / f"{name}.mjs", url=server.url, token=server.token, **config)


def task(server: JupyterServer) -> str:
    """A job that has ended."""
    stream = server.create(title="Render")
    answer = server.append(
        stream,
        '{"type":"step","step":1,"of":2,"message":"Load"}',
        '{"type":"progress","bar":"frames","n":1,"total":3}',
        '{"type":"log","text":"سطر 👋🏽"}',
        '{"type":"progress","bar":"frames","n":3}',
        '{"type":"step","step":2,"of":2,"message":"Write"}',
        '{"type":"preview","mime":"image/png","data":"aGk=","key":"now"}',
        '{"type":"done","result":{"frames":3}}',
    )
    assert answer.status_code == 200, answer.text
    return stream


def newest(server: JupyterServer) -> str:
    stream: str = server.request("GET", "streams?kind=answer").json()[0]["stream"]
    return stream


def end_of(server: JupyterServer, stream: str) -> dict[str, Any]:
    wait_for(lambda: server.request("GET", f"streams/{stream}").json()["status"] != "running", "the answer's end")
    return events(server, stream)[-1]


def parts(message: dict[str, Any], kind: str) -> list[Any]:
    return [part for part in message["parts"] if part["type"] == kind]


# the AI SDK


def test_ai_sdk_reads_a_conversation_byte_by_byte(server: JupyterServer) -> None:
    found = client("ai_sdk", server, run="chat", model="echo", questions=[SPOKEN, "And?"])
    assert found["statuses"] == ["ready", "ready"]
    question, answer, _, last = found["messages"]
    assert parts(question, "text")[0]["text"] == SPOKEN
    assert parts(answer, "text") == [{"type": "text", "text": SPOKEN, "state": "done"}]
    assert parts(last, "text")[0]["text"] == "And?"
    assert answer["id"] != last["id"]
    assert last["id"] == newest(server)


def test_ai_sdk_has_reasoning_tools_and_usage(server: JupyterServer) -> None:
    found = client("ai_sdk", server, run="chat", model="told", questions=[SPOKEN, "And?"])
    answer, last = found["messages"][1], found["messages"][3]
    (thought,) = parts(answer, "reasoning")
    assert (thought["text"], thought["state"]) == ("Let me think.", "done")
    (tool,) = parts(answer, "dynamic-tool")
    assert (tool["toolName"], tool["state"]) == ("look", "output-available")
    assert (tool["input"], tool["output"]) == ({"at": "sky"}, "blue")
    assert json.loads(parts(answer, "text")[0]["text"]) == TOLD
    assert answer["metadata"]["usage"] == {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8, "cost": 0.25}
    assert answer["metadata"]["model"] == "told"
    assert found["finishReason"] == "stop"
    assert "asked_to_run_a_tool" not in found
    said = json.loads(parts(last, "text")[0]["text"])
    assert said == ["And?", None, None, [["user", SPOKEN], ["assistant", parts(answer, "text")[0]["text"]]]]


def test_ai_sdk_keeps_what_came_before_an_error(server: JupyterServer) -> None:
    found = client("ai_sdk", server, run="chat", model="failing", questions=["Hi"])
    assert found["error"] == "The model is tired."
    assert found["statuses"] == ["error"]
    assert parts(found["messages"][1], "text")[0]["text"] == "Half an"


def test_ai_sdk_is_told_why_a_question_is_not_taken(server: JupyterServer) -> None:
    found = client("ai_sdk", server, run="chat", model="nobody", questions=["Hi"])
    assert json.loads(found["error"])["code"] == "unknown_model"


def test_ai_sdk_stops_an_answer(server: JupyterServer) -> None:
    gate = Gate(server, "ai-sdk")
    gate.allow(40)
    found = client("ai_sdk", server, run="chat", model="gated", questions=[gate.question], stop="word3 ")
    assert found["statuses"] == ["ready"]
    assert found["isAbort"]
    gate.wait_ended()
    assert end_of(server, newest(server))["reason"] == "cancelled"


def test_ai_sdk_follows_a_job(server: JupyterServer) -> None:
    found = client("ai_sdk", server, run="follow", path=f"streams/{task(server)}/events?format=ai-sdk")
    message = found["message"]
    assert parts(message, "data-step")[1]["data"] == {"step": 2, "of": 2, "message": "Write"}
    (bar,) = parts(message, "data-progress")
    assert bar["data"] == {"bar": "frames", "n": 3, "total": 3}
    assert parts(message, "data-preview")[0]["data"]["data"] == "aGk="
    assert parts(message, "data-result")[0]["data"] == {"frames": 3}
    assert message["metadata"]["title"] == "Render"


def test_ai_sdk_joins_late(server: JupyterServer) -> None:
    gate = Gate(server, "late")
    gate.allow(30)
    stream = server.request("POST", "chat", json={"message": gate.question, "model": "gated"}).json()["stream"]
    wait_for(lambda: words(20) in server.request("GET", f"streams/{stream}").json()["text"], "the first words")
    gate.allow(40, end=True)
    for path in (f"streams/{stream}/events?format=ai-sdk&snapshot=1", f"streams/{stream}/events?format=ai-sdk"):
        found = client("ai_sdk", server, run="follow", path=path)
        assert parts(found["message"], "text") == [{"type": "text", "text": words(40), "state": "done"}]


# AG-UI


def test_ag_ui_reads_a_conversation_byte_by_byte(server: JupyterServer) -> None:
    found = client("ag_ui", server, model="echo", questions=[SPOKEN, "And?"])
    assert [message["content"] for message in found["messages"]] == [SPOKEN, SPOKEN, "And?", "And?"]
    assert [message["role"] for message in found["messages"]] == ["user", "assistant"] * 2
    started = [event for event in found["events"] if event["type"] == "RUN_STARTED"]
    assert [(event["threadId"], event["runId"]) for event in started] == [("thread-1", "run-0"), ("thread-1", "run-1")]
    assert not found["warnings"]  # nothing in our events is strange to it


def test_ag_ui_has_reasoning_tools_and_usage(server: JupyterServer) -> None:
    found = client("ag_ui", server, model="told", questions=[SPOKEN, "And?"])
    _, thought, call, result, answer, *_, last = found["messages"]
    assert (thought["role"], thought["content"]) == ("reasoning", "Let me think.")
    assert call["toolCalls"][0]["function"] == {"name": "look", "arguments": '{"at":"sky"}'}
    assert (result["role"], result["content"]) == ("tool", "blue")
    assert result["toolCallId"] == call["toolCalls"][0]["id"]
    assert json.loads(answer["content"]) == TOLD
    finished = next(event for event in found["events"] if event["type"] == "RUN_FINISHED")
    assert finished["usage"] == [{"model": "told", "inputTokens": 3, "outputTokens": 5, "totalTokens": 8}]
    assert finished["outcome"] == {"type": "success"}
    assert json.loads(last["content"]) == ["And?", None, None, [["user", SPOKEN], ["assistant", answer["content"]]]]
    assert not found["warnings"]


def test_ag_ui_is_told_of_the_page_and_which_model_is_meant(server: JupyterServer) -> None:
    given = {"context": [{"description": "Page", "value": "Home"}], "forwardedProps": {"model": "told"}}
    found = client("ag_ui", server, model="echo", questions=["Hi"], input=given)
    assert json.loads(found["messages"][-1]["content"]) == ["Hi", None, "Page: Home", []]


def test_ag_ui_keeps_what_came_before_an_error(server: JupyterServer) -> None:
    found = client("ag_ui", server, model="failing", questions=["Hi"])
    assert found["messages"][1]["content"] == "Half an"
    last = found["events"][-1]
    assert (last["type"], last["message"], last["code"]) == ("RUN_ERROR", "The model is tired.", "provider_unavailable")


def test_ag_ui_is_told_why_a_question_is_not_taken(server: JupyterServer) -> None:
    tool = {"name": "paint", "description": "Paints the page.", "parameters": {}}
    found = client("ag_ui", server, model="echo", questions=["Hi"], input={"tools": [tool]})
    assert found["error"]["status"] == 400
    assert found["error"]["payload"]["code"] == "bad_question"
    assert "`tools`" in found["error"]["payload"]["message"]


def test_ag_ui_stops_an_answer(server: JupyterServer) -> None:
    gate = Gate(server, "ag-ui")
    gate.allow(40)
    client("ag_ui", server, model="gated", questions=[gate.question], stop="word3 ")
    gate.wait_ended()
    assert end_of(server, newest(server))["reason"] == "cancelled"


def test_ag_ui_follows_a_job(server: JupyterServer) -> None:
    found = client("ag_ui", server, path=f"streams/{task(server)}/events?format=ag-ui")
    assert found["results"] == [{"frames": 3}]
    bar, preview = found["messages"]
    assert (bar["activityType"], bar["content"]) == ("progress", {"bar": "frames", "n": 3, "total": 3})
    assert (preview["activityType"], preview["content"]["data"]) == ("preview", "aGk=")
    steps = [(event["type"], event["stepName"]) for event in found["events"] if "stepName" in event]
    assert steps == [
        ("STEP_STARTED", "Load"), ("STEP_FINISHED", "Load"), ("STEP_STARTED", "Write"), ("STEP_FINISHED", "Write"),
    ]  # fmt: skip
    logs = [event["value"]["text"] for event in found["events"] if event.get("name") == "log"]
    assert logs == ["سطر 👋🏽"]
    assert not found["warnings"]


# OpenAI


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def said(chunks: list[dict[str, Any]], field: str = "content") -> str:
    return "".join(choice["delta"].get(field) or "" for chunk in chunks for choice in chunk["choices"])


def test_openai_reads_an_answer_byte_by_byte(server: JupyterServer) -> None:
    chunks = client("openai", server, run="stream", model="echo", messages=ask(SPOKEN))["chunks"]
    assert said(chunks) == SPOKEN
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert {chunk["model"] for chunk in chunks} == {"echo"}
    assert {chunk["id"] for chunk in chunks} == {newest(server)}


def test_openai_has_reasoning_history_and_usage(server: JupyterServer) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
        *ask("And?"),
    ]
    options = {"stream_options": {"include_usage": True}, "temperature": 0}
    chunks = client("openai", server, run="stream", model="told", messages=messages, options=options)["chunks"]
    assert said(chunks, "reasoning_content") == "Let me think."
    history = [["system", "Be brief."], ["user", "Why?"], ["assistant", "So."]]
    assert json.loads(said(chunks)) == ["And?", None, None, history]
    assert chunks[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    assert not said(chunks, "tool_calls")  # the server has run it
    without = client("openai", server, run="stream", model="told", messages=messages)["chunks"]
    assert all(chunk["choices"] and "usage" not in chunk for chunk in without)


def test_openai_has_the_answer_as_a_whole(server: JupyterServer) -> None:
    whole = client("openai", server, run="whole", model="told", messages=ask(SPOKEN))["whole"]
    message = whole["choices"][0]["message"]
    assert json.loads(message["content"]) == TOLD
    assert message["reasoning_content"] == "Let me think."
    assert whole["usage"]["total_tokens"] == 8
    streamed = client("openai", server, run="helper", model="told", messages=ask(SPOKEN))["final"]
    assert streamed["choices"][0]["message"]["content"] == message["content"]
    assert streamed["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "stop"


def test_openai_raises_an_error_in_the_middle(server: JupyterServer) -> None:
    found = client("openai", server, run="stream", model="failing", messages=ask("Hi"))
    assert said(found["chunks"]) == "Half an"
    assert found["error"]["code"] == "provider_unavailable"
    assert "The model is tired." in found["error"]["message"]


@pytest.mark.parametrize(
    ("asked", "name", "status", "code"),
    [
        ({"model": "failing"}, "InternalServerError", 502, "provider_unavailable"),
        ({"model": "nobody"}, "BadRequestError", 400, "unknown_model"),
        ({"model": "echo", "options": {"tools": [{"type": "function"}]}}, "BadRequestError", 400, "bad_question"),
        ({"model": "echo", "token": "wrong"}, "PermissionDeniedError", 403, "forbidden"),
    ],
)
def test_openai_raises_its_own_errors(
    server: JupyterServer, asked: dict[str, Any], name: str, status: int, code: str
) -> None:
    config = {"url": server.url, "token": server.token, "run": "whole", "messages": ask("Hi"), **asked}
    error = run_script(CLIENTS / "openai.mjs", **config)["error"]
    assert (error["name"], error["status"], error["code"]) == (name, status, code)
    assert error["message"] != f"{status} status code (no body)"


def test_openai_stops_an_answer(server: JupyterServer) -> None:
    gate = Gate(server, "openai")
    gate.allow(40)
    found = client("openai", server, run="stream", model="gated", messages=ask(gate.question), stop="word3 ")
    assert "error" not in found
    gate.wait_ended()
    assert end_of(server, newest(server))["reason"] == "cancelled"


def test_openai_lists_the_models(server: JupyterServer) -> None:
    assert client("openai", server, run="models") == server.request("GET", "models").json()["models"]


# streams that no server sends


@settings(max_examples=4, phases=[Phase.generate])
@given(st.lists(st.tuples(st.lists(streams.events), streams.dones), min_size=20, max_size=60))
def test_no_client_complains_of_any_order_of_events(
    tmp_path_factory: pytest.TempPathFactory, many: list[tuple[list[Event | Unknown], Done]]
) -> None:
    install()
    told, texts = [], []
    for name, adapter_of in FORMATS.items():
        for given_events, end in many:
            adapter = adapter_of("s1")
            told.append(
                {
                    "format": name,
                    "body": b"".join(map(adapter.add, [Hello(ts=1.0, stream="s1"), *given_events, end])).decode(),
                }
            )
            texts.append("".join(event.text for event in given_events if isinstance(event, Delta)))
    file = tmp_path_factory.mktemp("told") / "told.json"
    file.write_text(json.dumps(told))
    found = run_script(CLIENTS / "replay.mjs", file=str(file))
    for (_, end), one, said, text in zip(many * len(FORMATS), told, found, texts, strict=True):
        if one["format"] == "openai" and end.reason in ("cancelled", "timeout"):
            assert len(said["complaints"]) == 1
            assert "before it was complete" in said["complaints"][0]
        else:
            assert said == {"text": text, "complaints": []}, one["body"]


# the documentation


@pytest.mark.parametrize("package", ["ai", "@ag-ui/client", "openai"])
def test_the_examples_run(server: JupyterServer, package: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    (example,) = [code for code in re.findall(r"```js\n(.*?)```", text, re.DOTALL) if f'from "{package}"' in code]
    example = example.replace("http://localhost:8888/", server.root).replace("YOUR_TOKEN", server.token)
    shown = run(example).strip()
    assert shown
    assert shown == server.request("GET", f"streams/{newest(server)}").json()["text"].strip()
