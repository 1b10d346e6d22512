"""tqdm's own tests, run against ours.

They are in tqdm's sdist alone, which pip fetches once for each version of tqdm and keeps with the temporary files. On a
terminal ours has to pass them all. In a notebook it cannot pass those that read what tqdm has drawn into a file.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

FILES = ["tqdm", "asyncio", "concurrent", "contrib", "contrib_logging", "itertools", "notebook", "pandas"]
LEFT_OUT = {
    "test_external_write",  # deletes an attribute of the very class it imports, which a subclass inherits
    "test_as_completed",  # asserts how long something takes
}
IN_A_NOTEBOOK = {
    "test_autodisable_nonTTY",
    "test_big_min_interval",
    "test_bool",
    "test_chunksize_warning",
    "test_close_after_stream_closed",
    "test_closed_file",
    "test_cmp",
    "test_deprecation_exception",
    "test_disable",
    "test_disabled_refresh",
    "test_disabled_repr",
    "test_disabled_reset",
    "test_disabled_unpause",
    "test_infinite_total",
    "test_iterate_over_csv_rows",
    "test_len",
    "test_map",
    "test_native_string_io_for_default_file",
    "test_notebook_disabled_description",
    "test_repr",
    "test_should_call_tqdm_write",
    "test_should_format_message",
    "test_threading",
    "test_unicode_string_io_for_specified_file",
    "test_use_root_logger_by_default_and_write_to_custom_tqdm",
    "test_write",
    "test_write_bytes",
    "test_write_other_file",
    "test_write_stdout_none",
    "test_zip",
}
PLUGIN = """
import asyncio, inspect, json, os
import tqdm
import jupyter_sse
from jupyter_sse.kernel import tqdm as module

given = json.loads(os.environ["AS_OURS"])
if given["in_notebook"]:
    module.in_notebook = lambda: True
    module._is_ours = lambda args, options: not options.get("gui")
jupyter_sse.tqdm.install()
tqdm.tqdm, tqdm.trange = jupyter_sse.tqdm, jupyter_sse.trange

def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if item.originalname not in given["left_out"]
                and (not given["chosen"] or item.originalname in given["chosen"])]

def pytest_pyfunc_call(pyfuncitem):
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}))
        return True
"""


@pytest.fixture(scope="module")
def suite() -> Path:
    """tqdm's tests, of the version that is installed."""
    wanted = version("tqdm")
    kept = Path(tempfile.gettempdir(), f"jupyter-sse-tests-tqdm-{wanted}")
    if not (kept / "tests").is_dir():
        with tempfile.TemporaryDirectory(prefix=kept.name, dir=kept.parent) as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "tqdm"]
            fetched = subprocess.run(
                [*pip, "--dest", folder, f"tqdm=={wanted}"], capture_output=True, text=True, timeout=150
            )
            if fetched.returncode:
                pytest.skip(f"pip cannot fetch tqdm's sdist: {fetched.stderr.strip()[-300:]}")
            with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as sdist:
                members = [m for m in sdist.getmembers() if re.fullmatch(r"[^/]+/tests/[^/]+[.]py", m.name)]
                for member in members:
                    content = sdist.extractfile(member)
                    assert content is not None
                    target = Path(folder, "suite", "tests", Path(member.name).name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content.read())
            Path(folder, "suite").replace(kept)
    return kept


@pytest.mark.parametrize(("chosen", "at_least"), [(set[str](), 120), (IN_A_NOTEBOOK, 40)], ids=["terminal", "notebook"])
def test_tqdms_own_tests(suite: Path, tmp_path: Path, chosen: set[str], at_least: int) -> None:
    (tmp_path / "as_ours.py").write_text(PLUGIN)
    given = {"in_notebook": bool(chosen), "chosen": sorted(chosen), "left_out": sorted(LEFT_OUT)}
    files = [suite / "tests" / f"tests_{name}.py" for name in FILES]
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "as_ours", "-p", "no:cacheprovider", "-c", os.devnull,
        f"--rootdir={suite}", "-o", "python_files=tests_*.py", "-o", "log_level=INFO", "-o", "markers=asyncio\nslow",
        "--timeout=60", "--tb=short", *(str(file) for file in files if file.exists()),
    ]  # fmt: skip
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    env |= {"AS_OURS": json.dumps(given), "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=170, cwd=tmp_path, env=env)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-1000:]
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed is not None
    assert int(passed[1]) >= at_least
