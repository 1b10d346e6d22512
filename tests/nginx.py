"""A real nginx in front of a server."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import JupyterServer, free_port, installed, wait_for

CONFIG = """\
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_set_header Host $host;
      {options}
    }}
  }}
}}
"""


@contextmanager
def nginx(server: JupyterServer, home: Path, options: str = "") -> Iterator[int]:
    """The port of an nginx with its default settings and these `options`."""
    program = installed(["nginx"], "nginx-light")
    if program is None:
        pytest.fail("This test needs nginx. On Debian and Ubuntu: apt-get install nginx-light.")
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = home / "nginx.conf"
    config.write_text(CONFIG.format(home=home, port=port, upstream=server.port, options=options))
    with (home / "output").open("wb") as output:
        process = subprocess.Popen([program, "-p", home, "-c", config, "-e", home / "error.log"], stderr=output)
    try:
        wait_for(lambda: _is_open(port), f"nginx to listen; it said: {(home / 'output').read_text()}")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True
