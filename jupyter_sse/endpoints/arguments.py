"""What a request gives to a function: its arguments, by name, as what their annotations say."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Union

import msgspec
from msgspec import Struct, field

from .route import Route

__all__ = ["Arguments", "CallError", "Request"]

_MANY = (list, set, frozenset, tuple)
_SHOWN = 80
"""Characters of a value that cannot be taken, in the message that says so."""


class CallError(Exception):
    """A call that is not answered: `status` and `code` are for programs, `message` is for people."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


class Request(Struct, frozen=True, kw_only=True):
    """What was asked; without what signs in: cookies, the Authorization header and the token stay in the server.

    path : below `e/`, as it was sent, such as ``/progress/abc``.
    headers : by their names in lower case.
    query : all values that a name was given, in their order.
    body : what the JSON of a POST says; None without.
    """

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, list[str]] = field(default_factory=dict)
    body: Any = None


class Arguments:
    """Binds requests to a function's parameters: from the path, the JSON body, the query, in this order.

    Raises
    ------
    TypeError
        If no request could be bound: the path has a name that is no parameter, or an annotation is not to be found.
    """

    def __init__(self, route: Route, function: Callable[..., Any]) -> None:
        name = getattr(function, "__name__", repr(function))
        try:
            self._parameters = list(inspect.signature(function, eval_str=True).parameters.values())
        except NameError as error:
            raise TypeError(f"{name}(): an annotation cannot be found: {error}") from None
        named = {one.name for one in self._parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        self._takes_more = any(one.kind is one.VAR_KEYWORD for one in self._parameters)
        for one in self._parameters:
            if one.kind is one.POSITIONAL_ONLY:
                raise TypeError(f"{name}(): {one.name!r} cannot be given by name, and an endpoint's arguments are")
        if not self._takes_more and (missing := set(route.types) - named):
            raise TypeError(f"{name}() takes no {', '.join(sorted(missing))}, which {route.path!r} gives it")
        said = {one.name: one.annotation for one in self._parameters if one.annotation is not one.empty}
        self._types: dict[str, Any] = {**route.types, **said}

    def bind(self, request: Request, given: dict[str, str]) -> dict[str, Any]:
        """The function's arguments; `given` is what the path says.

        Raises
        ------
        CallError
            One is missing, or cannot be what it should be.
        """
        body = request.body if isinstance(request.body, dict) else {}
        bound: dict[str, Any] = {}
        for one in self._parameters:
            name = one.name
            if one.kind is one.VAR_POSITIONAL:
                continue
            if one.kind is one.VAR_KEYWORD:
                more = {**{key: values[-1] for key, values in request.query.items()}, **body, **self._of_path(given)}
                bound.update({key: value for key, value in more.items() if key not in bound and key != "request"})
            elif name in given:
                bound[name] = self._convert(name, [given[name]], "path")
            elif name == "request":
                bound[name] = request
            elif name in body:
                bound[name] = self._convert(name, body[name], "body")
            elif name in request.query:
                bound[name] = self._convert(name, request.query[name], "query")
            elif one.default is one.empty:
                message = (
                    f"{name!r} is missing: give it in the query (?{name}=...) or in a JSON body ({{{name!r}: ...}})."
                )
                raise CallError(400, "missing_argument", message.replace("'", '"'))
        return bound

    def _of_path(self, given: dict[str, str]) -> dict[str, Any]:
        return {name: self._convert(name, [text], "path") for name, text in given.items()}

    def _convert(self, name: str, value: Any, where: str) -> Any:
        wanted = self._types.get(name, Any)
        if where != "body" and not _takes_many(wanted):
            value = value[-1]
        if wanted is Any:
            return value
        try:
            return msgspec.convert(value, wanted, strict=where == "body")
        except (msgspec.ValidationError, ValueError) as error:
            message = f'"{name}" in the {where}: {error}: {_short(value)}.'
        except TypeError:
            message = f'"{name}" cannot come with a request: its type is {wanted!r}.'
        raise CallError(400, "bad_argument", message)


def _takes_many(wanted: Any) -> bool:
    origin = typing.get_origin(wanted)
    if origin in (Union, types.UnionType, typing.Annotated):
        return any(map(_takes_many, typing.get_args(wanted)))
    return wanted in _MANY or origin in _MANY or (isinstance(origin, type) and issubclass(origin, Sequence))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
