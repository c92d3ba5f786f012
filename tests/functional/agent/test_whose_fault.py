"""Whose fault a failure is: the file's, the command's, a worker's or a service's."""

from __future__ import annotations

from tests.functional.agent.bench import SWIFT, Bench, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyQueue, FaultyStore
from tests.functional.agent.live import at_work

from parallelize_core.errors import ArchivedError, MissingError
from parallelize_core.heartbeat import WorkerState
from parallelize_core.result import Cause
from parallelize_core.run import Limits

COPY = 'n=$(basename "$1"); cp "$1" "$n.out"; echo "$n.out"'
SICK = f'case "$PWD" in */w1/*) echo "libcuda.so.1 is missing" >&2; exit 127;; esac; {COPY}'
ONE_SLOT = SWIFT.model_copy(update={"slots": 1})


def failed_results(bench: Bench, keys: list[str]) -> list[str]:
    return [key for key in keys if bench.has_result(key) and bench.result(key).status == "failed"]


def test_a_sick_worker_leaves_as_unfit_and_no_file_is_charged_for_good(make: MakeBench) -> None:
    bench = make(f"sleep 0.05; {SICK}", config=ONE_SLOT)
    keys = [f"f{n}" for n in range(30)]
    bench.add(dict.fromkeys(keys, b"x"))
    with at_work(bench.worker("w1"), bench.worker("w2")) as (sick, well):
        reason = sick.join()
        well.join()
    assert failed_results(bench, keys) == []
    assert all(bench.has_result(key) for key in keys)
    assert reason.unfit
    assert bench.heartbeat("w1").unfit
    assert "exit 127" in str(reason.error)


def test_a_sick_worker_waits_for_others_that_have_not_finished_any_file_yet(
    make: MakeBench,
) -> None:
    bench = make(f'case "$PWD" in */w2/*) sleep 1;; esac; {SICK}', config=ONE_SLOT)
    keys = [f"f{n}" for n in range(30)]
    bench.add(dict.fromkeys(keys, b"x"))
    with at_work(bench.worker("w2")) as (well,):
        until(lambda: well.worker.describe().running)
        with at_work(bench.worker("w1")) as (sick,):
            assert sick.join().unfit
        well.worker.shut_down("enough was seen")
    assert bench.read_run().paused == ""
    assert failed_results(bench, keys) == []


def test_a_file_fails_for_good_only_after_two_workers_have_failed_it(make: MakeBench) -> None:
    bench = make(
        f'case "$1" in *bad) exit 3;; esac; sleep 0.1; {COPY}',
        limits=Limits(max_attempts=1, grace_seconds=0.2),
        config=ONE_SLOT,
    )
    bench.add({f"good{n}": b"x" for n in range(6)})
    with at_work(bench.worker("w1"), bench.worker("w2")) as workers:
        until(lambda: all(worker.worker.describe().done for worker in workers))
        bench.add({"bad": b"x"})
        until(lambda: bench.has_result("bad"))
    result = bench.result("bad")
    assert (result.status, result.cause) == ("failed", Cause.COMMAND)
    (first,) = bench.attempts("bad")
    assert {first.worker, result.worker} == {"w1", "w2"}


def test_an_input_that_s3_refuses_is_given_up_after_two_tries_and_others_go_on(
    make: MakeBench,
) -> None:
    bench = make(COPY)
    bench.add({"cold": b"x", "warm": b"x", "hot": b"x"})

    def refuse(call: str) -> None:
        if call.startswith("get_file") and call.endswith("/cold"):
            raise ArchivedError("s3://bucket/cold is in an archive")

    worker = bench.worker("w1", store=FaultyStore(bench.store, Faults(hook=refuse)))
    assert worker.run().error is None
    result = bench.result("cold")
    assert (result.status, result.cause, result.attempt) == ("failed", Cause.INPUT, 2)
    assert "in an archive" in result.message
    assert bench.result("warm").status == bench.result("hot").status == "succeeded"


def test_an_outage_is_waited_out_with_finished_work_and_charged_to_nobody(
    make: MakeBench,
) -> None:
    bench = make(f"sleep 0.3; {COPY}")
    keys = [f"f{n}" for n in range(6)]
    bench.add(dict.fromkeys(keys, b"x"))
    faults = Faults()
    store = FaultyStore(bench.store, faults)
    with at_work(bench.worker("w1", store=store)) as (worker,):
        until(lambda: bench.has_result(keys[0]) or worker.worker.describe().done)
        faults.broken = {"get", "get_file", "head", "put", "put_file", "list"}
        until(lambda: any(outage.lasts for outage in worker.worker.worker.outages))
        faults.broken = set()
        assert worker.join().error is None
    assert {bench.result(key).attempt for key in keys} == {1}
    assert [bench.attempts(key) for key in keys] == [[]] * 6


def test_an_outage_that_lasts_too_long_ends_the_worker_and_says_why(make: MakeBench) -> None:
    bench = make(COPY, config=SWIFT.model_copy(update={"max_outage_seconds": 1}))
    bench.add({"x": b"x"})
    faults = Faults()

    def break_off(call: str) -> None:
        if call.startswith("get_file runs/r/input"):
            faults.broken = {"get", "get_file", "head", "put runs/r/output", "put runs/r/result"}

    faults.hook = break_off
    reason = bench.worker("w1", store=FaultyStore(bench.store, faults)).run()
    assert reason.error
    assert "S3 has been unavailable" in reason.reason
    assert bench.heartbeat("w1").state is WorkerState.FAILED


def gone(call: str) -> None:
    if call.startswith("receive "):
        raise MissingError("the run's queue does not exist")


def test_without_its_queue_a_worker_asks_the_results_whether_it_is_over(make: MakeBench) -> None:
    bench = make(COPY)
    bench.add({"x": b"x"})
    bench.run("w0")
    worker = bench.worker("w1", queue=FaultyQueue(bench.queue, Faults(hook=gone)))
    assert worker.run().reason == "every job has its result"


def test_without_its_queue_a_worker_leaves_within_max_idle_and_says_so(make: MakeBench) -> None:
    bench = make(COPY, config=SWIFT.model_copy(update={"max_idle_seconds": 2}))
    bench.add({"x": b"x"})
    worker = bench.worker("w1", queue=FaultyQueue(bench.queue, Faults(hook=gone)))
    assert "the run's queue does not exist" in worker.run().reason


def test_the_tenth_setback_of_one_file_ends_its_tries_and_names_the_reasons(
    make: MakeBench,
) -> None:
    bench = make(COPY)
    bench.add({"unlucky": b"x", "lucky": b"x"})
    store = FaultyStore(bench.store, Faults(broken={"put runs/r/output/unlucky"}))
    assert bench.worker("w1", store=store).run().error is None
    result = bench.result("unlucky")
    assert (result.status, result.cause) == ("failed", Cause.INFRASTRUCTURE)
    assert "10 times" in result.message
    assert "aws.example" in result.message
    assert bench.result("lucky").status == "succeeded"


def test_no_more_files_fail_for_good_than_half_again_what_the_run_allows(make: MakeBench) -> None:
    bench = make(
        'case "$1" in *bad*) exit 65;; esac; sleep 0.1',
        limits=Limits(halt="4"),
        config=SWIFT.model_copy(update={"slots": 4}),
    )
    keys = [f"bad{n}" for n in range(60)]
    bench.add({"good": b"", **dict.fromkeys(keys, b"")})
    with at_work(bench.worker("w1"), bench.worker("w2"), bench.worker("w3")) as workers:
        for worker in workers:
            worker.join()
    assert bench.read_run().paused
    assert 4 <= len(failed_results(bench, keys)) <= 6


def test_an_outage_at_the_start_is_waited_out(make: MakeBench) -> None:
    bench = make(COPY)
    bench.add({"x": b"x"})
    faults = Faults(broken={"get", "head"})
    live = bench.worker("w1", store=FaultyStore(bench.store, faults))

    def recover(call: str) -> None:
        if faults.calls.count(f"head {bench.layout.run_json}") > 1:
            faults.broken = set()

    faults.hook = recover
    assert live.run().error is None
    assert bench.result("x").status == "succeeded"
