"""`jupyter sse ...`. Nothing heavy is imported until a verb needs it: this runs for `--help` too."""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import __version__

if TYPE_CHECKING:
    from .client import Client

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

    verb = verbs.add_parser(
        "run",
        usage="%(prog)s [--title TITLE] [--url URL] [--] command ...",
        help="run a program, and show what it writes in the monitor too",
        description="Run a program as it would run without this, and show what it writes on the monitor page of your"
        " Jupyter server too, where it can be cancelled. Without a server it runs all the same. The exit code is the"
        " program's.",
    )
    verb.add_argument("--title", help="what it is called there (default: the command)")
    verb.add_argument(
        "--url",
        type=without_token,
        help="the server, as a browser shows it (default: the one that runs here). Its token is found where it runs"
        " here, else in JUPYTER_TOKEN",
    )
    verb.add_argument("command", nargs=argparse.REMAINDER, help="the program and its arguments")
    verb.set_defaults(run=run)

    server = argparse.ArgumentParser(add_help=False)
    server.add_argument(
        "--url",
        type=without_token,
        help="the server, as a browser shows it (default: JUPYTER_SSE_URL, or the one that runs here). Its token is"
        " found where it runs here, else in JUPYTER_TOKEN",
    )
    server.add_argument("--json", action="store_true", help="write JSON, for programs")

    verb = verbs.add_parser(
        "ls", parents=[server], help="list the streams", description="List the server's streams, the newest first."
    )
    verb.add_argument("--status", choices=["running", "done", "error", "cancelled"], help="only those")
    verb.add_argument("--kind", help="only those of this kind, such as task or answer")
    verb.add_argument("--path", help="only those of this notebook, a path as Jupyter shows it")
    verb.set_defaults(run=ls)

    verb = verbs.add_parser(
        "tail",
        parents=[server],
        help="show a stream as it comes, to its end",
        description="Show a stream's state, and what comes until it ends. With --json, one event a line. Ctrl-C leaves"
        " and does not cancel it. The exit code is the stream's outcome: 0 done, 1 failed, 3 cancelled, 124 out of"
        " time; 2 if it cannot be read, 130 after Ctrl-C.",
    )
    verb.add_argument("stream", help="its id, or enough of the id's beginning")
    verb.add_argument(
        "--after", type=int, default=-1, metavar="N", help="all events after the Nth instead of the state; 0 for all"
    )
    verb.set_defaults(run=tail)

    verb = verbs.add_parser(
        "cancel",
        parents=[server],
        help="ask a stream's producer to stop",
        description="Ask a stream's producer to stop; asked again, interrupt its kernel.",
    )
    verb.add_argument("stream", help="its id, or enough of the id's beginning")
    verb.set_defaults(run=cancel)

    verb = verbs.add_parser(
        "nginx",
        help="print what nginx needs to be told about the streams",
        description="Print a configuration for nginx in front of a Jupyter server, to be included in the `server` that"
        " passes the rest of Jupyter on.",
    )
    verb.add_argument(
        "--url",
        type=without_token,
        help="where nginx reaches the Jupyter server (default: JUPYTER_SSE_URL, or the one that runs here)",
    )
    verb.set_defaults(run=nginx)

    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] in (["tail"], ["cancel"]) and "--" not in given:  # ids that begin with a dash are no options
        ids = [word for word in given if re.fullmatch(r"-[A-Za-z0-9_][A-Za-z0-9_-]{2,}", word)]
        if ids:
            given = [*(word for word in given if word not in ids), "--", *ids]
    options, rest = parser.parse_known_args(given)
    if rest and options.run is not demo and options.run is not run:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
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


def run(options: argparse.Namespace, rest: Sequence[str]) -> NoReturn:
    """Run a program as a stream."""
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if rest or not command:
        fail(f"{f'not an option: {rest[0]}' if rest else 'no command'}. Write: jupyter sse run -- command ...", code=2)
    from .kernel.wrap import wrap

    sys.exit(wrap(command, title=options.title, url=options.url))


def without_token(url: str) -> str:
    if "token=" in url:
        raise argparse.ArgumentTypeError("others can read a command line: leave the token out, and set JUPYTER_TOKEN")
    return url


@contextmanager
def client(options: argparse.Namespace) -> Iterator[Client]:
    """A client of the server; what goes wrong is said in a line, without a traceback."""
    for file in (sys.stdout, sys.stderr):
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors="replace")
    try:
        from .client import Client, ClientError
    except ImportError as error:
        fail(str(error), code=2)
    try:
        with Client(options.url) as opened:
            yield opened
        sys.stdout.flush()
    except (ClientError, ValueError) as error:
        fail(str(error), code=2)
    except BrokenPipeError:  # as of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)


def find_stream(of: Client, prefix: str) -> str:
    """The id that begins so."""
    for wanted in (None, "running"):  # one that has been running for long may not be among the newest
        ids = [info.stream for info in of.streams(status=wanted) if info.stream.startswith(prefix)]
        if prefix in ids or not prefix:
            break
        if len(ids) > 1:
            shown = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
            fail(f"{len(ids)} streams begin with {prefix}: {shown}. Give more of the id.", code=2)
        if ids:
            return ids[0]
    return prefix


def ls(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """The list of streams."""
    with client(options) as of:
        streams = of.streams(status=options.status, kind=options.kind, path=options.path)
        if options.json:
            import msgspec

            print(msgspec.json.format(msgspec.json.encode(streams)).decode())
            return
        from .tail.listing import listing

        listing(streams)


def tail(options: argparse.Namespace, rest: Sequence[str]) -> NoReturn:
    """A stream's events, to the end."""
    with client(options) as of:
        stream = find_stream(of, options.stream)
        from .tail import exit_code, follow, view

        shown = view(json=options.json, hint="Ctrl-C leaves; the stream goes on")
        try:
            sys.exit(exit_code(follow(of.events(stream, options.after), shown)))
        except KeyboardInterrupt:
            print(f"Left; the stream goes on. To stop it: jupyter sse cancel {stream}", file=sys.stderr)
            sys.exit(130)


def cancel(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Pass a cancel on, and say how."""
    with client(options) as of:
        answer = of.cancel(find_stream(of, options.stream))
        print(json.dumps({"via": answer.via, "message": answer.message}) if options.json else answer.message)


def nginx(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """The include for nginx."""
    from .address import find
    from .nginx import include

    try:
        print(include(find(options.url).url), end="")
    except (LookupError, ValueError) as error:
        fail(str(error), code=2)


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


def fail(message: str, code: int = 1) -> NoReturn:
    print(f"jupyter sse: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
