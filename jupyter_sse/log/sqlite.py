"""The log in one SQLite file, which survives the server.

One thread writes. It takes all appends that wait, puts them into one transaction and commits, so that the cost of a
sync to disk (`synchronous=FULL`: an acked event survives a power cut) is shared by whoever came meanwhile.
Another thread reads, on a connection of its own: with WAL, a replay and the writer do not wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from . import TOMBSTONE_SECONDS, Entry, Gap, Gone, LogError, Meta
from .memory import expired, updated_entry

__all__ = ["SqliteLog"]

VERSION = 1
SCHEMA = """
CREATE TABLE streams (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    seq INTEGER NOT NULL,
    first INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    status TEXT NOT NULL,
    kind TEXT,
    title TEXT,
    path TEXT,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    deleted INTEGER NOT NULL,
    snapshot BLOB
);
CREATE INDEX streams_by_status ON streams (deleted, status);
CREATE TABLE events (
    stream INTEGER NOT NULL REFERENCES streams (number),
    seq INTEGER NOT NULL,
    event BLOB NOT NULL,
    PRIMARY KEY (stream, seq)
) WITHOUT ROWID;
"""
COLUMNS = "id, seq, first, bytes, status, kind, title, path, created, updated, deleted"
BUSY_SECONDS = 10.0
"""How long to wait for another process that writes to the same file."""

T = TypeVar("T")
logger = logging.getLogger(__name__)

Work = Callable[[sqlite3.Connection], Any]


def _entry(row: tuple[Any, ...]) -> Entry:
    fields = dict(zip(COLUMNS.split(", "), row, strict=True))
    fields["deleted"] = bool(fields["deleted"])
    return Entry(**fields)


class SqliteLog:
    """Implements `Log`. The file is made readable by its owner alone (0600), its folder too (0700)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: queue.SimpleQueue[tuple[Work, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._write_db: sqlite3.Connection
        self._read_db: sqlite3.Connection
        self._loop: asyncio.AbstractEventLoop

    # life

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(None, self._open)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="jupyter_sse-log-read")
        self._writer = threading.Thread(target=self._write_loop, name="jupyter_sse-log-write", daemon=True)
        self._writer.start()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                self._prepare()
            except sqlite3.DatabaseError as error:
                if not _damaged(error):
                    raise
                self._set_aside(error)
                self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise LogError(f"The stream log {self.path} cannot be used: {error}.") from error

    def _prepare(self) -> None:
        # The file is made before SQLite makes it, so that nobody else can ever read it.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        db = self._connect()
        try:
            with closing(db.execute("PRAGMA journal_mode=WAL")) as answer:
                mode = answer.fetchone()[0]
            if mode != "wal":
                logger.warning("The stream log %s cannot use WAL here (%s): readers and the writer wait in turn.", self.path, mode)
            db.execute("BEGIN IMMEDIATE")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise LogError(
                    f"The stream log {self.path} was written by a newer jupyter-sse (format {version}, this one knows"
                    f" {VERSION}). Update jupyter-sse, or set SSE.log_path to another file."
                )
            if version == 0:
                for statement in SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version={VERSION}")
            db.execute("COMMIT")
            db.execute("SELECT max(number) FROM streams").fetchone()
            self._read_db = self._connect()
        except BaseException:
            db.close()
            raise
        self._write_db = db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA foreign_keys=ON")
        return db

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        self.path.rename(aside)
        for suffix in ("-wal", "-shm"):
            extra = self.path.with_name(self.path.name + suffix)
            if extra.exists():
                extra.rename(aside.with_name(aside.name + suffix))
        logger.error("The stream log %s is damaged (%s). It was set aside as %s, and a new one begun.", self.path, error, aside)

    async def close(self) -> None:
        if self._writer is None or self._readers is None:
            return
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._writer.join)
        await self._loop.run_in_executor(None, self._readers.shutdown)
        self._writer = None
        self._read_db.close()
        self._write_db.close()

    # threads

    def _write_loop(self) -> None:
        stop = False
        while not stop:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            work = [item for item in batch if item is not None]
            stop = len(work) < len(batch)
            if work:
                results = self._commit([function for function, _ in work])
                futures = [future for _, future in work]
                try:
                    self._loop.call_soon_threadsafe(_resolve, futures, results)
                except RuntimeError:
                    return  # the loop is closed: nobody waits for the answers

    def _commit(self, work: list[Work]) -> list[Any]:
        """Do all in one transaction; the results, an exception where one failed by itself."""
        db = self._write_db
        try:
            db.execute("BEGIN IMMEDIATE")
            results: list[Any] = []
            for function in work:
                try:
                    results.append(function(db))
                except (Gap, Gone) as refusal:
                    results.append(refusal)
            db.execute("COMMIT")
            return results
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            failure = LogError(f"The stream log {self.path} could not be written: {error}.")
            return [failure] * len(work)

    async def _write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._writer is None:
            raise LogError("The stream log is closed.")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put((function, future))
        return await future

    async def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._readers is None:
            raise LogError("The stream log is closed.")
        try:
            return await self._loop.run_in_executor(self._readers, function, self._read_db)
        except sqlite3.Error as error:
            raise LogError(f"The stream log {self.path} could not be read: {error}.") from error
        except RuntimeError as error:
            raise LogError("The stream log is closed.") from error

    # the protocol

    async def append(self, stream: str, seq: int, events: Sequence[bytes], meta: Meta | None = None) -> int:
        return await self._write(lambda db: _append(db, stream, seq, events, meta))

    async def read(
        self, stream: str, after: int, *, limit: int = 1000, max_bytes: int = 1 << 20
    ) -> list[tuple[int, bytes]]:
        def rows(db: sqlite3.Connection) -> list[tuple[int, bytes]]:
            found: list[tuple[int, bytes]] = []
            size = 0
            with closing(
                db.execute(
                    "SELECT seq, event FROM events WHERE stream = (SELECT number FROM streams WHERE id = ?)"
                    " AND seq > ? ORDER BY seq LIMIT ?",
                    (stream, after, limit),
                )
            ) as cursor:
                for row in cursor:
                    found.append(row)
                    size += len(row[1])
                    if size >= max_bytes:
                        break
            return found

        return await self._read(rows)

    async def entry(self, stream: str) -> Entry | None:
        return await self._read(lambda db: _find(db, stream))

    async def entries(
        self, *, status: str | None = None, kind: str | None = None, path: str | None = None, limit: int = 1000
    ) -> list[Entry]:
        wanted = {"status": status, "kind": kind, "path": path}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(["deleted = 0", *[f"{name} = ?" for name in given]])
        sql = f"SELECT {COLUMNS} FROM streams WHERE {where} ORDER BY number DESC LIMIT ?"
        return await self._read(lambda db: [_entry(row) for row in db.execute(sql, (*given.values(), limit))])

    async def snapshot(self, stream: str) -> bytes | None:
        def saved(db: sqlite3.Connection) -> bytes | None:
            row = db.execute("SELECT snapshot FROM streams WHERE id = ?", (stream,)).fetchone()
            return row[0] if row else None

        return await self._read(saved)

    async def save_snapshot(self, stream: str, snapshot: bytes) -> None:
        sql = "UPDATE streams SET snapshot = ? WHERE id = ? AND deleted = 0"
        await self._write(lambda db: db.execute(sql, (snapshot, stream)) and None)

    async def delete(self, stream: str) -> None:
        await self._write(lambda db: _delete(db, [stream]))

    async def expire(self, *, max_age: float, max_streams: int, max_bytes: int) -> list[str]:
        entries = await self.entries(limit=-1)
        gone = expired(entries, max_age=max_age, max_streams=max_streams, max_bytes=max_bytes)
        oldest = time.time() - TOMBSTONE_SECONDS

        def tidy(db: sqlite3.Connection) -> None:
            _delete(db, gone)
            db.execute("DELETE FROM streams WHERE deleted = 1 AND updated < ?", (oldest,))

        await self._write(tidy)
        return gone


def _resolve(futures: list[asyncio.Future[Any]], results: list[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.cancelled():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def _damaged(error: sqlite3.DatabaseError) -> bool:
    text = str(error)
    return "not a database" in text or "malformed" in text or "no such table" in text or "no such column" in text


def _find(db: sqlite3.Connection, stream: str) -> Entry | None:
    row = db.execute(f"SELECT {COLUMNS} FROM streams WHERE id = ?", (stream,)).fetchone()
    return _entry(row) if row else None


def _append(db: sqlite3.Connection, stream: str, seq: int, events: Sequence[bytes], meta: Meta | None) -> int:
    entry = _find(db, stream)
    if entry is not None and entry.deleted:
        raise Gone(stream)
    last = entry.seq if entry else 0
    if seq > last + 1:
        raise Gap(last)
    new = events[last + 1 - seq :]
    if not new:
        return last
    if entry is None:
        now = time.time()
        entry = Entry(id=stream, created=now, updated=now)
    entry = updated_entry(entry, new, meta)
    values = msgspec.structs.astuple(entry)
    names = COLUMNS.split(", ")
    db.execute(
        f"INSERT INTO streams ({COLUMNS}) VALUES ({', '.join('?' * len(names))})"
        f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in names[1:])}",
        values,
    )
    number = db.execute("SELECT number FROM streams WHERE id = ?", (stream,)).fetchone()[0]
    db.executemany(
        "INSERT INTO events VALUES (?, ?, ?)", [(number, index, event) for index, event in enumerate(new, last + 1)]
    )
    return entry.seq


def _delete(db: sqlite3.Connection, streams: list[str]) -> None:
    for stream in streams:
        db.execute("DELETE FROM events WHERE stream = (SELECT number FROM streams WHERE id = ?)", (stream,))
        db.execute(
            "UPDATE streams SET deleted = 1, first = seq + 1, bytes = 0, title = NULL, path = NULL, snapshot = NULL,"
            " updated = ? WHERE id = ?",
            (time.time(), stream),
        )
