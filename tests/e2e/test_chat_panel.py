"""The chat panel in a real JupyterLab: by mouse, keyboard and screen reader, with and without its kernel."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Notebook, at_rest, only_widgets, quiet_lab, write_notebook
from harness import JupyterServer, wait_for
from npm import npm
from playwright.sync_api import Locator, Page, expect
from test_lab import GATE, MIME, bundles, opened

# Says what it is asked, word by word; `wait:a` waits for the file a, `fail:why` fails. First how much was said before.
ECHO = """
import asyncio
from pathlib import Path
from jupyter_sse.chat import ProviderError

async def echo(question):
    yield f"({len(question.history)}) "
    for word in question.message.split(" "):
        if word.startswith("wait:"):
            yield "| "  # a view holds the last character back
            while not Path("notebooks", word[5:]).exists():
                await asyncio.sleep(0.01)
        elif word.startswith("fail:"):
            raise ProviderError(word[5:], "provider_unavailable", retryable=True)
        else:
            yield word + " "

async def loud(question):
    yield question.message.upper()
"""
OPTIONS = ("--SSE.providers={'echo': 'echo:echo', 'loud': 'echo:loud'}", "--SSE.chat_rate=")
NO_SERVER = "--ServerApp.jpserver_extensions={'jupyter_sse': False}"
CELL = "from jupyter_sse import Chat\nchat = Chat('echo', title='Test')\nchat"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    yield from started(JupyterServer(tmp_path_factory.mktemp("chat"), *OPTIONS, app="jupyterlab"))


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
        self.messages = self.log.locator("[data-sse-message]")

    def ask(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")

    def button(self, name: str, index: int = -1) -> Locator:
        return self.root.get_by_role("button", name=name).nth(index)

    def status(self, wanted: str) -> None:
        expect(self.root).to_have_attribute("data-sse-status", wanted)

    def says(self, *texts: str) -> None:
        """What each message says, without who says it and its buttons."""
        expect(self.messages).to_have_count(len(texts))
        for message, text in zip(self.messages.all(), texts, strict=True):
            # Behind what is waited for stands a bar, and the last character of a text that grows is held back.
            words = r"\s+".join(map(re.escape, text.split()))
            shown = re.compile(rf"^\s*{words}( \|)?\s*$")
            expect(message.locator(".jsse-chat-content")).to_have_text(shown)


Open = Callable[..., Panel]


@pytest.fixture
def open_chat(page: Page, lab: JupyterServer, request: pytest.FixtureRequest) -> Open:
    """`open_chat(*cells)`: a new notebook in JupyterLab with a chat in its first cell, which has been run."""

    def open_one(*cells: str, first: str = CELL) -> Panel:
        path = write_notebook(lab, f"{request.node.name.split('[')[0]}.ipynb", first, *cells)
        notebook = Notebook(page, lab, path).open()
        notebook.run(0)
        panel = Panel(notebook)
        expect(panel.box).to_be_visible()
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
    expect(panel.notebook.output(1)).to_contain_text("'content': '(2) Three. '")


def test_a_page_that_is_closed_leaves_the_answer_to_the_kernel(open_chat: Open) -> None:
    told = (
        "import threading, time\nfrom pathlib import Path\n"
        "def tell():\n"
        "    while chat.messages[-1].get('status') == 'running': time.sleep(0.01)\n"
        "    Path('told').write_text(chat.messages[-1]['content'])\n"
        "threading.Thread(target=tell).start()\nchat.messages[-1]"
    )
    panel = open_chat(told)
    panel.ask("One wait:closed two")
    panel.says("One wait:closed two", "(0) One")
    panel.notebook.run(1)
    # It has what there is, although no page has told it.
    expect(panel.notebook.output(1)).to_contain_text("(0) One")
    panel.notebook.page.close()
    opened(panel.notebook, "closed")
    file = panel.notebook.path.parent / "told"
    wait_for(lambda: file.exists() and file.read_text(), "the kernel to have the answer")
    assert file.read_text() == "(0) One | two "


def saved(notebook: Notebook, transcript: str) -> dict[str, Any]:
    """The chat's output in the notebook's file, as soon as its transcript has this text."""

    def look() -> dict[str, Any] | None:
        notebook.page.keyboard.press("Control+s")
        try:
            [data] = bundles(json.loads(notebook.path.read_text()), 0)
        except ValueError:
            return None  # in the middle of being written, or not saved yet
        return data if transcript in data["text/markdown"] else None

    found: dict[str, Any] = wait_for(look, f"the notebook to be saved with {transcript!r}")
    return found


def test_it_works_while_the_kernel_is_busy_and_the_kernel_learns_of_it(open_chat: Open) -> None:
    panel = open_chat(
        GATE + "wait_for('busy-end')",
        "print([(m['role'], m['content'], m.get('status')) for m in chat.messages])",
    )
    panel.notebook.run(1)
    expect(panel.notebook.cell(1).locator(".jp-InputPrompt").first).to_have_text("[*]:")
    panel.ask("While it is busy.")
    panel.says("While it is busy.", "(0) While it is busy.")
    panel.ask("Never wait:never")
    panel.says("While it is busy.", "(0) While it is busy.", "Never wait:never", "(2) Never")
    panel.button("Stop").click()
    panel.status("cancelled")
    expect(panel.box).to_be_focused()
    opened(panel.notebook, "busy-end")
    panel.notebook.wait_idle()
    panel.notebook.run(2)
    told = panel.notebook.output(2)
    expect(told).to_contain_text("('assistant', '(2) Never |")
    expect(told).to_contain_text("('assistant', '(0) While it is busy. ', None)")


def test_messages_set_in_python_and_questions_asked_there_are_in_the_panel(open_chat: Open, lab: JupyterServer) -> None:
    panel = open_chat(
        "answer = chat.ask('From Python.')\nprint(repr(answer.text), answer.status)",
        "chat.messages = [{'role': 'user', 'content': 'Other'}, {'role': 'assistant', 'content': '**words**'}]",
        "chat.model = 'loud'",
        "chat.messages = chat.messages[:1]",
    )
    panel.ask("First.")
    panel.says("First.", "(0) First.")
    panel.status("done")
    panel.notebook.run(1)
    panel.says("First.", "(0) First.", "From Python.", "(2) From Python.")
    expect(panel.notebook.output(1)).to_contain_text("'(2) From Python. ' done")
    panel.notebook.run(2)
    panel.says("Other", "words")
    panel.notebook.run(3)
    expect(panel.root.get_by_role("combobox", name="Model")).to_have_value("loud")
    panel.ask("hear me")
    panel.says("Other", "words", "hear me", "HEAR ME")
    panel.notebook.run(4)
    panel.says("Other")
    # No answer of a chat is an output of its own: a reload would put it into the cell.
    listed = lab.request("GET", "streams", params={"path": panel.notebook.path.name}).json()
    assert [entry["cell"] for entry in listed] == [None] * 3


def test_a_busy_cell_shows_a_chat_and_asks_in_it(open_chat: Open) -> None:
    panel = open_chat(
        first="from jupyter_sse import Chat\nchat = Chat('echo')\ndisplay(chat)\nchat.ask('one wait:busy-cell two')"
    )
    panel.says("one wait:busy-cell two", "(0) one")
    panel.status("running")
    opened(panel.notebook, "busy-cell")
    panel.says("one wait:busy-cell two", "(0) one | two")
    panel.status("done")


def test_a_reload_in_mid_answer_goes_on_live(open_chat: Open) -> None:
    panel = open_chat("print(chat.messages)")
    panel.ask("one wait:reload-1 two wait:reload-2 three")
    panel.says("one wait:reload-1 two wait:reload-2 three", "(0) one")
    assert saved(panel.notebook, "*Still being written*")[MIME]["messages"][1]["status"] == "running"
    panel.notebook.page.reload()
    panel.says("one wait:reload-1 two wait:reload-2 three", "(0) one")
    panel.status("running")
    opened(panel.notebook, "reload-1")
    panel.says("one wait:reload-1 two wait:reload-2 three", "(0) one | two")
    opened(panel.notebook, "reload-2")
    panel.status("done")
    panel.says("one wait:reload-1 two wait:reload-2 three", "(0) one | two | three")
    # The kernel hears of it, and the notebook has it, though no kernel's update reaches a page that was loaded again.
    panel.notebook.wait_idle()
    panel.notebook.run(1)
    expect(panel.notebook.output(1)).to_contain_text("'(0) one | two | three '")
    assert saved(panel.notebook, "(0) one | two | three")[MIME]["messages"][1]["status"] == "done"


def test_without_its_kernel_the_history_is_there_and_goes_on(open_chat: Open, lab: JupyterServer) -> None:
    panel = open_chat("import os\nos._exit(0)")
    panel.ask("Before.")
    panel.says("Before.", "(0) Before.")
    panel.status("done")
    panel.notebook.run(1)
    restarted = panel.notebook.page.locator(".jp-Dialog", has_text="Kernel Restarting")
    restarted.get_by_role("button", name="Ok").click()
    panel.ask("After.")
    panel.says("Before.", "(0) Before.", "After.", "(2) After.")
    panel.status("done")
    saved(panel.notebook, "(2) After.")
    panel.notebook.page.reload()
    panel.says("Before.", "(0) Before.", "After.", "(2) After.")
    panel.ask("Again.")
    panel.says("Before.", "(0) Before.", "After.", "(2) After.", "Again.", "(4) Again.")


def test_a_saved_chat_reads_well_without_this_package(open_chat: Open, lab: JupyterServer, tmp_path: Path) -> None:
    panel = open_chat()
    panel.ask("What is **this**? <b>x</b>")
    panel.says("What is **this**? <b>x</b>", "(0) What is this? <b>x</b>")
    panel.ask("And fail:It-is-down.")
    panel.status("error")
    data = saved(panel.notebook, "*Failed: ")
    assert set(data) == {MIME, "text/markdown", "text/plain"}
    assert data["text/markdown"].startswith("**Test**\n\n**You:**\n\nWhat is **this**? &lt;b>x&lt;/b>\n\n**echo:**\n\n")
    assert data["text/markdown"].endswith("**echo:**\n\n(2) And \n\n*Failed: It-is-down.*")
    assert "You: And fail:It-is-down." in data["text/plain"]
    assert "widgets" not in json.loads(panel.notebook.path.read_text())["metadata"]


def test_errors_keep_what_was_typed_and_can_be_tried_again(open_chat: Open, page: Page) -> None:
    panel = open_chat()
    refused = json.dumps({"message": "Too many questions.", "code": "rate_limited"})
    answers = [{"status": 429, "body": refused, "headers": {"Retry-After": "7"}}, {"status": 413, "body": refused}]
    page.route("**/jupyter-sse/chat", lambda route: route.fulfill(**answers.pop(0)) if answers else route.continue_())
    panel.ask("Precious words.")
    panel.status("error")
    expect(panel.messages.last).to_contain_text("Too many questions. Try again in 7 s.")
    panel.button("Retry").click()
    panel.status("error")
    panel.button("Retry").click()
    panel.status("done")
    panel.says("Precious words.", "(0) Precious words.")
    panel.ask("x" * 10_001)
    panel.status("error")
    expect(panel.messages.last).to_contain_text("question_too_long")
    panel.says("Precious words.", "(0) Precious words.", "x" * 10_001, "")


def test_a_question_is_edited_and_sent_again(open_chat: Open) -> None:
    panel = open_chat()
    for text in ("One.", "Two."):
        panel.ask(text)
        panel.status("done")
    panel.button("Edit question", 0).click()
    field = panel.root.get_by_role("textbox", name="Edit the question")
    expect(field).to_be_focused()
    field.press("Escape")
    expect(panel.button("Edit question", 0)).to_be_focused()
    panel.button("Edit question", 0).click()
    field.fill("Uno.")
    field.press("Enter")
    panel.says("Uno.", "(0) Uno.")
    expect(panel.box).to_be_focused()


def test_a_keyboard_is_enough(open_chat: Open, page: Page) -> None:
    panel = open_chat("print('not to be deleted')")
    keys = page.keyboard
    panel.box.focus()
    keys.type("dd")  # a shortcut of the notebook's
    keys.press("Shift+Enter")
    keys.type("xz")
    expect(panel.box).to_have_value("dd\nxz")
    keys.press("Control+z")  # of the field, not of the notebook
    expect(panel.box).not_to_have_value("dd\nxz")
    keys.press("Control+Shift+z")
    expect(panel.box).to_have_value("dd\nxz")
    keys.press("Enter")
    panel.says("dd xz", "(0) dd xz")
    panel.status("done")
    # Backwards from the box: the last answer's Retry, its Copy.
    keys.press("Shift+Tab")
    expect(panel.button("Retry answer 2")).to_be_focused()
    keys.press("Enter")
    panel.status("done")
    panel.says("dd xz", "(0) dd xz")
    expect(panel.box).to_be_focused()
    keys.press("Shift+Tab")
    keys.press("Shift+Tab")
    keys.press("Shift+Tab")
    expect(panel.button("Copy question 1")).to_be_focused()
    keys.press("Shift+Tab")
    keys.press("Space")
    expect(panel.root.get_by_role("textbox", name="Edit the question")).to_be_focused()
    keys.press("Escape")
    expect(panel.button("Edit question 1")).to_be_focused()
    keys.press("Shift+Tab")
    expect(panel.log).to_be_focused()
    keys.press("ArrowDown")
    keys.press("d")
    keys.press("d")
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(2)
    keys.press("Shift+Tab")
    expect(panel.root.get_by_role("combobox", name="Model")).to_be_focused()
    keys.press("ArrowUp")
    expect(panel.root.get_by_role("combobox", name="Model")).to_have_value("demo")
    panel.box.focus()
    keys.type("wait:never")
    keys.press("Enter")
    panel.status("running")
    keys.press("Escape")
    panel.status("cancelled")
    expect(panel.root.get_by_role("status").last).to_have_text("The answer was stopped.")


AXE = Path(__file__).parent.parent.parent / "js" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.timeout(700)
def test_axe_finds_nothing(open_chat: Open, page: Page) -> None:
    if not AXE.is_file():
        npm("ci", "--no-audit", "--no-fund")
    panel = open_chat()
    panel.ask("A [link](https://example.org), `code` and\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nمرحبا")
    panel.status("done")
    panel.ask("fail:It-is-down.")
    panel.status("error")
    panel.button("Edit question", 0).click()
    page.add_script_tag(path=str(AXE))
    for theme, is_light in (("JupyterLab Light", "true"), ("JupyterLab Dark", "false")):
        page.get_by_role("menuitem", name="Settings").click()
        page.locator(".lm-Menu").get_by_text("Theme", exact=True).hover()
        page.locator(".lm-Menu").get_by_text(theme, exact=True).click()
        expect(page.locator("body")).to_have_attribute("data-jp-theme-light", is_light)
        found = page.evaluate("async () => (await axe.run('[data-sse-chat]')).violations")
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_a_long_history_scrolls_and_follows_unless_the_reader_has_gone_back(open_chat: Open) -> None:
    said = "[{'role': role, 'content': f'{role} {i}'} for i in range(150) for role in ('user', 'assistant')]"
    panel = open_chat(first=f"from jupyter_sse import Chat\nchat = Chat('echo')\nchat.messages = {said}\nchat")
    at_end = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 3"
    wait_for(lambda: panel.log.evaluate(at_end), "the log to be at its end")
    assert panel.root.bounding_box()["height"] < 800  # type: ignore[index]
    expect(panel.messages).to_have_count(300)
    panel.log.evaluate("log => { log.scrollTop = 500; }")
    latest = panel.button("Latest messages")
    expect(latest).to_be_visible()
    panel.box.fill("x")
    assert panel.log.evaluate("log => log.scrollTop") == 500
    panel.ask("word " * 500 + "wait:long more")
    wait_for(lambda: panel.log.evaluate(at_end), "the log to follow its answer")
    panel.log.evaluate("log => { log.scrollTop = 500; }")
    expect(latest).to_be_visible()
    opened(panel.notebook, "long")
    panel.status("done")
    assert panel.log.evaluate("log => log.scrollTop") == 500
    latest.click()
    wait_for(lambda: panel.log.evaluate(at_end), "the log to be at its end")
    panel.log.evaluate("log => { log.scrollTop = 500; }")
    expect(latest).to_be_visible()
    panel.notebook.page.keyboard.press("PageUp")
    latest.dispatch_event("click")
    at_rest(panel.log)
    assert panel.log.evaluate(at_end), "it was scrolled on by the key before"


@pytest.mark.parametrize("extension", [True, False])
def test_where_our_extension_is_not_the_widget_shows_it(page: Page, tmp_path: Path, extension: bool) -> None:
    options = OPTIONS if extension else (NO_SERVER,)
    home = tmp_path / "plain"
    for server in started(JupyterServer(home, *options, only_widgets(home), app="jupyterlab")):
        cell = CELL if extension else CELL.replace("'echo'", "'demo'")
        notebook = Notebook(page, server, write_notebook(server, "plain.ipynb", cell, "print(chat.messages)")).open()
        notebook.run(0)
        panel = Panel(notebook)
        panel.ask("Hello.")
        panel.status("done")
        answer = panel.messages.last.locator(".jsse-chat-content")
        expect(answer).to_contain_text("(0) Hello." if extension else "not a real language model")
        notebook.run(1)
        expect(notebook.output(1)).to_contain_text("'role': 'assistant', 'content': '")
        saved(notebook, "**You:**\n\nHello.")


def test_with_the_server_extension_disabled_the_kernel_answers(page: Page, tmp_path: Path) -> None:
    server = JupyterServer(tmp_path / "without", NO_SERVER, app="jupyterlab")
    for _ in started(server):
        gated = (
            "from jupyter_sse.chat import demo\nimport asyncio\nfrom pathlib import Path\n"
            "async def slow(question):\n"
            "    yield f'({len(question.history)}) '\n"
            "    for word in question.message.split(' '):\n"
            "        if word == 'wait': yield '| '\n"
            "        while word == 'wait' and not Path('go').exists(): await asyncio.sleep(0.01)\n"
            "        yield word + ' '\n"
            "demo.provider = slow\n"
        )
        cell = gated + "from jupyter_sse import Chat\nchat = Chat()\nchat"
        path = write_notebook(server, "comm.ipynb", cell, "print(chat.messages)", "chat.ask('Python asks.').text")
        notebook = Notebook(page, server, path).open()
        notebook.run(0)
        panel = Panel(notebook)
        panel.ask("One wait two")
        panel.says("One wait two", "(0) One")
        (path.parent / "go").touch()
        panel.says("One wait two", "(0) One | wait two")
        panel.status("done")
        (path.parent / "go").unlink()
        panel.ask("Three wait")
        panel.says("One wait two", "(0) One | wait two", "Three wait", "(2) Three")
        panel.button("Stop").click()
        panel.status("cancelled")
        notebook.run(1)
        expect(notebook.output(1)).to_contain_text("'content': '(0) One | wait two '")
        notebook.run(2)
        panel.says("One wait two", "(0) One | wait two", "Three wait", "(2) Three", "Python asks.", "(4) Python asks.")
        assert set(saved(notebook, "(4) Python asks.")) == {MIME, "text/markdown", "text/plain"}
