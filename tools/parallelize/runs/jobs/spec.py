"""A job as it is wanted: its name, its files by their keys, its variables.

The name is the job's identity. It says what the job is where that is short and plain; else it
begins so, and ends in a digest of all of it. So no two jobs have one name, and every name can be a
file's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from parallelize_core import keys
from parallelize_core.files import S3

PLAIN_BYTES = 150
"""Of a name that says it all: it is a folder, part of keys, and often typed."""

_START_BYTES = 120
_DIGEST_CHARACTERS = 16
"""64 bits: in one of thirty million runs of a million jobs two are alike, and then are refused."""

_PLAIN = re.compile(r"[\w.+:@%-]*")
_OTHER = re.compile(r"[^\w.+:@%=,-]+")
_DIGEST = re.compile(rf"~[0-9a-f]{{{_DIGEST_CHARACTERS}}}$")


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file by its key, or its whole name in S3, and the column that it is in, if it is in one."""

    key: str
    column: str = ""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job by its name; `where` says where it was asked for, such as "row 7"."""

    name: str
    files: tuple[FileRef, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    where: str = ""


class Jobs(Protocol):
    """All jobs of a run; the columns are the variables and files that have names."""

    @property
    def columns(self) -> tuple[str, ...]: ...  # noqa: D102

    def __iter__(self) -> Iterator[JobSpec]:
        """Go through them from the first, as often as wanted."""


@dataclass(frozen=True)
class Listed:
    """Jobs that are all in memory."""

    columns: tuple[str, ...]
    jobs: tuple[JobSpec, ...]

    def __iter__(self) -> Iterator[JobSpec]:
        """Go through them from the first."""
        return iter(self.jobs)


def row_name(variables: Mapping[str, str], files: Sequence[FileRef]) -> str:
    """Return the name of a job of a row: `lr=0.1,seed=7`, with a digest if there is more to it."""
    names = [(file.column, file.key.rpartition("/")[2]) for file in files]
    shown = list(variables.items()) or names
    text = ",".join(f"{column}={value}" for column, value in shown)
    if text and not files and _says_all(variables.values(), text):
        return text
    return digested(text, [dict(variables), [[f.column, f.key] for f in files]])


def value_name(value: str) -> str:
    """Return the name of a job of a single value: the value itself, if it is plain."""
    if value and _says_all([value], value) and not keys.refusal(value):
        return value
    return digested(value, value)


def below(name: str, part: str) -> str:
    """Return the name of a job that is one of several made from what `name` names."""
    whole = f"{name.removeprefix(S3)}/{part}"
    if keys.refusal(whole):
        return digested(f"{name.rpartition('/')[2]},{part}", [name, part])
    return whole


def digested(text: str, identity: object) -> str:
    """Return a name that begins as `text` does, and stands for `identity` (as JSON has it)."""
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:_DIGEST_CHARACTERS]
    plain = _OTHER.sub("_", text).lstrip("-").encode(errors="ignore")
    start = plain[:_START_BYTES].decode(errors="ignore")
    return f"{start or 'job'}~{digest}"


def _says_all(values: Iterable[str], text: str) -> bool:
    return all(map(_PLAIN.fullmatch, values)) and len(text.encode()) <= PLAIN_BYTES


def shown_name(name: str) -> str:
    """Return a name without its digest, as people may type it."""
    return _DIGEST.sub("", name)
