"""Counts of what a worker has done so far."""

from __future__ import annotations

from dataclasses import dataclass, replace

from parallelize_agent.job.job import Decision, DecisionKind
from parallelize_agent.process.command import Outcome


@dataclass(frozen=True)
class Counts:
    """Jobs by what became of them.

    `failed` counts those that have failed for good.
    """

    done: int = 0
    failed: int = 0
    handed_back: int = 0
    lost: int = 0
    busy_seconds: float = 0.0
    last_failure: str = ""


def counted(counts: Counts, key: str, outcome: Outcome | None, decision: Decision) -> Counts:
    """Return the counts with one more job, whose command ended with `outcome` if it began."""
    seconds = outcome.usage.seconds if outcome else 0.0
    counts = replace(counts, busy_seconds=round(counts.busy_seconds + seconds, 3))
    match decision.kind:
        case DecisionKind.SUCCEEDED:
            return replace(counts, done=counts.done + 1)
        case DecisionKind.FAILED if decision.charged or decision.final:
            return replace(
                counts,
                failed=counts.failed + decision.final,
                last_failure=f"{key}: {decision.message}",
            )
        case DecisionKind.FAILED:
            return replace(counts, handed_back=counts.handed_back + 1)
        case DecisionKind.LOST:
            return replace(counts, lost=counts.lost + 1)
        case _:
            return counts
