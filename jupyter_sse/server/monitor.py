"""The monitor page: all streams in any browser, a phone's too, with no notebook open."""

from __future__ import annotations

import functools
import hashlib
import html
import json
from pathlib import Path

from jupyter_server.utils import url_path_join
from tornado.httputil import url_concat

from .auth import ExtensionHandler, permitted

__all__ = ["STATIC", "MonitorHandler", "handlers"]

STATIC = Path(__file__).parent.parent / "static"

# Nothing from elsewhere runs, and nothing is loaded but pictures that a person asks for; styles are set by the views.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self';"
    " img-src 'self' https: http: data: blob:; media-src 'self' https: http: data: blob:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
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
<script type="module" src="{script}"></script>
<body>
<noscript>This page shows streams live, and needs JavaScript for it. Without: <code>curl {url}</code>.</noscript>
</body>
</html>
"""


class MonitorHandler(ExtensionHandler):
    """A page for people: whoever is not signed in is sent to the login page, and back."""

    @permitted("read")
    def get(self) -> None:
        if self.request.path != url_path_join(self.base_url, "jupyter-sse/"):
            self.redirect(url_path_join(self.base_url, "jupyter-sse/"), permanent=True)
            return
        if self.get_query_argument("token", None):
            # It has set the cookie; in the address bar it would be read over a shoulder, and kept in the history.
            self.redirect(self.request.path)
            return
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        self.xsrf_token  # noqa: B018 (to ask for it is to set the cookie, which the page's own requests need)
        config = {"baseUrl": self.base_url, "notebooks": self._notebooks()}
        script = url_concat(url_path_join(self.sse.static_url_prefix, "monitor.js"), {"v": _version()})
        self.finish(
            PAGE.format(
                config=json.dumps(config).replace("<", "\\u003c"),
                script=html.escape(script),
                url=html.escape(url_path_join(self.base_url, "jupyter-sse/streams")),
            )
        )

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", POLICY)

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
