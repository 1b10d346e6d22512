"""`ask`: answers by a real server, by none, and by one that is cut, killed, old or away."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from answering_server import Gate, events, running, words
from faults import fault_proxy
from harness import wait_for

import jupyter_sse
from jupyter_sse import Answer, Cancelled, StreamError, ask, stream
from jupyter_sse.address import parse
from jupyter_sse.chat import providers
from jupyter_sse.kernel import inbox, link
from jupyter_sse.kernel.ask import begin
from jupyter_sse.output import MIME
from kernel import kernel_process
from kernel.kernel_process import KernelProcess, displays, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import JupyterServer

    from kernel.link_server import LinkServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    with running(tmp_path_factory.mktemp("asked")) as server:
        yield server


@pytest.fixture
def linked_to(answering: JupyterServer) -> JupyterServer:
    use(answering)
    return answering


def use(server: JupyterServer, port: int | None = None) -> None:
    """This process's streams, and its questions, go to this server."""
    url = server.url if port is None else server.url.replace(str(server.port), str(port))
    link.use(link.Link(parse(url, server.token)))


def has(answer: Answer, content: str) -> None:
    wait_for(lambda: answer.text.rstrip() == content.rstrip(), f"{len(content)} characters")


# By a server.


def test_an_answer_of_the_server(linked_to: JupyterServer, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask("Why is the sky\nblue?", "told", system="Be brief.")
    assert json.loads(answer.text) == ["Why is the sky\nblue?", None, "Be brief.", []]
    assert str(answer) == answer.text == capsys.readouterr().out.removesuffix("\n")
    assert (answer.status, answer.error, answer.reasoning) == ("done", None, "Let me think.")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.cost) == (3, 5, 0.25)
    assert answer.model == "told"
    snapshot = linked_to.request("GET", f"streams/{answer.id}").json()
    assert (snapshot["title"], snapshot["kind"], snapshot["text"]) == ("Why is the sky blue?", "answer", answer.text)
    assert [tool.result for tool in answer.snapshot.tools] == ["blue"]


def test_a_conversation(linked_to: JupyterServer) -> None:
    def told(answer: Answer) -> Any:
        return json.loads(answer.text)[3]

    first = ask("one", "told")
    second = ask("two", "told", history=first)
    assert told(second) == [["user", "one"], ["assistant", first.text]]
    assert second.messages == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": second.text},
    ]
    # Of each answer in a list its own turn: those before it are in the list too.
    assert told(ask("three", "told", history=[first, second])) == [
        [message["role"], message["content"]] for message in second.messages
    ]
    assert told(ask("three", "told", history=second)) == told(ask("three", "told", history=second.messages))
    mixed = [{"role": "system", "content": "s"}, ("q", "a"), stream(iter(["by hand"]))]
    assert told(ask("four", "told", history=mixed)) == [
        ["system", "s"],
        ["user", "q"],
        ["assistant", "a"],
        ["assistant", "by hand"],
    ]


@pytest.mark.parametrize(
    "history", ["text", {"role": "user", "content": "x"}, [5], [{"role": "robot", "content": "x"}]]
)
def test_what_is_no_history(history: Any) -> None:
    with pytest.raises(TypeError, match="history"):
        ask("x", history=history)


def test_what_is_no_question() -> None:
    with pytest.raises(TypeError, match="text, not int"):
        ask(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1048576"):
        ask("x", history=[("q", "a" * (1 << 20))])


def test_a_model_that_fails_in_mid_answer(linked_to: JupyterServer) -> None:
    with pytest.raises(StreamError, match="The model is tired") as raised:
        ask("x", "failing")
    answer = raised.value.answer
    assert (answer.text, answer.status, answer.error) == ("Half an", "error", "The model is tired.")
    assert (answer.snapshot.error.code, answer.snapshot.error.retryable) == ("provider_unavailable", True)


def test_a_question_that_is_refused(linked_to: JupyterServer, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StreamError, match="no model 'nobody'") as raised:
        ask("Who?", "nobody")
    answer = raised.value.answer
    assert (answer.status, answer.text, answer.snapshot.title) == ("error", "", "Who?")
    assert answer.snapshot.error.code == "unknown_model"
    assert "Who?: failed" in capsys.readouterr().err
    # Neither refused nor empty answers are part of a conversation.
    assert json.loads(ask("x", "told", history=[answer]).text)[3] == []


def test_cancel_ends_the_models_work(linked_to: JupyterServer) -> None:
    gate = Gate(linked_to, "pressed")
    answer = begin("pressed", "gated")
    has(answer, words(20))
    assert linked_to.request("POST", f"streams/{answer.id}/cancel").status_code == 202
    with pytest.raises(Cancelled):
        answer.wait()
    assert (answer.status, answer.text) == ("cancelled", words(20).rstrip())
    gate.wait_ended()


def test_an_interrupt_ends_the_models_work(linked_to: JupyterServer) -> None:
    gate = Gate(linked_to, "interrupted")

    def interrupt() -> None:
        gate.wait_asked()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        ask("interrupted", "gated")
    gate.wait_ended()
    [entry] = [entry for entry in linked_to.request("GET", "streams").json() if entry["title"] == "interrupted"]
    assert entry["status"] == "cancelled"


# Without waiting.


def test_in_a_coroutine_it_is_awaited_and_holds_up_nothing(linked_to: JupyterServer) -> None:
    gates = [Gate(linked_to, name) for name in ("left", "right")]

    async def main() -> list[Answer]:
        answers = [ask(gate.question, "gated", display=False) for gate in gates]
        assert [answer.status for answer in answers] == ["running", "running"]
        with pytest.raises(ValueError, match="await it"):
            ask("x", history=answers)
        while not all(answer.text for answer in answers):  # the loop goes on meanwhile
            await asyncio.sleep(0.01)
        for gate in gates:
            gate.allow(25, end=True)
        return list(await asyncio.gather(*answers))

    left, right = asyncio.run(main())
    assert left.text == right.text == words(25)
    assert left.status == right.status == "done"

    async def again() -> Answer:
        return await left

    assert asyncio.run(again()) is left


def test_who_gives_up_waiting_cancels(linked_to: JupyterServer) -> None:
    gate = Gate(linked_to, "given-up")

    async def main() -> Answer:
        answer = ask("given-up", "gated", display=False)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(answer, 0.5)
        return answer

    answer = asyncio.run(main())
    gate.wait_ended()
    wait_for(lambda: answer.status == "cancelled", "the answer's end")


def test_errors_are_raised_by_await(linked_to: JupyterServer) -> None:
    async def main() -> None:
        with pytest.raises(StreamError, match="tired"):
            await ask("x", "failing", display=False)

    asyncio.run(main())


# Faults.


def test_a_link_that_is_cut_in_mid_answer_loses_and_doubles_nothing(linked_to: JupyterServer) -> None:
    gate = Gate(linked_to, "cut")
    heard: list[int] = []

    def listen(first: int, events: list[Any]) -> float:
        heard.extend(range(first, first + len(events)))
        return 0.0

    with fault_proxy(linked_to.port) as proxy:
        use(linked_to, proxy.port)
        answer = begin("cut", "gated", display=False)
        answer._stream.listen(listen)
        for count in range(20, 320, 50):
            gate.allow(count)
            has(answer, words(count))
            proxy.cut()
            gate.allow(count + 30)  # comes while nobody listens
        gate.allow(400, end=True)
        answer.wait()
        assert proxy.cuts >= 5
    assert answer.text == words(400)
    sent = events(linked_to, answer.id)
    assert "".join(event["text"] for event in sent if event["type"] == "delta") == words(400)
    wait_for(lambda: len(heard) == heard[-1] - heard[0] + 1 and heard[-1] == len(sent), "the last events")
    assert heard == list(range(heard[0], len(sent) + 1))
    assert gate.times_asked == 1


def test_a_server_that_is_killed_and_started_again(tmp_path: Path) -> None:
    with running(tmp_path / "home") as server:
        use(server)
        gate = Gate(server, "killed")
        answer = begin("killed", "gated", display=False)
        has(answer, words(20))
        server.kill()
        gate.allow(30, end=True)
        server.start()
        with pytest.raises(StreamError, match=r"server .* was stopped"):
            answer.wait()
        assert (answer.status, answer.text.rstrip()) == ("error", words(20).rstrip())
        assert gate.times_asked == 1
        assert [event["type"] for event in events(server, answer.id)][-1] == "error"


def test_a_server_whose_memory_was_lost(tmp_path: Path) -> None:
    with running(tmp_path / "home", "--SSE.log_type=memory") as server:
        use(server)
        gate = Gate(server, "lost")
        answer = begin("lost", "gated", display=False)
        has(answer, words(20))
        server.kill()
        server.start()
        with pytest.raises(StreamError, match="has lost this answer"):
            answer.wait()
        assert answer.snapshot.error is not None
        assert (answer.snapshot.error.code, answer.text.rstrip()) == ("answer_lost", words(20).rstrip())
        assert gate.times_asked == 1  # another answer would not go on where this one was


def test_an_old_server_says_so(linked: LinkServer) -> None:
    with pytest.raises(StreamError, match="too old to answer questions: update it"):
        ask("x")
    assert not linked.appends


def test_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "NO_SERVER_SECONDS", 0.3)
    link.use(link.Link(parse("http://127.0.0.1:1/", "token")))
    with pytest.raises(StreamError, match=r"could not be reached for 0\.3 s"):
        ask("x")


def test_a_cancel_while_no_server_is_there() -> None:
    link.use(link.Link(parse("http://127.0.0.1:1/", "token")))
    answer = begin("x", display=False)
    answer.cancel()
    with pytest.raises(Cancelled):
        answer.wait()


def test_a_refused_link_is_like_none(server: LinkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    link.use(link.Link(parse(server.url, "a wrong token")))
    with pytest.warns(RuntimeWarning, match="did not accept the token"):
        with jupyter_sse.task("t"):
            wait_for(lambda: link.current().problem, "the refusal")
        wait_for(lambda: link.current()._warned, "the warning")
    assert "demo model" in ask("x", "demo").text


# By no server.


def test_without_a_server_it_is_generated_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from jupyter_sse.events import Reasoning, Usage

    async def told(question: Any) -> Any:
        yield Reasoning(text="Hm.")
        yield repr([(message.role, message.content) for message in question.history])
        yield Usage(input_tokens=1, output_tokens=2)

    async def endless(question: Any) -> Any:
        while True:
            yield "more "
            await asyncio.sleep(0.01)

    async def failing(question: Any) -> Any:
        yield "Half"
        raise OSError("broken")

    named = {"told": told, "endless": endless, "failing": failing}
    monkeypatch.setattr(providers, "Providers", functools.partial(providers.Providers, named, default="told"))
    answer = ask("x", history=[("q", "a")])
    assert (answer.text, answer.model) == ("[('user', 'q'), ('assistant', 'a')]", "told")
    assert (answer.reasoning, answer.usage, answer.cost) == ("Hm.", Usage(input_tokens=1, output_tokens=2), None)
    assert capsys.readouterr().out == answer.text + "\n"
    with pytest.raises(StreamError, match="broken") as raised:
        ask("x", "failing")
    assert (raised.value.answer.text, raised.value.answer.status) == ("Half", "error")

    async def main() -> Answer:  # in a loop that goes on
        answer = ask("x", "endless", display=False)
        while not answer.text:
            await asyncio.sleep(0.01)
        answer.cancel()
        with pytest.raises(Cancelled):
            await answer
        return answer

    assert asyncio.run(main()).status == "cancelled"


# In a notebook.


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("static")
    (path / "widget.js").write_text("export default { render() {} }")
    return path


def in_kernel(server: JupyterServer, static: Path, **env: str) -> Any:
    return kernel_process.running(
        **{"JUPYTER_SSE_URL": server.url, "JUPYTER_SSE_TOKEN": server.token, "JPY_SESSION_NAME": "/home/me/a.ipynb"}
        | env
    )


def prepared(kernel: KernelProcess, static: Path) -> KernelProcess:
    kernel.run(
        "import asyncio, pathlib, jupyter_sse.kernel.display\n"
        f"jupyter_sse.kernel.display.STATIC = pathlib.Path({str(static)!r})\nfrom jupyter_sse import *"
    )
    return kernel


def test_the_output_of_a_cell(answering: JupyterServer, static: Path) -> None:
    gate = Gate(answering, "cell")
    with in_kernel(answering, static) as kernel:
        prepared(kernel, static)
        request = kernel.send("a = ask('cell', 'gated')\na")
        live = kernel.wait(lambda message: message["msg_type"] == "display_data")
        stream = live["content"]["data"][MIME]["stream"]
        gate.allow(30, end=True)
        kernel.wait(lambda message: kernel_process.is_idle(message, request))
        messages = kernel.of(request)
        assert live["content"]["data"] == {MIME: {"stream": stream, "v": 1}, "text/plain": "cell: running"}
        final = displays(messages)[-1]["content"]
        assert words(30).strip() in final["data"]["text/markdown"]
        assert final["data"][MIME]["snapshot"]["origin"]["cell"] == "cell-1"
        assert len([message for message in messages if message["msg_type"] == "display_data"]) == 1
        assert not [message for message in messages if message["msg_type"] in ("execute_result", "error")]
        entry = next(e for e in answering.request("GET", "streams").json() if e["stream"] == stream)
        assert (entry["path"], entry["cell"], entry["execution"]) == ("a.ipynb", "cell-1", request)

        # With an await the kernel's loop goes on.
        Gate(answering, "one").allow(5, end=True)
        kernel.run("async def other():\n    global went_on\n    went_on = True\nwent_on = False")
        code = "asyncio.ensure_future(other())\nb, c = await asyncio.gather(ask('one', 'gated'), ask('x', 'told'))"
        awaited = kernel.run(f"{code}\nprint(went_on, b.text, c.status)")
        assert text(awaited) == f"True {words(5)} done\n"
        assert len([message for message in awaited if message["msg_type"] == "display_data"]) == 2

        # What failed is said in one line.
        failed = kernel.run("ask('x', 'nobody')")
        [error] = [message["content"] for message in failed if message["msg_type"] == "error"]
        assert (error["ename"], len(error["traceback"])) == ("StreamError", 1)


def test_an_interrupt_of_the_kernel(answering: JupyterServer, static: Path) -> None:
    gate = Gate(answering, "kernel-interrupt")
    with in_kernel(answering, static) as kernel:
        prepared(kernel, static)
        request = kernel.send("ask('kernel-interrupt', 'gated')")
        gate.wait_asked()
        kernel.manager.interrupt_kernel()
        gate.wait_ended()
        kernel.wait(lambda message: kernel_process.is_idle(message, request))
        [error] = [m["content"] for m in kernel.of(request) if m["msg_type"] == "error"]
        assert error["ename"] == "KeyboardInterrupt"
        assert displays(kernel.of(request))[-1]["content"]["data"][MIME]["snapshot"]["status"] == "cancelled"


def test_the_answer_survives_the_kernel(answering: JupyterServer, static: Path) -> None:
    gate = Gate(answering, "survivor")
    with in_kernel(answering, static) as kernel:
        prepared(kernel, static)
        kernel.send("ask('survivor', 'gated')")
        gate.wait_asked()
        kernel.manager.signal_kernel(signal.SIGKILL)
    gate.allow(40, end=True)
    gate.wait_ended()

    def entry() -> Any:
        return next(e for e in answering.request("GET", "streams").json() if e["title"] == "survivor")

    wait_for(lambda: entry()["status"] == "done", "the answer")
    assert answering.request("GET", f"streams/{entry()['stream']}").json()["text"] == words(40)


def test_where_the_page_has_no_server_the_comm_feeds_it(answering: JupyterServer, static: Path) -> None:
    gate = Gate(answering, "vscode")
    with in_kernel(answering, static, JPY_SESSION_NAME="/home/me/a-jvsc-1.ipynb") as kernel:
        prepared(kernel, static)
        request = kernel.send("ask('vscode', 'gated')")
        live = kernel.wait(lambda message: message["msg_type"] == "display_data")
        kernel.wait(lambda message: said(message).get("op") == "reset")
        gate.allow(50)
        kernel.wait(lambda message: "word49" in json.dumps(said(message)))
        # A busy cell does not hear the widget's button, but the server's.
        answering.request("POST", f"streams/{live['content']['data'][MIME]['stream']}/cancel")
        kernel.wait(lambda message: kernel_process.is_idle(message, request))
        updates = [said(message) for message in kernel.of(request) if said(message)]
        seq, content = 0, ""
        for update in updates:
            if update["op"] == "reset":
                seq, content = update["seq"], update["snapshot"]["text"]
                continue
            assert update["seq"] <= seq + 1
            for event in update["events"][seq + 1 - update["seq"] :]:
                seq += 1
                content += event["text"] if event["type"] == "delta" else ""
        assert content.rstrip() == words(50).rstrip()
        assert updates[-1]["events"][-1]["type"] == "done"
    gate.wait_ended()


def said(message: Any) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if message["msg_type"] == "comm_msg":
        content = message["content"]["data"].get("content") or {}
    return content
