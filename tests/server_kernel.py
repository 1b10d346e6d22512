"""A real kernel, started by a real server, and driven from the test."""

from __future__ import annotations

from typing import Any

import httpx
from harness import JupyterServer, wait_for
from jupyter_client.blocking.client import BlockingKernelClient


class Kernel:
    """A real kernel, started by the server."""

    def __init__(self, server: JupyterServer) -> None:
        self.server = server
        answer = self.api("POST", "kernels", json={"name": "python3"})
        self.id: str = answer.json()["id"]
        file = server.home / "runtime" / f"kernel-{self.id}.json"
        wait_for(file.exists, "the kernel's connection file")
        self.client = BlockingKernelClient(connection_file=str(file))
        self.client.load_connection_file()
        self.client.start_channels()
        self.wait_ready()

    def wait_ready(self) -> None:
        wait_for(self._is_ready, "the kernel to answer")

    def _is_ready(self) -> bool:
        try:
            self.client.wait_for_ready(60)
        except RuntimeError:  # on a busy machine a heartbeat that is late is taken for death
            return False
        return True

    def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.request(
            method, f"{self.server.root}api/{path}", headers=self.server.headers, trust_env=False, timeout=60, **options
        )

    def ask(self, code: str) -> str:
        """Run code; what it printed."""
        said: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                said.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, timeout=60, output_hook=hook)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(said).strip()

    def start(self, code: str) -> str:
        """Run code that does not end yet; the first thing that it prints."""
        self.client.execute(code)
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["msg_type"] == "stream":
                return str(message["content"]["text"]).strip()

    def stop(self) -> None:
        self.client.stop_channels()
        self.api("DELETE", f"kernels/{self.id}")
