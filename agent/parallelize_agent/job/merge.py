"""What is special about the merge: its input is a list, and its results may be out of date.

While a merge runs, a job may be done again. Then another merge is due, over another list, and this
one's results are useless; so it reads the record before each write. Reading and writing are two
steps, so a late result for an old list may still be stored. It counts for nothing, because it
names its list, and the newer merge replaces it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from pydantic import TypeAdapter, ValidationError

from parallelize_agent.job.scratch import JobFolder
from parallelize_agent.queue.leases import LeaseLostError
from parallelize_core.errors import ChangedError, MissingError
from parallelize_core.files import InputFile
from parallelize_core.job import JobMessage
from parallelize_core.layout import RunLayout
from parallelize_core.merge import ListedOutput, MergeRecord, decode_record
from parallelize_core.result import Result
from parallelize_core.store import AsyncStore

_DICT = TypeAdapter(dict[str, object])


class SupersededError(LeaseLostError):
    """A newer merge, over other results, has replaced this one."""


@dataclass(frozen=True)
class Merge:
    """One merge of a run, over the list with the SHA-256 `listed`."""

    records: AsyncStore
    layout: RunLayout
    listed: str

    async def is_current(self) -> bool:
        """Whether the latest enqueued merge is over this list."""
        record = await self._record()
        return record is not None and record.listed == self.listed

    async def check(self) -> None:
        """Raise SupersededError if another has replaced it."""
        if not await self.is_current():
            raise SupersededError(self.listed)

    async def latest(self) -> JobMessage | None:
        """Return a message for the latest enqueued merge."""
        record = await self._record()
        return record.message(self.layout.run) if record else None

    def made(self, result: Result) -> bool:
        """Whether a result is of this merge."""
        return result.input_etag == self.listed

    async def outputs(self) -> tuple[ListedOutput, ...]:
        """Read the list; raise ChangedError if it is not what was stored."""
        key = self.layout.merge_list(self.listed)
        body = await self.records.get(key)
        if sha256(body).hexdigest() != self.listed:
            raise ChangedError(f"the list of outputs {key} has been changed")
        try:
            return tuple(ListedOutput.model_validate_json(line) for line in body.splitlines())
        except ValidationError as error:
            raise ChangedError(f"the list of outputs {key} cannot be read", str(error)) from None

    async def _record(self) -> MergeRecord | None:
        try:
            return decode_record(await self.records.get(self.layout.merge))
        except MissingError:
            return None


def files_of_merge(outputs: Sequence[ListedOutput]) -> tuple[InputFile, ...]:
    """Return the files to fetch for a merge."""
    return tuple(output.file for output in outputs)


def write_list(folder: JobFolder, outputs: Sequence[ListedOutput]) -> None:
    """Write the list that the command reads: each output with the path of its copy here."""
    with folder.outputs.open("wb") as file:
        for output, path in zip(outputs, folder.inputs, strict=True):
            line = {"path": path, **output.model_dump()}
            file.write(_DICT.dump_json(line) + b"\n")
