"""A file that others write: its last lines, then what is added, also when another takes its place.

The file is looked at when `read` is called, and not watched: so it may be on any file system.

- Renamed, and a new one made (logrotate's `create`): the old one is read to its end, then the new one.
- Copied and emptied (`copytruncate`): it is read from its beginning. What was written between the last look and the
  copying is in the copy only.
- Deleted, or not there yet: it is waited for.
"""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from typing import Literal

__all__ = ["Change", "Tail"]

Change = Literal["missing", "new", "emptied", "unreadable"]

READ = 256 << 10
BLOCK = 64 << 10


class Tail:
    """One file, by its path; `lines` of what is in it already are given first.

    Raises
    ------
    IsADirectoryError
        If it is a directory.
    """

    def __init__(self, path: str | os.PathLike[str], lines: int) -> None:
        self.path = Path(path)
        self.problem: OSError | None = None
        self._file: FileIO | None = None
        self._lines = lines
        self._is_first = True
        self._change: Change | None = None
        if self.path.is_dir():
            raise IsADirectoryError(f"{self.path} is a directory: name a file in it")

    def read(self) -> bytes:
        """What has been added, b"" if nothing has; at most `READ` bytes."""
        file = self._file
        if file is not None:
            data = file.read(READ)
            if not data and self._is_another(file):
                data = file.read(READ)  # it may have been written to its very end
            elif not data:
                return b""
            if data:
                return data
        return self._file.read(READ) if self._open() and self._file is not None else b""

    def change(self) -> Change | None:
        """What has become of the file since this was asked last: what `read` gave last comes after it."""
        change, self._change = self._change, None
        return change

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _is_another(self, file: FileIO) -> bool:
        """The path is that of another file now; one that was emptied is begun again."""
        try:
            now = self.path.stat()
        except OSError:
            return False  # it was deleted, and whoever wrote it may still do so
        old = os.fstat(file.fileno())
        if (now.st_dev, now.st_ino) != (old.st_dev, old.st_ino):
            return True
        if old.st_size < file.tell():
            file.seek(0)
            self._change = "emptied"
        return False

    def _open(self) -> bool:
        was_first, self._is_first = self._is_first, False
        try:
            file = FileIO(self.path)
        except OSError as error:
            if self._file is None and (was_first or type(error) is not type(self.problem)):
                self._change = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
            self.problem = error
            return False
        self.problem = None
        if was_first:
            _seek_lines(file, self._lines)
        else:
            self._change = "new"
        self.close()
        self._file = file
        return True


def _seek_lines(file: FileIO, lines: int) -> None:
    """Go to the beginning of the last lines; one without its end counts."""
    at = file.seek(0, os.SEEK_END)
    if lines < 1:
        return
    found = -1
    last = True
    while at > 0:
        size = min(BLOCK, at)
        at -= size
        file.seek(at)
        block = file.read(size)
        if last and not block.endswith(b"\n"):
            found = 0
        last = False
        breaks = block.count(b"\n")
        if found + breaks >= lines:
            index = len(block)
            for _ in range(lines - found):
                index = block.rindex(b"\n", 0, index)
            file.seek(at + index + 1)
            return
        found += breaks
    file.seek(0)
