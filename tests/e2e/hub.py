"""A real JupyterHub behind its configurable-http-proxy, and the servers of its users."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import quiet_lab
from harness import SECONDS, JupyterServer, free_port, wait_for
from playwright.sync_api import Page
from proxies import hub_proxy_command

CONFIG = """\
import signal
import sys

from jupyterhub.spawner import SimpleLocalProcessSpawner


class Spawner(SimpleLocalProcessSpawner):  # needs no system users
    async def _signal(self, sig):
        # As containers are stopped; at a SIGINT without a terminal jupyter_server leaves without tidying up.
        return await super()._signal(signal.SIGTERM if sig == signal.SIGINT else sig)


c.JupyterHub.bind_url = "http://127.0.0.1:{port}/"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}/"
c.JupyterHub.db_url = "sqlite:///{home}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{home}/cookie-secret"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.ConfigurableHTTPProxy.command = {proxy}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.pid_file = "{home}/proxy.pid"

# What makes users and their tokens in these tests.
c.JupyterHub.services = [{{"name": "tests", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [
    {{"name": "tests", "services": ["tests"], "scopes": ["admin:users", "admin:servers", "tokens", "inherit"]}}
]

c.JupyterHub.spawner_class = Spawner
c.Spawner.home_dir_template = "{homes}"
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.args = ["--allow-root"]
c.Spawner.notebook_dir = "{homes}/notebooks"
c.Spawner.default_url = "/lab"
c.Spawner.environment = {{"JUPYTERLAB_SETTINGS_DIR": lambda spawner: spawner.home_dir + "/lab-settings"}}
"""


class HubServer(JupyterServer):
    """The server of one user, as the Hub's proxy has it. Tests ask with a token of the user's, pages sign in."""

    def __init__(self, hub: Hub, name: str) -> None:
        home = hub.home_of(name)
        super().__init__(home, app="jupyterlab", base_url=f"/user/{name}/")
        self.name = name
        self.port = hub.port
        self.token = ""
        self.api_token = ""
        # Below HOME all is where it is without settings, and not where the tests of other servers have it.
        for link, target in ((home / ".jupyter", "config"), (home / ".local" / "share" / "jupyter", "data")):
            link.parent.mkdir(parents=True, exist_ok=True)
            (home / target).mkdir(exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(home / target)
        quiet_lab(self)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self.api_token}"}


class Hub:
    """A Hub with `home` for all that it and its users store."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.homes = str(home / "homes" / "{username}")
        self.port = free_port()
        self.token = secrets.token_hex(16)
        self.root = f"http://127.0.0.1:{self.port}/"

    def home_of(self, name: str) -> Path:
        return Path(self.homes.format(username=name))

    def start(self) -> Hub:
        config = self.home / "jupyterhub_config.py"
        config.write_text(
            CONFIG.format(
                home=self.home, homes=self.homes, port=self.port, hub_port=free_port(), api_port=free_port(),
                token=self.token, proxy=hub_proxy_command(),
            )
        )  # fmt: skip
        env = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "JPY_", "PYTEST"))}
        with (self.home / "hub.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(config)], env=env, stdout=log, stderr=log, cwd=self.home
            )
        wait_for(self._is_up, f"the Hub to answer; its log is {self.home / 'hub.log'}")
        return self

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"the Hub ended with {self.process.returncode}:\n{self.log[-4000:]}")
        try:
            return self.api("GET", "users").status_code == 200
        except httpx.TransportError:
            return False

    @property
    def log(self) -> str:
        return (self.home / "hub.log").read_text(errors="replace")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(SECONDS)

    def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"token {self.token}"}
        url = f"{self.root}hub/api/{path}"
        return httpx.request(method, url, headers=headers, timeout=SECONDS, trust_env=False, **options)

    def serve(self, name: str) -> HubServer:
        """A new user, whose server runs."""
        server = HubServer(self, name)
        assert self.api("POST", f"users/{name}").status_code == 201
        server.api_token = self.api("POST", f"users/{name}/tokens").raise_for_status().json()["token"]
        self.start_server(server)
        return server

    def start_server(self, server: HubServer) -> None:
        self.api("POST", f"users/{server.name}/server").raise_for_status()
        wait_for(lambda: self._state(server).get("ready"), f"{server.name}'s server; see {self.home / 'hub.log'}")

    def stop_server(self, server: HubServer) -> None:
        self.api("DELETE", f"users/{server.name}/server").raise_for_status()
        wait_for(lambda: not self._state(server), f"the end of {server.name}'s server")

    def _state(self, server: HubServer) -> dict[str, Any]:
        state: dict[str, Any] = self.api("GET", f"users/{server.name}").json()["servers"].get("", {})
        return state

    def sign_in(self, page: Page, name: str) -> None:
        """Fill in the form that the page shows."""
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill("any will do")
        page.get_by_role("button", name="Sign in").click()
