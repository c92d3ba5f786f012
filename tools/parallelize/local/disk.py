"""The local cloud's disk: one SQLite database, and a file for each large body.

What a client was told is done has reached the kernel by then, so it survives the end of this
process, however it ends. After a power cut, at most the last seconds are missing.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

DATABASE = "data.sqlite"
FILES = "objects"

INLINE_BYTES = 64 * 1024
"""Bodies up to this size are in the database: a file costs more than a small body does."""

CHECKPOINT_PAGES = 8_000

DEFAULT_QUOTA_BYTES = 100 * 10**9
"""How many bytes objects and parts may take together by default."""

SCHEMA = """
create table if not exists limits (quota_bytes integer);
create table if not exists buckets (name text primary key, region text, created real);
create table if not exists settings (
    bucket text, name text, body blob, primary key (bucket, name));
create table if not exists objects (
    bucket text, key text, size integer, etag text, modified real, headers text, file text,
    body blob, primary key (bucket, key));
create table if not exists uploads (
    id text primary key, bucket text, key text, headers text, started real);
create table if not exists parts (
    upload text, number integer, size integer, etag text, checksum text, modified real, file text,
    primary key (upload, number));
create table if not exists queues (
    name text primary key, attributes text, tags text, created real);
create table if not exists messages (
    number integer primary key, queue text, id text, body text, attributes text, sent_at real,
    visible_at real, receives integer, first_received real, received_at real);
create index if not exists messages_by_queue on messages (queue);
"""


class QuotaError(Exception):
    """The quota is used up."""


class Disk:
    """The state folder's database and files. Only one thread at a time may use the database."""

    def __init__(self, folder: Path, quota_bytes: int = DEFAULT_QUOTA_BYTES) -> None:
        self.quota_bytes = quota_bytes
        self._files = folder / FILES
        self._files.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / DATABASE).touch(mode=0o600)
        self._database = sqlite3.connect(
            folder / DATABASE, isolation_level=None, check_same_thread=False
        )
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = normal")
        self._database.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self._database.executescript(SCHEMA)
        self._database.execute("delete from limits")
        self._database.execute("insert into limits values (?)", (quota_bytes,))
        self.execute = self._database.execute
        self.executemany = self._database.executemany
        self.used_bytes = _used(self._database)
        self._doomed: list[Path] = []
        self._remove_orphans()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Apply all changes of a block, or none."""
        used = self.used_bytes
        self.execute("begin immediate")
        try:
            yield
        except BaseException:
            self.execute("rollback")
            self.used_bytes = used
            self._doomed.clear()
            raise
        self.execute("commit")
        while self._doomed:
            self._doomed.pop().unlink(missing_ok=True)

    def reserve(self, size: int) -> None:
        """Raise QuotaError if that many more bytes would exceed the quota."""
        if self.used_bytes + size > self.quota_bytes:
            raise QuotaError

    def path(self, name: str) -> Path:
        """Return a file's path."""
        return self._files / name[:2] / name

    def write_file(self, body: bytes) -> str:
        """Write a body to a new file, from any thread; return its name."""
        name, path = self.new_file()
        with path.open("wb") as file:
            file.write(body)
        return name

    def new_file(self) -> tuple[str, Path]:
        """Return an unused name, and its path."""
        name = uuid.uuid4().hex
        path = self.path(name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return name, path

    def remove_file(self, name: str | None) -> None:
        """Remove a file that nothing refers to any more; in a transaction, at its end."""
        if name is None:
            return
        if self._database.in_transaction:
            self._doomed.append(self.path(name))
        else:
            self.path(name).unlink(missing_ok=True)

    def close(self) -> None:
        """Write everything back into one file."""
        self._database.close()

    def _remove_orphans(self) -> None:
        """Remove files that an earlier process wrote but never referred to."""
        known = {
            name
            for table in ("objects", "parts")
            for (name,) in self.execute(f"select file from {table} where file is not null")  # noqa: S608
        }
        for path in self._files.glob("*/*"):
            if path.name not in known:
                path.unlink()


@dataclass(frozen=True)
class Kept:
    """What a state folder holds; `oldest_seconds` is the age of the oldest object."""

    objects: int
    used_bytes: int
    quota_bytes: int
    oldest_seconds: float
    messages: int


def kept_in(folder: Path) -> Kept | None:
    """Return what a state folder holds, even if its local cloud is not running; None if nothing."""
    path = folder / DATABASE
    if not path.exists():
        return None
    # The log next to the database is part of it, and only a writable connection reads it.
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as database:
        objects, oldest = database.execute("select count(*), min(modified) from objects").fetchone()
        (messages,) = database.execute("select count(*) from messages").fetchone()
        age = time.time() - oldest if objects else 0.0
        (quota,) = database.execute("select quota_bytes from limits").fetchone()
        return Kept(objects, _used(database), quota, age, messages)


def has_run(folder: Path, run: str) -> bool:
    """Whether a state folder holds a run of this name, even if its local cloud is not running."""
    path = folder / DATABASE
    if not path.exists():
        return False
    end = f"runs/{run}/run.json"
    query = "select 1 from objects where substr(key, ?) = ? limit 1"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as database:
        return database.execute(query, (-len(end), end)).fetchone() is not None


def _used(database: sqlite3.Connection) -> int:
    sums = [
        database.execute(f"select coalesce(sum(size), 0) from {table}").fetchone()[0]  # noqa: S608
        for table in ("objects", "parts")
    ]
    return int(sum(sums))
