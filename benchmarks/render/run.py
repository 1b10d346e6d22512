"""What an answer costs a page while it streams, beside JupyterLab's own renderer, react-markdown and streamdown.

    python benchmarks/render/run.py [--quick]

In one run, in Chromium: the main thread's time for a token when 1 000, 5 000 and 10 000 are there already, the frames
dropped while 10 000 come at 200 a second, and the dear cases, a single block of 10 000 tokens. The time is that of all
tasks (scripts, styles, layout, paint), less those of a page that draws nothing, and for ours that of its scripts too.
Ours highlights code and draws formulas; of the others, rendermime highlights. At 200 a second text is drawn once a
frame, not once a token, which is kind to them. Trust the ratios.

The packages that are compared are installed on the first run, into benchmarks/render/node_modules; js/ must have been
installed before (`npm ci`).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

from playwright.sync_api import CDPSession, Page, sync_playwright

HERE = Path(__file__).parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OURS = "jupyter_sse"
OTHERS = ("rendermime", "react-markdown", "streamdown")
SIZES = (1000, 5000, 10_000)
LETTERS = 4
"""Of a token, which is so long on average."""

SECTION = """## Part {n} of the answer

A paragraph of **ordinary** prose with `code`, a [link](https://example.org/{n}), a formula $x_{n}^2 + y^2$ and *some*
words more, so that it runs over two or three lines as the paragraphs of a model do. It ends here, at number {n}.

```python
def part_{n}(values: list[float], rate: float = 0.{n}) -> float:
    # the sum, of all that is larger
    total = sum(value * rate for value in values if value > {n})
    return total if total else float("nan")  # not 0
```

| method | rate | notes |
|:-------|-----:|-------|
| first  | 0.{n} | **fast** and simple |
| second | {n} | `slow`, and exact |

1. One thing that is to be done, in some words
2. Another one, with **emphasis** and `code`
   - and a part of it

$$\\int_0^{n} \\frac{{x^2}}{{\\sqrt{{1 + x}}}} \\, dx$$

"""
BLOCKS = {
    "code": "```python\n" + "total = sum(value * 2 for value in values)  # line\n" * 1000,
    "list": "- an item with `code` and **emphasis** in it\n" * 1200,
    "table": "| a | b |\n|---|---|\n" + "| some words | and `12` more |\n" * 1600,
    "paragraph": "Some **words** of a sentence that goes on, and `code`. " * 900,
}


def tokens(text: str) -> list[str]:
    """As a model's: short pieces that do not care for words."""
    lengths = cycle((4, 3, 5, 4, 6, 2, 4))
    pieces, at = [], 0
    while at < len(text):
        length = next(lengths)
        pieces.append(text[at : at + length])
        at += length
    return pieces


def answer(count: int) -> list[str]:
    text = "".join(SECTION.format(n=n) for n in range(count * LETTERS // len(SECTION) + 2))
    return list(islice(tokens(text), count))


def build() -> str:
    if not (HERE / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=HERE, check=True)
    script = "import('esbuild').then(({ buildSync }) => process.stdout.write(buildSync(%s).outputFiles[0].text))"
    options = """{
        entryPoints: ["page.ts"], bundle: true, write: false, format: "esm", target: "es2022", minify: true,
        jsx: "automatic", define: { "process.env.NODE_ENV": '"production"' }, logLevel: "error",
        loader: { ".css": "text", ".svg": "text", ".woff": "empty", ".woff2": "empty", ".ttf": "empty" },
    }"""
    done = subprocess.run(
        ["node", "-e", script % options], cwd=HERE, check=True, capture_output=True, text=True, encoding="utf-8"
    )
    return done.stdout


class Bench:
    """One page, in which the renderers are measured one after the other."""

    def __init__(self, page: Page, script: str) -> None:
        self.page = page
        page.route(
            "http://bench.test/", lambda route: route.fulfill(body="<!doctype html><body>", content_type="text/html")
        )
        page.goto("http://bench.test/")
        page.add_script_tag(content=script, type="module")
        page.wait_for_function("window.bench")
        self.cdp: CDPSession = page.context.new_cdp_session(page)
        self.cdp.send("Performance.enable")

    def busy(self, what: str = "Task") -> float:
        """Seconds that the main thread has worked so far."""
        metrics = {metric["name"]: metric["value"] for metric in self.cdp.send("Performance.getMetrics")["metrics"]}
        return float(metrics[f"{what}Duration"])

    def start(self, name: str, source: list[str], shown: int) -> None:
        self.page.evaluate("([name, source, shown]) => bench.start(name, source, shown)", [name, source, shown])

    def per_token(self, name: str, source: list[str], shown: int, count: int) -> float:
        """Milliseconds of the main thread for a token more."""
        self.start(name, source, shown)
        before, self.scripts = self.busy(), -self.busy("Script")
        self.page.evaluate("count => bench.add(count)", count)
        self.scripts = (self.scripts + self.busy("Script")) * 1000 / count
        return (self.busy() - before) * 1000 / count

    def stream(self, name: str, source: list[str]) -> tuple[int, int, float]:
        """Frames, those dropped, and the share of the main thread, at 200 tokens a second."""
        self.start(name, source, 0)
        before = self.busy()
        result = self.page.evaluate("bench.stream(200)")
        return result["frames"], result["dropped"], (self.busy() - before) / (len(source) / 200)


def table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, ["-" * width for width in widths], *rows):
        first, *rest = zip(row, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]), flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer tokens: half a minute, rougher figures")
    quick = parser.parse_args().quick
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        sys.exit(f"None of {', '.join(CHROMIUM)} is on PATH: install Chromium.")
    count = 40 if quick else 300
    script = build()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])

        def bench() -> Bench:
            return Bench(browser.new_page(viewport={"width": 1000, "height": 900}), script)

        source = answer(SIZES[-1] + count)
        nothing = bench().per_token("nothing", source, 1000, count)

        scripts: list[float] = []

        def cost(name: str, source: list[str], shown: int) -> float:
            page = bench()
            whole = page.per_token(name, source, shown, count)
            scripts.append(page.scripts)
            page.page.close()
            return max(0.0, whole - nothing)

        def ratios(costs: list[float], ours: list[float]) -> list[str]:
            return [f"{cost:.2f} ({cost / max(own, 0.01):.0f}x)" for cost, own in zip(costs, ours, strict=True)]

        ours = [cost(OURS, source, size) for size in SIZES]
        rows = [[OURS, *(f"{cost:.2f}" for cost in ours)], ["  its scripts", *(f"{cost:.2f}" for cost in scripts)]]
        for name in OTHERS:
            rows.append([name, *ratios([cost(name, source, size) for size in SIZES], ours)])
        table(["ms a token, when there are", *(f"{size:,}" for size in SIZES)], rows)

        blocks = {kind: tokens(text) for kind, text in BLOCKS.items()}
        sizes = [len(block) - count - 1 for block in blocks.values()]
        dear = [cost(OURS, block, size) for block, size in zip(blocks.values(), sizes, strict=True)]
        rows = [[OURS, *(f"{cost:.2f}" for cost in dear)]]
        for name in OTHERS:
            costs = [cost(name, block, size) for block, size in zip(blocks.values(), sizes, strict=True)]
            rows.append([name, *ratios(costs, dear)])
        table(["ms a token, at the end of one", *BLOCKS], rows)

        length = 1000 if quick else SIZES[-1]
        rows = []
        for name in (OURS, f"{OURS}, typed", *OTHERS):
            page = bench()
            frames, dropped, share = page.stream(name, source[:length])
            page.page.close()
            rows.append([name, f"{frames:,}", f"{dropped:,}", f"{dropped / frames:.1%}", f"{share:.0%}"])
        table([f"{length:,} tokens at 200 a second", "frames", "dropped", "", "main thread"], rows)
        browser.close()


if __name__ == "__main__":
    main()
