"""The circuit breaker: when so many jobs fail that the run should stop for a person to look."""

from __future__ import annotations

import math
from dataclasses import dataclass

FIRST = 20
"""A run whose first jobs, this many, have all failed is halted whatever its settings say."""


@dataclass(frozen=True)
class Progress:
    """Jobs of a run: in all, with a result, failed; `forgiven` failures do not count any more.

    `in_vain` has the jobs with a charged attempt that failed since the run was last resumed,
    whether or not they are tried again; it matters only while nothing has succeeded.
    """

    total: int
    finished: int
    failed: int
    forgiven: int = 0
    in_vain: int = 0

    @property
    def fresh(self) -> int:
        """The failures that count."""
        return max(0, self.failed - self.forgiven)


def allowance(halt: str | None, total: int) -> int | None:
    """Return how many failures halt a run of `total` jobs; `halt` is "5%", "20" or None."""
    if halt is None:
        return None
    if halt.endswith("%"):
        return max(1, math.ceil(total * float(halt[:-1]) / 100))
    return int(halt)


def least_failures(halt: str | None) -> int:
    """Return how many failures there have to be before any run can be halted."""
    limit = allowance(halt, 0)
    return FIRST if limit is None else min(FIRST, limit)


def reason_to_halt(halt: str | None, progress: Progress) -> str | None:
    """Say why a run should be halted, or return None if it should go on or is at its end."""
    if progress.finished >= progress.total:
        return None
    limit = allowance(halt, progress.total)
    if limit is not None and progress.fresh >= limit:
        return f"{progress.fresh:,} of {progress.total:,} files have failed (run.halt is {halt})"
    # Jobs that are tried again go to the end of the queue, so they fail for good only when all
    # others have been tried: too late for a run in which nothing works.
    if max(progress.fresh, progress.in_vain) >= FIRST and progress.failed == progress.finished:
        return f"the first {max(progress.failed, progress.in_vain):,} files have all failed"
    return None
