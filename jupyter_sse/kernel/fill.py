r"""Text with expressions in braces, as in an f-string, but made for prose: JSON and code in it stay what they are.

``{name}``, ``{rows[0]}``, ``{x:.2f}`` and ``{value!r}`` are filled in; ``{{`` and ``}}`` are braces. What stands in
braces and is no expression, or one without a name, is left as it is: ``{"a": 1}``, ``{2}``, ``{}``. So are the braces
of a formula and of an f-string, ``\frac{a}{b}``, ``x_{i}``, ``f"{n} rows"``; there ``{{{a}}}`` fills in. Nothing is
ever dropped: a name that is not known is an error.
"""

from __future__ import annotations

import ast
import re
from typing import Any, NamedTuple

from .producer import last_line

__all__ = ["FillError", "Filled", "fill"]

_LATEX = re.compile(r"(\\[A-Za-z]+|\^|(^|[^A-Za-z0-9])[A-Za-z]_)$")
_F_STRING = re.compile(
    r"""\b([rR]?[fF]|[fF][rR])((?P<block>["']{3})((?!(?P=block)).)*|"[^"\n]*|'[^'\n]*)\Z""", re.DOTALL
)
_FORMATTED = re.compile(r"(?P<expression>.+?)(?:!(?P<conversion>[rsa]))?(?::(?P<spec>\S+))?")


class FillError(ValueError):
    """What stands in braces cannot be filled in."""


class Filled(NamedTuple):
    """The text, and what was left in formulas and f-strings although it could have been filled in."""

    text: str
    left: list[str]


class _Field(NamedTuple):
    expression: ast.expr
    conversion: str
    spec: str


def fill(text: str, names: dict[str, Any]) -> Filled:
    """The text with the values of its expressions.

    Raises
    ------
    FillError
        If one of them has none.
    """
    parts: list[str] = []
    left: list[str] = []
    open_braces: list[str] = []
    formula_ends = -1  # where braces of a formula closed: others may follow, as in \frac{a}{b}
    at = 0
    while at < len(text):
        if text.startswith("{{", at):
            open_braces.append("{{")
            parts.append("{")
            at += 2
        elif text[at] == "{":
            end = text.find("}", at) + 1
            written = text[at:end]
            before = text[text.rfind("\n", 0, at) + 1 : at]
            field = _field(written[1:-1])
            in_formula = formula_ends == at or _LATEX.search(before) is not None
            if in_formula:
                formula_ends = end
            if field is not None and not (in_formula or _F_STRING.search(text[:at])):
                parts.append(_value(field, written, names))
                at = end
                continue
            if field is not None and _is_known(field, names):
                left.append(written)
            open_braces.append("{")
            parts.append("{")
            at += 1
        elif text[at] == "}":
            double = text.startswith("}}", at) and (not open_braces or open_braces[-1] == "{{")
            if open_braces:
                open_braces.pop()
            parts.append("}")
            at += 2 if double else 1
        else:
            end = min((place for place in (text.find("{", at), text.find("}", at)) if place >= 0), default=len(text))
            parts.append(text[at:end])
            at = end
    return Filled("".join(parts), left)


def _field(content: str) -> _Field | None:
    """The expression in these braces, None if there is none."""
    expression = _expression(content)
    if expression is not None:
        return _Field(expression, "", "")
    match = _FORMATTED.fullmatch(content)
    expression = _expression(match["expression"]) if match is not None else None
    return _Field(expression, match["conversion"] or "", match["spec"] or "") if match and expression else None


def _expression(text: str) -> ast.expr | None:
    try:
        expression = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return expression if any(isinstance(node, ast.Name) for node in ast.walk(expression)) else None


def _is_known(field: _Field, names: dict[str, Any]) -> bool:
    return all(node.id in names for node in ast.walk(field.expression) if isinstance(node, ast.Name))


def _value(field: _Field, written: str, names: dict[str, Any]) -> str:
    try:
        if isinstance(field.expression, ast.Name) and field.expression.id not in names:
            # Else {id}, {type} and {list} would become Python's own functions.
            raise NameError(f"name {field.expression.id!r} is not defined")
        value = eval(compile(ast.Expression(field.expression), "<question>", "eval"), names)
        shown = {"r": repr, "a": ascii}.get(field.conversion, str)(value) if field.conversion else value
        return format(shown, field.spec)
    except Exception as error:
        raise FillError(
            f"{written} cannot be filled in: {last_line(error)}. Write {{{written}}} for the text itself, or "
            "`%%ask --raw` to fill in nothing."
        ) from None
