"""How many jobs an agent prefetches.

Fetching the next inputs while the slots are busy hides the transfer. Whatever is held but not
run is missing elsewhere at the end of a run, so no more is held than can be started soon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

SOON_SECONDS = 1.0
"""An agent always may hold what it can start within this time."""

WORTH_A_PLACE = 0.2
"""Below this share of a job, one job more in hand would mostly wait."""

MOST_PER_SLOT = 10


def places_ahead(paces: Sequence[float], stage_in_seconds: float) -> int:
    """Return how many jobs to hold ready, given how long one is fetched.

    `paces` has for each slot in how many seconds it will probably be free for the next job; a
    slot of which nobody can tell has none.
    """
    horizon = max(SOON_SECONDS, 2 * stage_in_seconds)
    wanted = sum(horizon / max(pace, 0.001) for pace in paces)
    return 0 if wanted < WORTH_A_PLACE else min(math.ceil(wanted), MOST_PER_SLOT * len(paces))


class Average:
    """An average that follows the recent values; None before the first."""

    def __init__(self, weight: float = 0.2) -> None:
        self._weight = weight
        self.value: float | None = None

    def add(self, value: float) -> None:
        """Take a value into account."""
        known = value if self.value is None else self.value
        self.value = known + self._weight * (value - known)
