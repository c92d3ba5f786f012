"""How fast EC2 starts machines: many at once, then a few per second.

EC2 refuses the whole of a request for more machines than its bucket has tokens, so `launch 5000`
asks for a thousand at a time. AWS's documents do not say whether CreateFleet's machines count like
those of RunInstances. So nothing waits before EC2 has refused a call; from then on the rest is
requested in steps, each after the time that EC2 needs to refill the tokens for it.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html#throttling-limits-cost-based
"""

from __future__ import annotations

import time
from collections.abc import Callable

AT_ONCE = 1000
PER_SECOND = 2.0
"""RunInstances tokens, one per machine: the size of the bucket, and its refill rate."""

STEP = 100
"""How many machines to request at a time once EC2 has refused a call."""

SHORTEST_WAIT_SECONDS = 5.0

GRACE_SECONDS = 120.0
"""How long EC2 may refuse after the tokens are due: others use the account's bucket, too."""


def seconds_for(count: int) -> float:
    """Return how long EC2 takes to let `count` machines start, according to its documents."""
    return max(0, count - AT_ONCE) / PER_SECOND


class Pace:
    """What to request next until `count` machines have started; `tell` reports each wait."""

    def __init__(self, count: int, tell: Callable[[str], None]) -> None:
        self._count = self._missing = count
        self._tell = tell
        self._step = AT_ONCE
        self._deadline: float | None = None

    @property
    def portion(self) -> int:
        """How many machines to request now."""
        return min(self._missing, self._step)

    def goes_on(self, started: int, *, throttled: bool) -> bool:
        """Record an answer, and return whether to ask again; waits first if EC2 refuses calls.

        Machines that are missing for another reason are not requested again: the next request would
        meet the same market.
        """
        asked = self.portion
        self._missing -= started
        if not self._missing or (started < asked and not throttled):
            return False
        if throttled:
            self._slow_down(asked)
        return self._deadline is None or self._waited(self._deadline)

    def _slow_down(self, asked: int) -> None:
        self._step = max(1, min(STEP, asked // 2))
        if self._deadline is None:
            seconds = self._missing / PER_SECOND + GRACE_SECONDS
            self._deadline = time.monotonic() + seconds
            self._tell(
                f"EC2 is throttling calls; starting the rest in steps of {self._step:,},"
                f" for up to {seconds / 60:.0f} minutes"
            )

    def _waited(self, deadline: float) -> bool:
        """Wait until there may be tokens for the next portion; return False if that is too late."""
        seconds = max(SHORTEST_WAIT_SECONDS, self.portion / PER_SECOND)
        if time.monotonic() + seconds > deadline:
            return False
        started = self._count - self._missing
        self._tell(f"started {started:,} of {self._count:,}; the next in {seconds:.0f} s")
        time.sleep(seconds)
        return True
