"""The runs in a bucket, as far as listing them is cheap.

Reads one listing of folders and, for each run, its record and its workers' heartbeats, so the cost
does not grow with the number of files. Only where no worker has reported, it counts the results
that were copied, a thousand with each request. How many files have a result is for `status` to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parallelize.console import shown
from parallelize.runs.record.ownership import find, find_run
from parallelize.runs.record.reuse import COPIER
from parallelize.runs.results.cache import Cache
from parallelize.runs.state.snapshot import (
    VIEW_SECONDS,
    decode_heartbeat,
    heard,
    unread_workers,
)
from parallelize.runs.state.status import Worker, told_unread, worker_of
from parallelize.transfers import in_parallel
from parallelize.units import iso, show_duration
from parallelize_core.errors import DecodeError
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.layout import RUN_NAME, Location, RunLayout
from parallelize_core.run import Run
from parallelize_core.segment import read_segment
from parallelize_core.store import Store

SCHEMA = 1

OWNER_WIDTH = 9
"""The rest of 80 columns; the JSON has all of it."""

FEW_THREADS = 4
"""Few, because each thread reads a run's heartbeats with as many threads as `transfers` allows."""


@dataclass(frozen=True)
class Listed:
    """A run by its record, its workers by their last heartbeat; `run` is None if it has no record.

    It has none while `prep` is still sending inputs, or if a newer version wrote the record.
    `unread` maps workers whose heartbeats could not be read to the reason. `copied` is how many
    results came from other runs; it is counted only while no worker has reported.
    """

    name: str
    run: Run | None
    workers: tuple[Worker, ...] = ()
    owner: str = ""
    unread: Mapping[str, str] = field(default_factory=dict)
    copied: int = 0

    @property
    def alive(self) -> int:
        """How many workers are alive."""
        return sum(worker.alive for worker in self.workers)

    @property
    def done(self) -> int:
        """How many jobs have succeeded, as the workers report, or were copied."""
        return self.copied + self.done_by_workers

    @property
    def done_by_workers(self) -> int:
        """How many jobs have succeeded, as the workers report."""
        return sum(worker.beat.done for worker in self.workers)

    @property
    def failed(self) -> int:
        """How many files have failed for good, as the workers report."""
        return sum(worker.beat.failed for worker in self.workers)

    @property
    def seen(self) -> float | None:
        """The time of the last heartbeat of any worker, in seconds since 1970."""
        return max((worker.beat.last_seen for worker in self.workers), default=None)

    @property
    def created_at(self) -> str:
        """When it was prepared, as ISO 8601; empty if not known."""
        return self.run.created_at if self.run else ""

    @property
    def state(self) -> str:
        """Its state: incomplete, paused, running, overdue, unknown, new, or quiet."""
        if self.run is None:
            return "incomplete"
        if self.run.paused:
            return "paused"
        if self.alive:
            return "running"
        if any(worker.overdue for worker in self.workers):
            return "overdue"
        if self.unread:
            return "unknown"
        return "quiet" if self.workers or self.copied else "new"

    @property
    def shown_state(self) -> str:
        """The state in words for people."""
        return "inactive" if self.state == "quiet" else self.state

    @property
    def word(self) -> str:
        """Why it is paused, or why its last worker left."""
        if self.run and self.run.paused:
            return self.run.paused
        last = max(self.workers, key=lambda worker: worker.beat.last_seen, default=None)
        return last.beat.reason if last else ""


class Catalog:
    """Lists the runs below a place; keep it, because it remembers heartbeats that it has read."""

    def __init__(
        self, store: Store, base: Location, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._base = base
        self._clock = clock
        self._beats: dict[str, Cache[Heartbeat | None]] = {}
        self._copies: dict[str, Cache[int]] = {}

    def runs(self) -> list[Listed]:
        """Return the runs, newest first."""
        found = self._store.folders(self._base.key("runs", ""))
        names = [name for name in found if RUN_NAME.fullmatch(name)]
        self._beats = {name: self._beats.get(name) or self._new_cache() for name in names}
        self._copies = {
            name: self._copies.get(name) or Cache(self._store, _count) for name in names
        }
        listed = in_parallel(self._look, names, FEW_THREADS)
        return sorted(listed, key=lambda one: (one.created_at, one.name), reverse=True)

    def _new_cache(self) -> Cache[Heartbeat | None]:
        return Cache(self._store, decode_heartbeat, VIEW_SECONDS)

    def _look(self, name: str) -> Listed:
        layout = RunLayout(self._base, name)
        try:
            run = find_run(self._store, layout.run_json)
        except DecodeError:
            run = None
        beats = self._beats[name]
        read = heard(self._store, layout, beats, self._clock)
        now = self._clock()
        return Listed(
            name,
            run,
            tuple(worker_of(beat, now) for beat in read),
            run.owner if run else self._beginner(layout),
            unread_workers(layout, beats),
            0 if read or run is None else self._copied(layout),
        )

    def _copied(self, layout: RunLayout) -> int:
        """Return how many results were copied from other runs."""
        segments = self._store.list(layout.segments.key(f"{COPIER}."))
        return sum(self._copies[layout.run].read(segments))

    def _beginner(self, layout: RunLayout) -> str:
        """Return who started preparing a run that has no record yet."""
        origin = find(self._store, layout).origin
        return origin.owner if origin else ""


def _count(_: str, segment: bytes) -> int:
    try:
        return sum(1 for _ in read_segment(segment))
    except DecodeError:
        return 0


def as_json(runs: Sequence[Listed]) -> dict[str, Any]:
    """Return the object that `runs --json` prints."""
    return {"schema": SCHEMA, "runs": [_listed_json(listed) for listed in runs]}


def _listed_json(listed: Listed) -> dict[str, Any]:
    seen = listed.seen
    return {
        "run": listed.name,
        "owner": listed.owner or None,
        "state": listed.state,
        "created_at": listed.created_at or None,
        "workers_alive": listed.alive,
        "workers": len(listed.workers),
        "done_by_workers": listed.done_by_workers,
        "copied": listed.copied,
        "failed_by_workers": listed.failed,
        "workers_unread": dict(listed.unread),
        "seen": None if seen is None else iso(seen),
        "command": list(listed.run.command) if listed.run else None,
        "reason": listed.word,
    }


def listing(found: Sequence[Listed], now: float) -> Iterator[str]:
    """Return a heading, and a line for each run; `now` is seconds since 1970."""
    yield _row("run", "created", "state", "alive", "done", "failed", "seen", "owner")
    for one in found:
        created = one.created_at[:10]
        seen = "" if one.seen is None else show_duration(now - one.seen)
        # The user's ARN is only in `--json`: a line has no room for it.
        who = one.owner.partition(" ")[0]
        counts = (f"{one.alive:,}", f"{one.done:,}", f"{one.failed:,}")
        yield _row(one.name, created, one.shown_state, *counts, seen, who)


def remarks(found: Sequence[Listed]) -> Iterator[str]:
    """Say which workers are not included in any count."""
    for one in found:
        if told := told_unread(one.unread):
            yield f"{shown(one.name, 30)}: {told}"


def _row(*cells: str) -> str:
    widths = (20, 10, 10, 5, 7, 6, 6, OWNER_WIDTH)
    name, created, state, alive, done, failed, seen, owner = (
        shown(cell, width) for cell, width in zip(cells, widths, strict=True)
    )
    counts = f"{alive:>5} {done:>7} {failed:>6} {seen:>6}"
    return f"{name:<20} {created:<10} {state:<10} {counts} {owner}".rstrip()
