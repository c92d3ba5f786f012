"""The files of a job of several files: where each is, and what they have in common."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field

from parallelize_core import keys
from parallelize_core.layout import Location
from parallelize_core.record import Contract

S3 = "s3://"

VARIABLE = "PARALLELIZE_VAR_"
"""How the names of a job's variables begin in its environment."""

MAX_JOB_BYTES = 240_000
"""The limit of a job's line in the manifest; a message that is sent alone always has this much
room.
"""


CHECKSUM = "[0-9a-f]{64}"
"""The SHA-256 of a content."""

STORED = f"{CHECKSUM}/[0-9a-z]{{1,16}}"
"""Where an input lies among those that runs share: its SHA-256, and a mark of its upload."""

Stored = Annotated[str, Field(pattern=f"^({STORED})?$")]

Checksum = Annotated[str, Field(pattern=f"^({CHECKSUM})?$")]


def file_refusal(key: str) -> str | None:
    """Say why `key` cannot be the key of a job's file, or return None when it can."""
    if not key.startswith(S3):
        return keys.refusal(key)
    bucket, _, rest = key.removeprefix(S3).partition("/")
    return keys.refusal(rest) if bucket else "it names no bucket"


def _checked(key: str) -> str:
    if reason := file_refusal(key):
        raise ValueError(f"the key is refused: {reason}")
    return key


class InputFile(Contract):
    """One of a job's files, its size in bytes, its ETag in S3 (empty: any version will do).

    `key` is below the run's input location, or is a whole `s3://bucket/key`. `column` names the
    column of a sheet that it comes from; empty if it comes from none. `stored` is where it lies
    below the run's input location, if that is not its key. `sha256` is that of its content, if it
    is known and `stored` does not say it.
    """

    key: Annotated[str, AfterValidator(_checked)]
    size: int = Field(ge=0)
    etag: str = ""
    stored: Stored = ""
    sha256: Checksum = ""
    column: str = ""

    @property
    def checksum(self) -> str:
        """The SHA-256 of its content; empty if only its ETag is known."""
        return self.stored.partition("/")[0] or self.sha256

    @property
    def path(self) -> str:
        """The key as a path: of a whole `s3://bucket/key` what follows the scheme."""
        return self.key.removeprefix(S3)

    def place(self, inputs: Location) -> tuple[str, str]:
        """Return the bucket and the S3 key, if the run's inputs are in `inputs`."""
        if not self.key.startswith(S3):
            return inputs.bucket, inputs.key(self.stored or self.key)
        bucket, _, key = self.path.partition("/")
        return bucket, key


class Shaped(Protocol):
    """A job as its line in the manifest and its message have it; see `manifest.Entry`."""

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def etag(self) -> str: ...  # noqa: D102
    @property
    def stored(self) -> str: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def files(self) -> tuple[InputFile, ...] | None: ...  # noqa: D102
    @property
    def variables(self) -> Mapping[str, str]: ...  # noqa: D102


def files_of(job: Shaped) -> tuple[InputFile, ...]:
    """Return the files of a job: a plain one is named after its only file."""
    if job.files is not None:
        return job.files
    return (_file_of_plain(job.key, job.size, job.etag, job.stored, job.sha256),)


@lru_cache(maxsize=64)
def _file_of_plain(key: str, size: int, etag: str, stored: str, sha256: str) -> InputFile:
    """Return a plain job's file; a worker wants it before the job and after."""
    return InputFile(key=key, size=size, etag=etag, stored=stored, sha256=sha256)


def is_same_content(one: InputFile, other: InputFile) -> bool:
    """Whether two versions of a file have one content, as far as that is known."""
    if one.checksum and other.checksum:
        return one.checksum == other.checksum
    return one.etag == other.etag


def variable_name(column: str) -> str:
    """Return the variable by which a command finds what is in a column."""
    return VARIABLE + re.sub("[^A-Z0-9]", "_", column.upper())


def output_folder(job: Shaped) -> str:
    """Return the folder of a job's outputs below that of the run's.

    Outputs of a plain job keep its input's folder; those of a pack of files, the folder that these
    share. A job with variables has its own folder, because its outputs probably have the same names
    as those of all others.
    """
    if job.files is None:
        return posixpath.dirname(job.key)
    if job.variables or any(file.column for file in job.files):
        return job.key
    return shared_folder(file.path for file in job.files)


def shared_folder(paths: Iterable[str]) -> str:
    """Return the innermost folder in which all paths lie; empty if there is none."""
    folders = {posixpath.dirname(path) for path in paths}
    return posixpath.commonpath(folders) if folders and "" not in folders else ""


def joint_etag(files: Sequence[InputFile]) -> str:
    """Return a digest of the content of several files, like the ETag of one."""
    listed = "".join(f"{file.etag} {file.key}\n" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest()[:32] if files else ""


def staged_names(files: Sequence[InputFile]) -> tuple[str, ...]:
    """Return the path of each file below the folder of the inputs on a worker.

    They keep their own names, and their folders below the one that they share: many programs look
    for an index beside the file. If they cannot be on one disk like this, each has its own folder.
    """
    paths = [file.path for file in files]
    shared = shared_folder(paths)
    names = tuple(path.removeprefix(shared).lstrip("/") for path in paths)
    folders = {folder for name in names for folder in _folders(name)}
    unequal = len({file.key for file in files}) != len(set(names))
    if unequal or folders.intersection(names):
        numbers = {key: n for n, key in enumerate(dict.fromkeys(file.key for file in files), 1)}
        return tuple(f"{numbers[file.key]}/{posixpath.basename(file.path)}" for file in files)
    return names


def _folders(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
