"""Magics, after ``%load_ext jupyter_sse``."""

from __future__ import annotations

import argparse
import keyword
import shlex
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic import no_var_expand

from . import link
from .ask import begin
from .cells import AFTER, Cells, without_task
from .chat import Chat
from .fill import FillError, fill

if TYPE_CHECKING:
    from collections.abc import Callable

    from .answer import Answer

__all__ = ["load"]

ABOUT = """\
Ask a model what is written in this cell, and show its answer while it comes.

    %%ask openai:gpt-5 --out answer
    What is remarkable in these figures? {figures}

An expression in braces is filled in: {name}, {rows[0]}, {x:.2f}. {{ and }} are
braces. What is no expression is left as it is, and so are the braces of formulas
and f-strings."""

ABOUT_TASK = """\
Show this cell as a task: with its time, what it prints, its bars and how it ends,
also on the monitor page, and with a button to cancel it.

    %%task Train the model --timeout 3600
    from jupyter_sse import current
    current().step("Reading")

`current()` is the task, for its steps, progress and previews."""

ABOUT_SSE = """\
Streams of this kernel.

    %sse                          where they go, and whether cells are monitored
    %sse monitor on [--after 10]  show every cell that runs for longer as a task
    %sse monitor off"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. `{self.prog} --help` tells more.")


def _name(given: str) -> str:
    if not given.isidentifier() or keyword.iskeyword(given):
        raise argparse.ArgumentTypeError(f"{given!r} cannot be the name of a variable")
    return given


def _parser() -> _Parser:
    parser = _Parser(
        "%%ask",
        usage="%(prog)s [model] [--out NAME] [--system TEXT] [--chat NAME] [--raw] [--help]",
        description=ABOUT,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", nargs="?", help="who answers, such as openai:gpt-5; else the default")
    parser.add_argument("--out", metavar="NAME", type=_name, help="the variable that gets the Answer, as `_` does")
    parser.add_argument("--system", metavar="TEXT", help="instructions to the model, in quotes")
    parser.add_argument("--chat", metavar="NAME", type=_name, help="go on with the Chat in this variable, or begin one")
    parser.add_argument("--raw", action="store_true", help="take the cell as it is, and fill in nothing")
    parser.add_argument("--help", action="store_true", help="show this")
    return parser


def _positive(given: str) -> float:
    seconds = float(given)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{given} is no number of seconds")
    return seconds


def _task_parser() -> _Parser:
    parser = _Parser(
        "%%task",
        usage="%(prog)s [title] [--timeout SECONDS] [--stall SECONDS] [--help]",
        description=ABOUT_TASK,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("title", nargs="*", help="what it is called; else the cell's first comment or line")
    parser.add_argument("--timeout", metavar="SECONDS", type=_positive, help="raise TaskTimeout then")
    parser.add_argument(
        "--stall", metavar="SECONDS", type=_positive, help="when to say that there is no news; else 120"
    )
    parser.add_argument("--help", action="store_true", help="show this")
    return parser


def _sse_parser() -> _Parser:
    parser = _Parser(
        "%sse",
        usage="%(prog)s [monitor on|off] [--after SECONDS] [--help]",
        description=ABOUT_SSE,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=["monitor"], help=argparse.SUPPRESS)
    parser.add_argument("switch", nargs="?", choices=["on", "off"], help=argparse.SUPPRESS)
    parser.add_argument("--after", metavar="SECONDS", type=_positive, default=AFTER, help="what is long; else 10")
    parser.add_argument("--help", action="store_true", help="show this")
    return parser


def load(shell: Any) -> None:
    unload(shell)
    _load_ask(shell)
    _load_task(shell)


def unload(shell: Any) -> None:
    """Leave nothing behind that acts by itself."""
    while _undo:
        _undo.pop()()


_undo: list[Callable[[], object]] = []


def _parsed(parser: _Parser, line: str) -> argparse.Namespace:
    try:
        return parser.parse_args(shlex.split(line))
    except ValueError as error:  # a quote that is not closed
        parser.error(str(error))


def _load_task(shell: Any) -> None:
    task_parser, sse_parser = _task_parser(), _sse_parser()

    def parse(line: str) -> argparse.Namespace | None:
        try:
            given = _parsed(task_parser, line.replace("'", r"\'") if line.count("'") == 1 else line)
        except UsageError:
            return None
        return None if given.help else given

    cells = Cells(shell, parse)

    def task(line: str, cell: str) -> None:
        # Lines that are right do not come here.
        _parsed(task_parser, line)
        print(task_parser.format_help())

    def sse(line: str) -> None:
        given = _parsed(sse_parser, line)
        if given.help:
            print(sse_parser.format_help())
            return
        if given.what and not given.switch:
            sse_parser.error("say `on` or `off`")
        if given.switch:
            cells.after = given.after if given.switch == "on" else None
        print(_status(cells))

    task.__doc__, sse.__doc__ = task_parser.format_help(), sse_parser.format_help()
    shell.register_magic_function(no_var_expand(task), "cell", "task")
    shell.register_magic_function(sse, "line", "sse")

    def transform(lines: list[str]) -> list[str]:
        return without_task(lines, parse)

    shell.input_transformers_cleanup.append(transform)
    _undo.extend([cells.close, lambda: shell.input_transformers_cleanup.remove(transform)])


def _status(cells: Cells) -> str:
    server = link.current().address
    where = f"Streams go to {server}" if server is not None else "There is no server: streams are in this kernel only."
    if cells.after is None:
        return f"Cells are not monitored.\n{where}"
    return f"Cells that run for more than {cells.after:g} s are shown as tasks.\n{where}"


def _load_ask(shell: Any) -> None:
    parser = _parser()

    def ask(line: str, cell: str) -> Answer | None:
        given = _parsed(parser, line)
        if given.help:
            print(parser.format_help())
            return None
        return _ask(given, cell, shell.user_ns)

    ask.__doc__ = parser.format_help()
    shell.register_magic_function(no_var_expand(ask), "cell", "ask")
    if _with_a_body not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(_with_a_body)


def _with_a_body(lines: list[str]) -> list[str]:
    """IPython refuses a cell magic that stands alone, also ``%%ask --help``."""
    alone = len(lines) == 1 and lines[0].split()[:1] in (["%%ask"], ["%%task"])
    return [*lines, "\n"] if alone else lines


def _ask(given: argparse.Namespace, cell: str, namespace: dict[str, Any]) -> Answer:
    def filled(text: str | None) -> str | None:
        return text if text is None or given.raw else _filled(text, namespace)

    question = filled(cell.strip("\n")) or ""
    if not question.strip():
        raise UsageError("there is no question: write it below %%ask. `%%ask --help` tells more.")
    model, system = filled(given.model), filled(given.system)
    chat = None if given.chat is None else conversation(namespace, given.chat)
    try:
        if chat is None:
            answer = begin(question, model, system=system)
        else:
            chat.model, chat.system = model or chat.model, system or chat.system
            answer = chat.begin(question, display=True)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None
    if given.out is not None:
        namespace[given.out] = answer  # now, so that it has what came if this fails
    return answer.wait() if chat is None else chat.wait(answer)


def _filled(text: str, namespace: dict[str, Any]) -> str:
    try:
        filled = fill(text, namespace)
    except FillError as error:
        raise UsageError(str(error)) from None
    if filled.left:
        names = ", ".join(dict.fromkeys(filled.left))
        print(
            f"%%ask: left as it is, being part of a formula or an f-string: {names}. Three braces would fill it in.",
            file=sys.stderr,
        )
    return filled.text


def conversation(namespace: dict[str, Any], name: str) -> Chat:
    """The conversation that this variable holds; a new one if there is no such variable."""
    chat = namespace[name] if name in namespace else namespace.setdefault(name, Chat())
    if isinstance(chat, Chat):
        return chat
    raise UsageError(f"the variable {name!r} holds no Chat, but {type(chat).__name__}: choose another name")
