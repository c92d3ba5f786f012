"""What is said of GPUs: in the report, in status, in a sentence."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.watching.scene import NOW, Scene, heartbeat

from parallelize.report.hints import hints_on
from parallelize.runs.state.gpu_use import told_gpus
from parallelize.runs.state.status import status_of, worker_of
from parallelize.runs.state.view import as_json
from parallelize_core.heartbeat import GpuUse, Heartbeat

GIB = 2**30


def beat(*gpus: tuple[int, float | None]) -> Heartbeat:
    """Return a heartbeat with this use of GPUs: GiB, and the share of time busy."""
    used = tuple(
        GpuUse(uuid=f"GPU-{n}", memory_bytes=gib * GIB, memory_total_bytes=16 * GIB, busy=busy)
        for n, (gib, busy) in enumerate(gpus)
    )
    return heartbeat("i-1").model_copy(update={"gpus": used})


def test_gpus_are_told_by_the_fullest_and_by_how_busy_they_were() -> None:
    told = "2 GPUs, busy 60% of the time; at most 12.0 GiB of 16.0 GiB in use on one"
    assert told_gpus([beat((3, 0.4), (12, 0.8))]) == told
    assert f"{told}." in list(hints_on([beat((3, 0.4), (12, 0.8))]))


def test_gpus_that_have_much_to_spare_may_be_shared() -> None:
    assert any("run.gpu_share" in hint for hint in hints_on([beat((2, 0.1))]))
    assert not any("run.gpu_share" in hint for hint in hints_on([beat((2, 0.9)), beat((15, 0.1))]))


def test_of_gpus_that_do_not_count_it_nobody_says_how_busy_they_were() -> None:
    assert told_gpus([beat((3, None))]) == "1 GPU; at most 3.0 GiB of 16.0 GiB in use on one"


def test_nothing_is_said_of_workers_without_gpus() -> None:
    assert told_gpus([heartbeat("i-1")]) == ""


def test_status_has_each_gpu_for_programs() -> None:
    status = replace(status_of(Scene().snapshot()), workers=(worker_of(beat((3, 0.4)), NOW),))
    (gpu,) = as_json(status)["workers"][0]["gpus"]
    assert (gpu["uuid"], gpu["memory_bytes"], gpu["busy"]) == ("GPU-0", 3 * GIB, 0.4)
