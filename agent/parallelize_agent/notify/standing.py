"""The state of a run at its end, for the notification."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from parallelize_agent.reporting.peers import read_heartbeats
from parallelize_core.charges import Rates
from parallelize_core.clock import utc_now
from parallelize_core.config import AgentConfig
from parallelize_core.cost import spent_usd
from parallelize_core.errors import DecodeError, MissingError
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import read_cursor, read_parts
from parallelize_core.merge import MERGE
from parallelize_core.notify import Event, Notification
from parallelize_core.pause import is_cost_limit
from parallelize_core.result import Result
from parallelize_core.run import Run
from parallelize_core.store import Store

MOST_READ = 2000
"""Beyond this many, results of perhaps failed jobs are not read: marks without failure are rare."""

READERS = 16


def event_of_pause(run: Run) -> Event:
    """Return the event to report for a paused run."""
    return Event.OUT_OF_BUDGET if is_cost_limit(run.paused) else Event.PAUSED


def identify(store: Store, layout: RunLayout, run: Run, event: Event) -> str:
    """Return an id for this end of the run; every worker computes the same.

    Added or removed results make it another end; so does a pause after the run was resumed.
    """
    digest = hashlib.sha256(f"{run.paused}\n{run.resumed_at}\n".encode())
    if event is Event.FINISHED:
        for item in store.list(layout.results.prefix):
            digest.update(f"{item.key} {item.etag}\n".encode())
    return digest.hexdigest()[:16]


@dataclass
class Counts:
    """The jobs of a run; `suspects` are results whose marks say that the job may have failed."""

    total: int = 0
    finished: int = 0
    unsent: int = 0
    suspects: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Look:
    """A look at a run; `flags` are appended to the proposed commands. It blocks."""

    store: Store
    config: AgentConfig
    flags: str

    def describe(self, run: Run, event: Event, end: str) -> Notification:
        """Return the notification; `end` is what `identify` returned."""
        counts = count(self.store, self.config.layout)
        failed = count_failed(self.store, counts.suspects)
        beats = read_heartbeats(self.store, self.config.layout)
        return Notification(
            id=f"{run.name}-{event}-{end}",
            event=event,
            run=run.name,
            at=utc_now(),
            total=counts.total,
            done=counts.finished - failed,
            failed=failed,
            unsent=counts.unsent,
            cost_usd=cost(beats, self.config.rates),
            reason=run.paused,
            next=next_step(
                event if counts.finished < counts.total else Event.FINISHED,
                failed=failed,
                unsent=counts.unsent,
                flags=self.flags,
            ),
        )


def count(store: Store, layout: RunLayout) -> Counts:
    """Compare the manifest with the results."""
    results = {item.key for item in store.list(layout.results.prefix)}
    marks = {item.key for item in store.list(layout.failures.prefix)}
    counts = Counts()
    for part in read_parts(store, layout):
        counts.total += len(part.entries)
        counts.unsent += max(0, len(part.entries) - read_cursor(store, layout, part.number).sent)
        for entry in part.entries:
            if (place := layout.result(entry.key)) in results:
                counts.finished += 1
                counts.suspects += [place] if layout.failure(entry.key) in marks else []
    if (merged := layout.result(MERGE)) in results:
        counts.total += 1
        counts.finished += 1
        counts.suspects += [merged] if layout.failure(MERGE) in marks else []
    return counts


def count_failed(store: Store, suspects: Sequence[str]) -> int:
    """Return how many of these results say that the job has failed."""
    if len(suspects) > MOST_READ:
        return len(suspects)
    with ThreadPoolExecutor(READERS) as readers:
        return sum(readers.map(lambda place: _has_failed(store, place), suspects))


def _has_failed(store: Store, place: str) -> bool:
    with suppress(DecodeError, MissingError):
        return Result.decode(store.get(place)).status == "failed"
    return False


def cost(heartbeats: Iterable[Heartbeat], rates: Rates | None) -> float | None:
    """Return what the run has cost in USD, None if no price is known."""
    beats = list(heartbeats)
    if rates is None and all(beat.hourly_usd is None for beat in beats):
        return None
    return round((rates.prepared if rates else 0.0) + spent_usd(beats), 2)


def next_step(event: Event, *, failed: int, unsent: int, flags: str) -> str:
    """Return the command that goes on from here; a run without jobs left is finished."""
    if event is Event.OUT_OF_BUDGET:
        return f"raise workers.max_cost, then parallelize enqueue{flags}, parallelize launch{flags}"
    if failed:
        return f"parallelize failures{flags}"
    if event is Event.PAUSED:
        return f"parallelize status{flags}"
    return f"parallelize enqueue{flags}" if unsent else f"parallelize download DIR{flags}"
