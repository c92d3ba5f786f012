"""How many jobs are held ready: enough to hide a transfer, none that another could start."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.workers import LAYOUT

from parallelize_agent.job import fault
from parallelize_agent.job import pipeline as pipeline_module
from parallelize_agent.job.job import Decision, Job, Ran, Received, Staged
from parallelize_agent.job.outputs import Outputs
from parallelize_agent.job.pipeline import (
    MOST_PER_SLOT,
    Average,
    Pipeline,
    ending_soon,
    places_ahead,
)
from parallelize_agent.job.scratch import JobFolder
from parallelize_agent.memory.admission import Memory
from parallelize_agent.memory.peaks import PeakModel
from parallelize_agent.process.command import Ending, Outcome
from parallelize_agent.queue.leases import Lease, LeaseTerms
from parallelize_core.job import JobMessage
from parallelize_core.queue import Message
from parallelize_core.result import Usage
from parallelize_core.run import Environment, Run

seconds = st.floats(0, 1e6)
paces = st.lists(seconds, min_size=1, max_size=200)


def test_nothing_is_held_ready_beside_long_jobs() -> None:
    assert places_ahead([3600.0] * 64, 1.0) == 0


def test_short_jobs_are_held_ready_for_a_second() -> None:
    assert places_ahead([1.0] * 4, 1.0) == 4
    assert places_ahead([0.5] * 4, 1.0) == 8


def test_a_slow_transfer_is_hidden() -> None:
    assert places_ahead([30.0] * 4, 60.0) == 8


@given(paces, seconds)
def test_it_is_bounded(paces: list[float], horizon: float) -> None:
    assert 0 <= places_ahead(paces, horizon) <= MOST_PER_SLOT * len(paces)


@given(paces, seconds, st.floats(1, 1e3))
def test_longer_jobs_never_need_more_held_ready(
    paces: list[float], horizon: float, longer: float
) -> None:
    assert places_ahead([pace * longer for pace in paces], horizon) <= places_ahead(paces, horizon)


def test_the_next_is_held_ready_while_a_long_job_is_about_to_end() -> None:
    assert ending_soon([58.0, 59.5, 60.5, 62.0, 3.0], average=60, spread=0.5, horizon=1) == 2


def test_nobody_knows_when_an_irregular_job_ends() -> None:
    assert ending_soon([60.0], average=60, spread=20, horizon=1) == 0


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
    """The stages of jobs whose commands run until the test lets them end.

    With `usage`, the command then has run and used that; without, the job is handed back.
    """

    usage: Usage | None = None
    running: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def stage_in(self, received: Received, others: int) -> Staged:
        return Staged(received, RUN, None, JobFolder("/nowhere", "x"), b"")

    async def execute(self, job: Job, staged: Staged) -> Ran | Decision:
        self.running.set()
        await self.over.wait()
        self.running.clear()
        self.over.clear()
        if self.usage is None:
            return fault.handed_back("it is over")
        return Ran(staged, Outcome(Ending.EXITED, 0, self.usage, ""), Outputs(()), b"", None)

    def decide(self, ran: Ran) -> Decision:
        return fault.handed_back("it is over")

    async def stage_out(self, received: Received, ran: Ran | None, decision: Decision) -> Decision:
        return decision

    async def clean_up(self, job: Job) -> None:
        """There is nothing to remove."""


def received(message: JobMessage) -> Received:
    return Received(message, Lease(Message("m", "", "m#1", 1), LeaseTerms(60), 0), "")


def test_more_is_received_as_soon_as_the_running_jobs_turn_out_to_need_less() -> None:
    async def scenario() -> int:
        stages, free = Held(), [0]
        model = PeakModel()
        for _ in range(5):
            model.add(1000, 5 * 2**30, 1.0)
        memory = Memory(8 * 2**30, model, lambda: free[0])
        pipeline = Pipeline(stages, 2, 9, lambda _job, _decision: None, memory)
        message = JobMessage(run="r", key="x", size=1000)
        pipeline.add(received(message))
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


@pytest.mark.parametrize(
    ("horizons", "places"), [(1e6, 0), (6.0, 1)], ids=["a long job", "a short job"]
)
def test_the_next_is_received_shortly_before_the_only_slot_is_free(
    horizons: float, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Because a slot that waits for its next input costs money, too."""
    monkeypatch.setattr(pipeline_module, "SOON_SECONDS", 0.1)

    async def scenario() -> int:
        stages = Held(Usage(seconds=0.1 * horizons))
        pipeline = Pipeline(stages, 1, 9, lambda _job, _decision: None)
        for known in range(2):
            pipeline.add(received(JobMessage(run="r", key="x", size=1000)))
            await stages.running.wait()
            found = await pipeline.wait_for_place(20 * known * places)
            stages.over.set()
            await pipeline.wait_until_empty(20)
        return found

    assert asyncio.run(scenario()) == places
