"""`import jupyter_sse` must stay light: it is imported in kernels that have no server, and by servers."""

from __future__ import annotations

import subprocess
import sys

import jupyter_sse

HEAVY = ["tornado", "jupyter_server", "IPython", "anywidget", "ipywidgets", "websockets", "numpy", "matplotlib", "PIL"]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_public_names() -> None:
    assert set(jupyter_sse.__all__) <= set(dir(jupyter_sse))
    for name in jupyter_sse.__all__:
        assert getattr(jupyter_sse, name).__name__ == name


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, jupyter_sse; print([m for m in {[*HEAVY, 'msgspec', 'asyncio']} if m in sys.modules])"
    assert run(code) == "[]\n"


def test_work_in_a_plain_script_loads_no_notebook_or_server() -> None:
    code = (
        "import sys, jupyter_sse\n"
        "with jupyter_sse.task('t') as t: t.log('x')\n"
        "jupyter_sse.stream(iter(['x']))\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert run(code).splitlines()[-1] == "[]"


def test_the_kernel_side_never_imports_the_server_side() -> None:
    code = (
        "import importlib, pkgutil, sys, jupyter_sse.kernel as k\n"
        "for m in pkgutil.walk_packages(k.__path__, 'jupyter_sse.kernel.'): importlib.import_module(m.name)\n"
        "print([m for m in sys.modules if m.startswith(('jupyter_sse.server', 'jupyter_sse.log', 'jupyter_server'))])"
    )
    assert run(code) == "[]\n"


def test_the_server_finds_its_extension() -> None:
    (point,) = jupyter_sse._jupyter_server_extension_points()
    assert point["module"] == "jupyter_sse"
    assert point["app"].name == "jupyter_sse"
