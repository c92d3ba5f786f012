"""A queue, a keeper of leases and claims, and a clock that a test moves."""

from __future__ import annotations

import asyncio

from parallelize_agent.queue.claims import Claims
from parallelize_agent.queue.leases import Lease, LeaseKeeper, LeaseTerms
from parallelize_core.errors import UnavailableError
from parallelize_core.job import JobMessage
from parallelize_core.layout import Location, RunLayout
from parallelize_core.testing import (
    AsyncInMemoryQueue,
    AsyncInMemoryStore,
    InMemoryQueue,
    InMemoryStore,
)

LAYOUT = RunLayout(Location("bucket"), "r")
SECONDS = 120.0
TERMS = LeaseTerms(SECONDS, 12 * 3600)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ShakyQueue(InMemoryQueue):
    """A queue that a test can cut off."""

    reachable = True

    def extend(self, receipts, lease_seconds):  # type: ignore[no-untyped-def]
        if not self.reachable:
            raise UnavailableError("https://aws.example does not answer")
        return super().extend(receipts, lease_seconds)


def renew(keeper: LeaseKeeper) -> None:
    """Do one round of a keeper."""
    asyncio.run(keeper.renew_due())


def held(claims: Claims, key: str) -> bool:
    """Whether somebody keeps the job; if not, it is taken over."""
    return not asyncio.run(claims.take_over(key))


class Site:
    """A queue, a keeper and their clock."""

    def __init__(self, terms: LeaseTerms = TERMS, worker: str = "w1") -> None:
        self.clock = Clock()
        self.queue = ShakyQueue(self.clock)
        self.store = InMemoryStore()
        self.terms = terms
        self.keeper = self.keeper_of(worker)

    def claims_of(self, worker: str) -> Claims:
        return Claims(AsyncInMemoryStore(self.store), LAYOUT, worker, SECONDS, self.clock)

    def keeper_of(self, worker: str) -> LeaseKeeper:
        queue = AsyncInMemoryQueue(self.queue)
        return LeaseKeeper(queue, self.terms, self.claims_of(worker), clock=self.clock)

    def receive(self, keeper: LeaseKeeper | None = None) -> Lease:
        (message,) = self.queue.receive(1, 0, int(SECONDS))
        return (keeper or self.keeper).hold(message, self.clock.now)

    def send(self, key: str = "x") -> None:
        self.queue.send([JobMessage(run="r", key=key, size=0).encode()])

    def keep(self, seconds: float, step: float = 5) -> None:
        """Let time pass as the keeper does."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now += step
            renew(self.keeper)
