"""Which jobs may run side by side on this machine's memory: a pure rule.

A job is admitted while what all would take at their peaks fits 90 % of the machine. What is
promised (`run.memory_per_job`) counts as it is. What is learned counts by its mean and its spread:
jobs do not have their worst moment together, so many of them take less than the sum of their p95.
Nor do they come to their peaks together: once it is known how jobs go on, it is enough that what
runs fits now and at each moment to come, as some will have ended by then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from parallelize_agent.machine import host
from parallelize_agent.memory.course import Course
from parallelize_agent.memory.peaks import Expected, PeakModel
from parallelize_agent.memory.usage import OomKills

SHARE = 0.9
"""Of the machine's memory; the rest is for the system, the agent and its caches."""

DEVIATIONS = 1.0
"""How far above its mean the sum of all peaks may come and still fit the share.

Beyond that is the rest of the machine, and few jobs have their worst moment together.
"""

DEVIATIONS_LATER = 1.5
"""The same for what is foreseen, where also who will have ended is only probable."""

COLD_SHARE = 4
"""Before anything is known, a quarter of the slots is used, and two at least ..."""

COLD_BYTES = 4 * 1024**3
"""... or one for each 4 GiB, if that is more: few jobs take so much."""

COLD_GROWTH = 1.25
"""How many times as many there may be after each second: all slots are used within seven."""

COLD_MARGIN = 2.0
"""A job of which nothing is known may come to take twice what it has been seen to take."""


def no_bytes() -> int:
    """Return what is seen of a job that nobody measures."""
    return 0


@dataclass(frozen=True, eq=False)
class Need:
    """What one job needs, all in bytes.

    `promised` is what its run says that it takes, `room` what it is to have as it ran out of
    memory before; 0 for neither. `used` tells the most that it was seen to take so far, `age` for
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
    """A machine's memory: `total` bytes, of which `available` tells what is free now.

    `kills` tells whether the kernel had to end something.
    """

    total: int
    model: PeakModel
    available: Callable[[], int]
    kills: OomKills = field(default_factory=OomKills)

    @property
    def budget(self) -> float:
        """What jobs may take together."""
        return SHARE * self.total

    def takes_all(self, room: int) -> bool:
        """Whether a job with so much room leaves none for another."""
        return room > self.budget

    def admits(
        self, running: Collection[Need], candidate: Need, slots: int, seconds: float
    ) -> bool:
        """Whether a job may start beside those that run, `seconds` after the first of all did.

        One that is alone always may: it cannot become less.
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
        if _sum((known, *map(self._load, running)), DEVIATIONS) <= self.budget:
            return True
        return self._fits_in_time([candidate, *running])

    def capacity(self, running: Collection[Need], usual: Need, slots: int, seconds: float) -> int:
        """Return how many jobs such as `usual` may run side by side, `slots` at most.

        It is one more than there are if those that run leave room for it.
        """
        known = self._capacity(usual.promised, slots, seconds)
        there = len(running)
        if known > there:
            return known
        return there + (there < slots and self.admits(running, usual, slots, seconds))

    def _capacity(self, promised: int, slots: int, seconds: float) -> int:
        """Return how many usual jobs may all be at their peak."""
        usual = Expected.exactly(promised) if promised else self.model.overall
        if usual is None:
            return self._cold_slots(slots, seconds)
        # The most jobs whose sum still fits: n m + z s √n = budget, solved for √n.
        spread = DEVIATIONS * math.sqrt(usual.variance)
        root = (math.sqrt(spread**2 + 4 * usual.mean * self.budget) - spread) / (2 * usual.mean)
        return max(1, min(slots, math.floor(root**2)))

    def _cold_slots(self, slots: int, seconds: float) -> int:
        """Return how many jobs may run before anything is known of them."""
        first = max(2, slots / COLD_SHARE, self.budget / COLD_BYTES)
        grown: float = first * COLD_GROWTH ** min(seconds, 60)
        return max(1, min(slots, math.floor(grown)))

    def _fits_in_time(self, jobs: Collection[Need]) -> bool:
        """Whether jobs fit now and later, if no other is started."""
        course = self.model.course
        if not course.moments or sum(need.used() for need in jobs) > self.budget:
            return False
        return all(
            _sum((self._load_after(one, seconds, course) for one in jobs), DEVIATIONS_LATER)
            <= self.budget
            for seconds in course.moments
        )

    def _load_after(self, need: Need, seconds: float, course: Course) -> Expected:
        """Return what one will take in a number of seconds, if it still runs then."""
        known, used = self._expected(need), need.used()
        if known is None or need.promised or need.room:
            return self._load(need)
        alive, grown = course.after(need.age(), seconds)
        more = grown * max(0.0, known.mean - used)
        mean = used + more
        variance = grown * known.variance if more else 0.0
        return Expected(alive * mean, alive * (variance + (1 - alive) * mean**2))

    def _expected(self, need: Need) -> Expected | None:
        if least := max(need.promised, need.room):
            return Expected.exactly(least)
        return self.model.expected(need.size)

    def _load(self, need: Need) -> Expected:
        """Return what one that runs will take: at least what it has taken already.

        The longer it runs, the less probably it takes more than that.
        """
        known, used = self._expected(need), need.used()
        if known is None:
            return Expected.exactly(COLD_MARGIN * used)
        if need.promised or need.room:
            return Expected.exactly(max(used, known.mean))
        growing = self.model.course.growing(need.age())
        more = max(0.0, known.mean - used)
        return Expected(used + growing * more, growing * known.variance if more else 0.0)


def memory_of_machine() -> Memory:
    """Return this machine's, of whose jobs nothing is known yet."""
    return Memory(host.memory_bytes(), PeakModel(), host.AvailableMemory())


def _sum(loads: Iterable[Expected], deviations: float) -> float:
    """Return what jobs will hardly exceed together."""
    mean = variance = 0.0
    for load in loads:
        mean += load.mean
        variance += load.variance
    return mean + deviations * math.sqrt(variance)
