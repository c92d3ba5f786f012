"""Is the run over? What an idle agent concludes from the queue's three counts.

One empty receive means nothing, and the counts are approximate: they may need a minute to
settle. So this rule only proposes; the manifest and the results decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum

from parallelize_core.clock import boot_seconds
from parallelize_core.config import AgentConfig
from parallelize_core.lane import Lane
from parallelize_core.queue import QueueCounts


class Step(Enum):
    """What an idle agent does next, in one sentence each."""

    POLL = "there is or may be work: ask for messages again"
    CHECK = "the queue seems empty: has every job that was sent a result? The leader looks"
    HAND_OVER = "others hold the last messages: leave, unless this agent is the keeper"
    LEAVE_TO_LANE = "all that is left is in lanes that feed no other: leave it to their workers"
    GIVE_UP = "it was idle for too long: leave"


class DrainRule:
    """Follows the counts from one empty receive to the next; times in seconds of the clock."""

    def __init__(self, config: AgentConfig, clock: Callable[[], float] = boot_seconds) -> None:
        self._settings = config.drain
        self._lease = config.lease_seconds
        self._heartbeat = config.heartbeat_seconds
        self._max_idle = config.max_idle_seconds
        self._clock = clock
        self._idle_since = clock()
        self._zeros = 0
        self._alone = True
        self._last_zero = 0.0
        self._empty_since = self._idle_since
        self._elsewhere_since: float | None = None

    def reset(self) -> None:
        """Start over: there is work."""
        self._idle_since = self._clock()
        self._forget()

    @property
    def empty_seconds(self) -> float:
        """For how long all counts have been zero, at the last look."""
        return self._clock() - self._empty_since

    @property
    def leader_is_late(self) -> bool:
        """Whether a leader that sees what this agent sees would have looked by now.

        The leader may be cut off from the queue. The limit is twice the time of samples and report.
        """
        settings = self._settings
        usual = settings.samples * settings.interval_seconds + self._heartbeat
        return self.empty_seconds >= 2 * usual

    def next_step(self, counts: QueueCounts, left_in: Collection[Lane] = ()) -> Step:
        """Return what to do after an empty receive, without a job.

        `left_in` lists the other lanes with messages; it is used if this lane has none.
        """
        now = self._clock()
        if now - self._idle_since >= self._max_idle:
            return Step.GIVE_UP
        if counts.visible or counts.delayed:
            self._forget()
            return Step.POLL
        if counts.in_flight:
            return self._others_at_work(now)
        if Lane.MAIN in left_in:
            self._forget()  # some of these jobs may still be moved here
            return Step.POLL
        return self._nothing_left(now, alone=not left_in)

    def _others_at_work(self, now: float) -> Step:
        if self._elsewhere_since is None:
            self._forget()
            self._elsewhere_since = now
        # By then, a message whose holder has died is visible again.
        patience = self._lease + self._settings.in_flight_margin_seconds
        return Step.HAND_OVER if now - self._elsewhere_since >= patience else Step.POLL

    def _nothing_left(self, now: float, *, alone: bool) -> Step:
        """Count samples of zero: of all lanes if this is `alone`, else of this one."""
        self._elsewhere_since = None
        if alone is not self._alone:
            self._alone, self._zeros = alone, 0
        if self._zeros and now - self._last_zero < self._settings.interval_seconds:
            return Step.POLL
        if not self._zeros:
            self._empty_since = now
        self._zeros += 1
        self._last_zero = now
        if self._zeros < self._settings.samples:
            return Step.POLL
        return Step.CHECK if alone else Step.LEAVE_TO_LANE

    def _forget(self) -> None:
        self._zeros = 0
        self._elsewhere_since = None
