"""`jupyter sse ...`. Nothing heavy is imported until a verb needs it: this runs for `--help` too."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from . import __version__

__all__ = ["main"]

NOTEBOOK = "quickstart.ipynb"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the verb that the command line names."""
    parser = argparse.ArgumentParser(
        prog="jupyter sse", description="Stream LLM answers and watch long-running work in Jupyter."
    )
    parser.add_argument("--version", action="version", version=f"jupyter-sse {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="<verb>")

    verb = verbs.add_parser(
        "demo",
        help="open JupyterLab on a copy of the example notebooks",
        description="Open JupyterLab on a copy of the example notebooks. Needs no API key: where no model is set, an"
        " embedded demo model answers. Options not listed here are JupyterLab's.",
    )
    verb.add_argument("--port", type=int, help="the server's port (default: the first free one from 8888 on)")
    verb.add_argument("--no-browser", action="store_true", help="print the address instead of opening a browser")
    verb.add_argument(
        "--dir", type=Path, default=Path("jupyter-sse-demo"), help="where the copies go (default: ./%(default)s)"
    )
    verb.set_defaults(run=demo)

    options, rest = parser.parse_known_args(arguments)
    options.run(options, rest)


def demo(options: argparse.Namespace, rest: Sequence[str]) -> NoReturn:
    """Copy the notebooks that are not there yet, and become JupyterLab."""
    if importlib.util.find_spec("jupyterlab") is None:
        fail(f'JupyterLab is not installed for {sys.executable}. Install it with: pip install "jupyter-sse[lab]"')
    folder = options.dir.expanduser().absolute()
    try:
        place(shipped(), folder)
    except OSError as error:
        fail(f"Cannot write to {folder}: {error}. Choose another folder with --dir.")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    command.append(f"--LabApp.default_url=/lab/tree/{NOTEBOOK}")
    if options.port is not None:
        command.append(f"--ServerApp.port={options.port}")
    if options.no_browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container, usually
        command.append("--allow-root")
    command += rest
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(command[0], command)  # signals and the exit code are JupyterLab's own
    sys.exit(subprocess.call(command))


def shipped() -> list[Path]:
    """The notebooks in the installed package, or in the checkout that this runs from."""
    package = Path(__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / NOTEBOOK).is_file():
            return sorted(folder.glob("*.ipynb"))
    fail(f"{NOTEBOOK} is not in this installation of jupyter-sse ({package}). Install it again.")


def place(notebooks: Sequence[Path], folder: Path) -> None:
    """Copy the notebooks into the folder, except those that are there, which may be somebody's work."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in notebooks:
        target = folder / source.name
        if not target.exists():
            shutil.copyfile(source, target)
        elif target.read_bytes() != source.read_bytes():
            print(f"Using your copy, {target}. For a fresh one, move it away first.")


def fail(message: str) -> NoReturn:
    print(f"jupyter sse: {message}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
