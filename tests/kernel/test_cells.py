"""Cells that are streams, in a real ipykernel: what those see who look on, and what the notebook keeps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_sse.kernel.cells import title_of
from jupyter_sse.output import MIME
from kernel import kernel_process
from kernel.kernel_process import KernelProcess, displays, text
from kernel.link_server import TOKEN, LinkServer
from kernel.link_server import running as link_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SHOWN = """
def shown():
    'Wait until this cell is a stream.'
    deadline = time.monotonic() + 30
    while not current()._producer.begun:
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[LinkServer]:
    with link_server() as server:
        yield server


@pytest.fixture(scope="module")
def kernel(server: LinkServer) -> Iterator[KernelProcess]:
    with kernel_process.running(JUPYTER_SSE_URL=server.url, JUPYTER_SSE_TOKEN=TOKEN) as kernel:
        kernel.run("%load_ext jupyter_sse\nimport logging, time\nfrom jupyter_sse import *\n" + SHOWN)
        yield kernel


@pytest.fixture
def monitored(kernel: KernelProcess) -> Iterator[KernelProcess]:
    kernel.run("%sse monitor on --after 0.2")
    yield kernel
    kernel.run("%sse monitor off")


def slim(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The displays of the cell's own stream."""
    bundles = [message["content"]["data"] for message in displays(messages)]
    return [bundle for bundle in bundles if bundle.get(MIME, {}).get("slim")]


def stream_of(server: LinkServer, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the server has of the cell's own stream, which has ended."""
    [stream] = {bundle[MIME]["stream"] for bundle in slim(messages)}
    server.wait(lambda: server.ended(stream))
    return server.streams[stream]


def lines(events: list[dict[str, Any]], **fields: str) -> list[str]:
    logs = [event for event in events if event["type"] == "log" and fields.items() <= event.items()]
    return [line for event in logs for line in event["text"].removesuffix("\n").split("\n")]


def test_a_short_cell_leaves_no_trace(kernel: KernelProcess, server: LinkServer) -> None:
    kernel.run("%sse monitor on --after 20")
    before = len(server.streams)
    messages = kernel.run("print('x'); 1 + 1")
    kernel.run("with task('Behind it') as t: pass")  # what the first cell had sent would be here before
    server.wait(lambda: any(events[0].get("title") == "Behind it" for events in server.streams.values()))
    assert len(server.streams) == before + 1
    assert not displays(messages)
    assert text(messages) == "x\n"
    kernel.run("%sse monitor off")


def test_a_long_cell_is_a_stream(monitored: KernelProcess, server: LinkServer) -> None:
    messages = monitored.run(
        "# Train the model\n"
        "import sys\n"
        "print('before', end=' '); print('it is shown')\n"
        "while not current()._producer.begun: time.sleep(0.01)\n"
        "print('after'); print('wrong', file=sys.stderr)\n"
        "6 * 7",
        cell="cell-long",
    )
    events = stream_of(server, messages)
    assert events[0]["title"] == "Train the model"
    assert (events[0]["kind"], events[0]["origin"]["cell"]) == ("cell", "cell-long")
    assert lines(events, source="stdout") == ["before it is shown", "after"]
    assert lines(events, source="stderr") == ["wrong"]
    assert (events[-1]["reason"], events[-1]["result"]) == ("stop", 42)
    # The notebook has what was printed as ever, and of the stream a line without it.
    assert text(messages) == "before it is shown\nafter\n"
    assert text(messages, "stderr") == "wrong\n"
    final = slim(messages)[-1]
    assert "before" not in json.dumps(final)
    assert final["text/plain"].startswith("Train the model: done")
    assert "result" not in final["text/plain"].lower()


def test_after_the_monitor_is_off_nothing_is_looked_at(kernel: KernelProcess) -> None:
    look = "import sys; time.sleep(0.3); print(current(), vars(sys.stdout).get('write', print).__qualname__)"
    before = text(kernel.run(look))
    kernel.run("%sse monitor on --after 0")
    assert "look_and_write" in text(kernel.run(look))
    kernel.run("%sse monitor off")
    messages = kernel.run(look)
    assert text(messages) == before
    assert not displays(messages)


def test_an_error_and_its_traceback(monitored: KernelProcess, server: LinkServer) -> None:
    messages = monitored.run("# Fails\ndef deep(): raise OSError('disk gone')\nshown()\ndeep()")
    events = stream_of(server, messages)
    assert (events[-1]["type"], events[-1]["code"], events[-1]["message"]) == ("error", "OSError", "OSError: disk gone")
    assert "in deep" in events[-1]["traceback"]
    assert "interactiveshell" not in events[-1]["traceback"]
    final = slim(messages)[-1]
    assert "disk gone" not in json.dumps(final)  # the cell shows it
    assert "failed" in final["text/plain"]
    assert [message for message in messages if message["msg_type"] == "error"]


def test_a_syntax_error_leaves_no_trace(monitored: KernelProcess) -> None:
    assert not displays(monitored.run("1 +"))


@pytest.mark.parametrize("wait", ["time.sleep(600)", "import asyncio; await asyncio.sleep(600)"])
def test_an_interrupt_is_a_cancel(monitored: KernelProcess, server: LinkServer, wait: str) -> None:
    request = monitored.send(f"print('waits')\n{wait}")
    monitored.wait(lambda message: message in displays([message]) and message["parent_header"]["msg_id"] == request)
    monitored.manager.interrupt_kernel()
    monitored.wait(lambda message: kernel_process.is_idle(message, request))
    messages = monitored.of(request)
    last = stream_of(server, messages)[-1]
    assert (last["type"], last["reason"], last["via"]) == ("done", "cancelled", "interrupt")


def test_cancel_interrupts_a_cell_that_calls_nothing(monitored: KernelProcess, server: LinkServer) -> None:
    request = monitored.send("time.sleep(600)")
    shown = monitored.wait(lambda message: message["parent_header"].get("msg_id") == request and displays([message]))
    stream = shown["content"]["data"][MIME]["stream"]
    server.wait(lambda: stream in server.streams)
    server.tell(op="cancel", stream=stream)
    monitored.wait(lambda message: kernel_process.is_idle(message, request))
    assert stream_of(server, monitored.of(request))[-1]["reason"] == "cancelled"


@pytest.mark.parametrize("loop", ["track(range(4), 'Rounds')", "tqdm(range(4), desc='Rounds')"])
def test_bars_are_inside(kernel: KernelProcess, server: LinkServer, loop: str) -> None:
    kernel.run("%sse monitor on --after 1000")
    messages = kernel.run(f"# Bars\nprint('first')\nfor _ in {loop}: print('round')")
    kernel.run("%sse monitor off")
    assert len({bundle[MIME]["stream"] for bundle in slim(messages)}) == 1
    assert len({message["content"]["transient"]["display_id"] for message in displays(messages)}) == 1
    events = stream_of(server, messages)
    assert lines(events)[0] == "first"  # shown at once, and with what came before
    bars = [event for event in events if event["type"] == "progress"]
    assert (bars[-1]["bar"], bars[-1]["n"]) == ("Rounds", 4)
    assert "4/4" in slim(messages)[-1]["text/plain"]


def test_a_cell_that_shows_a_task_is_left_alone(monitored: KernelProcess) -> None:
    messages = monitored.run("with task('Own') as t: time.sleep(0.5)")
    assert not slim(messages)
    assert {message["content"]["data"]["text/plain"].split(":")[0] for message in displays(messages)} == {"Own"}


def test_pictures_and_other_displays(monitored: KernelProcess, server: LinkServer) -> None:
    messages = monitored.run(
        "from IPython.display import display, HTML, Image\n"
        "shown()\n"
        "png = bytes.fromhex('89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489')\n"
        "handle = display(Image(png), display_id='plot'); handle.update(Image(png))\n"
        "display({'text/plain': 'a table', 'text/html': '<table>'}, raw=True)\n"
        "display(HTML('<b>no text</b>'))\n"
        "current().preview(png, key='mine')\n"
    )
    events = stream_of(server, messages)
    keys = [event["key"] for event in events if event["type"] == "preview"]
    assert keys == ["output-plot", "output-plot", "mine"]
    assert lines(events) == ["a table"]
    kept = slim(messages)[-1][MIME]["snapshot"]["previews"]
    assert [preview["key"] for preview in kept] == ["mine"]


def test_other_magics_work(monitored: KernelProcess, server: LinkServer) -> None:
    messages = monitored.run("%%time\n# Timed\nshown()\nprint('in')")
    assert "Wall time" in text(messages)
    events = stream_of(server, messages)
    assert events[0]["title"] == "Timed"
    assert lines(events)[0] == "in"
    assert any("Wall time" in line for line in lines(events))
    messages = monitored.run("%%capture kept\nprint('captured')\nshown()")
    assert lines(stream_of(server, messages)) == []
    assert text(monitored.run("print(kept.stdout)")) == "captured\n\n"


def test_output_of_programs_and_threads(monitored: KernelProcess, server: LinkServer) -> None:
    messages = monitored.run(
        "import threading\n"
        "shown()\n"
        "thread = threading.Thread(target=print, args=['from a thread']); thread.start(); thread.join()\n"
        "!echo from a program\n"
        "for i in range(3): print(f'\\r{i} %', end='')\n"
    )
    assert lines(stream_of(server, messages)) == ["from a thread", "from a program", "2 %"]


def test_a_child_that_was_forked_is_silent_and_does_not_hang(monitored: KernelProcess, server: LinkServer) -> None:
    messages = monitored.run(
        "import os\nshown()\npid = os.fork()\nif not pid:\n    print('child', flush=True); os._exit(0)\n"
        "os.waitpid(pid, 0); print('parent')"
    )
    assert "parent" in lines(stream_of(server, messages))


def test_what_was_held_back_is_bounded(monitored: KernelProcess, server: LinkServer) -> None:
    messages = monitored.run(
        "from jupyter_sse.kernel import cell\n"
        "from unittest import mock\n"
        "with mock.patch.object(cell, 'HELD', 100):\n"
        "    for i in range(50): print(f'line {i}')\n"
        "    shown()"
    )
    kept = lines(stream_of(server, messages))
    assert "characters before)" in kept[0]
    assert kept[-1] == "line 49"
    assert len(kept) < 30


def test_a_task_of_one_cell(kernel: KernelProcess, server: LinkServer) -> None:
    messages = kernel.run(
        "%%task Train it --timeout 60\n"
        "t = current()\n"
        "t.step('Reading')\n"
        "for _ in track(range(2), 'Epoch'): pass\n"
        "t.log('careful', level='warning')\n"
        "t.result = {'loss': 0.5}\n"
        "'the value'"
    )
    events = stream_of(server, messages)
    assert events[0]["title"] == "Train it"
    assert [event["message"] for event in events if event["type"] == "step"] == ["Reading"]
    assert lines(events, level="warning") == ["careful"]
    assert events[-1]["result"] == {"loss": 0.5}
    assert text(messages) == "careful\n"  # once, and in the cell's output
    [value] = [message for message in messages if message["msg_type"] == "execute_result"]
    assert value["content"]["data"]["text/plain"] == "'the value'"
    final = slim(messages)[-1]
    assert "[1] Reading" in final["text/plain"]
    assert final[MIME]["snapshot"]["result"] == {"loss": 0.5}
    assert text(kernel.run("print(current())")) == "None\n"


def test_a_task_of_a_cell_takes_magics_coroutines_and_errors(kernel: KernelProcess, server: LinkServer) -> None:
    messages = kernel.run("%%task L'été\n%%time\nprint('x')")
    assert stream_of(server, messages)[0]["title"] == "L'été"
    assert "Wall time" in text(messages)
    messages = kernel.run("%%task Awaits\nimport asyncio\nawait asyncio.sleep(0, 'the value')")
    assert stream_of(server, messages)[-1]["result"] == "the value"
    messages = kernel.run("%%task\n# Named by a comment\n1 / 0")
    events = stream_of(server, messages)
    assert events[0]["title"] == "Named by a comment"
    assert events[-1]["code"] == "ZeroDivisionError"
    [error] = [message for message in messages if message["msg_type"] == "error"]
    assert error["content"]["ename"] == "ZeroDivisionError"


@pytest.mark.parametrize("work", ["time.sleep(600)", "while True: current().step('x'); time.sleep(0.05)"])
def test_the_time_limit_of_a_cell(kernel: KernelProcess, server: LinkServer, work: str) -> None:
    messages = kernel.run(
        f"%%task Late --timeout 0.2\ntry:\n    {work}\nexcept TimeoutError as e:\n    print(e); raise"
    )
    assert "Late took longer than 0.2 s\n" in text(messages)
    last = stream_of(server, messages)[-1]
    assert (last["type"], last["reason"]) == ("done", "timeout")
    assert last["via"] == ("interrupt" if "sleep(600)" in work else "producer")
    [error] = [message for message in messages if message["msg_type"] == "error"]
    assert error["content"]["ename"] == "TaskTimeout"
    assert text(kernel.run("import signal; print(signal.getsignal(signal.SIGINT).__name__)")) == "default_int_handler\n"


def test_logging_is_routed_in(kernel: KernelProcess, server: LinkServer) -> None:
    messages = kernel.run(
        "%%task Logged\n"
        "import logging, threading\n"
        "logger = logging.getLogger('app'); logger.setLevel('DEBUG'); h = handler(); logger.addHandler(h)\n"
        "logger.info('one'); logger.error('two')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logger.exception('three')\n"
        "thread = threading.Thread(target=logger.warning, args=['four']); thread.start(); thread.join()\n"
        "logger.removeHandler(h)"
    )
    events = [event for event in stream_of(server, messages) if event["type"] == "log"]
    assert [(event["level"], event["text"].split("\n")[0]) for event in events if event["source"] == "logging"] == [
        ("info", "one"), ("error", "two"), ("error", "three"), ("warning", "four"),
    ]  # fmt: skip
    assert "ZeroDivisionError" in events[2]["text"]
    assert lines(events, source="stderr") == []
    assert text(messages, "stderr").startswith("one\ntwo\nthree\nTraceback")


def test_a_record_that_is_printed_already_is_there_once(kernel: KernelProcess, server: LinkServer) -> None:
    messages = kernel.run(
        "%%task Logged\n"
        "import logging, sys\n"
        "logger = logging.getLogger('both'); logger.addHandler(logging.StreamHandler(sys.stderr)); "
        "logger.addHandler(handler())\n"
        "logger.warning('once')\n"
        "logger.handlers.clear()"
    )
    assert lines(stream_of(server, messages)) == ["once"]
    assert text(messages, "stderr") == "once\n"


def test_a_cell_that_clears_its_output_keeps_its_line(kernel: KernelProcess) -> None:
    messages = kernel.run(
        "%%task Plots\n"
        "from IPython.display import clear_output, display\n"
        "for i in range(2):\n"
        "    clear_output(wait=True); display({'text/plain': f'plot {i}'}, raw=True)\n"
    )
    kinds = ["clear" if m["msg_type"] == "clear_output" else m["content"]["data"]["text/plain"] for m in messages
             if m["msg_type"] in ("clear_output", "display_data")]  # fmt: skip
    line = "Plots: running"
    assert kinds == [line, "clear", line, "plot 0", "clear", line, "plot 1"]
    assert len({bundle[MIME]["stream"] for bundle in slim(messages)}) == 1


def test_loading_again_does_nothing_twice(kernel: KernelProcess, server: LinkServer) -> None:
    kernel.run("%reload_ext jupyter_sse")
    messages = kernel.run("%%task Once\nprint('x')")
    assert lines(stream_of(server, messages)) == ["x"]
    kernel.run("%sse monitor on --after 0")
    kernel.run("%unload_ext jupyter_sse")
    messages = kernel.run("time.sleep(0.3); print(current())")
    assert (text(messages), displays(messages)) == ("None\n", [])
    kernel.run("%load_ext jupyter_sse")


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("# Train the model\nx = 1", "Train the model"),
        ("\n\nx = train(1)  # later", "x = train(1)  # later"),
        ("%%time\n%matplotlib inline\nimport numpy as np\nfrom x import y\nfit(y)", "fit(y)"),
        ("import numpy", "import numpy"),
        ("# %% Load data\nx", "Load data"),
        ("#| label: x\n#\n# تدريب\nx", "تدريب"),
        ("", "Cell"),
        ("x" * 200, "x" * 79 + "…"),
    ],
)
def test_titles(source: str, title: str) -> None:
    assert title_of(source) == title
