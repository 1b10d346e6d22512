"""Endpoints in other protocols, and resumed from a page on another origin: a real server and a real kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from harness import JupyterServer, wait_for
from legal import CHECKS, bodies, frames
from npm import CLIENTS, install, run_script
from reading import Reading
from server_kernel import Kernel

from jupyter_sse.formats import FORMATS

pytestmark = pytest.mark.timeout(700)  # the first may install

DECLARED = """
from jupyter_sse import broadcast, endpoint

@endpoint("/agent")
def agent(messages: list = (), who: str = "you"):
    yield {"type": "reasoning", "text": "Whom do I greet?"}
    for word in ("سَلام ", who, " ", messages[-1].get("id", "") if messages else ""):
        yield {"type": "delta", "text": word}
    yield {"type": "progress", "n": 1, "total": 2}
    yield {"own": 1}

@endpoint("/agent/fails")
def fails(n: int = 1):
    yield {"type": "delta", "text": "Half an"}
    raise ValueError("tired")

@endpoint("/agent/own")
def own(format: str, after: str = "", **more):
    yield {"format": format, "after": after, "more": more}

@endpoint("/agent/shared/<name>", mode="shared")
def shared(name, **more): ...
"""


@pytest.fixture(scope="module")
def kernel(server: JupyterServer) -> Iterator[Kernel]:
    kernel = Kernel(server)
    kernel.ask(DECLARED)
    wait_for(lambda: server.request("GET", "e/agent/own?format=x").status_code == 200, "the endpoints to be served")
    yield kernel
    kernel.stop()


def told(server: JupyterServer, path: str, **options: Any) -> tuple[list[Any], Reading]:
    reading = Reading(server, path, **options)
    assert reading.answer.status == 200
    return bodies(reading.read()), reading


@pytest.mark.parametrize("name", FORMATS)
def test_an_endpoint_speaks_other_protocols(server: JupyterServer, kernel: Kernel, name: str) -> None:
    path = f"e/agent?format={name}&who=all"
    found, reading = told(server, path)
    assert "".join(CHECKS[name](found, ended=True)) == "سَلام all "
    assert reading.answer.getheader("x-vercel-ai-ui-message-stream") == ("v1" if name == "ai-sdk" else None)
    # An EventSource comes back, and is stopped: its end has the id that says so.
    assert Reading(server, path, Last_Event_ID=reading.frames[-1].id or reading.frames[-2].id).answer.status == 204


@pytest.mark.parametrize("name", FORMATS)
def test_what_goes_wrong_is_told_in_the_protocol(server: JupyterServer, kernel: Kernel, name: str) -> None:
    found, _ = told(server, f"e/agent/fails?format={name}")
    assert "".join(CHECKS[name](found, ended=True)) == "Half an"
    assert "ValueError: tired" in json.dumps(found)
    answer = server.request("GET", f"e/agent/fails?format={name}&n=many")
    assert "bad_argument" in answer.text or name == "ai-sdk"
    CHECKS[name](frames(answer.content), ended=True)
    refused = server.request("POST", f"e/agent/fails?format={name}", json={"n": "many"})
    assert refused.status_code == 400
    assert refused.json()["code"] == "bad_argument"
    assert ("error" in refused.json()) == (name == "openai")


def test_another_word_is_the_endpoints_own(server: JupyterServer, kernel: Kernel) -> None:
    answer = server.request("GET", "e/agent/own?format=csv&after=12&more=x")
    assert 'data: {"format":"csv","after":"12","more":{"more":"x"}}' in answer.text
    cursor = "A" * 22 + ":5"
    answer = server.request("GET", f"e/agent/own?format=csv&after={cursor}")
    assert 'data: {"format":"csv","after":"","more":{}}' in answer.text


@pytest.mark.parametrize("name", FORMATS)
def test_a_shared_run_is_told_from_its_state(server: JupyterServer, kernel: Kernel, name: str) -> None:
    say = f'broadcast("/agent/shared/{name}", '
    kernel.ask(say + '{"type": "delta", "text": "So far, "})')
    plain = Reading(server, f"e/agent/shared/{name}")
    assert plain.read(2)[-1].event in ("start", "reset")  # the broadcast may be on its way still
    late = Reading(server, f"e/agent/shared/{name}?format={name}")
    late.find(text="So far, ")
    kernel.ask(say + '{"type": "delta", "text": "so good."}); ' + say + '{"type": "done"})')
    found = bodies(late.read())
    assert "".join(CHECKS[name](found, ended=True)) == "So far, so good."
    again = Reading(server, f"e/agent/shared/{name}?format={name}", Last_Event_ID=plain.read()[-2].id)
    assert again.answer.status == 204


def test_a_page_on_another_origin_goes_on_after_what_it_has(server: JupyterServer, kernel: Kernel) -> None:
    say = 'broadcast("/agent/shared/page", '
    kernel.ask(say + '{"type": "log", "text": "one"})')
    first = Reading(server, "e/agent/shared/page")
    last = first.find(text='"one"').id
    first.close()
    kernel.ask(say + '{"type": "log", "text": "two"}); ' + say + '{"type": "done"})')
    again = Reading(server, f"e/agent/shared/page?after={last}")
    assert [frame.event for frame in again.read()] == ["hello", "log", "done"]
    end = again.frames[-1].id
    assert Reading(server, f"e/agent/shared/page?after={end}").answer.status == 204


def test_real_clients_talk_to_an_endpoint(server: JupyterServer, kernel: Kernel) -> None:
    install(CLIENTS)
    common = {"url": server.url, "token": server.token}
    found = run_script(
        CLIENTS / "ai_sdk.mjs", **common, run="chat", api="e/agent?format=ai-sdk", questions=["Hi", "And?"]
    )
    assert found["statuses"] == ["ready", "ready"]
    first, last = found["messages"][1], found["messages"][3]
    assert first["id"] != last["id"]
    assert [part["text"] for part in last["parts"] if part["type"] == "text"] == [
        "سَلام you " + found["messages"][2]["id"]
    ]
    assert [part["text"] for part in last["parts"] if part["type"] == "reasoning"] == ["Whom do I greet?"]
    found = run_script(CLIENTS / "ag_ui.mjs", **common, api="e/agent?format=ag-ui", questions=["Hi", "And?"])
    said = [message for message in found["messages"] if message["role"] == "assistant"]
    assert [message["content"].split()[0] for message in said] == ["سَلام"] * 2
    assert said[0]["id"] != said[1]["id"]
