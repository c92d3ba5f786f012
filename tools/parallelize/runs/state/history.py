"""Every execution of a run, each record read once: the data for the charts of a live run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern

from parallelize.bulk import get_each
from parallelize.runs.results.cache import Cache
from parallelize.runs.results.failed import label
from parallelize.runs.results.results import decode_result, listed_table, read_listed
from parallelize.runs.state.snapshot import Snapshot
from parallelize.units import epoch
from parallelize_core.errors import DecodeError
from parallelize_core.layout import RunLayout
from parallelize_core.result import Attempt, Cause, Result
from parallelize_core.store import ObjectInfo, Store

BATCH = 500
"""Records of each kind that one look reads, so that the first look is quick."""

MOST = 20_000
"""If a run has more results, none are read: that would take minutes."""


@dataclass(slots=True)  # a frozen one takes several times as long to make, of a million
class Execution:
    """A command that ran on a worker from `begin` to `end`, in seconds since 1970.

    The record has the end and the duration; fetching the input and storing the output are outside
    of it. `how` is "done", or says how it failed; `cause` is None for success. `final` says that
    this execution gave the file its result.
    """

    key: str
    worker: str
    begin: float
    end: float
    how: str
    cause: Cause | None
    final: bool = True


@dataclass(slots=True)  # see Execution
class Finished:
    """What is kept of each result: a million whole ones would take 8 GB of memory.

    Its fields are the result's; `bytes_out` is the size of all outputs together, and `execution` is
    None if the record has no times. If no command `ran`, it used no resources.
    """

    key: str
    status: str
    attempt: int
    worker: str
    finished_at: str
    ran: bool
    bytes_out: int
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    gpu_memory_bytes: int
    gpu_busy: float | None
    execution: Execution | None


@dataclass(frozen=True)
class History:
    """What was read so far: the finished jobs, by input, and their earlier attempts.

    `unread` records are left for later looks; `too_many` says that none are read at all.
    """

    results: Mapping[str, Finished]
    attempts: Sequence[Attempt]
    unread: int = 0
    too_many: bool = False


class HistoryReader:
    """Reads the records of one run, `batch` at each look; keep it, because it remembers them."""

    def __init__(
        self, store: Store, layout: RunLayout, batch: int = BATCH, most: int = MOST
    ) -> None:
        self._store = store
        self._layout = layout
        self._batch = batch
        self._most = most
        self._results = Cache(store, lambda key, body: finished(decode_result(layout, key, body)))
        self._attempts = Cache(store, decode_attempt)

    def read(self, snapshot: Snapshot) -> History:
        """Read what is new since the last look, or as much of it as one look may."""
        listed = snapshot.finished
        if len(listed) > self._most or not isinstance(listed, Mapping):
            return History({}, (), too_many=True)
        finished = [ObjectInfo(key, 0, etag) for key, etag in listed.items()]
        tried = self._store.list(self._layout.attempts.prefix)
        records = [item for item in tried if item.key.endswith(".json")]
        results = self._results.read(finished, self._batch)
        attempts = self._attempts.read(records, self._batch)
        unread = len(finished) - len(results) + len(records) - len(attempts)
        known = [attempt for attempt in attempts if attempt is not None]
        return History({result.key: result for result in results}, known, unread)


def decode_attempt(_: str, body: bytes) -> Attempt | None:
    """Read an attempt without its log; None if it cannot be read."""
    try:
        return Attempt.decode(body).model_copy(update={"log": ""})
    except DecodeError:
        return None


def finished(result: Result) -> Finished:
    """Return the part of a result that is kept."""
    usage = result.usage
    return Finished(
        key=result.key,
        status=intern(result.status),
        attempt=result.attempt,
        worker=intern(result.worker),
        finished_at=result.finished_at,
        ran=result.exit_code is not None,
        bytes_out=sum(output.size for output in result.outputs),
        seconds=usage.seconds,
        cpu_seconds=usage.cpu_seconds,
        peak_memory_bytes=usage.peak_memory_bytes,
        gpu_memory_bytes=usage.gpu_memory_bytes,
        gpu_busy=usage.gpu_busy,
        execution=execution(result),
    )


def told_of_each(results: Iterable[Result]) -> dict[str, Finished]:
    """Return the kept parts of results, by input."""
    return {result.key: finished(result) for result in results}


@dataclass
class Remembered:
    """What a report needs of results that were read before, by input, with their ETags."""

    _results: dict[str, tuple[str, Finished]] = field(default_factory=dict)

    def add(self, etag: str, result: Result) -> None:
        """Keep what `read_versions` yields, unless the ETag is unknown."""
        if etag:
            self._results[result.key] = etag, finished(result)

    def of(self, snapshot: Snapshot) -> dict[str, Finished]:
        """Return the results that have not changed since, by input."""
        listed, result = snapshot.finished, snapshot.layout.result
        return {
            key: kept
            for key, (etag, kept) in self._results.items()
            if listed.get(result(key)) == etag
        }


def execution(record: Attempt) -> Execution | None:
    """Return when and where a command ran, as its record says; None if that has no times."""
    end, received = epoch(record.finished_at), epoch(record.started_at)
    if end is None or received is None:
        return None
    return Execution(
        key=record.key,
        worker=intern(record.worker),
        begin=min(end, max(received, end - record.usage.seconds)),
        end=end,
        how=intern(label(record)),
        cause=record.cause,
        final=isinstance(record, Result),
    )


def read_finished(
    store: Store,
    snapshot: Snapshot,
    inputs: Iterable[str],
    step: Callable[[], None] = lambda: None,
) -> Iterator[Result]:
    """Read the results of these inputs that the snapshot counts, without their logs.

    Calls `step` at each.
    """
    places = map(snapshot.layout.result, inputs)
    etag_of = snapshot.finished.get
    listed = ((place, etag) for place in places if (etag := etag_of(place)) is not None)
    for result in read_listed(store, snapshot.layout, listed_table(listed)):
        step()
        yield result


def read_attempts(store: Store, layout: RunLayout) -> list[Attempt]:
    """Read the records of the executions that were not their job's last, without their logs."""
    places = (item.key for item in store.list(layout.attempts.prefix))
    records = get_each(store, (place for place in places if place.endswith(".json")))
    found = (decode_attempt(place, body) for place, body in records if body is not None)
    return [attempt for attempt in found if attempt is not None]
