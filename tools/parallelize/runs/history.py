"""Every execution of a run, each record read once: what is drawn of a run that goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parallelize.runs.cache import Cache
from parallelize.runs.snapshot import Snapshot, without_log
from parallelize_core.layout import RunLayout
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
        self._results = Cache(store, without_log)
        self._attempts = Cache(store, _attempt)

    def read(self, snapshot: Snapshot) -> History:
        """Read what is new since the last time, or as much of it as one look may."""
        if len(snapshot.finished) > self._most:
            return History({}, (), too_many=True)
        finished = [ObjectInfo(key, 0, etag) for key, etag in snapshot.finished.items()]
        tried = self._store.list(self._layout.attempts.prefix)
        records = [item for item in tried if item.key.endswith(".json")]
        results = self._results.read(finished, self._batch)
        attempts = self._attempts.read(records, self._batch)
        unread = len(finished) - len(results) + len(records) - len(attempts)
        return History({result.key: result for result in results}, attempts, unread)


def _attempt(body: bytes) -> Attempt:
    return Attempt.decode(body).model_copy(update={"log": ""})
