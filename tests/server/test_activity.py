"""Work that runs keeps its kernel and its server from being culled; watching keeps neither."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from harness import JupyterServer, wait_for
from reading import Reading
from server_kernel import Kernel

IN_A_THREAD = """
import pathlib, threading, time
from jupyter_sse import task

def work():
    with task("Silent") as t:
        print(t.id, flush=True)
        while not pathlib.Path({enough!r}).exists():
            time.sleep(0.05)

threading.Thread(target=work).start()
"""


def kernels(server: JupyterServer) -> dict[str, dict[str, Any]]:
    answer = httpx.get(f"{server.root}api/kernels", headers=server.headers, trust_env=False, timeout=60)
    return {kernel["id"]: kernel for kernel in answer.json()}


def last_activity(server: JupyterServer) -> str:
    answer = httpx.get(f"{server.root}api/status", headers=server.headers, trust_env=False, timeout=60)
    activity: str = answer.json()["last_activity"]
    return activity


def test_a_kernel_with_a_silent_task_is_not_culled_until_it_has_ended(
    make_server: Callable[..., JupyterServer], tmp_path: Path
) -> None:
    server = make_server("--MappingKernelManager.cull_idle_timeout=6", "--MappingKernelManager.cull_interval=1")
    enough = tmp_path / "enough"
    at_work = Kernel(server)
    stream = at_work.start(IN_A_THREAD.format(enough=str(enough)))
    watched = server.create(title="Watched")
    Reading(server, f"streams/{stream}/events", timeout=60)
    Reading(server, "events", body=f'{{"streams":{{"{watched}":0}},"list":true}}', timeout=60)
    idle = Kernel(server)
    idle.ask("""
from jupyter_sse import broadcast, endpoint
@endpoint("/waits/<name>", mode="shared")
def waits(name): ...
broadcast("a", {"type": "progress", "n": 1})
""")
    wait_for(lambda: server.request("GET", "streams?kind=endpoint").json(), "an endpoint that waits for more")

    wait_for(lambda: idle.id not in kernels(server), "the idle kernel to be culled")
    # It has been as idle for Jupyter, and for longer.
    assert kernels(server)[at_work.id]["execution_state"] == "idle"
    enough.touch()
    wait_for(lambda: at_work.id not in kernels(server), "the other one to be culled too")
    assert server.request("GET", f"streams/{stream}").json()["status"] == "done"
    for kernel in (at_work, idle):
        kernel.client.stop_channels()


def test_watching_is_no_activity_of_the_server_and_work_is(
    make_server: Callable[..., JupyterServer], tmp_path: Path
) -> None:
    server = make_server()
    stream = server.create(title="Watched")
    before = last_activity(server)
    for path in ("", "streams", f"streams/{stream}", f"streams/{stream}/output", "models"):
        assert server.request("GET", path).status_code == 200
    Reading(server, f"streams/{stream}/events").read(1)
    Reading(server, "events", body=f'{{"streams":{{"{stream}":0}},"list":true}}').read(2)
    assert last_activity(server) == before
    server.append(stream, '{"type":"log","text":"work"}')
    assert last_activity(server) > before

    enough = tmp_path / "enough"
    kernel = Kernel(server)
    kernel.start(IN_A_THREAD.format(enough=str(enough)))
    wait_for(lambda: kernels(server)[kernel.id]["execution_state"] == "idle", "the cell to end")
    for _ in range(2):
        before = last_activity(server)
        wait_for(lambda before=before: last_activity(server) > before, "the silent task to count")  # type: ignore[misc]
    enough.touch()
    kernel.stop()
