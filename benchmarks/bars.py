"""What a round of a loop costs with a bar, beside tqdm's own, in one run.

    python benchmarks/bars.py [--quick]

In a real ipykernel that nobody watches: an empty loop, tqdm on a StringIO, tqdm's notebook bar, and ours, in turn, so
that all of them see the same machine; the median of the ratios. `for` is the loop of `for x in tqdm(...)`, `update`
that of a bar moved by hand. Ours is to be within 1.2 times tqdm on a StringIO.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kernel.kernel_process import running, text

LOOPS = """
import io, json, time, tqdm, tqdm.notebook
import jupyter_sse

def empty(rounds):
    for _ in range(rounds):
        pass

def loop(bar):
    for _ in bar:
        pass

def update(bar, rounds):
    with bar:
        move = bar.update
        for _ in range(rounds):
            move()

kinds = {
    "tqdm on a StringIO": lambda *a, **k: tqdm.tqdm(*a, file=io.StringIO(), **k),
    "tqdm.notebook": tqdm.notebook.tqdm,
    "jupyter_sse.tqdm": jupyter_sse.tqdm,
}

def timed(work, *given):
    started = time.perf_counter()
    work(*given)
    return (time.perf_counter() - started) * 1e9

def measure(rounds):
    found = {"for": {"no bar": timed(empty, rounds) / rounds}, "update": {}}
    for name, make in kinds.items():
        found["for"][name] = timed(loop, make(range(rounds))) / rounds
        found["update"][name] = timed(update, make(total=rounds), rounds) / rounds
    print(json.dumps(found))
"""
BASE = "tqdm on a StringIO"


def main() -> None:
    import json

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a look")
    rounds, repeats = (1_000_000, 3) if parser.parse_args().quick else (5_000_000, 9)
    runs = []
    with running(JUPYTER_SSE_URL="") as kernel:
        kernel.run(LOOPS)
        kernel.run("measure(100_000)")  # once for what is made when it is first used
        for _ in range(repeats):
            runs.append(json.loads(text(kernel.run(f"measure({rounds})"))))
    for way in runs[0]:
        print(f"\n{way}: ns a round, and times {BASE}")
        for name in runs[0][way]:
            cost = statistics.median(run[way][name] for run in runs)
            ratio = statistics.median(run[way][name] / run[way][BASE] for run in runs)
            print(f"  {name:20} {cost:7.1f}   {ratio:5.2f}")


if __name__ == "__main__":
    main()
