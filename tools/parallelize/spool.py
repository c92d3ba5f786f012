"""Lists and tables with a row for each file of a run, which may have millions: on disk.

What is small stays in memory. The files are in the user's cache, and have no names, so they are
gone when the process is.
"""

from __future__ import annotations

import heapq
import marshal
import os
import sqlite3
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from platformdirs import user_cache_path

from parallelize.console import escape
from parallelize_core.errors import UsageError
from parallelize_core.transport.sinks import write_all

Item = TypeVar("Item")
Other = TypeVar("Other")

Row = tuple[Any, ...]
"""Texts, numbers and bytes, as marshal writes them."""

BATCH = 250
"""Rows that are read and written at a time."""

SORTED_ROWS = 20_000
"""Rows that are sorted in memory, which takes some 10 MB."""

FEW_ROWS = 20_000
"""A table with more rows than this goes to disk."""

FEW_BYTES = 4 * 1024 * 1024
"""So does one with more than this: the line of a job may name thousands of files."""

_PARTS = 64

_CACHE_KIB = 1024
"""Of each table, what SQLite keeps in memory; some commands have a dozen tables."""


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut items into lists of `size`; the last may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


class Spooled(Generic[Item]):
    """A list that only grows; `pack` makes a row of an item, which `unpack` takes as arguments."""

    def __init__(self, pack: Callable[[Item], Row], unpack: Callable[..., Item]) -> None:
        self._pack = pack
        self._unpack = unpack
        self._rows = _Rows()

    def append(self, item: Item) -> None:
        """Add an item."""
        self._rows.append(self._pack(item))

    def append_row(self, *row: Any) -> None:
        """Add an item by its row."""
        self._rows.append(row)

    def firsts(self) -> Iterator[Any]:
        """Go through the first value of each row, without making an item."""
        return (row[0] for row in self._rows)

    def extend(self, items: Iterable[Item]) -> None:
        """Add items."""
        for item in items:
            self._rows.append(self._pack(item))

    def as_other(
        self, pack: Callable[[Other], Row], unpack: Callable[..., Other]
    ) -> Spooled[Other]:
        """Return the same rows as other items."""
        other = Spooled(pack, unpack)
        other._rows = self._rows
        return other

    def __iter__(self) -> Iterator[Item]:
        """Go through all items from the first; those that come meanwhile may be missing."""
        unpack = self._unpack
        return (unpack(*row) for row in self._rows)

    def __len__(self) -> int:
        return self._rows.count

    def in_order(self, key: Callable[[Row], Any]) -> Spooled[Item]:
        """Return the items in the order of a key of their rows; equal ones keep theirs."""
        runs = []
        for rows in batches(self._rows, SORTED_ROWS):
            run = _Rows()
            for row in sorted(rows, key=key):
                run.append(row)
            runs.append(run)
        ordered = Spooled(self._pack, self._unpack)
        ordered._rows = runs[0] if len(runs) == 1 else _Rows()
        if len(runs) > 1:
            for row in heapq.merge(*runs, key=key):
                ordered._rows.append(row)
        return ordered


def spooled_texts(texts: Iterable[str]) -> Spooled[str]:
    """Return a list of texts."""
    spooled = Spooled(lambda text: (text,), str)
    spooled.extend(texts)
    return spooled


class _Rows:
    """Rows in a file, but for the last few."""

    def __init__(self) -> None:
        self.count = 0
        self._last: list[Row] = []
        self._ends = [0]
        self._file: IO[bytes] | None = None

    def append(self, row: Row) -> None:
        self._last.append(row)
        self.count += 1
        if len(self._last) == BATCH:
            self._write(marshal.dumps(self._last))
            self._last = []

    def _write(self, content: bytes) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=_folder(), buffering=0)  # noqa: SIM115 - kept
            write_all(self._file.fileno(), content, self._ends[-1])
        except OSError as error:
            raise _no_room(error) from None
        self._ends.append(self._ends[-1] + len(content))

    def __iter__(self) -> Iterator[Row]:
        place = 0
        while self._file and place < len(self._ends) - 1:
            start, end = self._ends[place : place + 2]
            yield from _read(os.pread(self._file.fileno(), end - start, start))
            place += 1
        yield from self._last


class Table:
    """Rows by a text; its texts, at first `keys`, come in the order of their code points."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._few: dict[str, Row] = {}
        self._database: sqlite3.Connection | None = None
        self._count = self._bytes = 0
        for key in keys:
            self.add(key)

    def get(self, key: str) -> Row | None:
        """Return the row of a text, None if there is none."""
        if self._database is None:
            return self._few.get(key)
        found = self._ask("SELECT row FROM rows WHERE key = ?", _bytes(key)).fetchone()
        return _read(found[0]) if found else None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key) is not None

    def __len__(self) -> int:
        return self._count

    def add(self, key: str, row: Row = ()) -> bool:
        """Add a row unless the text has one; return whether it had none."""
        if self._database is None:
            return self._add_to_few(key, row)
        statement = "INSERT OR IGNORE INTO rows VALUES (?, ?)"
        is_new = self._ask(statement, _bytes(key), marshal.dumps(row)).rowcount == 1
        self._count += is_new
        return is_new

    def put(self, key: str, row: Row) -> None:
        """Give a text a row, in place of its former one."""
        if self.add(key, row):
            return
        if self._database is None:
            self._keep(key, row)
        else:
            statement = "UPDATE rows SET row = ? WHERE key = ?"
            self._ask(statement, marshal.dumps(row), _bytes(key))

    def remove(self, key: str) -> None:
        """Remove a text, which is there."""
        self._count -= 1
        if self._database is None:
            del self._few[key]
        else:
            self._ask("DELETE FROM rows WHERE key = ?", _bytes(key))

    def __iter__(self) -> Iterator[str]:
        """Go through the texts in order."""
        return (key for key, _ in self.items())

    def items(self) -> Iterator[tuple[str, Row]]:
        """Go through the texts with their rows, in order; rows may change meanwhile."""
        if self._database is None:
            for key in sorted(self._few):
                # Rows that have grown meanwhile may have moved all of them to disk.
                if (row := self.get(key)) is not None:
                    yield key, row
            return
        start = b""
        statement = "SELECT key, row FROM rows WHERE key >= ? ORDER BY key LIMIT ?"
        while found := self._ask(statement, start, BATCH).fetchall():
            for key, row in found:
                yield key.decode(errors="surrogatepass"), _read(row)
            start = found[-1][0] + b"\0"

    def values(self) -> Iterator[Row]:
        """Go through the rows, in the order of their texts."""
        return (row for _, row in self.items())

    def _add_to_few(self, key: str, row: Row) -> bool:
        if key in self._few:
            return False
        self._count += 1
        self._keep(key, row)
        return True

    def _keep(self, key: str, row: Row) -> None:
        self._few[key] = row
        self._bytes += len(key) + len(marshal.dumps(row))
        if self._count > FEW_ROWS or self._bytes > FEW_BYTES:
            self._move_to_disk()

    def _move_to_disk(self) -> None:
        try:
            self._database = _nameless_database()
            rows = ((_bytes(key), marshal.dumps(self._few[key])) for key in sorted(self._few))
            self._database.executemany("INSERT INTO rows VALUES (?, ?)", rows)
        except (OSError, sqlite3.Error) as error:
            raise _no_room(error) from None
        self._few.clear()

    def _ask(self, statement: str, *values: bytes | int) -> sqlite3.Cursor:
        if self._database is None:
            raise AssertionError("the table is in memory")
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise _no_room(error) from None


class Hashes:
    """Eight bytes for each of many texts: enough to find the few that are worth comparing."""

    def __init__(self) -> None:
        # Sorting takes five times the memory, so only a part is sorted at a time.
        self._parts = [array("q") for _ in range(_PARTS)]

    def add(self, text: str) -> None:
        """Add a text."""
        found = hash(text)
        self._parts[found % _PARTS].append(found)

    def repeated(self) -> set[int]:
        """Return the hashes that occur more than once."""
        every = (pairwise(sorted(part)) for part in self._parts)
        return {one for part in every for one, other in part if one == other}

    def common(self, others: Hashes) -> set[int]:
        """Return the hashes that others have, too."""
        both = zip(self._parts, others._parts, strict=True)
        return set().union(*({*mine} & {*theirs} for mine, theirs in both if mine and theirs))


def _read(content: bytes) -> Any:
    return marshal.loads(content)  # noqa: S302 - from a file that only this process has


def _bytes(key: str) -> bytes:
    return key.encode(errors="surrogatepass")


def _nameless_database() -> sqlite3.Connection:
    """Open a database whose file has no name any more; it is never committed, nor undone."""
    with tempfile.TemporaryDirectory(prefix=".spool-", dir=_folder()) as folder:
        # One thread at a time uses it; in a notebook, the loop has one of its own.
        database = sqlite3.connect(
            Path(folder) / "rows", isolation_level=None, check_same_thread=False
        )
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("BEGIN EXCLUSIVE")
        database.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID")
    return database


def _folder() -> Path | None:
    folder = user_cache_path("parallelize")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None  # then the system's folder for temporary files has to do
    return folder if os.access(folder, os.W_OK) else None


def _no_room(error: Exception) -> UsageError:
    place = _folder() or tempfile.gettempdir()
    return UsageError(
        f"the list of files cannot be written to {escape(str(place))}", str(error),
        "free some space there, or set XDG_CACHE_HOME to another folder",
    )  # fmt: skip
