"""Faults between a page and its server, in a real JupyterLab: nothing is lost and nothing doubled.

Each test compares event by event what the kernel sent, what the server's log has, and what the page was given.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pytest
from browser import Notebook, write_notebook
from faults import FaultProxy, fault_proxy, full_disk, linux
from harness import JupyterServer, wait_for
from kernel.kernel_process import displays, running
from playwright.sync_api import Locator, Page, expect
from reading import frames_of
from test_lab import GATE, MIME, lines_of, opened, status, streams

# Keeps what the page's connection hands to each stream: [seq, event], or [seq, null] for a snapshot.
RECORDER = """
window.given = {};
const multiplexes = new Map();
multiplexes.set = (url, multiplex) => {
  const source = multiplex.source.bind(multiplex);
  multiplex.source = (stream) => {
    const store = source(stream);
    if (Object.hasOwn(store, "push")) return store;
    const given = (window.given[stream] ??= []);
    const { push, reset } = store;
    store.push = (seq, event) => { given.push([seq, event]); push.call(store, seq, event); };
    store.reset = (snapshot) => { given.push([snapshot.seq, null]); reset.call(store, snapshot); };
    return store;
  };
  return Map.prototype.set.call(multiplexes, url, multiplex);
};
globalThis[Symbol.for("jupyter-sse")] = multiplexes;
"""

LINES = """
with task("Lines", steps=2) as t:
    t.step("Begin")
    for i in track(range(400), "rounds"):
        t.log(f"line {i} مرحبا")
        if i == 50:
            wait_for("fault")
        if i == 300:
            wait_for("mended")
    t.step("End")
    t.result = "all of it"
"""


@pytest.fixture
def proxy(lab: JupyterServer) -> Iterator[FaultProxy]:
    with fault_proxy(lab.port) as proxy:
        yield proxy


Open = Callable[..., Notebook]


@pytest.fixture
def open_behind(page: Page, lab: JupyterServer, proxy: FaultProxy, request: pytest.FixtureRequest) -> Open:
    """`open_behind(*cells)`: a notebook in a JupyterLab whose page sees the server through the proxy."""
    behind = copy.copy(lab)
    behind.port = proxy.port
    page.add_init_script(RECORDER)

    def open_one(*cells: str) -> Notebook:
        for name in ("fault", "mended"):
            (lab.notebooks / name).unlink(missing_ok=True)
        name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
        return Notebook(page, behind, write_notebook(lab, f"{name}.ipynb", *cells)).open()

    return open_one


def events_in(server: JupyterServer, stream: str) -> dict[int, Any]:
    frames = frames_of(server.request("GET", f"streams/{stream}/events").content)
    return {int(frame.id): json.loads(frame.data) for frame in frames if frame.event != "hello"}


def given(page: Page, stream: str) -> list[list[Any]]:
    return page.evaluate("stream => window.given[stream]", stream) or []


def logged(server: JupyterServer, stream: str) -> int:
    count: int = server.request("GET", f"streams/{stream}").json()["log"]["count"]
    return count


def caught_up(page: Page, server: JupyterServer, stream: str) -> int:
    """Wait until the page has been given all that the log has; the last seq."""

    def last() -> int:
        kept: int = server.request("GET", f"streams/{stream}").json()["seq"]
        return kept if (given(page, stream) or [[0]])[-1][0] == kept else 0

    found: int = wait_for(last, "the page to have been given every event")
    return found


def check_events(page: Page, server: JupyterServer, stream: str, last: int) -> None:
    """The page was given the log's events once and in order, after a snapshot that it may have begun with.

    last : up to where at the least; the end of a stream may come in the notebook's final output instead.
    """
    came = given(page, stream)
    kept = events_in(server, stream)
    assert list(kept) == list(range(1, len(kept) + 1))
    assert [seq for seq, _ in came] == list(range(came[0][0], came[-1][0] + 1))
    assert [event for _, event in came[1:]] == [kept[seq] for seq, _ in came[1:]]
    assert came[0][1] in (None, kept[1])
    assert came[-1][0] >= last


def check_lines(view: Locator, server: JupyterServer, stream: str) -> None:
    """What LINES has produced is in the log, and what is left of it in the view."""
    lines = [f"line {index} مرحبا" for index in range(400)]
    assert lines_of(server, stream) == lines
    assert view.locator(".jsse-line").all_inner_texts() == lines[-200:]
    expect(view.locator("[data-sse-part=log]")).to_contain_text("400 lines")
    expect(view.get_by_role("progressbar", name="rounds")).to_have_attribute("aria-valuenow", "100")
    expect(view).to_contain_text("400/400")
    expect(view.locator(".jsse-step-history li span[dir]")).to_have_text(["[1] Begin", "[2] End"])
    expect(view.locator("[data-sse-part=result]")).to_have_text("all of it")


def check_lab(notebook: Notebook, index: int) -> None:
    """JupyterLab itself is as well as before."""
    notebook.wait_idle()
    notebook.run(index)
    expect(notebook.output(index)).to_have_text("well")


def run_lines(notebook: Notebook, lab: JupyterServer) -> str:
    """Run LINES as far as where the fault is to come; the stream."""
    notebook.run(0)
    view = notebook.run(1)
    expect(view).to_contain_text("line 50 ")
    [entry] = streams(lab, notebook)
    return str(entry["stream"])


def test_connections_cut_in_the_middle_of_frames(open_behind: Open, proxy: FaultProxy, lab: JupyterServer) -> None:
    notebook = open_behind(GATE, LINES, "print('well')")
    stream = run_lines(notebook, lab)
    # Odd lengths, so that the cut comes anywhere: in the headers, in a chunk's size, in the JSON, in a character.
    proxy.cut_streams(itertools.cycle([1, 130, 700, 1201, 2003, 333, 1777]))
    opened(notebook, "fault")
    wait_for(lambda: proxy.cuts >= 12, "twelve cuts")
    proxy.mend()
    expect(notebook.view(1)).to_contain_text("line 300 ")
    last = caught_up(notebook.page, lab, stream)
    opened(notebook, "mended")
    status(notebook.view(1), "done")
    check_events(notebook.page, lab, stream, last)
    check_lines(notebook.view(1), lab, stream)
    check_lab(notebook, 2)


def test_an_answer_whose_connection_is_cut_again_and_again_has_every_word(
    open_behind: Open, proxy: FaultProxy, lab: JupyterServer
) -> None:
    words = [f"كلمة{index}" for index in range(600)]
    notebook = open_behind(
        GATE,
        """
def words():
    for i in range(600):
        yield f"كلمة{i} "
        if i == 30:
            wait_for("fault")
    wait_for("mended")
_ = stream(words(), title="Words")
""",
    )
    notebook.run(0)
    view = notebook.run(1)
    expect(view).to_contain_text("كلمة30 ")
    [entry] = streams(lab, notebook)
    proxy.cut_streams(itertools.cycle([450, 901, 1301]))
    opened(notebook, "fault")
    wait_for(lambda: proxy.cuts >= 6, "six cuts")
    proxy.mend()
    expect(view).to_contain_text("كلمة599")
    last = caught_up(notebook.page, lab, entry["stream"])
    opened(notebook, "mended")
    status(view, "done")
    check_events(notebook.page, lab, entry["stream"], last)
    sent = "".join(event["text"] for event in events_in(lab, entry["stream"]).values() if event["type"] == "delta")
    assert sent.split() == words
    assert view.locator("[data-sse-part=answer]").inner_text().split() == words


def test_a_proxy_that_answers_503_for_a_while(open_behind: Open, proxy: FaultProxy, lab: JupyterServer) -> None:
    notebook = open_behind(GATE, LINES, "print('well')")
    stream = run_lines(notebook, lab)
    proxy.unavailable()
    view = notebook.view(1)
    status(view, "reconnecting")
    expect(view).to_contain_text("Reconnecting")
    opened(notebook, "fault")
    wait_for(lambda: logged(lab, stream) == 301, "the kernel to go on meanwhile")
    wait_for(lambda: proxy.refused >= 3, "the page to try again")
    proxy.mend()
    expect(view).to_contain_text("line 300 ", timeout=120_000)
    status(view, "running")
    last = caught_up(notebook.page, lab, stream)
    opened(notebook, "mended")
    status(view, "done")
    check_events(notebook.page, lab, stream, last)
    check_lines(notebook.view(1), lab, stream)
    check_lab(notebook, 2)


def test_thirty_seconds_without_a_network(open_behind: Open, proxy: FaultProxy, lab: JupyterServer) -> None:
    """No packet gets through, and nobody is told; the time itself is not waited for: no clock decides here."""
    notebook = open_behind(GATE, LINES, "print('well')")
    stream = run_lines(notebook, lab)
    notebook.page.context.set_offline(True)
    proxy.hang()
    opened(notebook, "fault")
    wait_for(lambda: logged(lab, stream) == 301, "the kernel to go on meanwhile")
    assert "line 300 " not in notebook.view(1).inner_text()
    proxy.mend()
    notebook.page.context.set_offline(False)
    expect(notebook.view(1)).to_contain_text("line 300 ")
    last = caught_up(notebook.page, lab, stream)
    opened(notebook, "mended")
    status(notebook.view(1), "done")
    check_events(notebook.page, lab, stream, last)
    check_lines(notebook.view(1), lab, stream)


def test_a_laptop_that_sleeps(open_behind: Open, proxy: FaultProxy, lab: JupyterServer, page: Page) -> None:
    """Its clock jumps, and the connections that it wakes up with are dead, which nobody tells it."""
    page.clock.install()
    notebook = open_behind(GATE, LINES, "print('well')")
    stream = run_lines(notebook, lab)
    proxy.hang()
    opened(notebook, "fault")
    wait_for(lambda: logged(lab, stream) == 301, "the kernel to go on meanwhile")
    proxy.mend()
    page.clock.fast_forward("30:00")
    expect(notebook.view(1)).to_contain_text("line 300 ")
    last = caught_up(page, lab, stream)
    opened(notebook, "mended")
    status(notebook.view(1), "done")
    check_events(page, lab, stream, last)
    check_lines(notebook.view(1), lab, stream)


def test_a_page_that_reads_too_slowly_is_cut_and_gets_everything(
    page: Page, make_server: Callable[..., JupyterServer], tmp_path: Path
) -> None:
    server = make_server("--SSE.max_lag_bytes=65536", app="jupyterlab", home=tmp_path / "lab")
    path = write_notebook(
        server,
        "slow.ipynb",
        GATE,
        """
with task("Flood") as t:
    t.log("begin")
    wait_for("fault")
    for i in range(12_000):
        t.log(f"{i} " + 1000 * "x")
    t.log("end")
    wait_for("mended")
""",
    )
    page.add_init_script(RECORDER)
    with fault_proxy(server.port) as proxy:
        behind = copy.copy(server)
        behind.port = proxy.port
        notebook = Notebook(page, behind, path).open()
        notebook.run(0)
        view = notebook.run(1)
        expect(view).to_contain_text("begin")
        [entry] = streams(server, notebook)
        proxy.throttle(20_000)
        opened(notebook, "fault")

        def dropped() -> bool:
            figures = httpx.get(f"{server.root}metrics", headers=server.headers, trust_env=False).text
            return re.search(r"jupyter_sse_dropped_readers_total [1-9]", figures) is not None

        wait_for(dropped, "the slow page to be cut")
        proxy.mend()
        expect(view).to_contain_text("end")
        last = caught_up(page, server, entry["stream"])
        opened(notebook, "mended")
        status(view, "done")
        check_events(page, server, entry["stream"], last)
        lines = lines_of(server, entry["stream"])
        assert [line.split()[0] for line in lines] == ["begin", *map(str, range(12_000)), "end"]
        expect(view.locator("[data-sse-part=log]")).to_contain_text("12,002 lines")


def test_a_server_killed_and_started_again_under_a_kernel_that_goes_on(
    page: Page, make_server: Callable[..., JupyterServer], tmp_path: Path
) -> None:
    """As a kernel on a gateway. The page's only source is the server: the cell runs in no notebook that it has open."""
    home = tmp_path / "lab"
    home.mkdir()
    server = make_server(app="jupyterlab", home=home)
    with running() as kernel:
        kernel.run(f"import os; os.chdir({str(server.notebooks)!r})\nfrom jupyter_sse import connect")
        kernel.run(f"connect({server.url!r}, {server.token!r})\n" + GATE)
        kernel.send(LINES)
        bundle = kernel.wait(lambda message: MIME in message["content"].get("data", {}))["content"]["data"]
        stream = bundle[MIME]["stream"]
        path = write_notebook(server, "kept.ipynb", LINES)
        document = nbformat.read(path, as_version=4)
        document.cells[0].outputs = [nbformat.v4.new_output("display_data", bundle)]
        nbformat.write(document, path)

        page.add_init_script(RECORDER)
        notebook = Notebook(page, server, path).open()
        view = notebook.view(0)
        expect(view).to_contain_text("line 50 ")
        server.kill()
        status(view, "reconnecting")
        (server.notebooks / "fault").touch()
        server.start()
        expect(view).to_contain_text("line 300 ", timeout=120_000)
        (server.notebooks / "mended").touch()
        status(view, "done")
        check_events(page, server, stream, caught_up(page, server, stream))
        check_lines(view, server, stream)
        shown = [message["content"]["data"] for message in displays(kernel.messages)]
        assert [data[MIME]["stream"] for data in shown] == [stream] * len(shown)


@linux
def test_a_full_disk_is_told_in_the_view_which_goes_on(
    page: Page, make_server: Callable[..., JupyterServer], tmp_path: Path
) -> None:
    server = make_server(app="jupyterlab", home=tmp_path / "lab")
    server.append(server.create(), *[json.dumps({"type": "log", "text": 1000 * "x"})] * 200)  # larger than other files
    page.add_init_script(RECORDER)
    notebook = Notebook(page, server, write_notebook(server, "full.ipynb", GATE, LINES)).open()
    stream = run_lines(notebook, server)
    view = notebook.view(1)
    notice = view.locator(".jsse-notice")
    expect(notice).to_be_empty()
    with full_disk(server):
        opened(notebook, "fault")
        expect(view).to_contain_text("line 300 ")
        expect(notice).to_contain_text("in the server's memory only")
        notebook.save()
        page.reload()
        expect(view).to_contain_text("line 300 ")
        expect(notice).to_contain_text("in the server's memory only")
        status(view, "running")
    expect(notice).to_be_empty()
    last = caught_up(page, server, stream)
    opened(notebook, "mended")
    status(view, "done")
    check_events(page, server, stream, last)
    check_lines(view, server, stream)


def test_a_kernel_killed_in_mid_run_ends_the_view(open_notebook: Open, lab: JupyterServer) -> None:
    notebook = open_notebook(
        GATE,
        "import os\nwith task('Killed') as t:\n    t.log('line')\n    wait_for('kill')\n    os.kill(os.getpid(), 9)",
    )
    notebook.run(0)
    view = notebook.run(1)
    expect(view).to_contain_text("line")
    opened(notebook, "kill")
    status(view, "error")  # in less than the grace time of 30 s
    expect(view.get_by_role("alert")).to_contain_text("The kernel died")
    [entry] = streams(lab, notebook)
    assert entry["status"] == "error"
    assert list(events_in(lab, entry["stream"]).values())[-1]["code"] == "kernel_died"
