"""Leaving: nothing is held back, nothing is charged, nothing is lost."""

from __future__ import annotations

import threading

from tests.functional.agent.bench import SWIFT, Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyQueue
from tests.functional.agent.live import at_work

from parallelize_core.result import Cause


def ready(bench: Bench) -> int:
    return bench.queue.counts().visible


def test_on_a_notice_what_has_not_begun_is_handed_back_at_once(make: MakeBench, gate: Gate) -> None:
    bench = make(f'case "$1" in *long*) {gate.wait};; esac')
    shorts = {f"{n}": b"" for n in range(20)}
    bench.add(shorts)
    with at_work(bench.worker()) as (worker,):
        # After short jobs, a worker has more in hand than it can run at once.
        until(lambda: all(map(bench.has_result, shorts)))
        bench.add({f"long{n}": b"" for n in range(4)})
        until(lambda: len(gate.arrived()) == 2 and ready(bench) == 0)
        worker.worker.shut_down("spot notice", 60)
        until(lambda: ready(bench) == 2)
        assert worker.departure is None
        gate.open()
        worker.join()
    assert {job.attempt for job in bench.waiting()} == {1}
    assert bench.heartbeat().reason == "spot notice"


def test_a_worker_that_has_left_says_since_when_it_was_leaving_and_what_it_needed(
    make: MakeBench,
) -> None:
    bench = make("true")
    bench.add({"x": b""})
    bench.run()
    last = bench.heartbeat()
    assert last.leaving is not None
    assert last.started <= last.leaving <= last.seen
    assert last.peaks is not None
    assert 0 < last.peaks.memory_bytes <= last.peaks.memory_total_bytes


def test_running_jobs_may_end_within_the_time_that_is_left(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait)
    bench.add({"x": b""})
    with at_work(bench.worker()) as (worker,):
        until(gate.arrived)
        worker.worker.shut_down("spot notice", 60)
        gate.open()
        worker.join()
    assert bench.result("x").status == "succeeded"


def test_at_the_end_of_the_time_running_jobs_are_stopped_handed_back_and_not_charged(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(f"echo x > out; echo out; {gate.wait}")
    bench.add({"x": b""})
    with at_work(bench.worker()) as (worker,):
        until(gate.arrived)
        worker.leave(seconds=0.1, reason="spot notice")
    assert ready(bench) == 1
    assert [job.attempt for job in bench.waiting()] == [1]
    (record,) = bench.attempts("x")
    assert (record.cause, record.message) == (Cause.INTERRUPTED, "spot notice")
    assert bench.outputs() == set()
    assert bench.heartbeat().handed_back == 1
    gate.open()
    bench.run("w2")
    assert bench.result("x").attempt == 1


def test_interruptions_in_a_row_are_no_reason_to_fail(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait)
    bench.add({"x": b""})
    for number in range(5):
        with at_work(bench.worker(f"w{number}")):
            until(gate.arrived)
        (gate.folder / "arrived" / "x").unlink()
    gate.open()
    bench.run()
    assert (bench.result("x").status, bench.result("x").attempt) == ("succeeded", 1)


def test_what_a_long_poll_brings_after_the_decision_is_handed_back_and_not_begun(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(gate.wait)
    bench.add({"x": b""}, send=False)
    faults = Faults()
    decided = threading.Event()

    def arrive_late(call: str) -> None:
        if call.startswith("receive "):
            assert decided.wait(20)
            bench.queue.send([bench.message("x").encode()])

    faults.hook = arrive_late
    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, faults))) as (worker,):
        until(lambda: faults.calls)
        worker.worker.shut_down("spot notice", 60)
        decided.set()
        worker.join()
    assert gate.arrived() == set()
    assert ready(bench) == 1
    assert [job.attempt for job in bench.waiting()] == [1]


def test_what_comes_late_does_not_begin_in_a_free_slot_while_other_jobs_still_run(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(gate.wait)
    bench.add({"x": b""})
    bench.add({"late": b""}, send=False)
    faults = Faults()
    polling, decided = threading.Event(), threading.Event()

    def arrive_late(call: str) -> None:
        if call.startswith("receive ") and gate.arrived():
            polling.set()
            assert decided.wait(20)
            bench.queue.send([bench.message("late").encode()])

    faults.hook = arrive_late
    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, faults))) as (worker,):
        assert polling.wait(20)
        worker.worker.shut_down("spot notice", 60)
        decided.set()
        until(lambda: ready(bench) == 1)
        gate.open()
        worker.join()
    assert gate.arrived() == {"x"}


def test_after_the_decision_nothing_more_is_received(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait, config=SWIFT.model_copy(update={"slots": 1}))
    bench.add({"x": b"", "y": b"", "z": b""})
    faults = Faults()
    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, faults))) as (worker,):
        until(gate.arrived)
        worker.worker.shut_down("told to stop", None)
        asked = len([call for call in faults.calls if call.startswith("receive ")])
        gate.open()
        worker.join()
    assert len([call for call in faults.calls if call.startswith("receive ")]) == asked
    assert ready(bench) == 2


def test_a_paused_run_lets_its_workers_leave_and_keeps_its_queue(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(gate.wait, config=SWIFT.model_copy(update={"slots": 1}))
    bench.add({"x": b"", "y": b""})
    with at_work(bench.worker()) as (worker,):
        until(gate.arrived)
        bench.write_run(paused="somebody wants to think")
        until(lambda: worker.worker.decided)
        gate.open()
        assert "somebody wants to think" in worker.join().reason
    assert worker.departure
    assert worker.departure.error is None
    done = [key for key in ("x", "y") if bench.has_result(key)]
    assert len(done) == 1
    assert ready(bench) == 1


def test_max_runtime_ends_a_worker_with_its_jobs(make: MakeBench, gate: Gate) -> None:
    config = SWIFT.model_copy(update={"max_runtime_seconds": 0.5, "stop_grace_seconds": 0})
    bench = make(gate.wait, config=config)
    bench.add({"x": b""})
    assert bench.run().reason == "the time limit is reached (workers.max_hours)"
    assert ready(bench) == 1


def test_a_later_decision_can_only_shorten_the_time(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait)
    bench.add({"x": b""})
    with at_work(bench.worker()) as (worker,):
        until(gate.arrived)
        worker.worker.shut_down("drained", None)
        worker.worker.shut_down("spot notice", 0)
        worker.worker.shut_down("told to stop", 60)
        assert worker.join(10).reason == "spot notice"


def test_a_worker_that_leaves_has_acknowledged_what_it_finished(make: MakeBench) -> None:
    bench = make("true")
    bench.add({f"{n}": b"" for n in range(15)})
    with at_work(bench.worker()) as (worker,):
        until(lambda: worker.worker.describe().done >= 5)
        worker.leave()
    finished = sum(bench.has_result(f"{n}") for n in range(15))
    assert len(bench.queue.bodies()) == 15 - finished
