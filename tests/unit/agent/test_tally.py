"""What a worker counts, and what it takes for a sign that it is broken."""

from __future__ import annotations

import pytest

from parallelize_agent.job.job import (
    FINISHED,
    LOST,
    PARKED,
    SUCCEEDED,
    Job,
    Verdict,
    failed,
    put_off,
)
from parallelize_agent.queue.leases import Lease, LeaseTerms
from parallelize_agent.reporting.tally import Counts, Tally
from parallelize_core.job import JobMessage
from parallelize_core.queue import Message
from parallelize_core.result import Cause


def counted(*verdicts: Verdict) -> Counts:
    tally = Tally()
    for verdict in verdicts:
        lease = Lease(Message("m", "", "r", 1), LeaseTerms(1), 0)
        tally.count(Job(JobMessage(run="r", key="k", size=0), lease), verdict)
    return tally.counts


CRASH = failed(Cause.COMMAND, "exit 1")
NETWORK = put_off("unreachable", 10)
LATER = put_off("exit 75", 60, blameless=True)


def test_jobs_are_counted_by_what_became_of_them() -> None:
    notice = failed(Cause.INTERRUPTED, "spot")
    counts = counted(SUCCEEDED, SUCCEEDED, CRASH, notice, NETWORK, LOST, FINISHED, PARKED)
    assert (counts.done, counts.failed, counts.failed_attempts) == (2, 0, 1)
    assert (counts.handed_back, counts.lost) == (2, 1)
    assert counts.last_failure == "k: exit 1"


def test_a_job_counts_as_failed_when_it_has_failed_for_good() -> None:
    last = failed(Cause.COMMAND, "exit 1", final=True)
    deadly = failed(Cause.INFRASTRUCTURE, "10 workers took it", final=True)
    counts = counted(CRASH, CRASH, last, deadly)
    assert (counts.failed, counts.failed_attempts, counts.handed_back) == (2, 4, 0)


def test_failures_of_machine_or_network_add_up() -> None:
    assert counted(NETWORK, NETWORK, NETWORK).unfit == 3


@pytest.mark.parametrize("verdict", [SUCCEEDED, CRASH, LATER], ids=["success", "crash", "later"])
def test_a_job_that_could_be_run_clears_the_suspicion(verdict: Verdict) -> None:
    assert counted(NETWORK, NETWORK, verdict, NETWORK).unfit == 1


@pytest.mark.parametrize("verdict", [FINISHED, PARKED, LOST], ids=["duplicate", "parked", "lost"])
def test_what_was_not_run_says_nothing(verdict: Verdict) -> None:
    assert counted(NETWORK, verdict, NETWORK).unfit == 2
