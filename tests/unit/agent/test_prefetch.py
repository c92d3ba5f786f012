"""How many jobs are held ready: enough to hide a transfer, none that another could start."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.workers import LAYOUT

from parallelize_agent.job import fault
from parallelize_agent.job.job import Decision, Job, Ran, Received, Staged
from parallelize_agent.job.pipeline import MOST_PER_SLOT, Average, Pipeline, places_ahead
from parallelize_agent.job.scratch import JobFolder
from parallelize_agent.memory.admission import Memory
from parallelize_agent.memory.peaks import PeakModel
from parallelize_agent.queue.leases import Lease, LeaseTerms
from parallelize_core.job import JobMessage
from parallelize_core.queue import Message
from parallelize_core.run import Environment, Run

seconds = st.floats(0, 1e6)
paces = st.lists(seconds, min_size=1, max_size=200)


def test_nothing_is_held_ready_beside_long_jobs() -> None:
    assert places_ahead([3600.0] * 64, 0.1) == 0


def test_short_jobs_are_held_ready_for_a_second() -> None:
    assert places_ahead([1.0] * 4, 0.01) == 4
    assert places_ahead([0.5] * 4, 0.01) == 8


def test_a_slow_transfer_is_hidden() -> None:
    assert places_ahead([30.0] * 4, 30.0) == 8


@given(paces, seconds)
def test_it_is_bounded(paces: list[float], stage_in: float) -> None:
    assert 0 <= places_ahead(paces, stage_in) <= MOST_PER_SLOT * len(paces)


@given(paces, seconds, st.floats(1, 1e3))
def test_longer_jobs_never_need_more_held_ready(
    paces: list[float], stage_in: float, longer: float
) -> None:
    assert places_ahead([pace * longer for pace in paces], stage_in) <= places_ahead(
        paces, stage_in
    )


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_an_average_lies_among_its_values(values: list[float]) -> None:
    average = Average()
    for value in values:
        average.add(value)
    assert average.value is not None
    assert min(values) * (1 - 1e-9) - 1e-9 <= average.value <= max(values) * (1 + 1e-9) + 1e-9


RUN = Run(
    name="r",
    command=("true",),
    environment=Environment(bucket="b", key="env.zip", identity="e"),
    input=LAYOUT.input,
    output=LAYOUT.output,
    created_at="2026-01-01T00:00:00Z",
)


@dataclass
class Held:
    """The stages of jobs whose commands run until the test lets them end."""

    running: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def stage_in(self, received: Received, others: int) -> Staged:
        return Staged(received, RUN, None, JobFolder("/nowhere", "x"), b"")

    async def execute(self, job: Job, staged: Staged) -> Ran | Decision:
        self.running.set()
        await self.over.wait()
        return fault.handed_back("it is over")

    def decide(self, ran: Ran) -> Decision:
        raise AssertionError("no command ends by itself")

    async def stage_out(self, received: Received, ran: Ran | None, decision: Decision) -> Decision:
        return decision

    async def clean_up(self, job: Job) -> None:
        """There is nothing to remove."""


def test_more_is_received_as_soon_as_the_running_jobs_turn_out_to_need_less() -> None:
    async def scenario() -> int:
        stages, free = Held(), [0]
        model = PeakModel()
        for _ in range(5):
            model.add(1000, 5 * 2**30, 1.0)
        memory = Memory(8 * 2**30, model, lambda: free[0])
        pipeline = Pipeline(stages, 2, 9, lambda _job, _decision: None, memory)
        message = JobMessage(run="r", key="x", size=1000)
        pipeline.add(Received(message, Lease(Message("m", "", "m#1", 1), LeaseTerms(60), 0), ""))
        await stages.running.wait()
        waiting = asyncio.create_task(pipeline.wait_for_place(3600))
        await asyncio.sleep(0)
        assert not waiting.done()
        for _ in range(100):
            model.add(1000, 2**30, 1.0)
        free[0] = 7 * 2**30
        pipeline.look_again()
        places = await asyncio.wait_for(waiting, 20)
        stages.over.set()
        await pipeline.wait_until_empty(20)
        return places

    assert asyncio.run(scenario()) == 1
