"""The merge: one last job over the results of all others, which `run.then` names.

It is due when every job of the manifest has a result. Only the results themselves say so: the
record of the merge that was sent last contains their digest, made from the names and versions in a
listing. As long as the digest matches, the merge has been sent; when a job is done again, it no
longer matches, and once all results exist, the merge is sent again. The record is written on
condition that it is still the one that was read before the results were listed, so if several
workers see the last result, one succeeds, and it alone sends the message.

The merge gets the list of all outputs, which is stored under its own checksum. A
result of the merge counts only if it was made from the list that the record names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from pydantic import Field

from parallelize_core.errors import DecodeError, MissingError
from parallelize_core.files import S3, InputFile
from parallelize_core.job import JobMessage
from parallelize_core.layout import Location, RunLayout
from parallelize_core.record import Contract, Record
from parallelize_core.result import Output, Result
from parallelize_core.store import Store

MERGE = "run.then"
"""The name of the merge wherever a job has one; no input of a run that has a merge may have it."""

_BYTES = 16


class MergeRecord(Record):
    """The merge that was sent last; stored as merge.json.

    `digest` is that of the results that it is over, `listed` is the SHA-256 of the list of their
    `outputs`, which have `size` bytes in all.
    """

    digest: str
    listed: str
    outputs: int = Field(ge=0)
    size: int = Field(ge=0)

    def message(self, run: str) -> JobMessage:
        """Return the message for the first attempt at it."""
        return JobMessage(
            run=run, key=MERGE, size=self.size, etag=self.listed, files=(), merge=True
        )


class ListedOutput(Contract):
    """A line of the list: an output, and the job that made it.

    `name` is what the output is called below the run's output location, `uri` the whole of it.
    """

    name: str
    uri: str
    size: int = Field(ge=0)
    sha256: str
    etag: str
    job: str
    variables: Mapping[str, str] = Field(default={})

    @classmethod
    def of(
        cls, output: Output, place: Location, job: str, variables: Mapping[str, str]
    ) -> ListedOutput:
        """Return the line of an output of a job, if outputs are in `place`."""
        return cls(
            name=output.key, uri=f"{S3}{place.bucket}/{place.key(output.key)}", size=output.size,
            sha256=output.sha256, etag=output.etag, job=job, variables=variables,
        )  # fmt: skip

    @property
    def file(self) -> InputFile:
        """The output as a file of the merge."""
        return InputFile(key=self.uri, size=self.size, etag=self.etag)


class ResultsDigest:
    """A digest of the results of a run, made from a listing in any order.

    The merge's own result, at the key `merge`, is not included.
    """

    def __init__(self, layout: RunLayout) -> None:
        self._merge = layout.result(MERGE)
        self._sum = 0

    def add(self, key: str, etag: str) -> None:
        """Take in the version of a result."""
        if key != self._merge:
            made = hashlib.blake2b(f"{etag} {key}".encode(), digest_size=_BYTES).digest()
            self._sum += int.from_bytes(made, "big")

    @property
    def value(self) -> str:
        """The digest of what was taken in so far."""
        return f"{self._sum % 2 ** (8 * _BYTES):0{2 * _BYTES}x}"


def digest_of(layout: RunLayout, versions: Iterable[tuple[str, str]]) -> str:
    """Return the digest of results by their S3 keys and ETags."""
    digest = ResultsDigest(layout)
    for key, etag in versions:
        digest.add(key, etag)
    return digest.value


def read_record(store: Store, layout: RunLayout) -> MergeRecord | None:
    """Return the merge that was sent last; None if none ever was."""
    try:
        return decode_record(store.get(layout.merge))
    except MissingError:
        return None


def decode_record(body: bytes) -> MergeRecord | None:
    """Return a record; None for anything else, which the leader overwrites."""
    try:
        return MergeRecord.decode(body)
    except DecodeError:
        return None


def is_current(result: Result, record: MergeRecord | None, digest: str) -> bool:
    """Whether a result of the merge is over the current results."""
    return record is not None and record.digest == digest and result.input_etag == record.listed
