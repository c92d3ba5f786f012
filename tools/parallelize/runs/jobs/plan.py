"""Turns jobs into lines of the manifest, next to those that it already has.

Jobs are read from first to last twice: once to check all of them, and once, if all is well, to
write them. None stays in memory, because there may be a million.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from parallelize.console import shown
from parallelize.runs.manifest import EntryLines, KnownJobs
from parallelize.spool import Table
from parallelize.units import plural, show_size
from parallelize_core.errors import UsageError
from parallelize_core.files import MAX_JOB_BYTES, InputFile, joint_etag
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry, cut, encode_lines
from parallelize_core.merge import MERGE
from parallelize_core.store import IF_ABSENT, Store

if TYPE_CHECKING:
    from parallelize.runs.jobs.spec import Jobs, JobSpec

_NAMED = 20

_FEW_FILES = 100
"""A job with no more files than this cannot have too long a line."""

VersionOf = Callable[[str], InputFile]
"""Returns a file of a job by its key, as it is or will be in S3."""


class FileVersions:
    """Files by their keys, without their columns; on disk if they are many."""

    def __init__(self, files: Iterable[InputFile] = ()) -> None:
        self._rows = Table()
        for file in files:
            self.put(file.key, file)

    def put(self, key: str, file: InputFile) -> None:
        """Give a key a file, in place of its former one."""
        self._rows.put(key, (file.key, file.size, file.etag, file.stored, file.sha256))

    def get(self, key: str) -> InputFile | None:
        """Return the file of a key, None if it has none."""
        row = self._rows.get(key)
        if row is None:
            return None
        own, size, etag, stored, sha256 = row
        return InputFile(key=own, size=size, etag=etag, stored=stored, sha256=sha256)

    def __getitem__(self, key: str) -> InputFile:
        if (file := self.get(key)) is None:
            raise KeyError(key)
        return file

    def __contains__(self, key: object) -> bool:
        return key in self._rows


@dataclass(frozen=True)
class Entries:
    """The lines of the manifest for jobs, with these versions of their files."""

    jobs: Jobs
    version_of: VersionOf

    def __iter__(self) -> Iterator[Entry]:
        """Go through them from the first."""
        return (entry_of(job, self.version_of) for job in self.jobs)

    def renewed(self, renew: Callable[[InputFile], InputFile]) -> Entries:
        """Return the same with other versions of some files."""
        return Entries(self.jobs, lambda key: renew(self.version_of(key)))


@dataclass(frozen=True)
class JobPlan:
    """What happens to jobs: how many are new, and which have changed since they were added."""

    entries: Entries
    new: int = 0
    changed: EntryLines = field(default_factory=EntryLines)


def entry_of(job: JobSpec, version_of: VersionOf) -> Entry:
    """Return a job's line in the manifest."""
    if not job.files:
        return Entry(key=job.name, size=0, etag="", files=(), variables=dict(job.variables))
    files = tuple(
        version_of(file.key).model_copy(update={"column": file.column}) for file in job.files
    )
    empty = Entry(key=job.name, size=0, etag="", files=(), variables=dict(job.variables))
    return with_files(empty, files)


def with_files(entry: Entry, files: Sequence[InputFile]) -> Entry:
    """Return a job's line with other files, or other versions of them."""
    size = sum({file.key: file.size for file in files}.values())
    update = {"files": tuple(files), "size": size, "etag": joint_etag(files)}
    return entry.model_copy(update=update)


def make_job_plan(jobs: Jobs, version_of: VersionOf, known: KnownJobs) -> JobPlan:
    """Check all jobs; raise UsageError for two with one name, and for one that is too large."""
    entries = Entries(jobs, version_of)
    hashes = array("q")
    changed = EntryLines()
    new = 0
    for job in jobs:
        check_name(job.name)
        hashes.append(hash(job.name))
        entry = entry_of(job, version_of) if job.files else None
        if entry:
            _check_size(job, entry)
        there = known.etag(job.name)
        if there is None:
            new += 1
        elif entry and there != entry.etag:
            changed.add(entry)
    _check_distinct(jobs, hashes)
    return JobPlan(entries, new, changed)


def check_name(name: str) -> None:
    """Raise UsageError for a job with the name that is reserved for a run's merge."""
    if name == MERGE:
        raise UsageError(
            f"no job can be called {MERGE}", "that is the name of a run's last job",
            "rename the file, or leave it out: run.exclude",
        )  # fmt: skip


def _check_size(job: JobSpec, entry: Entry) -> None:
    if len(job.files) <= _FEW_FILES:
        return
    size = len(entry.model_dump_json().encode())
    if size > MAX_JOB_BYTES:
        raise UsageError(
            f"the job {shown(job.name, 50)} has {plural(len(job.files), 'file')}",
            f"their names have {show_size(size)}, and a message holds {show_size(MAX_JOB_BYTES)}",
            "give it fewer: run.group = 1000, or one zip of them; nothing was sent",
        )


def _check_distinct(jobs: Jobs, hashes: array[int]) -> None:
    """Raise UsageError, which says where they are, for jobs with the same name."""
    ordered = sorted(hashes)
    suspects = {one for one, other in itertools.pairwise(ordered) if one == other}
    del ordered
    if not suspects:
        return
    found: dict[str, list[str]] = {}
    for job in jobs:
        if hash(job.name) in suspects:
            found.setdefault(job.name, []).append(job.where)
    twins = {name: places for name, places in found.items() if len(places) > 1}
    if not twins:
        return
    lines = [f"{shown(name, 40)}: {_places(places)}" for name, places in twins.items()]
    more = [f"and {len(lines) - _NAMED:,} more"] if len(lines) > _NAMED else []
    raise UsageError(
        f"{plural(len(twins), 'job')} would be done twice",
        "\n".join([*lines[:_NAMED], *more]),
        "take out what is there twice, or add a column that tells them apart; nothing was sent",
    )


def _places(places: list[str]) -> str:
    return ", ".join(places[:_NAMED]) + (" and more" if len(places) > _NAMED else "")


def write_parts(
    store: Store, layout: RunLayout, entries: Iterable[Entry], number: int
) -> int | None:
    """Write parts from this number on; return how many jobs they have.

    Returns None if another writer took one of the numbers: the manifest has to be read again.
    """
    count = 0
    for place, part in enumerate(cut(entries), number):
        if store.put(layout.manifest_part(place), encode_lines(part), IF_ABSENT) is None:
            return None
        count += len(part)
    return count


def numbered(entries: Iterable[Entry], start: int) -> Iterator[Entry]:
    """Number jobs from `start`."""
    for number, entry in enumerate(entries, start):
        yield entry.model_copy(update={"number": number})
