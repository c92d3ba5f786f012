"""What a job will probably need of memory, learned from the peaks of earlier jobs.

Peaks are counted by the input's size class, in bins of 9 %: that is short enough for a
heartbeat, and the counts of several workers can be added.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from parallelize_agent.memory.course import Course, Courses
from parallelize_core.heartbeat import MemoryPeaks

FEW = 5
"""With fewer results of a size class, other classes say more."""

BINS_PER_DOUBLING = 8

UNMEASURED_BYTES = 64 * 1024**2
"""The assumed peak of a job whose real one is below the agent's, and therefore unknown."""

QUANTILE = 0.95


class Expected(NamedTuple):
    """One job's memory, in bytes: the mean of the peaks, and its variance."""

    mean: float
    variance: float = 0.0

    @classmethod
    def exactly(cls, size: float) -> Expected:
        """Return an expectation of exactly this size."""
        return cls(size)

    def times(self, factor: float) -> Expected:
        """Return the same for something larger."""
        return self if factor == 1 else Expected(self.mean * factor, self.variance * factor**2)


def size_class(size_bytes: int) -> int:
    """Return the class of an input; each reaches to twice the size of the one before."""
    return size_bytes.bit_length()


class Histogram:
    """Peaks of one size class."""

    def __init__(self, bins: Mapping[int, int]) -> None:
        self._bins = Counter(bins)
        self.total = self._bins.total()
        self._mean, self._square = _moments(bins) if bins else (0.0, 0.0)
        self._usual: Expected | None = None
        self._beyond: dict[int, Expected | None] = {}

    def add(self, number: int) -> None:
        """Count one more peak in a bin."""
        self._bins[number] += 1
        self.total += 1
        # Welford's way: every job adds a peak, and going through all bins takes longer.
        middle = _middle(number)
        away = middle - self._mean
        self._mean += away / self.total
        self._square += away * (middle - self._mean)
        self._usual = None
        self._beyond.clear()

    @property
    def expected(self) -> Expected:
        """What the next job takes; the fewer are known, the wider the assumed variation."""
        if self._usual is None:
            self._usual = self._expected(self._mean, self._square, self.total)
        return self._usual

    @property
    def p95(self) -> float:
        """What 95 of 100 jobs take at most, in bytes."""
        return _edge(_quantile_bin(self._bins) + 1)

    def expected_beyond(self, used_bytes: float) -> Expected:
        """Return what a job takes that uses this much, and grows: its peak is among the larger."""
        least = _bin(used_bytes)
        if least not in self._beyond:
            larger = {number: count for number, count in self._bins.items() if number > least}
            count = sum(larger.values())
            self._beyond[least] = self._expected(*_moments(larger), count) if larger else None
        return self._beyond[least] or Expected.exactly(used_bytes)

    def _expected(self, mean: float, square: float, count: int) -> Expected:
        return Expected(mean, square / max(1, count - 1) * (1 + 4 / self.total) ** 2)


class PeakModel:
    """The peaks of this worker's jobs, and what others have reported of theirs."""

    def __init__(self) -> None:
        self._own: dict[int, Counter[int]] = {}
        self._others: dict[int, Counter[int]] = {}
        self._courses = Courses()
        self._known: dict[int, Histogram] = {}
        self._all: Histogram | None = None
        self.own = 0
        """How many results of its own it has."""

    def add(
        self,
        size_bytes: int,
        peak_bytes: int,
        settled_seconds: float,
        ran_seconds: float | None = None,
    ) -> None:
        """Learn from a job whose command has succeeded, or ran out of memory.

        It reached its peak `settled_seconds` after its start, and ended by itself after
        `ran_seconds`, if it did.
        """
        number, kind = _bin(peak_bytes or UNMEASURED_BYTES), size_class(size_bytes)
        self._own.setdefault(kind, Counter())[number] += 1
        for histogram in filter(None, (self._known.get(kind), self._all)):
            histogram.add(number)
        self._courses.add(settled_seconds, ran_seconds)
        self.own += 1

    def learn_from(self, others: Iterable[MemoryPeaks]) -> None:
        """Replace what other workers reported before by what they report now."""
        self._others, heard = {}, tuple(others)
        for told in heard:
            for kind, bins in told.by_size.items():
                self._others.setdefault(kind, Counter()).update(bins)
        self._courses.learn_from((told.settled, told.ended) for told in heard)
        self._known, self._all = {}, None

    @property
    def told(self) -> MemoryPeaks:
        """What to tell others: this worker's own peaks."""
        by_size = {kind: dict(bins) for kind, bins in self._own.items()}
        settled, ended = self._courses.settled, self._courses.ended
        return MemoryPeaks(by_size=by_size, settled=dict(settled), ended=dict(ended))

    @property
    def course(self) -> Course:
        """How jobs progress from their start."""
        return self._courses.all

    @property
    def overall(self) -> Expected | None:
        """What a job of any size takes; None before a few results."""
        return self._overall.expected if self._overall.total >= FEW else None

    @property
    def p95(self) -> float:
        """What 95 of 100 jobs of any size take at most, in bytes; 0 before a few results."""
        return self._overall.p95 if self._overall.total >= FEW else 0.0

    @property
    def _overall(self) -> Histogram:
        if self._all is None:
            found: Counter[int] = Counter()
            for bins in (*self._own.values(), *self._others.values()):
                found.update(bins)
            self._all = Histogram(found)
        return self._all

    def expected(self, size_bytes: int, used_bytes: int = 0) -> Expected | None:
        """Return what a job with this input takes; None before a few results of any size.

        With `used_bytes`, it runs, uses this much, and still grows.
        """
        found, factor = self._closest(size_class(size_bytes))
        if found is None:
            return None
        if not used_bytes:
            return found.expected.times(factor)
        return found.expected_beyond(used_bytes / factor).times(factor)

    def _closest(self, kind: int) -> tuple[Histogram | None, float]:
        """Return the peaks that say most about a size class, and how much larger its own are.

        They are its own, those of the next class, or all.
        """
        if (known := self._histogram(kind)) and known.total >= FEW:
            return known, 1.0
        nearest = min(self._classes(), key=lambda other: abs(other - kind), default=None)
        if nearest is None:
            return (self._overall if self._overall.total >= FEW else None), 1.0
        # A larger input is assumed to need proportionally more, until there are a few results.
        return self._histogram(nearest), 2.0 ** max(0, kind - nearest)

    def _classes(self) -> list[int]:
        """Return the size classes that have a few results."""
        kinds = self._own.keys() | self._others.keys()
        return [kind for kind in sorted(kinds) if (h := self._histogram(kind)) and h.total >= FEW]

    def _histogram(self, kind: int) -> Histogram | None:
        if kind not in self._known:
            found = self._own.get(kind, Counter()) + self._others.get(kind, Counter())
            if not found:
                return None
            self._known[kind] = Histogram(found)
        return self._known[kind]


def _quantile_bin(bins: Mapping[int, int]) -> int:
    """Return the bin that contains the p95."""
    left = math.ceil(QUANTILE * sum(bins.values()))
    for number in sorted(bins):
        left -= bins[number]
        if left <= 0:
            return number
    raise AssertionError("there is at least one value")


def _moments(bins: Mapping[int, int]) -> tuple[float, float]:
    """Return the mean, and the sum of the squared distances from it."""
    values = [(_middle(number), count) for number, count in bins.items()]
    mean = sum(value * count for value, count in values) / sum(bins.values())
    return mean, sum((value - mean) ** 2 * count for value, count in values)


def _bin(peak_bytes: float) -> int:
    return math.floor(math.log2(max(1, peak_bytes)) * BINS_PER_DOUBLING)


def _edge(number: int) -> float:
    return float(2.0 ** (number / BINS_PER_DOUBLING))


def _middle(number: int) -> float:
    return _edge(number) * float(2.0 ** (0.5 / BINS_PER_DOUBLING))
