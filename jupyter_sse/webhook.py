"""What a webhook says when a stream has ended, and how it is signed: https://www.standardwebhooks.com.

The URL is a secret as often as not (Slack's has the key in its path): no message here has more of it than its place.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import datetime, timezone
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from .output import bounded, headline, one_line
from .state import Snapshot

__all__ = ["body", "check", "credentials", "key", "place", "sign"]

MAX_URL = 4096
KEY_PREFIX = "whsec_"


def check(url: str) -> SplitResult:
    """The URL's parts.

    Raises
    ------
    ValueError
        It is none that can be posted to; says why, but not what it is.
    """
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url or len(url) > MAX_URL:
        raise ValueError(f"a webhook is an http or https URL of at most {MAX_URL} ASCII characters, without spaces")
    try:
        parts = urlsplit(url)
        port_is_known = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("the webhook's URL cannot be read: see its host and port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_known:
        raise ValueError("a webhook must be an http or https URL, such as https://example.org/hook")
    return parts


def credentials(parts: SplitResult) -> tuple[str, str | None, str | None]:
    """The URL to ask for, and the name and password that are sent beside it."""
    bare = parts._replace(netloc=_host(parts), fragment="").geturl()
    if parts.username is None:
        return bare, None, None
    return bare, unquote(parts.username), unquote(parts.password or "")


def place(parts: SplitResult) -> str:
    """As much of a URL as may be shown."""
    return f"{parts.scheme}://{_host(parts)}"


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def key(secret: str) -> bytes:
    """The key in a secret: `whsec_` and base64, or a text.

    Raises
    ------
    ValueError
        What follows `whsec_` is no base64, or nothing, with which anybody could sign.
    """
    if not secret.startswith(KEY_PREFIX):
        return secret.encode()
    try:
        decoded = base64.b64decode(secret.removeprefix(KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded:
        raise ValueError(f"what follows {KEY_PREFIX} in a webhook's secret must be a key in base64")
    return decoded


def sign(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    digest = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def body(snapshot: Snapshot, *, started: float, ended: float, url: str | None) -> bytes:
    """JSON; times in seconds since 1970, `url` where a person can see the stream."""
    small = bounded(snapshot)
    origin = snapshot.origin
    title = small.title or small.kind or "Stream"
    said: dict[str, Any] = {
        "type": "stream.ended",
        "timestamp": datetime.fromtimestamp(ended, timezone.utc).isoformat(),
        "text": f"{one_line(title)}: {headline(snapshot)}",
        "stream": snapshot.stream,
        "title": small.title,
        "kind": snapshot.kind,
        "status": snapshot.status,
        "reason": snapshot.reason,
        "result": small.result,
        "error": None if small.error is None else {"code": small.error.code, "message": small.error.message},
        "started": started,
        "ended": ended,
        "elapsed": round(max(0.0, ended - started), 3),
        "path": None if origin is None else origin.path,
        "url": url,
    }
    return msgspec.json.encode(said)
