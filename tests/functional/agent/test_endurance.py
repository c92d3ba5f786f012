"""Nothing of an agent grows with the jobs that it has done."""

from __future__ import annotations

from pathlib import Path

from tests.bench.endurance import MIB, measure


def test_five_hundred_jobs_leave_an_agent_as_one_hundred_do(tmp_path: Path) -> None:
    early, late = measure([100, 500], tmp_path)
    assert late.threads <= early.threads
    assert late.descriptors <= early.descriptors
    assert late.children == early.children
    assert (early.scratch, late.scratch) == (0, 0)
    assert late.memory - early.memory < 8 * MIB
