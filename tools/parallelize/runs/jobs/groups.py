"""Several files a job: those of one sample, those of one folder, or a number of small ones."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(posixpath.dirname(file.key), []).append(file.key)
    jobs = [
        JobSpec(folder or digested("top", ""), _refs(keys), {FOLDER: folder}, folder)
        for folder, keys in sorted(found.items())
    ]
    return Grouped(Listed((FOLDER,), tuple(jobs)))


def packed(files: Iterable[Sized], count: int | None, size_bytes: int | None) -> Grouped:
    """Return jobs of at most `count` files, or of `size_bytes` unless a single file is larger."""
    jobs, pack = [], _Pack()
    for file in sorted(files, key=lambda file: file.key):
        if pack.keys and not pack.takes(file, count, size_bytes):
            jobs.append(pack.job())
            pack = _Pack()
        pack.add(file)
    return Grouped(Listed((), (*jobs, *([pack.job()] if pack.keys else []))))


@dataclass
class _Pack:
    keys: list[str] = field(default_factory=list)
    size: int = 0
    room: int = MAX_JOB_BYTES - 4096

    def takes(self, file: Sized, count: int | None, size_bytes: int | None) -> bool:
        full = len(self.keys) == count
        heavy = size_bytes is not None and self.size + file.size > size_bytes
        return not full and not heavy and _room_for(file.key) <= self.room

    def add(self, file: Sized) -> None:
        self.keys.append(file.key)
        self.size += file.size
        self.room -= _room_for(file.key)

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
    groups: dict[str, dict[str, str]] = {}
    variables: dict[str, Mapping[str, str]] = {}
    ungrouped = []
    for file in files:
        if (matched := pattern.match(file.key)) is None:
            ungrouped.append(file.key)
            continue
        folder, found = matched
        values = {name: found[name] for name in pattern.names}
        own = value_name(*values.values()) if len(values) == 1 else row_name(values, ())
        name = below(folder, own) if folder else own
        groups.setdefault(name, {})[found[MEMBER]] = file.key
        variables[name] = values
    if pattern.mates:
        _check_mates(groups)
    jobs = [
        JobSpec(name, _refs(members[n] for n in _ordered(members)), variables[name], name)
        for name, members in sorted(groups.items())
    ]
    return Grouped(Listed(pattern.names, tuple(jobs)), tuple(ungrouped))


def _check_mates(groups: Mapping[str, Mapping[str, str]]) -> None:
    every = _ordered({n for members in groups.values() for n in members})
    lacking = [
        (name, [n for n in every if n not in members], members) for name, members in groups.items()
    ]
    missing = [item for item in lacking if item[1]]
    if not missing:
        return
    lines = [
        f"{shown(name, 40)}: has {', '.join(escape(members[n]) for n in _ordered(members))}, "
        f"and none with {{n}} = {', '.join(map(escape, absent))}"
        for name, absent, members in missing[:_NAMED]
    ]
    if len(missing) > _NAMED:
        lines.append(f"and {len(missing) - _NAMED:,} more")
    verb = "lacks" if len(missing) == 1 else "lack"
    raise UsageError(
        f"{plural(len(missing), 'group')} of run.group {verb} a file that others have",
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
