"""Every execution of a run, each record read once: what is drawn of a run that goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from parallelize.bulk import get_each
from parallelize.runs.cache import Cache
from parallelize.runs.results import read_listed
from parallelize.runs.snapshot import Snapshot, without_log
from parallelize_core.errors import DecodeError
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry
from parallelize_core.result import Attempt, Result
from parallelize_core.store import ObjectInfo, Store

BATCH = 500
"""Records of each kind that one look reads, so that the first is soon there."""

MOST = 20_000
"""Results of a run beyond which none are read: they would take minutes, and 4 KB of memory each."""


@dataclass(frozen=True)
class History:
    """What was read so far, without logs: results by input, and the attempts before them.

    `unread` says how many records are left for later looks, `too_many` that none are read at all.
    """

    results: Mapping[str, Result]
    attempts: Sequence[Attempt]
    unread: int = 0
    too_many: bool = False


class HistoryReader:
    """Reads the records of one run, `batch` at each look; keep it, for what it remembers."""

    def __init__(
        self, store: Store, layout: RunLayout, batch: int = BATCH, most: int = MOST
    ) -> None:
        self._store = store
        self._layout = layout
        self._batch = batch
        self._most = most
        self._results = Cache(store, lambda key, body: without_log(layout, key, body))
        self._attempts = Cache(store, decode_attempt)

    def read(self, snapshot: Snapshot) -> History:
        """Read what is new since the last time, or as much of it as one look may."""
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
    """Read an attempt without its log; None if it cannot be read, so that it tells nothing."""
    try:
        return Attempt.decode(body).model_copy(update={"log": ""})
    except DecodeError:
        return None


def read_finished(
    store: Store,
    snapshot: Snapshot,
    entries: Sequence[Entry],
    step: Callable[[], None] = lambda: None,
) -> dict[str, Result]:
    """Read the results that the snapshot counts, without their logs; by input.

    `step` is called at each.
    """
    layout = snapshot.layout
    places = (layout.result(entry.key) for entry in entries)
    listed = {p: snapshot.finished[p] for p in places if p in snapshot.finished}
    results = {}
    for result in read_listed(store, layout, listed):
        step()
        results[result.key] = result
    return results


def read_attempts(store: Store, layout: RunLayout) -> list[Attempt]:
    """Read the records of the executions that were not their job's last, without their logs."""
    places = (item.key for item in store.list(layout.attempts.prefix))
    records = get_each(store, (place for place in places if place.endswith(".json")))
    found = (decode_attempt(place, body) for place, body in records if body is not None)
    return [attempt for attempt in found if attempt is not None]
