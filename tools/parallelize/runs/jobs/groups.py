"""Several files a job: those of one sample, those of one folder, or a number of small ones."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Protocol

from parallelize.console import escape, shown
from parallelize.runs.jobs.spec import (
    FOLDER,
    FileRef,
    Grouped,
    JobSpec,
    Listed,
    below,
    digested,
    row_name,
    value_name,
)
from parallelize.spool import Row, Spooled
from parallelize.units import plural
from parallelize_core.errors import UsageError
from parallelize_core.files import MAX_JOB_BYTES

MEMBER = "n"
"""In a pattern, what differs within a group. `*` is the same, but its files may be missing."""

_NAMED = 20
_PLACE = re.compile(r"\{([A-Za-z_]\w*)\}|(\*)")
_BYTES_A_FILE = 120
"""What a file adds to a job's message besides its key, at most."""


class Sized(Protocol):
    """A file that is an input, as `LocalInput` and `manifest.Entry` are."""

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102


def by_folder(files: Iterable[Sized]) -> Grouped:
    """Return a job for each folder that has files, in order."""
    rows = _rows((posixpath.dirname(file.key), file.key) for file in files)
    jobs = (
        JobSpec(
            folder or digested("top", ""), _refs(key for _, key in some), {FOLDER: folder}, folder
        )
        for folder, some in groupby(rows, itemgetter(0))
    )
    return Grouped(Listed((FOLDER,), jobs))


def packed(files: Iterable[Sized], count: int | None, size_bytes: int | None) -> Grouped:
    """Return jobs of at most `count` files, or of `size_bytes` unless a single file is larger."""
    rows = _rows((file.key, file.size) for file in files)
    return Grouped(Listed((), _packs(rows, count, size_bytes)))


def _packs(rows: Iterable[Row], count: int | None, size_bytes: int | None) -> Iterator[JobSpec]:
    pack = _Pack()
    for key, size in rows:
        if pack.keys and not pack.takes(key, size, count, size_bytes):
            yield pack.job()
            pack = _Pack()
        pack.add(key, size)
    if pack.keys:
        yield pack.job()


def _rows(rows: Iterable[Row]) -> Spooled[Row]:
    """Return rows in the order of their first values; equal ones keep theirs."""
    found: Spooled[Row] = Spooled(tuple, lambda *row: row)
    found.extend(rows)
    return found.in_order(itemgetter(0))


@dataclass
class _Pack:
    keys: list[str] = field(default_factory=list)
    size: int = 0
    room: int = MAX_JOB_BYTES - 4096

    def takes(self, key: str, size: int, count: int | None, size_bytes: int | None) -> bool:
        full = len(self.keys) == count
        heavy = size_bytes is not None and self.size + size > size_bytes
        return not full and not heavy and _room_for(key) <= self.room

    def add(self, key: str, size: int) -> None:
        self.keys.append(key)
        self.size += size
        self.room -= _room_for(key)

    def job(self) -> JobSpec:
        first = self.keys[0]
        name = digested(f"{posixpath.basename(first)}+{len(self.keys) - 1}", self.keys)
        folder = posixpath.dirname(first)
        return JobSpec(below(folder, name) if folder else name, _refs(self.keys))


def _room_for(key: str) -> int:
    return 2 * len(key.encode()) + _BYTES_A_FILE


@dataclass(frozen=True)
class Pattern:
    """What the names of a group's files have in common: `{sample}_R{n}.fastq.gz`."""

    text: str
    expression: re.Pattern[str]
    names: tuple[str, ...]
    """The variables that identify a group."""
    mates: bool
    """Whether each group needs every member that any group has."""

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Parse a pattern; raise ValueError, with the reason, if it is not one."""
        places = [found[1] or "*" for found in _PLACE.finditer(text)]
        names = tuple(name for name in places if name not in {MEMBER, "*"})
        members = len(places) - len(names)
        if members != 1 or not names or len(set(names)) != len(names):
            raise ValueError(
                f'"{text}" groups no files; write "{{sample}}_R{{n}}.fastq.gz": '
                "names for what makes a group, {n} once for what tells its files apart "
                "(or * if groups need not have the same ones)"
            )
        made = _PLACE.sub("\0", text).split("\0")
        parts = [re.escape(made[0])]
        for place, literal in zip(places, made[1:], strict=True):
            group = MEMBER if place == "*" else place
            parts.append(f"(?P<{group}>[^/]+){re.escape(literal)}")
        return cls(text, re.compile("".join(parts)), names, MEMBER in places)

    def match(self, key: str) -> tuple[str, re.Match[str]] | None:
        """Return the folder of the matching part of a key, and the match; None without one."""
        depth = self.text.count("/") + 1
        parts = key.split("/")
        found = self.expression.fullmatch("/".join(parts[-depth:]))
        return ("/".join(parts[:-depth]), found) if found else None


def by_pattern(files: Iterable[Sized], pattern: Pattern) -> Grouped:
    """Return a job for each group, its files in the order of their numbers.

    Raises UsageError, which names the groups, if some of them lack a file.
    """
    ungrouped: list[str] = []
    rows = _rows(_matched(files, pattern, ungrouped))
    if pattern.mates:
        _check_mates(rows)
    jobs = (
        JobSpec(name, _refs(members[n] for n in _ordered(members)), variables, name)
        for name, members, variables in _groups(rows, pattern.names)
    )
    return Grouped(Listed(pattern.names, jobs), tuple(ungrouped))


def _matched(files: Iterable[Sized], pattern: Pattern, ungrouped: list[str]) -> Iterator[Row]:
    """Yield, for each file that matches, its group, what tells it apart, its key, and variables."""
    for file in files:
        if (matched := pattern.match(file.key)) is None:
            ungrouped.append(file.key)
            continue
        folder, found = matched
        values = {name: found[name] for name in pattern.names}
        own = value_name(*values.values()) if len(values) == 1 else row_name(values, ())
        name = below(folder, own) if folder else own
        yield name, found[MEMBER], file.key, *values.values()


def _groups(
    rows: Iterable[Row], names: Sequence[str] = ()
) -> Iterator[tuple[str, Mapping[str, str], Mapping[str, str]]]:
    """Yield each group's name, its keys by what tells them apart, and its variables."""
    for name, some in groupby(rows, itemgetter(0)):
        files = [*some]
        members = {member: key for _, member, key, *_ in files}
        yield name, members, dict(zip(names, files[0][3:], strict=False))


def _check_mates(rows: Iterable[Row]) -> None:
    every = _ordered({member for _, member, *_ in rows})
    lacking = [(name, members) for name, members, _ in _groups(rows) if len(members) < len(every)]
    if not lacking:
        return
    lines = [
        f"{shown(name, 40)}: has {', '.join(escape(members[n]) for n in _ordered(members))}, "
        f"and none with {{n}} = {', '.join(escape(n) for n in every if n not in members)}"
        for name, members in lacking[:_NAMED]
    ]
    if len(lacking) > _NAMED:
        lines.append(f"and {len(lacking) - _NAMED:,} more")
    verb = "lacks" if len(lacking) == 1 else "lack"
    raise UsageError(
        f"{plural(len(lacking), 'group')} of run.group {verb} a file that others have",
        "\n".join(lines),
        "put it there, or leave the others out (run.exclude);\n"
        "write * for {n} if groups need not have the same files; nothing was sent",
    )


def _ordered(members: Iterable[str]) -> list[str]:
    """Return what tells the files of a group apart, in natural order: 2 before 10."""
    return sorted(members, key=natural)


def natural(text: str) -> tuple[tuple[int, str | int], ...]:
    """Return a sort key that puts the numbers in a text in numerical order."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def _refs(keys: Iterable[str] | Sequence[str]) -> tuple[FileRef, ...]:
    return tuple(FileRef(key) for key in keys)
