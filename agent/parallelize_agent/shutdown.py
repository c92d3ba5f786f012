"""Leaving: why, and how long running jobs may still go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from parallelize_core.clock import boot_seconds
from parallelize_core.errors import ParallelizeError


@dataclass(frozen=True)
class Departure:
    """Why a worker leaves, and until when (in seconds of the clock) running jobs may go on.

    None for `deadline` lets them end by themselves. `error` makes it a failure. `imposed` says
    that it is not this worker's work that is over: a notice, a signal, or the end of its time.
    """

    reason: str
    deadline: float | None = None
    error: ParallelizeError | None = None
    imposed: bool = False


def words(error: ParallelizeError) -> str:
    """Return an error as a reason: what and why, without what a person may do about it."""
    return ": ".join(part for part in (error.what, error.why) if part)


class Leaving:
    """The decision to leave. Any thread may take it; a later one can only make it sooner."""

    def __init__(self, clock: Callable[[], float] = boot_seconds) -> None:
        self._clock = clock
        self._departure: Departure | None = None
        self._changed = threading.Condition()

    @property
    def decided(self) -> Departure | None:
        """The decision, if there is one."""
        return self._departure

    def decide(
        self,
        reason: str,
        seconds: float | None = None,
        error: ParallelizeError | None = None,
        *,
        imposed: bool = False,
    ) -> None:
        """Leave; running jobs may go on for `seconds`, or to their end."""
        deadline = None if seconds is None else self._clock() + seconds
        with self._changed:
            first = self._departure
            if first is None:
                self._departure = Departure(reason, deadline, error, imposed)
            elif deadline is not None and (first.deadline is None or deadline < first.deadline):
                self._departure = Departure(
                    reason, deadline, first.error or error, first.imposed or imposed
                )
            self._changed.notify_all()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for the decision; answer whether it is taken."""
        with self._changed:
            return self._changed.wait_for(lambda: self._departure is not None, timeout_seconds)

    def time_left(self) -> float | None:
        """Return how many seconds running jobs may still go on; None without an end."""
        departure = self._departure
        if departure is None or departure.deadline is None:
            return None
        return max(0.0, departure.deadline - self._clock())
