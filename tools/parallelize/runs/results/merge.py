"""The merge of a run, `run.then`, as a client sees it: its state, and its job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import islice

from parallelize.runs.manifest import KnownJobs
from parallelize.runs.results.results import (
    SPLIT_EVERY,
    listed_table,
    read_result,
    read_versions,
)
from parallelize.runs.results.versions import Versions, with_one
from parallelize.spool import Spooled, Table
from parallelize.together import Listed, Together
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry
from parallelize_core.merge import MERGE, ResultsDigest, is_current, read_record
from parallelize_core.result import Result
from parallelize_core.run import Run
from parallelize_core.store import ObjectInfo, Store


class Merge(StrEnum):
    """The state of a run's merge, in a word for people."""

    NONE = "none"
    """The run has none."""
    WAITS = "waits"
    """Files have failed, and it runs only if all succeed."""
    TO_COME = "to come"
    """It runs once every job has its result, or is running now."""
    DONE = "done"
    """It has a result, which may be a failure."""

    @property
    def counts(self) -> bool:
        """Whether it is one of the run's jobs."""
        return self in {Merge.TO_COME, Merge.DONE}


class Listing:
    """Passes on a listing of results except the merge's own, whose version it keeps."""

    def __init__(self, layout: RunLayout, items: Iterable[ObjectInfo]) -> None:
        self._place = layout.result(MERGE)
        self._items = items
        self._digest = ResultsDigest(layout)
        self.merged: ObjectInfo | None = None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield the S3 keys and ETags of the results of jobs."""
        for item in self._items:
            if item.key == self._place:
                self.merged = item
            else:
                self._digest.add(item.key, item.etag)
                yield item.key, item.etag

    @property
    def digest(self) -> str:
        """A digest of the results that were passed on."""
        return self._digest.value


def with_merge(
    store: Store,
    layout: RunLayout,
    listing: Listing,
    results: Versions,
    read: Callable[[ObjectInfo], Result | None],
) -> Versions:
    """Return results with the merge's own, if it is current; an outdated merge does not count.

    `read` reads the result of the merge.
    """
    if listing.merged is None:
        return results
    result = read(listing.merged)
    if result is None or not is_current(result, read_record(store, layout), listing.digest):
        return results
    return with_one(results, listing.merged.key, listing.merged.etag)


def finished_results(
    store: Store, layout: RunLayout, jobs: Iterable[str], results: Listed | None = None
) -> Iterator[tuple[str, Result]]:
    """Read the results of jobs, without logs, in any order; those of others may be among them.

    Each comes with its ETag, as in `read_versions`. `results` lists them, if that was begun.
    """
    splits = map(layout.result, islice(jobs, SPLIT_EVERY, None, SPLIT_EVERY))
    results = results or Together(store).list(layout.results.prefix)
    listing = Listing(layout, results(splits))
    return read_versions(store, layout, current_results(store, layout, listing))


def current_results(store: Store, layout: RunLayout, listing: Listing) -> Table:
    """Return a listing as `read_listed` takes it, without an outdated result of the merge."""
    found = listed_table(listing)
    merged = listing.merged
    if merged and _is_current(store, layout, listing.digest):
        found.add(merged.key, (merged.etag,))
    return found


def _is_current(store: Store, layout: RunLayout, digest: str) -> bool:
    """Whether the result of the merge is over the results with this digest."""
    result = read_result(store, layout, MERGE)
    return result is not None and is_current(result, read_record(store, layout), digest)


def merge_of(run: Run, layout: RunLayout, results: Versions, *, failed: bool) -> Merge:
    """Return the state of the merge by these results; `failed` if some of the jobs have failed."""
    if run.then is None:
        return Merge.NONE
    if layout.result(MERGE) in results:
        return Merge.DONE
    return Merge.WAITS if failed and not run.then.partial else Merge.TO_COME


def all_jobs(store: Store, layout: RunLayout, run: Run) -> Iterator[Entry]:
    """Go through the jobs of the manifest, then the merge, if it was put on the queue."""
    yield from KnownJobs(store, layout)
    yield from merge_entry(store, layout, run)


def read_sizes(store: Store, layout: RunLayout, run: Run) -> Spooled[tuple[str, int]]:
    """Return the keys of all jobs with their input bytes, in order; see `all_jobs`."""
    sizes: Spooled[tuple[str, int]] = Spooled(lambda row: row, lambda *row: row)
    sizes.extend((entry.key, entry.size) for entry in all_jobs(store, layout, run))
    return sizes


def merge_entry(store: Store, layout: RunLayout, run: Run) -> list[Entry]:
    """Return the merge as a line of the manifest; none before it was put on the queue."""
    record = read_record(store, layout) if run.then else None
    if record is None:
        return []
    return [Entry(key=MERGE, size=record.size, etag=record.listed, files=(), merge=True)]
