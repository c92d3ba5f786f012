"""Jobs of a sheet's rows, and which of its cells are files.

A column has files if its header says so (`--input reads`), or if any of its cells begins with s3://
or names a file that is there; then each of its cells has to, or to be empty. A column whose cells
all look like files, and of which none is there, is taken for a mistake, unless its name says that
they are outputs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parallelize.console import escape, shown
from parallelize.runs.inputs import LocalInput, Refused, look_at
from parallelize.runs.jobs.sheet import Column, Lines, Sheet
from parallelize.runs.jobs.spec import FileRef, JobSpec, row_name, value_name
from parallelize.units import plural
from parallelize_core.errors import UsageError
from parallelize_core.files import S3, file_refusal

LINE = "line"
"""The only column of `lines:FILE`."""

_NAMED = 20
_NUMBER = re.compile(r"[-+]?\d*\.?\d*(?:[eE][-+]?\d+)?")
_LOOKS_LIKE_A_FILE = re.compile(r"\S+\.[A-Za-z]\w{0,9}")
_OUTPUT = re.compile(r"out", re.IGNORECASE)


@dataclass(frozen=True)
class LineJobs:
    """A job for each line, whose only variable it is."""

    lines: Lines
    columns: tuple[str, ...] = (LINE,)

    def __iter__(self) -> Iterator[JobSpec]:
        """Go through them from the first line."""
        for number, (value,) in self.lines.rows():
            yield JobSpec(value_name(value), (), {LINE: value}, f"line {number}")


@dataclass(frozen=True)
class RowJobs:
    """A job for each row; `files` has what cells name, `inputs` the places of their columns."""

    sheet: Sheet
    files: dict[str, LocalInput]
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
        return cell if cell.startswith(S3) else self.files[cell].key


@dataclass
class _Seen:
    """What was seen of one column so far."""

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
    """Look at all cells; raise UsageError, which names the rows, for files that are not there."""
    seen = [_Seen(column) for column in sheet.header]
    finder = _Finder(Path(os.path.abspath(sheet.path.parent)))  # noqa: PTH100 - links stay links
    for number, cells in sheet.rows():
        for about, cell in zip(seen, cells, strict=True):
            if cell and about.column.is_input is not False:
                finder.look(about, number, cell)
    inputs = frozenset(place for place, about in enumerate(seen) if about.is_input)
    _check_missing([about for about in seen if about.is_input])
    return RowJobs(sheet, finder.files, inputs)


@dataclass
class _Finder:
    """Finds the files that cells name, relative to the sheet's folder."""

    folder: Path
    files: dict[str, LocalInput] = field(default_factory=dict)
    """By what is in the cell."""
    _by_key: dict[str, LocalInput] = field(default_factory=dict)

    def look(self, about: _Seen, number: int, cell: str) -> None:
        """Find out whether a cell names a file, and which."""
        if cell in self.files:
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
        item = next(look_at(_key(path, self.folder), path))
        if isinstance(item, Refused):
            about.miss(number, cell, item.why)
            return
        twin = self._by_key.setdefault(item.key, item)
        why = file_refusal(item.key)
        if twin.path != item.path:
            why = f"{twin.path} has the same key, {item.key}"
        if why:
            about.miss(number, cell, why)
            return
        about.found = True
        self.files[cell] = twin


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
        "put them there, names are relative to the sheet; nothing was sent\n"
        f'a column of text that looks like files is called "--env {escape(name)}" in the header',
    )  # fmt: skip
