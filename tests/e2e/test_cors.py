"""A page on another origin, in a real browser: what the server lets it do, and what not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from conftest import MakeServer
from harness import JupyterServer
from playwright.sync_api import Page, expect


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of a server that has nothing but an empty page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


# By name, what comes of it: a status, the id of the first event after the cursor, or "refused" by the browser.
ASK = """
async ({ url, stream, token }) => {
  const events = `${url}streams/${stream}/events`;
  const xsrf = /(?:^|;\\s*)_xsrf=([^;]*)/.exec(document.cookie)?.[1] ?? "";
  const status = async (path, options) => (await fetch(url + path, options)).status;
  const json = { "Content-Type": "application/json" };
  const first = async (options) => {
    const answer = await fetch(events, options);
    if (!answer.ok) return answer.status;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ; text += (await reader.read()).value) {
      const id = /^id: ?(.*)$/m.exec(text);
      if (id) { await reader.cancel(); return `event ${id[1]}`; }
    }
  };
  const source = (query, init) => new Promise((resolve) => {
    const source = new EventSource(events + query, init);
    source.addEventListener("log", (event) => { source.close(); resolve(`event ${event.lastEventId}`); });
    source.onerror = () => { source.close(); resolve("refused"); };
  });
  const socket = (query) => new Promise((resolve) => {
    const socket = new WebSocket(url.replace("http", "ws") + "socket" + query);
    socket.onmessage = (event) => { socket.close(); resolve(event.data.includes("hello") ? "hello" : event.data); };
    socket.onerror = () => resolve("refused");
  });
  const byToken = { Authorization: `token ${token}` };
  const byCookie = { credentials: "include" };
  const question = JSON.stringify({ message: "Hi", model: "demo" });
  const chat = () => fetch(url + "chat", { method: "POST", headers: { ...byToken, ...json }, body: question });
  const asked = {
    "resume by token": () => first({ headers: { ...byToken, "Last-Event-ID": "1" } }),
    "resume by cookie": () => first({ headers: { "Last-Event-ID": "1" }, ...byCookie }),
    "EventSource by cookie": () => source("", { withCredentials: true }),
    "EventSource by token": () => source(`?token=${token}`),
    "EventSource by nothing": () => source(""),
    "chat by token": async () => (await chat()).status,
    "chat too often": async () => ((answer) => `${answer.status} ${answer.headers.has("Retry-After")}`)(await chat()),
    "cancel by token": () => status(`streams/${stream}/cancel`, { method: "POST", headers: byToken }),
    "cancel by cookie": () => status(`streams/${stream}/cancel`, {
      method: "POST", headers: { "X-XSRFToken": xsrf }, ...byCookie,
    }),
    "cancel by cookie alone": () => status(`streams/${stream}/cancel`, { method: "POST", ...byCookie }),
    "delete by token": () => status("streams/none", { method: "DELETE", headers: byToken }),
    "socket by cookie": () => socket(""),
    "socket by token": () => socket(`?token=${token}`),
  };
  const results = {};
  for (const [name, ask] of Object.entries(asked)) results[name] = await ask().catch(() => "refused");
  return results;
}
"""
BY_TOKEN = {
    "resume by token": "event 2",
    "EventSource by token": "event 2",
    "chat by token": 201,
    "chat too often": "429 true",
    "cancel by token": 202,
    "delete by token": 404,
    "socket by token": "hello",
}
BY_COOKIE = {
    "resume by cookie": "event 2",
    "EventSource by cookie": "event 2",
    "cancel by cookie": 202,
    "socket by cookie": "hello",
}
BY_NEITHER = {"EventSource by nothing": "refused", "cancel by cookie alone": 403}


def ask(page: Page, server: JupyterServer, origin: str) -> tuple[dict[str, Any], bool]:
    """What comes of all, and whether the stream was cancelled."""
    page.goto(f"{server.url}?token={server.token}")  # signs in
    expect(page.get_by_role("main")).to_be_visible()
    page.goto(origin)
    stream = server.create()
    server.append(stream, '{"type":"log","text":"one"}')
    results: dict[str, Any] = page.evaluate(ASK, {"url": server.url, "stream": stream, "token": server.token})
    return results, "cancelled" in server.append(stream, '{"type":"done"}').json()


@pytest.fixture
def allowing(make_server: MakeServer) -> Callable[[str], JupyterServer]:
    """A server that allows this origin."""

    def make(origin: str) -> JupyterServer:
        options = (f"--ServerApp.allow_origin={origin}", "--ServerApp.allow_credentials=True")
        return make_server(*options, "--SSE.chat_rate=1/hour")

    return make


def test_an_origin_that_is_allowed_may_all(
    page: Page, allowing: Callable[[str], JupyterServer], elsewhere: int
) -> None:
    origin = f"http://127.0.0.1:{elsewhere}"
    assert ask(page, allowing(origin), origin) == (BY_TOKEN | BY_COOKIE | BY_NEITHER, True)


def test_cookies_do_not_go_to_another_site_but_the_token_does(
    page: Page, allowing: Callable[[str], JupyterServer], elsewhere: int
) -> None:
    origin = f"http://localhost:{elsewhere}"
    results, cancelled = ask(page, allowing(origin), origin)
    assert cancelled
    without = {"resume by cookie": 403, "EventSource by cookie": "refused", "cancel by cookie": 403}
    assert results == BY_TOKEN | without | {"socket by cookie": "refused"} | BY_NEITHER


def test_an_origin_that_is_not_allowed_may_only_what_jupyter_lets_a_token_in_the_url_do(
    page: Page, server: JupyterServer, allowing: Callable[[str], JupyterServer], elsewhere: int
) -> None:
    refused = dict.fromkeys(BY_TOKEN | BY_COOKIE | BY_NEITHER, "refused")
    in_the_url = {"EventSource by token": "event 2", "socket by token": "hello"}
    origin = f"http://127.0.0.1:{elsewhere}"
    assert ask(page, server, origin) == (refused | in_the_url, False)
    # Where another origin is allowed, Jupyter carries out what has the token, and the page cannot read the answer.
    assert ask(page, allowing("http://example.org"), origin) == (refused | {"socket by token": "hello"}, True)
