"""Which part of the house may know which: imports go one way (the picture is in docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jupyter_sse"
MODULES = sorted(PACKAGE.rglob("*.py"))

ROOT = ""
"""The package itself: its version, and what it exports lazily."""

MAY_IMPORT = {
    ROOT: {"kernel", "server"},
    "events": set(),
    "state": {"events"},
    "output": {"events", "state"},
    "transcript": {"output", "state"},
    "webhook": {"output", "state"},
    "sse": set(),
    "log": set(),
    "address": set(),
    "formats": {"chat", "events", "sse", "state"},
    "nginx": set(),
    "kernel": {"address", "events", "state", "output", "transcript", "webhook", "chat", "endpoints"},
    "server": {"events", "state", "output", "transcript", "webhook", "sse", "log", "chat", "endpoints", "formats"},
    "chat": {"events"},
    "endpoints": {"events", "sse"},
    "client": {"address", "events", "state", "sse"},
    "tail": {"client", "events", "state", "output"},
    "cli": {ROOT, "address", "client", "kernel", "nginx", "tail"},
}
PURE = {"events", "formats", "state", "output", "transcript", "sse"}
"""These touch no socket, file, clock or thread, so that they can be tested with bytes alone."""

PURE_MAY_USE = {"__future__", "codecs", "collections", "msgspec", "re", "typing"}
SERVER_ONLY = {"jupyter_core", "jupyter_server", "prometheus_client", "tornado", "traitlets"}
"""A kernel may be alone on its machine, without these. (It has traitlets with anywidget, which it imports late.)"""


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return ROOT if first == "__init__" else first


def imports(path: Path, *, late: bool) -> set[str]:
    """The modules that a file imports, with dots resolved; `late` ones too, within functions."""
    found = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text(), path)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ["jupyter_sse", *path.relative_to(PACKAGE).parent.parts]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names} if node.level else {base}
        elif late or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            nodes += ast.iter_child_nodes(node)
    return found


def parts_imported(path: Path) -> set[str]:
    parts = set()
    for name in imports(path, late=True):
        names = name.split(".")
        if names[0] == "jupyter_sse":
            known = len(names) > 1 and any((PACKAGE / f"{names[1]}{suffix}").exists() for suffix in ("", ".py"))
            parts.add(names[1] if known else ROOT)
    return parts - {part_of(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    part = part_of(path)
    assert part in MAY_IMPORT, f"{part} is new: say in MAY_IMPORT what it may know"
    assert parts_imported(path) <= MAY_IMPORT[part]
    outside = {name.split(".")[0] for name in imports(path, late=False)} - {"jupyter_sse"}
    if part in PURE:
        assert outside <= PURE_MAY_USE
    if part != "server":
        assert not outside & SERVER_ONLY


def test_no_module_is_a_catch_all() -> None:
    names = {path.stem for path in MODULES} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc", "handlers", "core"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert docstring.split("\n\n")[0].endswith((".", ":"))


def test_the_check_sees_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "jupyter_sse"
    (package / "kernel").mkdir(parents=True)
    (package / "server").mkdir()
    (package / "events.py").touch()
    path = package / "kernel" / "link.py"
    path.write_text(
        "from .. import __version__, events\nfrom . import display\ndef f():\n    from ..server.hub import Hub\n"
    )
    monkeypatch.setattr(f"{__name__}.PACKAGE", package)
    assert parts_imported(path) == {ROOT, "events", "server"}
    path.write_text("if True:\n    import tornado.web\ndef f():\n    import asyncio\n")
    assert imports(path, late=False) == {"tornado.web"}
