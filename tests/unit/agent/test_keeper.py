"""The keeper of leases beside calls that are slow, hang, or are overtaken by others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tests.unit.agent.lease_site import LAYOUT, SECONDS, Site, held, renew

from parallelize_agent.queue.claims import SKEW_SECONDS, Claims
from parallelize_agent.queue.leases import Lease, LeaseKeeper, LeaseTerms
from parallelize_core.clock import boot_seconds
from parallelize_core.errors import UnavailableError
from parallelize_core.store import ALWAYS, Condition
from parallelize_core.testing import AsyncInMemoryQueue, AsyncInMemoryStore

LATENCY = 30.0

Hook = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """Let a call pass."""


class HookedQueue(AsyncInMemoryQueue):
    """A queue on which something happens before a renewal, and after it."""

    before: Hook = staticmethod(nothing)
    after: Hook = staticmethod(nothing)

    async def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        await self.before()
        lost = await super().extend(receipts, lease_seconds)
        await self.after()
        return lost


class HookedStore(AsyncInMemoryStore):
    """A bucket on which something happens around the calls that concern claims."""

    before_put: Hook = staticmethod(nothing)
    after_put: Hook = staticmethod(nothing)
    after_get: Hook = staticmethod(nothing)

    async def get(self, key: str) -> bytes:
        body = await super().get(key)
        await self.after_get()
        return body

    async def put(self, key, body, condition: Condition = ALWAYS, metadata=None):  # type: ignore[no-untyped-def]
        await self.before_put()
        etag = await super().put(key, body, condition, metadata)
        await self.after_put()
        return etag


class Calls:
    """A site whose calls can be hooked, and a keeper on it."""

    def __init__(self, terms: LeaseTerms, *, real_time: bool = False) -> None:
        self.site = Site(terms)
        self.clock = self.site.clock
        self.queue = HookedQueue(self.site.queue)
        self.store = HookedStore(self.site.store)
        claims = Claims(self.store, LAYOUT, "w1", terms.seconds, self.clock)
        clock = boot_seconds if real_time else self.clock
        self.keeper = LeaseKeeper(self.queue, terms, claims, clock=clock)

    def receive(self, key: str = "x") -> Lease:
        self.site.send(key)
        (message,) = self.site.queue.receive(1, 0, int(self.site.terms.seconds) + 1)
        return self.keeper.hold(message, self.keeper.clock())

    async def latency(self) -> None:
        """Let time pass as a slow answer does."""
        self.clock.now += LATENCY


NEVER = LeaseTerms(SECONDS, 12 * 3600)
CLAIMED = LeaseTerms(SECONDS, SECONDS / 3)


def test_a_renewal_counts_from_the_moment_it_was_asked_for() -> None:
    calls = Calls(NEVER)
    calls.queue.after = calls.latency
    lease = calls.receive()
    calls.clock.now += SECONDS / 2
    asked = calls.clock.now
    renew(calls.keeper)
    assert calls.clock.now == asked + LATENCY
    calls.clock.now = asked + SECONDS - 1
    assert not lease.valid


def test_a_claims_renewal_counts_from_the_moment_it_was_asked_for() -> None:
    calls = Calls(CLAIMED)
    lease = calls.receive()
    calls.clock.now += SECONDS / 2
    renew(calls.keeper)
    assert lease.claim
    calls.clock.now += SECONDS / 2
    asked = calls.clock.now
    calls.store.after_put = calls.latency
    renew(calls.keeper)
    assert calls.clock.now == asked + LATENCY
    calls.clock.now = asked + SECONDS - 1
    assert not lease.valid


async def settle() -> None:
    """Let everything go on that waits for nothing."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_lease_that_ran_out_during_a_renewal_is_given_up_with_its_answer() -> None:
    async def run() -> list[str]:
        calls = Calls(NEVER)
        answer, heard = asyncio.Event(), list[str]()
        calls.queue.before = lambda: _wait(answer)
        calls.receive("slow")
        calls.clock.now += SECONDS / 2
        calls.receive("other").when_lost(lambda: heard.append("lost"))
        calls.keeper.begin_renewals()
        await settle()
        calls.clock.now += 2 * SECONDS  # it stands still, and the answer comes
        answer.set()
        await settle()
        return heard

    assert asyncio.run(run()) == ["lost"]


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


class Hanging:
    """A call that never answers; `ended` says whether somebody gave up waiting for it."""

    def __init__(self) -> None:
        self.calls = 0
        self.ended = False

    async def __call__(self) -> None:
        self.calls += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_lease_runs_out_although_no_renewal_is_answered() -> None:
    async def run() -> bool:
        calls = Calls(LeaseTerms(6, 3600))
        hanging, ended = Hanging(), list[bool]()
        calls.queue.before = hanging
        calls.receive().when_lost(lambda: ended.append(hanging.ended))
        calls.clock.now += 3
        keeping = asyncio.create_task(calls.keeper.run())
        await until(lambda: hanging.calls)
        calls.clock.now += 60
        await until(lambda: ended)
        keeping.cancel()
        return ended[0]

    assert asyncio.run(run()) is False, "it was noticed only when the call was given up"


def test_a_claim_that_hangs_costs_no_other_lease() -> None:
    async def run() -> bool:
        calls = Calls(LeaseTerms(6, 2))
        hanging, ended = Hanging(), list[bool]()
        calls.store.before_put = hanging
        calls.receive("long")
        calls.clock.now += 3
        other = calls.receive("other")
        keeping = asyncio.create_task(calls.keeper.run())
        await until(lambda: hanging.calls)

        async def note() -> None:
            ended.append(hanging.ended)

        calls.queue.before = note
        calls.clock.now += 2.5
        await until(lambda: ended)
        await settle()
        keeping.cancel()
        assert other.valid
        return ended[0]

    assert asyncio.run(run()) is False, "the other was renewed only when the claim was given up"


def test_a_renewal_that_hangs_is_made_again_in_time() -> None:
    async def run() -> None:
        calls = Calls(LeaseTerms(2, 3600), real_time=True)
        hanging = Hanging()

        async def hang_once() -> None:
            if not hanging.calls:
                await hanging()

        calls.queue.before = hang_once
        lost: list[str] = []
        lease = calls.receive()
        lease.when_lost(lambda: lost.append("lost"))
        keeping = asyncio.create_task(calls.keeper.run())
        await until(lambda: hanging.ended and lease.due_in > 0)
        keeping.cancel()
        assert lost == []

    asyncio.run(run())


def test_a_claim_is_believed_although_the_readers_clock_is_ahead() -> None:
    site = Site()
    asyncio.run(site.claims_of("w1").make("x"))
    site.clock.now += SECONDS + SKEW_SECONDS - 1
    assert held(site.claims_of("w2"), "x")
    site.clock.now += 1
    assert not held(site.claims_of("w3"), "x")


def test_a_claim_that_was_renewed_meanwhile_is_not_taken_over() -> None:
    async def run() -> bool:
        site = Site()
        owner = site.claims_of("w1")
        claim = await owner.make("x")
        site.clock.now += SECONDS + SKEW_SECONDS
        store = HookedStore(site.store)
        other = Claims(store, LAYOUT, "w2", SECONDS, site.clock)

        async def come_back() -> None:
            assert await owner.renew(claim)

        store.after_get = come_back
        return await other.take_over("x")

    assert asyncio.run(run()) is False


def test_a_claim_that_cannot_be_made_costs_no_lease() -> None:
    async def unreachable() -> None:
        raise UnavailableError("S3 does not answer")

    calls = Calls(CLAIMED)
    calls.store.before_put = unreachable
    lease = calls.receive()
    for _ in range(60):
        calls.clock.now += 5
        renew(calls.keeper)
    assert lease.valid
    assert lease.claim is None


def test_a_message_that_the_queue_has_given_to_another_is_not_claimed() -> None:
    calls = Calls(CLAIMED)
    lease = calls.receive()
    calls.clock.now += SECONDS / 2
    calls.site.queue.extend([lease.message.receipt], 0)
    assert calls.site.queue.receive(1, 0, int(SECONDS))
    renew(calls.keeper)
    assert not lease.valid
    assert len(calls.site.queue.bodies()) == 1


def test_the_keeper_rests_until_a_lease_is_due_and_no_longer_than_a_round() -> None:
    calls = Calls(NEVER)
    assert calls.keeper.rest_seconds == NEVER.round_seconds
    calls.receive()
    assert calls.keeper.rest_seconds == NEVER.round_seconds
    calls.clock.now += NEVER.renew_after - 1
    assert calls.keeper.rest_seconds == 1


def test_a_lease_that_could_not_be_renewed_is_tried_again_in_a_round() -> None:
    """At once would be too often for a queue that fails at once."""
    calls = Calls(NEVER)
    calls.receive()
    calls.queue.before = refused
    calls.clock.now += NEVER.renew_after
    renew(calls.keeper)
    assert calls.keeper.rest_seconds == NEVER.round_seconds


async def refused() -> None:
    raise UnavailableError("SQS cannot be reached")


def test_leases_that_are_due_soon_are_renewed_in_the_call_for_the_first() -> None:
    calls = Calls(NEVER)
    first = calls.receive("x")
    calls.clock.now += NEVER.round_seconds / 2
    second = calls.receive("y")
    calls.clock.now += NEVER.round_seconds
    third = calls.receive("z")
    calls.clock.now = first.received + NEVER.renew_after
    renew(calls.keeper)
    assert first.due_in == second.due_in == NEVER.renew_after
    assert third.due_in == 1.5 * NEVER.round_seconds
