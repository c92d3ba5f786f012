"""Releasing messages: acknowledged, replaced by a fresh one, or kept as dead letters."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from parallelize_agent.queue.acknowledger import Acknowledger
from parallelize_agent.queue.claims import Claims
from parallelize_agent.queue.lanes import Lanes
from parallelize_agent.queue.leases import Lease, LeaseKeeper
from parallelize_core.dead_letter import DeadLetter
from parallelize_core.job import JobMessage
from parallelize_core.lane import Lane
from parallelize_core.queue import AsyncQueue

log = structlog.get_logger()


@dataclass(frozen=True)
class Messages:
    """The messages that this worker holds; `worker` is its id."""

    lanes: Lanes
    dead_letters: AsyncQueue
    worker: str
    keeper: LeaseKeeper
    claims: Claims
    acknowledger: Acknowledger

    async def send(self, message: JobMessage) -> None:
        """Put a message on the queue, visible at once."""
        await self.lanes.send(self.lanes.own, message.encode())

    async def acknowledge(self, lease: Lease) -> None:
        """Have the message deleted soon; its claim, if there is one, is dropped first."""
        if lease.claim:
            await self.claims.drop(lease.claim)
        self.acknowledger.acknowledge(lease)

    async def replace(
        self, lease: Lease, message: JobMessage, delay_seconds: int, lane: Lane | None = None
    ) -> None:
        """Send a fresh message, perhaps to another lane, then delete the old one.

        A job is never without a message; for a moment it may have two.

        It is fresh because SQS counts receives and age by message, and neither is the job's fault.
        """
        lease.check()
        await self.lanes.send(lane or self.lanes.own, message.encode(), delay_seconds)
        await self.acknowledge(lease)

    async def dead_letter(self, lease: Lease, reason: str) -> None:
        """Move a message that will not be tried again to the dead-letter queue."""
        letter = DeadLetter(reason=reason, worker=self.worker, body=lease.message.body)
        await self.dead_letters.send([letter.encode()])
        await self.acknowledge(lease)

    async def reject(self, lease: Lease, reason: str) -> None:
        """Move a message that is not a job to where somebody can look at it."""
        try:
            await self.dead_letter(lease, reason)
        except Exception as error:
            log.warning("message left to its lease", error=str(error) or repr(error))
            self.let_go(lease)

    def let_go(self, lease: Lease) -> None:
        """Leave the message to its lease, which is no longer renewed."""
        self.keeper.release(lease)
