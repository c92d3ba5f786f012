"""Shutting down: why, and how long running jobs may still go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from parallelize_core.clock import boot_seconds
from parallelize_core.errors import ParallelizeError


@dataclass(frozen=True)
class ShutdownReason:
    """Why a worker shuts down, and until when (in seconds of the clock) running jobs may go on.

    A `deadline` of None lets them end by themselves. `error` makes it a failure. `imposed` says
    that the reason is not the end of this worker's work, but a notice, a signal, or its time limit.
    `unfit` says that the machine is at fault, so that another may replace it.
    """

    reason: str
    deadline: float | None = None
    error: ParallelizeError | None = None
    imposed: bool = False
    unfit: bool = False


def words(error: ParallelizeError) -> str:
    """Return an error as a reason: what and why, without the advice for people."""
    return ": ".join(part for part in (error.what, error.why) if part)


class Shutdown:
    """The decision to shut down, on the event loop; a later one can only bring the end forward."""

    def __init__(self, clock: Callable[[], float] = boot_seconds) -> None:
        self._clock = clock
        self._reason: ShutdownReason | None = None
        self._decided = asyncio.Event()

    @property
    def decided(self) -> ShutdownReason | None:
        """The decision, if there is one."""
        return self._reason

    def decide(
        self,
        reason: str,
        seconds: float | None = None,
        error: ParallelizeError | None = None,
        *,
        imposed: bool = False,
        unfit: bool = False,
    ) -> None:
        """Shut down; running jobs may go on for `seconds`, or to their end."""
        deadline = None if seconds is None else self._clock() + seconds
        first = self._reason
        if first is None:
            self._reason = ShutdownReason(reason, deadline, error, imposed, unfit)
        elif deadline is not None and (first.deadline is None or deadline < first.deadline):
            self._reason = ShutdownReason(
                reason, deadline, first.error or error, first.imposed or imposed, first.unfit
            )
        self._decided.set()

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the decision; return whether it has been made."""
        if not self._decided.is_set():
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._decided.wait()
            except TimeoutError:
                return False
        return True

    def time_left(self) -> float | None:
        """Return how many seconds running jobs may still go on; None without a limit."""
        if self._reason is None or self._reason.deadline is None:
            return None
        return max(0.0, self._reason.deadline - self._clock())
