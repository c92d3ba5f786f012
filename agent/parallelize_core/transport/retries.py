"""When a call is retried: few attempts, full jitter, and one budget that all calls share."""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum

ATTEMPTS = 5
"""For a call that fails for a transient reason; the caller waits out an outage."""

STALLED_ATTEMPTS = 2
"""For a call whose body stalls: each attempt takes a minute to give up, while the job's lease runs.
"""

CONFLICT_ATTEMPTS = 8
"""For a write that conflicts with another to the same object: its outcome is not known yet."""

MAX_DELAY_SECONDS = 5.0
"""The longest pause, even if a server's Retry-After asks for more: a call fails within seconds."""

_CAPACITY = 500
_COSTS = {"transient": 14, "stalled": 14, "throttled": 5}
_REFUND = 1
"""The budget's size and prices are those of botocore's standard mode: about 35 retries in a row.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

_BASE_SECONDS = {"transient": 0.05, "stalled": 0.05, "throttled": 0.5, "conflict": 0.1}


class Reason(Enum):
    """Why a call may be retried."""

    TRANSIENT = "transient"
    STALLED = "stalled"
    THROTTLED = "throttled"
    CONFLICT = "conflict"


_ATTEMPTS = {Reason.STALLED: STALLED_ATTEMPTS, Reason.CONFLICT: CONFLICT_ATTEMPTS}


class RetryBudget:
    """What all calls to a service may spend on retries.

    When everything fails, retries only add to the load: with an empty budget, calls fail at
    once, and successes refill it.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._left = _CAPACITY
        self._uniform = uniform

    def succeeded(self, spent: int) -> None:
        """Refund what a successful call has `spent`, and a little for one without retries."""
        self._left = min(_CAPACITY, self._left + (spent or _REFUND))

    def delay(self, reason: Reason, attempt: int, retry_after: float | None) -> float | None:
        """Return the seconds to wait after the `attempt`th failure, or None to give up."""
        if attempt >= _ATTEMPTS.get(reason, ATTEMPTS):
            return None
        cost = self.cost(reason)
        if cost > self._left:
            return None
        self._left -= cost
        longest = min(MAX_DELAY_SECONDS, _BASE_SECONDS[reason.value] * 2 ** (attempt - 1))
        if retry_after is not None:
            # Never sooner than the server asked for, and not all at the same moment.
            return min(retry_after, MAX_DELAY_SECONDS) + self._uniform(0, longest)
        return self._uniform(0, longest)

    @staticmethod
    def cost(reason: Reason) -> int:
        """Return what a retry for this reason takes from the budget."""
        return _COSTS.get(reason.value, 0)
