"""What a worker counts of the jobs that have left it."""

from __future__ import annotations

from parallelize_agent.job import fault
from parallelize_agent.job.job import FINISHED, LOST, PARKED, SUCCEEDED, Decision
from parallelize_agent.reporting.heartbeat import Counts
from parallelize_core.result import Cause

CRASH = fault.open_to_doubt("exit 1")
NETWORK = fault.handed_back("unreachable")
NOTICE = fault.interrupted("spot")


def count(*decisions: Decision) -> Counts:
    counts = Counts()
    for decision in decisions:
        counts.add("k", None, decision)
    return counts


def test_jobs_are_counted_by_what_became_of_them() -> None:
    counts = count(SUCCEEDED, SUCCEEDED, CRASH, NOTICE, NETWORK, LOST, FINISHED, PARKED)
    assert (counts.done, counts.failed) == (2, 0)
    assert (counts.handed_back, counts.lost) == (2, 1)
    assert counts.last_failure == "k: exit 1"


def test_a_job_counts_as_failed_when_it_has_failed_for_good() -> None:
    last = CRASH.as_final()
    deadly = fault.failed(Cause.INFRASTRUCTURE, "10 workers took it", final=True)
    counts = count(CRASH, CRASH, last, deadly)
    assert (counts.failed, counts.handed_back) == (2, 0)
