"""`tqdm` in a real kernel: one output a cell, and what is left in the notebook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kernel.kernel_process import KernelProcess, Message, displays, running, text

MIME = "application/vnd.jupyter-sse.v1+json"


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelProcess]:
    with running(JUPYTER_SSE_URL="") as kernel:
        kernel.run("from jupyter_sse import tqdm, trange")
        yield kernel


def outputs(messages: list[Message]) -> list[dict[str, Any]]:
    """What each output has come to, in order."""
    latest: dict[str, dict[str, Any]] = {}
    for message in displays(messages):
        latest[message["content"]["transient"].get("display_id", str(len(latest)))] = message["content"]["data"]
    return list(latest.values())


def output(messages: list[Message]) -> dict[str, Any]:
    (one,) = outputs(messages)
    return one


def bars(bundle: dict[str, Any]) -> dict[str, tuple[float, str | None, str | None]]:
    found = bundle[MIME]["snapshot"]["bars"]
    return {bar["bar"]: (bar["n"], bar.get("parent"), bar.get("state")) for bar in found}


def test_one_output_with_the_truth_in_it(kernel: KernelProcess) -> None:
    said = kernel.run("""
for epoch in trange(2, desc="Epochs"):
    for batch in tqdm(range(3), desc="batches", leave=False):
        pass
    for check in tqdm(range(4), desc="checks"):
        tqdm.write(f"check {check}") if epoch else None
""")
    bundle = output(said)
    assert bars(bundle) == {"main": (2, None, "complete"), "checks": (4, "main", "complete")}
    for shown in (bundle["text/plain"], bundle["text/markdown"]):
        assert "Epochs" in shown
        assert "\n  checks: ██████████ 100 % · 4/4 · " in shown
        assert "check 3" in shown
        assert "batches" not in shown
    assert text(said) == text(said, "stderr") == ""


def test_a_loop_that_failed_and_one_that_was_interrupted(kernel: KernelProcess) -> None:
    failed = output(kernel.run("for n in tqdm(range(4), desc='Fail'):\n    [][n]"))
    assert failed["text/plain"].startswith("Fail: failed")
    assert "░░░░░░░░░░ 0 % · 0/4 · stopped early" in failed["text/plain"]
    assert "Error: IndexError: list index out of range" in failed["text/plain"]
    request = kernel.send("import time\nfor n in tqdm(range(10**6), desc='Long'):\n    print(n)\n    time.sleep(0.01)")
    kernel.wait(lambda message: bool(text([message])) and message["parent_header"].get("msg_id") == request)
    kernel.manager.interrupt_kernel()
    kernel.wait(lambda message: message["msg_type"] == "error" and message["parent_header"].get("msg_id") == request)
    kernel.run("pass")
    interrupted = output(kernel.of(request))
    assert "Interrupted" in interrupted["text/plain"]
    assert "stopped early" in interrupted["text/plain"]


def test_bars_that_are_not_left_leave_nothing(kernel: KernelProcess) -> None:
    bundle = output(kernel.run("for n in tqdm(range(3), desc='Gone', leave=False): pass"))
    assert (bundle["text/plain"], bundle["text/markdown"]) == ("", "")


def test_a_bar_of_an_earlier_cell_goes_on_where_it_is_moved(kernel: KernelProcess) -> None:
    first = output(kernel.run("bar = tqdm(total=10, desc='Long')\nbar.update(4)"))
    assert bars(first) == {"main": (4, None, "early")}
    assert outputs(kernel.run("pass")) == []
    second = output(kernel.run("bar.update(6)\nbar.close()"))
    assert bars(second) == {"main": (10, None, "complete")}


def test_bars_of_threads_and_of_processes(kernel: KernelProcess) -> None:
    said = kernel.run("""
from concurrent.futures import ThreadPoolExecutor
from tqdm.contrib.concurrent import process_map, thread_map

def work(name):
    return sum(tqdm(range(5), desc=f"worker {name}", position=name))

def square(n):
    return n * n

with ThreadPoolExecutor(3) as pool:
    print(list(pool.map(work, range(3))))
print(thread_map(square, range(4), tqdm_class=tqdm, desc="threads"))
print(process_map(square, range(4), tqdm_class=tqdm, desc="processes", max_workers=2, chunksize=1))
""")
    assert text(said) == "[10, 10, 10]\n[0, 1, 4, 9]\n[0, 1, 4, 9]\n"
    found = bars(output(said))
    assert sorted(n for n, _, _ in found.values()) == [4, 4, 5, 5, 5]
    assert {"threads", "processes"} < set(found)


def test_async_bars(kernel: KernelProcess) -> None:
    said = kernel.run("""
import asyncio
async for n in tqdm(range(2), desc="outer"):
    async for m in tqdm(range(3), desc="inner"):
        await asyncio.sleep(0)
""")
    assert bars(output(said)) == {"main": (2, None, "complete"), "inner": (3, "main", "complete")}


def test_install_reaches_what_was_imported_before_and_uninstall_lets_it_go(kernel: KernelProcess) -> None:
    library = """
import sys, types
library = types.ModuleType("library")
exec('''
from tqdm.auto import tqdm

class Bar(tqdm):
    def __init__(self, *given, **options):
        self.name = options.pop("name")
        super().__init__(*given, **options)

def download(size):
    with Bar(total=size, unit="B", unit_scale=True, name="x", desc="download") as bar:
        for _ in range(size // 1000):
            bar.update(1000)
''', vars(library))
sys.modules["library"] = library
"""
    kernel.run(library)
    kernel.run("import jupyter_sse; jupyter_sse.tqdm.install()")
    before = output(kernel.run("import library; library.download(5000)"))
    assert bars(before) == {"main": (5000, None, "complete")}
    assert "5 k/5 k" in before["text/plain"]
    kernel.run(library)
    assert bars(output(kernel.run("import library; library.download(7000)"))) == {"main": (7000, None, "complete")}
    kernel.run("jupyter_sse.tqdm.uninstall()")
    kernel.run(library)
    after = kernel.run("import library; library.download(7000)")
    assert not any(MIME in bundle for bundle in outputs(after))
