"""What a task came to is shown for what it is, here and in the saved notebook."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest

from jupyter_sse import task
from jupyter_sse.output import MIME, TABLE, mimebundle

Image = pytest.importorskip("PIL.Image")


def result_of(value: Any) -> tuple[Any, dict[str, Any]]:
    with task("Work") as t:
        t.result = value
    bundle = mimebundle(t.snapshot)
    return bundle[MIME]["snapshot"]["result"], bundle


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.25, "0.25"),
        (True, "true"),
        ("<b>text</b>", "text"),
        ({"loss": 0.5}, '"loss": 0.5'),
        ([1, 2], "1"),
        ({1, 2}, "1"),
    ],
)
def test_plain_values_stay(value: Any, shown: str) -> None:
    result, bundle = result_of(value)
    assert result == (list(value) if isinstance(value, set) else value)
    assert shown in bundle["text/plain"]
    assert "<b>" not in bundle["text/markdown"]


def test_pictures_sound_and_files(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 6))
    file = io.BytesIO()
    image.save(file, format="PNG")
    path = tmp_path / "x.png"
    path.write_bytes(file.getvalue())

    class Sound:
        data, mimetype = b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"

    for value, mime in (
        (image, "image/png"),
        (path, "image/png"),
        (file.getvalue(), "image/png"),
        (Sound(), "audio/wav"),
    ):
        result, bundle = result_of(value)
        assert result["mime"] == mime
        assert base64.b64decode(result["data"])[:4] in (b"\x89PNG", b"RIFF")
        assert f"[{mime}]" in bundle["text/plain"]
        shown = f"data:{mime};base64," if mime.startswith("image/") else f"*{mime}"
        assert shown in bundle["text/markdown"]
    assert result_of(str(path))[0] == str(path)
    for missing in (tmp_path / "missing.png", tmp_path):
        assert str(missing) in result_of(missing)[0]


def test_what_cannot_be_shown_is_no_failure() -> None:
    class Broken:
        def _repr_png_(self) -> bytes:
            raise RuntimeError("no")

    assert "Broken object" in result_of(Broken())[0]


def test_markdown_without_its_html() -> None:
    display = pytest.importorskip("IPython.display")
    result, bundle = result_of(display.Markdown("**Done**, see <script>alert(1)</script>"))
    assert result == {"mime": "text/markdown", "text": "**Done**, see <script>alert(1)</script>"}
    assert "**Done**, see &lt;script>" in bundle["text/markdown"]


def test_a_table() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"name": ["a|b", "<i>"], "score": [0.123456789, float("nan")], "when": pandas.Timestamp(0)}
    )
    result, bundle = result_of(frame)
    assert result["mime"] == TABLE
    assert result["columns"] == ["name", "score", "when"]
    assert result["rows"] == [["a|b", 0.123456789, "1970-01-01 00:00:00"], ["<i>", None, "1970-01-01 00:00:00"]]
    assert "| a\\|b | 0.123457 | 1970-01-01 00:00:00 |" in bundle["text/markdown"]
    assert "<i>" not in bundle["text/markdown"]
    assert "a|b   0.123457  1970-01-01 00:00:00" in bundle["text/plain"]

    large = pandas.DataFrame(
        {f"c{column}": range(100_000) for column in range(30)}, index=[f"r{n}" for n in range(100_000)]
    )
    result, bundle = result_of(large)
    assert (result["shape"], len(result["rows"]), len(result["columns"])) == ([100_000, 30], 50, 21)
    assert result["rows"][1][:2] == ["r1", 1]
    assert "100000 rows, 30 columns" in bundle["text/markdown"]
    assert "100000 rows, 30 columns" in bundle["text/plain"]
    long = pandas.DataFrame([["x" * 10_000] * 20] * 50)
    assert len(str(result_of(long)[0])) < 64 << 10
    assert result_of(pandas.Series([1, 2], name="n"))[0]["columns"] == ["n"]


def test_what_looks_like_one_of_ours_and_is_not() -> None:
    for value in (
        {"mime": "image/png"}, {"mime": "image/png", "url": "a", "data": "b"}, {"mime": TABLE, "rows": 5},
        {"mime": TABLE, "columns": ["a"], "rows": ["b"]}, {"mime": "text/html", "text": "<b>"}, {"mime": ["image/png"]},
    ):  # fmt: skip
        result, bundle = result_of(value)
        assert result == value
        assert '"mime"' in bundle["text/plain"]
