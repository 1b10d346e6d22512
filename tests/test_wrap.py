"""`jupyter sse run` as users call it, with a real server."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from harness import SECONDS, JupyterServer, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "jupyter_sse.cli", "run"]
PYTHON = sys.executable


def command(server: JupyterServer, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    options = {"env": environment(server), "capture_output": True, **options}
    return subprocess.run([*COMMAND, *arguments], timeout=SECONDS, check=False, **options)


def environment(server: JupyterServer) -> dict[str, str]:
    """Of a terminal: it does not know the server's token."""
    env = server.env()
    del env["JUPYTER_TOKEN"]
    return env


def find(server: JupyterServer, title: str) -> Any:
    found = [entry for entry in server.request("GET", "streams").json() if entry["title"] == title]
    return server.request("GET", f"streams/{found[0]['stream']}").json() if found else None


def lines(snapshot: Any) -> list[str]:
    return [line["text"] for line in snapshot["log"]["lines"]] if snapshot else []


@pytest.fixture
def started(server: JupyterServer) -> Iterator[Any]:
    """Start it, to be ended by the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        given = {"env": environment(server), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        processes.append(subprocess.Popen([*COMMAND, *arguments], **given))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=SECONDS)


def test_output_and_exit_code_are_passed_on_and_shown(server: JupyterServer) -> None:
    done = command(
        server, "--title", "Batch", "--", "sh", "-c", r"printf 'a\377\rb'; echo err >&2; cat; exit 7", input=b"in"
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, b"a\xff\rbin", b"err\n")
    shown = find(server, "Batch")
    assert (shown["status"], shown["error"]["code"], shown["kind"]) == ("error", "exit_7", "process")
    assert sorted(lines(shown)) == ["bin", "err"]


def test_much_output_is_all_there_at_the_end(server: JupyterServer) -> None:
    done = command(server, "--title", "Much", PYTHON, "-c", "for n in range(100_000): print(f'line {n} of the output')")
    assert len(done.stdout.splitlines()) == 100_000
    shown = find(server, "Much")
    assert (shown["status"], shown["log"]["count"]) == ("done", 100_000)


def test_a_server_named_by_its_url(server: JupyterServer, tmp_path: Path) -> None:
    env = {**environment(server), "JUPYTER_RUNTIME_DIR": str(tmp_path), "JUPYTER_TOKEN": server.token}
    done = command(server, "--url", f"{server.root}lab", "--title", "Named", "true", env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert find(server, "Named")["status"] == "done"


def test_a_server_named_by_the_environment(server: JupyterServer, tmp_path: Path) -> None:
    """As in a cell's ``!jupyter sse run``."""
    env = {**environment(server), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    env |= {"JUPYTER_SSE_URL": server.url, "JUPYTER_SSE_TOKEN": server.token}
    done = command(server, "--title", "Started by it", "true", env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert find(server, "Started by it")["status"] == "done"


def test_without_a_server_it_runs_all_the_same(server: JupyterServer, tmp_path: Path) -> None:
    env = {**environment(server), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    done = command(server, "--", "sh", "-c", "echo out; exit 3", env=env)
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert done.stderr.startswith(b"jupyter sse: No Jupyter server of yours runs on this machine.")
    env["JUPYTER_TOKEN"] = "wr0ng"
    gone = command(server, "--url", f"http://127.0.0.1:{free_port()}/", "echo", "out", env=env)
    assert (gone.returncode, gone.stdout) == (0, b"out\n")
    assert b"does not answer" in gone.stderr
    refused = command(server, "--url", server.root, "sleep", "0.5", env=env)
    assert refused.returncode == 0
    assert b"token" in refused.stderr
    assert b"wr0ng" not in gone.stderr + refused.stderr


def test_what_cannot_be_run(server: JupyterServer, tmp_path: Path) -> None:
    missing = command(server, "no-such-program")
    assert (missing.returncode, missing.stdout) == (127, b"")
    assert missing.stderr == b"jupyter sse: cannot run no-such-program: No such file or directory\n"
    (tmp_path / "data").touch()
    assert command(server, str(tmp_path / "data")).returncode == 126
    assert command(server).returncode == 2


def test_a_token_is_in_no_command_line(server: JupyterServer, started: Any) -> None:
    given = command(server, "--url", f"{server.root}?token={server.token}", "echo", "out")
    assert (given.returncode, given.stdout) == (2, b"")
    assert b"set JUPYTER_TOKEN" in given.stderr
    assert server.token.encode() not in given.stderr
    wrapper = started("--title", "Secret", "--", "sh", "-c", "echo ready; sleep 60")
    wait_for(lambda: lines(find(server, "Secret")), "the stream")
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert server.token not in "".join(line for line in listed.splitlines() if "jupyter_sse.cli" in line)
    assert server.token not in str(server.request("GET", "streams").json())
    wrapper.send_signal(signal.SIGTERM)
    assert wrapper.wait(SECONDS) == 143


def test_cancel_in_the_monitor_ends_it(server: JupyterServer, started: Any) -> None:
    wrapper = started("--title", "Cancelled", "--", "sh", "-c", "echo $$; sleep 60")
    pid = int(wait_for(lambda: lines(find(server, "Cancelled")), "the stream")[0])
    stream = find(server, "Cancelled")["stream"]
    assert server.request("POST", f"streams/{stream}/cancel").status_code == 202
    assert wrapper.wait(SECONDS) == 143
    assert find(server, "Cancelled")["status"] == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("number", "code", "status"), [(signal.SIGINT, 130, "cancelled"), (signal.SIGHUP, 129, "error")]
)
def test_signals_are_passed_on(server: JupyterServer, started: Any, number: int, code: int, status: str) -> None:
    title = f"Signal {number}"
    wrapper = started("--title", title, "--", "sh", "-c", "echo ready; sleep 60")
    wait_for(lambda: lines(find(server, title)), "the stream")
    wrapper.send_signal(number)
    assert wrapper.wait(SECONDS) == code
    assert find(server, title)["status"] == status


def test_a_program_that_handles_a_signal_decides(server: JupyterServer, started: Any) -> None:
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *a: sys.exit(5)); print('ready')"
    wrapper = started("--title", "Decides", "--", PYTHON, "-c", f"{code}; time.sleep(60)")
    wait_for(lambda: lines(find(server, "Decides")), "the stream")
    wrapper.send_signal(signal.SIGTERM)
    assert wrapper.wait(SECONDS) == 5


def test_in_a_terminal_the_program_has_one(server: JupyterServer, started: Any) -> None:
    """And is asked and answered there."""
    ours, theirs = pty.openpty()
    code = "import sys; print(*(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)), input('Name? '))"
    wrapper = started("--title", "Terminal", PYTHON, "-c", code, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""

    def read() -> bytes:
        nonlocal written
        while select.select([ours], [], [], 0)[0]:
            try:
                written += os.read(ours, 4096)
            except OSError:
                break
        return written

    wait_for(lambda: b"Name? " in read(), "the question")
    os.write(ours, b"Ada\n")
    assert wrapper.wait(SECONDS) == 0
    assert b"True True True Ada" in read()
    os.close(ours)
    assert "True True True Ada" in lines(find(server, "Terminal"))
