"""A job as it is wanted: its name, its files by their keys, its variables.

The name is the job's identity. It spells out the job if that is short and plain; otherwise it
starts that way, and ends in a digest of everything. So no two jobs share a name, and every name is
also a valid file name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Protocol

from parallelize.spool import Row, Spooled
from parallelize_core import keys
from parallelize_core.files import S3

PLAIN_BYTES = 150
"""Longest name that spells out the job: it is a folder, part of keys, and often typed."""

FOLDER = "folder"
"""The value of `run.group` for a job per folder, and the column that has its name."""

LINE = "line"
"""The only column of `lines:FILE`."""

_START_BYTES = 120
_DIGEST_CHARACTERS = 16
"""64 bits: in one of thirty million runs of a million jobs two names collide; those are refused."""

_PLAIN = re.compile(r"[\w.+:@%-]*")
_OTHER = re.compile(r"[^\w.+:@%=,-]+")
_DIGEST = re.compile(rf"~[0-9a-f]{{{_DIGEST_CHARACTERS}}}$")


class FileRef(NamedTuple):
    """A file by its key, or its full S3 name, and its column, if it has one."""

    key: str
    column: str = ""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job; `where` says where it was asked for, such as "row 7"."""

    name: str
    files: tuple[FileRef, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    where: str = ""


class Jobs(Protocol):
    """All jobs of a run; the columns are the variables and files that have names."""

    @property
    def columns(self) -> tuple[str, ...]: ...  # noqa: D102

    def __iter__(self) -> Iterator[JobSpec]:
        """Go through them from the first, as often as needed."""


class Grouped(NamedTuple):
    """The jobs, and the files that belong to no job."""

    jobs: Jobs
    ungrouped: tuple[str, ...] = ()


class Listed:
    """Jobs that are written down once: on disk if they have many files, row by row."""

    def __init__(self, columns: tuple[str, ...], jobs: Iterable[JobSpec]) -> None:
        self.columns = columns
        self._rows: Spooled[Row] = Spooled(tuple, lambda *row: row)
        for number, job in enumerate(jobs):
            head = (job.name, tuple(job.variables.items()), job.where)
            self._rows.append((number, head, "", ""))
            self._rows.extend((number, (), file.key, file.column) for file in job.files)

    def __iter__(self) -> Iterator[JobSpec]:
        """Go through them from the first."""
        for _, rows in groupby(self._rows, itemgetter(0)):
            (_, (name, variables, where), *_), *files = rows
            refs = tuple(FileRef(key, column) for *_, key, column in files)
            yield JobSpec(name, refs, dict(variables), where)


def row_name(variables: Mapping[str, str], files: Sequence[FileRef]) -> str:
    """Return the name of a row's job: `lr=0.1,seed=7`, with a digest if that is not all."""
    names = [(file.column, file.key.rpartition("/")[2]) for file in files]
    shown = list(variables.items()) or names
    text = ",".join(f"{column}={value}" for column, value in shown)
    if text and not files and _says_all(variables.values(), text):
        return text
    return digested(text, [dict(variables), [[f.column, f.key] for f in files]])


def value_name(value: str) -> str:
    """Return the name of a job with one value: the value itself, if it is plain."""
    if value and _says_all([value], value) and not keys.refusal(value):
        return value
    return digested(value, value)


def below(name: str, part: str) -> str:
    """Return the name of one of the jobs that `name` is split into."""
    whole = f"{name.removeprefix(S3)}/{part}"
    if keys.refusal(whole):
        return digested(f"{name.rpartition('/')[2]},{part}", [name, part])
    return whole


def digested(text: str, identity: object) -> str:
    """Return a name that starts like `text`, and ends in a digest of `identity`, taken as JSON."""
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:_DIGEST_CHARACTERS]
    plain = _OTHER.sub("_", text).lstrip("-").encode(errors="ignore")
    start = plain[:_START_BYTES].decode(errors="ignore")
    return f"{start or 'job'}~{digest}"


def _says_all(values: Iterable[str], text: str) -> bool:
    return all(map(_PLAIN.fullmatch, values)) and len(text.encode()) <= PLAIN_BYTES


def shown_name(name: str) -> str:
    """Return a name without its digest, as people would type it."""
    return _DIGEST.sub("", name)
