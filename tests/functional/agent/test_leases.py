"""A job belongs to one worker for as long as its lease is renewed, and not a moment longer."""

from __future__ import annotations

import psutil
import pytest
from tests.functional.agent.bench import SWIFT, Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyQueue, FaultyStore
from tests.functional.agent.live import LiveWorker, at_work
from tests.functional.agent.threaded import Clock

from parallelize_core.config import AgentConfig
from parallelize_core.result import Cause

SHORT = SWIFT.model_copy(update={"lease_seconds": 2})


def cut_off(bench: Bench, name: str, faults: Faults, clock: Clock) -> LiveWorker:
    """A worker that a test can cut off from the queue, and whose time it can let pass."""
    return bench.worker(name, queue=FaultyQueue(bench.queue, faults), clock=clock)


def test_a_lease_is_renewed_for_as_long_as_the_command_runs(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait, config=SHORT)
    bench.add({"x": b""})
    faults = Faults()
    with at_work(cut_off(bench, "w1", faults, Clock())) as (worker,):
        until(lambda: faults.calls.count("extend") >= 5)
        assert bench.queue.counts().visible == 0
        gate.open()
        worker.join()
    assert bench.result("x").attempt == 1


def test_errors_of_renewals_are_survived_if_one_succeeds_in_time(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(gate.wait)
    bench.add({"x": b""})
    clock, faults = Clock(), Faults(broken={"extend"})
    with at_work(cut_off(bench, "w1", faults, clock)) as (worker,):
        until(gate.arrived)
        clock.ahead = bench.config.lease_seconds / 2
        until(lambda: faults.calls.count("extend") >= 2)
        faults.broken.clear()
        tried = faults.calls.count("extend")
        until(lambda: faults.calls.count("extend") > tried)
        gate.open()
        worker.join()
    assert bench.result("x").status == "succeeded"


def test_a_lease_lost_in_mid_command_ends_the_command_and_shows_nothing(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(f"echo x > out; echo out; echo $$ > {gate.folder}/pid; {gate.wait}")
    bench.add({"x": b""})
    clock, faults = Clock(), Faults(broken={"extend"})
    with at_work(cut_off(bench, "w1", faults, clock)) as (worker,):
        until(gate.arrived)
        pid = int((gate.folder / "pid").read_text())
        clock.ahead = bench.config.lease_seconds
        until(lambda: not psutil.pid_exists(pid))
        until(lambda: worker.worker.describe().running == ())
        worker.leave()
    assert bench.outputs() == set()
    assert not bench.has_result("x")
    assert bench.attempts("x") == []
    assert [job.attempt for job in bench.waiting()] == [1]


def test_the_queue_has_the_last_word_on_whose_a_message_is(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait, config=SHORT.model_copy(update={"slots": 1}))
    bench.add({"x": b""})
    faults = Faults()
    with at_work(cut_off(bench, "w1", faults, Clock())) as (worker,):
        until(gate.arrived)
        faults.broken = {"receive"}
        bench.clock.ahead = 60  # for the queue alone: it has let the lease run out
        until(lambda: worker.worker.describe().running == ())
        worker.leave()
    assert not bench.has_result("x")


@pytest.mark.parametrize("stopped_at", ["output", "failed"])
def test_a_lease_lost_while_work_is_stored_leaves_no_result(
    make: MakeBench, gate: Gate, stopped_at: str
) -> None:
    bench = make("echo x > out; echo out")
    bench.add({"x": b""})
    clock, faults = Clock(), Faults(broken={"extend"})

    def sleep_long(call: str) -> None:
        # The output is stored meanwhile; or even the mark of a failed result is under way.
        if call.startswith(f"put runs/r/{stopped_at}/"):
            clock.ahead = bench.config.lease_seconds

    store = FaultyStore(bench.store, Faults(hook=sleep_long))
    if stopped_at == "failed":
        bench.use("exit 65")
    worker = bench.worker("w1", queue=FaultyQueue(bench.queue, faults), store=store, clock=clock)
    with at_work(worker) as (background,):
        until(lambda: clock.ahead and not worker.describe().running)
        background.leave()
    assert not bench.has_result("x")
    assert len(bench.queue.bodies()) == 1


def test_a_worker_counts_a_result_that_it_stored_just_before_its_lease_ended(
    make: MakeBench,
) -> None:
    bench = make("echo x > out; echo out")
    bench.add({"x": b""})
    clock = Clock()

    class Slow(FaultyStore):
        """Answers so late that the lease is over."""

        def put(self, key, *rest, **more):  # type: ignore[no-untyped-def]
            stored = super().put(key, *rest, **more)
            if "/result/" in key:
                clock.ahead = bench.config.lease_seconds
            return stored

    queue = FaultyQueue(bench.queue, Faults(broken={"extend"}))
    worker = bench.worker("w1", queue=queue, store=Slow(bench.store, Faults()), clock=clock)
    with at_work(worker) as (background,):
        until(lambda: clock.ahead and not worker.describe().running)
        background.leave()
    assert bench.result("x").worker == "w1"
    assert bench.heartbeat().done == 1
    assert len(bench.queue.bodies()) == 1, "the message is for the next holder to delete"


def test_a_worker_that_slept_over_its_lease_yields_to_the_other(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(
        f'case "$PWD" in */w1/*) echo 1 > out; {gate.wait};; *) echo 2 > out;; esac; echo out'
    )
    bench.add({"x": b""})
    clock, faults = Clock(), Faults()
    with at_work(cut_off(bench, "w1", faults, clock)) as (sleeper,):
        until(gate.arrived)
        faults.broken = {"extend", "delete", "send", "receive", "counts"}
        bench.clock.ahead = bench.config.lease_seconds
        with at_work(bench.worker("w2")) as (other,):
            until(lambda: bench.has_result("x"))
            other.join()
        clock.ahead = bench.config.lease_seconds
        faults.broken.clear()
        gate.open()
        sleeper.join()
    assert bench.result("x").worker == "w2"
    assert bench.output("out") == b"2\n"
    assert bench.queue.bodies() == []


def test_a_lease_is_not_trusted_for_the_time_that_its_message_took_to_arrive(
    make: MakeBench, gate: Gate
) -> None:
    """A worker that is stopped in mid-receive finds out as soon as it goes on."""
    bench = make(gate.wait, config=SWIFT.model_copy(update={"lease_seconds": 12}))
    bench.add({"x": b""})
    clock, faults = Clock(), Faults()

    def stop(call: str) -> None:
        if call == "received 1":
            clock.ahead = bench.clock.ahead = 24
            faults.broken = {"receive"}

    faults.hook = stop
    with at_work(cut_off(bench, "w1", faults, clock)) as (worker,):
        until(lambda: "extend" in faults.calls)
        until(lambda: worker.worker.describe().running == ())
        worker.leave()
    assert not bench.has_result("x")


def test_what_a_dead_worker_held_is_done_by_another_within_a_lease(
    make: MakeBench, gate: Gate
) -> None:
    bench = make("echo x > out; echo out")
    bench.add({"x": b""})
    assert bench.queue.receive(1, 0, bench.config.lease_seconds)  # and it dies
    with at_work(bench.worker("w2")):
        assert not bench.has_result("x")
        bench.clock.ahead = bench.config.lease_seconds
        until(lambda: bench.has_result("x"))


def test_a_partition_from_the_store_alone_is_never_charged(make: MakeBench) -> None:
    bench = make("echo x > out; echo out")
    bench.add({"x": b""})
    faults = Faults(broken={"put runs/r/output"})
    with at_work(bench.worker("w1", store=FaultyStore(bench.store, faults))) as (worker,):
        until(lambda: worker.worker.describe().handed_back >= 3)
        faults.broken.clear()
        worker.join()
    assert (bench.result("x").attempt, bench.result("x").status) == (1, "succeeded")
    assert {record.cause for record in bench.attempts("x")} == {Cause.INFRASTRUCTURE}


def test_a_worker_that_cannot_do_any_job_gives_up_and_says_why(make: MakeBench) -> None:
    config: AgentConfig = SWIFT.model_copy(update={"max_unfit": 3})
    bench = make("echo x > out; echo out", config=config)
    bench.add({f"{n}": b"" for n in range(3)})
    faults = Faults(broken={"put runs/r/output"})
    worker = bench.worker("w1", store=FaultyStore(bench.store, faults))
    departure = worker.run()
    assert departure.error
    assert "aws.example" in str(departure.error)
    assert bench.heartbeat("w1").state == "failed"
    assert bench.heartbeat("w1").unfit
    assert [job.attempt for job in bench.waiting()] == [1, 1, 1]
