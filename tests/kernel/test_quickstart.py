"""The example notebook and the demo model do what they say."""

from __future__ import annotations

import base64
import io
import wave
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from jupyter_sse import stream
from jupyter_sse.chat import demo
from jupyter_sse.output import MIME

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "WORD_SECONDS", 0)


def test_the_demo_model_says_what_it_is_and_how_to_get_a_real_one() -> None:
    text = stream(demo.answer("What is `x`?\nTell me")).text
    assert "not a real language model" in text
    assert "`What is 'x'? Tell me`" in text
    assert "OPENAI_API_KEY" in text
    assert "| kernel |" in text
    assert "```shell" in text
    assert "\n1. " in text


def test_the_demo_model_answers_in_arabic() -> None:
    text = "".join(demo.answer("لماذا السماء زرقاء؟"))
    assert "النموذج التجريبي" in text
    assert "لماذا السماء زرقاء؟" in text


def test_the_demo_model_streams_words() -> None:
    pieces = list(demo.answer("x" * 1000))
    assert len(pieces) > 100
    assert max(map(len, pieces)) < 250
    assert "".join(pieces).endswith("\n")


def test_the_notebook_is_saved_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_streams_an_answer_and_trains_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # The last parts wait for somebody to cancel them and to look.
    last = next(index for index, cell in enumerate(notebook.cells) if "## 3." in cell.source)
    notebook.cells = notebook.cells[:last]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [
        output.data
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "display_data" and MIME in output.data
    ]
    answer, training = (data[MIME]["snapshot"] for data in shown)
    assert "not a real language model" in answer["text"]
    assert training["status"] == "done"
    assert training["result"] > 0.95
    assert [bar["n"] for bar in training["bars"]] == [120, 32]
    assert len(training["previews"]) == 1
    losses = [float(line["text"].split()[3]) for line in training["log"]["lines"] if "loss" in line["text"]]
    assert losses[-1] < losses[0] / 4
    assert "![loss and border, epoch 120](<data:image/png;base64," in shown[1]["text/markdown"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_chat_notebook_runs_without_a_key_or_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    notebook = nbformat.read(NOTEBOOK.with_name("02_chat.ipynb"), as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = {cell.id: [output.get("data", output) for output in cell.get("outputs", [])] for cell in notebook.cells}
    answers = [shown[cell][0][MIME]["snapshot"] for cell in ("cell-3", "cell-7", "cell-10", "cell-11", "cell-17")]
    assert [answer["status"] for answer in answers] == ["done"] * 5
    assert "The warmest has 31 degrees." in answers[2]["text"]
    assert "4" in shown["cell-7"][1]["text/plain"]
    assert "What is a median?" in shown["cell-13"][0]["text/markdown"]
    assert r"\frac{1}{\lambda^4}" in shown["cell-17"][0]["text/markdown"]
    assert "widgets" not in notebook.metadata


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_monitoring_notebook_runs_without_a_server() -> None:
    notebook = nbformat.read(NOTEBOOK.with_name("03_monitor.ipynb"), as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = {cell.id: [output.get("data", output) for output in cell.get("outputs", [])] for cell in notebook.cells}
    install, training, rows, fetching, darts = (
        next(data for data in shown[cell] if MIME in data)
        for cell in ("cell-3", "cell-5", "cell-7", "cell-11", "cell-14")
    )
    assert "scikit-learn" in install["text/plain"]
    trained = training[MIME]["snapshot"]
    assert trained["result"]["accuracy"] > 0.9
    assert [(bar["label"] if "label" in bar else bar["bar"], bar["n"]) for bar in trained["bars"]] == [
        ("epochs", 8),
        ("batches", 40),
    ]
    assert "![Confusion matrix of the test digits](<data:image/png;base64," in training["text/markdown"]
    assert "sliding means" in rows["text/plain"]
    assert "300/300" in rows["text/plain"]
    assert fetching[MIME]["snapshot"]["bars"][0]["n"] == 5
    assert darts[MIME]["snapshot"]["title"] == "Estimate pi by throwing darts"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_of_media_runs_without_a_server(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK.with_name("04_media.ipynb"), as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    shown = {cell.id: cell.outputs[0].data for cell in notebook.cells if cell.cell_type == "code"}
    drawing, tune, pond, model = (shown[cell][MIME]["snapshot"] for cell in ("cell-3", "cell-5", "cell-7", "cell-9"))
    assert [drawing["previews"][0]["alt"], len(drawing["previews"])] == ["640 pixels wide", 1]
    assert tune["audio"]["count"] == 29
    (whole,) = tune["previews"]
    with wave.open(io.BytesIO(base64.b64decode(whole["data"]))) as file:
        assert (file.getframerate(), file.getnframes()) == (24_000, 29 * 7200)
    assert [(preview["key"], preview["mime"]) for preview in pond["previews"]] == [("pond", "image/png")]
    assert base64.b64decode(model["previews"][0]["data"])[:4] == b"glTF"
    mp3, film = (shown[cell][MIME]["snapshot"] for cell in ("cell-13", "cell-15"))
    assert (mp3["audio"]["mime"], mp3["previews"][0]["mime"]) == ("audio/mpeg", "audio/mpeg")
    assert film["previews"][0]["mime"] == "video/webm"
