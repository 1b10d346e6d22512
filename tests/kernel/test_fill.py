"""Expressions in the braces of a question, and braces that are none of them."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_sse.kernel.fill import FillError, fill

NAMES: dict[str, Any] = {"name": "Ada", "x": 3.14159, "rows": [1, 2], "a": 5, "b": 6, "i": 7, "d": {"k": "v"}}


def filled(text: str) -> str:
    return fill(text, dict(NAMES)).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi {name}!", "Hi Ada!"),
        ("{ a }", "5"),
        ("{rows[0]} {rows[0:1]} {d['k']} {name.lower()}", "1 [1] v ada"),
        ("{a + b} {len(name)} {a if b else i}", "11 3 5"),
        ("{x:.2f} {name!r} {name:>5} {x!s:.4}", "3.14 'Ada'   Ada 3.14"),
        ("file_{i}.csv, ${a}", "file_7.csv, $5"),
        ("{{name}} {{{name}}} }}", "{name} {Ada} }"),
        ('{{"a": {{"b": {a}}}}}', '{"a": {"b": 5}}'),
    ],
)
def test_expressions(text: str, expected: str) -> None:
    assert filled(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '{"a": {"b": {"c": []}}}',
        '{"a":1}',
        "{name: 1}",
        "void f() { if (x) { return x; } }",
        "{see below} {...} {} {2} {'text'}",
        "{x for x in rows}",
        "body { color: red }",
        "{% for x in rows %}",
        "an open { and a closing }",
        "{name",
        "",
    ],
)
def test_what_is_no_expression_stays(text: str) -> None:
    assert fill(text, dict(NAMES)) == (text, [])


def test_an_expression_within_json() -> None:
    assert filled('{"user": "{name}", "n": [{}], "of": {"a": {a}}}') == '{"user": "Ada", "n": [{}], "of": {"a": 5}}'


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (r"\frac{a}{b} + x^{i} + y_{i} \sqrt{2}{a}", ["{a}", "{b}", "{i}", "{i}", "{a}"]),
        (r"\frac{p}{q} \text{so}", []),  # nothing that could have been meant
        ('print(f"{x} and {a}")', ["{x}", "{a}"]),
        ('f"""\n{x} "{a}"\n"""', ["{x}", "{a}"]),
    ],
)
def test_formulas_and_f_strings_stay_and_it_is_told(text: str, left: list[str]) -> None:
    assert fill(text, dict(NAMES)) == (text, left)


def test_in_a_formula_three_braces_fill_in() -> None:
    assert fill(r"\sqrt{{{a}}}", dict(NAMES)) == (r"\sqrt{5}", [])
    assert fill('f"{x}" is not {x}', dict(NAMES)) == ('f"{x}" is not 3.14159', ["{x}"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{nobody}", "name 'nobody' is not defined"),
        ("{nobody.x:>5}", "name 'nobody' is not defined"),
        ("/users/{id}", "name 'id' is not defined"),  # not Python's own function
        ("{name.nothing}", "no attribute 'nothing'"),
        ("{rows[9]}", "IndexError"),
        ("{name:d}", "ValueError"),
    ],
)
def test_what_cannot_be_filled_in(text: str, why: str) -> None:
    with pytest.raises(FillError) as raised:
        filled(text)
    field = text[text.index("{") :]
    assert str(raised.value).startswith(f"{field} cannot be filled in: ")
    assert why in str(raised.value)
    assert f"Write {{{field}}} " in str(raised.value)
