"""A JupyterLab and a browser for the whole session, a page for each test."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import httpx
import pytest
from browser import FLAGS, Notebook, new_context, quiet_lab, write_notebook
from harness import JupyterServer
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    server = JupyterServer(tmp_path_factory.mktemp("lab"), app="jupyterlab")
    quiet_lab(server)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")  # Playwright's event loop occupies this thread until it is stopped
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture
def context(browser: Browser, make_server: object, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """A browser of the test's own, with any number of pages; it is closed before the servers that the test makes."""
    context = new_context(browser)
    yield context
    context.close()
    if "lab" in request.fixturenames:
        end_kernels(request.getfixturevalue("lab"))


@pytest.fixture
def page(context: BrowserContext, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    yield page
    if request.node.stash.get(FAILED, False):
        page.screenshot(path=tmp_path / "failure.png")
        print(f"The page as it was: {tmp_path / 'failure.png'}; its console:", *said[-20:], sep="\n")


def end_kernels(server: JupyterServer) -> None:
    """So that the kernels of earlier tests take nothing from later ones."""
    sessions = f"{server.root}api/sessions"
    for session in httpx.get(sessions, headers=server.headers, trust_env=False, timeout=60).json():
        httpx.delete(f"{sessions}/{session['id']}", headers=server.headers, trust_env=False, timeout=60)


OpenNotebook = Callable[..., Notebook]


@pytest.fixture
def open_notebook(page: Page, lab: JupyterServer, request: pytest.FixtureRequest) -> OpenNotebook:
    """`open_notebook(*cells)`: a new notebook with these cells, open in JupyterLab."""

    def open_one(*cells: str) -> Notebook:
        path: Path = write_notebook(lab, re.sub(r"\W+", "-", request.node.name).strip("-") + ".ipynb", *cells)
        return Notebook(page, lab, path).open()

    return open_one
