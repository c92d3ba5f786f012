"""What a worker has done so far, counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from parallelize_agent.job.job import Fate, Job, Verdict
from parallelize_core.result import Cause


@dataclass(frozen=True)
class Counts:
    """Jobs by what became of them.

    `failed` counts those that have failed for good, `failed_attempts` each attempt that was the
    job's own fault, `unfit` failures of machine or network in a row.
    """

    done: int = 0
    failed: int = 0
    failed_attempts: int = 0
    handed_back: int = 0
    lost: int = 0
    unfit: int = 0
    busy_seconds: float = 0.0
    last_failure: str = ""


class Tally:
    """Counts, from any thread."""

    def __init__(self) -> None:
        self._counts = Counts()
        self._lock = threading.Lock()

    @property
    def counts(self) -> Counts:
        """The counts as they are now."""
        with self._lock:
            return self._counts

    def count(self, job: Job, verdict: Verdict) -> Counts:
        """Count a job that is settled, and return the counts with it."""
        with self._lock:
            self._counts = _with(self._counts, job, verdict)
            return self._counts


def _with(counts: Counts, job: Job, verdict: Verdict) -> Counts:
    seconds = job.outcome.usage.seconds if job.outcome else 0.0
    counts = replace(counts, busy_seconds=round(counts.busy_seconds + seconds, 3))
    match verdict.fate, verdict.cause:
        case Fate.SUCCEEDED, _:
            return replace(counts, done=counts.done + 1, unfit=0)
        case Fate.FAILED, Cause.INTERRUPTED:
            return replace(counts, handed_back=counts.handed_back + 1)
        case Fate.FAILED, Cause.INFRASTRUCTURE if not verdict.final:
            unfit = 0 if verdict.blameless else counts.unfit + 1
            return replace(counts, handed_back=counts.handed_back + 1, unfit=unfit)
        case Fate.FAILED, _:
            return replace(
                counts,
                failed=counts.failed + verdict.final,
                failed_attempts=counts.failed_attempts + 1,
                unfit=0,
                last_failure=f"{job.key}: {verdict.message}",
            )
        case Fate.LOST, _:
            return replace(counts, lost=counts.lost + 1)
        case _:
            return counts
