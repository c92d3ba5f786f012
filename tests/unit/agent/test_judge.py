"""When a file fails for good, and when it is tried again."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.agent.workers import LAYOUT, Scene, beat

from parallelize_agent.job import fault
from parallelize_agent.job.job import Decision, Received
from parallelize_agent.queue.leases import Lease, LeaseTerms
from parallelize_core.job import JobMessage
from parallelize_core.queue import Message
from parallelize_core.result import Cause
from parallelize_core.run import Limits

ONCE = Limits(max_attempts=1)
OPEN = fault.open_to_doubt("exit 3")
JOB = JobMessage(run="r", key="f1", size=0)


def judged(
    scene: Scene, decision: Decision, message: JobMessage = JOB, *, proven: bool = False
) -> Decision:
    async def run() -> Decision:
        lease = Lease(Message("m", message.encode(), "m#1", 1), LeaseTerms(120), 0, lambda: 0)
        judge = await scene.judge()
        if proven:
            judge.fitness.note_success()
        return await judge(Received(message, lease, ""), None, decision)

    return asyncio.run(run())


def next_message(scene: Scene, decision: Decision) -> JobMessage:
    async def run() -> JobMessage:
        return (await scene.judge()).next_message(JOB, decision, None)

    return asyncio.run(run())


def test_a_worker_that_is_alone_decides_alone() -> None:
    assert judged(Scene(limits=ONCE), OPEN).final


def test_another_worker_has_the_last_word_if_there_is_one() -> None:
    decision = judged(Scene(beat("w2"), limits=ONCE), OPEN)
    assert (decision.final, decision.second_opinion) == (False, True)


def test_two_opinions_are_enough_although_a_third_worker_lives() -> None:
    scene = Scene(beat("w2"), beat("w3"), limits=ONCE)
    assert judged(scene, OPEN, JOB.with_failure_on("w2"), proven=True).final


def test_a_worker_on_which_nothing_has_succeeded_has_not_the_second_and_last_word() -> None:
    scene = Scene(beat("w2"), beat("w3"), limits=ONCE)
    decision = judged(scene, OPEN, JOB.with_failure_on("w2"))
    assert (decision.final, decision.second_opinion) == (False, True)


def test_three_opinions_are_enough_whatever_has_succeeded_and_however_many_live() -> None:
    scene = Scene(beat("w2"), beat("w3"), beat("w4"), limits=ONCE)
    message = JOB.with_failure_on("w2").with_failure_on("w3")
    assert judged(scene, OPEN, message).final


@pytest.mark.parametrize(
    "decision",
    [
        fault.failed(Cause.TIMEOUT, "it ran longer than 5 s"),
        fault.failed(Cause.MEMORY, "it ran out of memory"),
        fault.failed(Cause.OUTPUT, "the output x cannot be read"),
        fault.failed(Cause.INPUT, "s3://bucket/f1 is refused", final=True),
    ],
    ids=lambda decision: decision.cause,
)
def test_what_cannot_be_the_machines_fault_needs_no_second_opinion(decision: Decision) -> None:
    assert judged(Scene(beat("w2"), limits=ONCE), decision).final


def test_the_tenth_setback_is_the_last_and_names_all_reasons() -> None:
    message = JOB
    for number in range(9):
        decision = judged(Scene(), fault.handed_back("S3 breaks off"), message)
        assert not decision.final
        message = message.with_setback(f"reason {number}")
    decision = judged(Scene(), fault.handed_back("S3 breaks off"), message)
    assert (decision.final, decision.cause) == (True, Cause.INFRASTRUCTURE)
    assert all(f"reason {number}" in decision.message for number in range(9))
    assert "S3 breaks off" in decision.message


def test_a_setback_travels_with_the_message() -> None:
    again = next_message(Scene(), fault.handed_back("S3 breaks off"))
    assert (again.attempt, again.setbacks) == (1, ("S3 breaks off",))


def test_an_interruption_leaves_no_trace_in_the_message() -> None:
    assert next_message(Scene(), fault.interrupted("spot notice")) == JOB


def test_a_failure_beyond_the_limit_of_the_run_is_handed_back_uncharged() -> None:
    scene = Scene(limits=Limits(halt="2"))
    for number in range(2, 5):
        scene.store.put(LAYOUT.failure(f"f{number}"), b"")
    decision = judged(scene, fault.failed(Cause.COMMAND, "exit 65", final=True))
    assert (decision.final, decision.cause) == (False, Cause.INTERRUPTED)
    assert scene.opened


def test_what_fails_on_a_worker_that_is_sick_is_not_charged() -> None:
    async def run() -> list[Decision]:
        judge = await Scene(beat("w2", done=1)).judge()
        lease = Lease(Message("m", JOB.encode(), "m#1", 1), LeaseTerms(120), 0, lambda: 0)
        return [await judge(Received(JOB, lease, ""), None, OPEN) for _ in range(4)]

    decisions = asyncio.run(run())
    assert [decision.charged for decision in decisions] == [True, True, False, False]
    assert decisions[-1].cause is Cause.INFRASTRUCTURE
    assert "exit 3 on w1, which is unfit" in decisions[-1].message
