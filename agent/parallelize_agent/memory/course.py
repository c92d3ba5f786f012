"""How jobs of a run go on: when they come to their peak of memory, and when they end.

Both are counted by bins of a fifth of the time, so that the counts of several workers can be added.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property

BINS_PER_DOUBLING = 4

LEAST_SECONDS = 0.25
"""What happens earlier counts as happening then."""

ENOUGH = 20
"""With fewer results nobody can tell how jobs go on."""

SHARES = (0.25, 0.5, 0.75, 0.95)
"""When to look at what a set of jobs takes: when these shares of them have grown ..."""

EARLIER = (0.25, 0.5)
"""... and at these shares of the first of those times."""


class Course:
    """How jobs of each age go on; not changed once it is made.

    `settled` counts at which age they had come to their peak, `ended` at which they had ended.
    """

    def __init__(self, settled: Mapping[int, int], ended: Mapping[int, int]) -> None:
        self._settled = dict(sorted(settled.items()))
        self._ended = dict(sorted(ended.items()))
        self._all_settled = sum(settled.values())
        self._all_ended = sum(ended.values())
        self._seen: dict[tuple[int, float], tuple[float, float]] = {}

    def growing(self, age_seconds: float) -> float:
        """Return which share of the jobs that run at this age has not come to its peak yet."""
        if self._all_settled < ENOUGH:
            return 1.0
        age = time_bin(age_seconds)
        left = sum(count for number, count in self._settled.items() if number >= age)
        return min(1.0, left / self._running(age))

    @cached_property
    def moments(self) -> tuple[float, ...]:
        """When to look ahead, in seconds from now; never if too little is known."""
        if min(self._all_settled, self._all_ended) < ENOUGH:
            return ()
        times = tuple(self._settled_after(share * self._all_settled) for share in SHARES)
        return tuple(dict.fromkeys((*(part * times[0] for part in EARLIER), *times)))

    def _settled_after(self, count: float) -> float:
        """Return after how many seconds `count` of the jobs had come to their peak."""
        for number, found in self._settled.items():
            count -= found
            if count <= 0:
                return _edge(number + 1)
        raise AssertionError("there are more")

    def after(self, age_seconds: float, seconds: float) -> tuple[float, float]:
        """Return what becomes of a job of this age in a number of seconds.

        That is the probability that it still runs, and the share of what it may still come to
        take that it will have taken: growth is taken to be even until its peak.
        """
        age = time_bin(age_seconds)
        if (age, seconds) not in self._seen:
            self._seen[age, seconds] = self._alive(age, seconds), self._grown(age, seconds)
        return self._seen[age, seconds]

    def _alive(self, age: int, seconds: float) -> float:
        now = self._outlasting(_edge(age))
        # One that is older than all before it may not end at all.
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
        """Return how many of those whose peak is known still ran at an age, if any did."""
        share = self._outlasting(_edge(age)) / self._all_ended if self._all_ended else 0.0
        return (share or 1.0) * self._all_settled


class Courses:
    """What this worker has seen of how jobs go on, and what others have told of that."""

    def __init__(self) -> None:
        self.settled, self.ended = Counter[int](), Counter[int]()
        self._of_others: tuple[Counter[int], Counter[int]] = Counter(), Counter()
        self._known: Course | None = None

    def add(self, settled_seconds: float, ran_seconds: float | None) -> None:
        """Learn from a job; of one that was ended nobody knows how long it would have run."""
        self.settled[time_bin(settled_seconds)] += 1
        if ran_seconds is not None:
            self.ended[time_bin(ran_seconds)] += 1
        self._known = None

    def learn_from(self, told: Iterable[tuple[Mapping[int, int], Mapping[int, int]]]) -> None:
        """Take what others have seen in the place of what they told before."""
        settled, ended = Counter[int](), Counter[int]()
        for theirs in told:
            settled.update(theirs[0])
            ended.update(theirs[1])
        self._of_others, self._known = (settled, ended), None

    @property
    def all(self) -> Course:
        """All that is known."""
        if self._known is None:
            settled, ended = self._of_others
            self._known = Course(self.settled + settled, self.ended + ended)
        return self._known


def time_bin(seconds: float) -> int:
    """Return the bin of a time."""
    return math.floor(math.log2(max(LEAST_SECONDS, seconds)) * BINS_PER_DOUBLING)


def _edge(number: int) -> float:
    """Return where a bin begins, in seconds."""
    return float(2.0 ** (number / BINS_PER_DOUBLING))
