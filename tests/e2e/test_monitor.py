"""The monitor page, on a phone: with the notebook closed, and for people who have to sign in first."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import PHONE, new_context
from harness import JupyterServer, wait_for
from playwright.sync_api import Browser, Locator, Page, expect
from test_lab import GATE, opened, streams


@pytest.fixture
def phone(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    context = new_context(browser, **PHONE)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    print("The console:", *said, sep="\n")
    page.screenshot(path=tmp_path / "last.png")
    context.close()
    assert not [line for line in said if "Content Security Policy" in line or "Error" in line]


def open_monitor(page: Page, server: JupyterServer, hash: str = "") -> None:
    page.goto(f"{server.url}?token={server.token}{hash}")
    expect(page.get_by_role("main")).to_be_visible()


def row(page: Page, title: str) -> Locator:
    return page.get_by_role("listitem").filter(has_text=title)


def titles(page: Page) -> list[str]:
    return page.locator(".jsse-row .jsse-title").all_inner_texts()


def test_a_run_is_watched_and_cancelled_with_its_notebook_closed(
    open_notebook: Any, lab: JupyterServer, phone: Page
) -> None:
    cell = """
with task("Bake rolls", steps=2) as t:
    t.step("Kneading")
    for i in track(range(10), "rounds"):
        t.log(f"round {i}")
        wait_for(f"monitor-{i}")
"""
    notebook = open_notebook(GATE, cell)
    notebook.run(0)
    expect(notebook.run(1)).to_contain_text("round 0")
    notebook.page.goto("about:blank")

    open_monitor(phone, lab)
    item = row(phone, "Bake rolls")
    expect(item).to_contain_text("[1/2] Kneading")
    for index in range(5):
        opened(notebook, f"monitor-{index}")
    expect(item.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
    expect(item.get_by_role("link", name=notebook.path.name)).to_have_attribute(
        "href", f"/lab/tree/{notebook.path.name}"
    )

    item.get_by_role("link", name="Bake rolls").tap()
    view = phone.locator("[data-sse-stream]")
    expect(view.locator("[data-sse-part=log]")).to_contain_text("round 5")
    expect(phone.get_by_role("link", name="Open the notebook")).to_be_visible()
    expect(phone).to_have_title("Bake rolls · Streams")
    opened(notebook, "monitor-5")
    expect(view.locator("[data-sse-part=log]")).to_contain_text("round 6")
    phone.reload()
    expect(view.locator("[data-sse-part=log]")).to_contain_text("round 6")
    phone.get_by_role("link", name="All streams").tap()

    with phone.expect_response(re.compile("/cancel$")):
        item.get_by_role("button", name="Cancel").tap()
    opened(notebook, "monitor-6")
    expect(item).to_have_attribute("data-sse-status", "cancelled")
    expect(item).to_contain_text("Cancelled")
    wait_for(lambda: [entry["status"] for entry in streams(lab, notebook)] == ["cancelled"], "the run to end")


def test_the_list_lives_and_can_be_filtered_and_forgotten(make_server: Any, phone: Page) -> None:
    server = make_server()
    open_monitor(phone, server)
    expect(phone.get_by_text("Nothing has run yet.")).to_be_visible()
    bread, cake = server.create(title="Brot backen"), server.create(title="خبز الكعك", kind="answer")
    expect(row(phone, "خبز الكعك")).to_be_visible()
    server.append(bread, '{"type":"error","message":"burnt"}')
    expect(row(phone, "Brot")).to_contain_text("Failed")
    assert titles(phone) == ["خبز الكعك", "Brot backen"]
    starts = """titles => titles.map(title => {
        const text = document.createRange();
        text.selectNodeContents(title);
        return Math.round(text.getBoundingClientRect().x);
    })"""
    assert len(set(phone.locator(".jsse-row .jsse-title").evaluate_all(starts))) == 1, "titles begin below each other"
    expect(phone.get_by_text("1 running, 1 ended")).to_be_visible()

    phone.get_by_role("button", name="Failed").tap()
    assert titles(phone) == ["Brot backen"]
    phone.get_by_role("button", name="All", exact=True).tap()
    phone.get_by_role("searchbox").fill("answer كعك")
    assert titles(phone) == ["خبز الكعك"]
    phone.reload()
    expect(phone.get_by_role("searchbox")).to_have_value("answer كعك")
    expect(row(phone, "خبز")).to_be_visible()
    row(phone, "خبز").get_by_role("link").tap()
    expect(phone.locator(f'[data-sse-stream="{cake}"]')).to_be_visible()
    phone.go_back()
    assert titles(phone) == ["خبز الكعك"]
    phone.get_by_role("searchbox").fill("nothing like it")
    phone.get_by_role("button", name="Show all").tap()

    forget = row(phone, "Brot").get_by_role("button")
    expect(forget).to_have_accessible_description("Brot backen")
    forget.tap()
    expect(forget).to_have_text("Really forget?")
    forget.tap()
    expect(row(phone, "Brot")).to_have_count(0)
    assert server.request("GET", f"streams/{bread}").status_code == 410
    open_monitor(phone, server, f"#/{bread}")
    expect(phone.get_by_role("alert")).to_contain_text("This stream has been deleted")


def test_the_connection_is_lost_and_comes_back(make_server: Any, phone: Page, tmp_path: Path) -> None:
    server = make_server("--SSE.retry=100", home=tmp_path / "home")
    server.create(title="Before")
    open_monitor(phone, server)
    expect(row(phone, "Before")).to_be_visible()
    server.stop()
    expect(phone.get_by_role("status").filter(has_text="Reconnecting")).to_be_visible()
    server.start()
    server.create(title="After")
    expect(row(phone, "After")).to_be_visible()
    expect(phone.get_by_text("Reconnecting")).to_have_count(0)


def test_who_is_signed_out_meanwhile_can_sign_in_again(make_server: Any, phone: Page, tmp_path: Path) -> None:
    server = make_server("--SSE.retry=100", home=tmp_path / "home")
    server.create(title="Before")
    open_monitor(phone, server)
    expect(row(phone, "Before")).to_be_visible()
    phone.context.clear_cookies()
    server.stop()
    server.start()
    expect(phone.get_by_role("alert")).to_contain_text("no longer signed in")
    expect(row(phone, "Before")).to_be_visible()
    phone.get_by_role("button", name="Sign in").tap()
    expect(phone).to_have_url(re.compile(r"/login\?next="))


def test_back_is_where_one_was(make_server: Any, phone: Page) -> None:
    server = make_server()
    for index in range(60):
        server.append(server.create(title=f"Job {index:02}"), '{"type":"done"}')
    open_monitor(phone, server)
    link = row(phone, "Job 25").get_by_role("link")
    # A tap scrolls by itself where it has to try again: what counts is where the page stood when it was felt.
    phone.evaluate("addEventListener('click', () => { window.before = scrollY }, { capture: true })")
    for back in (phone.go_back, phone.get_by_role("link", name="All streams").tap):
        link.tap()
        before = phone.evaluate("window.before")
        assert before > 500
        expect(phone.locator("[data-sse-stream]")).to_be_visible()
        expect(phone).to_have_title("Job 25 · Streams")
        back()
        expect(link).to_be_focused()
        expect(link).to_be_in_viewport()
        assert abs(phone.evaluate("scrollY") - before) < 100
        expect(phone).to_have_title("Streams")


@pytest.mark.parametrize("base_url", ["/", "/user/zoe@example.org/"])
def test_people_are_sent_to_sign_in_and_back(make_server: Any, phone: Page, base_url: str) -> None:
    server = make_server(base_url=base_url)
    server.create(title="Secret work")
    phone.goto(server.url)
    expect(phone).to_have_url(re.compile(r"/login\?next="))
    phone.locator("input[type=password]").first.fill(server.token)
    phone.keyboard.press("Enter")
    expect(row(phone, "Secret work")).to_be_visible()
    assert phone.url.rstrip("#/").endswith("/jupyter-sse")


def test_a_token_does_not_stay_in_the_address(server: JupyterServer, phone: Page) -> None:
    open_monitor(phone, server, "#/?state=failed")
    assert "token" not in phone.url
    assert phone.url.endswith("#/?state=failed")


def test_only_people_are_redirected(server: JupyterServer) -> None:
    def get(path: str, accept: str, **headers: str) -> httpx.Response:
        return httpx.get(server.root + path, headers={"Accept": accept, **headers}, trust_env=False)

    page = get("jupyter-sse/", "text/html,*/*;q=0.8")
    assert (page.status_code, page.headers["Location"]) == (302, "/login?next=%2Fjupyter-sse%2F")
    paths = ("jupyter-sse/streams", "jupyter-sse/streams/x/events", "jupyter-sse/none")
    for path, accept in [
        *((path, "text/html") for path in paths),
        *(("jupyter-sse/", accept) for accept in ("application/json", "text/event-stream", "*/*")),
    ]:
        answer = get(path, accept)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (path, accept)
        assert "Location" not in answer.headers

    for path in ("jupyter-sse", f"jupyter-sse?token={server.token}", f"jupyter-sse/?token={server.token}"):
        answer = get(path, "text/html", **server.headers)
        # Not a 301, which a browser keeps and follows without the token.
        assert (answer.status_code, answer.headers["Location"]) == (302, "/jupyter-sse/"), path
    answer = get("jupyter-sse/", "text/html", **server.headers)
    assert json.loads(re.findall(r'application/json">(.*?)</script>', answer.text)[0])["baseUrl"] == "/"


def test_the_page_runs_its_own_script_alone(server: JupyterServer) -> None:
    policies = set()
    for _ in range(2):
        answer = httpx.get(server.url, headers=server.headers, trust_env=False)
        policy = answer.headers["Content-Security-Policy"]
        nonce = re.findall(r'<script type="module" nonce="([^"]+)"', answer.text)[0]
        assert f"script-src 'nonce-{nonce}'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "unsafe" not in policy
        policies.add(policy)
    assert len(policies) == 2


# Headless Chromium shows no notifications: what the page asks for is kept here, and clicked as a person would.
NOTIFICATIONS = """
window.told = [];
window.Notification = class {
    static permission = ANSWER;
    static requestPermission = async () => { window.asked = true; return Notification.permission };
    constructor(title, { tag }) { window.told.push(this); this.title = title; this.tag = tag }
    close() { this.closed = true }
};
Object.defineProperty(document, "hidden", { get: () => window.isAway ?? false });
"""


def told(page: Page) -> list[str]:
    titles: list[str] = page.evaluate("told.filter(({ tag }) => tag !== 'jupyter-sse').map(({ title }) => title)")
    return titles


def test_a_hidden_page_tells_when_a_stream_ends(make_server: Any, phone: Page) -> None:
    server = make_server("--SSE.notify_after=60")
    phone.add_init_script(NOTIFICATIONS.replace("ANSWER", "'granted'"))
    open_monitor(phone, server)
    button = phone.get_by_role("button", name="Notify me")
    expect(button).to_have_attribute("aria-pressed", "false")
    assert not phone.evaluate("window.asked")
    button.tap()
    expect(button).to_have_attribute("aria-pressed", "true")
    phone.reload()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert not phone.evaluate("window.asked"), "only a press asks"

    streams = {}
    for title in ("تدريب", "Seen", "Off"):
        streams[title] = server.create(title=title)
        expect(row(phone, title)).to_be_visible()
    # It is the server's clock that says how long they ran.
    with sqlite3.connect(server.home / "data" / "jupyter-sse" / "streams.db") as log:
        log.execute("UPDATE streams SET created = created - 75")
    log.close()
    short = server.create(title="Short")
    phone.evaluate("isAway = true")
    server.append(short, '{"type":"done"}')
    server.append(streams["تدريب"], '{"type":"error","message":"out of memory"}')
    wait_for(lambda: told(phone), "the notification")
    phone.evaluate("isAway = false")
    server.append(streams["Seen"], '{"type":"done"}')
    expect(row(phone, "Seen")).to_have_attribute("data-sse-status", "done")
    (title,) = told(phone)
    assert re.fullmatch(r"تدريب has failed after 1:[123]\d\.", title)

    phone.evaluate("told.at(-1).onclick()")
    expect(phone.locator(f'[data-sse-stream="{streams["تدريب"]}"]')).to_be_visible()
    assert phone.evaluate("told.at(-1).closed")
    phone.go_back()
    button.tap()
    expect(button).to_have_attribute("aria-pressed", "false")
    phone.evaluate("isAway = true")
    server.append(streams["Off"], '{"type":"done"}')
    expect(row(phone, "Off")).to_have_attribute("data-sse-status", "done")
    assert len(told(phone)) == 1
    phone.reload()
    expect(button).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (NOTIFICATIONS.replace("ANSWER", "'denied'"), "settings for this site"),
        (
            NOTIFICATIONS.replace("ANSWER", "'granted'").replace("window.told.push", "throw new TypeError"),
            "A webhook can",
        ),
        ("delete window.Notification", "A webhook can"),
    ],
)
def test_who_cannot_be_notified_is_told_why(server: JupyterServer, phone: Page, script: str, says: str) -> None:
    phone.add_init_script(script)
    open_monitor(phone, server)
    button = phone.get_by_role("button", name="Notify me")
    button.tap()
    expect(phone.get_by_role("status").filter(has_text=says)).to_be_visible()
    expect(button).to_have_attribute("aria-pressed", "false")


def test_the_browser_itself_is_asked(server: JupyterServer, page: Page) -> None:
    page.context.grant_permissions(["notifications"], origin=server.root.rstrip("/"))
    open_monitor(page, server)
    button = page.get_by_role("button", name="Notify me")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    page.context.clear_permissions()
    page.reload()
    expect(button).to_have_attribute("aria-pressed", "false")


def test_many_ended_streams_are_listed(make_server: Any, phone: Page) -> None:
    server = make_server()
    for index in range(120):
        stream = server.create(title=f"Job {index}")
        server.append(stream, '{"type":"done"}')
    open_monitor(phone, server)
    expect(phone.get_by_role("listitem")).to_have_count(120)
    assert titles(phone)[:2] == ["Job 119", "Job 118"]
