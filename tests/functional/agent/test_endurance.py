"""Nothing of an agent grows with the jobs that it has done."""

from __future__ import annotations

from pathlib import Path

from tests.bench.endurance import MIB, measure

JOBS_PER_LEAK = 20
"""What leaks at most once in this many jobs is not seen: pools may still get threads that they had
not wanted before, each with a connection of its own."""


def test_five_hundred_jobs_leave_an_agent_as_one_hundred_do(tmp_path: Path) -> None:
    early, late = measure([100, 500], tmp_path)
    allowed = (late.jobs - early.jobs) // JOBS_PER_LEAK
    assert late.threads - early.threads < allowed
    assert late.descriptors - early.descriptors < allowed
    # A thread more is some hundred blocks; an object that is kept for each job is several each.
    assert late.blocks - early.blocks < 2 * (late.jobs - early.jobs)
    assert late.children == early.children
    assert (early.scratch, late.scratch) == (0, 0)
    assert late.memory - early.memory < 8 * MIB
