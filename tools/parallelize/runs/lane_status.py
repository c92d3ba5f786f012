"""How the lanes of a run stand: what waits in each, and who is there to do it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from parallelize.queues import RunCounts
from parallelize.units import plural
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.lane import Lane


@dataclass(frozen=True)
class LaneStatus:
    """A lane: how many jobs wait in it, how many are at a worker, and its workers that live."""

    lane: Lane
    waiting: int
    at_work: int
    workers: int

    @property
    def is_stuck(self) -> bool:
        """Whether jobs wait, and nobody is there to do them."""
        return bool(self.waiting) and not self.workers


def lane_statuses(queue: RunCounts | None, living: Iterable[Heartbeat]) -> tuple[LaneStatus, ...]:
    """Return how the lanes of a run stand, the main one first; nothing if there is only one."""
    if queue is None or not queue.lanes:
        return ()
    workers = Counter(beat.lane for beat in living)
    return tuple(
        LaneStatus(lane, counts.visible + counts.delayed, counts.in_flight, workers[lane])
        for lane, counts in {Lane.MAIN: queue.main, **queue.lanes}.items()
    )


def told_lanes(lanes: Sequence[LaneStatus]) -> str:
    """Return a line about the lanes beside the main one, empty if there is none."""
    return " · ".join(
        f"{one.lane}: {one.waiting + one.at_work:,} jobs, {plural(one.workers, 'worker')}"
        for one in lanes
        if one.lane is not Lane.MAIN
    )


def why_stuck(lanes: Sequence[LaneStatus]) -> str | None:
    """Say what waits where nobody is there to do it, and what to start; None if nothing does.

    That nobody is there at all is said elsewhere of the main lane.
    """
    return "; ".join(_sentences(lanes)) or None


def _sentences(lanes: Sequence[LaneStatus]) -> Iterator[str]:
    anybody = any(one.workers for one in lanes)
    for one in lanes:
        if not one.is_stuck or (one.lane is Lane.MAIN and not anybody):
            continue
        waits = f"{plural(one.waiting, 'job')} {'waits' if one.waiting == 1 else 'wait'}"
        if one.lane is Lane.MAIN:
            yield f"{waits} in the main lane, which has no workers: parallelize launch"
        else:
            yield (
                f"{waits} in the {one.lane} lane, which has no workers: "
                f"parallelize launch --lane {one.lane}"
            )
