"""`%%ask` in a real IPython."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from answering_server import running
from IPython.core.interactiveshell import InteractiveShell

from jupyter_sse import Answer
from jupyter_sse.address import parse
from jupyter_sse.kernel import link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import JupyterServer


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    with running(tmp_path_factory.mktemp("magics")) as server:
        yield server


@pytest.fixture
def shell(answering: JupyterServer) -> Iterator[InteractiveShell]:
    link.use(link.Link(parse(answering.url, answering.token)))
    hook = sys.displayhook, sys.excepthook
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "jupyter_sse")
    yield shell
    if shell.history_manager is not None:
        shell.history_manager.end_session()
    InteractiveShell.clear_instance()
    sys.displayhook, sys.excepthook = hook


@pytest.fixture
def run(shell: InteractiveShell) -> Callable[[str], Any]:
    """Run a cell; its value."""
    return lambda cell: shell.run_cell(cell, store_history=True).result


def told(answer: Any) -> Any:
    assert isinstance(answer, Answer)
    return json.loads(answer.text)


def test_a_question(run: Any, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.user_ns |= {"figures": [1, 2], "who": "told", "tone": "brief"}
    cell = "%%ask {who} --out answer --system 'Be {tone}.'\n\nWhat of {figures}?\n\nAnd {{these}}?\n"
    answer = run(cell)
    assert told(answer) == ["What of [1, 2]?\n\nAnd {these}?", None, "Be brief.", []]
    assert shell.user_ns["answer"] is answer
    assert shell.user_ns["_"] is answer
    said = capsys.readouterr()
    assert said.out.count(answer.text) == 1  # shown once, not as the cell's value too
    assert said.err == ""


def test_a_conversation(run: Any, shell: InteractiveShell) -> None:
    first = run("%%ask told --chat talk\none")
    second = run("%%ask told --chat talk\ntwo")
    assert told(second)[3] == [["user", "one"], ["assistant", first.text]]
    talk = shell.user_ns["talk"]
    assert [message["content"] for message in talk.messages] == ["one", first.text, "two", second.text]
    run("%%ask failing --chat talk\nthree")
    assert talk.messages[-1]["status"] == "error"
    run("%%ask nobody --chat talk\nfour")
    fifth = run("%%ask told --chat talk --system 'Be brief.'\nfive")
    assert [said for _, said in told(fifth)[3]] == ["one", first.text, "two", second.text, "three", "Half an"]
    assert (talk.model, talk.system) == ("told", "Be brief.")


def test_an_answer_that_fails_is_kept_as_far_as_it_came(
    run: Any, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run("%%ask failing --out broken\nx")
    assert shell.user_ns["broken"].text == "Half an"
    said = capsys.readouterr().out
    assert "StreamError: The model is tired.\n" in said
    assert "Traceback" not in said


def test_nothing_is_filled_in_where_that_is_wanted(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(run("%%ask told --raw\n{nobody} {{x}}"))[0] == "{nobody} {{x}}"


def test_a_formula_is_left_and_it_is_said(
    run: Any, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.user_ns["a"] = 5
    assert told(run("%%ask told\n\\frac{a}{2} {a}"))[0] == r"\frac{a}{2} 5"
    [line] = capsys.readouterr().err.splitlines()
    assert "{a}" in line
    assert "formula" in line


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("%%ask told\n{nobody}", "{nobody} cannot be filled in: NameError: name 'nobody' is not defined."),
        ("%%ask", "there is no question"),
        ("%%ask told\n  \n", "there is no question"),
        ("%%ask --nonsense\nx", "unrecognized arguments: --nonsense"),
        ("%%ask --out 3x\nx", "'3x' cannot be the name of a variable"),
        ("%%ask --system 'x\nx", "No closing quotation"),
        ("%%ask --chat taken\nx", "'taken' holds no Chat, but int"),
    ],
)
def test_errors_are_one_line(
    run: Any, shell: InteractiveShell, capsys: pytest.CaptureFixture[str], cell: str, why: str
) -> None:
    shell.user_ns["taken"] = 5
    run(cell)
    said = capsys.readouterr()
    [line] = said.err.splitlines()
    assert line.startswith("UsageError: ")
    assert why in line
    assert said.out == ""


def test_help(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run("%%ask --help")
    said = capsys.readouterr()
    assert said.err == ""
    for option in ("usage: %%ask [model]", "--out NAME", "--system TEXT", "--chat NAME", "--raw", "{name}"):
        assert option in said.out
