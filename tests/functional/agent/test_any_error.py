"""Whatever is raised at whatever call: no false result, no charge, and an end that says why."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from tests.functional.agent.bench import SWIFT, Bench
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.injector import ODD, OF_THE_TREE, Injector, Moment

from parallelize_core.heartbeat import WorkerState

COPY = 'name=$(basename "$1"); cp "$1" "$name.out"; echo "$name.out"'
INPUTS = {f"f{i}": bytes([65 + i]) * 1000 for i in range(4)}

# A file that is large on its way in and out, one that takes longer than a renewal, and one that
# fails at first, so that every call of a store and a queue is made.
ALL_WAYS = INPUTS | {"large": bytes(range(250)) * 1200, "slow": b"s", "again": b"a"}
EVERY_CALL = f"""case "$1" in
  *slow) sleep 0.9;;
  *again) [ "$PARALLELIZE_ATTEMPT" -gt 2 ] || exit 9;;
esac
{COPY}"""
QUICK = SWIFT.model_copy(update={"lease_seconds": 2, "slots": 8})

CALLS = (
    "get", "get_file", "head", "put", "put_file", "list",
    "receive", "extend", "send", "delete", "counts",
)  # fmt: skip
AT_THE_START = {"get", "get_file", "head"}
"""Made before there is a worker that could write a heartbeat."""


def told(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__name__}"


def run_with(bench: Bench, injector: Injector, inputs: dict[str, bytes]) -> None:
    """Run one worker that meets the fault, and look at what it leaves."""
    # Another attempt at each: only then is a result looked for before the work.
    bench.add(inputs, send=False)
    bench.queue.send([bench.message(key).next_attempt().encode() for key in inputs])
    worker = bench.worker(queue=injector.queue(bench.queue), store=injector.store(bench.store))
    departure = worker.run()
    heartbeat = bench.heartbeat()
    assert heartbeat.reason == departure.reason
    assert heartbeat.state in {WorkerState.LEFT, WorkerState.FAILED}
    done = [key for key in inputs if bench.has_result(key)]
    assert len(done) == len(inputs) or departure.error
    for key in done:
        assert bench.result(key).status == "succeeded"
        assert bench.output(f"{key}.out") == inputs[key]


@pytest.mark.parametrize("error", ODD, ids=told)
def test_an_input_that_breaks_off_halfway_is_never_taken_for_whole(
    make: MakeBench, error: Exception
) -> None:
    bench = make(COPY)
    injector = Injector("get_file", 3, error, Moment.HALFWAY)
    run_with(bench, injector, INPUTS)
    assert injector.fired


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # a run takes seconds, and has nothing to shrink
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    name=st.sampled_from(CALLS),
    turn=st.integers(1, 4),
    error=st.sampled_from((*ODD, *OF_THE_TREE)),
    moment=st.sampled_from(Moment),
)
@example("extend", 1, ODD[0], Moment.BEFORE)
@example("extend", 1, ODD[13], Moment.AFTER)
@example("send", 1, ODD[5], Moment.BEFORE)
@example("send", 1, ODD[11], Moment.AFTER)
@example("put_file", 1, ODD[4], Moment.BEFORE)
@example("put_file", 1, ODD[10], Moment.AFTER)
@example("delete", 1, ODD[14], Moment.BEFORE)
def test_one_error_at_any_call_costs_no_job(
    name: str, turn: int, error: Exception, moment: Moment
) -> None:
    injector = Injector(name, turn + 2 * (name in AT_THE_START), error, moment)
    with tempfile.TemporaryDirectory() as folder:
        run_with(Bench(Path(folder), EVERY_CALL, config=QUICK), injector, ALL_WAYS)
    assert injector.fired or turn > 1
