"""Making a job's work visible, so that every crash in between repeats work and loses nothing.

The order is: outputs, then the log, then the result, then the delete. Each write carries a
condition, and each is made under a lease that is still good. So whatever an agent writes late
either comes before the conditional write of the job's new owner, who replaces it, or fails.

Two may still be at work on one job: SQS may deliver a message twice, and an agent may stand still
between the look at its lease and the write. Then one of them may replace an output between the
other's outputs and the other's result, and die. So a result counts only while the outputs that it
tells of are those that are stored; whoever meets one that is untrue does the job again, and
replaces it. And whoever has replaced an output answers for it: they make sure that the result is
true before they let go of the message. tests/model goes through the orders in which two agents
can do these writes; docs/protocol.md says what is left.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

import structlog

from parallelize_agent.job.outputs import OutputError, OutputFile
from parallelize_core import keys
from parallelize_core.errors import DecodeError, MissingError, ServiceError
from parallelize_core.layout import RunLayout, output_name, with_suffix
from parallelize_core.result import INLINE_LOG_BYTES, Attempt, Output, Result
from parallelize_core.run import Run
from parallelize_core.store import IF_ABSENT, Condition, ObjectInfo, Store

log = structlog.get_logger()

OWNER = "parallelize-input"
"""Metadata of an output that names its input, percent-encoded as headers are ASCII."""

MAX_OWNER_BYTES = 1500
"""S3 allows 2 KB of metadata: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html"""

_TRIES = 10


class AlreadyFinishedError(Exception):
    """Another worker has finished the job meanwhile; its result stands."""


class ClashError(OutputError):
    """Another input has an output of the same name already."""


@dataclass(frozen=True)
class Commit:
    """Writes for one job; `check` raises LeaseLostError unless the job is certainly ours."""

    run: Run
    layout: RunLayout
    records: Store
    outputs: Store
    key: str
    check: Callable[[], None]
    replaced: list[str] = field(default_factory=list)
    """The outputs of other executions of the same job that gave way to ours."""

    def put_outputs(self, files: Sequence[OutputFile]) -> tuple[Output, ...]:
        """Store the files; raise OutputError if one clashes with another input's output."""
        names: dict[str, Path] = {}
        for file in files:
            name = output_name(self.run.naming.name, self.run.name, self.key, file.name)
            if reason := keys.refusal(name) or keys.refusal(self.run.output.key(name)):
                raise OutputError(f"the output name {ascii(name)[1:-1]} is refused: {reason}")
            if name in names:
                raise OutputError(f"two outputs of this input get the same name {name}")
            names[name] = file.path
        return tuple(self._put_output(name, path) for name, path in names.items())

    def put_log(self, key: str, path: Path) -> tuple[str, str | None]:
        """Return a small log itself, or store a larger one and return the key of its object."""
        if path.stat().st_size <= INLINE_LOG_BYTES:
            return path.read_bytes().decode("utf-8", errors="replace"), None
        with path.open("rb") as file:
            self.records.put_file(key, file)
        return "", key

    def put_attempt(self, attempt: Attempt) -> None:
        """Leave a record of an attempt that is not the job's last."""
        self.check()
        place = self.layout.attempt(self.key, attempt.attempt, attempt.worker, attempt.started_at)
        self.records.put(place, attempt.encode())

    def finished(self) -> bool:
        """Whether the job has a result, and one that is true: its outputs are those stored."""
        found = self._read_result()
        return found is not None and self._is_true(found[1])

    def in_doubt(self) -> bool:
        """Whether the job's result is not true, and we may have made it so."""
        if not self.replaced:
            return False
        found = self._read_result()
        return found is not None and not self._is_true(found[1])

    def put_result(self, result: Result) -> None:
        """Finish the job; raise AlreadyFinishedError if somebody else has finished it.

        A result that is there, but tells of outputs that are not stored any more, is replaced.
        Raises ServiceError if two executions have got in each other's way so that neither's
        outputs are all stored: then the job is to be done again.
        """
        if result.status == "failed":
            self.records.put(self.layout.failure(self.key), b"")
        self._write_result(result)
        # Without a lease the message is not ours to delete. Who has it may have replaced an
        # output, and has to see that this result is not true.
        self.check()
        if self.in_doubt():
            raise ServiceError("another execution of the job has replaced some of its outputs")

    def _write_result(self, result: Result) -> None:
        condition = IF_ABSENT
        for _ in range(_TRIES):
            self.check()
            if self.records.put(self.layout.result(self.key), result.encode(), condition):
                return
            found = self._read_result()
            if found is None:
                condition = IF_ABSENT
                continue
            etag, there = found
            if there == result:
                return  # our own, written by a request whose answer was lost
            if self._is_true(there):
                raise AlreadyFinishedError(self.key)
            log.warning("untrue result is replaced", key=self.key, by=there and there.worker)
            condition = Condition(etag=etag)
        raise ServiceError(f"the result of {self.key} keeps changing while it is written")

    def _read_result(self) -> tuple[str, Result | None] | None:
        """Return the ETag and the result that is there; the ETag may be that of an older one.

        The result is None if what is there is none.
        """
        place = self.layout.result(self.key)
        if head := self.records.head(place):
            with suppress(MissingError):
                return head.etag, _decoded(self.records.get(place))
        return None

    def _is_true(self, result: Result | None) -> bool:
        """Whether no output of a result was replaced by another execution of this job."""
        if result is None:
            return False
        heads = (
            (output.etag, self.outputs.head(self.run.output.key(output.key)))
            for output in result.outputs
        )
        mark = owner_mark(self.key)
        return all(
            there is None or there.etag == etag or there.metadata.get(OWNER) != mark
            for etag, there in heads
        )

    def _put_output(self, name: str, path: Path) -> Output:
        descriptor = os.open(path.resolve(strict=True), os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            name, etag = self._place(name, file, digest)
        return Output(key=name, size=size, sha256=digest, etag=etag)

    def _place(self, name: str, file: BinaryIO, digest: str) -> tuple[str, str]:
        metadata = {OWNER: owner_mark(self.key), "sha256": digest}
        condition = IF_ABSENT
        for _ in range(_TRIES):
            self.check()
            key = self.run.output.key(name)
            if etag := self.outputs.put_file(key, file, condition, metadata):
                return name, etag
            there = self.outputs.head(key)
            if there is None:
                condition = IF_ABSENT
            elif self._may_replace(there, name):
                # Noted before the write: it may arrive although its answer does not.
                self.replaced.append(name)
                condition = Condition(etag=there.etag)
            else:
                name, condition = with_suffix(name, self.key), IF_ABSENT
        raise ServiceError(f"the output {name} keeps changing while it is written")

    def _may_replace(self, there: ObjectInfo, name: str) -> bool:
        """Whether an output that is there may give way to ours; raise OutputError on a clash."""
        owner = there.metadata.get(OWNER, "")
        if owner == owner_mark(self.key):
            if self.finished():
                raise AlreadyFinishedError(self.key)
            return True
        if self.run.naming.on_clash == "fail":
            raise ClashError(
                f"{self.key} and {unquote(owner) or 'something outside this run'} both give "
                f"the output {name}; see output.name and output.on_clash"
            )
        return self.run.naming.on_clash == "replace"


def _decoded(body: bytes) -> Result | None:
    try:
        return Result.decode(body)
    except DecodeError as error:
        log.warning("result not read", error=str(error))
        return None


def owner_mark(key: str) -> str:
    """Return what an output's metadata says of its input; no other input gives the same."""
    return keys.shorten(quote(key, safe="/"), MAX_OWNER_BYTES)
