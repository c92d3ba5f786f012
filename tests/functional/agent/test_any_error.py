"""Whatever is raised at whatever call: no false result, no charge, and an end that says why."""

from __future__ import annotations

import pytest
from tests.functional.agent.bench import Bench
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.injector import ODD, OF_THE_TREE, Injector, Moment

from parallelize_core.heartbeat import WorkerState

COPY = 'name=$(basename "$1"); cp "$1" "$name.out"; echo "$name.out"'
INPUTS = {f"f{i}": bytes([65 + i]) * 1000 for i in range(4)}

STORE_CALLS = ("get", "get_file", "head", "put", "list")
CALLS = (
    *((name, turn) for name in STORE_CALLS for turn in (2, 3)),
    ("receive", 2),
    ("receive", 3),
    ("delete", 1),
    ("counts", 1),
    ("counts", 2),
)
MOMENTS = (Moment.BEFORE, Moment.AFTER)
ERRORS = (*ODD, *OF_THE_TREE)


def told(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__name__}"


def run_with(bench: Bench, injector: Injector) -> None:
    """Run one worker that meets the fault, and look at what it leaves."""
    # Another attempt at each: only then is a result looked for before the work.
    bench.add(INPUTS, send=False)
    bench.queue.send([bench.message(key).next_attempt().encode() for key in INPUTS])
    worker = bench.worker(queue=injector.queue(bench.queue), store=injector.store(bench.store))
    departure = worker.run()
    heartbeat = bench.heartbeat()
    assert heartbeat.reason == departure.reason
    assert heartbeat.state in {WorkerState.LEFT, WorkerState.FAILED}
    done = [key for key in INPUTS if bench.has_result(key)]
    assert len(done) == len(INPUTS) or departure.error
    for key in done:
        assert bench.result(key).status == "succeeded"
        assert bench.output(f"{key}.out") == INPUTS[key]


@pytest.mark.parametrize("error", ODD, ids=told)
def test_an_input_that_breaks_off_halfway_is_never_taken_for_whole(
    make: MakeBench, error: Exception
) -> None:
    bench = make(COPY)
    injector = Injector("get_file", 3, error, Moment.HALFWAY)
    run_with(bench, injector)
    assert injector.fired


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.name.lower())
@pytest.mark.parametrize(("name", "turn"), CALLS)
def test_one_error_at_any_call_costs_no_job(
    make: MakeBench, name: str, turn: int, moment: Moment
) -> None:
    bench = make(COPY)
    # Each case draws another error, the same in every run. The first reads are left out: they
    # belong to the start, where there is no worker yet that could write a heartbeat.
    place = 2 * CALLS.index((name, turn)) + MOMENTS.index(moment)
    injector = Injector(name, turn, ERRORS[place % len(ERRORS)], moment)
    run_with(bench, injector)
    assert injector.fired
