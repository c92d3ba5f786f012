"""What S3 and SQS say about a run at one moment; `status`, `failures` and `run` build on it.

Done and failed are counted from listings: each finished job has a result object, and each that may
have failed has a mark. Only marked results are read, and nothing is read again while its ETag stays
the same. So watching a long run costs only listings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from parallelize.bulk import list_each
from parallelize.queues import RunCounts
from parallelize.runs.files.twins import NO_TWINS, Twins, find_twins
from parallelize.runs.record.ownership import no_run, run_of
from parallelize.runs.results.cache import Cache
from parallelize.runs.results.merge import Listing, Merge, merge_of, with_merge
from parallelize.runs.results.results import decode_result, marked_failed, marked_silent
from parallelize.runs.results.silent import NONE_SILENT, Silent, of_marks
from parallelize.runs.results.versions import Versions, versions
from parallelize.together import Later, Listed, Together
from parallelize_core.errors import DecodeError
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Cursor, PartOutline, part_outline
from parallelize_core.result import Result
from parallelize_core.run import Run
from parallelize_core.store import ObjectInfo, Store

PART_SUFFIX = ".jsonl.gz"

VIEW_SECONDS = 5.0
"""How long a view waits for one heartbeat: the other workers' matter more than its retries."""

MOST_NAMED = 20_000
"""If a run has more results, its outputs' names are not listed: each page has only 1,000."""

MORE_NAMES = 1.25
"""By how much the results of a watched run have grown when its outputs' names are listed again.

However long it takes, all listings together cost five times the last one.
"""


@dataclass(frozen=True)
class Snapshot:
    """A run at `taken_at` (seconds since 1970).

    It has `total` jobs, of which `sent` were put on the queue: those of the manifest, and the
    merge, which only a worker sends, once it is due or done. `finished` holds the S3 keys of all
    results, with their ETags. `queue` is None if there is none yet. `twins` are outputs that one
    disk cannot hold, if no other run writes to the same place. `unread` maps workers whose
    heartbeats could not be read to the reason, if the reader may go on without them.
    """

    layout: RunLayout
    run: Run
    taken_at: float
    total: int
    sent: int
    finished: Versions
    failures: tuple[Result, ...]
    heartbeats: tuple[Heartbeat, ...]
    queue: RunCounts | None = None
    silent: Silent = NONE_SILENT
    twins: Twins = NO_TWINS
    merge: Merge = Merge.NONE
    unread: Mapping[str, str] = field(default_factory=dict)


class Snapshots(Protocol):
    """Takes snapshots of one run."""

    def snapshot(self) -> Snapshot:
        """Read the run as it is now; raise UsageError if there is no such run."""


class Reader:
    """Takes snapshots of one run; keep it while watching, because it remembers what it has read.

    With `patience_seconds`, it goes on without a heartbeat that S3 does not return in this time.
    That is for views: whatever starts or deletes something has to know about every worker.
    """

    def __init__(
        self,
        store: Store,
        layout: RunLayout,
        count: Callable[[Together], Later[RunCounts | None]] = lambda _: lambda: None,
        clock: Callable[[], float] = time.time,
        patience_seconds: float | None = None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._count = count
        self._clock = clock
        self._parts = Cache(store, lambda key, body: part_outline(body, self._place(key)))
        self._cursors = Cache(store, lambda key, body: Cursor.decode(body, self._place(key)).sent)
        self._heartbeats = Cache(store, decode_heartbeat, patience_seconds)
        self._results = Cache(store, lambda key, body: without_log(layout, key, body))
        self._merges = Cache(store, lambda key, body: without_log(layout, key, body))
        self._silences = Cache(store, lambda key, body: decode_result(layout, key, body))
        self._twins_at: tuple[int, Twins] = (0, NO_TWINS)
        """The results that there were when the outputs' names were last listed, and the twins."""

    def snapshot(self) -> Snapshot:
        """Read the run as it is now; raise UsageError if there is no such run."""
        return self.begin(Together(self._store))()

    def begin(self, calls: Together) -> Later[Snapshot]:
        """Take a snapshot, which begins together with other calls."""
        layout = self._layout
        record, manifest = calls.get(layout.run_json), calls.list(layout.manifest.prefix)
        # Their age counts from when they were listed; other calls may take longer.
        agents = calls.list_timed(layout.agents.prefix, self._clock)
        counted = self._count(calls)
        return lambda: self._snapshot(self._run(record()), agents(), manifest(), counted)

    def _snapshot(
        self,
        run: Run,
        agents: tuple[Sequence[ObjectInfo], float],
        manifest: Iterable[ObjectInfo],
        counted: Later[RunCounts | None],
    ) -> Snapshot:
        calls, layout = Together(self._store), self._layout
        heartbeats, outlines, sent = self._reported(agents, manifest)
        # After the heartbeats: what a worker says that it has done has its result.
        splits = [self._layout.result(outline.first) for outline in outlines[1:] if outline.first]
        listed = list_each(self._store, self._layout.results.prefix, splits)
        results = self._versions(run, listed)
        # After the results: a mark is made before its result, so this misses none.
        marks, silences = calls.list(layout.failures.prefix), calls.list(layout.silences.prefix)
        jobs, all_sent = sum(outline.count for outline in outlines), sum(sent)
        # Whether the merge counts is known when the failures are.
        totals = {jobs, jobs + bool(run.then)}
        may_look = any(self._looks_for_twins(run, results, total) for total in totals)
        names = calls.list(layout.output.prefix) if may_look else None
        failures = self._failures(marked_failed(self._store, layout, marks()), results)
        merge = merge_of(run, self._layout, results, failed=bool(failures))
        return Snapshot(
            layout=self._layout,
            run=run,
            taken_at=self._clock(),
            total=jobs + merge.counts,
            sent=all_sent + (merge.counts and all_sent == jobs),
            finished=results,
            failures=failures,
            heartbeats=heartbeats,
            queue=counted(),
            silent=self._silent(run, results, {failure.key for failure in failures}, silences),
            twins=self._twins(run, results, jobs + merge.counts, names),
            merge=merge,
            unread=unread_workers(self._layout, self._heartbeats),
        )

    def _versions(self, run: Run, listed: Iterable[ObjectInfo]) -> Versions:
        """Keep the versions of results; that of a merge only if it covers the others."""
        if run.then is None:
            return versions((item.key, item.etag) for item in listed)
        listing = Listing(self._layout, listed)
        results = versions(listing)
        return with_merge(self._store, self._layout, listing, results, self._one_result)

    def _one_result(self, item: ObjectInfo) -> Result | None:
        return next(iter(self._merges.read([item])), None)

    def _place(self, key: str) -> str:
        return f"s3://{self._store.bucket}/{key}"

    def _run(self, body: bytes | None) -> Run:
        if body is None:
            raise no_run(self._store, self._layout)
        return run_of(self._store.bucket, self._layout.run_json, body)

    def _reported(
        self, agents: tuple[Sequence[ObjectInfo], float], manifest: Iterable[ObjectInfo]
    ) -> tuple[tuple[Heartbeat, ...], list[PartOutline], list[int]]:
        """Return the heartbeats, what each part contains, and how much of each was sent."""
        listed, now = agents
        beats, items = {item.key: item for item in listed}, [*manifest]
        calls = Together(self._store)
        reports = self._heartbeats.begin(calls, beats.values())
        parts = self._parts.begin(calls, (i for i in items if i.key.endswith(PART_SUFFIX)))
        cursors = self._cursors.begin(calls, (i for i in items if not i.key.endswith(PART_SUFFIX)))
        return _dated(self._layout, beats, reports(), now), parts(), cursors()

    def _failures(self, marked: Iterable[str], results: Versions) -> tuple[Result, ...]:
        places = (self._layout.result(key) for key in marked)
        read = self._results.read(_infos(results, (p for p in places if p in results)))
        # A mark means nothing unless the result itself says so: a retry may have succeeded.
        return tuple(sorted((r for r in read if r.status == "failed"), key=lambda r: r.key))

    def _silent(self, run: Run, results: Versions, failed: set[str], listed: Listed) -> Silent:
        if not run.limits.halt_if_silent:
            return NONE_SILENT
        layout = self._layout
        marked = [
            key
            for key in marked_silent(self._store, layout, listed())
            if layout.result(key) in results and key not in failed
        ]
        return of_marks(
            marked, lambda keys: self._silences.read(_infos(results, map(layout.result, keys)))
        )

    def _looks_for_twins(self, run: Run, results: Versions, total: int) -> bool:
        """Whether the outputs' names have to be listed."""
        before, count = self._twins_at[0], len(results)
        return self._may_name(run, results) and not (
            before <= count < min(total, MORE_NAMES * before)
        )

    def _may_name(self, run: Run, results: Versions) -> bool:
        return run.output == self._layout.output and len(results) <= MOST_NAMED

    def _twins(self, run: Run, results: Versions, total: int, listed: Listed | None) -> Twins:
        """Return the twins among the outputs, whose names are `listed` if that may be needed."""
        if not self._may_name(run, results):
            return NO_TWINS
        if listed and self._looks_for_twins(run, results, total):
            place = self._layout.output
            twins = find_twins([place.relative(item.key) for item in listed()])
            self._twins_at = len(results), twins
        return self._twins_at[1]


def _infos(results: Versions, places: Iterable[str]) -> Iterator[ObjectInfo]:
    return (ObjectInfo(place, 0, results[place]) for place in places)


def read_heartbeats(store: Store, layout: RunLayout) -> tuple[Heartbeat, ...]:
    """Return the last heartbeat of each worker that the run has, or had."""
    return heard(store, layout, Cache(store, decode_heartbeat))


def heard(
    store: Store,
    layout: RunLayout,
    beats: Cache[Heartbeat | None],
    clock: Callable[[], float] = time.time,
) -> tuple[Heartbeat, ...]:
    """Return each worker's last heartbeat, with the time when S3 got it; `beats` caches them."""
    items = {item.key: item for item in store.list(layout.agents.prefix)}
    now = clock()
    return _dated(layout, items, beats.read(items.values()), now)


def _dated(
    layout: RunLayout,
    items: Mapping[str, ObjectInfo],
    beats: Iterable[Heartbeat | None],
    now: float,
) -> tuple[Heartbeat, ...]:
    read = [beat for beat in beats if beat is not None]
    places = [layout.heartbeat(beat.worker) for beat in read]
    return tuple(
        beat.as_listed(items[place], now) if place in items else beat
        for beat, place in zip(read, places, strict=True)
    )


def unread_workers(layout: RunLayout, beats: Cache[Heartbeat | None]) -> dict[str, str]:
    """Return the workers whose heartbeats the last look could not read, and why."""
    return {
        layout.agents.relative(key).removesuffix(".json"): error.why or error.what
        for key, error in beats.unread.items()
    }


def without_log(layout: RunLayout, place: str, body: bytes) -> Result:
    """Read a result without the parts that would fill the memory if all were kept."""
    return decode_result(layout, place, body).model_copy(update={"log": "", "outputs": ()})


def decode_heartbeat(_: str, body: bytes) -> Heartbeat | None:
    """Read a heartbeat; None if another version wrote it in a form that this one cannot read."""
    try:
        return Heartbeat.decode(body)
    except DecodeError:
        return None
