"""The command line as users call it, in a process of its own where that matters."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import nbformat
import pytest
from harness import end, wait_for

import jupyter_sse
from jupyter_sse import cli

if TYPE_CHECKING:
    from harness import JupyterServer


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jupyter_sse.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_says_its_version_and_its_verbs() -> None:
    assert run("--version").stdout == f"jupyter-sse {jupyter_sse.__version__}\n"
    assert "demo" in run("--help").stdout
    assert "--no-browser" in run("demo", "--help").stdout


@pytest.mark.parametrize("arguments", [[], ["dance"], ["demo", "--port", "many"]])
def test_what_it_does_not_understand_it_refuses(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: jupyter sse" in done.stderr


def test_it_starts_without_what_only_a_verb_needs() -> None:
    code = (
        "import sys, jupyter_sse.cli; print(*{'tornado', 'jupyter_server', 'anywidget', 'msgspec'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "\n"


def test_without_jupyterlab_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(["demo"])
    assert end.value.code == 1
    assert 'pip install "jupyter-sse[lab]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that takes over, instead of being run."""
    command: list[str] = []

    def execv(program: str, arguments: list[str]) -> None:
        command.extend(arguments)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    return command


def demo(*arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["demo", *arguments])
    assert end.value.code == 0


def test_the_copy_is_the_readers_own(
    started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "jupyter-sse-demo"
    copy = folder / "quickstart.ipynb"
    demo()
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        file.name: file.read_bytes() for file in cli.shipped()
    }
    assert {"quickstart.ipynb", "02_chat.ipynb"} <= {file.name for file in folder.iterdir()}
    demo()
    assert capsys.readouterr().out == ""
    copy.write_text("my own work")
    demo()
    assert copy.read_text() == "my own work"
    assert f"Using your copy, {copy}" in capsys.readouterr().out


def test_options_reach_jupyterlab(started: list[str], tmp_path: Path) -> None:
    demo("--port", "9999", "--no-browser", "--dir", str(tmp_path / "a b"), "--ip=0.0.0.0")
    assert started[1:3] == ["-m", "jupyterlab"]
    assert {
        "--ServerApp.port=9999", "--no-browser", "--ip=0.0.0.0", f"--ServerApp.root_dir={tmp_path / 'a b'}",
    } <= set(started)  # fmt: skip
    assert ("--allow-root" in started) == (os.geteuid() == 0)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        cli.main(["demo", "--dir", str(tmp_path / "file" / "demo")])
    assert end.value.code == 1
    assert "--dir" in capsys.readouterr().err


@pytest.mark.timeout(120)
def test_the_demo_opens_jupyterlab_on_the_quickstart(server: JupyterServer, tmp_path: Path) -> None:
    """Through `jupyter sse` where the package is installed, so that the script is found as users' shells find it."""
    scripts = str(Path(sys.executable).parent)
    script = shutil.which("jupyter-sse", path=scripts)
    command = [sys.executable, "-m", "jupyter", "sse"] if script else [sys.executable, "-m", "jupyter_sse.cli"]
    output = tmp_path / "output"
    env = server.env() | {"PATH": scripts + os.pathsep + os.environ["PATH"]}
    with output.open("wb") as log:
        lab = subprocess.Popen([*command, "demo", "--no-browser"], cwd=tmp_path, env=env, stdout=log, stderr=log)

    def address() -> re.Match[str] | None:
        assert lab.poll() is None, output.read_text()
        return re.search(r"(http://127\.0\.0\.1:\d+/)lab/tree/quickstart\.ipynb\?token=", output.read_text())

    try:
        root = wait_for(address, "JupyterLab to print its address")[1]
        with httpx.Client(headers=server.headers, base_url=root, trust_env=False, timeout=30) as client:
            assert wait_for(lambda: client.get("lab/tree/quickstart.ipynb").status_code == 200, "the page")
            content = client.get("api/contents/quickstart.ipynb").raise_for_status().json()["content"]
            nbformat.validate(content)
            # Extensions start after the pages are served: until then, a 503.
            assert wait_for(lambda: client.get("jupyter-sse/streams").status_code == 200, "the extension to start")
    finally:
        end(lab, output)
