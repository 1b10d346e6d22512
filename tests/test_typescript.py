"""The front end's own checks, run with the Node that the build finds too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

JS = Path(__file__).parent.parent / "js"
LOCK = JS / "package-lock.json"
INSTALLED = JS / "node_modules" / ".package-lock.json"


def npm(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, JS / "hatch_build.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"npm {' '.join(arguments)}\n{done.stdout}", pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def _node_modules() -> None:
    if not INSTALLED.is_file() or INSTALLED.stat().st_mtime < LOCK.stat().st_mtime:
        npm("ci", "--no-audit", "--no-fund")


@pytest.mark.timeout(700)
def test_types() -> None:
    npm("run", "check")


@pytest.mark.timeout(700)
def test_units() -> None:
    npm("test")
