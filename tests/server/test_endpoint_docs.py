"""docs/endpoints.md: its cells are run in a kernel, its commands in a shell, and they say what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from harness import REPOSITORY, JupyterServer, wait_for
from server_kernel import Kernel

PAGE = REPOSITORY / "docs" / "endpoints.md"
BLOCK = re.compile(r"^```(python|sh|js|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_is_true(server: JupyterServer) -> None:
    kernel = Kernel(server)
    env = os.environ | {
        "URL": server.root.rstrip("/"),
        "TOKEN": server.token,
        "HOME": str(server.home),
        "NO_PROXY": "*",
    }
    said: list[str] = []
    try:
        kernel.ask("import time")
        for kind, code in BLOCK.findall(PAGE.read_text()):
            if kind == "python":
                kernel.ask(code)
                # The next block's route is there when one that is declared after it is.
                kernel.ask("@endpoint('/last')\ndef last(): yield 1")
                wait_for_route(server)
            elif kind == "text":
                rest = iter(said)
                for line in code.splitlines():
                    assert line in rest, (line, said)
            else:
                command = ["bash", "-c", code]
                if kind == "js":
                    node = shutil.which("node")
                    assert node, "the tests need Node"
                    values = f"const server = {env['URL']!r}, token = {env['TOKEN']!r};\n"
                    command = [node, "--experimental-eventsource", "-e", values + code]
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
                assert done.returncode == 0, done.stderr
                said = done.stdout.splitlines()
    finally:
        kernel.stop()


def wait_for_route(server: JupyterServer) -> None:
    wait_for(lambda: server.request("GET", "e/last").status_code == 200, "the routes to be known")
