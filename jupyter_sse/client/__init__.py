"""Read streams from Python, anywhere: what runs, and what happens in it, over as many connections as it takes.

``for seq, event in Client().events(stream)`` gives every event once and ends with the stream. What is asked and what
the answers mean is in `protocol`; here is the I/O, the same twice: `Client` blocks, `AsyncClient` is awaited.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from types import TracebackType
from typing import Any, TypeVar, Union

from ..address import find
from ..events import Event, Unknown
from ..state import Snapshot
from . import protocol
from .protocol import Call, Cancelling, ClientError, Following, StreamInfo

try:
    import httpx
except ImportError as error:
    raise ImportError('jupyter_sse.client needs httpx. Install it with: pip install "jupyter-sse[client]"') from error

__all__ = ["AsyncClient", "Cancelling", "Client", "ClientError", "StreamInfo"]

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0

_logger = logging.getLogger(__name__)

Message = dict[str, str]
Numbered = tuple[int, Union[Event, Unknown]]
T = TypeVar("T")


class _Client:
    """Where the server is, and how long to wait for it."""

    def __init__(
        self, url: str | None = None, token: str | None = None, *, heartbeat: float = 20.0, patience: float = math.inf
    ) -> None:
        """Without a URL, the server that started this kernel or terminal, or the only one that runs here.

        url : any that JupyterLab shows, also with its ``?token=``.
        token : the server's; that of one which runs here, JupyterHub's for it, and `JUPYTER_TOKEN` are found.
        heartbeat : the server's `SSE.heartbeat`; a connection without a byte for 2.5 times as long is dead.
        patience : seconds without the server after which `events` gives up.

        Raises
        ------
        ClientError
            If no server runs here, or several do.
        ValueError
            If it is not the URL of a server.
        """
        try:
            self._address = find(url, token)
        except LookupError as error:
            raise ClientError(str(error), code="no_server") from None
        self._patience = patience
        self._silence = httpx.Timeout(2.5 * heartbeat, connect=CONNECT_SECONDS)
        self._open()

    def _open(self) -> None:
        raise NotImplementedError

    @property
    def url(self) -> str:
        """The server's `jupyter-sse/` root."""
        return self._address.url

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def _options(self) -> dict[str, Any]:
        address = self._address
        return {
            "base_url": address.url,
            "headers": {"Authorization": f"token {address.token}"} if address.token else {},
            "timeout": httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            # Loopback: certificates do not name it, and no proxy reaches it.
            "verify": not address.is_loopback,
            "trust_env": not address.is_loopback,
        }

    def _request(self, call: Call[T]) -> dict[str, Any]:
        return {"method": call.method, "url": call.path, "params": call.params, "content": call.body}

    def _unreachable(self, error: httpx.TransportError) -> ClientError:
        return ClientError(f"No Jupyter server answers at {self.url}: {_reason(error)}.")

    def _follow(self, stream: str, after: int) -> Following:
        return Following(self._address, stream, after, patience=self._patience)

    def _get(self, following: Following) -> dict[str, Any]:
        headers, params = following.headers, following.params
        return {"method": "GET", "url": following.path, "headers": headers, "params": params, "timeout": self._silence}

    def _pause(self, following: Following) -> float:
        """Seconds until the next attempt."""
        if following.failures == 1:
            _logger.warning("The connection to %s was lost (%s); trying again.", self.url, following.problem)
        return following.delay


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


CUT = "it ended before the stream did"


class Client(_Client):
    """Reads streams of a Jupyter server; use it as a context manager, or `close` it."""

    def _open(self) -> None:
        self._http = httpx.Client(**self._options())

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def streams(
        self, *, status: str | None = None, kind: str | None = None, path: str | None = None, kernel: str | None = None
    ) -> list[StreamInfo]:
        """The streams, the newest first: of this status (running, done, error, cancelled), kind, notebook, kernel."""
        return self._do(protocol.list_streams(status=status, kind=kind, path=path, kernel=kernel))

    def snapshot(self, stream: str) -> Snapshot:
        """The stream's state now."""
        return self._do(protocol.show(stream))

    def cancel(self, stream: str) -> Cancelling:
        """Ask the producer to stop; asked again, interrupt its kernel."""
        return self._do(protocol.cancel(stream))

    def delete(self, stream: str) -> None:
        """Forget the stream."""
        self._do(protocol.delete(stream))

    def ask(
        self,
        message: str,
        *,
        model: str | None = None,
        system: str | None = None,
        history: Sequence[Message] | None = None,
    ) -> str:
        """Have the server's model answer; the id of the stream in which it does."""
        return self._do(protocol.ask(message, model=model, system=system, history=history))

    def events(self, stream: str, after: int = 0) -> Generator[Numbered, None, None]:
        """The events after this one with their numbers, as they come, to the end of the stream.

        A `Reset` holds a `Snapshot` of all up to its number: the first event with ``after=-1``, and whenever the server
        cannot go on where this reader is.

        Raises
        ------
        ClientError
            If there is no such stream (any more), the server refuses, or there is none.
        """
        following = self._follow(stream, after)
        while not following.ended:
            try:
                with self._http.stream(**self._get(following)) as answer:
                    body = b"" if answer.status_code == 200 else answer.read()
                    following.answered(answer.status_code, answer.headers, body, time.monotonic())
                    if answer.status_code == 200:
                        for data in answer.iter_raw():
                            yield from following.received(data)
                            if following.ended:
                                return
                        following.lost(CUT, time.monotonic())
            except httpx.TransportError as error:
                following.lost(_reason(error), time.monotonic())
            if not following.ended:
                time.sleep(self._pause(following))

    def _do(self, call: Call[T]) -> T:
        try:
            answer = self._http.request(**self._request(call))
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        return call.answered(self._address, answer.status_code, answer.content)


class AsyncClient(_Client):
    """`Client` for asyncio: the same calls, awaited, and ``async for`` over `events`."""

    def _open(self) -> None:
        self._http = httpx.AsyncClient(**self._options())

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def streams(
        self, *, status: str | None = None, kind: str | None = None, path: str | None = None, kernel: str | None = None
    ) -> list[StreamInfo]:
        """See `Client.streams`."""
        return await self._do(protocol.list_streams(status=status, kind=kind, path=path, kernel=kernel))

    async def snapshot(self, stream: str) -> Snapshot:
        """See `Client.snapshot`."""
        return await self._do(protocol.show(stream))

    async def cancel(self, stream: str) -> Cancelling:
        """See `Client.cancel`."""
        return await self._do(protocol.cancel(stream))

    async def delete(self, stream: str) -> None:
        """See `Client.delete`."""
        await self._do(protocol.delete(stream))

    async def ask(
        self,
        message: str,
        *,
        model: str | None = None,
        system: str | None = None,
        history: Sequence[Message] | None = None,
    ) -> str:
        """See `Client.ask`."""
        return await self._do(protocol.ask(message, model=model, system=system, history=history))

    async def events(self, stream: str, after: int = 0) -> AsyncGenerator[Numbered, None]:
        """See `Client.events`. Who leaves the loop early closes it at once with `contextlib.aclosing`."""
        following = self._follow(stream, after)
        while not following.ended:
            try:
                async with self._http.stream(**self._get(following)) as answer:
                    body = b"" if answer.status_code == 200 else await answer.aread()
                    following.answered(answer.status_code, answer.headers, body, time.monotonic())
                    if answer.status_code == 200:
                        async for data in answer.aiter_raw():
                            for numbered in following.received(data):
                                yield numbered
                            if following.ended:
                                return
                        following.lost(CUT, time.monotonic())
            except httpx.TransportError as error:
                following.lost(_reason(error), time.monotonic())
            if not following.ended:
                await asyncio.sleep(self._pause(following))

    async def _do(self, call: Call[T]) -> T:
        try:
            answer = await self._http.request(**self._request(call))
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        return call.answered(self._address, answer.status_code, answer.content)
