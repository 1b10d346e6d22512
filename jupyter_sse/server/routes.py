"""The routes of the users' own endpoints, and who has them: kernels, and modules of this server.

Who declared a route last has it. A kernel that goes leaves its routes behind as what they were, so that whoever asks is
told what to do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from ..endpoints import Request, Route
from .auth import ApiError
from .calls import Opened, Pipe, RouteEntry

if TYPE_CHECKING:
    from .kernels import KernelHandler, Producers

__all__ = ["KernelSource", "Routes", "Served", "Source"]

MAX_GONE = 1000
"""Kernels that are gone and whose routes are remembered."""


RETURN_SECONDS = 5.0
"""How long a call waits for a link that was cut: a kernel tries again at least so often. To be told to come back later
is the end for an EventSource."""


class Source(Protocol):
    """Who has endpoints: a kernel, or this server's modules.

    name : for people, such as `The notebook "a.ipynb"`.
    """

    name: str
    served: list[Served]

    @property
    def is_connected(self) -> bool: ...

    async def begin(self, shape: str, request: Request, gone: str | None) -> Pipe | Opened:
        """The call's frames, or the stream that it shares with others; `gone` is the id of one that there is no more.

        Raises
        ------
        ApiError
        """

    async def returns(self) -> bool:
        """Wait a moment for it to be connected again, if it may be."""

    async def absence(self, path: str) -> ApiError:
        """Why it is not connected, for whoever asks for this route."""

    def clashes(self, message: str) -> None:
        """Another one has the same route."""


class Served:
    """One route of a source."""

    def __init__(self, source: Source, entry: RouteEntry) -> None:
        self.source = source
        self.route = Route(entry.path)
        self.methods = entry.methods
        self.declared = entry.declared


class KernelSource:
    """A kernel's endpoints, over its link."""

    def __init__(self, producers: Producers, link: KernelHandler, kernel: str | None) -> None:
        self.name = "The kernel"
        self.served: list[Served] = []
        self._producers = producers
        self._link: KernelHandler | None = link
        self._kernel = producers.identity(kernel)
        self._cut_at = 0.0
        self._back = asyncio.Event()

    def opened(self, link: KernelHandler, notebook: str | None) -> None:
        self._link = link
        self._back.set()
        if notebook is not None:
            self.name = f'The notebook "{notebook}"'

    def cut(self, link: KernelHandler) -> None:
        if self._link is link:
            self._link = None
            self._back.clear()
            self._cut_at = time.monotonic()

    @property
    def is_connected(self) -> bool:
        return self._link is not None

    async def begin(self, shape: str, request: Request, gone: str | None) -> Pipe | Opened:
        if self._link is None:
            raise await self.absence(request.path)
        return await self._link.calls.begin(shape, request, gone)

    async def returns(self) -> bool:
        if await self._state() == "away":
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._back.wait(), RETURN_SECONDS)
        return self.is_connected

    async def absence(self, path: str) -> ApiError:
        state = await self._state()
        if state == "away":
            message = f"{self.name} that has {path} is not connected now. It usually comes back at once."
            return ApiError(503, "kernel_away", message, retry_after=1)
        what = {"restarted": "was restarted: run its cell again", "running": "has gone: run its cell again"}
        happened = what.get(state, "was shut down: start it, and run its cell again")
        return ApiError(404, "endpoint_gone", f"{self.name} that had {path} {happened}.")

    async def _state(self) -> str:
        state = await self._producers.state(self._kernel)
        is_away = state == "running" and time.monotonic() - self._cut_at < self._producers.grace
        return "away" if is_away else state

    def clashes(self, message: str) -> None:
        if self._link is not None:
            self._link.tell(op="clash", message=message)


class Routes:
    """All routes, and who has them."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def update(self, key: str, source: Source, entries: Iterable[RouteEntry]) -> None:
        """A source has these routes now.

        Raises
        ------
        ValueError
            For one that is no route.
        """
        known = {(one.route.shape, one.declared) for one in source.served}
        source.served = [Served(source, entry) for entry in entries]
        self.sources.pop(key, None)
        self.sources[key] = source
        for one in source.served:
            if (one.route.shape, one.declared) not in known:
                self._see_clash(one)
        gone = [key for key, one in self.sources.items() if not one.is_connected]
        for old in gone[: max(0, len(gone) - MAX_GONE)]:
            del self.sources[old]

    def _see_clash(self, new: Served) -> None:
        rivals = [
            one
            for source in self.sources.values()
            if source is not new.source and source.is_connected
            for one in source.served
            if one.route.shape == new.route.shape
        ]
        if not rivals:
            return
        *_, old = sorted(rivals, key=lambda one: one.declared)
        lost, won = sorted((old, new), key=lambda one: one.declared)
        name = won.source.name
        lost.source.clashes(
            f"{name[0].lower()}{name[1:]} has declared {won.route.path} as well, and is served there from now on."
            " Give one of the two another path."
        )
        name = lost.source.name
        won.source.clashes(f"{won.route.path} is served from here now, and no more by {name[0].lower()}{name[1:]}.")

    async def find(self, path: str) -> Served:
        """Who serves this path.

        Raises
        ------
        ApiError
            Nobody does: nobody ever did, or not any more.
        """
        found = [one for source in self.sources.values() for one in source.served if one.route.match(path) is not None]
        if not found:
            message = f"There is no endpoint at {unquote(path)}. If a notebook declares it, run that cell (@endpoint)."
            raise ApiError(404, "no_endpoint", message)
        best = min(found, key=lambda one: (not one.source.is_connected, one.route.rank, -one.declared))
        if not best.source.is_connected:
            if await best.source.returns():
                return await self.find(path)
            raise await best.source.absence(best.route.path)
        return best
