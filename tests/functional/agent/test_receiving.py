"""How many messages a worker takes, and when it believes that there are no more."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.functional.agent.bench import SWIFT, Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyQueue
from tests.functional.agent.live import at_work

from parallelize_agent.job import pipeline
from parallelize_agent.reporting.peers import ALL_DONE
from parallelize_core.config import DrainSettings
from parallelize_core.heartbeat import Heartbeat, WorkerState

FAR_AHEAD = 2**33
"""A time at which no heartbeat of these tests is overdue, in seconds since 1970."""


def other_worker(bench: Bench, name: str, **fields: Any) -> None:
    """Write the heartbeat of another worker, who lives and stays unless `fields` say otherwise."""
    beat = Heartbeat(
        worker=name, state=WorkerState.IDLE, started=0, seen=FAR_AHEAD, interval_seconds=60
    )
    beat = beat.model_copy(update=fields)
    bench.store.put(bench.layout.heartbeat(name), beat.encode())


def state_told(bench: Bench, name: str = "w1") -> WorkerState | None:
    """Return the state in the worker's heartbeat, once there is one."""
    there = bench.store.head(bench.layout.heartbeat(name))
    return bench.heartbeat(name).state if there else None


def test_no_more_is_received_than_there_are_places(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait)
    inputs = {f"{n}": b"" for n in range(9)}
    bench.add(inputs)
    faults = Faults()
    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, faults))) as (worker,):
        until(lambda: len(gate.arrived()) == bench.config.slots)
        assert bench.queue.counts().in_flight == bench.config.slots
        gate.open()
        worker.join()
    asked = [int(call.split()[1]) for call in faults.calls if call.startswith("receive ")]
    assert max(asked) <= 10


def test_at_the_tail_nobody_holds_what_another_could_run(
    make: MakeBench, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers of two slots and four long jobs, after many short ones: all four run."""
    monkeypatch.setattr(pipeline, "SOON_SECONDS", 0.1)
    bench = make(f'case "$1" in *long*) {gate.wait};; esac')
    shorts = {f"{n}": b"" for n in range(20)}
    bench.add(shorts)
    with at_work(bench.worker("w1"), bench.worker("w2")) as workers:
        until(lambda: all(map(bench.has_result, shorts)))
        bench.add({f"long{n}": b"" for n in range(4)})
        until(lambda: len(gate.arrived()) == 4)
        gate.open()
        for worker in workers:
            worker.join()
    assert {bench.result(f"long{n}").worker for n in range(4)} == {"w1", "w2"}


def test_an_empty_receive_is_not_the_end_while_messages_are_in_flight_elsewhere(
    make: MakeBench,
) -> None:
    bench = make("true")
    bench.add({"x": b"", "y": b""})
    elsewhere = bench.queue.receive(1, 0, 60)
    faults = Faults()
    worker = bench.worker("w1", queue=FaultyQueue(bench.queue, faults))
    with at_work(worker) as (background,):
        until(lambda: worker.describe().done == 1 and faults.calls.count("received 0") > 3)
        assert background.departure is None
        bench.queue.extend([elsewhere[0].receipt], 0)  # its worker hands it back
        background.join()
    assert bench.has_result("x")
    assert bench.has_result("y")


def test_only_the_keeper_waits_for_leases_that_others_hold(make: MakeBench) -> None:
    bench = make("true", config=SWIFT.model_copy(update={"lease_seconds": 2}))
    bench.add({"x": b""})
    bench.queue.receive(1, 0, 600)
    other_worker(bench, "w0")
    assert bench.run("w1").reason == "other workers have the last files"
    other_worker(bench, "w0", seen=0)
    with at_work(bench.worker("w2")) as (keeper,):
        until(lambda: state_told(bench, "w2") is WorkerState.IDLE)
        idle_since = bench.heartbeat("w2").seen
        # By then, one who is not the keeper would have left.
        until(lambda: bench.heartbeat("w2").seen > idle_since + 3)
        assert keeper.departure is None
        bench.clock.ahead = 600
        assert keeper.join().reason == "every job has its result"
    assert bench.has_result("x")


def test_the_keeper_sends_again_what_the_queue_has_lost(make: MakeBench) -> None:
    bench = make("true")
    bench.add({"lost": b"", "there": b""})
    (message,) = bench.queue.receive(1, 0, 60)
    bench.queue.delete([message.receipt])  # as after 14 days
    departure = bench.run()
    assert departure.reason == "every job has its result"
    assert bench.has_result("lost")
    assert bench.has_result("there")


def test_messages_that_vanish_while_jobs_run_are_sent_again(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait, config=SWIFT.model_copy(update={"slots": 1}))
    bench.add({f"{n}": b"" for n in range(5)})
    with at_work(bench.worker()) as (worker,):
        until(gate.arrived)
        while messages := bench.queue.receive(10, 0, 60):
            bench.queue.delete([message.receipt for message in messages])
        gate.open()
        worker.join()
    assert all(bench.has_result(f"{n}") for n in range(5))


def test_one_who_is_not_the_keeper_sends_nothing(make: MakeBench) -> None:
    config = SWIFT.model_copy(update={"max_idle_seconds": 1})
    bench = make("true", config=config)
    bench.add({"x": b""}, send=False)
    other_worker(bench, "w0")
    assert bench.run("w1").reason == "idle for too long (agent.max_idle)"
    assert bench.queue.bodies() == []


def test_what_the_leader_has_found_is_not_looked_for_again(
    make: MakeBench,
) -> None:
    bench = make("true")
    bench.add({"x": b""}, send=False)  # a look at the results would find it missing, and send it
    left = {"state": WorkerState.LEFT, "reason": ALL_DONE, "leaving": FAR_AHEAD}
    other_worker(bench, "w0", **left)
    assert bench.run("w1").reason == ALL_DONE
    assert not bench.has_result("x")


def test_what_a_leader_found_before_is_not_believed(make: MakeBench) -> None:
    bench = make("true")
    bench.add({"x": b""}, send=False)
    left = {"state": WorkerState.LEFT, "reason": ALL_DONE, "leaving": time.time()}
    other_worker(bench, "w0", **left)
    assert bench.run("w1").reason == ALL_DONE
    assert bench.has_result("x")


def test_jobs_that_were_never_sent_are_not_missing(make: MakeBench) -> None:
    bench = make("true")
    bench.add({"a": b"", "b": b"", "c": b""}, send=False, sent=1)
    assert bench.run().reason == "every job that was sent has its result"
    assert bench.has_result("a")
    assert not bench.has_result("b")


def test_a_worker_leaves_after_max_idle_whatever_the_counts_say(make: MakeBench) -> None:
    patient = DrainSettings(samples=1000, interval_seconds=60)
    bench = make(
        "true", config=SWIFT.model_copy(update={"max_idle_seconds": 0.5, "drain": patient})
    )
    bench.add({"x": b""})
    bench.queue.receive(1, 0, 600)
    assert bench.run().reason == "idle for too long (agent.max_idle)"


def test_work_that_comes_late_keeps_a_worker_from_leaving(make: MakeBench) -> None:
    bench = make("true", config=SWIFT.model_copy(update={"drain": DrainSettings(samples=10**6)}))
    bench.add({"x": b""})
    with at_work(bench.worker()) as (worker,):
        until(lambda: bench.has_result("x"))
        bench.add({"late": b""})
        until(lambda: bench.has_result("late"))
        assert worker.departure is None


def test_errors_of_the_queue_are_waited_out(make: MakeBench) -> None:
    bench = make("true")
    bench.add({"x": b""})
    faults = Faults(broken={"receive", "counts"})
    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, faults))) as (worker,):
        until(lambda: faults.calls)
        faults.broken.clear()
        worker.join()
    assert bench.has_result("x")


def test_a_heartbeat_tells_at_once_that_work_has_begun_and_ended(
    make: MakeBench, gate: Gate
) -> None:
    rare = SWIFT.model_copy(
        update={"heartbeat_seconds": 3600, "drain": DrainSettings(samples=1000)}
    )
    bench = make(gate.wait, config=rare)
    bench.add({"x": b""})
    with at_work(bench.worker()):
        until(lambda: state_told(bench) is WorkerState.BUSY)
        gate.open()
        until(lambda: state_told(bench) is WorkerState.IDLE)
        assert bench.heartbeat().done == 1
