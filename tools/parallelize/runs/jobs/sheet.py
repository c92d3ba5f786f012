"""Rows of a sheet: TSV, CSV or JSON lines, the first line with the names of the columns.

A sheet is read from its start as often as it is needed, and never held in memory: it may have a
million rows. The number of a row is that of its line in the file.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TextIO

from parallelize.console import escape
from parallelize_core.errors import UsageError
from parallelize_core.files import variable_name

MAX_CELL_CHARACTERS = 30_000
"""The kernel takes an argument, or a variable, of 128 KiB, whatever its characters are."""

Row = tuple[int, Sequence[str]]

_DELIMITERS = {".tsv": "\t", ".csv": ","}
_JSON = (".jsonl", ".ndjson")

_UNUSABLE = re.compile("[\0\ud800-\udfff\ufffe\uffff]")
"""What no variable, or no message of SQS, can carry."""

_MARK = re.compile(r"--(input|env)\s+")


@dataclass(frozen=True)
class Column:
    """A column by its name; `is_input` is None unless the header says whether it has files."""

    name: str
    is_input: bool | None = None

    @classmethod
    def parse(cls, cell: str) -> Column:
        """Read a cell of the header: a name, perhaps marked as `--input NAME` or `--env NAME`."""
        mark = _MARK.match(cell.strip())
        name = re.sub(r"[^\w-]+", "_", cell.strip()[mark.end() if mark else 0 :])
        return cls(name, mark[1] == "input" if mark else None)


@dataclass(frozen=True)
class Sheet:
    """A sheet in a file; whatever is wrong with it is a UsageError that names the row."""

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
                    raise self._wrong(number, f"it has {len(cells)} cells, the header {width}")
                self._check_cells(number, cells)
                yield number, cells

    def _check_cells(self, number: int, cells: Sequence[str]) -> None:
        # All cells at once, as this is done a million times.
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
    """Return the columns; raise UsageError if two are one variable, or one has no name."""
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
