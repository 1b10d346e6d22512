"""The log in one SQLite file, which survives the server.

One thread writes, with group commit: what has queued up while a transaction was under way goes into the next one, so
that a commit to disk (`synchronous=FULL`) is shared by all who wait for it. Another thread reads, over its own
connection: with WAL a replay never waits for a writer, nor a writer for a replay.

Several processes may share the file. Each numbers only the streams it owns, and a (stream, seq) is unique.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from . import FRAMES, TOMBSTONE_SECONDS, Entry, Gap, Gone, LogError, Media, Meta, overdue

__all__ = ["SqliteLog"]

log = logging.getLogger(__name__)

T = TypeVar("T")
_Job = Callable[[sqlite3.Connection], Any]

APPLICATION = 0x6A535345  # "jSSE", at byte 68 of the file
SCHEMA = 3
BUSY_SECONDS = 5.0
"""How long to wait for another process that writes to the same file."""

CHECK_SECONDS = 2.0
"""How long opening may look for damage; a log is small, but nobody waits for a large one."""

WAL_BYTES = 64 << 20
"""The write-ahead log is cut back to this after a checkpoint."""

_TABLES = """
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
    producer TEXT,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    cell TEXT,
    execution TEXT,
    kernel TEXT,
    dismissed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE events (
    key INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);
CREATE TABLE snapshots (
    stream INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);
"""
_MEDIA = """
CREATE TABLE media (
    number INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    name TEXT NOT NULL,
    key TEXT,
    mime TEXT NOT NULL,
    size INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX media_names ON media (stream, name)
"""
# An event's key is (stream's number << 32) + seq. A key of two columns costs either a second tree or, WITHOUT ROWID,
# a page of its own for every event above 1 kB.
_MIGRATIONS = {
    1: """
ALTER TABLE streams ADD COLUMN cell TEXT;
ALTER TABLE streams ADD COLUMN execution TEXT;
ALTER TABLE streams ADD COLUMN kernel TEXT;
ALTER TABLE streams ADD COLUMN dismissed INTEGER NOT NULL DEFAULT 0
""",
    2: _MEDIA,
}
"""What makes the schema of a number that of the next."""

_FIELDS = Entry.__struct_fields__
_ENTRY = f"SELECT {', '.join(_FIELDS)} FROM streams"


class SqliteLog:
    """Streams in the file `path`, which is made for its owner alone (0600) if it does not exist.

    A file that is damaged is set aside as ``<name>.damaged-<time>``, and a new one begun.
    """

    problem: str | None = None

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path).absolute()
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: list[tuple[_Job, asyncio.Future[Any]]] = []
        self._draining = False
        self._opened = False

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._writing = ThreadPoolExecutor(1, "jupyter_sse log writer")
        self._reading = ThreadPoolExecutor(1, "jupyter_sse log reader")
        try:
            self._writer, self._reader = await self._on(self._writing, self._open)
        except BaseException:
            self._writing.shutdown(wait=False)
            self._reading.shutdown(wait=False)
            raise
        self._opened = True

    async def close(self) -> None:
        if not self._opened:
            return
        self._opened = False
        await self._on(self._reading, self._reader.close)
        await self._on(self._writing, self._writer.close)  # queued behind what is pending
        self._reading.shutdown()
        self._writing.shutdown()

    async def append(self, stream: str, seq: int, events: Sequence[bytes], meta: Meta | None = None) -> int:
        if seq < 1:
            raise ValueError(f"events are numbered from 1, not {seq}")
        last: int = await self._write(lambda db: self._append(db, stream, seq, events, meta or Meta()))
        return last

    async def read(
        self, stream: str, after: int, *, limit: int = 1000, max_bytes: int = 1 << 20
    ) -> list[tuple[int, bytes]]:
        def select(db: sqlite3.Connection) -> list[tuple[int, bytes]]:
            rows = db.execute(
                "SELECT key & 0xFFFFFFFF, data FROM streams, events WHERE id = ?"
                " AND key > (number << 32) + ? AND key < (number + 1) << 32 ORDER BY key LIMIT ?",
                (stream, max(after, 0), limit),
            )
            found: list[tuple[int, bytes]] = []
            size = 0
            for row in rows:
                size += len(row[1])
                if found and size > max_bytes:
                    break
                found.append(row)
            rows.close()
            return found

        return await self._read(select)

    async def entry(self, stream: str) -> Entry | None:
        found = await self._select(f"{_ENTRY} WHERE id = ?", stream)
        return found[0] if found else None

    async def entries(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        path: str | None = None,
        kernel: str | None = None,
        limit: int = 1000,
    ) -> list[Entry]:
        wanted = {"status": status, "kind": kind, "path": path, "kernel": kernel}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        where = "".join(f" AND {name} = ?" for name in wanted)
        return await self._select(
            f"{_ENTRY} WHERE NOT deleted{where} ORDER BY number DESC LIMIT ?", *wanted.values(), limit
        )

    async def update(self, stream: str, meta: Meta) -> None:
        known = meta.known
        if known:
            changes = ", ".join(f"{name} = ?" for name in known)
            await self._execute(f"UPDATE streams SET {changes} WHERE id = ? AND NOT deleted", *known.values(), stream)

    async def snapshot(self, stream: str) -> bytes | None:
        row = await self._read(
            lambda db: db.execute(
                "SELECT data FROM snapshots WHERE stream = (SELECT number FROM streams WHERE id = ?)", (stream,)
            ).fetchone()
        )
        return row[0] if row else None

    async def save_snapshot(self, stream: str, snapshot: bytes) -> None:
        await self._execute(
            "INSERT OR REPLACE INTO snapshots SELECT number, ? FROM streams WHERE id = ? AND NOT deleted",
            snapshot,
            stream,
        )

    async def put_media(
        self, stream: str, name: str, mime: str, data: bytes, *, key: str | None, keep: int, room: int = 0
    ) -> int:
        grown: int = await self._write(lambda db: self._put_media(db, stream, name, mime, data, key, keep, room))
        return grown

    async def media(self, stream: str, name: str, start: int = 0, length: int = 1 << 20) -> Media | None:
        def select(db: sqlite3.Connection) -> Media | None:
            db.execute("BEGIN")  # it may be deleted between the statements
            try:
                row = db.execute(
                    "SELECT number, mime, size FROM media"
                    " WHERE stream = (SELECT number FROM streams WHERE id = ?) AND name = ?",
                    (stream, name),
                ).fetchone()
                if row is None:
                    return None
                number, mime, size = row
                return Media(mime, size, _part(db, number, start, min(length, size - start)))
            finally:
                db.execute("COMMIT")

        return await self._read(select)

    async def touch(self, streams: Sequence[str]) -> None:
        now = self._clock()
        statement = "UPDATE streams SET updated = ? WHERE id = ? AND status = 'running' AND NOT deleted"
        await self._write(lambda db: db.executemany(statement, [(now, stream) for stream in streams]).rowcount)

    async def delete(self, stream: str) -> None:
        await self._write(lambda db: self._delete(db, stream))

    async def expire(self, *, max_age: float, max_streams: int, max_bytes: int) -> list[str]:
        now = self._clock()
        ended = await self._select(f"{_ENTRY} WHERE NOT deleted AND status != 'running' ORDER BY number")
        found = overdue(ended, now, max_age=max_age, max_streams=max_streams, max_bytes=max_bytes)
        for stream in found:  # one by one, so that an append waits for one of them at most
            await self.delete(stream)
        await self._execute("DELETE FROM streams WHERE deleted AND ? - updated > ?", now, TOMBSTONE_SECONDS)
        if found:
            await self._on(self._writing, self._shrink)
        return found

    # statements; they run in the writer's thread, within a transaction

    def _append(self, db: sqlite3.Connection, stream: str, seq: int, events: Sequence[bytes], meta: Meta) -> int:
        row = db.execute("SELECT number, seq, deleted FROM streams WHERE id = ?", (stream,)).fetchone()
        number, last, deleted = row or (None, 0, False)
        if deleted:
            raise Gone(stream)
        if seq > last + 1:
            raise Gap(last)
        new = events[last + 1 - seq :]
        if not new:
            return int(last)
        now = self._clock()
        if number is None:
            added = db.execute(
                "INSERT INTO streams (id, seq, first, bytes, status, created, updated)"
                " VALUES (?, 0, 1, 0, 'running', ?, ?)",
                (stream, now, now),
            )
            number = added.lastrowid or 0  # always given after an INSERT
        db.executemany("INSERT INTO events VALUES (?, ?)", enumerate(new, (number << 32) + last + 1))
        last += len(new)
        known = meta.known
        changes = "".join(f", {name} = ?" for name in known)
        db.execute(
            f"UPDATE streams SET seq = ?, bytes = bytes + ?, updated = ?{changes} WHERE number = ?",
            (last, sum(map(len, new)), now, *known.values(), number),
        )
        return int(last)

    def _put_media(
        self,
        db: sqlite3.Connection,
        stream: str,
        name: str,
        mime: str,
        data: bytes,
        key: str | None,
        keep: int,
        room: int,
    ) -> int:
        row = db.execute("SELECT number FROM streams WHERE id = ? AND NOT deleted", (stream,)).fetchone()
        if row is None:
            raise Gone(stream)
        (number,) = row
        db.execute(
            "INSERT INTO media (stream, name, key, mime, size, data) VALUES (?, ?, ?, ?, ?, ?)",
            (number, name, key, mime, len(data), data),
        )
        old = db.execute(
            "SELECT number, size FROM (SELECT number, size, row_number() OVER newest AS place, sum(size) OVER newest AS"
            " total FROM media WHERE stream = ? AND key IS ? WINDOW newest AS (ORDER BY number DESC))"
            " WHERE place > ? AND (place > ? OR total > ?)",
            (number, key, keep, FRAMES, room),
        ).fetchall()
        db.executemany("DELETE FROM media WHERE number = ?", [(one,) for one, _ in old])
        grown: int = len(data) - sum(size for _, size in old)
        db.execute("UPDATE streams SET bytes = bytes + ? WHERE number = ?", (grown, number))
        return grown

    def _delete(self, db: sqlite3.Connection, stream: str) -> None:
        row = db.execute("SELECT number FROM streams WHERE id = ? AND NOT deleted", (stream,)).fetchone()
        if row is None:
            return
        db.execute("DELETE FROM events WHERE key > ?1 << 32 AND key < (?1 + 1) << 32", row)
        db.execute("DELETE FROM snapshots WHERE stream = ?", row)
        db.execute("DELETE FROM media WHERE stream = ?", row)
        db.execute(
            "UPDATE streams SET first = seq + 1, bytes = 0, kind = NULL, title = NULL, path = NULL, cell = NULL,"
            " execution = NULL, kernel = NULL, producer = NULL, dismissed = 0, updated = ?, deleted = 1"
            " WHERE number = ?",
            (self._clock(), *row),
        )

    def _shrink(self) -> None:
        """Give the room of deleted events back to the disk."""
        with suppress(sqlite3.Error):
            self._writer.executescript("PRAGMA incremental_vacuum")  # `execute` would do one page only

    # the two threads

    async def _on(self, thread: Executor, work: Callable[..., T], *args: Any) -> T:
        try:
            return await self._loop.run_in_executor(thread, work, *args)
        except (sqlite3.Error, OSError) as error:
            raise self._error("use", error) from error

    async def _read(self, select: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        try:
            return await self._loop.run_in_executor(self._reading, select, self._reader)
        except sqlite3.Error as error:
            raise self._error("read", error) from error

    async def _select(self, query: str, *values: object) -> list[Entry]:
        def select(db: sqlite3.Connection) -> list[Entry]:
            rows = [dict(zip(_FIELDS, row, strict=True)) for row in db.execute(query, values)]
            return msgspec.convert(rows, list[Entry], strict=False)  # SQLite has no booleans

        return await self._read(select)

    async def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        future: asyncio.Future[T] = self._loop.create_future()
        with self._lock:
            self._pending.append((job, future))
            idle, self._draining = not self._draining, True
        if idle:
            self._writing.submit(self._drain)
        return await future

    async def _execute(self, statement: str, *values: object) -> None:
        await self._write(lambda db: db.execute(statement, values).rowcount)

    def _drain(self) -> None:
        """Commit what is pending, in groups, until nothing is."""
        while True:
            with self._lock:
                group, self._pending = self._pending, []
                self._draining = bool(group)
            if not group:
                return
            results = self._commit([job for job, _ in group])
            with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                self._loop.call_soon_threadsafe(_resolve, [future for _, future in group], results)

    def _commit(self, jobs: list[_Job]) -> list[Any]:
        """Run the jobs in one transaction; each one's result, or the exception it is to raise."""
        db = self._writer
        began = False
        try:
            db.execute("BEGIN IMMEDIATE")
            began = True
            results = [_attempt(job, db) for job in jobs]
            db.execute("COMMIT")
            return results
        except Exception as error:
            if db.in_transaction:  # SQLite may have rolled back by itself
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            if began and len(jobs) > 1:  # it may be the fault of one: the others are not to suffer
                return [self._commit([job])[0] for job in jobs]
            if isinstance(error, sqlite3.Error):
                return [self._error("write to", error) for _ in jobs]
            return [error for _ in jobs]

    def _check_open(self) -> None:
        if not self._opened:
            raise LogError(f"The log {self.path} is closed.")

    def _error(self, verb: str, error: Exception) -> LogError:
        reason = str(error)
        if "disk is full" in reason:
            reason += "; free some disk space"
        elif "disk I/O" in reason:  # also beyond a quota, or the largest size that a file may have
            reason += "; the disk may be full, or failing"
        elif "locked" in reason:
            reason += "; another process has been writing to it for too long"
        elif type(error) is sqlite3.DatabaseError:
            reason += "; it will be checked, and replaced if it is damaged, when the server starts again"
        return LogError(f"Cannot {verb} the log {self.path}: {reason}.")

    # opening

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    def _open(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return self._open_file()
        except sqlite3.DatabaseError as error:
            # "not a database" and "malformed" have no class of their own; what else is a DatabaseError is a subclass.
            if type(error) is not sqlite3.DatabaseError:
                raise
            aside = self._set_aside()
            log.error(
                "The log of streams %s is damaged (%s). It has been kept as %s, and a new one begun.",
                self.path,
                error,
                aside.name,
            )
            return self._open_file()

    def _open_file(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        # SQLite gives its -wal and -shm the mode of the file.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self.path.chmod(0o600)
        db = self._connect("rw")
        try:
            self._check_damage(db)
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts in a new file only
            # Where memory cannot be shared SQLite stays with a rollback journal: readers wait a little, that is all.
            with suppress(sqlite3.OperationalError):
                db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA secure_delete = FAST")
            self._prepare(db)
            return db, self._connect("ro")
        except BaseException:
            db.close()
            raise

    def _check_damage(self, db: sqlite3.Connection) -> None:
        deadline = time.monotonic() + CHECK_SECONDS
        db.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
        try:
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
        else:
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        finally:
            db.set_progress_handler(None, 0)

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the tables in a new file; refuse one that is not ours."""
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != APPLICATION:
            raise LogError(f"{self.path} is the database of another program. Set SSE.log_path to another file.")
        if version > SCHEMA:
            raise LogError(
                f"The log {self.path} was written by a newer jupyter_sse (schema {version}, this one knows {SCHEMA})."
                " Upgrade jupyter_sse, or set SSE.log_path to another file."
            )
        steps = [_MIGRATIONS[number] for number in range(version, SCHEMA)] if tables else [_TABLES, _MEDIA]
        for statement in ";".join(steps).split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")

    def _set_aside(self) -> Path:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
        while aside.exists():
            aside = aside.with_name(f"{aside.name}x")
        for suffix in ("", "-wal", "-journal"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").replace(f"{aside}{suffix}")
        Path(f"{self.path}-shm").unlink(missing_ok=True)
        return aside


def _part(db: sqlite3.Connection, number: int, start: int, length: int) -> bytes:
    """Some of what is kept as media. `substr` would read all of it each time, and a film is told in many parts."""
    if length <= 0:
        return b""
    if sys.version_info < (3, 11):  # which has no `blobopen`
        part: bytes
        (part,) = db.execute(
            "SELECT substr(data, ? + 1, ?) FROM media WHERE number = ?", (start, length, number)
        ).fetchone()
        return part
    with db.blobopen("media", "data", number, readonly=True) as blob:
        blob.seek(start)
        return blob.read(length)


def _attempt(job: _Job, db: sqlite3.Connection) -> Any:
    try:
        return job(db)
    except (Gap, Gone) as refusal:  # these come before the job has written anything
        return refusal


def _resolve(futures: list[asyncio.Future[Any]], results: list[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
