"""Workers with GPUs, which a library that stands for NVIDIA's tells of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.functional.agent.bench import SWIFT, Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.gpus import FakeGpus
from tests.functional.agent.live import at_work
from tests.functional.agent.threaded import Clock

from parallelize_agent.gpu.monitor import HANG_SECONDS, Monitor
from parallelize_core.errors import UsageError
from parallelize_core.run import Limits, Serve

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="the stand-in has to be compiled")

ONE_EACH = Limits(gpus=1, grace_seconds=0.2)
MANY = SWIFT.model_copy(update={"slots": 8})
TOLD = 'echo "$CUDA_VISIBLE_DEVICES $NVIDIA_VISIBLE_DEVICES"'


@pytest.fixture
def gpus(tmp_path: Path) -> FakeGpus:
    return FakeGpus(tmp_path / "nvml", 2)


def log(bench: Bench, key: str) -> str:
    return bench.result(key).log


def test_each_job_has_a_gpu_of_its_own_and_no_more_run_than_there_are(
    make: MakeBench, gpus: FakeGpus, gate: Gate
) -> None:
    bench = make(f"{gate.wait}; {TOLD}", limits=ONE_EACH, config=MANY)
    keys = [f"f{n}" for n in range(4)]
    bench.add(dict.fromkeys(keys, b"x"))
    with at_work(bench.worker(gpus=gpus.monitor())) as (worker,):
        until(lambda: len(worker.worker.describe().running) == 2)
        assert worker.worker.describe().slots == 2
        gate.open()
        worker.join()
    assert {log(bench, key) for key in keys} == {"GPU-0 GPU-0\n", "GPU-1 GPU-1\n"}


def test_a_worker_without_enough_gpus_takes_no_job_and_says_so(
    make: MakeBench, gpus: FakeGpus
) -> None:
    bench = make("true", limits=Limits(gpus=3))
    bench.add({"x": b""})
    with pytest.raises(UsageError, match="a job needs 3 GPUs, and this machine has 2"):
        bench.worker(gpus=gpus.monitor()).run()
    assert [message.attempt for message in bench.waiting()] == [1]


def test_a_gpu_that_is_split_is_given_to_no_job(make: MakeBench, gpus: FakeGpus) -> None:
    gpus.say(0, "split")
    gpus.say(1, "split", 0)
    bench = make(TOLD, limits=ONE_EACH, config=MANY)
    keys = [f"f{n}" for n in range(3)]
    bench.add(dict.fromkeys(keys, b"x"))
    bench.worker(gpus=gpus.monitor()).run()
    assert {log(bench, key) for key in keys} == {"GPU-1 GPU-1\n"}


def test_a_worker_whose_gpus_are_split_takes_no_job_and_says_so(
    make: MakeBench, gpus: FakeGpus
) -> None:
    for number in range(2):
        gpus.say(number, "split")
    bench = make("true", limits=ONE_EACH)
    bench.add({"x": b""})
    with pytest.raises(UsageError, match="this machine has no whole ones") as told:
        bench.worker(gpus=gpus.monitor()).run()
    assert "MIG" in str(told.value.why)
    assert [message.attempt for message in bench.waiting()] == [1]


def test_what_a_gpu_did_is_in_the_result_and_in_the_heartbeat(
    make: MakeBench, gpus: FakeGpus, gate: Gate
) -> None:
    bench = make(gate.wait, limits=ONE_EACH)
    bench.add({"x": b""})
    gpus.say(0, "used", 3 * 2**30)
    gpus.say(0, "busy", 80)
    monitor = gpus.monitor()
    with at_work(bench.worker(gpus=monitor)) as (worker,):
        until(gate.arrived)
        assert monitor.lost_of(monitor.gpus) == ""  # so there was a look while the job ran
        gate.open()
        worker.join()
    usage = bench.result("x").usage
    assert (usage.gpu_memory_bytes, usage.gpu_busy) == (3 * 2**30, 0.8)
    first, second = bench.heartbeat().gpus
    assert (first.uuid, first.name, first.memory_bytes) == ("GPU-0", "Tesla Fake", 3 * 2**30)
    assert (second.memory_bytes, second.busy) == (0, None)  # that one does not count it


def test_a_worker_whose_gpu_falls_off_the_bus_hands_its_jobs_back_and_leaves(
    make: MakeBench, gpus: FakeGpus, gate: Gate
) -> None:
    bench = make(gate.wait, limits=ONE_EACH)
    bench.add({"x": b"", "y": b"", "z": b""})
    with at_work(bench.worker(gpus=gpus.monitor())) as (worker,):
        until(lambda: len(worker.worker.describe().running) == 2)
        gpus.say(1, "lost")
        reason = worker.join()
    assert reason.unfit
    beat = bench.heartbeat()
    assert beat.unfit
    assert "a GPU of this machine was lost: GPU 1 (Tesla Fake, GPU-1): GPU is lost" in beat.reason
    assert beat.gpus[1].lost
    left = bench.waiting()
    assert sorted((message.key, message.attempt) for message in left) == [
        ("x", 1), ("y", 1), ("z", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(("xid", "ends"), [(79, True), (31, False)])
def test_an_error_of_the_hardware_ends_the_worker_and_one_of_a_program_does_not(
    make: MakeBench, gpus: FakeGpus, gate: Gate, xid: int, ends: bool
) -> None:
    bench = make(gate.wait, limits=ONE_EACH)
    bench.add({"x": b""})
    with at_work(bench.worker(gpus=gpus.monitor())) as (worker,):
        until(lambda: worker.worker.describe().running)
        gpus.say(0, "xid", xid)
        until(lambda: not (gpus.folder / "0" / "xid").exists())
        if not ends:
            gate.open()
        reason = worker.join()
    assert reason.unfit == ends
    assert ("fallen off the bus (Xid 79)" in bench.heartbeat().reason) == ends


@pytest.mark.parametrize("serve", [None, Serve()], ids=["cold", "warm"])
def test_a_command_that_fails_while_its_gpu_is_lost_is_not_charged(
    make: MakeBench, gpus: FakeGpus, serve: Serve | None
) -> None:
    lose = f"echo 1 >{gpus.folder}/${{CUDA_VISIBLE_DEVICES#GPU-}}/lost"
    bench = make(f"{lose}; echo 'CUDA error' >&2; exit 1", limits=ONE_EACH, serve=serve, version=2)
    bench.add({"x": b""})
    worker = bench.worker(gpus=gpus.monitor())
    assert worker.run().unfit
    assert not bench.has_result("x")
    assert [(left.attempt, left.setbacks) for left in bench.waiting()] == [(1, ())]


def test_a_command_that_fails_while_its_gpu_is_well_is_charged(
    make: MakeBench, gpus: FakeGpus
) -> None:
    limits = Limits(gpus=1, grace_seconds=0.2, max_attempts=1)
    bench = make("exit 1", limits=limits)
    bench.add({"x": b""})
    bench.worker(gpus=gpus.monitor()).run()
    assert bench.result("x").status == "failed"


def test_a_lost_gpu_is_no_matter_to_jobs_that_need_none(make: MakeBench, gpus: FakeGpus) -> None:
    bench = make("true")
    bench.add({"x": b""})
    gpus.say(0, "lost")
    assert not bench.worker(gpus=gpus.monitor()).run().unfit
    assert bench.has_result("x")


def test_a_gpu_that_is_lost_from_the_start_is_found_and_no_job_fails_on_it(
    make: MakeBench, gpus: FakeGpus
) -> None:
    gpus.say(1, "lost")
    bench = make("test $CUDA_VISIBLE_DEVICES = GPU-0; sleep 5", limits=ONE_EACH)
    bench.add({"x": b"", "y": b""})
    assert bench.worker(gpus=gpus.monitor()).run().unfit
    assert [left.attempt for left in bench.waiting()] == [1, 1]


def test_a_driver_that_hangs_is_not_waited_for(gpus: FakeGpus) -> None:
    clock = Clock()
    monitor: Monitor = gpus.monitor(clock=clock, answer_seconds=0.01)
    gpus.hang()
    monitor.start()
    try:
        assert monitor.lost == ""
        assert monitor.lost_of(monitor.gpus) == "the driver of the GPUs does not answer"
        clock.ahead += HANG_SECONDS
        assert monitor.lost == "the driver of the GPUs does not answer"
    finally:
        gpus.go_on()


def test_jobs_wait_for_another_worker_once_the_run_wants_other_gpus(
    make: MakeBench, gpus: FakeGpus, gate: Gate
) -> None:
    """Slots were counted for what it wanted before: two jobs would have one GPU."""
    bench = make(gate.wait, limits=ONE_EACH, config=SWIFT.model_copy(update={"max_unfit": 1}))
    bench.add({"x": b""})
    with at_work(bench.worker(gpus=gpus.monitor())) as (worker,):
        until(lambda: worker.worker.describe().running)
        bench.limits = Limits(gpus=2, grace_seconds=0.2)
        bench.write_run()
        until(lambda: worker.worker.worker.run_source.current.limits.gpus == 2)
        bench.add({"y": b""})
        until(lambda: worker.worker.worker.shutdown.decided)
        gate.open()
        worker.join()
    assert [left.key for left in bench.waiting() if left.setbacks] == ["y"]
