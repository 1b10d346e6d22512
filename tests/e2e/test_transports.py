"""The same stream by every way into a page: event stream, WebSocket, the widget's channel to the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from browser import Notebook, write_notebook
from harness import JupyterServer, wait_for
from playwright.sync_api import BrowserContext, Locator, Page, Request, WebSocketRoute, expect
from proxies import nginx
from test_lab import GATE, MIME, bundles, events_of, lines_of, opened, status, streams

CELL = """
with task("مهمة", steps=2) as t:
    t.step("Load")
    t.log("line one")
    t.progress(1, 4)
    wait_for("more")
    t.log("line two")
    t.progress(3, 4)
    wait_for("end")
    t.result = "all of it"
"""
ROUNDS = (("line one", "25", "more"), ("line two", "75", "end"))


def numbers(notebook: Notebook, view: Locator) -> list[int]:
    """The stream's number at each point of the cell, as its view has it."""
    seen = []
    for line, percent, then in ROUNDS:
        expect(view.locator(".jsse-line").last).to_have_text(line)
        bar = view.get_by_role("progressbar")
        expect(bar).to_have_attribute("aria-valuenow", percent)
        seen.append(int(view.get_attribute("data-sse-seq") or 0))
        opened(notebook, then)
    notebook.wait_idle()
    status(notebook.view(1), "done")
    saved = wait_for(lambda: bundles(notebook.save(), 1)[0][MIME].get("snapshot"), "the output to be the final one")
    assert [line["text"] for line in saved["log"]["lines"]] == ["line one", "line two"]
    return [*seen, saved["seq"]]


def types(server: JupyterServer) -> list[str]:
    """What the server has of the one stream of this name."""
    [entry] = [entry for entry in server.request("GET", "streams").json() if entry["title"] == "مهمة"]
    return [event["type"] for event in events_of(server, entry["stream"])]


def test_the_same_cell_has_the_same_numbers_with_the_extension_disabled(
    context: BrowserContext, make_server: Any, tmp_path: Path
) -> None:
    seen = []
    for name, options in (("with", ()), ("without", ("--ServerApp.jpserver_extensions={'jupyter_sse': False}",))):
        server: JupyterServer = make_server(*options, app="jupyterlab", home=tmp_path / name)
        with context.new_page() as page:
            notebook = Notebook(page, server, write_notebook(server, "same.ipynb", GATE, CELL)).open()
            notebook.run(0)
            view = notebook.run(1)
            status(view, "running")
            seen.append(numbers(notebook, view))
            if server.extension:
                there = types(server)
                assert there[: seen[0][1]] == ["start", "step", "log", "progress", "log", "progress"]
                assert len(there) == seen[0][-1]
    with_it, without = seen
    assert with_it == without


IN_A_THREAD = f"""
def work():
{CELL.replace(chr(10), chr(10) + "    ")}
import threading
threading.Thread(target=work).start()
"""


def test_a_stream_that_the_pages_server_does_not_have_comes_from_the_kernel_with_the_same_numbers(
    open_notebook: Any, lab: JupyterServer, server: JupyterServer
) -> None:
    elsewhere = f"from jupyter_sse import connect\nconnect('{server.root}', '{server.token}')"
    notebook = open_notebook(GATE + elsewhere, IN_A_THREAD)
    notebook.run(0)
    seen = numbers(notebook, notebook.run(1))
    assert streams(lab, notebook) == []
    there = types(server)
    assert there[: seen[1]] == ["start", "step", "log", "progress", "log", "progress"]
    assert (seen[0], len(there)) == (4, seen[-1])


LINES = """
with task("Lines") as t:
    for i in range(60):
        t.log(f"line {i}")
        if i in (20, 40):
            wait_for(f"lines-{i}")
"""
NO_LOCKS = "Object.defineProperty(Navigator.prototype, 'locks', { get: () => undefined });"


def test_without_web_locks_a_websocket_is_used_and_when_it_is_cut_off_an_event_stream(
    page: Page, open_notebook: Any, lab: JupyterServer
) -> None:
    page.add_init_script(NO_LOCKS)
    event_streams: list[Request] = []
    page.on("request", lambda made: event_streams.append(made) if made.url == f"{lab.url}events" else None)
    sockets: list[WebSocketRoute] = []
    blocked = False

    def pass_on(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        if blocked:
            socket.close()
        else:
            socket.connect_to_server()

    page.route_web_socket("**/jupyter-sse/socket", pass_on)
    notebook = open_notebook(GATE, LINES)
    notebook.run(0)
    view = notebook.run(1)
    expect(view.locator(".jsse-line").last).to_have_text("line 20")
    assert (len(sockets), event_streams) == (1, [])

    # As when a proxy in between comes to let no WebSocket through.
    blocked = True
    sockets[0].close()
    opened(notebook, "lines-20")
    expect(view.locator(".jsse-line").last).to_have_text("line 40")
    assert len(event_streams) == 1
    opened(notebook, "lines-40")
    status(notebook.view(1), "done")
    [entry] = streams(lab, notebook)
    shown = notebook.view(1).locator(".jsse-line").all_inner_texts()
    assert shown == lines_of(lab, entry["stream"]) == [f"line {index}" for index in range(60)]
    notebook.wait_idle()


# WebSockets get through; over HTTP/1.0, nginx holds back what does not fill its buffer.
BUFFERING = """
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $http_connection;
      location /jupyter-sse/events {{
        proxy_pass http://127.0.0.1:{port};
        proxy_http_version 1.0;
        proxy_set_header Host $http_host;
        proxy_ignore_headers X-Accel-Buffering;
      }}
"""
FEW_LINES = """
with task("Lines") as t:
    t.log("one")
    wait_for("{name}-one")
    t.log("two")
    wait_for("{name}-two")
"""


def few_lines(notebook: Notebook, name: str) -> None:
    """Run the cell, and see each line when it is written."""
    view = notebook.run(1)
    expect(view.locator(".jsse-line")).to_have_text(["one"])
    opened(notebook, f"{name}-one")
    expect(view.locator(".jsse-line")).to_have_text(["one", "two"])
    opened(notebook, f"{name}-two")
    status(notebook.view(1), "done")
    notebook.wait_idle()


def test_behind_a_proxy_that_buffers_the_page_turns_to_a_websocket(
    page: Page, lab: JupyterServer, tmp_path: Path
) -> None:
    asked: list[str] = []
    page.on("request", lambda made: asked.append("events") if made.url.endswith("/jupyter-sse/events") else None)
    page.on("websocket", lambda made: asked.append("socket") if made.url.endswith("/jupyter-sse/socket") else None)
    path = write_notebook(lab, "buffered.ipynb", GATE, FEW_LINES.format(name="buffered"))
    for number in range(100):  # the list of them is more than the buffer
        lab.append(lab.create(title=f"Work {number} {'.' * 100}"), '{"type":"done"}')
    with nginx(lab, tmp_path / "nginx", BUFFERING.format(port=lab.port)) as port:
        notebook = Notebook(page, lab, path, root=f"http://127.0.0.1:{port}/").open()
        notebook.run(0)
        few_lines(notebook, "buffered")
    assert asked == ["events", "socket"]


BUSY = """
const fetched = window.fetch;
window.fetch = (url, init) => {
  const answer = fetched(url, init);
  if (String(url).endsWith("/jupyter-sse/events")) {
    for (const until = performance.now() + 4000; performance.now() < until; );
  }
  return answer;
};
"""


def test_a_page_that_is_busy_when_the_answer_comes_reads_it_none_the_less(page: Page, server: JupyterServer) -> None:
    asked: list[str] = []
    page.on("request", lambda made: asked.append("events") if made.url.endswith("/jupyter-sse/events") else None)
    page.on("websocket", lambda made: asked.append("socket"))
    page.add_init_script(BUSY)
    stream = server.create(title="Awaited")
    page.goto(f"{server.url}?token={server.token}#/{stream}")
    view = page.locator("[data-sse-stream]")
    status(view, "running")
    server.append(stream, '{"type":"log","text":"seen"}')
    expect(view).to_contain_text("seen")
    assert asked == ["events"]


def test_in_a_browser_whose_connections_are_all_taken_the_page_turns_to_a_websocket(
    page: Page, open_notebook: Any, lab: JupyterServer
) -> None:
    notebook = open_notebook(GATE, FEW_LINES.format(name="taken"))
    notebook.run(0)
    notebook.wait_idle()
    stream = lab.request("POST", "streams", json={"kind": "task", "title": "Another page's"}).json()["stream"]
    # As many as a browser has for one host; their answers do not end.
    page.evaluate(
        "url => { for (let n = 0; n < 6; n++) void fetch(url); }",
        f"{lab.url}streams/{stream}/events",
    )
    sockets: list[str] = []
    page.on("websocket", lambda made: sockets.append(made.url) if made.url.endswith("/jupyter-sse/socket") else None)
    few_lines(notebook, "taken")
    assert len(sockets) == 1
    lab.request("DELETE", f"streams/{stream}")
