"""Is this machine fit for the work? A sick one fails fast, and so takes nearly every message.

Two things speak against it: commands that fail here one after the other, while they succeed on
other workers; and many files that could not be done for reasons of machine or network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

import structlog

from parallelize_agent.reporting.peers import Peers
from parallelize_core.clock import boot_seconds
from parallelize_core.errors import ServiceError

log = structlog.get_logger()

SUSPECT_AFTER = 3
"""A worker is suspect after this many failed commands without a success."""

ASK_SECONDS = 1.0
"""How often a suspect worker checks how others do."""

PATIENCE_SECONDS = 600.0
"""How long a suspect worker waits for others that are still at their first commands."""

SECOND_SICK_SECONDS = 60.0
"""How long it waits for those if commands fail on yet another worker, which may be as sick."""


class _Others(Enum):
    """How other workers' commands do, in one sentence each."""

    NONE = "no other worker is alive to compare with"
    SUCCEED = "they have succeeded elsewhere"
    FAIL = "they fail elsewhere, too"
    DIVIDED = "they fail elsewhere, too, and others are at their first ones"
    UNKNOWN = "the others have not finished any yet"


class Fitness:
    """What this worker knows about itself; `unfit` is called when it is found to be unfit.

    `changed` is called when other workers should hear of a change at once.
    """

    def __init__(
        self,
        peers: Peers,
        max_unfit: int,
        unfit: Callable[[ServiceError], None],
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self._peers = peers
        self._max_unfit = max_unfit
        self._tell = unfit
        self._changed = changed
        self._clock = clock
        self._succeeded = False
        self._not_done: set[str] = set()
        self._judging: asyncio.Task[bool] | None = None
        self.failed_in_row = 0
        """How many commands have failed in a row before any has succeeded here."""
        self.sick = False

    @property
    def proven(self) -> bool:
        """Whether a command has succeeded here."""
        return self._succeeded

    @property
    def suspect(self) -> bool:
        """Whether this machine is suspected to be sick; meanwhile it receives nothing."""
        return self._judging is not None and not self._judging.done()

    def note_success(self) -> None:
        """Record a job that succeeded."""
        self._not_done.clear()
        if not self._succeeded:
            self._succeeded = True
            self.failed_in_row = 0
            self._changed()

    def note_not_done(self, key: str, reason: str) -> None:
        """Record a job that could not be done for reasons of machine or network."""
        self._not_done.add(key)
        if len(self._not_done) >= self._max_unfit:
            self.fall_sick(
                f"{len(self._not_done)} files in a row could not be processed because of this "
                "machine or its network",
                reason,
            )

    async def may_charge(self, reason: str) -> bool:
        """Return whether a command's failure may be charged to the job.

        Waits until it is known whether commands fail only here.
        """
        if self._succeeded or self.sick:
            return not self.sick
        self.failed_in_row += 1
        if self.failed_in_row < SUSPECT_AFTER:
            return True
        if not self.suspect:
            self._judging = asyncio.create_task(self._judge(reason))
        assert self._judging  # noqa: S101 - made above
        return await asyncio.shield(self._judging)

    def stop(self) -> None:
        """Stop judging; failures that wait for it are not charged."""
        if self._judging:
            self._judging.cancel()

    async def _judge(self, reason: str) -> bool:
        self._changed()
        log.warning("commands fail here", in_row=self.failed_in_row, reason=reason)
        begun = self._clock()
        while not self._succeeded:
            others = await self._how_others_fare()
            waited = self._clock() - begun
            if others in {_Others.NONE, _Others.FAIL}:
                return True
            if others is _Others.DIVIDED and waited >= SECOND_SICK_SECONDS:
                return True
            if others is _Others.SUCCEED or waited >= PATIENCE_SECONDS:
                break
            await asyncio.sleep(ASK_SECONDS)
        if self._succeeded:
            return True
        self.fall_sick(
            f"the first {self.failed_in_row} commands all failed here, and other workers may do "
            "better",
            reason,
        )
        return False

    async def _how_others_fare(self) -> _Others:
        fail = unknown = busy = False
        async for beat in self._peers.beside():
            if beat.done:
                return _Others.SUCCEED
            if beat.failed_in_row >= SUSPECT_AFTER:
                fail = True
            else:
                unknown = True
                busy |= bool(beat.running)
        if fail:
            # An idle worker may have nothing to say forever.
            return _Others.DIVIDED if busy else _Others.FAIL
        return _Others.UNKNOWN if unknown else _Others.NONE

    def fall_sick(self, what: str, reason: str) -> None:
        """Be unfit from now on, and report that once."""
        if not self.sick:
            self.sick = True
            self._tell(ServiceError(what, reason))
