"""Outputs in a real ipykernel, as a front end sees them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_sse.kernel.display import WIDGET_DELAY
from jupyter_sse.output import MIME
from kernel import kernel_process
from kernel.kernel_process import KernelProcess, displays, is_idle, text
from kernel.link_server import TOKEN, LinkServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WIDGET = "application/vnd.jupyter.widget-view+json"
IMPORT = """
import asyncio, pathlib, threading, time
import jupyter_sse.kernel.display
jupyter_sse.kernel.display.STATIC = pathlib.Path({static!r})
from jupyter_sse import *
"""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A widget's code, so that these tests need no built front end."""
    path = tmp_path_factory.mktemp("static")
    (path / "widget.js").write_text("export default { render() {} }")
    (path / "math.js").write_text("export default 'TeX √'", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def kernel(static: Path) -> Iterator[KernelProcess]:
    with kernel_process.running(JPY_SESSION_NAME="/home/me/a.ipynb", JUPYTER_SSE_URL="") as kernel:
        kernel.run(IMPORT.format(static=str(static)))
        yield kernel


def data(message: dict[str, Any]) -> dict[str, Any]:
    bundle: dict[str, Any] = message["content"]["data"]
    return bundle


def display_id(message: dict[str, Any]) -> str:
    return str(message["content"]["transient"]["display_id"])


def test_live_output_becomes_a_final_one(kernel: KernelProcess) -> None:
    messages = kernel.run(
        """
        from comm import get_comm_manager
        before = set(get_comm_manager().comms)
        with task("Render", steps=2) as t:
            t.step("Reading")
            while not set(get_comm_manager().comms) - before:
                time.sleep(0.01)
            t.result = 42
        """,
        cell="cell-live",
    )
    live, widget, final = displays(messages)
    assert (live["msg_type"], widget["msg_type"], final["msg_type"]) == (
        "display_data",
        "update_display_data",
        "update_display_data",
    )
    assert len({display_id(message) for message in (live, widget, final)}) == 1
    stream = data(live)[MIME]["stream"]
    assert data(live) == {MIME: {"stream": stream, "v": 1}, "text/plain": "Render: running"}
    assert WIDGET in data(widget)
    # There is no server here: a page that shows streams by itself is told not to ask its own.
    assert [message["content"]["metadata"].get(MIME) for message in (live, widget, final)] == [
        {"transport": "comm"},
        {"transport": "comm"},
        None,
    ]
    assert set(data(final)) == {MIME, "text/markdown", "text/plain"}
    snapshot = data(final)[MIME]["snapshot"]
    assert snapshot["status"] == "done"
    assert snapshot["result"] == 42
    assert snapshot["origin"]["path"] == "a.ipynb"
    assert snapshot["origin"]["cell"] == "cell-live"
    assert snapshot["origin"]["execution"] == live["parent_header"]["msg_id"]
    assert "[1/2] Reading" in data(final)["text/markdown"]
    opened = {m["content"]["comm_id"] for m in messages if m["msg_type"] == "comm_open"}
    assert opened == {m["content"]["comm_id"] for m in messages if m["msg_type"] == "comm_close"}


def test_many_short_tasks_send_no_widget(kernel: KernelProcess) -> None:
    messages = kernel.run("for i in range(30):\n    with task(f'{i}') as t: t.log('x')")
    assert not [message for message in messages if message["msg_type"] == "comm_open"]
    assert len({display_id(message) for message in displays(messages)}) == 30


def test_where_nobody_looks_on_there_is_no_widget(kernel: KernelProcess) -> None:
    code = f"with task('Long') as t: time.sleep({3 * WIDGET_DELAY})"
    messages = kernel.run(code, attended=False)
    assert not [message for message in messages if message["msg_type"].startswith("comm_")]
    assert data(displays(messages)[-1])[MIME]["snapshot"]["status"] == "done"
    assert [message for message in kernel.run(code) if message["msg_type"] == "comm_open"]


def test_output_stays_between_what_is_printed(kernel: KernelProcess) -> None:
    messages = kernel.run("print('before')\nwith task('t'): print('in')\nprint('after')")
    kinds = [m["msg_type"] for m in messages if m["msg_type"] in ("stream", "display_data")]
    assert kinds.index("display_data") == 1
    assert text(messages) == "before\nin\nafter\n"


def test_the_view_over_the_comm_sees_every_event(kernel: KernelProcess) -> None:
    messages = kernel.run(
        """
        with task("Feed") as t:
            for i in range(200):
                t.log(i)
                time.sleep(0.004)
        """
    )
    said = [m["content"]["data"]["content"] for m in messages if m["msg_type"] == "comm_msg"]
    assert said[0]["op"] == "reset"
    lines = [line["text"] for line in said[0]["snapshot"]["log"]["lines"]]
    seq = said[0]["seq"]
    for update in said[1:]:
        if update["op"] == "reset":  # again, because nobody has answered
            assert update["seq"] >= seq
            lines = [line["text"] for line in update["snapshot"]["log"]["lines"]]
            seq = update["seq"]
            continue
        assert update["seq"] <= seq + 1
        fresh = update["events"][seq + 1 - update["seq"] :]
        seq += len(fresh)
        lines += [event["text"] for event in fresh if event["type"] == "log"]
    assert sum(update["op"] == "reset" for update in said) >= 2
    assert lines == [str(i) for i in range(200)]
    assert said[-1]["events"][-1]["type"] == "done"
    assert len(said) < 100  # at most 20 a second


@pytest.mark.parametrize("where", ["thread", "asyncio"])
def test_output_from_elsewhere_stays_in_its_cell(kernel: KernelProcess, where: str) -> None:
    go = f"go_{where}"
    if where == "thread":
        code = f"""
        {go} = threading.Event()
        def work():
            with task("Elsewhere") as t:
                {go}.wait(30)
                t.log("late")
        {go}_thread = threading.Thread(target=work)
        {go}_thread.start()
        """
    else:
        code = f"""
        begun, {go} = asyncio.Event(), asyncio.Event()
        async def work():
            async with task("Elsewhere") as t:
                begun.set()
                await {go}.wait()
                t.log("late")
        background = asyncio.ensure_future(work())
        await begun.wait()
        """
    first = kernel.run(code, cell="first")[0]["parent_header"]["msg_id"]
    kernel.wait(
        lambda m: m["msg_type"] == "update_display_data" and WIDGET in data(m) and m["parent_header"]["msg_id"] == first
    )
    end = f"{go}_thread.join()" if where == "thread" else "await background"
    second = kernel.run(f"{go}.set()\n{end}", cell="second")
    final = kernel.wait(
        lambda m: (
            m["msg_type"] == "update_display_data"
            and "snapshot" in data(m).get(MIME, {})
            and data(m)[MIME]["snapshot"]["origin"]["cell"] == "first"
            and data(m)[MIME]["snapshot"]["title"] == "Elsewhere"
            and m["parent_header"]["msg_id"] == first
        )
    )
    assert "late" in data(final)["text/markdown"]
    assert not displays(second)


def test_an_answer_is_not_shown_twice(kernel: KernelProcess) -> None:
    messages = kernel.run("answer = stream(iter(['Hello ', '**world**']), title='Q')\nanswer")
    assert not [m for m in messages if m["msg_type"] == "execute_result"]
    assert len([m for m in messages if m["msg_type"] == "display_data"]) == 1
    assert "Hello **world**" in data(displays(messages)[-1])["text/markdown"]
    later = kernel.run("answer")
    assert ["Hello **world**" in data(message)["text/markdown"] for message in displays(later)] == [True]
    assert text(kernel.run("print(answer)")) == "Hello **world**\n"


def test_await_stream_of_an_async_source(kernel: KernelProcess) -> None:
    messages = kernel.run(
        """
        async def words():
            for word in ("a ", "b ", "c"):
                await asyncio.sleep(0.01)
                yield word
        answer = await stream(words())
        print(answer.text, answer.status)
        """
    )
    assert text(messages) == "a b c done\n"
    assert "a b c" in data(displays(messages)[-1])["text/markdown"]


def test_cancelled_is_one_line(kernel: KernelProcess) -> None:
    messages = kernel.run(
        """
        with task("Slow") as t:
            t.progress(3, 10)
            t.cancel()
            t.progress(4)
        """
    )
    (error,) = [message for message in messages if message["msg_type"] == "error"]
    assert error["content"]["ename"] == "Cancelled"
    assert error["content"]["traceback"] == ["Cancelled: Slow"]
    snapshot = data(displays(messages)[-1])[MIME]["snapshot"]
    assert (snapshot["status"], snapshot["bars"][0]["n"]) == ("cancelled", 3)


def test_an_exception_is_shown_and_goes_on(kernel: KernelProcess) -> None:
    messages = kernel.run("with task('Bad') as t:\n    1 / 0")
    (error,) = [message for message in messages if message["msg_type"] == "error"]
    assert error["content"]["ename"] == "ZeroDivisionError"
    final = data(displays(messages)[-1])
    assert final[MIME]["snapshot"]["error"]["message"] == "ZeroDivisionError: division by zero"
    assert "ZeroDivisionError: division by zero" in final["text/markdown"]


def test_interrupting_the_kernel_ends_the_stream(kernel: KernelProcess) -> None:
    request = kernel.send("for i in track(range(10**6), 'Long'): time.sleep(0.01)")
    kernel.wait(lambda m: m["msg_type"] == "comm_msg" and m["parent_header"].get("msg_id") == request)
    kernel.manager.interrupt_kernel()
    kernel.wait(lambda message: is_idle(message, request))
    messages = kernel.of(request)
    assert [m["content"]["ename"] for m in messages if m["msg_type"] == "error"] == ["KeyboardInterrupt"]
    snapshot = data(displays(messages)[-1])[MIME]["snapshot"]
    assert snapshot["status"] != "running"
    assert 0 < snapshot["bars"][0]["n"] < 10**6
    assert text(kernel.run("print('alive')")) == "alive\n"


def test_the_view_can_ask_again_and_cancel(kernel: KernelProcess) -> None:
    started = kernel.run(
        """
        async def forever():
            yield "first words"
            await asyncio.sleep(60)
        from comm import get_comm_manager
        before = set(get_comm_manager().comms)
        answer = stream(forever(), title="Endless")
        while not set(get_comm_manager().comms) - before:
            await asyncio.sleep(0.01)
        """
    )
    (comm,) = [m["content"]["comm_id"] for m in started if m["msg_type"] == "comm_open" and "_esm" in str(m["content"])]
    count = len([m for m in kernel.messages if m["msg_type"] == "comm_msg"])
    kernel.widget_says(comm, {"op": "ready", "after": -1})

    def is_reset(message: dict[str, Any]) -> bool:
        return message["msg_type"] == "comm_msg" and bool(message["content"]["data"]["content"].get("op") == "reset")

    kernel.wait(lambda m: is_reset(m) and len([x for x in kernel.messages if x["msg_type"] == "comm_msg"]) > count)
    resets = [m["content"]["data"]["content"] for m in kernel.messages if is_reset(m)]
    assert resets[-1]["snapshot"]["text"] == "first words"
    kernel.widget_says(comm, {"op": "cancel"})
    final = kernel.wait(
        lambda m: (
            m["msg_type"] == "update_display_data"
            and data(m).get(MIME, {}).get("snapshot", {}).get("title") == "Endless"
        )
    )
    assert data(final)[MIME]["snapshot"]["status"] == "cancelled"
    assert text(kernel.run("print(answer.status)")) == "cancelled\n"


def test_a_page_without_a_server_is_sent_what_it_has_to_load_and_no_other_file(kernel: KernelProcess) -> None:
    started = kernel.run(
        """
        async def forever():
            yield "$x$"
            await asyncio.sleep(60)
        from comm import get_comm_manager
        before = set(get_comm_manager().comms)
        answer = stream(forever(), title="Formula")
        while not set(get_comm_manager().comms) - before:
            await asyncio.sleep(0.01)
        """
    )
    (comm,) = [m["content"]["comm_id"] for m in started if m["msg_type"] == "comm_open" and "_esm" in str(m["content"])]
    for name in ("widget", "../static/math", None, "highlight", "math"):  # there is no highlight.js here
        kernel.widget_says(comm, {"op": "extra", "name": name})

    def extra(message: dict[str, Any]) -> dict[str, Any] | None:
        content: dict[str, Any] = message["content"].get("data", {}).get("content") or {}
        return content if message["msg_type"] == "comm_msg" and content.get("op") == "extra" else None

    kernel.wait(lambda message: extra(message) is not None)
    kernel.run("answer.cancel()")
    sent = [content for message in kernel.messages if (content := extra(message))]
    assert sent == [{"op": "extra", "name": "math", "code": "export default 'TeX √'"}]


def test_a_failing_display_does_not_stop_the_work(kernel: KernelProcess) -> None:
    messages = kernel.run(
        """
        publisher = get_ipython().display_pub
        publish = publisher.publish
        def broken(*args, **kwargs): raise OSError("no display")
        publisher.publish = broken
        try:
            with task("Hidden") as t:
                t.log("works")
        finally:
            publisher.publish = publish
        print(t.snapshot.log.count, t.status)
        """
    )
    assert text(messages) == "1 done\n"
    assert "the work goes on" in text(messages, "stderr")


def test_cancel_from_the_server_reaches_a_busy_cell(server: LinkServer, static: Path) -> None:
    with kernel_process.running(JUPYTER_SSE_URL=server.url, JUPYTER_SSE_TOKEN=TOKEN) as kernel:
        kernel.run(IMPORT.format(static=str(static)))
        request = kernel.send(
            """
            for i in track(range(10**6), "Busy"):
                until = time.monotonic() + 0.01
                while time.monotonic() < until: pass
            """
        )
        server.wait(lambda: any(server.types(key).count("progress") > 2 for key in server.streams))
        (key,) = server.streams
        (widget,) = [m for m in displays(kernel.of(request)) if WIDGET in data(m)] or [
            kernel.wait(lambda m: m["msg_type"] == "update_display_data" and WIDGET in data(m))
        ]
        (opened,) = [m for m in kernel.of(request) if m["msg_type"] == "comm_open" and "_esm" in str(m["content"])]
        assert opened["content"]["data"]["state"]["transport"] == "server"
        assert data(widget)[MIME]["stream"] == key
        asked = time.monotonic()
        server.tell(op="cancel", stream=key)
        server.wait(lambda: server.ended(key))
        assert time.monotonic() - asked < 1.0  # 0.2 s on a machine that does nothing else
        assert server.streams[key][-1]["reason"] == "cancelled"
        kernel.wait(lambda message: is_idle(message, request))
        (error,) = [m for m in kernel.of(request) if m["msg_type"] == "error"]
        assert error["content"]["ename"] == "Cancelled"


def test_a_page_that_shows_the_stream_by_itself_is_sent_no_widget(server: LinkServer, static: Path) -> None:
    with kernel_process.running(JUPYTER_SSE_URL=server.url, JUPYTER_SSE_TOKEN=TOKEN) as kernel:
        kernel.run(IMPORT.format(static=str(static)) + "jupyter_sse.kernel.display.WATCH_DELAY = 2")
        request = kernel.send(
            """
            with task("Watched") as t:
                time.sleep(3)
            """
        )
        server.wait(lambda: bool(server.streams))
        (key,) = server.streams
        server.tell(op="watched", stream=key)
        kernel.wait(lambda message: is_idle(message, request))
        assert not [m for m in kernel.of(request) if m["msg_type"].startswith("comm_")]
        live, final = displays(kernel.of(request))
        assert "snapshot" not in data(live)[MIME]
        assert data(final)[MIME]["snapshot"]["status"] == "done"


def test_shutting_the_kernel_down_sends_what_is_left(server: LinkServer, static: Path) -> None:
    with kernel_process.running(JUPYTER_SSE_URL=server.url, JUPYTER_SSE_TOKEN=TOKEN) as kernel:
        kernel.run(IMPORT.format(static=str(static)))
        kernel.run("with task('Last') as t:\n    for i in range(5000): t.log(i)\nopen_one = task('Open').__enter__()")
    streams = {events[0]["title"]: events for events in server.streams.values()}
    assert "".join(event["text"].removesuffix("\n") + "\n" for event in streams["Last"] if event["type"] == "log") == (
        "".join(f"{i}\n" for i in range(5000))
    )
    assert streams["Last"][-1]["type"] == "done"
    assert streams["Open"][-1]["code"] == "producer_exited"
