"""What is too large for an event goes to the server by itself, and its URL into the event."""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlencode

from .preview import smaller
from .websocket import tls

if TYPE_CHECKING:
    from .channel import Channel
    from .link import Link

__all__ = ["Media"]

KEPT = 3 << 20
"""Bytes that are remembered for the notebook, of the newest: it is read where the server is not."""
ONE = 1 << 20
"""Bytes of one of these; a larger picture is remembered in fewer pixels."""
SECONDS = 20.0
BEGIN_SECONDS = 5.0
"""How long to wait for the server to have the stream."""


class Media:
    """The pictures, sound and films of one stream that the server has."""

    def __init__(self, link: Link, channel: Channel) -> None:
        self._link = link
        self._channel = channel
        self._refused = False
        self._kept: dict[str, tuple[str | None, bytes]] = {}  # by URL, with its key

    def put(self, mime: str, raw: bytes, key: str | None) -> str | None:
        """Send it, and wait until the server has it; its URL, or None where there is no server that takes it."""
        if self._refused or self._link.silent or not self._is_begun():
            return None
        url = self._send(mime, raw, key)
        if url is not None:
            self._keep(url, mime, raw, key)
        return url

    @property
    def kept(self) -> dict[str, str]:
        """What is at these URLs, in base64."""
        return {url: base64.b64encode(raw).decode("ascii") for url, (_, raw) in self._kept.items()}

    def _is_begun(self) -> bool:
        link, channel = self._link, self._channel
        deadline = time.monotonic() + BEGIN_SECONDS
        while link.address is not None and not channel.closed and (link.connected or link.problem is None):
            if link.connected and channel.acked:
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        return False

    def _send(self, mime: str, raw: bytes, key: str | None) -> str | None:
        address = self._link.address
        assert address is not None
        query = f"?{urlencode({'key': key})}" if key is not None else ""
        request = urllib.request.Request(
            f"{address.url}streams/{self._channel.id}/media{query}",
            data=raw,
            headers={"Content-Type": mime, **({"Authorization": f"Bearer {address.token}"} if address.token else {})},
        )
        handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=tls(address))]
        if address.is_loopback:
            handlers.append(urllib.request.ProxyHandler({}))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=SECONDS) as answer:
                url: str = json.load(answer)["url"]
                return url
        except HTTPError as error:
            # A server that does not know of this, or does not want us, is not asked for every picture.
            self._refused = error.code in (401, 403, 404, 405)
        except (OSError, ValueError, KeyError):
            pass
        return None

    def _keep(self, url: str, mime: str, raw: bytes, key: str | None) -> None:
        if len(raw) > ONE:
            try:
                kind, raw = smaller(mime, raw, ONE)
            except Exception:  # what it is made with may know nothing of this, or not be there
                kind = ""
            if kind != mime:
                return
        if key is not None:
            self._kept = {other: kept for other, kept in self._kept.items() if kept[0] != key}
        self._kept[url] = (key, raw)
        while sum(len(kept) for _, kept in self._kept.values()) > KEPT:
            del self._kept[next(iter(self._kept))]
