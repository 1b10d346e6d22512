"""Final outputs: what a snapshot says as Markdown and as text, and what nbconvert makes of it."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbconvert import HTMLExporter, MarkdownExporter

from jupyter_sse import output
from jupyter_sse.events import Error, Log, Preview, Progress, Step, Tool, Usage
from jupyter_sse.output import (
    MIME,
    TABLE,
    bar_text,
    bounded,
    headline,
    media_of,
    mimebundle,
    to_markdown,
    to_text,
    with_media,
)
from jupyter_sse.state import LogTail, Snapshot

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\nnot really").decode()

# Each ends in a script if its surroundings are read in another way than they look.
ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "text\n\n<div>\n```\n</div>\n<script>alert(1)</script>\n```",
    "\\`<script>alert(1)</script>`",
    "- ```\n<script>alert(1)</script>\n```",
    "- a\n  ```\n<script>alert(1)</script>\n  ```",
    "> ```\n<script>alert(1)</script>",
    "para\n    ```\n<script>alert(1)</script>",
    "``` `\n<script>alert(1)</script>",
    "$$\n```\n$$\n<script>alert(1)</script>",
    "\\begin{a}\n```\n\\end{a}\n<script>alert(1)</script>",
    "$`$ <script>alert(1)</script> $`$",
    "[`](x) <script>alert(1)</script> [`](y)",
    "|a|b|c|\n|-|-|-|\n|`|<script>alert(1)</script>|`|",
    "- ` a\n- <script>alert(1)</script> `",
    "``<script>alert(1)</script>`",
    "`<script>alert(1)</script>",
    "<https://x`y><script>alert(1)</script>`",
    "http://x`y <script>alert(1)</script> `",
    "www.x.y/` <script>alert(1)</script> `",
    "*a ` b* <script>alert(1)</script> `",
    "<!-- ` --><script>alert(1)</script>`",
    "~~~ `\n~~~\n<script>alert(1)</script>",
    "```\n ```x\n```\n<script>alert(1)</script>",
    "[a]: <x`> '`'\n<script>alert(1)</script> `",
    "# `\n<script>alert(1)</script>`",
    "&lt;script&gt; <ScRiPt/x>alert(1)</ScRiPt>",
]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.found += [name for name, _ in attrs if name.startswith("on")]


def notebook(snapshot: Snapshot) -> Any:
    output = nbformat.v4.new_output("display_data", data=mimebundle(snapshot))
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])


def full() -> Snapshot:
    return Snapshot(
        stream="s",
        seq=20,
        status="done",
        kind="task",
        title="Train *it*",
        text="# Answer\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1 < 2\n```\n",
        bars=[
            Progress(bar="main", n=40, total=50, rate=12.3, eta=1.0, unit="it"),
            Progress(bar="Batch", n=7, parent="main", message="loss 0.5"),
        ],
        steps=[Step(step=1, of=2, message="Reading"), Step(step=2, of=2, message="Writing")],
        log=LogTail(lines=[Log(text="line with ``` in it"), Log(text="last")], count=300),
        previews=[
            Preview(mime="image/png", data=PNG, alt="a plot]"),
            Preview(mime="image/png", url="https://x.test/a.png"),
        ],
        usage=Usage(input_tokens=3, output_tokens=4),
        result="https://x.test/result",
        started=100.0,
        ended=112.34,
    )


def test_markdown_has_it_all() -> None:
    assert to_markdown(bounded(full())) == "\n\n".join(
        [
            "**Train \\*it\\*** · *done · 12.3 s · 3 \\+ 4 tokens*",
            "# Answer\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1 < 2\n```\n",
            "```\n████████░░ 80 % · 40/50 · 12.3 it/s\n  Batch: 7 · loss 0.5\n```",
            "```\n[1/2] Reading\n[2/2] Writing\n```",
            "````\n… (298 lines before)\nline with ``` in it\nlast\n````",
            f"![a plot\\]](<data:image/png;base64,{PNG}>)",
            "![picture](<https://x.test/a.png>)",
            "Result: <https://x.test/result>",
        ]
    )


def test_text_has_it_all() -> None:
    text = to_text(full())
    for part in (
        "Train *it*: done · 12.3 s",
        "# Answer",
        "80 %",
        "[2/2] Writing",
        "last",
        "Result: https://x.test/result",
    ):
        assert part in text


def test_nbconvert_to_html_and_markdown_show_it() -> None:
    html, _ = HTMLExporter().from_notebook_node(notebook(full()))
    for part in (
        "<h1",
        "Answer",
        "80 %",
        "40/50",
        "[2/2] Writing",
        "line with ``` in it",
        f"data:image/png;base64,{PNG}",
    ):
        assert part in html
    exported, _ = MarkdownExporter().from_notebook_node(notebook(full()))
    for part in ("# Answer", "████████░░ 80 %", "[2/2] Writing", f"data:image/png;base64,{PNG}"):
        assert part in exported


@pytest.mark.parametrize("attack", ATTACKS)
def test_html_in_an_answer_is_text_for_nbconvert(attack: str) -> None:
    def tags(text: str) -> list[str]:
        html, _ = HTMLExporter(template_name="basic").from_notebook_node(
            notebook(Snapshot(stream="s", status="done", text=text, log=LogTail(lines=[Log(text="after")], count=1)))
        )
        parser = Tags()
        parser.feed(html)
        return parser.found

    assert not {"script", "img", "onerror", "onload"} & (set(tags(attack)) - set(tags("plain")))


@pytest.mark.parametrize(
    "text",
    [
        "`a < b` and `List<int>` and 1 < 2, x<3",
        "```cpp\n#include <vector>\n```\n\n~~~\n<b>\n~~~",
        "<https://example.org/a?b=c>",
        "| a | b |\n|---|---|\n| `x` | 2 |",
        "Mathe: $a<1$ und $$b < c$$",
    ],
)
def test_ordinary_markdown_is_left_alone(text: str) -> None:
    assert output.safe_markdown(text) == text


def test_a_code_block_that_was_cut_is_closed() -> None:
    text = to_markdown(Snapshot(status="cancelled", text="Look:\n\n````py\nx = `a`\n```\n", error=None, result="r"))
    assert text.endswith("```\n\n````\n\n**Result:** r")


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (Snapshot(), "running"),
        (Snapshot(status="done", reason="stop"), "done"),
        (Snapshot(status="done", reason="length"), "done: cut off at the length limit"),
        (Snapshot(status="done", reason="closed"), "stopped early"),
        (Snapshot(status="cancelled", started=0.0, ended=75.0), "cancelled · 1:15"),
        (Snapshot(status="error", started=0.0, ended=7265.0), "failed · 2:01:05"),
    ],
)
def test_headline(snapshot: Snapshot, words: str) -> None:
    assert headline(snapshot) == words


@pytest.mark.parametrize(
    ("bar", "text"),
    [
        (Progress(n=0, total=0), "██████████ 100 % · 0/0"),
        (Progress(n=3), "3"),
        (Progress(n=3, unit="files", rate=0.5), "3 files · 0.5 files/s"),
        (Progress(n=12, total=10), "██████████ 100 % · 12/10"),
        (Progress(n=-1, total=10), "░░░░░░░░░░ 0 % · -1/10"),
        (Progress(n=0.5, total=2, eta=61), "██░░░░░░░░ 25 % · 0.5/2 · 1:01 left"),
        (Progress(n=1, total=2, message="a\nb"), "█████░░░░░ 50 % · 1/2 · a b"),
        (Progress(n=1, total=2, eta=9, state="early"), "█████░░░░░ 50 % · 1/2 · stopped early"),
        (Progress(n=1536, unit="B", scale=1024, rate=512), "1.5 kB · 512 B/s"),
        (Progress(n=999_999, total=2e6, unit="B", scale=1000, rate=1e9), "████░░░░░░ 50 % · 1 M/2 M · 1 GB/s"),
        (Progress(n=5e21, scale=1000), "5000 E"),
    ],
)
def test_bars(bar: Progress, text: str) -> None:
    assert bar_text(bar) == text


def test_bars_whose_parents_go_round_in_a_ring() -> None:
    text = to_text(Snapshot(bars=[Progress(bar="a", n=1, parent="b"), Progress(bar="b", n=2, parent="a")]))
    assert "a: 1" in text
    assert "b: 2" in text


def test_the_title_of_one_bar_stands_above_it_and_those_of_several_beside_them() -> None:
    one = Snapshot(
        kind="bars", title="Load", status="done", bars=[Progress(n=1), Progress(bar="in", n=1, parent="main")]
    )
    assert to_text(one) == "Load: done\n1\n  in: 1"
    two = msgspec.structs.replace(one, bars=[Progress(n=1), Progress(bar="main 2", label="Train", n=2)])
    assert to_text(two) == "[done]\nLoad: 1\nTrain: 2"
    assert to_markdown(two) == "*done*\n\n```\nLoad: 1\nTrain: 2\n```"


def test_bars_of_which_none_is_left_leave_nothing_but_what_was_said_or_went_wrong() -> None:
    gone = Snapshot(kind="bars", title="Load", status="done", reason="stop")
    assert [mimebundle(gone)[mime] for mime in ("text/plain", "text/markdown")] == ["", ""]
    assert mimebundle(gone)[MIME]["snapshot"]["title"] == "Load"
    for more in ({"log": LogTail(lines=[Log(text="x")], count=1)}, {"reason": "cancelled"}, {"kind": "task"}):
        assert "Load" in mimebundle(msgspec.structs.replace(gone, **more))["text/plain"]


def test_a_cancelled_bar_stays_where_it_was() -> None:
    text = to_markdown(Snapshot(status="cancelled", bars=[Progress(n=4, total=10, eta=6.0)]))
    assert "████░░░░░░ 40 % · 4/10" in text
    assert "left" not in text


def test_an_error_and_a_result_of_several_lines() -> None:
    text = to_markdown(Snapshot(status="error", error=Error(message="ValueError: a*b\n```"), result="x\ny"))
    assert "**Result:**\n\n```\nx\ny\n```" in text
    assert "**Error:**\n\n````\nValueError: a*b\n```\n````" in text


def test_a_long_log_is_folded_but_for_its_end() -> None:
    lines = [Log(text=f"{index} </details><script>alert(1)</script> ```") for index in range(9_800, 10_000)]
    snapshot = Snapshot(stream="s", status="done", log=LogTail(lines=lines, count=10_000), result="r")
    head, folded, tail = re.split("<details>|(?<=````\n\n)</details>", to_markdown(snapshot))
    assert "9800" not in head
    assert folded.startswith("<summary>9960 earlier lines</summary>\n\n````\n… (9800 lines before)\n9800 ")
    assert folded.rstrip("`\n").splitlines()[-1].startswith("9959 ")
    assert tail.startswith("\n\n````\n9960 ")
    assert tail.endswith("\n````\n\n**Result:** r")
    html, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook(snapshot))
    parser = Tags()
    parser.feed(html)
    assert "script" not in parser.found
    assert parser.found.count("details") == 1


def test_a_result_that_is_no_text_is_shown_as_json() -> None:
    assert to_markdown(Snapshot(status="done", result={"loss": 0.5})).endswith(
        '**Result:**\n\n```\n{\n  "loss": 0.5\n}\n```'
    )
    assert to_text(Snapshot(status="done", result=True)).endswith("\nResult: true")
    assert "Result" not in to_text(Snapshot(status="done"))
    nested = json.loads("[" * 500 + "]" * 500)
    assert mimebundle(Snapshot(status="done", result=nested))["text/plain"].endswith("(left out: nested too deeply)")


MOST = 20 << 20
"""Bytes of one saved output, as README has it."""

large = st.builds(str.__mul__, st.text(min_size=1, max_size=4), st.sampled_from([1, 100, 3_000, 300_000]))
whole = st.integers(0, 1 << 53)
values = st.one_of(
    st.none(), st.booleans(), whole, large, st.lists(large, max_size=3), st.dictionaries(st.text(max_size=3), large)
)


def many(strategy: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    return st.builds(lambda one, count: one * count, st.lists(strategy, max_size=3), st.integers(0, most))


snapshots = st.builds(
    Snapshot,
    stream=st.just("s"),
    status=st.sampled_from(["running", "done", "error", "cancelled"]),
    title=st.none() | large,
    unit=st.none() | large,
    text=large,
    reasoning=large,
    bars=many(st.builds(Progress, bar=large, n=whole, parent=large, message=large), 500),
    steps=many(st.builds(Step, step=whole, message=large), 100),
    log=st.builds(LogTail, lines=many(st.builds(Log, text=large), 100), count=whole),
    previews=many(
        st.builds(Preview, mime=large, data=large, alt=large) | st.builds(Preview, mime=large, url=large, key=large), 10
    ),
    tools=many(st.builds(Tool, id=large, name=large, phase=st.just("result"), args=values, result=values), 500),
    result=values,
    error=st.none() | st.builds(Error, message=large, code=large),
)


def saved_size(*states: Snapshot) -> int:
    outputs = [nbformat.v4.new_output("display_data", data=mimebundle(state)) for state in states]
    cells = [nbformat.v4.new_code_cell("x", outputs=[output]) for output in outputs]
    return len(nbformat.writes(nbformat.v4.new_notebook(cells=cells)).encode())


@settings(max_examples=30)
@given(snapshots)
def test_whatever_a_stream_holds_its_saved_output_is_bounded(snapshot: Snapshot) -> None:
    assert saved_size(snapshot) < MOST


def test_the_worst_of_everything_is_bounded() -> None:
    bad, nested = "\x01", json.loads("[" * 18 + "]" * 18)
    worst = Snapshot(
        stream="s",
        status="error",
        title=bad * 1_000_000,
        text=bad * 5_000_000,
        reasoning=bad * 1_000_000,
        bars=[Progress(bar=f"{index}{bad * 5000}", n=1, message=bad * 5000) for index in range(1000)],
        steps=[Step(step=1, message=bad * 5000)] * 200,
        log=LogTail(lines=[Log(text=bad * 100_000)] * 200, count=200),
        previews=[Preview(mime="image/png", data="A" * 1_000_000, alt=bad * 5000)] * 20,
        tools=[Tool(id=str(index), name="t", phase="result", args={"x": bad * 9000}) for index in range(1000)],
        result=[nested] * 1500,
        error=Error(message=bad * 100_000),
    )
    assert MOST / 2 < saved_size(worst) < MOST
    bundle = mimebundle(worst)
    assert f"({5_000_000 - (512 << 10)} more characters)" in bundle["text/markdown"]
    assert f"({5_000_000 - (64 << 10)} more characters)" in bundle["text/plain"]
    assert len(bundle[MIME]["snapshot"]["previews"]) == 4


def test_what_is_left_out_is_the_oldest() -> None:
    lines = [Log(text=f"{index} " + "z" * 9000) for index in range(400)]
    steps = [Step(step=index, message="m" * 1000) for index in range(200)]
    state = bounded(Snapshot(log=LogTail(lines=lines, count=1000), steps=steps))
    assert [line.text.split()[0] for line in state.log.lines] == [
        str(index) for index in range(400 - len(state.log.lines), 400)
    ]
    assert 200 < len(state.log.lines) < 300
    assert state.steps[-1] == steps[-1]
    assert f"… ({1000 - len(state.log.lines)} lines before)" in to_text(state)


def test_a_hundred_long_tasks_make_a_notebook_that_can_be_mailed() -> None:
    lines = [Log(text=f"epoch {index} of 10000: loss 0.{index}, accuracy 98.{index} %") for index in range(200)]
    task = msgspec.structs.replace(full(), log=LogTail(lines=lines, count=10_000))
    assert saved_size(*[task] * 100) < 6 << 20


def test_text_that_utf8_cannot_carry() -> None:
    odd = Snapshot(
        stream="s",
        title="t\ud800",
        text="a\ud800b",
        log=LogTail(lines=[Log(text="\udfff")], count=1),
        bars=[Progress(bar="\ud801", n=1, message="\ud802")],
        steps=[Step(step=1, message="\ud803")],
        result="\ud804",
        error=Error(message="\ud805"),
    )
    for text in msgspec.json.decode(msgspec.json.encode(mimebundle(odd))).values():
        assert text


def test_what_is_saved_as_text_has_no_escape_sequences() -> None:
    lines = [Log(text="\x1b[1;31mred\x1b[0m [1m] \x1b]8;;https://x.org\x07link\x1b(B")]
    state = Snapshot(stream="s", status="done", log=LogTail(lines=lines, count=1))
    assert "red [1m] link" in to_text(state)
    assert "\x1b" not in to_text(state) + to_markdown(state)


def test_what_only_the_server_has_is_no_picture_of_the_notebook() -> None:
    url = "/jupyter-sse/streams/x/media/y.png"
    snapshot = Snapshot(
        stream="s",
        status="done",
        previews=[Preview(mime="image/png", url=url, alt="Plot"), Preview(mime="image/png", url="https://e.org/a.png")],
        result={"mime": "image/png", "url": url},
    )
    assert media_of(snapshot) == [url, "https://e.org/a.png", url]
    markdown = mimebundle(snapshot)["text/markdown"]
    assert url not in markdown
    assert "*Plot*" in markdown
    assert "![picture](<https://e.org/a.png>)" in markdown
    inlined = with_media(snapshot, {url: "AAAA"})
    assert [(one.url, one.data) for one in inlined.previews] == [(None, "AAAA"), ("https://e.org/a.png", None)]
    assert inlined.result == {"mime": "image/png", "data": "AAAA"}
    assert mimebundle(inlined)["text/markdown"].count("data:image/png;base64,AAAA") == 2


def test_a_traceback_is_folded_and_bounded() -> None:
    trace = "Traceback (most recent call last):\n" + "  File\n" * 100_000 + "\x1b[31mValueError\x1b[0m: ```no```"
    snapshot = Snapshot(stream="s", status="error", error=Error(message="ValueError: no", traceback=trace))
    markdown = mimebundle(snapshot)["text/markdown"]
    assert "<details><summary>Traceback</summary>" in markdown
    assert "\n````\n" in markdown
    assert "ValueError: ```no```" in markdown
    assert "\x1b" not in markdown
    assert len(markdown) < 10_000


def test_a_result_that_is_too_large_is_left_out() -> None:
    for result in (
        {"mime": "image/png", "data": "A" * (5 << 20)},
        {"mime": TABLE, "columns": [], "rows": [["x"] * 99_999]},
    ):
        assert "left out" in mimebundle(Snapshot(stream="s", status="done", result=result))["text/plain"]
