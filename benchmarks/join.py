"""What it takes to join a stream of 100 000 events late, beside one of 100, in one run.

    python benchmarks/join.py [--quick]

A real jupyter_server with its token required and the SQLite log on; over HTTP until the snapshot is there, and in
Chromium with a new profile from `render()` to the frame in which the view stands. Running streams and ended ones;
"warm" has been asked for before, "cold" is the first time after a kill -9. Trust the ratios: they say whether a view
costs its state or its history. An answer of 100 000 words is a state of half a megabyte: it stands beside one of the
same length that came in 100 events, so that the size of the text does not count.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fanout import Server, ours
from playwright.sync_api import Browser, sync_playwright

WIDGET = Path(__file__).parent.parent / "jupyter_sse" / "static" / "widget.js"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START = {"kind": "task", "title": "Join", "cancellable": True}
DONE = '{"type":"done","reason":"stop"}'
FEW = 100

# kind -> the events' texts for a stream of `count` events, of which the longest has `most`
KINDS: dict[str, Callable[[int, int], Iterator[dict[str, object]]]] = {
    "log lines": lambda count, most: ({"type": "log", "text": f"epoch {n} loss 0.{n:06}"} for n in range(count)),
    "progress": lambda count, most: ({"type": "progress", "n": n + 1, "total": count} for n in range(count)),
    "answer, as long": lambda count, most: (
        {"type": "delta", "text": words(n * most // count, (n + 1) * most // count)} for n in range(count)
    ),
    "answer, by word": lambda count, most: ({"type": "delta", "text": words(n, n + 1)} for n in range(count)),
}

PAGE = """<!doctype html><script id="jupyter-config-data" type="application/json">%s</script><div id="view"></div>
<script type="module">
import widget from "/join/widget.js";
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
window.show = async (stream, seq) => {
  const el = document.getElementById("view");
  const started = performance.now();
  widget.render({ model: { get: (name) => ({ stream, transport: "server" })[name] }, el });
  const view = el.querySelector("[data-sse-stream]");
  while (Number(view.dataset.sseSeq) < seq) await frame();
  await frame();
  return performance.now() - started;
};
</script>"""


def words(first: int, last: int) -> str:
    return "".join(f"w{n % 1000} " if n % 20 else f"w{n % 1000}.\n\n" for n in range(first, last))


@contextmanager
def server(home: str) -> Iterator[Server]:
    """One that is killed at the end: it has no time to tidy up."""
    with ours(home, kill=True) as running:
        read(running, "streams")
        yield running


def read(running: Server, path: str, method: str = "GET", body: str | None = None) -> bytes:
    answer = running.request(method, f"/jupyter-sse/{path}", body)
    content = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {content!r}")
    return content


def write(running: Server, events: Iterator[dict[str, object]], *, ended: bool) -> str:
    stream: str = json.loads(read(running, "streams", "POST", json.dumps(START)))["stream"]
    lines = [*map(json.dumps, events), *([DONE] if ended else [])]
    for first in range(0, len(lines), 500):
        read(running, f"streams/{stream}/events", "POST", "\n".join(lines[first : first + 500]))
    return stream


def by_http(running: Server, stream: str, seq: int) -> float:
    """Until the snapshot is here."""
    started = time.perf_counter()
    answer = running.request("GET", f"/jupyter-sse/streams/{stream}/events?snapshot=1")
    while not (line := answer.readline()).startswith(b'data: {"type":"reset"'):
        if not line:
            raise SystemExit(f"no snapshot of {stream}")
    taken = 1000 * (time.perf_counter() - started)
    if json.loads(line[6:])["seq"] != seq:
        raise SystemExit(f"the snapshot of {stream} is not the last one")
    answer.close()
    return taken


def in_browser(browser: Browser, running: Server, stream: str, seq: int) -> float:
    """Until the view stands, in a profile of its own."""
    config = json.dumps({"baseUrl": "/", "token": running.token})
    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/join/", lambda route: route.fulfill(body=PAGE % config, content_type="text/html"))
        page.route("**/join/widget.js", lambda route: route.fulfill(path=WIDGET, content_type="text/javascript"))
        page.goto(f"http://127.0.0.1:{running.port}/join/")
        page.wait_for_function("() => Boolean(window.show)")
        taken: float = page.evaluate("([stream, seq]) => window.show(stream, seq)", [stream, seq])
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events, one round")
    options = parser.parse_args()
    many, rounds = (10_000, 1) if options.quick else (100_000, 5)
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    times: dict[tuple[str, bool, str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        with server(home) as running:
            streams = {
                (kind, ended, count): (write(running, make(count, many), ended=ended), 1 + count + ended)
                for kind, make in KINDS.items()
                for ended in (False, True)
                for count in (FEW, many)
            }
            first = write(running, KINDS["log lines"](FEW, FEW), ended=False)

        def measure(how: str, take: Callable[[str, int], float]) -> None:
            for (kind, ended, count), (stream, seq) in streams.items():
                times.setdefault((kind, ended, how, count), []).append(take(stream, seq))

        for _ in range(rounds):
            for name, way in (("HTTP", by_http), ("Chromium", partial(in_browser, browser))):
                with server(home) as running:
                    take = partial(way, running)
                    take(first, 1 + FEW)  # what a new server does once is not counted
                    measure(f"{name}, cold", take)
                    measure(f"{name}, warm", take)
        browser.close()
    print(f"{'ms, median of ' + str(rounds):44}{FEW:>8}{many:>10}{'ratio':>8}")
    for (kind, ended, how, count), taken in times.items():
        if count == FEW:
            few, lots = statistics.median(taken), statistics.median(times[kind, ended, how, many])
            name = f"{kind}, {'ended' if ended else 'running'}, {how}"
            print(f"{name:44}{few:8.1f}{lots:10.1f}{lots / few:7.1f}x", flush=True)


if __name__ == "__main__":
    main()
