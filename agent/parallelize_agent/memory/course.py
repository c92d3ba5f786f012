"""How a run's jobs progress: when they reach their memory peak, and when they end.

Both are counted in bins of a fifth of the time, so that the counts of several workers can be added.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

BINS_PER_DOUBLING = 4

LEAST_SECONDS = 0.25
"""Earlier events count as if they happened then."""

ENOUGH = 20
"""With fewer results, nobody can tell how jobs progress."""

SHARES = (0.25, 0.5, 0.75, 0.95)
"""When to forecast the memory of a set of jobs: when these shares of them have grown ..."""

EARLIER = (0.25, 0.5)
"""... and at these shares of the first of those times."""


class Course:
    """How jobs of each age progress.

    `settled` counts jobs by the age at which they reached their peak, `ended` by the age at which
    they ended.
    """

    def __init__(self, settled: Mapping[int, int], ended: Mapping[int, int]) -> None:
        self._settled = Counter(settled)
        self._ended = Counter(ended)
        self._all_settled = self._settled.total()
        self._all_ended = self._ended.total()
        self._seen: dict[tuple[int, float], tuple[float, float]] = {}
        self._moments: tuple[float, ...] | None = None

    def add(self, settled: int, ended: int | None) -> None:
        """Count one more job, by the bins of its times."""
        self._settled[settled] += 1
        self._all_settled += 1
        if ended is not None:
            self._ended[ended] += 1
            self._all_ended += 1
        self._seen.clear()
        self._moments = None

    def growing(self, age_seconds: float) -> float:
        """Return which share of the jobs that run at this age has not reached its peak yet."""
        if self._all_settled < ENOUGH:
            return 1.0
        if age_seconds <= LEAST_SECONDS:
            return 1.0  # no peak counts as earlier than this
        age = time_bin(age_seconds)
        left = sum(count for number, count in self._settled.items() if number >= age)
        return min(1.0, left / self._running(age))

    @property
    def moments(self) -> tuple[float, ...]:
        """When to look ahead, in seconds from now; never if too little is known."""
        if self._moments is None:
            self._moments = self._when_to_look()
        return self._moments

    def _when_to_look(self) -> tuple[float, ...]:
        if min(self._all_settled, self._all_ended) < ENOUGH:
            return ()
        times = tuple(self._settled_after(share * self._all_settled) for share in SHARES)
        return tuple(dict.fromkeys((*(part * times[0] for part in EARLIER), *times)))

    def _settled_after(self, count: float) -> float:
        """Return after how many seconds `count` of the jobs had reached their peak."""
        for number, found in sorted(self._settled.items()):
            count -= found
            if count <= 0:
                return _edge(number + 1)
        raise AssertionError("there are more")

    def after(self, age_seconds: float, seconds: float) -> tuple[float, float]:
        """Return what happens to a job of this age in a number of seconds.

        That is the probability that it still runs, and how much of its remaining growth it will
        have reached: growth is assumed to be even until the peak.
        """
        age = time_bin(age_seconds)
        if (age, seconds) not in self._seen:
            self._seen[age, seconds] = self._alive(age, seconds), self._grown(age, seconds)
        return self._seen[age, seconds]

    def _alive(self, age: int, seconds: float) -> float:
        now = self._outlasting(_edge(age))
        # A job older than all before it may never end.
        return self._outlasting(_edge(age) + seconds) / now if now else 1.0

    def _outlasting(self, seconds: float) -> int:
        """Return how many jobs may have run for longer than this."""
        return sum(count for number, count in self._ended.items() if _edge(number + 1) > seconds)

    def _grown(self, age: int, seconds: float) -> float:
        shares = (
            count * min(1.0, seconds / max(_edge(number + 1) - _edge(age + 1), LEAST_SECONDS))
            for number, count in self._settled.items()
            if number >= age
        )
        return min(1.0, sum(shares) / self._running(age))

    def _running(self, age: int) -> float:
        """Return how many jobs with a known peak still ran at an age, if any did."""
        share = self._outlasting(_edge(age)) / self._all_ended if self._all_ended else 0.0
        return (share or 1.0) * self._all_settled


class Courses:
    """What this worker has seen of how jobs progress, and what others have reported."""

    def __init__(self) -> None:
        self.settled, self.ended = Counter[int](), Counter[int]()
        self.all = Course({}, {})
        """Everything that is known."""

    def add(self, settled_seconds: float, ran_seconds: float | None) -> None:
        """Learn from a job; how long a killed one would have run is not known."""
        settled, ended = time_bin(settled_seconds), None
        self.settled[settled] += 1
        if ran_seconds is not None:
            ended = time_bin(ran_seconds)
            self.ended[ended] += 1
        self.all.add(settled, ended)

    def learn_from(self, told: Iterable[tuple[Mapping[int, int], Mapping[int, int]]]) -> None:
        """Replace what others reported before by what they report now."""
        settled, ended = Counter[int](), Counter[int]()
        for theirs in told:
            settled.update(theirs[0])
            ended.update(theirs[1])
        self.all = Course(self.settled + settled, self.ended + ended)


def time_bin(seconds: float) -> int:
    """Return the bin of a time."""
    return math.floor(math.log2(max(LEAST_SECONDS, seconds)) * BINS_PER_DOUBLING)


def _edge(number: int) -> float:
    """Return where a bin begins, in seconds."""
    return float(2.0 ** (number / BINS_PER_DOUBLING))
