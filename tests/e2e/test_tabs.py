"""Many tabs of one browser, each with a running stream: none of them stands still, nor holds the others up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import Notebook, write_notebook
from harness import JupyterServer, wait_for
from playwright.sync_api import BrowserContext, Page, Request, expect
from test_lab import GATE, lines_of, status, streams

TABS = 10
EVENT_STREAMS = 2
"""What a browser may have of them: it has six HTTP connections to a server, for all of its tabs."""

ASK_STATUS = """async () => {
    const begun = performance.now();
    const answer = await fetch("/api/status", { signal: AbortSignal.timeout(10_000), cache: "no-store" });
    await answer.json();
    return performance.now() - begun;
}"""


class Tab:
    """One JupyterLab, and the connections that its page has open for streams."""

    def __init__(self, context: BrowserContext, server: JupyterServer, number: int) -> None:
        self.number = number
        self.page: Page = context.new_page()
        self.event_streams: set[Request] = set()
        self.sockets = 0
        self.page.on("request", self._asked)
        for over in ("requestfinished", "requestfailed"):
            self.page.on(over, self._answered)
        self.page.on("websocket", self._opened)
        cell = f"""
with task("Tab {number}") as t:
    for i in range(4):
        t.log(f"tab {number}, round {{i}}")
        wait_for(f"tabs-{{i}}")
"""
        path = write_notebook(server, f"tab-{number}.ipynb", GATE, cell)
        self.notebook = Notebook(self.page, server, path)

    def _asked(self, request: Request) -> None:
        if request.url.endswith("/jupyter-sse/events"):
            self.event_streams.add(request)

    def _answered(self, request: Request) -> None:
        self.event_streams.discard(request)

    def _opened(self, socket: Any) -> None:
        if socket.url.endswith("/jupyter-sse/socket"):
            self.sockets += 1
            socket.on("close", self._closed)

    def _closed(self, _socket: Any) -> None:
        self.sockets -= 1

    @property
    def lines(self) -> list[str]:
        """The log's lines as this tab's view has them."""
        return self.notebook.view(1).locator(".jsse-line").all_inner_texts()

    def shows(self, rounds: int) -> None:
        """Until so many rounds have come to the view."""
        last = self.notebook.view(1).locator(".jsse-line").last
        expect(last).to_have_text(f"tab {self.number}, round {rounds - 1}")
        assert self.lines == [f"tab {self.number}, round {index}" for index in range(rounds)]


def connections(server: JupyterServer) -> int:
    """How many readers the server counts."""
    text = httpx.get(f"{server.root}metrics", headers=server.headers, trust_env=False, timeout=20).text
    return int(float(re.search(r"^jupyter_sse_connections (\S+)", text, re.MULTILINE)[1]))  # type: ignore[index]


def transports(tabs: list[Tab]) -> tuple[int, int]:
    """Event streams and WebSockets that are open in these tabs."""
    return sum(len(tab.event_streams) for tab in tabs), sum(tab.sockets for tab in tabs)


@pytest.mark.timeout(600)
def test_ten_tabs_with_running_streams_leave_room_for_each_other(context: BrowserContext, lab: JupyterServer) -> None:
    before = connections(lab)
    tabs: list[Tab] = []
    for number in range(TABS):
        tab = Tab(context, lab, number)
        tabs.append(tab)
        tab.notebook.open()
        tab.notebook.run(0)
        status(tab.notebook.run(1), "running")
        tab.shows(1)
    assert transports(tabs) == (EVENT_STREAMS, TABS - EVENT_STREAMS)
    assert connections(lab) - before == TABS

    took = [tab.page.evaluate(ASK_STATUS) for tab in tabs]
    print("With all open, /api/status took", ", ".join(f"{ms:.0f}" for ms in took), "ms")

    opened(lab, "tabs-0")
    for tab in tabs:
        tab.shows(2)

    # A tab that closes leaves its place to the next one that opens.
    first, second = (tab for tab in tabs if tab.event_streams)
    first.notebook.save()
    first.page.close()
    wait_for(lambda: connections(lab) - before == TABS - 1, "the server to see that a tab has closed")
    again = Tab(context, lab, TABS)
    again.notebook.open()
    again.notebook.run(0)
    status(again.notebook.run(1), "running")
    again.shows(2)
    tabs[tabs.index(first)] = again
    assert transports(tabs) == (EVENT_STREAMS, TABS - EVENT_STREAMS)
    assert (len(again.event_streams), len(second.event_streams)) == (1, 1)

    for name in ("tabs-1", "tabs-2", "tabs-3"):
        opened(lab, name)
    for tab in tabs:
        tab.shows(4)
        status(tab.notebook.view(1), "done")
        tab.notebook.wait_idle()
        [entry] = streams(lab, tab.notebook)
        assert lines_of(lab, entry["stream"]) == tab.lines
        tab.page.close()
    wait_for(lambda: connections(lab) == before, "the server to see that all tabs have closed")


def opened(server: JupyterServer, name: str) -> None:
    Path(server.notebooks, name).touch()
