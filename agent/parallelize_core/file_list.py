"""The list of an environment's files, each by the checksum of its content.

Shared contents are named only in such lists, in the folders of runs: `clean` keeps what any run's
lists name. So every version has to be able to read the lists of all others.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import posixpath
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from parallelize_core import keys
from parallelize_core.errors import DecodeError
from parallelize_core.record import Contract, first_fault

MAX_LIST_BYTES = 64 * 1024 * 1024
"""Unpacked; the longest list that `prep` makes has a hundredth of it."""


class Listed(Contract):
    """A file of an environment, or a folder, which has no content; size in bytes."""

    name: Annotated[str, AfterValidator(keys.checked)]
    mode: int = Field(default=0o755, ge=0, le=0o7777)
    size: int = Field(default=0, ge=0)
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return not self.sha256


@dataclass(frozen=True)
class FileList:
    """The files and folders of an environment, in the order of their names."""

    files: tuple[Listed, ...]

    @classmethod
    def of(cls, files: Iterable[Listed]) -> FileList:
        """Put files in order."""
        return cls(tuple(sorted(files, key=lambda file: file.name)))

    def encode(self) -> bytes:
        """Return the list as lines of JSON."""
        return b"".join(file.model_dump_json().encode() + b"\n" for file in self.files)

    @property
    def identity(self) -> str:
        """The checksum of the list, which stands for all that it names."""
        return hashlib.sha256(self.encode()).hexdigest()

    def pack(self) -> bytes:
        """Return the list as it is stored."""
        return gzip.compress(self.encode(), mtime=0)

    @property
    def contents(self) -> dict[str, Listed]:
        """Return one file of each content, by checksum."""
        return {file.sha256: file for file in self.files if not file.is_folder}


def read_list(body: bytes, identity: str = "") -> FileList:
    """Read a list as it is stored, and compare it with its checksum if that is known.

    Raises DecodeError if it is none, is another one, or cannot be the files of one folder.
    """
    lines = _unpacked(body).splitlines()
    try:
        found = FileList(tuple(Listed.model_validate_json(line) for line in lines))
    except ValidationError as error:
        raise _refused(first_fault(error)) from None
    if identity and found.identity != identity:
        raise _refused("its checksum is different")
    _check_together(found)
    return found


def _unpacked(body: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(body)) as file:
            content = file.read(MAX_LIST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _refused(str(error)) from None
    if len(content) > MAX_LIST_BYTES:
        raise _refused("it is too long")
    return content


def _check_together(found: FileList) -> None:
    names = {file.name: file for file in found.files}
    if len(names) < len(found.files):
        raise _refused("two of its files have the same name")
    for file in found.files:
        for parent in _parents(file.name):
            if parent in names and not names[parent].is_folder:
                raise _refused(f'"{parent}" is both a file and a folder')


def _parents(name: str) -> Iterator[str]:
    while name := posixpath.dirname(name):
        yield name


def _refused(why: str) -> DecodeError:
    return DecodeError("not a list of an environment's files", "", why)
