"""Makes a job's work visible, so that a crash at any point repeats work and loses nothing.

The order is: outputs, then the log, then the result, then the delete. Each write carries a
condition, and is made under a lease that still holds. So whatever an agent writes late
either precedes the conditional write of the job's new owner, who replaces it, or fails.

Two agents may still work on one job: SQS may deliver a message twice, and an agent may pause
between checking its lease and the write. Then one of them may replace an output between the
other's outputs and the other's result, and die. So a result is true only while the outputs that it
names are the stored ones; a worker that finds an untrue result does the job again, and replaces
it. And a worker that has replaced an output is responsible for it: it makes sure that the result
is true before it releases the message. tests/model goes through the orders in which two agents
can make these writes; docs/protocol.md says what remains.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote

import structlog

from parallelize_agent.job.merge import Merge
from parallelize_agent.job.output_files import OutputError, OutputFile
from parallelize_agent.queue.leases import LeaseLostError
from parallelize_core import keys
from parallelize_core.errors import DecodeError, MissingError, ServiceError
from parallelize_core.layout import RunLayout, output_name, with_suffix
from parallelize_core.owner import OWNER, OWNER_RUN, other_run, owner_mark, run_mark
from parallelize_core.result import Attempt, Output, Result
from parallelize_core.run import Run
from parallelize_core.store import IF_ABSENT, AsyncStore, Condition, ObjectInfo

log = structlog.get_logger()

_TRIES = 10

File = Callable[[Result, str], None]


def unfiled(result: Result, etag: str) -> None:
    """Ignore a result: the default without segments."""


class AlreadyFinishedError(Exception):
    """Another worker has finished the job; its result stands."""


class ClashError(OutputError):
    """Another input already has an output of the same name."""


class CollisionError(ServiceError):
    """Another execution of the job has replaced our outputs, while we replaced its own."""


@dataclass(frozen=True)
class Commit:
    """Writes for one job; `check` raises LeaseLostError unless the job is certainly ours."""

    run: Run
    layout: RunLayout
    records: AsyncStore
    outputs: AsyncStore
    key: str
    check: Callable[[], None]
    replaced: list[str] = field(default_factory=list)
    """Outputs of other executions of the same job that ours replaced."""
    file: File = unfiled
    """Called with a result once S3 has it, and its ETag."""
    folder: str | None = None
    """The folder of the job's outputs; by default that of `key`."""
    merge: Merge | None = None
    """A further check before each write, if the job is a merge."""

    async def put_outputs(self, files: Sequence[OutputFile]) -> tuple[Output, ...]:
        """Store the files; raise OutputError if one clashes with another input's output."""
        names: dict[str, OutputFile] = {}
        for file in files:
            name = output_name(
                self.run.naming.name, self.run.name, self.key, file.name, self.folder
            )
            if reason := keys.refusal(name) or keys.refusal(self.run.output.key(name)):
                raise OutputError(f"the output name {ascii(name)[1:-1]} is refused: {reason}")
            if name in names:
                raise OutputError(f"two outputs of this input get the same name {name}")
            names[name] = file
        return tuple([await self._put_output(name, file) for name, file in names.items()])

    async def put_attempt(self, attempt: Attempt) -> None:
        """Store the record of an attempt that is not the job's last."""
        await self._check()
        place = self.layout.attempt(self.key, attempt.attempt, attempt.worker, attempt.started_at)
        await self.records.put(place, attempt.encode())

    async def finished(self) -> bool:
        """Whether the job has a true result: its outputs are the stored ones."""
        found = await self._read_result()
        return found is not None and await self._is_true(found[1])

    async def spoiled(self) -> bool:
        """Whether the job's result is untrue, and we may have made it so."""
        if not self.replaced:
            return False
        found = await self._read_result()
        return found is not None and not await self._has_its_outputs(found[1])

    async def _check(self) -> None:
        """Raise LeaseLostError unless the job is certainly ours, and still wanted."""
        if self.merge:
            await self.merge.check()
        self.check()

    async def put_result(self, result: Result) -> bool:
        """Finish the job; return whether its message is still ours to delete.

        A result that names outputs which are no longer stored is replaced.
        Raises AlreadyFinishedError if another worker has finished the job, LeaseLostError if the
        lease has ended before, and CollisionError if two executions got in each other's way
        so that neither's outputs are all stored: then the job must be done again.
        """
        await self._write_result(result)
        # Without a lease the message is not ours to delete. The worker that has it may have
        # replaced an output, and must see that this result is untrue.
        held = self._is_held()
        if await self.spoiled():
            self.check()
            raise CollisionError("another execution of the job has replaced some of its outputs")
        return held

    def _is_held(self) -> bool:
        try:
            self.check()
        except LeaseLostError:
            return False
        return True

    async def _write_result(self, result: Result) -> None:
        condition = IF_ABSENT
        body = result.encode()
        for _ in range(_TRIES):
            await self._check()
            if etag := await self.records.put(self.layout.result(self.key), body, condition):
                self.file(result, etag)
                return
            found = await self._read_result()
            if found is None:
                condition = IF_ABSENT
                continue
            etag, there = found
            if there == result:
                # Our own, written by a request whose answer was lost. It is not filed: the ETag
                # may be that of an older one.
                return
            if await self._is_true(there):
                raise AlreadyFinishedError(self.key)
            log.warning("untrue result is replaced", key=self.key, by=there and there.worker)
            condition = Condition(etag=etag)
        raise ServiceError(f"the result of {self.key} keeps changing while it is written")

    async def _read_result(self) -> tuple[str, Result | None] | None:
        """Return the ETag of the current result, perhaps an older one's, and the result.

        The result is None if the object is not a valid one.
        """
        place = self.layout.result(self.key)
        if head := await self.records.head(place):
            with suppress(MissingError):
                return head.etag, _decoded(await self.records.get(place))
        return None

    async def _is_true(self, result: Result | None) -> bool:
        """Whether a result is of this job as it is now, and its outputs are the stored ones."""
        if self.merge and result and not self.merge.made(result):
            return False
        return await self._has_its_outputs(result)

    async def _has_its_outputs(self, result: Result | None) -> bool:
        """Whether no output of a result was replaced by another execution of this job."""
        if result is None:
            return False
        for output in result.outputs:
            there = await self.outputs.head(self.run.output.key(output.key))
            if there and there.etag != output.etag and self._is_ours(there):
                return False
        return True

    def _is_ours(self, there: ObjectInfo) -> bool:
        """Whether an output was made by any execution of this job."""
        run = there.metadata.get(OWNER_RUN)
        # Where only this run writes, an output of an older agent must be this run's.
        same_run = run == self._run_mark or (run is None and self.run.output == self.layout.output)
        return same_run and there.metadata.get(OWNER) == owner_mark(self.key)

    @property
    def _run_mark(self) -> str:
        return run_mark(self.layout)

    async def _put_output(self, name: str, file: OutputFile) -> Output:
        metadata = {
            OWNER: owner_mark(self.key),
            OWNER_RUN: self._run_mark,
            "sha256": file.sha256,
        }
        condition = IF_ABSENT
        for _ in range(_TRIES):
            await self._check()
            key = self.run.output.key(name)
            if etag := await self._send(key, file, condition, metadata):
                return Output(key=name, size=file.size, sha256=file.sha256, etag=etag)
            there = await self.outputs.head(key)
            if there is None:
                condition = IF_ABSENT
            elif await self._may_replace(there, name):
                # Recorded before the write: it may take effect although its answer is lost.
                self.replaced.append(name)
                condition = Condition(etag=there.etag)
            else:
                room = keys.MAX_S3_KEY_BYTES - len(self.run.output.prefix.encode())
                name, condition = with_suffix(name, self._distinct(there), room), IF_ABSENT
        raise ServiceError(f"the output {name} keeps changing while it is written")

    async def _send(
        self, key: str, file: OutputFile, condition: Condition, metadata: dict[str, str]
    ) -> str | None:
        if file.content is not None:
            return await self.outputs.put(key, file.content, condition, metadata)
        path = os.path.realpath(file.path, strict=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with io.FileIO(descriptor, "rb") as opened:
            return await self.outputs.put_file(key, opened, condition, metadata)

    async def _may_replace(self, there: ObjectInfo, name: str) -> bool:
        """Whether ours may replace an existing output; raise OutputError on a clash."""
        if self._is_ours(there):
            if await self.finished():
                raise AlreadyFinishedError(self.key)
            return True
        if self.run.naming.on_clash == "fail":
            raise ClashError(
                f"{self.key} and {self._other_owner(there)} both produce the output {name}; "
                "see output.name and output.on_clash"
            )
        return self.run.naming.on_clash == "replace"

    def _distinct(self, there: ObjectInfo) -> str:
        """Return the base of a suffix that differs from that of the existing output's maker."""
        # Another run may have an input with this very key.
        return f"{self._run_mark}{self.key}" if other_run(there.metadata, self.layout) else self.key

    def _other_owner(self, there: ObjectInfo) -> str:
        owner, run = there.metadata.get(OWNER), other_run(there.metadata, self.layout)
        if owner is None:
            return "something outside this run"
        return f"{unquote(owner)} of the run at {run}" if run else unquote(owner)


def _decoded(body: bytes) -> Result | None:
    try:
        return Result.decode(body)
    except DecodeError as error:
        log.warning("result not read", error=str(error))
        return None
