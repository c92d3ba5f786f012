"""How many jobs a machine runs at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallelize_agent.machine.host import gpu_count, gpus_of_slot, slot_count
from parallelize_core.errors import UsageError


@pytest.mark.parametrize(
    ("setting", "slots"), [(0, 4), ("0", 4), (7, 7), ("2x", 8), ("0.5x", 2), ("0.1x", 1)]
)
def test_slots_are_a_number_or_a_share_of_the_cpus(setting: int | str, slots: int) -> None:
    assert slot_count(setting, 4) == slots


@pytest.mark.parametrize("setting", ["", "x", "-1", "many", "1.5", "2 x"])
def test_anything_else_is_refused_in_words(setting: str) -> None:
    with pytest.raises(UsageError, match="is not a number of slots"):
        slot_count(setting, 4)


def test_jobs_with_gpus_run_as_far_as_the_gpus_go() -> None:
    assert slot_count(0, 16, gpus=4, gpus_per_job=2) == 2
    assert [gpus_of_slot(slot, 2) for slot in range(2)] == ["0,1", "2,3"]
    with pytest.raises(UsageError, match="needs 2 GPUs"):
        slot_count(0, 16, gpus=1, gpus_per_job=2)


def test_gpus_are_counted_by_their_devices(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert gpu_count(tmp_path) == 2
