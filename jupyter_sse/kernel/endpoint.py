"""`@endpoint` in a kernel: the functions are called by the server, over the link, while the main thread is busy.

A call's frames go over the link as bytes, past the log; how many may be under way is the server's to say. What is
shared is a stream of this kernel like any other.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from ..endpoints import Call, CallError, Outlet, Publisher, Request, broadcast, endpoint, pack, registry
from ..events import Delta, Done, Error, Event, Log, Reasoning, Unknown, encode
from . import link
from .origin import notebook_path
from .producer import Producer

if TYPE_CHECKING:
    from ..endpoints import Endpoint

__all__ = ["broadcast", "endpoint"]

NO_SERVER = (
    "jupyter_sse: nobody can call this endpoint: that needs a Jupyter server with jupyter_sse, and this process knows"
    " of none. The function itself works as ever. To name a server: jupyter_sse.connect(url, token)."
)
TOO_OLD = (
    "jupyter_sse: this Jupyter server's jupyter_sse is too old to serve endpoints: update it there"
    " (pip install -U jupyter-sse) and start the server again."
)


class _Served:
    """The endpoints of this process, as its server calls them: a `link.Service`, and their `Host`."""

    parting = '{"op":"routes","routes":[]}'

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._said: deque[str] = deque()
        self._ready: deque[tuple[int, Outlet]] = deque()
        self._calls: dict[int, Call] = {}
        self._limits = {"max_event": 1 << 20, "max_calls": 256}
        self._told: set[str] = set()

    # As the host: in any thread.

    def changed(self) -> None:
        to = link.current()
        if to.address is None:
            self._tell_once(NO_SERVER)
        elif os.getpid() == self._pid:  # a forked child has a link of its own, and serves nothing
            to.serve(self)

    def publish(self, title: str) -> Publisher:
        return _Published(title)

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            link.tell(message)

    # As the service: in the link's thread.

    def messages(self) -> Iterator[str | bytes]:
        while self._said:
            yield self._said.popleft()
        for _ in range(len(self._ready)):  # those that ring again have their next turn after the streams
            number, outlet = self._ready.popleft()
            call = self._calls.get(number)
            if call is None or call.outlet is not outlet:  # closed, or of a link before this one
                continue
            data, last = outlet.take()
            if last:
                self._calls.pop(number, None)
            if data or last:
                yield pack(number, data, last=last)

    def heard(self, said: dict[str, Any]) -> None:
        op = said.get("op")
        if op == "welcome":
            self._limits = {name: said.get(name, value) for name, value in self._limits.items()}
            if said.get("endpoints"):
                routes = [_described(one) for one in list(registry.endpoints.values())]
                self._say(op="routes", notebook=notebook_path(), routes=routes)
            else:
                self._tell_once(TOO_OLD)
        elif op == "call":
            self._called(said)
        elif op == "credit" and said["call"] in self._calls:
            self._calls[said["call"]].outlet.credit(said["bytes"])
        elif op == "close":
            call = self._calls.pop(said["call"], None)
            if call is not None:
                call.close()
        elif op == "clash":
            link.tell(f"jupyter_sse: {said['message']}")

    def cut(self) -> None:
        self._said.clear()
        self._ready.clear()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.close()

    def _called(self, said: dict[str, Any]) -> None:
        number: int = said["call"]
        answer: dict[str, Any] = {}

        def ring(outlet: Outlet) -> None:
            self._ready.append((number, outlet))
            link.current().wake()

        try:
            request = msgspec.convert(said["request"], Request)
            begun = registry.call(
                said["route"], request, ring, credit=said["credit"], gone=said.get("gone"), **self._limits
            )
            if isinstance(begun, Call):
                self._calls[number] = begun
            else:
                answer = {"stream": begun.publisher.id, "new": begun.is_new()}
        except CallError as error:
            refusal = {"status": error.status, "code": error.code, "message": error.message}
            self._say(op="refused", call=number, retry_after=error.retry_after, **refusal)
        except Exception as error:
            self._say(op="refused", call=number, status=500, code=type(error).__name__, message=str(error))
        else:
            self._say(op="opened", call=number, **answer)

    def _say(self, **message: Any) -> None:
        self._said.append(msgspec.json.encode(message).decode())


def _described(one: Endpoint) -> dict[str, Any]:
    return {"path": one.route.path, "methods": one.methods, "declared": one.declared}


class _Published:
    """A session's stream: this kernel is its producer, and no cell shows it."""

    def __init__(self, title: str) -> None:
        self._producer = Producer(title, kind="endpoint", stall=0, show=False)
        self.id = self._producer.id

    @property
    def closed(self) -> bool:
        return self._producer.refused

    @property
    def crowded(self) -> bool:
        return self._producer.crowded

    def emit(self, event: Event | Unknown) -> None:
        with suppress(RuntimeError):  # it was ended at this moment, by another thread
            if isinstance(event, Unknown):
                self._producer.pass_on(event, len(encode(event)))
            elif isinstance(event, (Delta, Reasoning, Log)):
                fields = msgspec.structs.asdict(event)
                self._producer.text(fields.pop("text"), type(event), **fields)
            else:
                self._producer.emit(event, len(encode(event)))

    def end(self, event: Done | Error) -> None:
        self._producer.end(event)

    def listen(self, *, on_cancel: Callable[[], object], on_unwatched: Callable[[], object]) -> None:
        self._producer.on_cancel.append(on_cancel)
        self._producer.on_unwatched.append(on_unwatched)


if registry.host is None:  # the server, which loads modules with endpoints, has its own
    registry.host = _Served()
    # Before the link's own, which it uses: what is registered last comes first.
    atexit.register(registry.exit)
