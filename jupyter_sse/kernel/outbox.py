"""What is to be sent, what waits for its ack, and what the server's answers do to it. Does no I/O.

Memory is bounded here: while the server is away, events beyond the bound are dropped, and their stream says how many.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ..events import Done, Error, Event, Log, Start, Unknown, encode, type_of
from .channel import SOURCE, Channel, instead
from .record import TERMINAL

__all__ = ["MAX_EVENT", "Outbox"]

MAX_BATCH = 1 << 20
MAX_IN_FLIGHT = 4
MAX_EVENT = 1 << 20
"""The size of one event until the server's `welcome` says otherwise."""

_NEVER_DROPPED = (Start, Done, Error)


class Outbox:
    """All streams of a process on their way to one server; if not `remote`, to nowhere.

    `warn` is called with a subject, about which the user is told once, and a message.
    """

    def __init__(self, *, remote: bool, max_unacked: int, warn: Callable[[str, str], None]) -> None:
        self.connected = False
        self.max_event = MAX_EVENT
        self.channels: dict[str, Channel] = {}
        self.unacked = 0
        self._remote = remote
        self._max_unacked = max_unacked
        self._warn = warn
        self._sendable: dict[Channel, None] = {}
        self._in_flight: deque[tuple[Channel, int]] = deque()
        self._webhooks = False  # the server sends them

    @property
    def full(self) -> bool:
        """No more should come: the server is there, but slow. While it is away, `settle` drops what is too much."""
        return self.connected and self.unacked >= self._max_unacked

    @property
    def under_way(self) -> bool:
        """So much is under way that it is better to gather more before the next batch."""
        return len(self._in_flight) >= MAX_IN_FLIGHT

    @property
    def settled(self) -> bool:
        """The server has everything."""
        return all(channel.settled for channel in self.channels.values())

    def settle(self, channel: Channel) -> None:
        """Number and encode what the channel has taken."""
        if not channel.ended and channel.id not in self.channels:
            self.channels[channel.id] = channel
        channel.settle()
        fresh, channel.fresh = channel.fresh, []
        for event in fresh:
            if channel.ended:
                return
            if channel.lost and (isinstance(event, TERMINAL) or self._has_room):
                self._say_lost(channel)
            self._append(channel, event)

    @property
    def _has_room(self) -> bool:
        return self.connected or self.unacked < self._max_unacked // 2

    def _say_lost(self, channel: Channel) -> None:
        lost, channel.lost = channel.lost, 0
        text = f"{lost} events were lost here: the Jupyter server was away, and the memory for waiting events was full."
        self._append(channel, Log(text=text, level="error", source=SOURCE), keep=True)
        self._warn(f"lost:{channel.id}", f"{channel.title}: {text}")

    def _append(self, channel: Channel, event: Event | Unknown, *, keep: bool = False) -> None:
        if not self._remote or channel.closed:
            channel.number(event)
            return
        try:
            raw = encode(event)
            reason = f"it has {len(raw)} bytes, {self.max_event} are allowed" if len(raw) > self.max_event else None
        except Exception as error:
            raw, reason = b"", str(error)
        if reason is not None:
            log, last = instead(_name(event), msgspec.structs.asdict(event), reason)
            self._append(channel, log, keep=True)
            if last is not None:
                self._append(channel, last)
            return
        full = not self.connected and self.unacked + len(raw) > self._max_unacked
        if full and not keep and not isinstance(event, _NEVER_DROPPED):
            channel.lost += 1
            return
        channel.number(event)
        channel.waiting.append(raw)
        self.unacked += len(raw)
        self._sendable[channel] = None

    def batches(self) -> Iterator[bytes]:
        """The messages to send now; streams take turns."""
        while self.connected and self._sendable and not self.under_way:
            channel = next(iter(self._sendable))
            del self._sendable[channel]
            if channel.webhook is not None and not channel.server_has_webhook:
                yield from self._hand_over(channel, channel.webhook)
            first = channel.acked + len(channel.sent) + 1
            batch: list[bytes] = []
            size = 0
            while channel.waiting and size < MAX_BATCH:
                raw = channel.waiting.popleft()
                batch.append(raw)
                channel.sent.append(raw)
                size += len(raw)
            if not batch:
                continue
            if channel.waiting:
                self._sendable[channel] = None
            self._in_flight.append((channel, first + len(batch) - 1))
            head = f'{{"op":"append","stream":"{channel.id}","seq":{first},"events":['.encode()
            yield head + b",".join(batch) + b"]}"

    def _hand_over(self, channel: Channel, webhook: str) -> Iterator[bytes]:
        """Before any event, so that the server has it when the stream ends."""
        channel.server_has_webhook = True
        if self._webhooks:
            yield msgspec.json.encode({"op": "webhook", "stream": channel.id, "url": webhook})
        else:
            self._warn(
                "webhook",
                "This Jupyter server's jupyter_sse is too old to send webhooks: update it there "
                "(pip install -U jupyter-sse) and start the server again.",
            )

    def cut(self) -> None:
        """The link is cut: what was under way is to be sent again."""
        self.connected = False
        self._in_flight.clear()
        for channel in self.channels.values():
            channel.rewind(channel.acked)
            channel.server_has_webhook = False  # the next one may be another
            if channel.waiting or channel.webhook is not None:
                self._sendable[channel] = None

    def forget(self) -> None:
        """Let go of streams that have ended and arrived, and say what was lost once there is room for it."""
        if self.connected:
            for channel in [channel for channel in self.channels.values() if channel.lost]:
                self._say_lost(channel)
        for key in [
            key
            for key, channel in self.channels.items()
            if channel.ended and not (channel.waiting or channel.sent or channel.unheard)
        ]:
            del self.channels[key]

    def heard(self, said: dict[str, Any]) -> None:
        """Take one message of the server."""
        op = said.get("op")
        if op == "welcome":
            self.max_event = int(said.get("max_event", MAX_EVENT))
            self._webhooks = bool(said.get("webhooks"))
            self.connected = True
            return
        channel = self.channels.get(said.get("stream", ""))
        if channel is None:
            return
        if op == "ack":
            self.unacked -= channel.ack(said["seq"])
            self._landed(channel, lambda last: last <= said["seq"])
        elif op == "taken":
            self._taken(channel, said["seq"])
        elif op == "gap":
            self._gap(channel, said["seq"])
        elif op == "refused":
            self._refused(channel, said["seq"], str(said.get("message", said.get("code"))))
        elif op == "closed":
            self._stop(channel, str(said.get("message") or said.get("code")))
        elif op == "watched":
            channel.watched = True
        elif op == "unwatched":
            for action in channel.on_unwatched:
                action()
        elif op == "cancel":
            for action in channel.on_cancel:
                action()

    def _landed(self, channel: Channel, has: Callable[[int], bool]) -> None:
        self._in_flight = deque(entry for entry in self._in_flight if not (entry[0] is channel and has(entry[1])))

    def _taken(self, channel: Channel, seq: int) -> None:
        """The server has it in memory only: keep it while there is room: a restart then loses nothing."""
        self._landed(channel, lambda last: last <= seq)
        if self.unacked > self._max_unacked // 2:
            self.unacked -= channel.ack(seq)

    def _gap(self, channel: Channel, seq: int) -> None:
        if seq < channel.acked:
            self._stop(channel, "the server has lost events of it")
            self._end_remnant(channel, seq)
            return
        self.unacked -= channel.ack(seq)
        channel.rewind(seq)
        self._landed(channel, lambda last: True)
        self._sendable[channel] = None

    def _end_remnant(self, channel: Channel, seq: int) -> None:
        """End what the server still has of the stream, or its views would wait for ever."""
        if seq == 0:
            return
        message = "The server has lost the latest events of this stream. What it came to is in the notebook."
        channel.acked = seq
        channel.waiting.append(encode(Error(message=message, code="events_lost", ts=time.time())))
        self.unacked += len(channel.waiting[0])
        self._sendable[channel] = None

    def _refused(self, channel: Channel, seq: int, message: str) -> None:
        channel.rewind(seq - 1)
        self._landed(channel, lambda last: last >= seq)
        index = seq - channel.acked - len(channel.sent) - 1
        if not 0 <= index < len(channel.waiting) or seq in channel.replaced:
            self._stop(channel, message)
            return
        raw = channel.waiting[index]
        log, last = instead(type_of(raw), msgspec.json.decode(raw), message)
        channel.replaced.add(seq)
        channel.waiting[index] = encode(log)
        self.unacked += len(channel.waiting[index]) - len(raw)
        if last is not None:
            channel.seq += 1
            channel.replaced.add(channel.seq)
            channel.waiting.append(encode(last))
            self.unacked += len(channel.waiting[-1])
        self._sendable[channel] = None

    def _stop(self, channel: Channel, message: str) -> None:
        self.unacked -= channel.stop_sending()
        channel.lost = 0
        self._sendable.pop(channel, None)
        self._landed(channel, lambda last: True)
        self._warn(f"closed:{channel.id}", f"{channel.title}: the server takes no more of this stream: {message}")


def _name(event: Event | Unknown) -> str:
    return event.type if isinstance(event, Unknown) else str(event.__struct_config__.tag)
