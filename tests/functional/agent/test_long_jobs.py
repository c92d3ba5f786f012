"""Jobs that outlive their message, with the 12 hours scaled down to one second."""

from __future__ import annotations

import time

from tests.functional.agent.bench import SWIFT, Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyQueue, FaultyStore
from tests.functional.agent.live import at_work

from parallelize_agent.queue.claims import SKEW_SECONDS, ClaimRecord
from parallelize_core.config import AgentConfig

LONG: AgentConfig = SWIFT.model_copy(update={"lease_seconds": 2, "claim_after_seconds": 1})


def claimed(bench: Bench) -> bool:
    return bench.store.head(bench.layout.claim("x")) is not None


def claimed_until(bench: Bench) -> float:
    record = bench.store.get(bench.layout.claim("x"))
    return ClaimRecord.model_validate_json(record).until


def test_a_long_job_ends_once_and_leaves_neither_message_nor_claim(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(gate.wait, config=LONG)
    bench.add({"x": b""})
    with at_work(bench.worker()) as (worker,):
        until(lambda: claimed(bench))
        until(lambda: bench.queue.counts().delayed == 1)
        gate.open()
        until(lambda: bench.has_result("x"))
        until(lambda: not claimed(bench))
        bench.clock.ahead = 15 * 60  # the parked message is seen
        worker.join()
    assert bench.result("x").attempt == 1
    assert bench.queue.bodies() == []


def test_a_parked_message_waits_on_for_as_long_as_the_claim_is_kept(
    make: MakeBench, gate: Gate
) -> None:
    # One slot: its owner has no place for another job, so it is the other who gets the message.
    one_slot = LONG.model_copy(update={"slots": 1})
    bench = make(f'echo >> "{gate.folder}/begun"; {gate.wait}', config=one_slot)
    bench.add({"x": b""})
    with at_work(bench.worker("w1")):
        until(lambda: claimed(bench) and bench.queue.counts().delayed == 1)
        bench.clock.ahead = 15 * 60
        faults = Faults()
        with at_work(bench.worker("w2", queue=FaultyQueue(bench.queue, faults))):
            until(lambda: "send" in faults.calls)
            assert bench.queue.counts().delayed == 1
        assert not bench.has_result("x")
        gate.open()
        until(lambda: bench.has_result("x"))
    assert bench.result("x").worker == "w1"
    assert (gate.folder / "begun").read_text() == "\n"


def test_a_claim_that_is_dropped_while_its_message_is_looked_at_is_no_reason_to_begin_again(
    make: MakeBench, gate: Gate
) -> None:
    one_slot = LONG.model_copy(update={"slots": 1})
    bench = make(f'echo >> "{gate.folder}/begun"; {gate.wait}', config=one_slot)
    bench.add({"x": b""})

    def owner_finishes(call: str) -> None:
        if call == f"head {bench.layout.claim('x')}" and not bench.has_result("x"):
            gate.open()
            until(lambda: bench.has_result("x") and not claimed(bench))

    with at_work(bench.worker("w1")):
        until(lambda: claimed(bench) and bench.queue.counts().delayed == 1)
        bench.clock.ahead = 15 * 60
        store = FaultyStore(bench.store, Faults(owner_finishes))
        with at_work(bench.worker("w2", store=store)):
            until(lambda: bench.has_result("x"))
            until(lambda: not bench.queue.bodies())
    assert (gate.folder / "begun").read_text() == "\n"


def test_a_worker_that_gets_its_own_parked_message_does_not_begin_again(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(f'echo >> "{gate.folder}/begun"; {gate.wait}', config=LONG)
    bench.add({"x": b""})
    with at_work(bench.worker("w1")):
        until(lambda: claimed(bench) and bench.queue.counts().delayed == 1)
        bench.clock.ahead = 15 * 60
        until(lambda: bench.queue.counts().visible == 0)
        until(lambda: bench.queue.counts().delayed == 1)
        gate.open()
        until(lambda: bench.has_result("x"))
    assert (gate.folder / "begun").read_text() == "\n"


def test_a_job_whose_claim_has_become_stale_is_taken_over_and_its_former_owner_shows_nothing(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(
        f'case "$PWD" in */w1/*) {gate.wait};; esac; echo "$PWD" > out; echo out',
        config=LONG.model_copy(update={"slots": 1}),
    )
    bench.add({"x": b""})
    late = 0.0
    first = bench.worker("w1", now=lambda: time.time() - late)
    with at_work(first) as (worker,):
        until(lambda: claimed(bench) and bench.queue.counts().delayed == 1)
        late = bench.config.lease_seconds + SKEW_SECONDS  # as if it had stood still since then
        until(lambda: claimed_until(bench) < time.time() - SKEW_SECONDS)
        bench.clock.ahead = 15 * 60
        with at_work(bench.worker("w2")):
            until(lambda: bench.has_result("x"))
        until(lambda: not first.describe().running)
        gate.open()
        worker.leave()
    assert bench.result("x").worker == "w2"
    assert b"/w2/" in bench.output("out")


def test_a_long_job_that_is_interrupted_is_taken_up_at_once(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait, config=LONG)
    bench.add({"x": b""})
    with at_work(bench.worker("w1")) as (worker,):
        until(lambda: claimed(bench))
        worker.leave()
    assert bench.queue.counts().visible == 1
    gate.open()
    with at_work(bench.worker("w2")):
        until(lambda: bench.has_result("x"))
    assert bench.result("x").attempt == 1
