"""Node and npm, those that the build finds too, and what package-lock.json names."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

JS = Path(__file__).parent.parent / "js"
CLIENTS = Path(__file__).parent / "clients"
"""Packages that only tests need: a build installs those of `JS`, and users wait for it."""
BUILD = JS / "hatch_build.py"


def npm(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, BUILD, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"npm {' '.join(arguments)}\n{done.stdout}", pytrace=False)


def install(folder: Path = JS) -> None:
    """All packages that the folder names, unless they are there."""
    installed = folder / "node_modules" / ".package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < (folder / "package-lock.json").stat().st_mtime:
        npm("--prefix", str(folder), "ci", "--no-audit", "--no-fund")


def node() -> str:
    """Where Node is."""
    spec = importlib.util.spec_from_file_location("hatch_build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    found = shutil.which("node") if build.npm_on_path() else build.npm_from_wheel()[0]
    assert found is not None
    return str(Path(found).with_name("node"))


def run(source: str, **env: str) -> str:
    """Run a module that may import the clients; what it prints."""
    done = subprocess.run(
        [node(), "--input-type=module", "-"],  # from standard input, it imports as a module there would
        input=source,
        cwd=CLIENTS,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout


def run_script(script: Path, **config: Any) -> Any:
    """The same for a file that reads `CLIENT_CONFIG`, and prints JSON."""
    return json.loads(run(script.read_text(), CLIENT_CONFIG=json.dumps(config)))
