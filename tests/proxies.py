"""Real proxies in front of a server, on ports of their own.

Each is a context manager that gives its port. With `port=` it comes back where one like it has been.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import JupyterServer, free_port, installed, wait_for
from npm import CLIENTS, install, run

NGINX = """\
daemon off;
user root; # started by root, it would go on as one who may not see these folders
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
  {outside}
  server {{
    listen 127.0.0.1:{port};
    {also}
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_set_header Host $http_host;
      {options}
    }}
  }}
}}
"""

# The time-outs are those of Debian's /etc/haproxy/haproxy.cfg.
HAPROXY = """\
defaults
  mode http
  timeout connect 5000
  timeout client 50000
  timeout server 50000
frontend everything
  bind 127.0.0.1:{port}
  default_backend jupyter
backend jupyter
  server jupyter 127.0.0.1:{upstream}
"""


CADDY = """\
{{
  admin off
  auto_https off
  grace_period 1s
}}
:{port} {{
  bind 127.0.0.1
  encode gzip zstd
  reverse_proxy 127.0.0.1:{upstream}
}}
"""


@contextmanager
def nginx(
    server: JupyterServer, home: Path, options: str = "", also: str = "", outside: str = "", port: int | None = None
) -> Iterator[int]:
    """nginx with its default settings, and these `options` in the location; `also` is beside the location,
    `outside` of the server."""
    program = installed(["nginx"], "nginx-light")
    if program is None:
        pytest.fail("This test needs nginx. On Debian and Ubuntu: apt-get install nginx-light.")
    port = port or free_port()
    home.mkdir(parents=True, exist_ok=True)
    config = home / "nginx.conf"
    text = NGINX.format(home=home, port=port, upstream=server.port, options=options, also=also, outside=outside)
    config.write_text(text)
    with _running([program, "-p", str(home), "-c", str(config), "-e", str(home / "error.log")], home, port):
        yield port


@contextmanager
def haproxy(server: JupyterServer, home: Path, port: int | None = None) -> Iterator[int]:
    """HAProxy as Debian sets it up."""
    program = installed(["haproxy"], "haproxy")
    if program is None:
        pytest.fail("This test needs HAProxy. On Debian and Ubuntu: apt-get install haproxy.")
    port = port or free_port()
    home.mkdir(parents=True, exist_ok=True)
    config = home / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, upstream=server.port))
    with _running([program, "-db", "-f", str(config)], home, port):
        yield port


@contextmanager
def caddy(server: JupyterServer, home: Path, port: int | None = None) -> Iterator[int]:
    """Caddy with its default settings, and compression."""
    program = installed(["caddy"], "caddy")
    if program is None:
        pytest.fail("This test needs Caddy. On Debian and Ubuntu: apt-get install caddy.")
    port = port or free_port()
    home.mkdir(parents=True, exist_ok=True)
    config = home / "Caddyfile"
    config.write_text(CADDY.format(port=port, upstream=server.port))
    with _running([program, "run", "--config", str(config), "--adapter", "caddyfile"], home, port):
        yield port


@contextmanager
def hub_proxy(server: JupyterServer, home: Path, port: int | None = None) -> Iterator[int]:
    """JupyterHub's configurable-http-proxy, without a Hub."""
    port = port or free_port()
    home.mkdir(parents=True, exist_ok=True)
    command = [
        *hub_proxy_command(), "--ip=127.0.0.1", f"--port={port}", "--api-ip=127.0.0.1", f"--api-port={free_port()}",
        f"--default-target=http://127.0.0.1:{server.port}",
    ]  # fmt: skip
    with _running(command, home, port):
        yield port


def hub_proxy_command() -> list[str]:
    """configurable-http-proxy, by the Node that the build takes; npm installs what is not there."""
    install(CLIENTS)
    script = CLIENTS / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
    # The Node of PyPI's package on PATH is a script, which would not pass a signal on.
    return [run("console.log(process.execPath)").strip(), str(script)]


@contextmanager
def _running(command: Sequence[str], home: Path, port: int) -> Iterator[None]:
    output = home / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=home, env=os.environ | {"HOME": str(home)})

    def listens() -> bool:
        if process.poll() is not None:
            pytest.fail(f"{Path(command[0]).name} ended with {process.returncode}:\n{output.read_text()}")
        return is_open(port)

    try:
        wait_for(listens, f"{Path(command[0]).name} to listen")
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
            raise


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True
