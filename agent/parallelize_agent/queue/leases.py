"""Leases on messages, and the one keeper that renews them all.

A lease is the visibility timeout of a message. It is short, so that the work of a dead machine is
soon taken over, and it is renewed after every third of its length, from the receive to the delete.
Work under a lease calls `Lease.check` before each step that others can see; the keeper calls
`Lease.lose` as soon as it knows, or can no longer be sure, that the message is not ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from parallelize_agent.queue.claims import Claim, Claims
from parallelize_core.clock import boot_seconds
from parallelize_core.config import MAX_VISIBILITY_TIMEOUT_SECONDS
from parallelize_core.job import JobMessage
from parallelize_core.queue import MAX_DELAY_SECONDS, AsyncQueue, Message, batches

log = structlog.get_logger()

RENEWALS_PER_LEASE = 3
MARGIN_PER_LEASE = 1 / 12
"""A lease counts as lost this much before its end: a step that began just before must still
finish within it."""

MAX_ROUND_SECONDS = 5.0
"""The longest time that the keeper rests."""


class LeaseLostError(Exception):
    """The message is, or may be, somebody else's by now: stop, and show nothing."""


@dataclass(frozen=True)
class LeaseTerms:
    """How long leases are, and at what age a claim replaces the message; in seconds."""

    seconds: float
    claim_after_seconds: float = MAX_VISIBILITY_TIMEOUT_SECONDS

    @property
    def renew_after(self) -> float:
        """How long after the last renewal the next is due."""
        return self.seconds / RENEWALS_PER_LEASE

    @property
    def safe_for(self) -> float:
        """How long after the last renewal a lease can be relied on."""
        return self.seconds * (1 - MARGIN_PER_LEASE)

    @property
    def round_seconds(self) -> float:
        """How long the keeper rests between two rounds."""
        return min(MAX_ROUND_SECONDS, self.seconds * MARGIN_PER_LEASE)

    @property
    def call_seconds(self) -> float:
        """How long one renewal may take: one that hangs leaves time for a second."""
        return self.seconds / 4


class Lease:
    """The right to work on one message, as long as it is renewed in time.

    It counts from `begun`, in seconds of the clock. `claim` replaces the message once that
    cannot be renewed.
    """

    def __init__(
        self,
        message: Message,
        terms: LeaseTerms,
        begun: float,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self.message = message
        self.received = begun
        self.claim: Claim | None = None
        self._terms = terms
        self._clock = clock
        self._renewed = begun
        self._lost = False
        self._on_lost: Callable[[], None] | None = None

    @property
    def valid(self) -> bool:
        """Whether the message is certainly still ours."""
        return not self._lost and self._clock() < self._renewed + self._terms.safe_for

    @property
    def age(self) -> float:
        """Seconds since the receive."""
        return self._clock() - self.received

    @property
    def due_in(self) -> float:
        """Seconds until the next renewal is due; negative if it is overdue."""
        return self._renewed + self._terms.renew_after - self._clock()

    def check(self) -> None:
        """Raise LeaseLostError unless the message is certainly still ours."""
        if not self.valid:
            raise LeaseLostError(self.message.id)

    def renew(self, asked: float) -> None:
        """Count the lease from `asked`, the time before the renewal was sent."""
        self._renewed = max(self._renewed, asked)

    def lose(self) -> None:
        """Mark the lease as lost and stop the work under it; further calls do nothing."""
        if self._lost:
            return
        self._lost = True
        if self._on_lost:
            self._on_lost()

    def when_lost(self, stop: Callable[[], None]) -> None:
        """Call `stop` once the lease is lost; at once if it is lost already."""
        self._on_lost = stop
        if self._lost:
            stop()

    def work_ended(self) -> None:
        """Forget what to stop: the work has ended."""
        self._on_lost = None


class LeaseKeeper:
    """Renews every lease that it holds; `alive` is called after each round.

    No call delays another: each batch, and each claim, is renewed in its own task, within a time
    limit.
    """

    def __init__(
        self,
        queue: AsyncQueue,
        terms: LeaseTerms,
        claims: Claims,
        *,
        clock: Callable[[], float] = boot_seconds,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._claims = claims
        self._terms = terms
        self.clock = clock
        self._alive = alive
        self._leases: dict[str, Lease] = {}
        self._renewing: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Renew until cancelled; leases still held then expire by themselves."""
        try:
            while True:
                await asyncio.sleep(self.rest_seconds)
                self.begin_renewals()
                self._give_up_expired()
                self._alive()
        finally:
            for task in set(self._renewing.values()):
                task.cancel()

    @property
    def rest_seconds(self) -> float:
        """How long the keeper rests now: until a lease is due, at most until the next round.

        An overdue lease is being renewed; if that fails, the next round tries again.
        """
        waiting = [lease.due_in for lease in self._leases.values() if lease.due_in > 0]
        return min([self._terms.round_seconds, *waiting])

    @property
    def held(self) -> int:
        """How many leases are held."""
        return len(self._leases)

    def hold(self, message: Message, asked: float) -> Lease:
        """Keep the lease of a message that was just received, by a call made at `asked`.

        The lease began at some time since then, and a process that was suspended meanwhile cannot
        know when: if that may be long ago, it is renewed at once, to ask the queue.
        """
        begun = max(asked, self.clock() - self._terms.renew_after)
        lease = Lease(message, self._terms, begun, self.clock)
        self._leases[message.receipt] = lease
        return lease

    def release(self, lease: Lease) -> None:
        """Stop renewing a lease: its message is deleted, handed back or lost."""
        self._leases.pop(lease.message.receipt, None)

    async def renew_due(self) -> None:
        """Renew what is due, wait until that is done or has failed, and give up what is lost."""
        self.begin_renewals()
        await asyncio.gather(*set(self._renewing.values()))
        self._give_up_expired()

    def begin_renewals(self) -> None:
        """Start to renew what is due, or soon will be, and is not being renewed already."""
        soon = self._terms.round_seconds / 2  # separate calls would cost more
        due = [
            lease
            for receipt, lease in self._leases.items()
            if receipt not in self._renewing and lease.due_in <= soon
        ]
        for batch in batches([lease for lease in due if not self._is_claims_turn(lease)]):
            self._begin(batch, self._renew(batch))
        for lease in due:
            if self._is_claims_turn(lease):
                self._begin([lease], self._renew_by_claim(lease))

    def _is_claims_turn(self, lease: Lease) -> bool:
        return lease.claim is not None or (
            lease.valid and lease.age >= self._terms.claim_after_seconds
        )

    def _begin(self, leases: Sequence[Lease], renewal: Coroutine[Any, Any, None]) -> None:
        receipts = [lease.message.receipt for lease in leases]
        task = asyncio.create_task(self._attempt(renewal))
        self._renewing.update(dict.fromkeys(receipts, task))
        task.add_done_callback(lambda _: self._end(receipts))

    def _end(self, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            self._renewing.pop(receipt, None)
        # After each call: others must not run out unnoticed until the next round.
        self._give_up_expired()

    async def _attempt(self, renewal: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(self._terms.call_seconds):
                await renewal
        except Exception as error:
            # Not lost yet: the next round tries again, until the lease can no longer be trusted.
            log.warning("lease not renewed", error=str(error) or repr(error))

    async def _renew(self, batch: Sequence[Lease]) -> None:
        asked = self.clock()
        receipts = {lease.message.receipt: lease for lease in batch}
        lost = await self._queue.extend(list(receipts), round(self._terms.seconds))
        for receipt, lease in receipts.items():
            if receipt in lost:
                self._lose(lease, "the queue says it is no longer ours")
            else:
                lease.renew(asked)

    async def _renew_by_claim(self, lease: Lease) -> None:
        if lease.claim is None:
            # The message can still be renewed for a while: a slow claim costs no lease.
            await self._renew([lease])
            if lease.valid:
                await self._make_claim(lease)
            return
        asked = self.clock()
        if await self._claims.renew(lease.claim):
            lease.renew(asked)
        else:
            self._lose(lease, "its claim was taken over")

    async def _make_claim(self, lease: Lease) -> None:
        """Replace a message that SQS will soon show to others by a claim."""
        job = JobMessage.decode(lease.message.body)
        claim = await self._claims.make(job.key)
        # The fresh message first: a job must never be without one.
        await self._queue.send([job.parked().encode()], MAX_DELAY_SECONDS)
        await self._queue.delete([lease.message.receipt])
        lease.claim = claim
        log.info("job claimed beyond its message", key=job.key)

    def _give_up_expired(self) -> None:
        for lease in [lease for lease in self._leases.values() if not lease.valid]:
            self._lose(lease, "it could not be renewed in time")

    def _lose(self, lease: Lease, why: str) -> None:
        self.release(lease)
        log.warning("lease lost", message=lease.message.id, why=why)
        lease.lose()
