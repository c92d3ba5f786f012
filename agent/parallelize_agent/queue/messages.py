"""Letting go of messages: acknowledged, replaced by a fresh one, or kept as dead letters."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from parallelize_agent.queue.acknowledger import Acknowledger
from parallelize_agent.queue.claims import Claims
from parallelize_agent.queue.leases import Lease, LeaseKeeper
from parallelize_core.dead_letter import DeadLetter
from parallelize_core.job import JobMessage
from parallelize_core.queue import AsyncQueue

log = structlog.get_logger()


@dataclass(frozen=True)
class Messages:
    """The messages that this worker holds; `worker` is its id."""

    queue: AsyncQueue
    dead_letters: AsyncQueue
    worker: str
    keeper: LeaseKeeper
    claims: Claims
    acknowledger: Acknowledger

    async def send(self, message: JobMessage) -> None:
        """Put a message on the queue, to be received at once."""
        await self.queue.send([message.encode()])

    async def acknowledge(self, lease: Lease) -> None:
        """Have the message deleted soon; its claim, if there is one, is dropped first."""
        if lease.claim:
            await self.claims.drop(lease.claim)
        self.acknowledger.acknowledge(lease)

    async def replace(self, lease: Lease, message: JobMessage, delay_seconds: int) -> None:
        """Send a fresh message, then delete the old: a job is never without one.

        Fresh, because SQS counts receives and ages by message, and neither is the job's fault.
        """
        lease.check()
        await self.queue.send([message.encode()], delay_seconds)
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
        """Leave the message to its lease, which is not renewed any more."""
        self.keeper.release(lease)
