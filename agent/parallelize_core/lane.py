"""A lane: a queue of a run with workers of its own, for jobs that need other machines."""

from __future__ import annotations

from enum import StrEnum


class Lane(StrEnum):
    """The lanes that a run may have. All jobs are sent to the first; workers move some of them."""

    MAIN = "main"
    """For all jobs."""
    LARGE = "large"
    """For what ran out of memory twice: its machines have more."""
    STEADY = "steady"
    """For what was interrupted twice, and the end of a run: its machines are not taken away."""


TAIL_SHARE = 0.01
"""The last jobs of a run, of all: for those an interruption delays the end of everything."""

EXTRA = (Lane.LARGE, Lane.STEADY)
"""The lanes that a run has only if its settings say so."""
