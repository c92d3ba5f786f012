"""Which lane a job is to be done in, and which of the last jobs go to the steady one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from parallelize_agent.queue.lanes import Lanes, Tail
from parallelize_agent.reporting.peers import Peers
from parallelize_core.config import SteadyStart
from parallelize_core.errors import UnavailableError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.job import JobMessage
from parallelize_core.lane import Lane
from parallelize_core.layout import Location, RunLayout
from parallelize_core.queue import QueueCounts
from parallelize_core.result import Cause
from parallelize_core.testing import AsyncInMemoryQueue, AsyncInMemoryStore, InMemoryStore

LAYOUT = RunLayout(Location("bucket"), "r")
JOB = JobMessage(run="r", key="x", size=1)
MIB = 2**20


def lanes_of(own: Lane, *others: Lane) -> Lanes:
    return Lanes(own, {lane: AsyncInMemoryQueue() for lane in (own, *others)})


def at_receive(lanes: Lanes, interrupted: int) -> Lane:
    message = JOB.after_interruptions(interrupted)
    return asyncio.run(lanes.lane_at_receive(message))


def test_two_interruptions_lead_to_the_steady_lane_and_one_does_not() -> None:
    lanes = lanes_of(Lane.MAIN, Lane.LARGE, Lane.STEADY)
    assert [at_receive(lanes, n) for n in (0, 1, 2)] == [Lane.MAIN, Lane.MAIN, Lane.STEADY]


def test_what_needs_a_large_machine_stays_there_however_often_it_is_interrupted() -> None:
    assert at_receive(lanes_of(Lane.LARGE, Lane.MAIN, Lane.STEADY), 5) is Lane.LARGE


@pytest.mark.parametrize("own", [Lane.MAIN, Lane.STEADY])
def test_the_second_time_out_of_memory_leads_to_the_large_lane(own: Lane) -> None:
    lanes = lanes_of(own, Lane.MAIN, Lane.LARGE)
    once = JOB.with_more_memory(MIB, larger=True)
    twice = once.with_more_memory(3 * MIB, larger=True)
    assert lanes.lane_of_next(JOB, once, Cause.MEMORY) is own
    assert lanes.lane_of_next(once, twice, Cause.MEMORY) is Lane.LARGE
    assert twice.memory_bytes == 6 * MIB, "it is to have twice its peak there"
    assert lanes.lane_of_next(once, once.next_attempt(), Cause.COMMAND) is own


def test_where_nobody_has_more_memory_it_gets_all_of_a_worker() -> None:
    twice = JOB.with_more_memory(MIB).with_more_memory(3 * MIB)
    assert (twice.needs_all, twice.memory_bytes) == (True, 0)


@dataclass
class End:
    """A run near its end, and what a worker asks of it."""

    left: int
    slots: int
    waiting: int = 0
    now: float = 0.0
    asked: list[str] = field(default_factory=list)
    broken: bool = False
    start: SteadyStart | None = None
    job_seconds: float = 0.0
    ended: int = 980
    drawn: float = 0.0

    def __post_init__(self) -> None:
        store = InMemoryStore()
        beat = Heartbeat(
            worker="s", state=WorkerState.IDLE, started=0, seen=0, interval_seconds=30,
            slots=self.slots, lane=Lane.STEADY,
        )  # fmt: skip
        if self.slots:
            store.put(LAYOUT.heartbeat("s"), beat.encode())
        own = Heartbeat(
            worker="w", state=WorkerState.BUSY, started=0, seen=0, interval_seconds=30, slots=2,
            done=self.ended, busy_seconds=self.ended * self.job_seconds,
        )  # fmt: skip
        store.put(LAYOUT.heartbeat("w"), own.encode())
        peers = Peers(AsyncInMemoryStore(store), LAYOUT, "w", lambda: 0.0)
        self.tail = Tail(
            peers, self._count, self._total, self.start, lambda: self.now, lambda: self.drawn
        )

    async def _count(self, lane: Lane) -> QueueCounts:
        self.asked.append(lane)
        if self.broken:
            raise UnavailableError("SQS is unavailable")
        return QueueCounts(self.left if lane is Lane.MAIN else self.waiting, 0, 0)

    async def _total(self) -> int:
        return 1000

    async def refuse(self) -> int:
        raise AssertionError("the jobs that were sent are counted")

    def take(self, times: int) -> int:
        """Return how many of the jobs go to the steady lane."""

        async def ask() -> int:
            return sum([await self.tail.takes() for _ in range(times)])

        return asyncio.run(ask())


@pytest.mark.parametrize(("left", "moved"), [(10, 4), (11, 0)])
def test_the_last_per_cent_is_moved_as_far_as_steady_workers_have_slots(
    left: int, moved: int
) -> None:
    assert End(left, slots=4).take(9) == moved


def test_what_waits_there_already_takes_its_slots() -> None:
    assert End(10, slots=4, waiting=3).take(9) == 1


def test_without_a_steady_worker_nothing_is_moved_nor_counted() -> None:
    end = End(10, slots=0)
    assert (end.take(9), end.asked) == (0, [])


@pytest.mark.parametrize(("drawn", "moved"), [(0.39, 1), (0.4, 0)])
def test_each_worker_leaves_the_share_of_the_others(drawn: float, moved: int) -> None:
    assert End(10, slots=4, drawn=drawn).take(1) == moved


def test_what_comes_back_last_goes_there_whatever_is_drawn() -> None:
    assert End(0, slots=4, drawn=0.99).take(1) == 1


@pytest.mark.parametrize(("seconds", "moved"), [(599, 0), (600, 2)])
def test_a_machine_is_waited_for_if_one_is_started_and_jobs_take_long(
    seconds: float, moved: int
) -> None:
    start = SteadyStart(workers=2, job_seconds=600)
    assert End(10, slots=0, job_seconds=seconds, start=start).take(9) == moved


def test_no_more_wait_for_a_machine_than_are_started() -> None:
    start = SteadyStart(workers=2, job_seconds=600)
    assert End(10, slots=0, waiting=2, job_seconds=600, start=start).take(9) == 0
    assert End(11, slots=0, job_seconds=600, start=start).take(9) == 0, "it is not the end yet"


def test_jobs_are_not_counted_while_many_are_left() -> None:
    """Each worker would ask for each part of the manifest, all the time."""
    end = End(30, slots=0, job_seconds=600, start=SteadyStart(workers=2, job_seconds=600))
    end.tail.total = end.refuse
    assert end.take(9) == 0


def test_nothing_is_asked_of_queues_while_jobs_are_short() -> None:
    end = End(10, slots=0, job_seconds=599, start=SteadyStart(workers=2, job_seconds=600))
    assert (end.take(9), end.asked) == (0, [])


def test_nothing_waits_for_a_machine_that_nobody_starts() -> None:
    assert End(10, slots=0, job_seconds=10_000).take(9) == 0


def test_a_look_that_fails_moves_nothing_and_breaks_nothing() -> None:
    assert End(10, slots=4, broken=True).take(9) == 0


def test_a_look_is_made_again_after_a_while_only() -> None:
    end = End(900, slots=4)
    assert end.take(9) == 0
    end.left = 10
    assert end.take(9) == 0
    end.now = 31
    assert end.take(9) == 4
