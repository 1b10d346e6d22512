"""The pages of docs/examples in Chromium, on an origin of their own, against a real server with its token on."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest
from faults import fault_proxy
from harness import REPOSITORY, JupyterServer, wait_for
from npm import JS, install, node, npm
from playwright.sync_api import Locator, Page, expect
from test_chat_panel import ECHO

EXAMPLES = REPOSITORY / "docs" / "examples"
BUNDLED = ("react.jsx", "video.jsx", "vue.js", "consumer.js", "mount.js", "audio.js")
PAGES = ("eventsource", "fetch", "react", "vue", "consumer", "mount", "page")
ARABIC = "لماذا السماء زرقاء؟"
BUNDLE = """
const [esbuild, from, to, paths, ...names] = process.argv.slice(2);
await (await import(esbuild)).build({
  entryPoints: names.map((name) => `${from}/${name}`), outdir: to, bundle: true, format: "esm", jsx: "automatic",
  nodePaths: paths.split(","), logLevel: "warning", alias: { vue: "vue/dist/vue.esm-bundler.js" },
  define: { "process.env.NODE_ENV": '"development"' },
});
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts that are made of packages, as a bundler makes them for a page."""
    folder = tmp_path_factory.mktemp("bundles")
    install()
    npm("run", "prepack")
    installed = folder / "node_modules"
    installed.mkdir()
    (installed / "jupyter-sse").symlink_to(JS)
    (folder / "bundle.mjs").write_text(BUNDLE)
    out = folder / "out"
    esbuild, paths = JS / "node_modules" / "esbuild" / "lib" / "main.js", f"{installed},{JS / 'node_modules'}"
    subprocess.run([node(), "bundle.mjs", esbuild, EXAMPLES, out, paths, *BUNDLED], cwd=folder, check=True, timeout=120)
    return out


@pytest.fixture(scope="module")
def origin(bundles: Path) -> Iterator[str]:
    """A web server that has nothing to do with Jupyter."""

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            name = path.partition("?")[0].lstrip("/")
            return str(bundles / f"{Path(name).stem}.js" if name in BUNDLED else EXAMPLES / name)

        def guess_type(self, path: Any) -> str:
            return "text/html; charset=utf-8" if str(path).endswith(".html") else "text/javascript"

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://localhost:{httpd.server_port}/"
        httpd.shutdown()


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory, origin: str) -> Iterator[JupyterServer]:
    """Its model says what it is asked, word by word; at `wait:<name>` it waits for that file, `fail:<why>` fails."""
    options = ("--SSE.providers={'echo': 'echo:echo'}", "--SSE.chat_model=echo", "--SSE.chat_rate=")
    home = tmp_path_factory.mktemp("examples")
    server = JupyterServer(home, *options, f"--ServerApp.allow_origin={origin.rstrip('/')}")
    (home / "echo.py").write_text(ECHO)
    yield server.start()
    server.stop()


class Example:
    """One of the pages, open."""

    def __init__(self, page: Page, origin: str, name: str, chat: JupyterServer, **more: str) -> None:
        self.page = page
        self.name = name
        page.goto(f"{origin}{name}.html#{urlencode({'server': chat.root, 'token': chat.token} | more)}")

    def ask(self, question: str) -> None:
        self.page.get_by_role("textbox", name="Question").fill(question)
        self.page.get_by_role("button", name="Send" if self.name == "page" else "Ask").click()

    @property
    def answer(self) -> Locator:
        return self.page.locator(
            {"page": "#log p:not(.question, .note)", "mount": "[data-sse-part=answer]"}.get(self.name, "#answer")
        )

    @property
    def status(self) -> Locator:
        return self.page.locator({"page": "#log .note", "mount": "[data-sse-stream]"}.get(self.name, "#status"))

    def stop(self) -> None:
        self.page.get_by_role("button", name="Cancel" if self.name == "mount" else "Stop").click()


@pytest.fixture(params=PAGES)
def example(request: pytest.FixtureRequest, page: Page, origin: str, chat: JupyterServer) -> Example:
    return Example(page, origin, request.param, chat)


def go(server: JupyterServer, name: str) -> None:
    (server.notebooks / name).touch()


def entries(server: JupyterServer, title: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.request("GET", "streams").json()
    return [entry for entry in found if title in (entry["title"] or "")]


def test_an_answer_comes_in_pieces(example: Example, chat: JupyterServer) -> None:
    gate = f"go-{example.name}"
    example.ask(f"{ARABIC} wait:{gate} نعم 👩‍👩‍👧‍👦 end")
    expect(example.answer).to_contain_text(ARABIC)
    expect(example.answer).not_to_contain_text("end")
    assert example.answer.evaluate("(it) => getComputedStyle(it.querySelector('p') ?? it).direction") == "rtl"
    go(chat, gate)
    expect(example.answer).to_have_text(f"(0) {ARABIC} | نعم 👩‍👩‍👧‍👦 end")
    assert len(entries(chat, gate)) == 1, "one question is asked once"


def test_stop_stops_the_model(example: Example, chat: JupyterServer) -> None:
    gate = f"never-{example.name}"
    example.ask(f"one wait:{gate} two")
    expect(example.answer).to_contain_text("one")
    example.stop()
    expect(example.status).to_contain_text(re.compile("cancelled|stopped", re.IGNORECASE))
    assert [entry["status"] for entry in entries(chat, gate)] == ["cancelled"]
    expect(example.answer).not_to_contain_text("two")


def test_what_went_wrong_is_said_and_another_question_may_follow(example: Example, chat: JupyterServer) -> None:
    example.ask("half fail:the-model-is-tired")
    expect(example.page.get_by_text("the-model-is-tired").last).to_be_visible()
    expect(example.page.locator("body")).to_contain_text(re.compile(r"(Error: |^|\s)the-model-is-tired"))
    expect(example.answer.first).to_contain_text("half")
    example.ask("whole")
    expect(example.answer.last).to_have_text(re.compile(r"^\(\d\) whole ?$"))


@pytest.mark.parametrize("name", [name for name in PAGES if name != "page"])
def test_a_question_before_the_last_is_answered_has_the_page_to_itself(
    page: Page, origin: str, chat: JupyterServer, name: str
) -> None:
    example = Example(page, origin, name, chat)
    example.ask(f"one wait:first-{name} more")
    expect(example.answer).to_contain_text("one")
    example.ask(f"two wait:second-{name} end")
    expect(example.answer).to_contain_text("two")
    go(chat, f"first-{name}")
    wait_for(lambda: [entry["status"] for entry in entries(chat, f"first-{name}")] == ["done"], "the first to end")
    go(chat, f"second-{name}")
    expect(example.answer).to_have_text(re.compile(r"^\(0\) two \| end ?$"))


@pytest.mark.parametrize("name", [name for name in PAGES if name != "fetch"])
def test_a_cut_costs_no_word_and_no_second_question(page: Page, origin: str, chat: JupyterServer, name: str) -> None:
    gate = f"cut-{name}"
    with fault_proxy(chat.port) as proxy:
        example = Example(page, origin, name, chat, server=f"http://127.0.0.1:{proxy.port}/")
        example.ask(f"{ARABIC} wait:{gate} end")
        expect(example.answer).to_contain_text(ARABIC)
        proxy.cut()
        go(chat, gate)
        expect(example.answer).to_have_text(re.compile(rf"^\(0\) {re.escape(ARABIC)} \| end ?$"))
        assert proxy.cuts > 0
    assert [entry["status"] for entry in entries(chat, gate)] == ["done"]


@pytest.mark.parametrize("name", PAGES)
def test_a_refusal_is_said(page: Page, origin: str, chat: JupyterServer, name: str) -> None:
    example = Example(page, origin, name, chat, token="wrong")
    example.ask("Why?")
    why = "refused" if name == "eventsource" else "Not allowed."
    expect(page.get_by_text(why).last).to_be_visible()


def test_the_page_goes_on_with_the_conversation(page: Page, origin: str, chat: JupyterServer) -> None:
    example = Example(page, origin, "page", chat)
    for count, question in enumerate(("first", "second", "third")):
        box = page.get_by_role("textbox", name="Question")
        box.fill(question)
        box.press("Enter")
        expect(example.answer.last).to_have_text(re.compile(rf"^\({2 * count}\) {question} ?$"))
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        expect(box).to_be_focused()


def test_the_page_says_that_the_server_is_away(page: Page, origin: str, chat: JupyterServer) -> None:
    page.goto(f"{origin}page.html#{urlencode({'server': 'http://127.0.0.1:9/', 'token': chat.token})}")
    page.get_by_role("textbox", name="Question").fill("Why?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_have_text("The server could not be reached.")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_stop_that_did_not_arrive_may_be_tried_again(page: Page, origin: str, chat: JupyterServer) -> None:
    example = Example(page, origin, "page", chat)
    example.ask("one wait:never-stopped two")
    expect(example.answer).to_contain_text("one")
    page.route("**/cancel", lambda route: route.abort())
    example.stop()
    expect(page.get_by_role("alert")).to_have_text("The server could not be reached.")
    page.unroute("**/cancel")
    example.stop()
    expect(example.status.last).to_have_text("Stopped.")


def test_an_answer_that_is_cut_short_is_said_to_be(page: Page, origin: str, chat: JupyterServer) -> None:
    with fault_proxy(chat.port) as proxy:
        example = Example(page, origin, "fetch", chat, server=f"http://127.0.0.1:{proxy.port}/")
        example.ask("one wait:never-cut two")
        expect(example.answer).to_contain_text("one")
        proxy.cut()
        expect(example.status).to_contain_text("Error: ")
        expect(page.get_by_role("button", name="Stop")).to_be_disabled()


@pytest.mark.parametrize("name", ["eventsource", "fetch", "consumer"])
def test_there_is_nothing_to_stop_before_the_server_has_named_it(
    page: Page, origin: str, chat: JupyterServer, name: str
) -> None:
    example = Example(page, origin, name, chat)
    page.route("**/chat**", lambda route: None)  # never answered
    example.ask("Why?")
    expect(example.status).to_have_text("Connecting")
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()


def test_the_page_explains_an_answer_that_is_not_the_servers(page: Page, origin: str, chat: JupyterServer) -> None:
    example = Example(page, origin, "page", chat)
    headers = {"Access-Control-Allow-Origin": origin.rstrip("/")}
    page.route("**/chat", lambda route: route.fulfill(status=502, headers=headers, body="<html>Bad gateway"))
    example.ask("Why?")
    expect(page.get_by_role("alert")).to_have_text("The server answered 502.")


STEPS = ("Check", "Write", "Speak", "Draw", "Animate", "Mix", "Encode", "Upload")


def lines(*events: dict[str, Any]) -> list[str]:
    return [json.dumps(event) for event in events]


def step(number: int) -> dict[str, Any]:
    return {"type": "step", "step": number, "of": len(STEPS), "message": f"{STEPS[number - 1]} الفيديو"}


def test_a_video_is_watched_to_its_end(page: Page, origin: str, chat: JupyterServer) -> None:
    stream = chat.create(title="Video", cancellable=True)
    Example(page, origin, "video", chat, stream=stream)
    expect(page.get_by_role("status")).to_have_text("Connected")
    for number in range(1, len(STEPS)):
        chat.append(
            stream, *lines(step(number), {"type": "progress", "bar": "video", "n": number, "total": 8, "eta": 3})
        )
        expect(page.get_by_role("heading")).to_have_text(f"[{number}/8] {STEPS[number - 1]} الفيديو")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "87.5")
    expect(page.locator("body")).to_contain_text("88 %, 3 s left")
    expect(page.get_by_role("listitem")).to_have_text([f"{name} الفيديو" for name in STEPS[1:6]])
    url = "https://cdn.example/video.mp4"
    chat.append(stream, *lines(step(8), {"type": "done", "reason": "stop", "result": url}))
    expect(page.locator("video")).to_have_attribute("src", url)
    expect(page.get_by_role("status")).to_have_text("Finished")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_a_video_of_which_little_is_told(page: Page, origin: str, chat: JupyterServer) -> None:
    stream = chat.create(title="Video")
    Example(page, origin, "video", chat, stream=stream)
    chat.append(
        stream, *lines({"type": "step", "step": 1, "message": "Draw"}, {"type": "progress", "bar": "a", "n": 3})
    )
    expect(page.get_by_role("heading")).to_have_text("[1] Draw")
    expect(page.get_by_role("progressbar")).to_have_count(0)
    chat.append(stream, *lines({"type": "progress", "bar": "a", "n": 3, "total": 4, "eta": 0}))
    expect(page.locator("p", has=page.get_by_role("progressbar"))).to_have_text("75 %")
    result = {"mime": "video/mp4", "url": f"/jupyter-sse/streams/{stream}/media/1"}
    chat.append(stream, *lines({"type": "done", "reason": "stop", "result": result}))
    expect(page.locator("video")).to_have_attribute("src", f"{chat.root.rstrip('/')}{result['url']}")


def test_a_video_that_is_stopped_or_fails(page: Page, origin: str, chat: JupyterServer) -> None:
    stream = chat.create(title="Video", cancellable=True)
    Example(page, origin, "video", chat, stream=stream)
    page.get_by_role("button", name="Stop").click()
    wait_for(lambda: chat.append(stream, *lines(step(1))).json().get("cancelled"), "the producer to be asked to stop")
    chat.append(stream, *lines({"type": "done", "reason": "cancelled"}))
    expect(page.get_by_role("status")).to_have_text("Stopped")
    failing = chat.create(title="Video")
    page.goto("about:blank")
    Example(page, origin, "video", chat, stream=failing)
    chat.append(failing, *lines({"type": "error", "message": "نفدت الذاكرة", "code": "oom", "retryable": False}))
    expect(page.get_by_role("alert")).to_contain_text("نفدت الذاكرة")


def sound(number: int) -> dict[str, Any]:
    """Half a second of it."""
    data = base64.b64encode(struct.pack("<4000h", *([1000] * 4000))).decode()
    return {"type": "audio", "mime": "audio/pcm;rate=8000;channels=1", "data": data, "n": number}


def test_sound_is_heard_while_it_comes(page: Page, origin: str, chat: JupyterServer) -> None:
    stream = chat.create(title="Speech")
    chat.append(stream, *lines(sound(0)))
    Example(page, origin, "audio", chat, stream=stream)
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("status")).to_have_text("Playing")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_have_text("Paused")
    chat.append(stream, *lines(sound(1), {"type": "done", "reason": "stop"}))
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("status")).to_have_text("That was all of it: 1.0 s")
    expect(page.get_by_role("button", name="Play")).to_be_disabled()


def test_sound_that_cannot_be_had_is_said(page: Page, origin: str, chat: JupyterServer) -> None:
    Example(page, origin, "audio", chat, stream="0" * 32)
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("status")).to_have_text("There is no stream with this id.")


def curl(server: JupyterServer, *arguments: str, token: str | None = None) -> subprocess.Popen[bytes]:
    env = {**os.environ, "SERVER": server.root, "TOKEN": token or server.token, "no_proxy": "*"}
    return subprocess.Popen(["sh", str(EXAMPLES / "curl.sh"), *arguments], stdout=subprocess.PIPE, env=env)


def test_curl_prints_the_answer_as_it_comes_and_stops_it(chat: JupyterServer) -> None:
    with curl(chat, f"{ARABIC} wait:never-curl two") as answering:
        assert answering.stdout is not None
        seen = ""
        while ARABIC.split()[-1] not in seen:
            line = answering.stdout.readline().decode()
            assert line, f"the end, after {seen}"
            seen += line
        [stream] = re.findall(r'"stream":"([^"]+)"', seen)
        told, _ = curl(chat, "--stop", stream).communicate(timeout=60)
        assert json.loads(told)["via"]
        rest, _ = answering.communicate(timeout=60)
    assert '"reason":"cancelled"' in rest.decode()
    assert answering.returncode == 0


def test_curl_says_what_is_wrong(chat: JupyterServer) -> None:
    refused = curl(chat, "Why?", token="wrong")
    told, _ = refused.communicate(timeout=60)
    assert json.loads(told)["code"] == "forbidden"
    assert refused.returncode != 0
