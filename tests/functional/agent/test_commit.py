"""Making work visible: whatever comes in between, a result tells what is really there."""

from __future__ import annotations

import pytest
from tests.functional.agent.bench import SWIFT, Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyStore
from tests.functional.agent.live import at_work

from parallelize_core.result import Cause, Result
from parallelize_core.run import Limits, OutputNaming

SAME_NAME = 'cp "$1" out; echo out'
ONCE = Limits(max_attempts=1)


def names(bench: Bench, key: str) -> list[str]:
    return [output.key for output in bench.result(key).outputs]


def test_outputs_come_before_the_log_the_log_before_the_result_the_result_before_the_delete(
    make: MakeBench,
) -> None:
    bench = make("echo x > out; head -c 100000 /dev/zero >&2; echo out")
    bench.add({"x": b""})
    faults = Faults()
    bench.worker("w1", store=FaultyStore(bench.store, faults)).run()
    aside = ("/agent/", "/segment/")
    writes = [call for call in faults.calls
              if call.startswith("put") and not any(place in call for place in aside)]  # fmt: skip
    assert writes == [
        "put runs/r/output/out",
        f"put_file {bench.result('x').log_key}",
        "put runs/r/result/x.json",
    ]


def test_a_clash_of_outputs_names_both_inputs_and_is_not_tried_again(make: MakeBench) -> None:
    bench = make(SAME_NAME)
    bench.add({"d/a": b"1", "d/b": b"2"})
    bench.run()
    loser, winner = sorted(("d/a", "d/b"), key=lambda key: bench.result(key).status)
    assert bench.result(winner).status == "succeeded"
    assert bench.result(loser).cause is Cause.OUTPUT
    assert bench.result(loser).attempt == 1
    assert all(name in bench.result(loser).message for name in ("d/a", "d/b", "d/out"))
    assert bench.output("d/out") == {"d/a": b"1", "d/b": b"2"}[winner]


def test_the_same_name_in_another_folder_is_no_clash(make: MakeBench) -> None:
    bench = make(SAME_NAME)
    bench.add({"d/a": b"1", "e/b": b"2"})
    bench.run()
    assert (bench.output("d/out"), bench.output("e/out")) == (b"1", b"2")


def test_a_clash_gets_a_suffix_if_the_run_wants_it(make: MakeBench) -> None:
    bench = make(SAME_NAME, naming=OutputNaming(on_clash="suffix"))
    inputs = {"a": b"1", "b": b"2", "c": b"3"}
    bench.add(inputs)
    bench.run()
    assert {bench.output(names(bench, key)[0]) for key in inputs} == set(inputs.values())
    assert all(bench.output(names(bench, key)[0]) == body for key, body in inputs.items())


def test_a_clash_replaces_if_the_run_wants_it(make: MakeBench) -> None:
    bench = make(SAME_NAME, naming=OutputNaming(on_clash="replace"))
    bench.add({"a": b"1", "b": b"2"})
    bench.run()
    assert bench.outputs() == {"out"}
    assert bench.output("out") in {b"1", b"2"}


def test_an_object_from_outside_the_run_is_not_overwritten(make: MakeBench) -> None:
    bench = make(SAME_NAME, limits=ONCE)
    bench.store.put(bench.layout.output.key("out"), b"precious")
    bench.add({"a": b"1"})
    bench.run()
    assert "something outside this run" in bench.result("a").message
    assert bench.output("out") == b"precious"


def test_an_input_may_overwrite_what_an_earlier_attempt_left(make: MakeBench) -> None:
    bench = make('echo "$PWD" > out; echo out')
    bench.add({"x": b""})
    faults = Faults()

    def break_the_first_execution(call: str) -> None:
        tries = faults.calls.count("put runs/r/result/x.json")
        faults.broken = {"put runs/r/result"} if tries <= 4 else set()

    faults.hook = break_the_first_execution
    bench.worker("w1", store=FaultyStore(bench.store, faults)).run()
    assert faults.calls.count("put runs/r/output/out") == 3  # the 2nd: there already; the 3rd
    assert bench.result("x").status == "succeeded"
    assert bench.output("out").endswith(b"/1/scratch\n")


def test_two_outputs_of_one_input_with_one_name_are_an_error(make: MakeBench) -> None:
    bench = make(
        "mkdir d e; echo 1 > d/o; echo 2 > e/o; echo d; echo e",
        naming=OutputNaming(name="{stem}"),
        limits=ONCE,
    )
    bench.add({"x": b""})
    bench.run()
    assert "two outputs of this input get the same name o" in bench.result("x").message
    assert bench.outputs() == set()


def test_a_result_that_another_has_written_stands(make: MakeBench, gate: Gate) -> None:
    bench = make(f"{gate.wait}; echo mine >&2")
    bench.add({"x": b""})
    with at_work(bench.worker("w1")) as (worker,):
        until(gate.arrived)
        theirs = Result(
            run="r", key="x", attempt=1, worker="other", started_at="", finished_at="",
            status="succeeded",
        )  # fmt: skip
        bench.store.put(bench.layout.result("x"), theirs.encode())
        gate.open()
        worker.join()
    assert bench.result("x") == theirs
    assert bench.queue.bodies() == []


def test_outputs_of_a_finished_job_are_not_touched_by_a_late_duplicate(
    make: MakeBench, gate: Gate
) -> None:
    script = f'case "$PWD" in */w1/*) {gate.wait};; esac; echo "$PWD" > out; echo out'
    # With a second slot the first worker might take the duplicate, too.
    bench = make(script, config=SWIFT.model_copy(update={"slots": 1}))
    bench.add({"x": b""})
    with at_work(bench.worker("w1")) as (late,):
        until(gate.arrived)
        bench.queue.send([bench.message("x").encode()])
        with at_work(bench.worker("w2")):
            until(lambda: bench.has_result("x"))
        first = bench.output("out")
        gate.open()
        late.join()
    assert bench.result("x").worker == "w2"
    assert bench.output("out") == first
    assert b"/w2/" in first


def test_a_result_is_replaced_if_the_outputs_that_it_names_have_been(make: MakeBench) -> None:
    """The first writes its result so late that the second could not see it."""
    bench = make('echo "$PWD" > out; echo out')
    bench.add({"x": b""})
    faults = Faults()
    theirs: list[Result] = []

    def race(call: str) -> None:
        if call == "put runs/r/result/x.json" and not theirs:
            ours = bench.store.head(bench.layout.output.key("out"))
            assert ours
            stale = {"key": "out", "size": 1, "sha256": "", "etag": "replaced-by-now"}
            theirs.append(
                Result.model_validate(
                    {"run": "r", "key": "x", "attempt": 1, "worker": "other", "started_at": "",
                     "finished_at": "", "status": "succeeded", "outputs": [stale]}
                )
            )  # fmt: skip
            bench.store.put(bench.layout.result("x"), theirs[0].encode())

    faults.hook = race
    bench.worker("w1", store=FaultyStore(bench.store, faults)).run()
    assert theirs
    head = bench.store.head(bench.layout.output.key("out"))
    assert head
    assert bench.result("x").worker == "w1"
    assert bench.result("x").outputs[0].etag == head.etag


def test_an_answer_that_was_lost_is_no_other_workers_result(make: MakeBench) -> None:
    bench = make("echo x > out; echo out")
    bench.add({"x": b""})

    class Forgetful(FaultyStore):
        """Sends each result twice, as a client does that has lost the first answer."""

        def put(self, key, body, *rest, **more):  # type: ignore[no-untyped-def]
            first = super().put(key, body, *rest, **more)
            return super().put(key, body, *rest, **more) if "/result/" in key else first

    departure = bench.worker("w1", store=Forgetful(bench.store, Faults())).run()
    assert departure.error is None
    assert bench.heartbeat().done == 1


@pytest.mark.parametrize("last", range(3))
def test_a_crash_at_any_write_repeats_work_and_loses_nothing(make: MakeBench, last: int) -> None:
    bench = make("echo x > out; head -c 100000 /dev/zero >&2; echo out")
    bench.add({"x": b""})
    faults = Faults()

    def die(call: str) -> None:
        writes = [call for call in faults.calls if call.startswith("put") and "agent/" not in call]
        if len(writes) > last:
            faults.broken = {"put", "put_file", "get", "head", "list"}

    faults.hook = die
    dying = bench.worker("w1", store=FaultyStore(bench.store, faults))
    with at_work(dying) as (worker,):
        until(lambda: faults.broken)
        worker.leave()
    bench.clock.ahead = bench.config.lease_seconds
    assert not bench.has_result("x")
    bench.run("w2")
    head = bench.store.head(bench.layout.output.key("out"))
    assert head
    assert [output.etag for output in bench.result("x").outputs] == [head.etag]
    assert bench.queue.bodies() == []
