"""Which jobs may run at the same time in this machine's memory: a pure rule.

A job is admitted while all jobs at their peaks would fit into 90 % of the machine. A promise
(`run.memory_per_job`) counts as it is. A learned need counts by its mean and its spread, because
many jobs take less than the sum of their p95. The sum may also exceed 95 % of the machine in 3 of
100 cases at most: that is what limits two or three jobs, whose sum has a long tail as their peaks
have. A job that grows will exceed what it uses, so only larger peaks say how much it needs. Nor do
all reach their peaks at once: when it is known how jobs progress, it is enough that the running
ones fit now and at each later moment, since some will have ended by then.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from parallelize_agent.machine import host
from parallelize_agent.memory.course import Course
from parallelize_agent.memory.peaks import Expected, PeakModel
from parallelize_agent.memory.usage import OomKills

SHARE = 0.9
"""Of the machine's memory; the rest is for the system, the agent and its caches."""

DEVIATIONS = 1.0
"""How many deviations above its mean the sum of all peaks may be and still fit the share."""

LIMIT = 0.95
"""Of the machine's memory; more is not there for jobs."""

RARE_DEVIATIONS = 1.9
"""How many deviations above its mean the logarithm of the sum may be and still fit the limit.

The sum exceeds it in 3 of 100 cases. Many jobs meet `SHARE` first.
"""

COLD_SHARE = 4
"""Before anything is known, a quarter of the slots is used, and at least two ..."""

COLD_BYTES = 4 * 1024**3
"""... or one for each 4 GiB, if that is more: few jobs take that much."""

COLD_GROWTH = 1.25
"""By what factor the number may grow each second: all slots are used within seven seconds."""

COLD_MARGIN = 2.0
"""A job of which nothing is known may come to use twice what it has used so far."""


def no_bytes() -> int:
    """Return the observed memory of a job that nobody measures."""
    return 0


@dataclass(frozen=True, eq=False)
class Need:
    """What one job needs, all in bytes.

    `promised` is what its run declares, `room` what it is given because it ran out of memory
    before; 0 for neither. `used` returns the most that it was seen to use so far, `age` for
    how many seconds it has run.
    """

    size: int = 0
    promised: int = 0
    room: int = 0
    used: Callable[[], int] = no_bytes
    age: Callable[[], float] = no_bytes


NOTHING_SAID = Need()


@dataclass(frozen=True)
class Memory:
    """A machine's memory: `total` bytes; `available` returns what is free now.

    `kills` returns whether the kernel had to kill something.
    """

    total: int
    model: PeakModel
    available: Callable[[], int]
    kills: OomKills = field(default_factory=OomKills)

    @property
    def budget(self) -> float:
        """What jobs may use together."""
        return SHARE * self.total

    def takes_all(self, room: int) -> bool:
        """Whether a job with this much room leaves none for another."""
        return room > self.budget

    def admits(
        self, running: Collection[Need], candidate: Need, slots: int, seconds: float
    ) -> bool:
        """Whether a job may start while others run, `seconds` after the first one did.

        A job that would be alone always may: there cannot be fewer.
        """
        if not running:
            return True
        known = self._expected(candidate)
        if known is None:
            if len(running) >= self._cold_slots(slots, seconds):
                return False
            known = Expected.exactly(COLD_MARGIN * max(need.used() for need in running))
        if self.available() < known.mean:
            return False
        if self._fits((known, *map(self._load, running))):
            return True
        return self._fits_in_time([candidate, *running])

    def capacity(self, running: Collection[Need], usual: Need, slots: int, seconds: float) -> int:
        """Return how many jobs such as `usual` may run at once, at most `slots`.

        It is one more than now if the running jobs leave room for it.
        """
        known = self._capacity(usual.promised, slots, seconds)
        there = len(running)
        if known > there:
            return known
        return there + (there < slots and self.admits(running, usual, slots, seconds))

    def _capacity(self, promised: int, slots: int, seconds: float) -> int:
        """Return how many typical jobs may all be at their peak."""
        usual = Expected.exactly(promised) if promised else self.model.overall
        if usual is None:
            return self._cold_slots(slots, seconds)
        return _most_at_peak(usual, self.total, slots)

    def _cold_slots(self, slots: int, seconds: float) -> int:
        """Return how many jobs may run before anything is known about them."""
        first = max(2, slots / COLD_SHARE, self.budget / COLD_BYTES)
        grown: float = first * COLD_GROWTH ** min(seconds, 60)
        return max(1, min(slots, math.floor(grown)))

    def _fits_in_time(self, jobs: Collection[Need]) -> bool:
        """Whether jobs fit now and later, if no other is started."""
        course = self.model.course
        if not course.moments or sum(need.used() for need in jobs) > self.budget:
            return False
        return all(
            self._fits(self._load_after(one, seconds, course) for one in jobs)
            for seconds in course.moments
        )

    def _fits(self, loads: Iterable[Expected]) -> bool:
        mean = variance = 0.0
        for load in loads:
            mean += load.mean
            variance += load.variance
        return _needed(mean, variance) <= self.total

    def _load_after(self, need: Need, seconds: float, course: Course) -> Expected:
        """Return what a job will use in a number of seconds, if it still runs then."""
        used = need.used()
        known = self._expected(need, used)
        if known is None or need.promised or need.room:
            return self._load(need)
        alive, grown = course.after(need.age(), seconds)
        more = grown * max(0.0, known.mean - used)
        mean = used + more
        variance = grown * known.variance if more else 0.0
        return Expected(alive * mean, alive * (variance + (1 - alive) * mean**2))

    def _expected(self, need: Need, used: int = 0) -> Expected | None:
        if least := max(need.promised, need.room):
            return Expected.exactly(least)
        return self.model.expected(need.size, used)

    def _load(self, need: Need) -> Expected:
        """Return what a running job will use: at least what it has used already.

        The longer it runs, the less likely it is to use more than that.
        """
        used = need.used()
        known = self._expected(need, used)
        if known is None:
            return Expected.exactly(COLD_MARGIN * used)
        if need.promised or need.room:
            return Expected.exactly(max(used, known.mean))
        growing = self.model.course.growing(need.age())
        more = max(0.0, known.mean - used)
        return Expected(used + growing * more, growing * known.variance if more else 0.0)


def memory_of_machine() -> Memory:
    """Return this machine's memory, with nothing known about jobs yet."""
    return Memory(host.memory_bytes(), PeakModel(), host.AvailableMemory())


def _needed(mean: float, variance: float) -> float:
    """Return the bytes of a machine for jobs whose peaks have a sum of this mean and variance."""
    usual = mean + DEVIATIONS * math.sqrt(variance)
    # The log-normal distribution of this mean and variance: the sum of few peaks has a long tail.
    square = math.log1p(variance / mean**2) if variance else 0.0
    rare = mean * math.exp(RARE_DEVIATIONS * math.sqrt(square) - square / 2)
    return max(usual / SHARE, rare / LIMIT)


@lru_cache(maxsize=4)
def _most_at_peak(usual: Expected, total: int, slots: int) -> int:
    """Return how many jobs of a kind, at least one, fit into `total` bytes at their peaks."""

    def needed(number: int) -> float:
        return _needed(number * usual.mean, number * usual.variance)

    if needed(slots) <= total:
        return slots
    return max(1, bisect_right(range(1, slots), float(total), key=needed))
