"""The WebSocket to the server. The token is in no repr, message or log of this module."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import struct
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..address import Address, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

__all__ = ["Connection", "RefusedError", "connect", "from_environment", "tls"]

OPEN_SECONDS = 10.0
PING_SECONDS = 20.0
SEND_SECONDS = 30
MAX_MESSAGE = 4 << 20

# Not a child of any logger: at level DEBUG websockets would log the Authorization header.
_logger = logging.Logger("jupyter_sse.websocket", level=logging.CRITICAL + 1)


class RefusedError(ConnectionError):
    """A server answered, and does not want this link."""


def from_environment() -> Address | None:
    """The server that started this kernel, if it has the extension."""
    url = os.environ.get("JUPYTER_SSE_URL")
    if not url:
        return None
    try:
        return parse(url, os.environ.get("JUPYTER_SSE_TOKEN"))
    except ValueError:  # such as a server on a Unix socket
        return None


class Connection:
    """An open link: iterate for what the server says."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket

    def send(self, message: bytes) -> None:
        self._websocket.send(message, text=True)

    def say(self, message: str | bytes) -> None:
        """Send text as text, and bytes as bytes."""
        self._websocket.send(message)

    def __iter__(self) -> Iterator[str | bytes]:
        yield from self._websocket

    def drop(self) -> None:
        """Close this process's file descriptor without a word to the server."""
        self._websocket.socket.close()


@contextmanager
def connect(address: Address) -> Iterator[Connection]:
    """Open a link, and close it at the end.

    Raises
    ------
    RefusedError
        If there is a server that does not take it.
    OSError
        If there is none.
    """
    from websockets.exceptions import InvalidHandshake, InvalidStatus
    from websockets.sync.client import connect as open_websocket

    try:
        websocket = open_websocket(
            f"ws{address.url.removeprefix('http')}kernel",
            ssl=tls(address),
            compression=None,
            additional_headers={"Authorization": f"Bearer {address.token}"} if address.token else None,
            user_agent_header="jupyter_sse",
            proxy=None if address.is_loopback else True,
            open_timeout=OPEN_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            close_timeout=1,
            max_size=MAX_MESSAGE,
            logger=_logger,
        )
        opened = websocket.__enter__()
    except InvalidStatus as error:
        raise RefusedError(_explain(address, error.response.status_code)) from None
    except InvalidHandshake as error:
        raise RefusedError(f"What answers at {address} is not jupyter_sse ({type(error).__name__}).") from None
    try:
        if sys.platform != "win32":
            # Keepalive cannot see a peer that takes nothing more while a send waits for it.
            opened.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
        yield Connection(opened)
    finally:
        opened.close()


def tls(address: Address) -> ssl.SSLContext | None:
    """How to know the server, where it is reached by https."""
    if not address.url.startswith("https:"):
        return None
    context = ssl.create_default_context()
    if address.is_loopback:
        # The traffic does not leave this machine, and certificates do not name it.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _explain(address: Address, status: int) -> str:
    if status in (401, 403):
        return f"The Jupyter server at {address} did not accept the token (HTTP {status})."
    if status == 404:
        return f"The Jupyter server at {address} does not have the jupyter_sse extension (HTTP 404)."
    return f"The server at {address} did not open the link (HTTP {status})."
