"""An endpoint, and its calls: each has a run of its own, or all of a path with the same arguments share one."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol
from urllib.parse import unquote

import msgspec

from ..events import Done, Error
from .arguments import Arguments, CallError, Request
from .outlet import Outlet
from .route import Route, normal
from .run import Run, Sink, is_generator
from .session import Publisher, Session, closed

__all__ = ["METHODS", "Call", "Endpoint", "Host"]

METHODS = ("GET", "POST")
MAX_SESSIONS = 1000
"""Sessions of one endpoint that have ended and are still shown to those who come late."""


class Host(Protocol):
    """Who serves the endpoints of this process."""

    def changed(self) -> None:
        """An endpoint was declared, or declared anew."""

    def publish(self, title: str) -> Publisher:
        """Begin a stream of the kind `endpoint`."""


class Endpoint:
    """A function with its route.

    declared : seconds since 1970; of two for the same paths the later one is served.
    """

    def __init__(
        self,
        path: str,
        function: Callable[..., Any],
        *,
        mode: Literal["each", "shared"],
        timeout: float | None,
        methods: Iterable[str],
    ) -> None:
        if mode not in ("each", "shared"):
            raise ValueError(f'mode is "each" or "shared", not {mode!r}')
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is seconds above 0, or None, not {timeout!r}")
        self.methods = tuple(dict.fromkeys(method.upper() for method in methods))
        if not self.methods or not set(self.methods) <= set(METHODS):
            raise ValueError(f"methods are of {', '.join(METHODS)}, not {self.methods!r}")
        self.route = Route(path)
        self.arguments = Arguments(self.route, function)
        self.function = function
        self.mode = mode
        self.timeout = timeout
        self.declared = time.time()
        self.context = contextvars.copy_context()
        self.sessions: dict[tuple[str, bytes], Session] = {}
        self.runs: set[Run] = set()
        self._lock = threading.Lock()
        self._closed = False

    def bind(self, request: Request) -> dict[str, Any]:
        """The function's arguments for a request.

        Raises
        ------
        CallError
            They are not what it takes, or the path is not one of the route's.
        """
        given = self.route.match(request.path)
        if given is None:
            raise CallError(404, "no_endpoint", f"{self.route.path} does not take {request.path}.")
        return self.arguments.bind(request, given)

    def begin(self, arguments: dict[str, Any], outlet: Outlet) -> Call:
        """Run the function for one reader."""
        run = self._run(arguments, outlet)
        run.start()
        return Call(outlet, run)

    def join(self, path: str, arguments: dict[str, Any], host: Host, *, gone: str | None = None) -> Session:
        """The session of this path and these arguments, begun if there is none.

        gone : the id of a stream that there is no more: a session that has it begins anew.
        """
        key = _key(path, arguments)
        session = self._session(key, gone)
        if session is not None:
            return session
        # Not under the lock, which the link's thread may want: this may have to wait for it.
        publisher = host.publish(unquote(key[0]))
        with self._lock:
            session = self._session(key, gone)
            if session is None:
                self.sessions.pop(key, None)  # a new one is the last in their order
                session = self.sessions[key] = Session(publisher, patience=self.timeout)
                over = [key for key, one in self.sessions.items() if one.end_event is not None]
                for old in over[: max(0, len(over) - MAX_SESSIONS)]:
                    del self.sessions[old]
        if session.publisher is not publisher:
            publisher.end(closed())
            return session
        session.run = self._run(arguments, session)
        session.run.start()
        return session

    def session(self, path: str, arguments: dict[str, Any], *, gone: str | None = None) -> Session | None:
        """The session of this path and these arguments that can be joined, if there is one."""
        return self._session(_key(path, arguments), gone)

    def _session(self, key: tuple[str, bytes], gone: str | None) -> Session | None:
        session = self.sessions.get(key)
        return None if session is None or session.stale or session.publisher.id == gone else session

    def _run(self, arguments: dict[str, Any], sink: Sink) -> Run:
        run = Run(self.function, arguments, sink, context=self.context, timeout=self.timeout, on_over=self.runs.discard)
        self.runs.add(run)
        if self._closed:
            run.close(closed(), again=True)
        return run

    def put(self, path: str, event: Any, host: Host) -> None:
        """Have all sessions of this path take an event, from outside of their run."""
        with self._lock:
            sessions = [
                one for key, one in self.sessions.items() if key[0] == normal(path) and one.end_event is None
            ]  # fmt: skip
        if not sessions and not is_generator(self.function):
            arguments = self.bind(Request(method="GET", path=path))
            session = self.join(path, arguments, host)
            if session.end_event is not None:  # it was over, and this is more: it begins anew
                session = self.join(path, arguments, host, gone=session.publisher.id)
            sessions = [session]
        for session in sessions:
            session.is_new()  # no more
            session.put(event)

    def close(self, event: Done | Error) -> None:
        """End all that runs: the endpoint was declared anew, or the process exits."""
        self._closed = True
        with self._lock:
            sessions = list(self.sessions.values())
        for session in sessions:
            session.close(event, again=True)
        for run in list(self.runs):
            run.close(event, again=True)


class Call:
    """A run for one reader."""

    def __init__(self, outlet: Outlet, run: Run) -> None:
        self.outlet = outlet
        self._run = run

    def close(self) -> None:
        """The reader is gone: close the generator."""
        self._run.close(closed())  # first: one that waits for the reader is not to go on
        self.outlet.drop()


def _key(path: str, arguments: dict[str, Any]) -> tuple[str, bytes]:
    plain = {name: value for name, value in arguments.items() if not isinstance(value, Request)}
    return normal(path), msgspec.json.encode(plain, enc_hook=repr, order="deterministic")
