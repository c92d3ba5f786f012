"""Which GPUs the jobs of a worker have."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallelize_agent.gpu.allotment import Allotment, Gpu, variables
from parallelize_agent.gpu.equipment import Equipment
from parallelize_agent.gpu.monitor import Monitor
from parallelize_core.errors import UsageError
from parallelize_core.run import Limits

FOUR = tuple(Gpu(n, n, f"GPU-{n}", "Tesla T4") for n in range(4))


def numbers(allotment: Allotment) -> list[list[int]]:
    """Return the GPUs of each slot."""
    return [[g.index for g in allotment.of_slot(slot)] for slot in range(allotment.slots or 0)]


@pytest.mark.parametrize(
    ("per_job", "share", "slots"),
    [
        (1, 1, [[0], [1], [2], [3]]),
        (2, 1, [[0, 1], [2, 3]]),
        (3, 1, [[0, 1, 2]]),
        (1, 2, [[0], [1], [2], [3], [0], [1], [2], [3]]),
    ],
)
def test_no_more_jobs_have_a_gpu_than_share_it(
    per_job: int, share: int, slots: list[list[int]]
) -> None:
    assert numbers(Allotment.of(FOUR, Limits(gpus=per_job, gpu_share=share))) == slots


def test_jobs_that_need_none_have_none_and_are_limited_by_nothing() -> None:
    allotment = Allotment.of(FOUR, Limits())
    assert allotment.slots is None
    assert allotment.of_slot(0) == ()
    assert variables(allotment.of_slot(0)) == {}


def test_a_machine_with_too_few_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="a job needs 2 GPUs, and this machine has 1"):
        Allotment.of(FOUR[:1], Limits(gpus=2))
    with pytest.raises(UsageError, match="a job needs 1 GPU, and this machine has none"):
        Allotment.of((), Limits(gpus=1))


def test_a_program_is_told_its_gpus_by_names_that_count_everywhere() -> None:
    told = variables(FOUR[1:3])
    assert told["CUDA_VISIBLE_DEVICES"] == told["NVIDIA_VISIBLE_DEVICES"] == "GPU-1,GPU-2"


def test_without_the_drivers_library_gpus_are_counted_by_their_devices(tmp_path: Path) -> None:
    for name in ("nvidia1", "nvidia0", "nvidia10", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    found = Monitor(devices=tmp_path).gpus
    assert [gpu.minor for gpu in found] == [0, 1, 10]
    assert variables(found[:2])["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_the_devices_of_other_slots_are_hidden(tmp_path: Path) -> None:
    for number in range(3):  # the fourth is on the bus, and has no node
        (tmp_path / f"nvidia{number}").touch()
    equipment = Equipment(Monitor(), Allotment.of(FOUR, Limits(gpus=1)), tmp_path)
    assert equipment.hidden(1) == (tmp_path / "nvidia0", tmp_path / "nvidia2")


def test_nothing_is_hidden_from_programs_that_count_their_gpus(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"nvidia{number}").touch()
    counted = Monitor(devices=tmp_path)
    equipment = Equipment(counted, Allotment.of(counted.gpus, Limits(gpus=1)), tmp_path)
    assert equipment.hidden(1) == ()
