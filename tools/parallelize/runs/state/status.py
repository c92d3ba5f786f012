"""How a run is doing: pure functions from a snapshot to what is shown of it.

For each lane it says what waits there, and which workers it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from parallelize.console import escape, shown
from parallelize.queues import RunCounts
from parallelize.runs.files.twins import NO_TWINS, Twins
from parallelize.runs.results.merge import Merge
from parallelize.runs.results.silent import NONE_SILENT, Silent
from parallelize.runs.state.snapshot import Snapshot
from parallelize.runs.state.spending import spent_on
from parallelize.units import plural, show_duration
from parallelize_core.cost import Spent
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.lane import Lane
from parallelize_core.result import Result


@dataclass(frozen=True)
class LaneStatus:
    """A lane: how many jobs wait in it, how many are running, and how many live workers it has."""

    lane: Lane
    waiting: int
    at_work: int
    workers: int

    @property
    def is_stuck(self) -> bool:
        """Whether jobs wait, and the lane has no workers."""
        return bool(self.waiting) and not self.workers


def lane_statuses(queue: RunCounts | None, living: Iterable[Heartbeat]) -> tuple[LaneStatus, ...]:
    """Return the state of the run's lanes, the main one first; nothing if it is the only one."""
    if queue is None or not queue.lanes:
        return ()
    workers = Counter(beat.lane for beat in living)
    return tuple(
        LaneStatus(lane, counts.visible + counts.delayed, counts.in_flight, workers[lane])
        for lane, counts in {Lane.MAIN: queue.main, **queue.lanes}.items()
    )


def told_lanes(lanes: Sequence[LaneStatus]) -> str:
    """Return a line about all lanes but the main one, empty if there are none."""
    return " · ".join(
        f"{one.lane}: {one.waiting + one.at_work:,} jobs, {plural(one.workers, 'worker')}"
        for one in lanes
        if one.lane is not Lane.MAIN
    )


def why_stuck(lanes: Sequence[LaneStatus]) -> str | None:
    """Say in which lanes jobs wait without a worker, and what to start; None if in none.

    If there are no workers at all, the main lane is reported elsewhere.
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


_ENDED = {WorkerState.LEFT, WorkerState.FAILED}


class RunState(StrEnum):
    """A run is in exactly one of these states."""

    RUNNING = "running"
    """Some job has no result yet, and at least one worker is alive."""
    IDLE = "idle"
    """Some job has no result yet, and no worker is alive: nothing will happen without a launch."""
    DRAINED = "drained"
    """Every job has a result, and all succeeded."""
    FAILED = "failed"
    """Every job has a result, and some have failed."""


OVERDUE = "overdue"
"""Shown for a worker that should have reported long ago: it is gone or cut off."""


class Worker(NamedTuple):
    """A worker by its last heartbeat, and whether that is too old."""

    beat: Heartbeat
    overdue: bool

    @property
    def id(self) -> str:
        """The worker's id."""
        return self.beat.worker

    @property
    def ended(self) -> bool:
        """Whether it has left."""
        return self.beat.state in _ENDED

    @property
    def alive(self) -> bool:
        """Whether it can be counted on."""
        return not self.ended and not self.overdue

    @property
    def state(self) -> str:
        """The state that it reported, or `overdue`."""
        return OVERDUE if self.overdue else self.beat.state.value


@dataclass(frozen=True)
class RunStatus:
    """The counts of a run. Each job is exactly one of done, failed, running or waiting.

    `waiting` includes the jobs that were never sent to the queue; `unsent` is their number.
    `elapsed` is the seconds since the first worker started, `rate` the files per second of the live
    workers, `spent` an estimate of US dollars so far, `why` one sentence on a run that makes no
    progress. `silent` are done jobs that produced no output, `twins` are outputs that one disk
    cannot hold, `unread` maps workers whose heartbeats could not be read, which are in no count, to
    the reason.
    """

    run: str
    state: RunState
    taken_at: float
    total: int
    done: int
    failed: int
    running: int
    waiting: int
    unsent: int
    workers: tuple[Worker, ...]
    elapsed: float
    rate: float
    spent: Spent
    last_failure: Result | None
    why: str | None
    silent: Silent = NONE_SILENT
    twins: Twins = NO_TWINS
    merge: Merge = Merge.NONE
    lanes: tuple[LaneStatus, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    paused: bool = False

    @property
    def left(self) -> int:
        """How many jobs have no result yet."""
        return self.running + self.waiting

    @property
    def finished(self) -> bool:
        """Whether every job has a result."""
        return self.left == 0

    @property
    def sample_done(self) -> bool:
        """Whether all jobs that were sent have results, others are unsent, and nobody works."""
        return 0 < self.left <= self.unsent < self.total and not self.alive

    @property
    def cost(self) -> float:
        """What the run has cost so far, estimated in US dollars."""
        return self.spent.total

    @property
    def cost_per_file(self) -> float | None:
        """What a finished file has cost, estimated in US dollars; None before there is one."""
        finished = self.done + self.failed
        return self.cost / finished if finished and self.cost else None

    @property
    def cost_to_finish(self) -> float | None:
        """What the files without a result will cost if they are like the others, estimated."""
        each = self.cost_per_file
        return None if each is None else each * self.left

    @property
    def eta(self) -> float | None:
        """The seconds until all jobs that were sent have results, at this rate; None if unknown."""
        under_way = self.left - self.unsent
        return under_way / self.rate if under_way and self.rate else None

    @property
    def alive(self) -> int:
        """How many workers are alive."""
        return sum(worker.alive for worker in self.workers)


def status_of(snapshot: Snapshot) -> RunStatus:
    """Work out how the run is doing."""
    workers = tuple(
        worker_of(_up_to_date(beat, snapshot), snapshot.taken_at) for beat in snapshot.heartbeats
    )
    left = max(0, snapshot.total - len(snapshot.finished))
    # As many as at the heartbeats: jobs that have ended since made room for others.
    busy = (beat for beat in snapshot.heartbeats if worker_of(beat, snapshot.taken_at).alive)
    running = min(left, sum(len(beat.running) for beat in busy))
    failed = len(snapshot.failures)
    state = _state(left, failed, any(worker.alive for worker in workers))
    return RunStatus(
        run=snapshot.layout.run,
        state=state,
        taken_at=snapshot.taken_at,
        total=snapshot.total,
        done=len(snapshot.finished) - failed,
        failed=failed,
        running=running,
        waiting=left - running,
        unsent=min(left, snapshot.total - snapshot.sent),
        workers=workers,
        elapsed=_elapsed(snapshot, left),
        rate=sum(_rate(worker.beat) for worker in workers if worker.alive),
        spent=spent_on(snapshot),
        last_failure=max(snapshot.failures, key=lambda r: r.finished_at, default=None),
        why=why(snapshot, workers) if left else None,
        silent=snapshot.silent,
        twins=snapshot.twins,
        merge=snapshot.merge,
        lanes=_lanes(snapshot, workers),
        unread=snapshot.unread,
        paused=bool(snapshot.run.paused),
    )


def _lanes(snapshot: Snapshot, workers: tuple[Worker, ...]) -> tuple[LaneStatus, ...]:
    return lane_statuses(snapshot.queue, (worker.beat for worker in workers if worker.alive))


def worker_of(beat: Heartbeat, now: float) -> Worker:
    """Judge a heartbeat at the time `now`, seconds since 1970."""
    return Worker(beat, overdue=beat.state not in _ENDED and not beat.alive(now))


def why(snapshot: Snapshot, workers: tuple[Worker, ...]) -> str | None:
    """Say in one sentence why an unfinished run makes no progress, None if it does."""
    if snapshot.run.paused:
        reason = escape(snapshot.run.paused)
        return f"the run is paused: {reason}; parallelize enqueue resumes it"
    if snapshot.sent == 0 and not snapshot.finished:
        return "nothing was sent to the queue yet: parallelize enqueue"
    if overdue := [worker for worker in workers if worker.overdue]:
        return _why_overdue(snapshot, overdue)
    if stuck := why_stuck(_lanes(snapshot, workers)):
        return stuck
    if any(worker.alive for worker in workers):
        return None
    return told_unread(snapshot.unread) or _why_idle(snapshot, workers)


def told_unread(unread: Mapping[str, str]) -> str:
    """Say which workers are not counted, and why; empty if all are."""
    if not unread:
        return ""
    worker, reason = next(iter(unread.items()))
    more = f" and {len(unread) - 1:,} more" if len(unread) > 1 else ""
    return (
        f"the heartbeat of worker {shown(worker, 30)}{more} cannot be read, so it is not "
        f"counted here: {escape(reason)}"
    )


def _why_idle(snapshot: Snapshot, workers: tuple[Worker, ...]) -> str:
    queue = snapshot.queue
    if snapshot.merge is Merge.TO_COME and len(snapshot.finished) == snapshot.total - 1:
        return "only run.then is left, which a worker puts on the queue: parallelize launch"
    if queue is not None and queue.total == 0:
        missing = plural(snapshot.total - len(snapshot.finished), "result")
        return f"the queue is empty, but {missing} still missing: parallelize enqueue"
    if not workers:
        return (
            "no worker has reported yet: launch workers, or wait for them to boot; "
            "the console of one that has ended says why"
        )
    return _last_words(workers)


def _why_overdue(snapshot: Snapshot, overdue: list[Worker]) -> str:
    first = overdue[0]
    age = show_duration(snapshot.taken_at - first.beat.last_seen)
    if len(overdue) == 1:
        return f"worker {shown(first.id, 30)} is overdue: last seen {age} ago"
    return f"{len(overdue)} workers are overdue, {shown(first.id, 30)} since {age}"


def _last_words(workers: tuple[Worker, ...]) -> str:
    last = max(workers, key=lambda worker: worker.beat.last_seen)
    words = escape(last.beat.reason) or "no reason"
    return (
        "all workers have left: parallelize launch starts others; "
        f"the last ({shown(last.id, 30)}) said: {words}{_and_fix(last)}"
    )


def _and_fix(worker: Worker) -> str:
    return f"; to see more, or to fix it: {escape(worker.beat.fix)}" if worker.beat.fix else ""


def _state(left: int, failed: int, alive: bool) -> RunState:  # noqa: FBT001 - three facts
    if left:
        return RunState.RUNNING if alive else RunState.IDLE
    return RunState.FAILED if failed else RunState.DRAINED


def _up_to_date(beat: Heartbeat, snapshot: Snapshot) -> Heartbeat:
    """Return a heartbeat without the files that have a result: it may be older than those."""
    layout, finished = snapshot.layout, snapshot.finished
    running = tuple(key for key in beat.running if layout.result(key) not in finished)
    return beat.model_copy(update={"running": running})


def _elapsed(snapshot: Snapshot, left: int) -> float:
    if not snapshot.heartbeats:
        return 0.0
    last = snapshot.taken_at if left else max(beat.seen for beat in snapshot.heartbeats)
    return max(0.0, last - min(beat.started for beat in snapshot.heartbeats))


def _rate(beat: Heartbeat) -> float:
    """Return a worker's files per second since its set-up ended and it started to receive."""
    since = beat.started if beat.ready is None else beat.ready
    return (beat.done + beat.failed) / max(1.0, beat.seen - since)
