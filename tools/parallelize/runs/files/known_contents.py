"""What files held when they were last read, so that an unchanged file costs only a stat.

As in git's index, a file counts as unchanged while its device, inode, size and both of its times
are the same, and these were old when it was read. A file that was written just before it was read
is not remembered, because a second write within the same clock tick would not show.

The memory is in the user's cache, for all projects. Without it everything is read again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import NamedTuple, Self

from platformdirs import user_cache_path

from parallelize.transfers import Fingerprint, fingerprint

TICK_NS = 2_000_000_000
"""The coarsest file system clock in use, FAT's."""

KEPT_DAYS = 90
"""Older entries are forgotten, so that files that are gone do not take up space forever."""

_DAY_NS = 24 * 3600 * 10**9

_TABLE = """
CREATE TABLE IF NOT EXISTS contents_1 (
    path BLOB PRIMARY KEY, stamp TEXT, read_ns INTEGER, size INTEGER, etag TEXT, sha256 TEXT
) WITHOUT ROWID
"""


class _Stamp(NamedTuple):
    """What changes when a file's content does."""

    text: str
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path | str) -> Self:
        found = os.stat(path)  # noqa: PTH116 - making a Path takes longer than the call
        modified, changed = found.st_mtime_ns, found.st_ctime_ns
        text = f"{found.st_dev}:{found.st_ino}:{found.st_size}:{modified}:{changed}"
        return cls(text, modified, max(modified, changed))


class KnownContents:
    """What is remembered, for any thread to ask. `database` is None if nothing can be stored."""

    def __init__(
        self, database: sqlite3.Connection | None, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._database = database
        self._folder = Path.cwd()
        self._clock_ns = clock_ns
        self._lock = Lock()

    def find(self, path: Path | str, *, etag: bool = False) -> Fingerprint | None:
        """Return what a file holds if that is known, with `etag` only if its ETag is known, too.

        Raises OSError if the file does not exist.
        """
        stamp = _Stamp.of(path)
        row = self._ask("SELECT stamp, size, etag, sha256 FROM contents_1 WHERE path = ?", path)
        is_same = row is not None and row[0] == stamp.text
        known = Fingerprint(*row[1:], stamp.modified_ns) if row and is_same else None
        return None if known and etag and not known.etag else known

    def read(self, path: Path) -> Fingerprint:
        """Return what a file holds, and read it if that is not known."""
        return self.find(path) or self.learn(path)

    def learn(
        self, path: Path | str, *, etag: bool = False, stopping: Event | None = None
    ) -> Fingerprint:
        """Read a file, and remember what it holds; raise CancelledError once `stopping` is set."""
        stamp, now = _Stamp.of(path), self._clock_ns()
        content = fingerprint(path, etag=etag, stopping=stopping)
        if stamp.changed_ns < now - TICK_NS and stamp == _Stamp.of(path):
            self._keep(path, stamp, now, content)
        return content

    def _keep(self, path: Path | str, stamp: _Stamp, now: int, content: Fingerprint) -> None:
        self._ask(
            "INSERT OR REPLACE INTO contents_1 VALUES (?, ?, ?, ?, ?, ?)",
            path, stamp.text, now, content.size, content.etag, content.sha256,
        )  # fmt: skip

    def _ask(
        self, statement: str, path: Path | str, *values: object
    ) -> tuple[str, int, str, str] | None:
        if self._database is None:
            return None
        # As Path.absolute: what a link or .. leads to may change.
        place = os.fsencode(os.path.join(self._folder, path))  # noqa: PTH118
        try:
            with self._lock:
                found = self._database.execute(statement, (place, *values))
                row: tuple[str, int, str, str] | None = found.fetchone()
        except sqlite3.Error:
            self._database = None  # full, broken, or locked by another command for long
            return None
        return row


@contextmanager
def known_contents(place: Path | None = None) -> Iterator[KnownContents]:
    """Open the memory in `place`, a folder of the cache, and save what was added to it."""
    database = _open(place or user_cache_path("parallelize"))
    try:
        yield KnownContents(database)
    finally:
        if database is not None:
            _close(database)


def _open(folder: Path) -> sqlite3.Connection | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Threads take turns, see the lock.
        database = sqlite3.connect(folder / "contents.sqlite", timeout=5, check_same_thread=False)
        database.execute("PRAGMA synchronous = OFF")
        database.execute(_TABLE)
        return database
    except (OSError, sqlite3.Error):
        return None


def _close(database: sqlite3.Connection) -> None:
    try:
        if database.in_transaction:
            oldest = time.time_ns() - KEPT_DAYS * _DAY_NS
            database.execute("DELETE FROM contents_1 WHERE read_ns < ?", (oldest,))
        database.commit()
    except sqlite3.Error:
        pass  # files that are not in the record are read again
    finally:
        database.close()
