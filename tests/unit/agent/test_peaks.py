"""The peaks of a machine: of what was in use, and never of what was not measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.reporting.resource_peaks import CPU_WINDOW_SECONDS, PeakMeter, Use, read_use
from parallelize_core.heartbeat import Peaks


def use(busy: float = 0, total: float = 0, memory: int = 10, disk: int = 20) -> Use:
    return Use(busy, total, memory, memory_total=100, disk=disk, disk_total=1000)


def metered(*uses: Use, seconds: float = CPU_WINDOW_SECONDS) -> Peaks:
    """Return the peaks of a machine that is looked at at intervals."""
    readings, now = iter(uses), 0.0
    meter = PeakMeter(lambda: next(readings), lambda: now)
    for _ in uses[1:]:
        now += seconds
        meter.look()
    return meter.peaks


def test_a_peak_stays_when_less_is_in_use() -> None:
    peaks = metered(use(memory=10, disk=20), use(memory=70, disk=30), use(memory=5, disk=25))
    assert (peaks.memory_bytes, peaks.disk_bytes) == (70, 30)


def test_the_processors_count_by_the_share_that_was_busy_in_the_busiest_window() -> None:
    assert metered(use(0, 0), use(2, 20), use(17, 40), use(18, 60)).cpu == pytest.approx(0.75)


def test_a_worker_that_lived_shorter_than_a_window_does_not_know_its_processors() -> None:
    assert metered(use(0, 0), use(1, 1), seconds=CPU_WINDOW_SECONDS / 2).cpu is None


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), min_size=2, max_size=20))
def test_a_share_is_one_whatever_the_counters_of_the_kernel_do(counters: list) -> None:
    peak = metered(*(use(busy, total) for busy, total in counters)).cpu
    assert peak is not None
    assert 0 <= peak <= 1


def test_a_disk_that_cannot_be_asked_leaves_the_peaks_as_they_are() -> None:
    readings = iter([use(memory=50)])

    def read() -> Use:
        for found in readings:
            return found
        raise OSError("no such folder")

    meter = PeakMeter(read)
    meter.look()
    assert meter.peaks.memory_bytes == 50


def test_this_machine_has_more_than_it_uses(tmp_path: Path) -> None:
    found = read_use(tmp_path)
    assert 0 < found.memory <= found.memory_total
    assert 0 < found.disk <= found.disk_total
    assert 0 < found.cpu_busy <= found.cpu_total
