"""The manifest of a run as the client reads it: its jobs, on disk if they are many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, Self

from parallelize.bulk import get_each
from parallelize.spool import Spooled, Table
from parallelize.together import Later, Together
from parallelize_core.errors import MissingError
from parallelize_core.files import InputFile, files_of
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import (
    Entry,
    count_entries,
    part_entries,
    part_lines,
    places_of,
)
from parallelize_core.store import Store

PARTS_AT_ONCE = 4
"""Parts of a manifest that are read at the same time: each may have 32 MB once unpacked."""


class EntryLines:
    """Jobs by their names, as lines of a manifest; on disk if they are many."""

    def __init__(self, lines: Iterable[tuple[str, str]] = ()) -> None:
        self._lines = Table()
        for name, line in lines:
            self._lines.put(name, (line,))

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Return these jobs, each as it comes last."""
        made = cls()
        for entry in entries:
            made.add(entry)
        return made

    def add(self, entry: Entry) -> None:
        """Add a job, in place of one with the same name."""
        self._lines.put(entry.key, (entry.line,))

    def get(self, name: str, /) -> Entry | None:
        """Return the line of a job, None if there is none."""
        row = self._lines.get(name)
        return Entry.model_validate_json(row[0]) if row else None

    def __getitem__(self, name: str) -> Entry:
        if (entry := self.get(name)) is None:
            raise KeyError(name)
        return entry

    def file(self, key: str) -> InputFile | None:
        """Return the file of a plain job, None if there is none."""
        entry = self.get(key)
        return files_of(entry)[0] if entry else None

    def entries(self) -> Iterator[Entry]:
        """Go through the jobs, in the order of their names."""
        return (Entry.model_validate_json(line) for (line,) in self._lines.values())

    def __contains__(self, name: object) -> bool:
        return name in self._lines

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[str]:
        """Go through the names, in order."""
        return iter(self._lines)


def spooled_jobs(entries: Iterable[Entry] = ()) -> Spooled[Entry]:
    """Return a list of jobs."""
    jobs = Spooled(lambda entry: (entry.line,), Entry.model_validate_json)
    jobs.extend(entries)
    return jobs


class Parts(NamedTuple):
    """The parts that a manifest had when it was listed, which never change, and its corrections."""

    places: Sequence[tuple[int, str]]
    """Their numbers and keys, in order."""
    corrected: EntryLines


def list_parts(calls: Together, layout: RunLayout) -> Later[Parts]:
    """List the parts of a manifest, and read its corrections, together with other calls."""
    manifest, corrections = calls.list(layout.manifest.prefix), list_corrections(calls, layout)

    def parts() -> Parts:
        places = [*places_of(manifest())]
        return Parts(places, corrections()) if places else Parts((), EntryLines())

    return parts


def list_corrections(calls: Together, layout: RunLayout) -> Later[EntryLines]:
    """Read the corrections of a manifest, together with other calls."""
    listed = calls.list(layout.corrections.prefix)

    def corrections() -> EntryLines:
        bodies = get_each(calls.store, [item.key for item in listed()], PARTS_AT_ONCE)
        nothing = EntryLines()
        lines = (part_lines(body, key, nothing) for key, body in bodies if body is not None)
        return EntryLines(chain.from_iterable(lines))

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
        return (entry for _, entries in self.by_part() for entry in entries)

    def by_part(self) -> Iterator[tuple[int, Iterator[Entry]]]:
        """Go through the parts: the number of each, and its jobs as they were last corrected."""
        for number, place, body in self._bodies():
            yield number, part_entries(body, place, self.parts.corrected)

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


class KnownEntries(EntryLines):
    """The lines of a manifest by the names of their jobs, and those of others."""

    def __init__(self, known: KnownJobs, *others: Entry) -> None:
        super().__init__(chain(known.lines(), ((entry.key, entry.line) for entry in others)))
