"""Naming the server by hand: from a script, or on another machine."""

from __future__ import annotations

from ..address import parse
from . import link

__all__ = ["Connected", "connect"]

TIMEOUT = 10.0


class Connected:
    """Which server this process's streams go to, and whether it is there."""

    def __init__(self, to: link.Link) -> None:
        self._link = to

    @property
    def url(self) -> str | None:
        """The server's `jupyter-sse/` root; None if streams are shown in this process only."""
        return str(self._link.address) if self._link.address is not None else None

    @property
    def connected(self) -> bool:
        return self._link.connected

    def __repr__(self) -> str:
        if self.url is None:
            return "<no server: streams are shown in this process only>"
        return f"<{'connected' if self.connected else 'not connected'}: {self.url}>"


def connect(url: str | None = None, token: str | None = None, *, timeout: float = TIMEOUT) -> Connected:
    """Send the streams that start from now on to this Jupyter server.

    `url` is any that JupyterLab shows, also with its ``?token=``. In a kernel there is nothing to do: the server
    that started it is taken, and ``connect()`` tells which that is.

    Raises
    ------
    ValueError
        If it is not the URL of a server.
    ConnectionError
        If there is no answer in `timeout` seconds, or one that refuses.
    """
    if url is None:
        return Connected(link.current())
    to = link.Link(parse(url, token))
    to.dial(timeout)
    link.use(to)
    return Connected(to)
