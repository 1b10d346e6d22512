"""The kernel's end of the link: events leave the user's thread at once, and the process when the server takes them.

A call in the user's thread appends to a deque, and rings a bell only if the link's thread sleeps. That thread numbers
the events, folds them into the stream's snapshot, and keeps them, encoded, until the server has acked them; so a cut
link loses nothing. It sends at once when the link is idle and gathers while batches are under way.

On purpose:

- One thread (`_run`) owns all state, so there are no locks; the second one only opens the WebSocket and reads from it,
  because opening may take seconds and work must go on meanwhile.
- Memory is bounded. A server that is there but slow makes the producer wait; one that is away never does: beyond the
  bound events are dropped, and the stream says how many.
- Without a server everything else stays as it is: events count as acked at once.
- What is served from here (`serve`) shares the connection: one message of it in turn with those of the streams.
- A forked child gets a link of its own, and is silent in the streams it has inherited: a stream has one producer.
"""

from __future__ import annotations

import atexit
import heapq
import itertools
import os
import queue
import random
import secrets
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..address import Address
from ..events import Error, Event, Unknown
from . import websocket
from .channel import Channel, Sampler
from .inbox import Inbox, Inquiry
from .origin import kernel_id
from .outbox import Outbox
from .record import TERMINAL, Listener, Record
from .websocket import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..state import Snapshot

__all__ = ["Link", "Service", "current", "tell", "use"]

MAX_UNACKED = 64 << 20
"""Bytes of events that wait for their ack, in all streams together."""
MAX_QUEUED = 16384
"""Events between the user's thread and the link's."""
HEAVY = 2048
"""Events of this many characters are also counted by size, up to `MAX_HEAVY`, on their way to the link's thread."""
MAX_HEAVY = 16 << 20
MAX_DRAIN = 4096
GATHER = 0.02
"""Seconds after which events are folded and shown even though the link is still busy."""
SAMPLE_INTERVAL = 0.05
EXIT_SECONDS = 2.0
FIRST_RETRY, LAST_RETRY = 0.1, 5.0

Item = Event | Unknown | Sampler


class Service(Protocol):
    """What this process does for its server, beside sending streams. Does no I/O; called in the link's thread.

    parting : what to send when this is to be done for another server.
    """

    parting: str

    def messages(self) -> Iterator[str | bytes]:
        """What to send now: JSON as text, or bytes. The link asks again when it is woken."""

    def heard(self, said: dict[str, Any]) -> None:
        """Take one message of the server."""

    def cut(self) -> None:
        """The link is cut."""


class Link:
    """All streams of this process on their way to one server, or to nowhere if `address` is None."""

    def __init__(self, address: Address | None, *, kernel: str | None = None, max_unacked: int = MAX_UNACKED) -> None:
        self.address = address
        self.problem: Exception | None = None
        self._kernel = kernel
        self._producer = secrets.token_urlsafe(16)
        self._outbox = Outbox(remote=address is not None, max_unacked=max_unacked, warn=self._warn)
        self._inbox = Inbox()
        self._service: Service | None = None
        self._welcome: dict[str, Any] = {}
        self._data: deque[tuple[Channel | None, Any, int]] = deque()
        self._control: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = False
        self._heavy = 0
        self._heavy_lock = threading.Lock()
        self._socket: websocket.Connection | None = None
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._flushers: list[threading.Event] = []
        self._wanted = threading.Event()
        self._hurry = threading.Event()
        self._silent = False
        self._dialled = False
        self._warned: set[str] = set()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        _links.add(self)

    def __repr__(self) -> str:
        return f"<Link to {self.address or 'no server'}{', connected' if self.connected else ''}>"

    # What the user's threads call.

    def open(self, stream: str, title: str = "", webhook: str | None = None) -> Channel:
        """A new stream."""
        if self._thread is None and not self._silent:
            self._start()
        return Channel(stream, title, webhook)

    def put(self, channel: Channel, item: Item, size: int = 0) -> None:
        """Append to the stream; `size` in characters if the event may be large.

        Returns at once, unless the server is connected and `MAX_UNACKED` bytes behind.
        """
        if size > HEAVY:
            self._admit(size)
            self._data.append((channel, item, size))
        else:
            self._data.append((channel, item, 0))
        if self._idle:
            self._ring()
        if len(self._data) > MAX_QUEUED:
            self._wait_for_room(lambda: len(self._data) > MAX_QUEUED // 2)

    def ask(self, inquiry: Inquiry) -> None:
        """Have the server answer this."""
        self._start()
        self._call(lambda: self._inbox.add(inquiry))

    def cancel(self, inquiry: Inquiry) -> None:
        """Have the server stop its answer."""
        self._call(lambda: self._inbox.cancel(inquiry))

    def serve(self, service: Service) -> None:
        """Do this for the server from now on, or look again what there is to do."""
        self._service = service
        self._start()
        self._control.put(self._greet)

    def dismiss(self) -> Service | None:
        """What this link has served, and does no more."""
        service, self._service = self._service, None

        def part() -> None:
            if service is not None and self._socket is not None and self.connected:
                self._socket.say(service.parting)

        self._control.put(part)
        return service

    def wake(self) -> None:
        """The service has something to send."""
        if not self._silent:
            self._control.put(None)

    def snapshot(self, record: Record, timeout: float = 5.0) -> Snapshot:
        """The stream's state after everything that has been put so far."""
        if self._silent or threading.current_thread() is self._thread:
            return record.fold()
        box: list[Snapshot] = []
        ready = threading.Event()

        def take() -> None:
            box.append(record.fold())
            ready.set()

        self._call(take)
        return box[0] if ready.wait(timeout) else record.snapshot

    def listen(self, record: Record, listener: Listener, begin: Callable[[Snapshot], None] | None = None) -> None:
        """Tell `begin` the state now, and the listener every event after; both in the link's thread."""

        def register() -> None:
            record.listener = listener
            record.unheard = []
            if begin is not None:
                begin(record.fold())

        self._call(register)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do this in the link's thread, then."""
        self._start()
        due = time.monotonic() + seconds
        self._call(lambda: heapq.heappush(self._timers, (due, next(_count), action)))

    def dial(self, timeout: float) -> None:
        """Wait until the server is connected.

        Raises
        ------
        ConnectionError
            If it is not in time, with the reason.
        """
        deadline = time.monotonic() + timeout
        self._dialled = True
        self._start()
        self._wanted.set()
        try:
            while not self.connected:
                if isinstance(self.problem, RefusedError):
                    raise self.problem
                if time.monotonic() > deadline:
                    why = f": {self.problem}" if self.problem else ""
                    raise ConnectionError(f"No answer from {self.address} in {timeout:g} s{why}") from self.problem
                time.sleep(0.005)
        finally:
            self._dialled = False
            self._control.put(None)

    def flush(self, timeout: float) -> bool:
        """Wait until the server has everything; False if it does not in time."""
        if self._thread is None or self._silent:
            return True
        done = threading.Event()
        self._hurry.set()
        self._call(lambda: self._flushers.append(done))
        return done.wait(timeout)

    def end_streams(self, error: Error) -> None:
        """End all running streams: the process exits."""

        def end() -> None:
            for channel in list(self._outbox.channels.values()):
                if not channel.ended:
                    for sampler in channel.samplers:
                        channel.take(self._sample(sampler))
                    channel.samplers.clear()
                    channel.take(error)
                    self._outbox.settle(channel)

        self._call(end)

    @property
    def connected(self) -> bool:
        return self._outbox.connected

    @property
    def max_event(self) -> int:
        """Bytes that one event's JSON may have."""
        return self._outbox.max_event

    @property
    def silent(self) -> bool:
        """True in a forked child for a link that belongs to its parent."""
        return self._silent

    @property
    def crowded(self) -> bool:
        """So much is waiting that `put` will soon block."""
        return len(self._data) > MAX_QUEUED // 2 or self._heavy > MAX_HEAVY // 2

    def _call(self, action: Callable[[], None]) -> None:
        self._data.append((None, action, 0))
        if self._idle:
            self._ring()

    def _ring(self) -> None:
        if self._silent:
            self._data.clear()
            self._warn(
                "fork", "This process was forked: it cannot write to streams of its parent. Start new ones in it."
            )
            return
        self._idle = False
        self._control.put(None)

    def _admit(self, size: int) -> None:
        self._wait_for_room(lambda: self._heavy > MAX_HEAVY)
        with self._heavy_lock:
            self._heavy += size

    def _wait_for_room(self, full: Callable[[], bool]) -> None:
        if threading.current_thread() is self._thread:
            return
        while full() and not self._silent and self._thread is not None and self._thread.is_alive():
            time.sleep(0.002)

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is not None:
                return
            try:
                if self.address is not None:
                    threading.Thread(target=self._keep_connected, name="jupyter_sse socket", daemon=True).start()
                thread = threading.Thread(target=self._run, name="jupyter_sse link", daemon=True)
                thread.start()
            except RuntimeError:  # the interpreter is exiting: no new threads
                self._silent = self._idle = True
                return
            self._thread = thread
        _finalize_worker()

    def _orphan(self) -> None:
        """In a forked child: the threads are gone, and the stream belongs to the parent."""
        self._silent = self._idle = True
        self._outbox.connected = False
        self._data = deque()
        self._service = None
        self._heavy_lock = threading.Lock()
        if self._socket is not None:
            # Only this process's copy: else the server would not see the parent die.
            self._socket.drop()

    # The link's thread.

    def _run(self) -> None:
        while True:
            try:
                self._wait()
                if not self._outbox.full:
                    self._drain()
                self._tick()
                self._send()
                self._rest()
            except Exception as error:
                self._warn("bug", f"jupyter_sse: the link failed on one event and goes on: {error!r}")

    def _wait(self) -> None:
        timeout = self._until_due()
        if self._outbox.under_way:
            timeout = GATHER if timeout is None else min(timeout, GATHER)
        elif not self._outbox.full:
            self._idle = True
            if self._data:
                self._idle = False
                timeout = 0.0
        try:
            action = self._control.get(timeout=timeout)
            self._idle = False
            while True:
                if action is not None:
                    action()
                action = self._control.get_nowait()
        except queue.Empty:
            self._idle = False

    def _until_due(self) -> float | None:
        times = [self._timers[0][0]] if self._timers else []
        times += [record.hear_at for record in self._records() if record.unheard]
        times += [sampler.due for channel in self._outbox.channels.values() for sampler in channel.samplers]
        if self._inbox.give_up_at is not None:
            times.append(self._inbox.give_up_at)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _records(self) -> Iterator[Record]:
        yield from self._outbox.channels.values()
        yield from self._inbox.inquiries.values()

    def _drain(self) -> None:
        touched: dict[Channel, None] = {}
        heavy = 0
        data = self._data
        try:
            for _ in range(MAX_DRAIN):
                if not data:
                    break
                channel, item, size = data.popleft()
                if channel is None:
                    for other in touched:
                        self._outbox.settle(other)
                    touched = {}
                    item()
                    continue
                heavy += size
                if channel not in touched:
                    touched[channel] = None
                    channel.limit(self.max_event)
                if channel.ended:
                    continue
                if isinstance(item, Sampler):
                    channel.samplers[item] = None
                    continue
                if isinstance(item, TERMINAL):
                    for sampler in channel.samplers:
                        channel.take(self._sample(sampler))
                    channel.samplers.clear()
                channel.take(item)
        finally:
            if heavy:
                with self._heavy_lock:
                    self._heavy -= heavy
            for channel in touched:
                self._outbox.settle(channel)

    @staticmethod
    def _sample(sampler: Sampler) -> Event:
        sampler.queued = False  # before it is read: a change meanwhile queues it again
        sampler.due = time.monotonic() + SAMPLE_INTERVAL
        return sampler.sample()

    def _tick(self) -> None:
        """Ask samplers, tell listeners and do what was put off, as their time has come."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        for channel in list(self._outbox.channels.values()):
            due = [sampler for sampler in channel.samplers if sampler.due <= now]
            if due and not channel.ended:
                for sampler in due:
                    del channel.samplers[sampler]
                    channel.take(self._sample(sampler))
                self._outbox.settle(channel)
        if self._inbox.give_up_at is not None and self._inbox.give_up_at <= now:
            self._inbox.give_up(self.problem)
        for record in list(self._records()):
            try:
                record.tell(now)
            except Exception as error:
                self._warn(f"view:{record.id}", f"jupyter_sse: the view of {record.title!r} failed: {error!r}")
                record.listener = None
        for inquiry in self._inbox.ended():
            inquiry.on_end()

    def _send(self) -> None:
        connection = self._socket
        for message in itertools.chain(self._inbox.messages(), self._outbox.batches()):
            assert connection is not None
            try:
                connection.send(message)
            except Exception:
                self._closed(connection)
                return
        if self._service is not None and self.connected:
            for said in self._service.messages():
                assert connection is not None
                try:
                    connection.say(said)
                except Exception:
                    self._closed(connection)
                    return

    def _rest(self) -> None:
        """See who wants the link, and let those know who wait for everything to be sent."""
        self._outbox.forget()
        if self._outbox.channels or self._inbox.inquiries or self._service is not None:
            self._wanted.set()
        elif not self._dialled:
            self._wanted.clear()
        if self._flushers and not self._data and self._outbox.settled and self._inbox.settled:
            for flusher in self._flushers:
                flusher.set()
            self._flushers = []

    # What the server says, in the link's thread.

    def _opened(self, connection: websocket.Connection) -> None:
        self._socket = connection
        self.problem = None
        hello = {"op": "hello", "v": 1, "producer": self._producer, "kernel": self._kernel}
        try:
            connection.send(msgspec.json.encode(hello))
        except Exception:
            self._closed(connection)

    def _heard(self, connection: websocket.Connection, message: str | bytes) -> None:
        if connection is not self._socket:
            return
        said = msgspec.json.decode(message)
        if said.get("op") == "welcome":
            self._welcome = said
        self._outbox.heard(said)
        self._inbox.heard(said)
        if self._service is not None:
            self._service.heard(said)

    def _greet(self) -> None:
        """The server is there already, or still."""
        if self._service is not None and self.connected:
            self._service.heard(self._welcome)

    def _closed(self, connection: websocket.Connection | None, problem: Exception | None = None) -> None:
        if problem is not None:
            self.problem = problem
        if isinstance(problem, RefusedError) and not self._dialled:
            self._warn(
                "refused", f"jupyter_sse: {problem} Until that is put right, streams are shown in this process only."
            )
        if connection is not self._socket or connection is None:
            return
        self._socket = None
        self._outbox.cut()
        self._inbox.cut()
        if self._service is not None:
            self._service.cut()

    def _warn(self, about: str, message: str) -> None:
        """Once a subject."""
        if about not in self._warned:
            self._warned.add(about)
            tell(message)

    # The socket's thread.

    def _keep_connected(self) -> None:
        assert self.address is not None
        delay = FIRST_RETRY
        while True:
            self._wanted.wait()
            connection = None
            problem: Exception | None = None
            try:
                with websocket.connect(self.address) as connection:
                    self._control.put(lambda connection=connection: self._opened(connection))  # type: ignore[misc]
                    for message in connection:
                        delay = FIRST_RETRY
                        self._control.put(
                            lambda connection=connection, message=message: self._heard(connection, message)  # type: ignore[misc]
                        )
            except Exception as error:
                problem = error
            self._control.put(lambda connection=connection, problem=problem: self._closed(connection, problem))  # type: ignore[misc]
            if isinstance(problem, RefusedError):
                delay = LAST_RETRY
            # Not the generator that the user may have seeded.
            self._hurry.wait(delay * random.SystemRandom().uniform(0.5, 1.0))
            self._hurry.clear()
            delay = min(LAST_RETRY, delay * 2)


def tell(message: str) -> None:
    """Warn the user, from any thread, without ever failing."""
    try:
        # There is no line of the user's to point at.
        warnings.warn_explicit(message, RuntimeWarning, "<jupyter_sse>", 0, module="jupyter_sse")
    except Exception:  # warnings are errors here; this thread's work is not what should fail
        print(message, file=sys.stderr)


_links: weakref.WeakSet[Link] = weakref.WeakSet()
_current: Link | None = None
_current_lock = threading.Lock()
_forked = False
_worker: int | None = None  # the worker process whose end is taken care of
_count = itertools.count()
_chosen: Address | None = None


def current() -> Link:
    """The link of this process: to the server named in the environment, or that `connect` was called with."""
    global _current
    if _current is None:
        with _current_lock:
            if _current is None:
                # A child's end is not its kernel's: only the kernel's own process goes by the kernel's name.
                _current = Link(_chosen or websocket.from_environment(), kernel=None if _forked else kernel_id())
    return _current


def use(link: Link) -> None:
    """Streams that start from now on take this link."""
    global _current, _chosen
    old, _current = _current, link
    _chosen = link.address
    service = old.dismiss() if old is not None and old is not link else None
    if service is not None:
        service.cut()
        link.serve(service)


def _after_fork() -> None:
    global _current, _current_lock, _forked
    _current_lock = threading.Lock()
    _current = None
    _forked = True
    for link in list(_links):
        link._orphan()


def _at_exit() -> None:
    links = [link for link in list(_links) if link._thread is not None and not link.silent]
    for link in links:
        link.end_streams(
            Error(message="The process ended before this was finished.", code="producer_exited", ts=time.time())
        )
    deadline = time.monotonic() + EXIT_SECONDS
    for link in links:
        link.flush(max(0.0, deadline - time.monotonic()))


def _finalize_worker() -> None:
    """A worker of multiprocessing leaves by os._exit: atexit does not run, its own finalizers do."""
    global _worker
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is None or util is None or process.parent_process() is None or _worker == os.getpid():
        return
    _worker = os.getpid()
    util.Finalize(None, _at_exit, exitpriority=10)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
