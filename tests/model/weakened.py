"""The shipped parts with one guard left out each: the search has to notice every one."""

from __future__ import annotations

from dataclasses import replace

from tests.model.scripted import ScriptedStore

from parallelize_agent.job.commit import Commit
from parallelize_agent.job.job import FINISHED, PARKED, Decision, Ran, Received
from parallelize_agent.job.judge import Judge
from parallelize_agent.job.stage_in import StageIn
from parallelize_agent.job.stage_out import StageOut
from parallelize_agent.queue.claims import Claims
from parallelize_agent.queue.leases import Lease, LeaseKeeper
from parallelize_agent.queue.messages import Messages
from parallelize_core.job import JobMessage
from parallelize_core.lane import Lane
from parallelize_core.queue import Message
from parallelize_core.run import Run
from parallelize_core.store import ALWAYS


class BlindStore(ScriptedStore):
    """A bucket that ignores every condition, as some servers do."""

    async def put(self, key, body, condition=ALWAYS, metadata=None):  # type: ignore[no-untyped-def]
        """Write an object, whatever is there."""
        return await super().put(key, body, ALWAYS, metadata)


class UnheededClaims(Claims):
    """Takes a job whatever claim there is."""

    async def take_over(self, key: str) -> bool:
        """Take the job."""
        return True


class TrustingLease(Lease):
    """Never looks whether it still holds."""

    def check(self) -> None:
        """Be content."""


class TrustingKeeper(LeaseKeeper):
    """Hands out leases that never look."""

    def hold(self, message: Message, asked: float) -> Lease:
        """Keep a lease that never looks."""
        lease = TrustingLease(message, self._terms, asked, self.clock)
        self._leases[message.receipt] = lease
        return lease


class DeletingKeeper(LeaseKeeper):
    """Makes a claim, and deletes the message before it parks the fresh one."""

    async def _make_claim(self, lease: Lease) -> None:
        job = JobMessage.decode(lease.message.body)
        lease.claim = await self._claims.make(job.key)
        await self._queue.delete([lease.message.receipt])
        await self._queue.send([job.parked().encode()])


class BareKeeper(LeaseKeeper):
    """Parks a message without a claim that says why."""

    async def _make_claim(self, lease: Lease) -> None:
        job = JobMessage.decode(lease.message.body)
        await self._queue.send([job.parked().encode()])
        lease.claim = await self._claims.make(job.key)
        await self._queue.delete([lease.message.receipt])


class AcknowledgingMessages(Messages):
    """Deletes a message before it sends the fresh one."""

    async def replace(
        self, lease: Lease, message: JobMessage, delay_seconds: int, lane: Lane | None = None
    ) -> None:
        """Delete, then send."""
        lease.check()
        await self.acknowledge(lease)
        await self.lanes.send(lane or self.lanes.own, message.encode(), delay_seconds)


class ForgetfulMessages(Messages):
    """Deletes a message, and sends no fresh one."""

    async def replace(
        self, lease: Lease, message: JobMessage, delay_seconds: int, lane: Lane | None = None
    ) -> None:
        """Delete."""
        await self.acknowledge(lease)


class ResultFirst(StageIn):
    """Looks for the result before it looks at the claim."""

    async def _early_decision(self, received: Received) -> Decision | None:
        finished = await self._is_finished(received)
        if received.message.claimed and not await self.claims.take_over(received.key):
            return PARKED
        return FINISHED if finished else None


class AnyResultIn(StageIn):
    """Takes a result for the end, whatever has become of its outputs."""

    async def _is_finished(self, received: Received) -> bool:
        records = self.open_store(self.config.bucket)
        return await records.head(self.config.layout.result(received.key)) is not None


class LateLetter(StageOut):
    """Lets go of a message that has failed for good before it writes the result."""

    async def _fail(self, received: Received, ran: Ran | None, decision: Decision) -> None:
        result = await self._result(received, ran, decision)
        await self.messages.dead_letter(received.lease, decision.message)
        await self._commit(received, self.run.current).put_result(result)


class HastyClaim(StageOut):
    """Drops the claim before the result is written."""

    async def _succeed(self, received: Received, ran: Ran | None) -> None:
        if received.lease.claim:
            await self.messages.claims.drop(received.lease.claim)
        await super()._succeed(received, ran)


class HastyDelete(StageOut):
    """Deletes the message before the result is written."""

    async def _succeed(self, received: Received, ran: Ran | None) -> None:
        await self.messages.acknowledge(received.lease)
        await super()._succeed(received, ran)


class WithoutReconciling(StageOut):
    """Does not look what its late writes have spoiled."""

    async def _reconcile(self, received: Received, commit: Commit) -> None:
        pass


class OneOpinion(Judge):
    """Lets a file fail for good after one worker has tried it."""

    async def _as_final_or_not(self, message: JobMessage, decision: Decision) -> Decision:
        last = message.attempt >= self.run.current.limits.max_attempts
        return replace(decision, final=decision.final or last)


class AnyResult(Commit):
    """Takes a result for the end, whatever has become of its outputs."""

    async def finished(self) -> bool:
        """Whether there is a result."""
        return await self._read_result() is not None


class AnyResultOut(StageOut):
    """Commits so."""

    def _commit(self, received: Received, run: Run) -> Commit:
        return AnyResult(**vars(super()._commit(received, run)))


class WithoutLookingBack(Commit):
    """Never looks at what it has replaced."""

    async def spoiled(self) -> bool:
        """Find nothing wrong."""
        return False


class WithoutLookingBackOut(StageOut):
    """Commits so."""

    def _commit(self, received: Received, run: Run) -> Commit:
        return WithoutLookingBack(**vars(super()._commit(received, run)))
