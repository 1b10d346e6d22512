"""Which Jupyter server: named by a URL, or found among those that run on this machine."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

__all__ = ["Address", "find", "parse", "running"]

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_OURS = re.compile(r"/jupyter-sse(/|$)")
_APP_PAGE = re.compile(r"/(lab|tree|notebooks|doc|edit|retro|consoles|terminals)(/.*)?$")


@dataclass(frozen=True)
class Address:
    """The server's `jupyter-sse/` root and what opens it."""

    url: str
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.url

    @property
    def is_loopback(self) -> bool:
        return _is_loopback(urlsplit(self.url).hostname or "")


def parse(url: str, token: str | None = None) -> Address:
    """The address in a URL: of the `jupyter-sse/` root, or any that JupyterLab shows, with its `?token=`."""
    parts = urlsplit(url.strip())
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(f"not the URL of a Jupyter server: {url.split('?')[0]!r}; write it as http://host:8888/")
    given = parse_qs(parts.query).get("token")
    below = _OURS.search(parts.path)
    path = _APP_PAGE.sub("", parts.path) if below is None else parts.path[: below.start()]
    root = parts._replace(
        scheme=_SCHEMES[parts.scheme],
        netloc=parts.netloc.rpartition("@")[2],
        path=path.rstrip("/") + "/jupyter-sse/",
        query="",
        fragment="",
    )
    return Address(root.geturl(), token or (given[0] if given else None))


def find(url: str | None = None, token: str | None = None) -> Address:
    """The server to read from, and the token that opens it.

    Without a URL it is the one that started this kernel or terminal, else the only one that runs here. A token that is
    not given is that of the running server; where JupyterHub has started that, `JUPYTERHUB_API_TOKEN`; else
    `JUPYTER_TOKEN`.

    Raises
    ------
    LookupError
        If no server runs here, or several do; says what to do.
    ValueError
        If it is not the URL of a server.
    """
    here = running()
    started_by = os.environ.get("JUPYTER_SSE_URL", "")
    if not url and urlsplit(started_by).scheme in _SCHEMES:  # and not a Unix socket
        url = started_by
    if url:
        named = parse(url, token)
        found = next((one for one in here if _place(one.url) == _place(named.url)), None)
        known = named.token or (found.token if found is not None else None)
        is_ours = found is not None or (bool(started_by) and _place(started_by) == _place(named.url))
    elif not here:
        raise LookupError("No Jupyter server of yours runs on this machine. Start one, or name one by its URL.")
    elif len(here) > 1:
        raise LookupError(f"Several Jupyter servers run here. Name one by its URL: {', '.join(map(str, here))}.")
    else:
        named, known, is_ours = here[0], token or here[0].token, True
    known = known or (_token_of_hub(named.url) if is_ours else None) or os.environ.get("JUPYTER_TOKEN")
    return Address(named.url, known or None)


def _token_of_hub(url: str) -> str | None:
    """What opens the server that JupyterHub has started here: it may have no token of its own, but asks the hub.

    The hub's token is for no other server: whoever got it could act as the user.
    """
    root = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "").rstrip("/")
    is_hubs = bool(root) and unquote(urlsplit(url).path) == f"{unquote(root)}/jupyter-sse/"
    return os.environ.get("JUPYTERHUB_API_TOKEN") if is_hubs else None


def running() -> list[Address]:
    """The servers that `jupyter server list` shows, but for those on a Unix socket.

    Read here, from the files that they write: to import jupyter_server takes longer than all else that a command does.
    """
    try:
        from jupyter_core.paths import jupyter_runtime_dir
    except ImportError:  # nothing of Jupyter's is installed here
        return []
    found = []
    for file in sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json")):
        try:
            info = json.loads(file.read_text(encoding="utf-8"))
            if _is_alive(info["pid"]) and not info.get("sock"):
                found.append(parse(_reachable(info), info.get("token")))
        except (OSError, ValueError, KeyError, TypeError):  # being written, or of another program
            continue
    return found


def _reachable(info: dict[str, Any]) -> str:
    """A server that listens everywhere calls itself by the machine's name, under which it may not be reached."""
    url: str = info["url"]
    local = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(info.get("hostname", "localhost"))
    return url if local is None else urlsplit(url)._replace(netloc=f"{local}:{info['port']}").geturl()


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 is no question; who is not there does not answer
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _place(url: str) -> tuple[object, ...]:
    """What two addresses of one server have in common: its names on its own machine are many."""
    parts: SplitResult = urlsplit(url)
    host = parts.hostname or ""
    return "" if _is_loopback(host) else host, parts.port or parts.scheme, unquote(parts.path)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
