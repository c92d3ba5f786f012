"""How many jobs run at once on a worker's memory, and what becomes of one that needs more."""

from __future__ import annotations

import sys

import pytest
from tests.functional.agent.bench import Gate, memory_of, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyStore
from tests.functional.agent.live import at_work

from parallelize_core.result import Cause
from parallelize_core.run import Limits

LIMIT = 60 * 2**20
GIB = 2**30
COUNT = """
touch "{folder}/$$"; ls "{folder}" | wc -l >"$(basename "$1").n"
sleep 0.1; rm "{folder}/$$"; echo "$(basename "$1").n"
"""
"""A job that says how many run beside it, itself included."""

HOG = f"{sys.executable} -c 'import time; x = bytearray(150 * 2**20); time.sleep({{seconds}})'"


def test_what_ran_out_of_memory_is_tried_again_with_twice_its_peak(make: MakeBench) -> None:
    hog = HOG.format(seconds=60)
    bench = make(
        f'if [ "$PARALLELIZE_ATTEMPT" = 1 ]; then {hog}; else {HOG.format(seconds=1.2)}; fi',
        limits=Limits(memory_bytes=LIMIT, max_attempts=2),
    )
    bench.add({"x": b""})
    bench.run()
    assert [record.cause for record in bench.attempts("x")] == [Cause.MEMORY]
    assert (bench.result("x").status, bench.result("x").attempt) == ("succeeded", 2)


def test_what_runs_out_of_memory_twice_gets_that_of_the_whole_worker(make: MakeBench) -> None:
    # At first a little more than its share, and then far more than twice that.
    bench = make(
        f"size=$(( PARALLELIZE_ATTEMPT == 1 ? 40 : 400 )); exec {sys.executable} -c "
        '"import time; x = bytearray($size * 2**20); time.sleep(1.2)"',
        limits=Limits(memory_bytes=30 * 2**20, max_attempts=3),
    )
    bench.add({"x": b""})
    bench.run()
    assert [record.cause for record in bench.attempts("x")] == [Cause.MEMORY, Cause.MEMORY]
    assert (bench.result("x").status, bench.result("x").attempt) == ("succeeded", 3)


@pytest.mark.parametrize(("promise", "most"), [(10, b"2"), (100, b"1")])
def test_a_promise_of_memory_limits_the_jobs_that_run_at_once(
    make: MakeBench, gate: Gate, promise: int, most: bytes
) -> None:
    bench = make(COUNT.format(folder=gate.folder), limits=Limits(memory_bytes=promise * GIB))
    bench.add({f"{n}": b"" for n in range(8)})
    bench.worker(memory=memory_of(24 * GIB)).run()
    assert max(bench.output(f"{n}.n").strip() for n in range(8)) == most


def test_a_worker_learns_from_what_others_tell_of_their_jobs(make: MakeBench) -> None:
    bench = make("exit 0")
    bench.add({f"{n}": b"" for n in range(6)})
    bench.run("w1")
    bench.add({"later": b""}, send=False)
    with at_work(bench.worker("w2")) as (other,):
        until(lambda: (use := other.worker.describe().memory) and use.expected)
        assert [bench.result(f"{n}").worker for n in range(6)] == ["w1"] * 6, "it had none itself"


def test_a_job_that_must_be_alone_has_no_other_beside_it(make: MakeBench, gate: Gate) -> None:
    running = gate.folder / "running"
    running.mkdir()
    bench = make(f'touch "{running}/$PPID-$$"; ls "{running}" | wc -l > "$(basename "$1").n"; '
                 f'sleep 0.1; rm "{running}/$PPID-$$"; echo "$(basename "$1").n"')  # fmt: skip
    bench.add({f"{n}": b"" for n in range(6)})
    bench.add({"hog": b""}, send=False)
    bench.queue.send([bench.message("hog").with_more_memory(0).encode()])
    bench.add({f"later{n}": b"" for n in range(6)})
    bench.run()
    assert bench.output("hog.n").strip() == b"1"
    assert bench.result("hog").attempt == 2
    assert len(bench.outputs()) == 13


def test_jobs_that_must_be_alone_end_one_after_the_other(make: MakeBench) -> None:
    bench = make("true")
    keys = [f"{n}" for n in range(5)]
    bench.add(dict.fromkeys(keys, b""), send=False)
    bench.queue.send([bench.message(key).with_more_memory(0).encode() for key in keys])
    bench.run()
    assert all(bench.has_result(key) for key in keys)


def test_what_waits_behind_a_job_that_is_alone_is_handed_back_for_others(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(gate.wait)
    bench.add({"hog": b"", "next": b""}, send=False)
    hog = bench.message("hog").with_more_memory(0)
    bench.queue.send([hog.encode(), bench.message("next").encode()])

    def in_order(call: str) -> None:
        if call.startswith("get_file") and call.endswith("next"):
            until(lambda: "hog" in gate.arrived())

    store = FaultyStore(bench.store, Faults(hook=in_order))
    with at_work(bench.worker("w1", store=store)) as (worker,):
        until(gate.arrived)
        with at_work(bench.worker("w2")):
            until(lambda: gate.arrived() == {"hog", "next"})
            gate.open()
        worker.join()
    assert (bench.result("hog").worker, bench.result("next").worker) == ("w1", "w2")


def test_a_worker_that_leaves_hands_back_what_waits_to_be_alone(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(gate.wait)
    bench.add({"x": b""})
    with at_work(bench.worker()) as (worker,):
        until(gate.arrived)
        bench.add({"hog": b""}, send=False)
        bench.queue.send([bench.message("hog").with_more_memory(0).encode()])
        until(lambda: bench.queue.counts().in_flight == 2)
        worker.worker.shut_down("spot notice", 60)
        until(lambda: bench.queue.counts().visible == 1)
        gate.open()
        worker.join()
    assert [(job.key, job.attempt, job.alone) for job in bench.waiting()] == [("hog", 2, True)]
