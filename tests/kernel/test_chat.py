"""`Chat` in a real kernel, with this test as the page."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_sse.output import MIME
from kernel import kernel_process
from kernel.kernel_process import KernelProcess, displays, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WIDGET = "application/vnd.jupyter.widget-view+json"
IMPORT = """
import asyncio, pathlib, threading, time
import jupyter_sse.kernel.display
from jupyter_sse.kernel import panel
from jupyter_sse.chat import demo
jupyter_sse.kernel.display.STATIC = pathlib.Path({static!r})
panel.SHOWN_DELAY = 0.3
go = threading.Event()
async def model(question):
    yield f"({{len(question.history)}}) "
    if "wait" in question.message:
        while not go.is_set(): await asyncio.sleep(0.01)
    if "fail" in question.message: raise RuntimeError("no luck")
    yield question.message
demo.provider = model
from jupyter_sse import *
"""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    static: Path = tmp_path_factory.mktemp("static")
    (static / "widget.js").write_text("export default { render() {} }")
    with kernel_process.running(JPY_SESSION_NAME="/home/me/a.ipynb", JUPYTER_SSE_URL="") as kernel:
        kernel.run(IMPORT.format(static=str(static)))
        yield kernel


class Page:
    """A page that has opened a chat."""

    def __init__(self, kernel: KernelProcess, chat: str) -> None:
        self.kernel = kernel
        self.comm = secrets.token_hex(8)
        self.opened = len(kernel.messages)
        self._send("comm_open", {"target_name": "jupyter_sse.chat", "data": {"chat": chat}})

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        message = self.kernel.client.session.msg(kind, {"comm_id": self.comm, **content})
        self.kernel.client.shell_channel.send(message)

    def say(self, **message: Any) -> None:
        self._send("comm_msg", {"data": message})

    def hear(self, condition: Any) -> dict[str, Any]:
        """The first thing it is told that meets the condition."""

        def heard(message: dict[str, Any]) -> bool:
            content = message["content"]
            return (
                message["msg_type"] == "comm_msg"
                and content["comm_id"] == self.comm
                and bool(condition(content["data"]))
            )

        told: dict[str, Any] = self.kernel.wait(heard)["content"]["data"]
        return told

    @property
    def is_closed(self) -> bool:
        closed = self.kernel.wait(
            lambda m: m["msg_type"].startswith("comm_") and m["content"].get("comm_id") == self.comm
        )
        return bool(closed["msg_type"] == "comm_close")


def shown(kernel: KernelProcess, code: str = "chat = Chat(title='T')\nchat") -> tuple[str, str]:
    """Show a chat; its id, and the request's."""
    [display] = [message for message in kernel.run(code) if message["msg_type"] == "display_data"]
    return display["content"]["data"][MIME]["chat"], display["parent_header"]["msg_id"]


def data(message: dict[str, Any]) -> dict[str, Any]:
    bundle: dict[str, Any] = message["content"]["data"]
    return bundle


def put(id: str, role: str, content: str = "", **fields: Any) -> dict[str, Any]:
    return {"id": id, "role": role, "content": content, **fields}


def test_it_is_shown_without_a_widget_where_a_page_opens_it(kernel: KernelProcess) -> None:
    chat, request = shown(kernel)
    page = Page(kernel, chat)
    page.say(op="hello")
    state = page.hear(lambda told: told["op"] == "state")
    assert (state["messages"], state["title"], state["model"]) == ([], "T", None)
    kernel.run("time.sleep(2 * panel.SHOWN_DELAY)")
    [output] = displays(kernel.of(request))
    assert set(data(output)) == {MIME, "text/markdown", "text/plain"}
    assert output["content"]["metadata"] == {MIME: {"transport": "comm"}}
    assert not [m for m in kernel.messages if m["msg_type"] == "comm_open"]


def test_a_widget_follows_where_no_page_does_and_goes_when_one_has(kernel: KernelProcess) -> None:
    chat, request = shown(kernel)
    with_widget = kernel.wait(lambda m: m["msg_type"] == "update_display_data" and WIDGET in data(m))
    assert with_widget["parent_header"]["msg_id"] == request
    assert data(with_widget)[MIME]["chat"] == chat
    page = Page(kernel, chat)
    page.say(op="hello")
    page.hear(lambda told: told["op"] == "state")
    kernel.run("1")
    assert WIDGET not in data(displays(kernel.of(request))[-1])
    kernel.wait(lambda m: m["msg_type"] == "comm_close")


def test_where_nobody_looks_on_there_is_no_widget_and_the_transcript_is_kept(kernel: KernelProcess) -> None:
    code = "chat = Chat()\ndisplay(chat)\nprint(chat.ask('Hello'))\ntime.sleep(2 * panel.SHOWN_DELAY)"
    messages = kernel.run(code, attended=False)
    assert text(messages) == "(0) Hello\n"
    assert not [m for m in messages if m["msg_type"] == "comm_open"]
    kept = data(displays(messages)[-1])
    assert kept["text/markdown"] == "**You:**\n\nHello\n\n**demo:**\n\n(0) Hello"


def test_what_a_page_changes_is_in_python_and_told_to_the_other_pages(kernel: KernelProcess) -> None:
    chat, _ = shown(kernel)
    pages = [Page(kernel, chat), Page(kernel, chat)]
    for page in pages:
        page.say(op="hello")
        page.hear(lambda told: told["op"] == "state")
    said = [put("u1", "user", "Q"), put("a1", "assistant", status="running", stream="s1")]
    pages[0].say(op="change", n=1, put=said)
    assert pages[0].hear(lambda told: told["op"] == "took") == {"op": "took", "n": 1}
    assert pages[1].hear(lambda told: told["op"] == "change")["put"] == said
    printed = text(kernel.run("print(chat.messages)"))
    expected = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "", "status": "running"}]
    assert printed == f"{expected}\n"
    pages[0].say(op="change", n=2, put=[put("a1", "assistant", "A", status="done", stream="s1")], model="big")
    pages[0].hear(lambda told: told["op"] == "took" and told["n"] == 2)
    assert text(kernel.run("print(chat.messages[1], chat.model)")) == "{'role': 'assistant', 'content': 'A'} big\n"
    assert pages[0].hear(lambda told: told["op"] == "output")["data"][MIME]["messages"][0]["id"] == "u1"

    kernel.run("chat.messages = [*chat.messages[:1], {'role': 'assistant', 'content': 'B'}]")
    change = pages[1].hear(lambda told: told["op"] == "change" and told.get("cut"))
    assert (change["cut"], [one["content"] for one in change["put"]]) == ("a1", ["B"])


def test_the_kernel_answers_what_a_page_asks_and_stops(kernel: KernelProcess) -> None:
    chat, _ = shown(kernel)
    page = Page(kernel, chat)
    page.say(op="hello")
    running = put("a1", "assistant", status="running", stream="mine")
    page.say(op="change", n=1, put=[put("u1", "user", "please wait"), running])
    page.say(op="ask", id="a1", message="please wait", history=[])
    begun = page.hear(lambda told: told["op"] == "change" and told["put"][0].get("stream") not in (None, "mine"))
    stream = begun["put"][0]["stream"]
    page.hear(lambda told: told.get("stream") == stream and "(0)" in str(told))
    page.say(op="ready", stream=stream, after=-1)
    page.hear(lambda told: told["op"] == "reset" and told["stream"] == stream)
    page.say(op="cancel", stream=stream)
    ended = page.hear(lambda told: told["op"] == "change" and told["put"][0].get("status") == "cancelled")
    assert ended["put"][0]["content"].startswith("(0)")

    page.say(op="change", n=2, cut="a1", put=[{**running, "id": "a2"}])
    page.say(op="ask", id="a2", message="will fail", history=[{"role": "user", "content": "x"}])
    failed = page.hear(lambda told: told["op"] == "change" and told["put"][0].get("status") == "error")["put"][0]
    assert (failed["id"], failed["content"]) == ("a2", "(1) ")
    assert "no luck" in failed["error"]["message"]
    kernel.run("go.set()")


def test_a_chat_that_this_kernel_does_not_have_is_closed(kernel: KernelProcess) -> None:
    shown(kernel)
    assert Page(kernel, "unknown").is_closed


def test_asked_twice_it_remembers_and_a_failure_is_an_exception(kernel: KernelProcess) -> None:
    messages = kernel.run(
        """
        chat = Chat(system="Be kind")
        print(chat.ask("One"), chat.ask("Two"))
        try:
            chat.ask("fail")
        except StreamError as error:
            print(error.answer.text, chat.messages[-1]["status"], len(chat.messages))
        """
    )
    assert text(messages) == "(0) One (2) Two\n(4)  error 6\n"
    assert not displays(messages)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("['x']", "a message is"),
        ("[{'role': 'system', 'content': 'x'}]", "chat.system"),
        ("[{'role': 'user'}]", "a message"),
    ],
)
def test_what_is_no_message_is_refused(kernel: KernelProcess, given: str, said: str) -> None:
    messages = kernel.run(f"chat = Chat()\nchat.messages = {given}")
    [error] = [message["content"] for message in messages if message["msg_type"] == "error"]
    assert error["ename"] == "TypeError"
    assert said in error["evalue"]
