"""What a reader asks of the server, and makes of what it answers. No I/O: `Client` and `AsyncClient` do that.

On purpose:

- An answer that may be another one later (408, 424, 429, 5xx) is tried again, as a cut is; what will stay (401, 403,
  404, 410) is a `ClientError`. The browser's consumer draws the same line.
- A server that was never reached is an error at once: most often the address is wrong.
- Frames are read by our own `sse.Decoder`: httpx-sse keeps a line back that ends in CR, and makes an event of nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from ..address import Address
from ..events import TERMINAL_TYPES, Error, Event, Reset, Unknown, decode
from ..sse import Decoder
from ..state import Snapshot

__all__ = ["Call", "Cancelling", "ClientError", "Following", "StreamInfo"]

MAX_DELAY = 30.0
"""Seconds between two attempts, at most; unless the server asks for more."""

T = TypeVar("T")


class ClientError(Exception):
    """The server refuses, or cannot be reached. `status` is HTTP's, if any; `code` is for programs."""

    def __init__(self, message: str, *, status: int | None = None, code: str = "unreachable") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class StreamInfo(Struct, frozen=True, kw_only=True):
    """A stream as the server lists it; `created` and `updated` in seconds since 1970."""

    stream: str
    status: str
    created: float
    updated: float
    seq: int
    bytes: int
    kind: str | None = None
    title: str | None = None
    path: str | None = None
    cell: str | None = None
    execution: str | None = None
    kernel: str | None = None


class Cancelling(Struct, frozen=True):
    """How a cancel was passed on: to the `producer`, as an `interrupt`, `pending`; or the stream has `ended`."""

    via: str
    message: str


class Call(Struct, Generic[T]):
    """One request, and what its answer is read as."""

    method: str
    path: str
    read: Callable[[bytes], T]
    params: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def answered(self, address: Address, status: int, body: bytes) -> T:
        if not 200 <= status < 300:
            raise refusal(address, status, body)
        try:
            return self.read(body)
        except msgspec.DecodeError:
            raise _stranger(address, status) from None


def list_streams(**wanted: str | None) -> Call[list[StreamInfo]]:
    params = {name: value for name, value in wanted.items() if value is not None}
    return Call("GET", "streams", msgspec.json.Decoder(list[StreamInfo]).decode, params)


def show(stream: str) -> Call[Snapshot]:
    return Call("GET", _path(stream), msgspec.json.Decoder(Snapshot).decode)


def cancel(stream: str) -> Call[Cancelling]:
    return Call("POST", f"{_path(stream)}/cancel", msgspec.json.Decoder(Cancelling).decode)


def delete(stream: str) -> Call[None]:
    return Call("DELETE", _path(stream), lambda body: None)


def ask(message: str, **options: Any) -> Call[str]:
    given = {"message": message} | {name: value for name, value in options.items() if value is not None}
    return Call("POST", "chat", lambda body: str(msgspec.json.decode(body)["stream"]), body=msgspec.json.encode(given))


def _path(stream: str) -> str:
    return f"streams/{quote(stream, safe='')}"


def refusal(address: Address, status: int, body: bytes) -> ClientError:
    """The error that an answer means, as the server words it where it is ours that answers."""
    try:
        said = msgspec.json.decode(body, type=_Said)
    except msgspec.DecodeError:
        said = _Said()
    if status in (401, 403) or 300 <= status < 400:
        had = "did not accept the token" if address.token else "wants a token"
        message = f"The Jupyter server at {address} {had} (HTTP {status}). Give it, or set JUPYTER_TOKEN."
        if "/user/" in address.url:
            message += " If it is JupyterHub's, that is a token from the hub's page Token (/hub/token); in a terminal"
            message += " or kernel that it has started, JUPYTERHUB_API_TOKEN is taken."
        return ClientError(message, status=status, code="forbidden")
    if said.code and said.message:
        return ClientError(said.message, status=status, code=said.code)
    if _may_pass(status):
        message = f"The Jupyter server at {address} cannot answer now (HTTP {status}). Try again later."
        return ClientError(message, status=status, code="unavailable")
    return _stranger(address, status)


class _Said(Struct):
    message: str = ""
    code: str = ""


def _may_pass(status: int) -> bool:
    """The same request may get another answer later. 424 is JupyterHub's, while the user's server does not run."""
    return status in (408, 424, 429) or status >= 500


def _seconds(headers: Mapping[str, str]) -> float:
    """What `Retry-After` asks for, 0 where it asks nothing; a date is counted from the server's own."""
    said = headers.get("retry-after", "")
    if said.isascii() and said.isdigit():
        return float(said) if len(said) < 10 else 0.0  # beyond what a clock can wait for
    try:
        return (parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _stranger(address: Address, status: int) -> ClientError:
    message = f"What answers at {address} is not jupyter_sse (HTTP {status}): is it installed and enabled there?"
    return ClientError(message, status=status, code="not_jupyter_sse")


class Following:
    """One stream that is followed, over as many connections as it takes.

    For each connection: ask with `headers` and `params`; tell what came by `answered`, `received` and `lost`; until
    it has `ended`, wait `delay` seconds and begin again. `now` is any clock's, in seconds.

    cursor : the seq of the last event given out; -1 asks for a `Reset` with the state so far.
    patience : seconds without the server after which it is given up.
    """

    def __init__(self, address: Address, stream: str, after: int, *, patience: float) -> None:
        self.path = f"{_path(stream)}/events"
        self.cursor = after
        self.ended = False
        self.delay = 0.0
        self.problem = ""  # why there is no connection now
        self.failures = 0  # since there was one
        self._address = address
        self._patience = patience
        self._decoder = Decoder()
        self._reached = False
        self._retry = 1.0
        self._lost_at = 0.0

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        return headers if self.cursor < 0 else headers | {"Last-Event-ID": str(self.cursor)}

    @property
    def params(self) -> dict[str, str]:
        return {"snapshot": "1"} if self.cursor < 0 else {}

    def answered(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> None:
        """The head of an answer has come; `body` is needed of any but a 200.

        Raises
        ------
        ClientError
            It will not be another one later.
        """
        self._reached = True
        self._decoder = Decoder()
        if status == 204:
            self.ended = True
        elif _may_pass(status) or "/hub/user/" in headers.get("location", ""):
            # JupyterHub sends there who asks for a server that does not run now; whoever follows gets a 424.
            self.lost(f"HTTP {status}", now, retry_after=_seconds(headers))
        elif status != 200:
            raise refusal(self._address, status, body)
        elif not headers.get("content-type", "").startswith("text/event-stream"):
            raise _stranger(self._address, status)

    def received(self, data: bytes) -> Iterator[tuple[int, Event | Unknown]]:
        """The events in the next bytes, each once; one after a `Reset` begins anew at its `seq`.

        Raises
        ------
        ClientError
            After them, if the stream has been deleted.
        """
        self.failures = 0
        for frame in self._decoder.feed(data):
            event = decode(frame.data)
            if isinstance(event, Reset):
                event = msgspec.structs.replace(event, snapshot=msgspec.convert(event.snapshot, Snapshot))
                self.cursor = event.seq
                self.ended = event.snapshot.status != "running"
            elif frame.event in ("hello", "ping"):
                continue
            elif frame.id == "0" and isinstance(event, Error):  # about the stream, and not in it
                raise ClientError(event.message, code=event.code)
            elif not frame.id or int(frame.id) <= self.cursor:
                continue
            else:
                self.cursor = int(frame.id)
                self.ended = frame.event in TERMINAL_TYPES
            yield self.cursor, event
        if self._decoder.retry is not None:
            self._retry = self._decoder.retry / 1000

    def lost(self, why: str, now: float, *, retry_after: float = 0.0) -> None:
        """There is no connection now, or no more.

        Raises
        ------
        ClientError
            There never was one, or `patience` is at its end.
        """
        if not self.failures:
            self._lost_at = now
        if not self._reached:
            raise ClientError(f"No Jupyter server answers at {self._address}: {why}.")
        if now - self._lost_at > self._patience:
            raise ClientError(
                f"The Jupyter server at {self._address} did not come back in {self._patience:g} s: {why}."
            )
        self.failures += 1
        self.problem = why
        most = min(max(MAX_DELAY, self._retry), self._retry * 2 ** min(self.failures - 1, 16))
        left = self._lost_at + self._patience - now
        # Not the generator that the user may have seeded.
        self.delay = min(left, max(retry_after, random.SystemRandom().random() * most))
