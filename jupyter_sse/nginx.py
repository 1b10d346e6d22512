"""What nginx is to be told about our routes; `jupyter sse nginx` prints it.

Our headers and heartbeats get streams through an nginx with its default settings. This is for one whose settings are
not, and for what headers cannot ask of it: WebSockets, and large bodies.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

__all__ = ["include"]

INCLUDE = """\
# jupyter_sse behind nginx, made by `jupyter sse nginx`. To be included in the `server {{ ... }}` that passes the rest
# of Jupyter on. After that: nginx -t && nginx -s reload

location ^~ {location} {{
    proxy_pass {server};

    # An event is to leave as it comes. To buffer, to cache or to compress is to wait for more.
    proxy_buffering off;
    proxy_cache off;
    gzip off;

    # With HTTP/1.0 a stream that was cut looks like one that has ended.
    proxy_http_version 1.1;

    # By default what is silent for 60 s is cut. The server's heartbeat (SSE.heartbeat, 20 s) is faster, unless it was
    # set to be slower.
    proxy_read_timeout 3600s;
    proxy_send_timeout 3600s;

    # By default a body has at most 1 MB; a stream's pictures and films may have as much as SSE.max_stream_bytes.
    client_max_body_size 64m;

{headers}
    proxy_set_header Connection "";

    # The WebSockets of pages without a free connection, and of kernels on other machines.
    location ~ /jupyter-sse/(socket|kernel)$ {{
        proxy_pass {server};

{nested_headers}
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
    }}
}}
"""

# nginx forgets all of them in a location that sets one.
HEADERS = """\
    # With the port: Jupyter compares it with the origin of the page that asks.
    proxy_set_header Host $http_host;
    # Who asks, and how; Jupyter believes it with ServerApp.trust_xheaders.
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;"""


def include(url: str) -> str:
    """The nginx configuration for the server at this `jupyter-sse/` root.

    Raises
    ------
    ValueError
        If nginx could not be told to ask there.
    """
    parts = urlsplit(url)
    if not re.fullmatch(r"[\w.-]+(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?", parts.netloc):
        raise ValueError(f"not a host that nginx can pass requests on to: {parts.netloc!r}")
    # nginx compares locations with the path as it is without %-escapes.
    path = re.sub(r'(["\\])', r"\\\1", unquote(parts.path))
    return INCLUDE.format(
        location=f'"{path}"',
        server=f"{parts.scheme}://{parts.netloc}",
        headers=HEADERS,
        nested_headers="\n".join(f"    {line}" for line in HEADERS.splitlines() if not line.lstrip().startswith("#")),
    )
