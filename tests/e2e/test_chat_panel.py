"""The chat panel in a real JupyterLab: by mouse, keyboard and screen reader, with and without its kernel."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Notebook, quiet_lab, write_notebook
from harness import JupyterServer, wait_for
from playwright.sync_api import Locator, Page, expect
from test_lab import MIME, SECONDS

# Says what it is asked, word by word; `wait:a` waits for the file a, `fail:why` fails. First how much was said before.
ECHO = '''
import asyncio
from pathlib import Path
from jupyter_sse.chat import ProviderError

async def echo(question):
    yield f"({len(question.history)}) "
    for word in question.message.split(" "):
        if word.startswith("wait:"):
            while not Path("notebooks", word[5:]).exists():
                await asyncio.sleep(0.01)
        elif word.startswith("fail:"):
            raise ProviderError(word[5:], "provider_unavailable", retryable=True)
        else:
            yield word + " "

async def loud(question):
    yield question.message.upper()
'''
PROVIDERS = "--SSE.providers={'echo': 'echo:echo', 'loud': 'echo:loud'}"
NO_SERVER = "--ServerApp.jpserver_extensions={'jupyter_sse': False}"
CELL = "from jupyter_sse import Chat\nchat = Chat('echo', title='Test')\nchat"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    yield from started(JupyterServer(tmp_path_factory.mktemp("chat"), PROVIDERS, app="jupyterlab"))


def started(server: JupyterServer) -> Iterator[JupyterServer]:
    (server.home / "echo.py").write_text(ECHO)
    quiet_lab(server)
    yield server.start()
    server.stop()


class Panel:
    """A chat's panel in a page."""

    def __init__(self, notebook: Notebook, index: int = 0) -> None:
        self.notebook = notebook
        self.root = notebook.cell(index).locator("[data-sse-chat]")
        self.log = self.root.get_by_role("log")
        self.box = self.root.get_by_role("textbox", name="Message")
        self.messages = self.log.get_by_role("listitem")

    def ask(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")

    def button(self, name: str, index: int = -1) -> Locator:
        return self.root.get_by_role("button", name=name).nth(index)

    def status(self, wanted: str) -> None:
        expect(self.root).to_have_attribute("data-sse-status", wanted, timeout=SECONDS)

    def says(self, *texts: str) -> None:
        """What each message says, without who says it and its buttons."""
        expect(self.messages).to_have_count(len(texts), timeout=SECONDS)
        for message, text in zip(self.messages.all(), texts, strict=True):
            expect(message.locator(".jsse-chat-content")).to_have_text(text, timeout=SECONDS)


Open = Callable[..., Panel]


@pytest.fixture
def open_chat(page: Page, lab: JupyterServer, request: pytest.FixtureRequest) -> Open:
    """`open_chat(*cells)`: a new notebook in JupyterLab with a chat in its first cell, which has been run."""

    def open_one(*cells: str, first: str = CELL) -> Panel:
        path = write_notebook(lab, f"{request.node.name.split('[')[0]}.ipynb", first, *cells)
        notebook = Notebook(page, lab, path).open()
        notebook.run(0)
        panel = Panel(notebook)
        expect(panel.box).to_be_visible(timeout=SECONDS)
        return panel

    return open_one


def test_a_question_is_answered_and_the_next_one_knows_of_it(open_chat: Open) -> None:
    panel = open_chat("print(chat.messages)")
    panel.ask("One two.")
    panel.says("One two.", "(0) One two.")
    panel.status("done")
    expect(panel.box).to_be_focused()
    expect(panel.box).to_have_value("")
    panel.ask("Three.")
    panel.says("One two.", "(0) One two.", "Three.", "(2) Three.")
    panel.status("done")
    panel.notebook.run(1)
    expect(panel.notebook.output(1)).to_contain_text("'content': '(2) Three. '", timeout=SECONDS)
