"""One connection that reads along: an SSE answer or a WebSocket, over a socket that tornado has handed over.

A reader that is up to date is written to directly, past tornado's buffers: that costs a third. Whatever the
socket does not take at once goes through the IOStream, and the reader catches up alone. TLS always goes through it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from .feed import Blob, Feed, Framing
from .hub import Hub

__all__ = ["Reader"]

PIECE = 16 << 10
"""Of what waits for a slow reader, how many bytes it has to take before it counts as reading."""


class Reader:
    """Follows one channel (and ends with it) or, with `keep`, any number of them.

    stream : what `RequestHandler.detach` returned, after the headers.
    framing : how frames are put on the wire. Only whole ones are written, so that tornado may write its own between.
        Each goes through it once and in order, so that it may keep a state.
    end : what is written behind the last.
    """

    def __init__(
        self,
        hub: Hub,
        stream: IOStream,
        *,
        framing: Framing,
        end: bytes = b"",
        keep: bool = False,
    ) -> None:
        self.hub = hub
        self.keep = keep
        self.closed = False
        self.cursors: dict[Feed, int] = {}  # of the feeds in which this reader is behind
        self.feeds: dict[Feed, int] = {}  # with the bytes published when it last made progress
        self._stream = stream
        self._socket = None if isinstance(stream, SSLIOStream) else stream.socket
        self._framing = framing
        self._end = end
        self._on_close: list[Callable[[], object]] = []
        self._task: asyncio.Task[None] | None = None
        self._writing_since: float | None = None
        hub.readers.add(self)
        hub.stats.connections += 1
        stream.set_nodelay(True)
        stream.set_close_callback(self.close)

    def on_close(self, callback: Callable[[], object]) -> None:
        """Call this once, when the connection is over."""
        if self.closed:
            callback()
        else:
            self._on_close.append(callback)

    # what it follows

    def follow(self, feed: Feed, cursor: int) -> None:
        self.hub.unread.discard(feed.channel.id)
        self.feeds[feed] = feed.total
        self.cursors[feed] = cursor
        feed.behind.add(self)
        self._catch_up()

    def unfollow(self, feed: Feed) -> None:
        self.cursors.pop(feed, None)
        if self.feeds.pop(feed, None) is not None:
            feed.forget(self)

    def finish(self, feed: Feed) -> None:
        """The feed's stream is over and this reader has all of it."""
        self.unfollow(feed)
        if not self.keep:
            self._finish()

    def gone(self, feed: Feed) -> None:
        """The feed's stream has been deleted."""
        self.unfollow(feed)
        self.tell(self.hub.failure(feed.prefix, "gone", "This stream has been deleted."))
        if not self.keep:
            self._finish()

    def tell(self, frame: bytes) -> None:
        """Write a frame that belongs to this connection alone."""
        if not self.closed:
            self._write(Blob(frame))

    async def write(self, data: bytes) -> None:
        """Write whole frames that belong to this connection alone, and wait until the socket has taken them.

        Raises
        ------
        StreamClosedError
        """
        self.hub.stats.delivered_bytes += len(data)
        self._write(Blob(data))
        await self._drained()

    def end(self) -> None:
        """Close the connection when all that was written has left."""
        self._finish()

    # writing

    def send(self, blob: Blob) -> None:
        """Serve a live reader; what does not fit into the socket puts it behind."""
        if self.closed:
            return
        if not self._write_now(blob):
            self._fall_behind()

    def _write_now(self, blob: Blob) -> bool:
        data = blob.framed(self._framing)
        self.hub.stats.delivered_bytes += len(data)
        if self._socket is None or self._stream.writing():
            return self._write(blob, data)
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.close()
            return True
        if sent == len(data):
            return True
        return self._write(blob, data[sent:])

    def _write(self, blob: Blob, data: bytes | None = None) -> bool:
        if data is None:
            data = blob.framed(self._framing)
        try:
            # A write that fails later closes the stream, which tells us through the close callback.
            for start in range(0, len(data), PIECE):
                self._stream.write(memoryview(data)[start : start + PIECE]).add_done_callback(self._taken)
        except StreamClosedError:
            self.close()
        return not self._stream.writing()

    def _taken(self, written: asyncio.Future[None]) -> None:
        if written.exception() is None and self._writing_since is not None:
            self._writing_since = time.monotonic()

    async def _drained(self) -> None:
        # An empty write is done when all before it is.
        self._writing_since = time.monotonic()
        if self._stream.writing():
            await self._stream.write(b"")
        self._writing_since = None
        for feed in self.feeds:
            self.feeds[feed] = feed.total

    def _fall_behind(self) -> None:
        for feed in self.feeds:
            if feed not in self.cursors:
                self.cursors[feed] = feed.leave(self)
                feed.behind.add(self)
        self._catch_up()

    def _catch_up(self) -> None:
        if self._task is None and not self.closed:
            self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        try:
            await self._drained()
            while self.cursors:
                moved = False
                for feed in list(self.cursors):
                    moved = await self._replay(feed) or moved
                if not moved:
                    self._join()
        except StreamClosedError:
            self.close()
        finally:
            self._task = None

    async def _replay(self, feed: Feed) -> bool:
        cursor = self.cursors.get(feed)
        if cursor is None:
            return False
        if cursor > feed.sent:
            # A snapshot runs ahead of the feed by what its next flush, some milliseconds away, will pass over.
            await asyncio.sleep(self.hub.window)
            return True
        data, after = await feed.after(cursor)
        if feed not in self.cursors:
            return True
        self.cursors[feed] = after
        if data:
            self.hub.stats.delivered += after - cursor
            self.hub.stats.delivered_bytes += len(data)
            self._write(Blob(data))
            await self._drained()
        return after > cursor

    def _join(self) -> None:
        for feed, cursor in list(self.cursors.items()):
            if cursor != feed.sent:
                continue
            del self.cursors[feed]
            feed.join(self)
            if feed.channel.ended and feed.sent == feed.channel.last:
                self.finish(feed)

    # heartbeat, bounds, end

    def ping(self, blob: Blob) -> None:
        """Send the heartbeat, unless bytes are still waiting; a reader that takes none for too long is dropped."""
        if self.closed:
            return
        if self._writing_since is None and not self._stream.writing():
            self._write_now(blob)
            return
        self.hub.stats.heartbeat_failures += 1
        since = self._writing_since
        if since is not None and time.monotonic() - since > self.hub.limits.stall_seconds:
            self.drop()

    def lag(self, feed: Feed) -> int:
        """Bytes published in this feed since the reader last took some."""
        return feed.total - self.feeds.get(feed, feed.total)

    def drop(self) -> None:
        """Cut a reader that is too slow; it can resume from the log."""
        self.hub.stats.dropped += 1
        self.close()

    def _finish(self) -> None:
        if self.closed:
            return
        try:
            self._stream.write(self._end)
        except StreamClosedError:
            self.close()
            return
        if self._stream.writing():
            self.hub.spawn(self._linger())
        else:
            self.close()

    async def _linger(self) -> None:
        with suppress(StreamClosedError):
            await self._drained()  # or a heartbeat finds that nothing is taken any more
        self.close()

    def stop(self) -> None:
        """The server stops. The answer is ended, not just cut: JupyterHub's proxy tells nobody of a cut."""
        if not self.closed and not self._stream.writing():
            with suppress(StreamClosedError):
                self._stream.write(self._end)
        self.close()

    def close(self) -> None:
        if not self.closed:
            self.leave()
            self._stream.close()

    def leave(self) -> None:
        """Write nothing more; the connection itself is for somebody else to close."""
        if self.closed:
            return
        self.closed = True
        self.hub.readers.discard(self)
        self.hub.stats.connections -= 1
        for feed in list(self.feeds):
            self.unfollow(feed)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        for callback in self._on_close:
            callback()
