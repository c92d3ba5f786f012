"""Services that take a number of requests a second and no more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Meter:
    """Serves `rate` requests a second, in the order of asking."""

    rate: float
    free_at: float = 0.0

    def take(self, at: float, until: float, count: float) -> float:
        """Serve requests that are made evenly from `at` to `until`; return when they are done."""
        self.free_at = max(self.free_at, at) + count / self.rate
        return max(until, self.free_at)


@dataclass
class Partitions(Meter):
    """Keys of S3 that are one partition at first, which serves `rate` requests a second.

    A partition that has had too much to do for `split_seconds` is split. That helps only if the
    requests of a moment lie in several of the parts: they lie in `places`.
    """

    places: int = 1
    split_seconds: float = 0.0
    partitions: int = 1
    _overloaded_since: float | None = None

    def take(self, at: float, until: float, count: float) -> float:
        """Do as `Meter.take`, with as many partitions as there are by then."""
        self.free_at = max(self.free_at, at) + count / (self.rate * self.partitions)
        done = max(until, self.free_at)
        self._look(at, overloaded=done > until)
        return done

    def _look(self, at: float, *, overloaded: bool) -> None:
        if not overloaded:
            self._overloaded_since = None
        elif self._overloaded_since is None:
            self._overloaded_since = at
        elif at - self._overloaded_since >= self.split_seconds:
            self.partitions = min(2 * self.partitions, self.places)
            self._overloaded_since = at
