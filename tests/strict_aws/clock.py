"""The time by which the rules count: a machine's own, or one that a test's sleeps move."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable


class Clock:
    """Seconds since some moment; who sleeps by it waits for nothing."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.slept = 0.0

    def now(self) -> float:
        """Return the time."""
        return self._now() + self.slept

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.slept += max(0.0, seconds)

    def stop(self) -> None:
        """Let only sleeping move it from now on."""
        moment = self._now()
        self._now = lambda: moment


class Windows:
    """What is so for a while, each under a name of its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[Hashable, float] = {}

    def open(self, name: Hashable, seconds: float) -> None:
        """Let it be so for `seconds` from now."""
        self._ends[name] = self._clock.now() + seconds

    def is_open(self, name: Hashable) -> bool:
        """Whether it is so now."""
        return self._clock.now() < self._ends.get(name, 0.0)

    def any_open(self) -> list[Hashable]:
        """Return the names of what is so now."""
        return [name for name in self._ends if self.is_open(name)]
