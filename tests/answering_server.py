"""A real jupyter_server with models that do what a test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import JupyterServer, wait_for

CONFIG = '''
import asyncio, json
from pathlib import Path
from jupyter_sse.chat import ProviderError
from jupyter_sse.events import Done, Error, Reasoning, Tool, Usage

HOME = Path({home!r})

async def told(question):
    """Says what it was told."""
    yield Reasoning(text="Let me think.")
    yield Tool(id="1", name="look", phase="call", args={{"at": "sky"}})
    yield Tool(id="1", name="look", phase="result", result="blue")
    history = [[message.role, message.content] for message in question.history]
    yield json.dumps([question.message, question.model, question.system, history])
    yield Usage(input_tokens=3, output_tokens=5, cost=0.25)

async def gated(question):
    """Words, as many as a file allows; another file says that it was asked, and when it was stopped."""
    name = question.message.split()[0]
    asked, allowed = HOME / (name + ".asked"), HOME / (name + ".allowed")
    with asked.open("a") as file:
        file.write("asked\\n")
    count = 0
    try:
        while True:
            limit = int(allowed.read_text() or 0) if allowed.exists() else 20
            while count < abs(limit):
                yield f"word{{count}} "
                count += 1
                await asyncio.sleep(0)
            if limit < 0:
                return
            await asyncio.sleep(0.005)
    finally:
        (HOME / (name + ".ended")).touch()

async def echo(question):
    """The question, letter by letter."""
    for letter in question.message:
        yield letter

async def failing(question):
    yield "Half an"
    raise ProviderError("The model is tired.", "provider_unavailable", retryable=True)

c.SSE.providers = dict(told=told, gated=gated, echo=echo, failing=failing)
c.SSE.chat_rate = {rate!r}
'''


class Gate:
    """How far the model `gated` may go in its answer to the question of this name."""

    def __init__(self, server: JupyterServer, name: str) -> None:
        self.question = name
        self._files = {what: server.home / f"{name}.{what}" for what in ("asked", "allowed", "ended")}

    def allow(self, words: int, *, end: bool = False) -> None:
        fresh = self._files["allowed"].with_suffix(".new")
        fresh.write_text(str(-words if end else words))
        fresh.replace(self._files["allowed"])

    def wait_asked(self) -> None:
        wait_for(self._files["asked"].exists, "the model to be asked")

    def wait_ended(self) -> None:
        wait_for(self._files["ended"].exists, "the model to be left alone")

    @property
    def times_asked(self) -> int:
        return self._files["asked"].read_text().count("\n")


def words(count: int) -> str:
    return "".join(f"word{number} " for number in range(count))


@contextmanager
def running(
    home: Path, *options: str, rate: str = "", prepare: Callable[[JupyterServer], None] | None = None, **arguments: Any
) -> Iterator[JupyterServer]:
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "jupyter_server_config.py").write_text(CONFIG.format(home=str(home), rate=rate))
    server = JupyterServer(home, *options, **arguments)
    if prepare is not None:
        prepare(server)
    try:
        yield server.start()
    finally:
        server.stop()


def events(server: JupyterServer, stream: str) -> list[dict[str, Any]]:
    """All events of a stream that has ended."""
    answer = server.request("GET", f"streams/{stream}/events")
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    found = [json.loads(line) for line in lines]
    return [event for event in found if event["type"] not in ("hello", "ping")]
