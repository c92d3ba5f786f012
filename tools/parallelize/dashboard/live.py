"""Reads for the dashboard: one reader per run, however many people watch it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from parallelize.dashboard.page import Picture, draw
from parallelize.hints import repeat_flags
from parallelize.queues import RunCounts
from parallelize.report.data import Gathered, Provenance, Report, make_report
from parallelize.runs.results.merge import read_sizes
from parallelize.runs.state.history import (
    Finished,
    History,
    HistoryReader,
    read_attempts,
    read_finished,
    told_of_each,
)
from parallelize.runs.state.snapshot import VIEW_SECONDS, Reader, Snapshot
from parallelize.runs.state.status import RunStatus
from parallelize_core.errors import ParallelizeError
from parallelize_core.layout import Location, RunLayout
from parallelize_core.result import Attempt
from parallelize_core.store import Store
from parallelize_core.version import VERSION


@dataclass(frozen=True)
class Place:
    """Where the runs are stored, and what else is known about them, by run name.

    `count` counts a run's queue; `explain` may add why a run is stalled; `hint` is what to append
    to a command so that it means the run; `tell` turns an error about a run into one for the user,
    or None if it is a fault of this program. The last two take "" for no particular run.
    `max_cost` is in US dollars.
    """

    store: Store
    base: Location
    count: Callable[[str], RunCounts | None]
    hint: Callable[[str], str]
    tell: Callable[[Exception, str], ParallelizeError | None]
    explain: Callable[[RunStatus], RunStatus] = lambda status: status
    max_cost: Mapping[str, float | None] = field(default_factory=dict)
    emulated: bool = False

    def layout(self, run: str) -> RunLayout:
        """Return the keys of a run."""
        return RunLayout(self.base, run)


class LiveRun:
    """Reads one run repeatedly."""

    def __init__(self, place: Place, run: str) -> None:
        self._place = place
        self._run = run
        self._reader = Reader(
            place.store,
            place.layout(run),
            lambda _: lambda: place.count(run),
            patience_seconds=VIEW_SECONDS,
        )
        self._history = HistoryReader(place.store, place.layout(run))

    def look(self) -> Picture:
        """Draw the run as it is now; raise UsageError if there is no such run."""
        report, history = self._report()
        return draw(
            report, history, self._place.hint(self._run), self._place.max_cost.get(self._run)
        )

    def _report(self) -> tuple[Report, History]:
        snapshot = self._reader.snapshot()
        history = self._history.read(snapshot)
        report = _report(self._place, snapshot, (), history.results, history.attempts)
        return replace(report, status=self._explained(report.status, snapshot)), history

    def _explained(self, status: RunStatus, snapshot: Snapshot) -> RunStatus:
        """Ask EC2 for more, and make the proposed commands name this run."""
        if status.why and not snapshot.run.paused:
            status = self._place.explain(status)
        hint = self._place.hint(self._run)
        return replace(status, why=status.why and repeat_flags(status.why, hint))


def read_files(place: Place, run: str) -> Report:
    """Read every file of a run as it is now; raise UsageError if there is no such run."""
    store, layout = place.store, place.layout(run)
    snapshot = Reader(store, layout, lambda _: lambda: place.count(run)).snapshot()
    sizes = read_sizes(store, layout, snapshot.run)
    results = told_of_each(read_finished(store, snapshot, sizes.firsts()))
    return _report(place, snapshot, sizes, results, read_attempts(store, layout))


def _report(
    place: Place,
    snapshot: Snapshot,
    sizes: Iterable[tuple[str, int]],
    results: Mapping[str, Finished],
    attempts: Sequence[Attempt],
) -> Report:
    return make_report(
        Gathered(
            snapshot=snapshot,
            sizes=sizes,
            results=results,
            attempts=attempts,
            machines=None,
            on_demand={},
            provenance=Provenance(VERSION, "", place.base.bucket),
            emulated=place.emulated,
        )
    )
