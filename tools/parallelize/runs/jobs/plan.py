"""Turns jobs into lines of the manifest, next to those that it already has.

Jobs are read from first to last twice: once to check all of them, and once, if all is well, to
write them. None stays in memory, because there may be a million.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from parallelize.bulk import get_each
from parallelize.console import shown
from parallelize.spool import Table
from parallelize.together import Later, Together
from parallelize.units import plural, show_size
from parallelize_core.errors import MissingError, UsageError
from parallelize_core.files import MAX_JOB_BYTES, InputFile, files_of, joint_etag
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import (
    Entry,
    corrected_by,
    count_entries,
    cut,
    encode_lines,
    part_lines,
    places_of,
    read_part,
)
from parallelize_core.merge import MERGE
from parallelize_core.store import IF_ABSENT, Store

if TYPE_CHECKING:
    from parallelize.runs.jobs.spec import Jobs, JobSpec

_NAMED = 20

PARTS_AT_ONCE = 4
"""Parts of a manifest that are read at the same time: each may have 32 MB once unpacked."""

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
    changed: tuple[Entry, ...] = ()


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
    changed = []
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
            changed.append(entry)
    _check_distinct(jobs, hashes)
    return JobPlan(entries, new, tuple(changed))


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


@dataclass(frozen=True)
class Parts:
    """The parts that a manifest had when it was listed, which never change, and its corrections."""

    places: Sequence[tuple[int, str]] = ()
    """Their numbers and keys, in order."""
    corrected: Mapping[str, Entry] = field(default_factory=dict)


def list_parts(calls: Together, layout: RunLayout) -> Later[Parts]:
    """List the parts of a manifest, and read its corrections, together with other calls."""
    manifest, corrections = calls.list(layout.manifest.prefix), list_corrections(calls, layout)

    def parts() -> Parts:
        places = [*places_of(manifest())]
        return Parts(places, corrections()) if places else Parts()

    return parts


def list_corrections(calls: Together, layout: RunLayout) -> Later[Mapping[str, Entry]]:
    """Read the corrections of a manifest, together with other calls."""
    listed = calls.list(layout.corrections.prefix)

    def corrections() -> Mapping[str, Entry]:
        bodies = get_each(calls.store, [item.key for item in listed()])
        return corrected_by(body for _, body in bodies if body is not None)

    return corrections


class KnownJobs:
    """The jobs that the manifest has; asked for in its own order, they are read part by part.

    Asked for in another order, all of them are kept on disk: names and ETags. Without `parts`, the
    manifest is listed first.
    """

    def __init__(
        self, store: Store, layout: RunLayout, parts: Parts | None = None, total: int | None = None
    ) -> None:
        self.store = store
        self.layout = layout
        self.parts = parts or list_parts(Together(store), layout)()
        self._total = total
        self._in_order: Iterator[Entry] | None = iter(self)
        self._all = Table()

    def again(self) -> KnownJobs:
        """Return the same jobs, to be asked for in another order."""
        return KnownJobs(self.store, self.layout, self.parts, self._total)

    @property
    def next_part(self) -> int:
        """The number of the next part to be written."""
        return max((number for number, _ in self.parts.places), default=-1) + 1

    @property
    def total(self) -> int:
        """How many jobs there are."""
        if self._total is None:
            self._total = sum(count_entries(body, place) for _, place, body in self._bodies())
        return self._total

    def etag(self, key: str) -> str | None:
        """Return the known ETag of a job's input, None if there is no such job."""
        if self._in_order is not None:
            entry = next(self._in_order, None)
            if entry is None:
                return None  # all existing jobs came before, and no job comes twice
            if entry.key == key:
                return entry.etag
            self._in_order = None
            for entry in self:
                self._all.add(entry.key, (entry.etag,))
        row = self._all.get(key)
        return row[0] if row else None

    def __iter__(self) -> Iterator[Entry]:
        """Go through all jobs, each as it was last corrected."""
        for number, place, body in self._bodies():
            yield from read_part(number, body, place, self.parts.corrected).entries

    def lines(self) -> Iterator[tuple[str, str]]:
        """Go through all jobs' names and lines, each as it was last corrected."""
        count = 0
        for _, place, body in self._bodies():
            for line in part_lines(body, place, self.parts.corrected):
                count += 1
                yield line
        self._total = count

    def _bodies(self) -> Iterator[tuple[int, str, bytes]]:
        """Read the parts, a few at a time; yield their numbers, names for people, and contents."""
        keys = (key for _, key in self.parts.places)
        read = get_each(self.store, keys, PARTS_AT_ONCE)
        for (number, _), (key, body) in zip(self.parts.places, read, strict=True):
            if body is None:
                raise MissingError(f"s3://{self.store.bucket}/{key} is gone")
            yield number, f"s3://{self.store.bucket}/{key}", body


class KnownEntries:
    """The lines of a manifest by the names of their jobs, on disk if they are many."""

    def __init__(self, known: KnownJobs, *others: Entry) -> None:
        self._lines = Table()
        for name, line in chain(known.lines(), ((entry.key, entry.line) for entry in others)):
            self._lines.put(name, (line,))

    def get(self, name: str) -> Entry | None:
        """Return the line of a job, None if there is none."""
        row = self._lines.get(name)
        return Entry.model_validate_json(row[0]) if row else None

    def file(self, key: str) -> InputFile | None:
        """Return the file of a plain job, None if there is none."""
        entry = self.get(key)
        return files_of(entry)[0] if entry else None

    def __contains__(self, name: object) -> bool:
        return name in self._lines

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._lines)


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
