"""The user's own endpoints: functions that are served at `jupyter-sse/e/...`, by a kernel or by the server itself.

This is what both share. Who serves the functions declared in a process is its `Host`: `kernel/endpoint.py` in a kernel,
`server/modules.py` in a server, for the modules that it is told to load.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from ..events import Error
from .arguments import CallError, Request
from .calls import METHODS, Call, Endpoint, Host
from .framing import LAST, frame
from .outlet import Outlet, pack, unpack
from .route import Route
from .session import Publisher, Session, closed

__all__ = [
    "LAST",
    "Call",
    "CallError",
    "Endpoint",
    "Host",
    "Outlet",
    "Publisher",
    "Registry",
    "Request",
    "Route",
    "Session",
    "broadcast",
    "endpoint",
    "frame",
    "pack",
    "registry",
    "unpack",
]

TIMEOUT = 300.0
EXIT_SECONDS = 1.0
"""How long a process that exits waits for generators to be closed."""

Function = TypeVar("Function", bound=Callable[..., Any])


class Registry:
    """The endpoints of a process, by the shape of their routes."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.host: Host | None = None

    def add(self, made: Endpoint) -> None:
        """Serve it; in the place of the one for the same paths, whose calls are ended."""
        old = self.endpoints.get(made.route.shape)
        self.endpoints[made.route.shape] = made  # at once: another thread may be asking for it
        if self.host is not None:
            self.host.changed()
        if old is not None:
            old.close(closed())

    def call(
        self,
        shape: str,
        request: Request,
        ring: Callable[[Outlet], object],
        *,
        credit: int,
        max_event: int,
        max_calls: int,
        gone: str | None = None,
    ) -> Call | Session:
        """Begin a call, or join a session.

        Raises
        ------
        CallError
            The request is not one that the endpoint takes, or too many run.
        """
        found = self.endpoints.get(shape)
        if found is None or self.host is None:
            raise CallError(404, "no_endpoint", f"There is no endpoint for {request.path} here any more.")
        arguments = found.bind(request)
        session = found.session(request.path, arguments, gone=gone) if found.mode == "shared" else None
        if session is not None:
            return session
        if self.running >= max_calls:
            message = (
                f"{max_calls} calls of endpoints run at once here (SSE.max_calls). Try again when some have ended."
            )
            raise CallError(429, "too_many_calls", message, retry_after=1)
        if found.mode == "shared":
            return found.join(request.path, arguments, self.host, gone=gone)
        return found.begin(arguments, Outlet(credit=credit, max_event=max_event, ring=ring))

    @property
    def running(self) -> int:
        """Functions that run now."""
        return sum(len(one.runs) for one in list(self.endpoints.values()))

    def broadcast(self, key: object, event: Any) -> None:
        key = str(key)
        found: list[tuple[Endpoint, str]] = []
        for one in list(self.endpoints.values()):
            if one.mode == "shared" and key.startswith("/") and one.route.match(key) is not None:
                found.append((one, key))
            elif one.mode == "shared" and not key.startswith("/") and len(one.route.types) == 1:
                (name,) = one.route.types
                path = one.route.expand(**{name: key})
                if one.route.match(path) is not None:
                    found.append((one, path))
        if not found:
            raise LookupError(
                f'Nobody can watch {key!r}: no endpoint with mode="shared" takes it.'
                " A key is a path, or the value of the one parameter that a path has."
            )
        if self.host is None:
            return
        for one, path in found:
            one.put(path, event, self.host)

    def exit(self) -> None:
        """The process exits: close all generators, and wait a moment for their `finally` blocks."""
        message = "The process that has this endpoint has ended."
        for one in list(self.endpoints.values()):
            one.close(Error(message=message, code="producer_exited", retryable=True, ts=time.time()))
        deadline = time.monotonic() + EXIT_SECONDS
        while self.running and time.monotonic() < deadline:
            time.sleep(0.005)


registry = Registry()


def endpoint(
    path: str,
    *,
    mode: Literal["each", "shared"] = "each",
    timeout: float | None = TIMEOUT,
    methods: Iterable[str] = METHODS,
) -> Callable[[Function], Function]:
    """Serve a function's events at ``jupyter-sse/e<path>``.

    A generator, sync or async, or a function that returns something to iterate. Its parameters are taken from the path,
    a JSON body and the query, as their annotations say; one named `request` gets the `Request`.

    path : such as ``/progress/<session_id>``, ``/rows/<int:first>``, ``/files/<path:name>``.
    mode : a run for `each` reader, or one that is `shared` by all who read the same path with the same arguments.
    timeout : seconds that a run may take; None for any number.
    methods : "GET", "POST" or both. A path has one function, that which was declared last.

    Raises
    ------
    ValueError, TypeError
        If path and function do not fit together.
    """

    def declare(function: Function) -> Function:
        registry.add(Endpoint(path, function, mode=mode, timeout=timeout, methods=methods))
        return function

    return declare


def broadcast(key: object, event: Any) -> None:
    """Tell all who watch a shared endpoint, and those who will; a `done` or `error` ends it. From any thread.

    key : the path, such as ``"/progress/abc"``, or the value of its one parameter, ``"abc"``.

    Raises
    ------
    LookupError
        If there is no such endpoint.
    EventError
        If the event is not valid.
    """
    registry.broadcast(key, event)
