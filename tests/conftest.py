"""A real jupyter_server, a real browser: what the tests share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from harness import JupyterServer, installed
from hypothesis import HealthCheck, settings
from reading import Reading

# A slow machine is no fault of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

MakeServer = Callable[..., JupyterServer]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Start a server of one's own: `make_server(*options, home=, app=, base_url=)`."""
    with ExitStack() as stack:

        def make(*options: str, home: Path | None = None, **arguments: Any) -> JupyterServer:
            server = JupyterServer(home or tmp_path / f"server-{secrets.token_hex(4)}", *options, **arguments)
            stack.callback(server.stop)
            return server.start()

        yield make


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """One server for all tests that do it no harm."""
    server = JupyterServer(tmp_path_factory.mktemp("server")).start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _close_readings() -> Iterator[None]:
    yield
    while Reading.opened:
        Reading.opened.pop().close()


CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is; installs Debian's where that is possible."""
    found = installed(CHROMIUM_NAMES, "chromium")
    if found is None:
        pytest.fail(
            f"The browser tests need Chromium or Chrome, and none of {', '.join(CHROMIUM_NAMES)} is on PATH."
            " On Debian: apt-get install chromium. On Ubuntu: snap install chromium. Elsewhere install Chrome, or put a"
            " link to it named `chromium` on PATH."
        )
    return found
