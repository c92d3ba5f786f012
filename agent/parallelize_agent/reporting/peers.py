"""The other workers of the run, as their heartbeats show them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

import structlog

from parallelize_core.errors import DecodeError, MissingError
from parallelize_core.heartbeat import Heartbeat, MemoryPeaks, WorkerState
from parallelize_core.lane import Lane
from parallelize_core.layout import RunLayout
from parallelize_core.store import AsyncStore, Store

log = structlog.get_logger()

ALL_DONE = "every job has its result"
ALL_SENT_DONE = "every job that was sent has its result"
"""Why the leader leaves once it has compared manifest and results."""

MOST_ASKED = 20
"""How many workers' memory peaks are read: they do the same work, and each read costs."""


@dataclass(frozen=True)
class Past:
    """How many jobs of the run have ended, and how long commands ran in total."""

    ended: int
    busy_seconds: float


class Peers:
    """Reads heartbeats, but none again that has not changed.

    `worker` is this worker's id, `lane` the one whose jobs it does.
    """

    def __init__(
        self,
        records: AsyncStore,
        layout: RunLayout,
        worker: str,
        now: Callable[[], float] = time.time,
        lane: Lane = Lane.MAIN,
    ) -> None:
        self._records = records
        self._layout = layout
        self._worker = worker
        self._now = now
        self._lane = lane
        self._known: dict[str, tuple[str, Heartbeat | None]] = {}

    async def living(self) -> AsyncIterator[Heartbeat]:
        """Yield the other workers that are alive and not leaving, lowest id first."""
        async for beat in self._others():
            if self._stays(beat):
                yield beat

    async def beside(self) -> AsyncIterator[Heartbeat]:
        """Yield those of the living that do jobs of this worker's lane."""
        async for beat in self.living():
            if beat.lane is self._lane:
                yield beat

    async def slots_in(self, lane: Lane) -> int:
        """Return how many jobs the living workers of a lane can do at once."""
        return sum([beat.slots async for beat in self.living() if beat.lane is lane])

    async def past(self) -> Past:
        """Return what all workers, including those that have left, report about ended jobs."""
        beats = [beat async for beat in self._all()]
        ended = sum(beat.done + beat.failed for beat in beats)
        return Past(ended, sum(beat.busy_seconds for beat in beats))

    async def any_other(self, besides: Collection[str] = ()) -> bool:
        """Whether another worker of this lane is alive that is not among `besides`."""
        async for beat in self.beside():
            if beat.worker not in besides:
                return True
        return False

    async def leads(self) -> bool:
        """Whether this worker is the leader: it has the lowest id of the living workers.

        The leader sends again what was lost, so that the others can leave. A worker that is still
        being set up does not receive yet, and nobody waits for it.
        The leader sends to its own queue, so a worker for all jobs precedes one of another lane.
        """
        async for beat in self._others():
            if not self._serves(beat):
                continue
            if self._is_for_all(beat.lane):
                return self._is_for_all(self._lane) and self._worker <= beat.worker
            if not self._is_for_all(self._lane) and beat.worker < self._worker:
                return False
        return True

    async def keeps_lane(self) -> bool:
        """Whether this worker has the lowest id of the living workers of its lane.

        It waits for the last leases there: when one of them runs out, only a worker of this lane
        receives the job.
        """
        async for beat in self._others():
            if self._serves(beat) and beat.lane is self._lane:
                return self._worker <= beat.worker
        return True

    def _is_for_all(self, lane: Lane) -> bool:
        return lane is Lane.MAIN

    async def memory_peaks(self) -> list[MemoryPeaks]:
        """Return the memory peaks that a few other workers report, including some that left."""
        found: list[MemoryPeaks] = []
        looked_at = 0
        async for beat in self._others():
            looked_at += 1
            if beat.lane is not Lane.LARGE and beat.memory and beat.memory.peaks.settled:
                found.append(beat.memory.peaks)
            if looked_at >= MOST_ASKED:
                break
        return found

    async def found_done(self, within_seconds: float) -> str:
        """Return why the last leader has left, if it found the run done; empty if not.

        It began to leave within that time. No worker with a lower id than the leader's was
        receiving then, so the search stops at the first that is receiving now; one of another lane
        leads only if there is none for all jobs.
        """
        since = self._now() - within_seconds
        async for beat in self._others():
            if self._serves(beat) and self._is_for_all(beat.lane):
                break
            if beat.reason in {ALL_DONE, ALL_SENT_DONE} and (beat.leaving or 0) >= since:
                return beat.reason
        return ""

    async def _others(self) -> AsyncIterator[Heartbeat]:
        async for beat in self._all():
            if beat.worker != self._worker:
                yield beat

    async def _all(self) -> AsyncIterator[Heartbeat]:
        async for item in self._records.list(self._layout.agents.prefix):
            if beat := await self._read(item.key, item.etag):
                yield beat.as_listed(item, self._now())

    def _stays(self, beat: Heartbeat) -> bool:
        return beat.alive(self._now()) and beat.state is not WorkerState.DRAINING

    def _serves(self, beat: Heartbeat) -> bool:
        return self._stays(beat) and beat.state is not WorkerState.STARTING

    async def _read(self, key: str, etag: str) -> Heartbeat | None:
        """Return a heartbeat, or None if it cannot be read."""
        known = self._known.get(key)
        if known and known[0] == etag:
            return known[1]
        beat: Heartbeat | None = None
        try:
            beat = Heartbeat.decode(await self._records.get(key))
        except (DecodeError, MissingError) as error:
            log.warning("heartbeat not read", key=key, error=str(error))
        self._known[key] = (etag, beat)
        return beat


def read_heartbeats(store: Store, layout: RunLayout) -> Iterator[Heartbeat]:
    """Yield the readable heartbeats of a run, for callers that may block."""
    for item in store.list(layout.agents.prefix):
        with suppress(DecodeError, MissingError):
            beat = Heartbeat.decode(store.get(item.key))
            yield beat.as_listed(item, time.time())
