"""Behind a real JupyterHub: its proxy, its sign-in, its cookies and XSRF, and two users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from browser import Notebook, write_notebook
from harness import wait_for
from hub import Hub, HubServer
from playwright.sync_api import Browser, BrowserContext, Page, expect
from proxies import nginx
from reading import Reading
from test_lab import GATE, opened, status, streams

from jupyter_sse.client import Client
from jupyter_sse.events import Log


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("hub"))
    try:
        yield hub.start()
    finally:
        hub.stop()


@pytest.fixture(scope="module")
def amal(hub: Hub) -> HubServer:
    return hub.serve("amal")


@pytest.fixture(scope="module")
def basil(hub: Hub) -> HubServer:
    return hub.serve("basil@example.org")


TASK = """
with task("Bake خبز") as t:
    for i in track(range(10**6), "rounds"):  # Cancel alone ends it
        t.log(f"round {i}")
        if i in (5, 10):
            wait_for(f"hub-{i}")
"""


def test_a_task_is_live_is_reloaded_and_cancelled(hub: Hub, amal: HubServer, page: Page) -> None:
    path = write_notebook(amal, "hub.ipynb", GATE, TASK, "from jupyter_sse import connect\nprint(connect())")
    page.goto(hub.root)
    hub.sign_in(page, "amal")
    page.wait_for_url(f"{amal.root}lab**")
    notebook = Notebook(page, amal, path).open()
    notebook.run(0)
    view = notebook.run(1)
    expect(view).to_contain_text("round 5")
    status(view, "running")
    assert page.evaluate("window.eventStreams.length") == 1, "it came as an event stream"

    page.reload()
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    view = notebook.view(1)
    expect(view).to_contain_text("round 5")
    status(view, "running")
    opened(notebook, "hub-5")
    expect(view).to_contain_text("round 10")
    view.locator('[data-sse-action="cancel"]').click()
    expect(view).to_contain_text("Cancelling…")
    opened(notebook, "hub-10")
    status(notebook.view(1), "cancelled")
    notebook.wait_idle()
    [entry] = streams(amal, notebook)
    assert (entry["status"], entry["title"]) == ("cancelled", "Bake خبز")

    # The kernel is not told of the Hub: it has its own server by the shortest way.
    notebook.cell(2).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    expect(notebook.output(2)).to_contain_text("<connected: http://127.0.0.1:")
    expect(notebook.output(2)).to_contain_text("/user/amal/jupyter-sse/>")
    expect(notebook.output(2)).not_to_contain_text(f":{hub.port}/")


def test_the_monitor_page_sends_to_the_hub_to_sign_in_and_cancels(hub: Hub, amal: HubServer, page: Page) -> None:
    stream = amal.create(title="From a script", cancellable=True)
    page.goto(amal.url)
    hub.sign_in(page, "amal")
    page.get_by_role("link", name="From a script").click()
    assert page.url == f"{amal.url}#/{stream}"
    view = page.locator("[data-sse-stream]")
    amal.append(stream, '{"type":"log","text":"سطر"}')
    expect(view).to_contain_text("سطر")
    view.locator('[data-sse-action="cancel"]').click()
    told = wait_for(
        lambda: amal.append(stream, '{"type":"progress","bar":"b","n":1}').json().get("cancelled"), "the cancel"
    )
    assert told is True


# What a page of one's own has to do: name -> [the answer's status, or the first event].
PAGE = """
async (url) => {
  const xsrf = /(?:^|;\\s*)_xsrf=([^;]*)/.exec(document.cookie)[1];
  const status = async (path, options) => (await fetch(url + path, options)).status;
  const hello = (query) => new Promise((resolve) => {
    const source = new EventSource(`${url}streams/${stream}/events${query}`);
    source.addEventListener("hello", (event) => { source.close(); resolve(JSON.parse(event.data).type); });
    source.onerror = () => { source.close(); resolve("refused"); };
  });
  const signed = { headers: { "X-XSRFToken": xsrf } };
  const made = await fetch(url + "streams", { method: "POST", body: "{}", ...signed });
  const { stream } = await made.json();
  return {
    "GET without": await status("streams"),
    "GET with": await status("streams", signed),
    "POST without": await status(`streams/${stream}/cancel`, { method: "POST" }),
    "POST with": await status(`streams/${stream}/cancel`, { method: "POST", ...signed }),
    "EventSource without": await hello(""),
    "EventSource with": await hello(`?_xsrf=${encodeURIComponent(xsrf)}`),
  };
}
"""


def test_the_hub_wants_its_xsrf_token_even_for_what_only_reads(hub: Hub, amal: HubServer, page: Page) -> None:
    page.goto(amal.url)
    hub.sign_in(page, "amal")
    expect(page.get_by_role("main")).to_be_visible()
    assert page.evaluate(PAGE, amal.url) == {
        "GET without": 403,
        "GET with": 200,
        "POST without": 403,
        "POST with": 202,
        "EventSource without": "refused",
        "EventSource with": "hello",
    }


ENDPOINT = """
from jupyter_sse import endpoint

@endpoint("/count/<name>")
def count(name, n: int = 2):
    for i in range(n):
        yield {"type": "progress", "n": i, "message": name}
"""


def test_an_endpoint_is_its_users_alone(hub: Hub, amal: HubServer, basil: HubServer, page: Page) -> None:
    path = write_notebook(amal, "endpoint.ipynb", ENDPOINT)
    page.goto(hub.root)
    hub.sign_in(page, "amal")
    page.wait_for_url(f"{amal.root}lab**")
    notebook = Notebook(page, amal, path).open()
    notebook.run(0)
    notebook.wait_idle()
    wait_for(lambda: amal.request("GET", "e/count/x").status_code == 200, "the endpoint to be served")
    frames = Reading(amal, "e/count/%D8%A3%D9%85%D9%84?n=1").read()
    assert [frame.event for frame in frames] == ["hello", "progress", "done"]
    assert '"message":"أمل"' in frames[1].data
    assert amal.request("GET", "e/count/x", headers=basil.headers).status_code == 403
    assert basil.request("GET", "e/count/x").status_code == 404
    # A page of the user's, with what the Hub wants of it.
    ask = """async (url) => {
      const xsrf = /(?:^|;\\s*)_xsrf=([^;]*)/.exec(document.cookie)[1];
      return (await (await fetch(url, { headers: { "X-XSRFToken": xsrf } })).text()).includes("event: done");
    }"""
    assert page.evaluate(ask, f"{amal.url}e/count/x")


def test_each_user_has_only_their_own_streams(
    hub: Hub, amal: HubServer, basil: HubServer, browser: Browser, context: BrowserContext
) -> None:
    hers, his = amal.create(title="Hers"), basil.create(title="His")
    assert hers in {entry["stream"] for entry in amal.request("GET", "streams").json()}
    assert [entry["stream"] for entry in basil.request("GET", "streams").json()] == [his]
    with context.new_page() as page:
        page.goto(basil.url)
        hub.sign_in(page, basil.name)
        expect(page.get_by_role("listitem").filter(has_text="His")).to_be_visible()
        expect(page.get_by_text("Hers")).to_have_count(0)
        # Both are on one origin, so this is no cross-origin request.
        for path, method in (("streams", "GET"), (f"streams/{hers}/events", "GET"), (f"streams/{hers}/cancel", "POST")):
            asked = "async ([url, method]) => (await fetch(url, {method, headers: {'X-XSRFToken': 'x'}})).status"
            assert page.evaluate(asked, [amal.url + path, method]) == 403
        answer = page.goto(amal.url)
        assert answer is not None
        assert answer.status == 403
    amal_asks = {"headers": amal.headers}
    for path in ("streams", f"streams/{his}", f"streams/{his}/events", "e/any", "openai/models"):
        assert basil.request("GET", path, **amal_asks).status_code == 403
    with Client(f"{basil.root}lab", basil.api_token) as client:
        assert [info.stream for info in client.streams()] == [his]


def test_users_who_share_a_home_do_not_share_streams(hub: Hub, amal: HubServer) -> None:
    hub.home_of("dana").symlink_to(hub.home_of("amal"))
    hers = amal.create(title="Amal's")
    dana = hub.serve("dana")
    assert dana.request("GET", "streams").json() == []
    assert dana.request("GET", f"streams/{hers}").status_code == 404
    theirs = dana.create(title="Dana's")
    assert [entry["stream"] for entry in dana.request("GET", "streams").json()] == [theirs]
    assert theirs not in {entry["stream"] for entry in amal.request("GET", "streams").json()}


def test_nginx_in_front_of_the_hub_lets_events_through_one_by_one(amal: HubServer, tmp_path: Path) -> None:
    stream = amal.create()
    with nginx(amal, tmp_path / "nginx") as port:
        reading = Reading(amal, f"streams/{stream}/events", port=port)
        for number in range(3, 6):
            amal.append(stream, '{"type":"log","text":"one more"}')
            assert [frame.event for frame in reading.read(number)][2:] == ["log"] * (number - 2)


def test_readers_wait_while_the_hub_restarts_the_users_server(hub: Hub, basil: HubServer, page: Page) -> None:
    stream = basil.create(title="Long")
    read: list[str] = []

    def read_all() -> None:
        with Client(basil.root, basil.api_token) as client:
            read.extend(event.text for _, event in client.events(stream) if isinstance(event, Log))

    reader = Thread(target=read_all, daemon=True)
    reader.start()
    page.goto(basil.url)
    hub.sign_in(page, basil.name)
    page.get_by_role("link", name="Long").click()
    view = page.locator("[data-sse-stream]")
    basil.append(stream, '{"type":"log","text":"before"}')
    expect(view).to_contain_text("before")
    wait_for(lambda: read, "the first line")
    hub.stop_server(basil)
    answers = [basil.request("GET", "streams", follow_redirects=follow).status_code for follow in (False, True)]
    assert answers == [302, 424]  # which are the Hub's
    status(view, "error")  # the Hub refuses what a page posts
    hub.start_server(basil)
    basil.append(stream, '{"type":"log","text":"after"}', '{"type":"done"}')
    reader.join(60)
    assert read == ["before", "after"]
    page.reload()  # which signs in again, by the Hub's own cookie
    expect(view).to_contain_text("after")
    status(view, "done")
