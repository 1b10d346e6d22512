"""What watching a run costs, and how late one sees it: the view beside polling every 5 seconds, in one run.

    python benchmarks/latency.py [--quick]

A real jupyter_server with its token required and the SQLite log on; a producer in this process, over the kernel link,
writes numbered log lines, most of them at a steady pace and some in bursts; two pages of one Chromium watch
them at the same time. One shows our view; the other asks for the stream's snapshot every 5 seconds, as one does where
nothing is pushed, and shows its last lines. A line is on the screen when the frame that holds it has been drawn. Bytes
are those of the answers as they came over the network, heads included.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

from fanout import Server, ours
from join import CHROMIUM, WIDGET
from playwright.sync_api import BrowserContext, CDPSession, Page, sync_playwright

from jupyter_sse.address import parse
from jupyter_sse.kernel import display, link
from jupyter_sse.kernel.task import task

API = "/jupyter-sse/"
EVERY = 5.0  # seconds between two polls
RATE = 20  # lines a second
BURST, BURST_EVERY = 50, 5.0  # lines at once, and seconds between two such times

# Notes when the last `line n` in `el` was drawn: its number, and milliseconds since 1970.
NOTED = """
window.drawn = [];
window.note = (el) => {
  let last = -1;
  const changed = () => {
    const n = Number(/.*line (\\d+)/s.exec(el.innerText)?.[1] ?? -1);
    if (n <= last) return;
    last = n;
    requestAnimationFrame(() => setTimeout(() => window.drawn.push([n, Date.now()])));
  };
  new MutationObserver(changed).observe(el, { childList: true, subtree: true, characterData: true });
};
"""

VIEW = """<!doctype html><script id="jupyter-config-data" type="application/json">{config}</script>
<div id="view" style="height: 100vh"></div><script>{noted}</script>
<script type="module">
import widget from "/latency/widget.js";
const el = document.getElementById("view");
note(el);
widget.render({{ model: {{ get: (name) => ({{ stream: "{stream}", transport: "server" }})[name] }}, el }});
</script>"""

POLLING = """<!doctype html><pre id="view"></pre><script>{noted}
const el = document.getElementById("view");
note(el);
const headers = {{ Authorization: "token {token}" }};
const poll = async () => {{
  const answer = await fetch("/jupyter-sse/streams/{stream}", {{ headers, cache: "no-store" }});
  const {{ log }} = await answer.json();
  el.textContent = log.lines.map(({{ text }}) => text).join("\\n");
}};
poll();
setInterval(poll, {every});
</script>"""


@dataclass
class Watcher:
    """A page that watches the stream, and what it costs on the network."""

    page: Page
    requests: int = 0
    bytes: int = 0
    answers: set[str] = field(default_factory=set)
    devtools: CDPSession = field(init=False)

    def __post_init__(self) -> None:
        self.devtools = self.page.context.new_cdp_session(self.page)
        self.devtools.on("Network.requestWillBeSent", self._asked)
        self.devtools.on("Network.responseReceived", self._head)
        self.devtools.on("Network.dataReceived", self._body)
        self.devtools.send("Network.enable")

    def _asked(self, event: dict[str, Any]) -> None:
        self.requests += API in event["request"]["url"]

    def _head(self, event: dict[str, Any]) -> None:
        if API in event["response"]["url"]:
            self.answers.add(event["requestId"])
            self.bytes += event["response"]["encodedDataLength"]

    def _body(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self.answers:
            self.bytes += event["encodedDataLength"]

    def late(self, written: list[float], first: int) -> list[float]:
        """Milliseconds for each line from the `first` on, by when each was written, in seconds."""
        drawn = iter(self.page.evaluate("window.drawn"))
        n, at = next(drawn)
        late = []
        for line, when in enumerate(written):
            while n < line:
                n, at = next(drawn)
            if line >= first:
                late.append(at - 1000 * when)
        return late


def watch(context: BrowserContext, running: Server, stream: str, page_of: str) -> Watcher:
    page = context.new_page()
    watcher = Watcher(page)
    config = json.dumps({"baseUrl": "/", "token": running.token})
    body = page_of.format(config=config, noted=NOTED, stream=stream, token=running.token, every=1000 * EVERY)
    page.route("**/latency/", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.route("**/latency/widget.js", lambda route: route.fulfill(path=WIDGET, content_type="text/javascript"))
    page.goto(f"http://127.0.0.1:{running.port}/latency/")
    page.wait_for_function("() => window.drawn.length > 0")
    return watcher


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="20 seconds instead of 60")
    seconds = 20 if parser.parse_args().quick else 60
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with tempfile.TemporaryDirectory() as home, ours(home) as running, sync_playwright() as playwright:
        linked = link.Link(parse(f"http://127.0.0.1:{running.port}/", running.token))
        linked.dial(10)
        link.use(linked)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        written: list[float] = []
        display.show = lambda stream: None
        with task("Latency") as t:

            def write(count: int) -> None:
                for _ in range(count):
                    written.append(time.time())
                    t.log(f"line {len(written) - 1}")

            write(1)
            linked.flush(10)
            # Each page in a window of its own, so that neither is hidden.
            watchers = [watch(browser.new_context(), running, t.id, page_of) for page_of in (VIEW, POLLING)]
            first, began = len(written), time.monotonic()
            burst = began + BURST_EVERY / 2
            for tick in range(seconds * RATE):
                # The wait is Playwright's, which takes the browser's messages in meanwhile.
                watchers[0].page.wait_for_timeout(max(0, 1000 * (began + tick / RATE - time.monotonic())))
                write(1)
                if time.monotonic() >= burst:
                    write(BURST)
                    burst += BURST_EVERY
            watchers[0].page.wait_for_timeout(1000 * EVERY + 500)
            costs = [(watcher.requests, watcher.bytes) for watcher in watchers]
            lates = [watcher.late(written, first) for watcher in watchers]
        browser.close()

    print(f"{len(written) - first} lines in {seconds} s, {RATE} a second and {BURST} at once every {BURST_EVERY:g} s\n")
    print(f"{'':22}{'requests':>9}{'KB':>8}{'p50 ms':>9}{'p99 ms':>9}{'most ms':>9}")
    medians = []
    for name, (requests, size), late in zip(("jupyter_sse", f"polling every {EVERY:g} s"), costs, lates, strict=True):
        medians.append(statistics.median(late))
        figures = "".join(f"{ms:9.0f}" for ms in (medians[-1], percentile(late, 0.99), max(late)))
        print(f"{name:22}{requests:9}{size / 1000:8.1f}{figures}")
    print(f"\npolling sees a line {medians[1] / medians[0]:.0f} times as late")


if __name__ == "__main__":
    main()
