"""A real jupyter_server in a process of its own, and how to wait for it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import httpx
import pytest

SECONDS = 60.0
STOP_SECONDS = 30.0
REPOSITORY = Path(__file__).parent.parent


def wait_for(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """The condition's first true value; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes], log: Path, how: signal.Signals = signal.SIGTERM) -> None:
    """End a jupyter_server that writes this log."""
    process.send_signal(how)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        # A request for a file that has not been answered when jupyter_server's loop stops leaves a thread of AnyIO's
        # behind, for which the interpreter waits for ever.
        if "Shutting down" not in log.read_text(errors="replace"):
            raise
        process.kill()
        process.wait(SECONDS)


class JupyterServer:
    """A jupyter_server in a process of its own; token and XSRF are on.

    The extensions are those that were installed, or, with a checkout on PYTHONPATH, those that would be.

    home : everything it stores; another server on the same one goes on where this one stopped.
    app : the module to run, `jupyter_server`, `jupyterlab` or `notebook`.
    """

    def __init__(self, home: Path, *options: str, app: str = "jupyter_server", base_url: str = "/") -> None:
        self.home = home
        self.options = options
        self.app = app
        self.base_url = base_url
        self.extension = "--ServerApp.jpserver_extensions={'jupyter_sse': False}" not in options
        self.token = secrets.token_hex(16)
        self.notebooks = home / "notebooks"
        self.notebooks.mkdir(parents=True, exist_ok=True)
        if not _is_installed():
            folder = home / "config" / "jupyter_server_config.d"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / "jupyter-config" / "jupyter_sse.json", folder)
            extensions = home / "data" / "labextensions"
            extensions.mkdir(parents=True, exist_ok=True)
            if not (extensions / "jupyter-sse").exists():
                (extensions / "jupyter-sse").symlink_to(REPOSITORY / "jupyter_sse" / "labextension")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.base_url}"

    @property
    def url(self) -> str:
        return f"{self.root}jupyter-sse/"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"}

    @property
    def output(self) -> str:
        return (self.home / "server.log").read_text(errors="replace")

    def env(self) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "JPY_", "PYTEST"))}
        for name in ("DATA", "RUNTIME", "CONFIG"):
            env[f"JUPYTER_{name}_DIR"] = str(self.home / name.lower())
        # The machine's own settings of IPython and Jupyter must not decide what is tested.
        return env | {
            "HOME": str(self.home),
            "IPYTHONDIR": str(self.home / "ipython"),
            "JUPYTERLAB_SETTINGS_DIR": str(self.home / "lab-settings"),
            "JUPYTER_TOKEN": self.token,
        }

    def start(self) -> JupyterServer:
        command = [
            sys.executable, "-m", self.app, "--no-browser", "--allow-root", f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0", f"--ServerApp.base_url={self.base_url}",
            f"--ServerApp.root_dir={self.notebooks}", "--ServerApp.allow_unauthenticated_access=False", *self.options,
        ]  # fmt: skip
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.env(), stdout=log, stderr=log, cwd=self.home)
        wait_for(self._is_up, f"the server to answer; its log is {self.home / 'server.log'}")
        return self

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail(f"the server ended with {self.process.returncode}:\n{self.output[-4000:]}")
        try:
            path = "streams" if self.extension else "../api/status"
            return self.request("GET", path).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As `kill -9`: no time to tidy up."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            end(self.process, self.home / "server.log", how)
        self.process = None

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request below the extension's prefix, with the token."""
        headers = {**self.headers, **options.pop("headers", {})}
        return httpx.request(method, self.url + path, headers=headers, timeout=SECONDS, trust_env=False, **options)

    def create(self, **start: Any) -> str:
        """A new stream, written by POST; its id."""
        answer = self.request("POST", "streams", json={"kind": "task", **start})
        assert answer.status_code == 201, answer.text
        stream: str = answer.json()["stream"]
        return stream

    def append(self, stream: str, *lines: str) -> httpx.Response:
        return self.request("POST", f"streams/{stream}/events", content="\n".join(lines).encode())


@contextmanager
def signed_in(server: JupyterServer) -> Iterator[httpx.Client]:
    """A browser's session: the login cookie and the XSRF cookie."""
    with httpx.Client(base_url=server.root, trust_env=False, follow_redirects=True) as client:
        client.get("/login", params={"token": server.token})
        client.get("/login")
        assert "_xsrf" in client.cookies
        yield client


def installed(names: Sequence[str], package: str) -> str | None:
    """Where one of these programs is; installs Debian's `package` where that is possible."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", package]):
            subprocess.run(command, check=False, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
        found = shutil.which(names[0], path=path)
    return found


def _is_installed() -> bool:
    try:
        distribution("jupyter-sse")
    except PackageNotFoundError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
