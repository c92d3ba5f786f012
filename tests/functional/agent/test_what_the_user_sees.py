"""Whose fault it was, as a person finds it: in `status`, `failures` and a worker's last words.

One test for each row of "whose fault is it" (docs/reliability.md); what follows for the run is in
test_whose_fault.py.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.functional.agent.bench import SWIFT, Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyQueue, FaultyStore
from tests.functional.agent.live import at_work
from tests.functional.agent.shown import failures_page, status_page

from parallelize_core.errors import (
    AccessError,
    ArchivedError,
    ChangedError,
    MissingError,
    ParallelizeError,
    RefusedError,
)
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.result import Cause
from parallelize_core.run import Limits, OutputNaming

COPY = 'n=$(basename "$1"); cp "$1" "$n.out"; echo "$n.out"'
ONE_SLOT = SWIFT.model_copy(update={"slots": 1})
FAR_AHEAD = 2**33
DONE = "every job has its result"


def other_worker(bench: Bench, name: str, *, done: int = 0) -> None:
    """Write the heartbeat of another worker, who lives."""
    beat = Heartbeat(
        worker=name, state=WorkerState.BUSY, started=0, seen=FAR_AHEAD, interval_seconds=60,
        done=done,
    )  # fmt: skip
    bench.store.put(bench.layout.heartbeat(name), beat.encode())


def refusing(bench: Bench, key: str, error: Exception) -> FaultyStore:
    """Return a worker's own way to the store, which does not give one input."""

    def refuse(call: str) -> None:
        if call == f"get_file {bench.layout.input.key(key)}":
            raise error

    return FaultyStore(bench.store, Faults(hook=refuse))


@pytest.mark.parametrize(
    "error",
    [
        RefusedError("access to s3://bucket/cold is refused", "Access Denied"),
        ArchivedError("s3://bucket/cold is in an archive", "storage class GLACIER"),
        MissingError("s3://bucket/cold does not exist"),
        ChangedError("s3://bucket/cold has changed since it was listed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_input_that_s3_does_not_give_is_told_in_s3s_words(
    make: MakeBench, error: ParallelizeError
) -> None:
    bench = make(COPY)
    bench.add({"cold": b"x", "warm": b"x", "hot": b"x"})
    reason = bench.worker("w1", store=refusing(bench, "cold", error)).run()
    assert (reason.reason, reason.error) == (DONE, None)
    assert bench.heartbeat().reason == DONE
    assert "cold" in failures_page(bench)
    assert "input" in failures_page(bench)
    assert error.what[:30] in failures_page(bench)
    assert error.what in bench.result("cold").message
    assert "2 done" in status_page(bench)
    assert "1 failed" in status_page(bench)


def test_a_path_that_the_command_has_spoiled_is_told_as_output_with_its_name(
    make: MakeBench,
) -> None:
    bench = make("ln -s nowhere made.csv; echo made.csv", limits=Limits(max_attempts=1))
    bench.add({"x": b""})
    assert bench.run().error is None
    assert bench.result("x").cause is Cause.OUTPUT
    assert "output" in failures_page(bench)
    assert '"made.csv" is a broken link' in failures_page(bench)
    assert "made.csv" in bench.heartbeat().last_failure


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Mount something on a folder, which not even root can remove then, until the end."""
    mounted: list[Path] = []

    def mount(place: Path) -> None:
        words = ["mount", "-t", "tmpfs", "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("this needs root and the right to mount")
        mounted.append(place)

    yield mount
    words = ["findmnt", "-rno", "TARGET"]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for place in found.splitlines():
        if place.startswith(f"{tmp_path}/"):
            subprocess.run(["umount", place], check=True)


def test_a_scratch_folder_that_cannot_be_removed_is_nobodys_failure(
    make: MakeBench, gate: Gate, mount: Callable[[Path], None]
) -> None:
    bench = make(f'mkdir mine; pwd > "{gate.folder}/at"; {gate.wait}; {COPY}', config=ONE_SLOT)
    bench.add({"odd": b"1"})
    with at_work(bench.worker("w1")) as (worker,):
        until(gate.arrived)
        mount(Path((gate.folder / "at").read_text().strip()) / "mine")
        gate.open()
        until(lambda: bench.has_result("odd"))
        bench.add({"a": b"2", "b": b"3"})
        reason = worker.join()
    assert (reason.reason, reason.error) == (DONE, None)
    assert {bench.result(key).status for key in ("odd", "a", "b")} == {"succeeded"}
    assert failures_page(bench) == ""
    assert "3 done" in status_page(bench)
    assert len(list((bench.folder / "w1/left-over").iterdir())) == 1


def test_a_second_opinion_is_left_to_the_other_worker(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait)
    bench.add({"x": b""}, send=False)
    other_worker(bench, "w2")
    message = bench.message("x").with_failure_on("w1", second_opinion=True)
    bench.queue.send([message.encode()])
    faults = Faults()
    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, faults))):
        until(lambda: faults.calls.count("send") >= 3)
    assert gate.arrived() == set()
    assert {job.second_opinion for job in bench.waiting()} == {True}
    assert failures_page(bench) == ""


def test_a_sick_worker_says_what_all_its_commands_said(make: MakeBench) -> None:
    bench = make('echo "libcuda.so.1 is missing" >&2; exit 127', config=ONE_SLOT)
    bench.add({f"f{number}": b"" for number in range(8)})
    other_worker(bench, "w2", done=5)
    assert bench.run("w1").unfit
    beat = bench.heartbeat("w1")
    assert (beat.state, beat.unfit) == (WorkerState.FAILED, True)
    # On a busy machine, the next command has failed, too, before the verdict on the third.
    assert beat.failed_in_row in {3, 4}
    said = r"the first [34] commands all failed here, and other workers may do better: exit 127"
    assert re.fullmatch(said, beat.reason)
    assert beat.reason in status_page(bench)
    assert failures_page(bench) == ""


def test_a_worker_that_may_be_sick_takes_nothing_until_it_is_known(make: MakeBench) -> None:
    bench = make("sleep 0.1; exit 127", config=ONE_SLOT)
    bench.add({f"f{number}": b"" for number in range(40)})
    other_worker(bench, "w2")
    faults = Faults()

    def received() -> int:
        return sum(call.startswith("receive ") for call in faults.calls)

    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, faults))) as (worker,):
        until(lambda: (found := worker.worker.worker) and found.fitness.suspect)
        before = received()
        seen = bench.heartbeat("w1").seen
        until(lambda: bench.heartbeat("w1").seen > seen + 2)
        assert received() <= before + 1, "one poll may have been under way"
        other_worker(bench, "w2", done=1)
        assert worker.join().unfit


def unavailable(faults: Faults) -> None:
    """Let every call of a service fail that concerns jobs; heartbeats are still written."""
    faults.broken = {
        "get", "get_file", "head", "list", "put_file", "put runs/r/output", "put runs/r/result",
    }  # fmt: skip


def test_nothing_is_received_while_s3_is_unavailable(make: MakeBench) -> None:
    bench = make(f"sleep 0.2; {COPY}")
    keys = [f"f{number}" for number in range(40)]
    bench.add(dict.fromkeys(keys, b"x"))
    of_queue, of_store = Faults(), Faults()
    worker = bench.worker(
        "w1",
        queue=FaultyQueue(bench.queue, of_queue),
        store=FaultyStore(bench.store, of_store),
    )

    def received() -> int:
        return sum(call.startswith("receive ") for call in of_queue.calls)

    with at_work(worker) as (background,):
        until(lambda: worker.describe().done)
        unavailable(of_store)
        until(lambda: worker.worker and any(outage.lasts for outage in worker.worker.outages))
        before, probes = received(), len(of_store.calls)
        until(lambda: of_store.calls[probes:].count(f"head {bench.layout.run_json}") >= 3)
        assert received() <= before + 1, "one poll may have been under way"
        assert "S3 is unavailable" in bench.heartbeat().reason
        assert "S3 is unavail" in status_page(bench)
        of_store.broken = set()
        background.join()
    assert failures_page(bench) == ""
    assert {bench.result(key).attempt for key in keys} == {1}


def refused(call: str) -> None:
    raise AccessError("SQS refuses the run's queue", "not authorized to perform sqs:ReceiveMessage")


def test_a_queue_that_refuses_every_call_ends_its_worker_within_max_idle(make: MakeBench) -> None:
    bench = make(COPY, config=SWIFT.model_copy(update={"max_idle_seconds": 2}))
    bench.add({"x": b"x"})
    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, Faults(refused)))) as (worker,):
        worker.join()
    assert "SQS refuses the run's queue" in bench.heartbeat().reason
    assert "agent.max_idle" in bench.heartbeat().reason
    assert "SQS refuses the run's queue" in status_page(bench)


def test_a_machine_on_which_no_file_can_be_done_says_why(make: MakeBench) -> None:
    bench = make(COPY, config=SWIFT.model_copy(update={"max_unfit": 3}))
    bench.add({f"{number}": b"" for number in range(3)})
    store = FaultyStore(bench.store, Faults(broken={"put runs/r/output"}))
    assert bench.worker("w1", store=store).run().unfit
    assert "because of this machine or its network" in bench.heartbeat().reason
    assert "because of this machine or its network" in status_page(bench)
    assert failures_page(bench) == ""


def test_a_run_whose_files_all_have_one_output_name_is_paused_and_says_so(make: MakeBench) -> None:
    bench = make('cp "$1" out; echo out', naming=OutputNaming(name="same.csv"))
    bench.add({f"f{number}": b"%d" % number for number in range(60)})
    reason = bench.run().reason
    assert "have failed in the same way" in reason
    assert "same.csv" in reason
    assert "have failed in the same way" in bench.read_run().paused
    assert "have failed in the same way" in status_page(bench)
    assert "both produce the o" in failures_page(bench)


def test_a_run_in_which_each_file_fails_in_its_own_way_is_paused_too(make: MakeBench) -> None:
    bench = make('basename "$1" | tr 0-9 a-j >&2; exit 65')
    bench.add({f"{number:03}": b"" for number in range(60)})
    assert "files have all failed" in bench.run().reason
    assert "files have all failed" in status_page(bench)


def test_a_file_that_was_handed_back_ten_times_fails_with_all_reasons(make: MakeBench) -> None:
    bench = make(COPY)
    bench.add({"unlucky": b"x", "lucky": b"x"})
    store = FaultyStore(bench.store, Faults(broken={"put runs/r/output/unlucky"}))
    assert bench.worker("w1", store=store).run().error is None
    assert "infrastructure" in failures_page(bench)
    assert "10 times" in failures_page(bench)
    assert "unlucky: it failed 10 times" in bench.heartbeat().last_failure
