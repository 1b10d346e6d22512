"""A route such as ``/progress/<session_id>``: which paths it takes, and what they say."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

__all__ = ["Route", "normal"]

_PARAMETER = re.compile(r"<(?:([a-z]+):)?([^<>:]*)>")
_CONVERTERS: dict[str, tuple[type, str, int]] = {
    "int": (int, r"-?[0-9]+", 1),
    "float": (float, r"-?[0-9]+(?:\.[0-9]+)?", 2),
    "str": (str, r"[^/]+", 3),
    "path": (str, r".+", 4),
}
"""What a parameter is made into, what it takes, and how soon a route with it is tried: the narrowest first."""


class Route:
    """A path with parameters: ``<name>`` takes a text without a slash, ``<int:name>``, ``<float:name>`` what they say,
    and ``<path:name>`` the rest, slashes and all.

    types : of the parameters, by name.
    shape : the path without the parameters' names: routes of one shape take the same paths.
    rank : of several routes that take a path, the one with the lowest is meant.

    Raises
    ------
    ValueError
        If it is not such a path.
    """

    def __init__(self, path: str) -> None:
        if not path.startswith("/") or path.startswith("//") or re.search(r"[?#\s]", path):
            raise ValueError(f'an endpoint\'s path is like "/progress/<session_id>", not {path!r}')
        self.path = path
        self.types: dict[str, type] = {}
        pattern, shape, ranks, end = "", "", [], 0
        for found in _PARAMETER.finditer(path):
            kind, name = found[1] or "str", found[2]
            if kind not in _CONVERTERS:
                raise ValueError(f"<{kind}:...> in {path!r}: a parameter is of the kind {', '.join(_CONVERTERS)}")
            if not name.isidentifier() or name in self.types:
                raise ValueError(f"<{name}> in {path!r}: a parameter has a name of its own, as an argument has")
            text = normal(path[end : found.start()])
            self.types[name], takes, rank = _CONVERTERS[kind]
            pattern += f"{re.escape(text)}(?P<{name}>{takes})"
            shape += f"{text}<{kind}>"
            ranks += [0] * text.count("/") + [rank]
            end = found.end()
        rest = normal(path[end:])
        if "%3C" in rest + shape or "%3E" in rest + shape:
            raise ValueError(f"{path!r}: a parameter is written like <name> or <int:name>")
        self.shape = shape + rest
        self.rank = (*ranks, *[0] * rest.count("/"))
        self._takes = re.compile(pattern + re.escape(rest), re.DOTALL)

    def __repr__(self) -> str:
        return f"Route({self.path!r})"

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters in this percent-encoded path, as texts; None if it is not one of the route's."""
        found = self._takes.fullmatch(normal(path))
        return {name: unquote(text) for name, text in found.groupdict().items()} if found is not None else None

    def expand(self, **values: Any) -> str:
        """The percent-encoded path that has these parameters."""

        def put(found: re.Match[str]) -> str:
            return quote(str(values[found[2]]), safe="/" if found[1] == "path" else "")

        return normal(_PARAMETER.sub(put, self.path))


def normal(path: str) -> str:
    """The path as it is compared: each part of it may be percent-encoded in more than one way."""
    return "/".join(quote(unquote(part, errors="surrogateescape"), safe="", errors="surrogateescape")
                    for part in path.split("/"))  # fmt: skip
