"""Jobs that need other machines wait on a queue of their own, and no lane strands one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.functional.agent.bench import SWIFT, Bench, Gate, memory_of, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyQueue, FaultyStore
from tests.functional.agent.live import LiveWorker, at_work

from parallelize_agent.reporting.peers import ALL_DONE
from parallelize_core.config import SteadyStart
from parallelize_core.errors import MissingError, UnavailableError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.lane import Lane
from parallelize_core.merge import MERGE
from parallelize_core.result import Cause
from parallelize_core.run import Limits, Then

MIB = 2**20
FAR_AHEAD = 2**33
"""A time at which no heartbeat of these tests is overdue, in seconds since 1970."""

HOG = (
    f"set -- - 40 400 5; shift $PARALLELIZE_ATTEMPT; exec {sys.executable} -c "
    '"import time; x = bytearray($1 * 2**20); time.sleep(1.2)"'
)
"""More than its share of 30 MiB, then more than twice that, and little in the third attempt.

How much of it is seen before it is ended depends on the moment, and so does what it gets next.
"""

BOTH = (Lane.LARGE, Lane.STEADY)


def beat(bench: Bench, name: str, lane: Lane, slots: int = 2) -> None:
    """Write the heartbeat of a worker of a lane, who lives and stays."""
    found = Heartbeat(
        worker=name, state=WorkerState.IDLE, started=0, seen=FAR_AHEAD, interval_seconds=60,
        slots=slots, lane=lane,
    )  # fmt: skip
    bench.store.put(bench.layout.heartbeat(name), found.encode())


def test_what_runs_out_of_memory_twice_ends_in_the_large_lane(make: MakeBench) -> None:
    bench = make(HOG, limits=Limits(memory_bytes=30 * MIB, max_attempts=3), lanes=BOTH)
    bench.add({"x": b""})
    left = bench.run("small")
    assert "another lane (large)" in left.reason
    (job,) = bench.waiting_in(Lane.LARGE)
    assert (job.attempt, job.alone) == (3, True)
    assert job.memory_bytes >= 4 * 30 * MIB, "twice its peak, which was more than twice its share"
    assert bench.worker("large", lane=Lane.LARGE, memory=memory_of(2**40)).run().reason == ALL_DONE
    assert [record.cause for record in bench.attempts("x")] == [Cause.MEMORY, Cause.MEMORY]
    assert (bench.result("x").status, bench.result("x").worker) == ("succeeded", "large")


def test_what_is_interrupted_twice_goes_on_in_the_steady_lane(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait, lanes=BOTH)
    bench.add({"x": b""})
    for name in ("w1", "w2"):
        with at_work(bench.worker(name, market="spot")) as (worker,):
            until(lambda: bench.queue.counts().in_flight and worker.worker.describe().running)
            worker.worker.shut_down("spot notice", 0, imposed=True)
            worker.join()
    assert [job.interrupted for job in bench.waiting_in(Lane.STEADY)] == [2]
    assert bench.waiting() == []
    gate.open()
    assert bench.worker("w3", lane=Lane.STEADY).run().reason == ALL_DONE
    assert bench.result("x").attempt == 1, "an interruption is charged to nobody"
    assert len(bench.attempts("x")) == 2, "the third start was the last"


def test_what_two_workers_were_lost_with_goes_to_the_steady_lane(make: MakeBench) -> None:
    bench = make("true", lanes=BOTH)
    bench.add({"x": b""})
    for _ in range(2):
        assert bench.queue.receive(1, 0, 60)
        bench.clock.ahead += 61
    assert "another lane (steady)" in bench.run("w1").reason
    assert [job.interrupted for job in bench.waiting_in(Lane.STEADY)] == [2]
    assert not bench.has_result("x")


def test_what_a_lost_worker_has_finished_is_not_done_again_in_the_steady_lane(
    make: MakeBench,
) -> None:
    bench = make("true", lanes=BOTH)
    bench.add({"x": b""})
    bench.run("w1")
    bench.lane_queues[Lane.STEADY].send([bench.message("x").after_interruptions(2).encode()])
    assert bench.worker("w2", lane=Lane.STEADY).run().reason == ALL_DONE
    assert bench.result("x").worker == "w1"
    assert bench.heartbeat("w2").done == 0


def test_without_lanes_a_job_stays_where_it_is(make: MakeBench) -> None:
    bench = make("true")
    bench.add({"x": b""})
    for _ in range(2):
        assert bench.queue.receive(1, 0, 60)
        bench.clock.ahead += 61
    assert bench.run("w1").reason == ALL_DONE
    assert bench.result("x").worker == "w1"


def test_a_job_is_never_without_a_message_while_it_is_moved(make: MakeBench) -> None:
    bench = make("true", lanes=BOTH)
    bench.add({"x": b""}, send=False)
    bench.queue.send([bench.message("x").after_interruptions(2).encode()])
    there: list[int] = []

    def at_delete(call: str) -> None:
        if call.startswith("delete"):
            there.append(bench.lane_queues[Lane.STEADY].counts().total)

    bench.worker("w1", queue=FaultyQueue(bench.queue, Faults(hook=at_delete))).run()
    assert there == [1]


STEPS = {"attempt recorded": "put runs/r/log/", "sent": "send", "deleted": "delete"}
"""Of a move, in their order, and how the call for each begins."""


@dataclass
class Trouble:
    """Goes wrong once, at a step of a move of job x."""

    bench: Bench
    step: str
    what: str
    begun: bool = False

    def at(self, step: str) -> Callable[[str], None]:
        return lambda call: self._befall() if step == self.step and _is(step, call) else None

    def _befall(self) -> None:
        if self.begun:
            return
        self.begun = True
        if self.what == "a lease is lost":
            self.bench.clock.ahead += 61
        else:
            raise UnavailableError("it cannot be reached")


def _is(step: str, call: str) -> bool:
    return call.startswith(STEPS[step])


def worker_in(trouble: Trouble) -> LiveWorker:
    """Return a worker of the main lane that meets the trouble."""
    bench = trouble.bench
    recorded, sent, deleted = (Faults(hook=trouble.at(step)) for step in STEPS)
    large = bench.lane_queues[Lane.LARGE]
    bench.lane_queues[Lane.LARGE] = FaultyQueue(large, sent)  # type: ignore[assignment]
    worker = bench.worker(
        "small",
        queue=FaultyQueue(bench.queue, deleted),
        store=FaultyStore(bench.store, recorded),
    )
    bench.lane_queues[Lane.LARGE] = large
    return worker


@pytest.mark.parametrize("what", ["a lease is lost", "a call fails"])
@pytest.mark.parametrize("step", STEPS)
def test_a_job_that_moves_ends_with_a_result_whatever_happens_on_its_way(
    make: MakeBench, step: str, what: str
) -> None:
    bench = make(HOG, limits=Limits(memory_bytes=30 * MIB, max_attempts=3), lanes=BOTH)
    bench.add({"x": b""}, send=False)
    bench.queue.send([bench.message("x").with_more_memory(20 * MIB, larger=True).encode()])
    trouble = Trouble(bench, step, what)
    worker_in(trouble).run()
    assert trouble.begun
    assert bench.worker("large", lane=Lane.LARGE, memory=memory_of(2**40)).run().reason == ALL_DONE
    assert bench.result("x").status == "succeeded"
    assert (bench.waiting(), bench.waiting_in(Lane.LARGE)) == ([], [])


def test_jobs_stay_with_a_worker_that_finds_no_queue_for_them(make: MakeBench) -> None:
    bench = make("true", lanes=BOTH)
    bench.add({"x": b""}, send=False)
    bench.queue.send([bench.message("x").after_interruptions(2).encode()])

    class Gone(type(bench.queue)):  # type: ignore[misc]
        """A queue that somebody has deleted."""

        def send(self, *_: object) -> None:
            raise MissingError("there is no such queue")

        def counts(self) -> None:
            raise MissingError("there is no such queue")

    bench.lane_queues = dict.fromkeys(BOTH, Gone(bench.clock))
    assert bench.run("w1").reason == ALL_DONE
    assert bench.result("x").worker == "w1"


def test_the_leader_sends_nothing_again_that_waits_in_a_lane(make: MakeBench) -> None:
    bench = make("true", lanes=BOTH)
    bench.add({"x": b"", "done": b""}, send=False)
    bench.queue.send([bench.message("done").encode()])
    bench.lane_queues[Lane.LARGE].send([bench.message("x").encode()])
    assert "another lane (large)" in bench.run("w1").reason
    assert bench.waiting() == []
    assert len(bench.waiting_in(Lane.LARGE)) == 1


def test_a_worker_of_a_lane_waits_for_what_may_still_come(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait, lanes=BOTH)
    bench.add({"x": b""})
    with at_work(bench.worker("main"), bench.worker("steady", lane=Lane.STEADY)) as workers:
        until(gate.arrived)
        steady = workers[1].worker
        until(lambda: steady.describe().state is WorkerState.IDLE)
        assert steady.decided is None
        gate.open()
        assert [worker.join().reason for worker in workers] == [ALL_DONE] * 2


def test_a_worker_of_each_lane_waits_for_leases_that_others_hold_there(make: MakeBench) -> None:
    bench = make("true", lanes=BOTH, config=SWIFT.model_copy(update={"lease_seconds": 2}))
    bench.add({"x": b""}, send=False)
    queue = bench.lane_queues[Lane.LARGE]
    queue.send([bench.message("x").encode()])
    queue.receive(1, 0, 600)
    beat(bench, "leader", Lane.MAIN)
    with at_work(bench.worker("w1", lane=Lane.LARGE)) as (keeper,):
        until(lambda: bench.has_heartbeat("w1") and bench.heartbeat("w1").state is WorkerState.IDLE)
        idle_since = bench.heartbeat("w1").seen
        # By then, one that waits for nothing would have left.
        until(lambda: bench.heartbeat("w1").seen > idle_since + 3)
        assert keeper.departure is None
        bench.clock.ahead = 600
        until(lambda: bench.has_result("x"))
    assert bench.result("x").worker == "w1"


def test_the_last_worker_of_a_lane_does_what_was_lost(make: MakeBench) -> None:
    bench = make("true", lanes=BOTH)
    bench.add({"lost": b""}, send=False)
    assert bench.worker("w1", lane=Lane.STEADY).run().reason == ALL_DONE
    assert bench.result("lost").worker == "w1"


def test_the_merge_is_done_by_a_lane_whose_workers_are_the_last(make: MakeBench) -> None:
    bench = make("true", lanes=BOTH, then=Then(command=("true",)))
    bench.add({"x": b""}, send=False)
    bench.lane_queues[Lane.STEADY].send([bench.message("x").encode()])
    assert bench.worker("w1", lane=Lane.STEADY).run().reason == ALL_DONE
    assert bench.result(MERGE).worker == "w1"


@pytest.mark.parametrize(("market", "moved"), [("spot", 1), ("on-demand", 0)])
def test_the_last_per_cent_goes_to_steady_workers_with_free_slots(
    make: MakeBench, market: str, moved: int
) -> None:
    bench = make("true", lanes=BOTH)
    bench.add({f"{n}": b"" for n in range(200)}, send=False)
    for n in range(199):
        bench.store.put(bench.layout.result(f"{n}"), b"{}")
    bench.queue.send([bench.message("199").encode()])
    beat(bench, "steady", Lane.STEADY)
    with at_work(bench.worker("w1", market=market)) as (worker,):
        until(lambda: not bench.waiting())
        worker.leave()
    assert len(bench.waiting_in(Lane.STEADY)) == moved


def last_of_long_jobs(make: MakeBench, start: SteadyStart | None) -> Bench:
    """A run whose jobs take an hour each, and only the last of 200 is left."""
    bench = make("true", lanes=BOTH, config=SWIFT.model_copy(update={"steady_start": start}))
    bench.add({f"{n}": b"" for n in range(200)}, send=False)
    for n in range(199):
        bench.store.put(bench.layout.result(f"{n}"), b"{}")
    bench.queue.send([bench.message("199").encode()])
    left = Heartbeat(
        worker="w0", state=WorkerState.LEFT, started=0, seen=0, interval_seconds=60, done=199,
        busy_seconds=199 * 3600,
    )  # fmt: skip
    bench.store.put(bench.layout.heartbeat("w0"), left.encode())
    return bench


def test_the_last_of_long_jobs_waits_for_a_steady_machine_that_is_started(make: MakeBench) -> None:
    bench = last_of_long_jobs(make, SteadyStart(workers=1, job_seconds=600))
    assert "another lane (steady)" in bench.worker("w1", market="spot").run().reason
    assert [job.key for job in bench.waiting_in(Lane.STEADY)] == ["199"]
    assert bench.worker("w2", lane=Lane.STEADY).run().reason == ALL_DONE
    assert bench.result("199").worker == "w2"


def test_the_last_of_long_jobs_waits_for_no_machine_that_nobody_starts(make: MakeBench) -> None:
    bench = last_of_long_jobs(make, None)
    assert bench.worker("w1", market="spot").run().reason == ALL_DONE
    assert bench.result("199").worker == "w1"


def test_the_last_per_cent_is_done_here_without_steady_workers(make: MakeBench) -> None:
    bench = make("true", lanes=BOTH)
    bench.add({f"{n}": b"" for n in range(100)})
    beat(bench, "large", Lane.LARGE)
    with at_work(bench.worker("w1", market="spot")) as (worker,):
        until(lambda: not bench.waiting())
        worker.leave()
    assert bench.waiting_in(Lane.STEADY) == []


def test_a_worker_of_another_lane_gives_no_second_opinion(make: MakeBench) -> None:
    bench = make("exit 1", limits=Limits(max_attempts=1), lanes=BOTH)
    bench.add({"x": b""})
    beat(bench, "large", Lane.LARGE)
    with at_work(bench.worker("w1")) as (worker,):
        until(lambda: bench.has_result("x"))
        worker.leave()
    assert bench.result("x").status == "failed"
