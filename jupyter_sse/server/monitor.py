"""The monitor page: all streams in any browser, a phone's too, with no notebook open."""

from __future__ import annotations

import functools
import hashlib
import html
import json
import secrets
from pathlib import Path
from typing import Any

from jupyter_server.utils import url_path_join
from tornado import web
from tornado.httputil import url_concat

from .auth import ErrorsInJson, ExtensionHandler, permitted

__all__ = ["STATIC", "MonitorHandler", "handlers"]

STATIC = Path(__file__).parent.parent / "static"

# Only our own script runs (not those among the user's files, which are on the same origin), and nothing is loaded from
# elsewhere but pictures that a person asks for. Who may frame the page is said by the server's own policy.
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self' blob:;"
    " img-src 'self' https: http: data: blob:; media-src 'self' https: http: data: blob:;"
    " base-uri 'none'; form-action 'none'; {server}"
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="same-origin">
<title>Streams</title>
<link rel="icon" href="data:,">
<script id="jupyter-config-data" type="application/json">{config}</script>
<script type="module" nonce="{nonce}" src="{script}"></script>
<body>
<noscript>This page shows streams live, and needs JavaScript for it. Without: <code>curl {url}</code>.</noscript>
</body>
</html>
"""


class MonitorHandler(ErrorsInJson):
    """A page for people: whoever is not signed in is sent to the login page, and back. Programs are told in JSON."""

    @property
    def is_for_people(self) -> bool:
        return "text/html" in self.request.headers.get("Accept", "")

    @permitted("read")
    def get(self) -> None:
        page = url_path_join(self.base_url, "jupyter-sse/")
        if self.request.path != page or self.get_query_argument("token", None):
            # The token has set the cookie; in the address bar it would be read over a shoulder, and kept in the
            # history. Not for ever: a browser that remembers the redirect would no longer bring the token here.
            self.redirect(page)
            return
        nonce = secrets.token_urlsafe(16)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", POLICY.format(nonce=nonce, server=self.content_security_policy))
        self.set_header("Cache-Control", "no-cache")
        self.xsrf_token  # noqa: B018 (to ask for it is to set the cookie, which the page's own requests need)
        config = {"baseUrl": self.base_url, "notebooks": self._notebooks(), "notifyAfter": self.sse.notify_after}
        script = url_concat(url_path_join(self.sse.static_url_prefix, "monitor.js"), {"v": _version()})
        self.finish(
            PAGE.format(
                config=json.dumps(config).replace("<", "\\u003c"),
                nonce=nonce,
                script=html.escape(script),
                url=html.escape(url_path_join(self.base_url, "jupyter-sse/streams")),
            )
        )

    def get_login_url(self) -> str:
        if not self.is_for_people:
            raise web.HTTPError(403)
        url: str = super().get_login_url()
        return url

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if self.is_for_people:
            ExtensionHandler.write_error(self, status_code, **kwargs)
        else:
            super().write_error(status_code, **kwargs)

    def _notebooks(self) -> str | None:
        """Where a notebook can be opened: the URL that its path is appended to."""
        extensions = self.serverapp.extension_manager.extensions if self.serverapp else {}
        for name, route in (("jupyterlab", "lab/tree/"), ("notebook", "notebooks/")):
            if name in extensions and extensions[name].enabled:
                return url_path_join(self.base_url, route)
        return None


@functools.cache
def _version() -> str:
    """The script may be kept for ever by a browser, under the name of its content."""
    return hashlib.sha256((STATIC / "monitor.js").read_bytes()).hexdigest()[:16]


handlers: list[tuple[str, type[ExtensionHandler]]] = [(r"?", MonitorHandler)]
