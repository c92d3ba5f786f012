"""Rows of a sheet: TSV, CSV or JSON lines; the first line names the columns.

A sheet is read from its start as often as needed, and never held in memory: it may have a million
rows. A row's number is that of its line in the file.

Each row is a job. A column has files if its header says so (`--input reads`), or if any of its
cells starts with s3:// or names an existing file; then every cell has to name a file or be empty. A
column whose cells all look like files, none of which exist, is taken for a mistake unless its name
says that they are outputs.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TextIO

from parallelize.console import escape, shown
from parallelize.runs.inputs.local_inputs import LocalInput, Refused, look_at
from parallelize.runs.jobs.spec import LINE, FileRef, JobSpec, row_name, value_name
from parallelize.spool import Table
from parallelize.units import plural
from parallelize_core.errors import UsageError
from parallelize_core.files import S3, file_refusal, variable_name

MAX_CELL_CHARACTERS = 30_000
"""The kernel takes arguments and variables of up to 128 KiB, whatever their characters are."""

Row = tuple[int, Sequence[str]]

_DELIMITERS = {".tsv": "\t", ".csv": ","}
_JSON = (".jsonl", ".ndjson")

_UNUSABLE = re.compile("[\0\ud800-\udfff\ufffe\uffff]")
"""What neither a variable nor an SQS message can carry."""

_MARK = re.compile(r"--(input|env)\s+")


@dataclass(frozen=True)
class Column:
    """A column; `is_input` is None unless the header says whether it has files."""

    name: str
    is_input: bool | None = None

    @classmethod
    def parse(cls, cell: str) -> Column:
        """Parse a cell of the header: a name, perhaps marked as `--input NAME` or `--env NAME`."""
        mark = _MARK.match(cell.strip())
        name = re.sub(r"[^\w-]+", "_", cell.strip()[mark.end() if mark else 0 :])
        return cls(name, mark[1] == "input" if mark else None)


@dataclass(frozen=True)
class Sheet:
    """A sheet in a file; anything wrong with it is a UsageError that names the row."""

    path: Path

    @cached_property
    def header(self) -> tuple[Column, ...]:
        """The columns, checked."""
        with self._opened() as text:
            return _checked(self, next(self._table(text), (1, ()))[1])

    def rows(self) -> Iterator[Row]:
        """Go through the rows below the header, each with a cell for every column."""
        width = len(self.header)
        with self._opened() as text:
            table = self._table(text)
            next(table, None)
            for number, cells in table:
                if len(cells) != width:
                    raise self._wrong(
                        number, f"it has {len(cells)} cells, but the header has {width}"
                    )
                self._check_cells(number, cells)
                yield number, cells

    def _check_cells(self, number: int, cells: Sequence[str]) -> None:
        # All cells at once, because this runs a million times.
        whole = "".join(cells)
        if len(whole) > MAX_CELL_CHARACTERS:
            limit = f"{MAX_CELL_CHARACTERS:,}"
            raise self._wrong(number, f"it has {len(whole):,} characters; {limit} are allowed")
        if found := _UNUSABLE.search(whole):
            raise self._wrong(number, f"a cell has the character U+{ord(found[0]):04X}")

    @contextmanager
    def _opened(self) -> Iterator[TextIO]:
        try:
            with self.path.open("rb") as file:
                wide = file.read(2) in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}
            encoding = "utf-16" if wide else "utf-8-sig"
            with self.path.open(encoding=encoding, newline="") as text:
                yield text
        except OSError as error:
            raise UsageError(
                f"the sheet {escape(str(self.path))} cannot be read", error.strerror,
                "run.inputs, or --inputs, names it with @",
            ) from None  # fmt: skip
        except UnicodeDecodeError:
            raise UsageError(f"{escape(str(self.path))} is not a sheet in UTF-8") from None

    def _table(self, text: TextIO) -> Iterator[Row]:
        if self.path.suffix.lower() in _JSON:
            return self._objects(text)
        return self._cells(text, _DELIMITERS[self.path.suffix.lower()])

    def _cells(self, text: TextIO, delimiter: str) -> Iterator[Row]:
        table = csv.reader(text, delimiter=delimiter, strict=True)
        while True:
            try:
                cells = next(table)
            except StopIteration:
                return
            except csv.Error as error:
                raise self._wrong(table.line_num, str(error)) from None
            if cells:
                yield table.line_num, cells

    def _objects(self, text: TextIO) -> Iterator[Row]:
        names: list[str] = []
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            found = self._object(number, line)
            if not names:
                names = list(found)
                yield number, names
            if other := [name for name in found if name not in names]:
                raise self._wrong(number, f'the first object has no "{escape(other[0])}"')
            yield number, [_as_text(found.get(name)) for name in names]

    def _object(self, number: int, line: str) -> Mapping[str, object]:
        try:
            # Numbers stay as they are written.
            found = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError) as error:
            raise self._wrong(number, f"it is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise self._wrong(number, 'it is not an object, as in {"sample": "A"}')
        return found

    def _wrong(self, number: int, why: str) -> UsageError:
        return UsageError(
            f"row {number} of {escape(str(self.path))} cannot be read", escape(why),
            "fix the row; nothing was sent",
        )  # fmt: skip


@dataclass(frozen=True)
class Lines:
    """`lines:FILE`: the lines of a file, or of stdin, that are not empty."""

    source: str
    folder: Path
    _stdin: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """Go through the lines, without their ends."""
        with self._opened() as text:
            for number, line in enumerate(text, 1):
                value = line.rstrip("\r\n")
                if value.strip():
                    yield number, (self._checked(number, value),)

    def _checked(self, number: int, value: str) -> str:
        if len(value) > MAX_CELL_CHARACTERS or _UNUSABLE.search(value):
            raise UsageError(
                f"line {number} of {escape(self.source)} cannot be an argument",
                f"it has {len(value):,} characters, or one that no program can be given",
                "fix the line; nothing was sent",
            )
        return value

    @contextmanager
    def _opened(self) -> Iterator[TextIO]:
        if self.source == "-":
            if not self._stdin:
                self._stdin.append(sys.stdin.read())
            yield io.StringIO(self._stdin[0])
            return
        path = self.folder / Path(self.source).expanduser()
        try:
            with path.open(encoding="utf-8-sig", newline="\n") as text:
                yield text
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UsageError(f"the lines of {escape(str(path))} cannot be read", why) from None


def _checked(sheet: Sheet, header: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns; raise UsageError if two give the same variable, or one has no name."""
    columns = tuple(map(Column.parse, header))
    if not columns:
        raise UsageError(
            f"{escape(str(sheet.path))} is empty", None, "its first line is the header"
        )
    taken: dict[str, str] = {}
    for number, column in enumerate(columns, 1):
        if not re.match(r"[^\W\d]", column.name):
            raise UsageError(
                f'column {number} of {escape(str(sheet.path))} is called "{escape(column.name)}"',
                "the first line has the names of the columns; each begins with a letter",
                "write a header; for a list of files without one: @list.txt",
            )
        twin = taken.setdefault(variable_name(column.name), column.name)
        if twin != column.name or [c.name for c in columns].count(column.name) > 1:
            raise UsageError(
                f"two columns of {escape(str(sheet.path))} are one variable",
                f"{escape(twin)} and {escape(column.name)} are {variable_name(column.name)}",
                "give them other names",
            )
    return columns


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_NAMED = 20
_NUMBER = re.compile(r"[-+]?\d*\.?\d*(?:[eE][-+]?\d+)?")
_LOOKS_LIKE_A_FILE = re.compile(r"\S+\.[A-Za-z]\w{0,9}")
_OUTPUT = re.compile(r"out", re.IGNORECASE)


@dataclass(frozen=True)
class LineJobs:
    """A job for each line, which is its only variable."""

    lines: Lines
    columns: tuple[str, ...] = (LINE,)

    def __iter__(self) -> Iterator[JobSpec]:
        """Go through them from the first line."""
        for number, (value,) in self.lines.rows():
            yield JobSpec(value_name(value), (), {LINE: value}, f"line {number}")


@dataclass(frozen=True)
class RowJobs:
    """A job for each row; `inputs` are the indexes of the columns with files."""

    sheet: Sheet
    keys: Table
    """The key of the file that a cell names."""
    files: Table
    """By their keys, the paths and sizes of the files that cells name."""
    inputs: frozenset[int]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the sheet's columns."""
        return tuple(column.name for column in self.sheet.header)

    def __iter__(self) -> Iterator[JobSpec]:
        """Go through them from the first row."""
        columns, inputs = self.columns, sorted(self.inputs)
        for number, cells in self.sheet.rows():
            variables = dict(zip(columns, cells, strict=True))
            files = tuple(
                FileRef(self._key(cells[place]), columns[place]) for place in inputs if cells[place]
            )
            for file in files:
                del variables[file.column]
            yield JobSpec(row_name(variables, files), files, variables, f"row {number}")

    def _key(self, cell: str) -> str:
        if cell.startswith(S3):
            return cell
        row = self.keys.get(cell)
        if row is None:
            raise KeyError(cell)
        return str(row[0])

    def found(self) -> Iterator[LocalInput]:
        """Go through the files that cells name, in the order of their keys."""
        return (LocalInput(key, *row) for key, row in self.files.items())


@dataclass
class _Seen:
    """What was found out about one column so far."""

    column: Column
    found: bool = False
    only_names: bool = True
    missing: list[Refused] = field(default_factory=list)
    missing_count: int = 0

    def miss(self, number: int, cell: str, why: str) -> None:
        self.missing_count += 1
        if len(self.missing) < _NAMED:
            self.missing.append(Refused(f"row {number}, {self.column.name}: {cell}", why))

    @property
    def is_input(self) -> bool:
        if self.column.is_input is not None:
            return self.column.is_input
        mistaken = self.only_names and self.missing and not _OUTPUT.match(self.column.name)
        return self.found or bool(mistaken)


def read_rows(sheet: Sheet) -> RowJobs:
    """Check all cells; raise UsageError, which names the rows, for files that do not exist."""
    seen = [_Seen(column) for column in sheet.header]
    finder = _Finder(Path(os.path.abspath(sheet.path.parent)))  # noqa: PTH100 - links stay links
    for number, cells in sheet.rows():
        for about, cell in zip(seen, cells, strict=True):
            if cell and about.column.is_input is not False:
                finder.look(about, number, cell)
    inputs = frozenset(place for place, about in enumerate(seen) if about.is_input)
    _check_missing([about for about in seen if about.is_input])
    return RowJobs(sheet, finder.keys, finder.files, inputs)


@dataclass
class _Finder:
    """Finds the files that cells name, relative to the sheet's folder."""

    folder: Path
    keys: Table = field(default_factory=Table)
    files: Table = field(default_factory=Table)

    def look(self, about: _Seen, number: int, cell: str) -> None:
        """Find out whether a cell names a file, and record which."""
        if cell in self.keys:
            about.found = True
        elif cell.startswith(S3):
            about.found = True
            if why := file_refusal(cell):
                about.miss(number, cell, why)
        elif about.column.is_input or _may_be_path(cell):
            self._look_at(about, number, cell)
        else:
            about.only_names = False
            about.miss(number, cell, "there is no such file")

    def _look_at(self, about: _Seen, number: int, cell: str) -> None:
        about.only_names &= bool(_LOOKS_LIKE_A_FILE.fullmatch(cell))
        path = Path(os.path.normpath(self.folder / os.path.expanduser(cell)))  # noqa: PTH111
        item = look_at(_key(path, self.folder), str(path))
        if isinstance(item, Refused):
            about.miss(number, cell, item.why)
            return
        why = file_refusal(item.key)
        twin = self.files.get(item.key)
        if twin and twin[0] != item.path:
            why = f"{twin[0]} has the same key, {item.key}"
        if why:
            about.miss(number, cell, why)
            return
        about.found = True
        self.keys.add(cell, (item.key,))
        self.files.add(item.key, (item.path, item.size))


def _may_be_path(cell: str) -> bool:
    return ("/" in cell or "." in cell) and not _NUMBER.fullmatch(cell)


def _key(path: Path, folder: Path) -> str:
    """Return the key of a file: its path below the sheet's folder, or else from the root."""
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return path.as_posix().lstrip("/")


def _check_missing(inputs: Sequence[_Seen]) -> None:
    missing = [item for about in inputs for item in about.missing]
    if not missing:
        return
    count = sum(about.missing_count for about in inputs)
    lines = [f"{shown(item.name, 70)}: {item.why}" for item in missing[:_NAMED]]
    if count > len(lines):
        lines.append(f"and {count - len(lines):,} more")
    name = next(about.column.name for about in inputs if about.missing)
    raise UsageError(
        f"{plural(count, 'file')} of the sheet cannot be an input", "\n".join(lines),
        "put them there (names are relative to the sheet); nothing was sent\n"
        f'if the column is text, not files: write "--env {escape(name)}" in the header',
    )  # fmt: skip
