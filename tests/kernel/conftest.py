from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jupyter_sse import Answer
from jupyter_sse.address import parse
from jupyter_sse.kernel import link
from kernel.link_server import TOKEN, LinkServer, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a link of its own, to nowhere unless it says otherwise."""
    monkeypatch.delenv("JUPYTER_SSE_URL", raising=False)
    monkeypatch.delenv("JUPYTER_SSE_TOKEN", raising=False)
    monkeypatch.setattr(link, "_current", None)
    monkeypatch.setattr(link, "_chosen", None)
    yield
    for one in list(link._links):  # its server is gone, and another may get its port
        one._outbox.channels.clear()
        one._wanted.clear()


@pytest.fixture
def server() -> Iterator[LinkServer]:
    with running() as server:
        yield server


@pytest.fixture
def linked(server: LinkServer, monkeypatch: pytest.MonkeyPatch) -> LinkServer:
    """The server, with this process's streams going to it."""
    link.use(link.Link(parse(server.url, TOKEN)))
    return server


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """The answers that are made: where a sync source runs there is no other way to them."""
    made: list[Answer] = []
    original = Answer.__init__

    def remember(self: Answer, *args: Any) -> None:
        original(self, *args)
        made.append(self)

    monkeypatch.setattr(Answer, "__init__", remember)
    return made
