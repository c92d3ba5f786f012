"""A lease is trusted for as long as nobody else can have the message, and no longer."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.agent.lease_site import SECONDS, Site, held, renew

from parallelize_agent.queue.claims import SKEW_SECONDS
from parallelize_agent.queue.leases import Lease, LeaseLostError, LeaseTerms
from parallelize_core.job import JobMessage
from parallelize_core.queue import Message


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_lease_that_is_kept_never_runs_out(site: Site) -> None:
    site.send()
    lease = site.receive()
    site.keep(3600)
    lease.check()
    assert site.queue.counts().visible == 0


def test_a_lease_that_is_not_kept_is_lost_before_the_message_is_seen_again(site: Site) -> None:
    site.send()
    lease = site.receive()
    site.clock.now += SECONDS - 1
    with pytest.raises(LeaseLostError):
        lease.check()
    assert site.queue.counts().visible == 0


def test_many_leases_are_renewed_by_few_calls(site: Site) -> None:
    for number in range(35):
        site.send(f"{number}")
    leases = [site.receive() for _ in range(35)]
    site.keep(SECONDS)
    assert all(lease.valid for lease in leases)


def test_one_lost_lease_does_not_take_the_others_along(site: Site) -> None:
    site.send("a")
    site.send("b")
    lost, kept = site.receive(), site.receive()
    site.queue.delete([lost.message.receipt])
    site.keep(SECONDS)
    assert (lost.valid, kept.valid) == (False, True)


def test_whoever_works_under_a_lease_hears_of_its_loss_once(site: Site) -> None:
    site.send()
    lease = site.receive()
    heard: list[str] = []
    lease.when_lost(lambda: heard.append("lost"))
    site.queue.reachable = False
    site.keep(2 * SECONDS)
    lease.lose()
    assert heard == ["lost"]


def test_who_asks_late_hears_at_once(site: Site) -> None:
    site.send()
    lease = site.receive()
    lease.lose()
    heard: list[str] = []
    lease.when_lost(lambda: heard.append("lost"))
    assert heard == ["lost"]


def test_a_lease_is_not_lost_by_errors_that_pass_in_time(site: Site) -> None:
    site.send()
    lease = site.receive()
    site.queue.reachable = False
    site.keep(SECONDS * 0.8)
    site.queue.reachable = True
    site.keep(SECONDS)
    assert lease.valid


def test_a_released_lease_is_renewed_no_more(site: Site) -> None:
    site.send()
    site.keeper.release(site.receive())
    site.keep(SECONDS)
    assert site.queue.counts().visible == 1
    assert site.keeper.held == 0


LONG = LeaseTerms(SECONDS, 600)


def test_a_job_that_outlives_its_message_is_claimed_and_its_message_parked() -> None:
    site = Site(LONG)
    site.send()
    lease = site.receive()
    site.keep(700)
    assert lease.valid
    assert lease.claim
    (body,) = site.queue.bodies()
    assert JobMessage.decode(body).claimed
    assert site.queue.counts().delayed == 1


def test_a_job_that_somebody_else_has_by_now_is_not_claimed() -> None:
    site = Site(LONG)
    site.send()
    lease = site.receive()
    site.clock.now += LONG.claim_after_seconds + SECONDS  # it stands still
    site.receive(site.keeper_of("w2"))
    renew(site.keeper)
    assert not lease.valid
    assert list(site.store.list("")) == []
    assert len(site.queue.bodies()) == 1


def test_who_receives_the_parked_message_sees_that_the_claim_is_kept_fresh() -> None:
    site = Site(LONG)
    site.send()
    lease = site.receive()
    other = site.claims_of("w2")
    for _ in range(100):
        site.keep(60)
        if lease.claim:
            assert held(other, "x")
    assert lease.valid


def test_a_stale_claim_is_taken_over_and_its_former_owner_loses() -> None:
    site = Site(LONG)
    site.send()
    lease = site.receive()
    site.keep(700)
    site.clock.now += SECONDS + SKEW_SECONDS  # it stands still
    assert not held(site.claims_of("w2"), "x")
    renew(site.keeper)
    assert not lease.valid


def test_of_two_that_would_take_over_one_does() -> None:
    site = Site(LONG)
    asyncio.run(site.claims_of("w1").make("x"))
    site.clock.now += 1000

    second, third = site.claims_of("w2"), site.claims_of("w3")
    assert not held(second, "x")
    assert held(third, "x")


def test_a_claim_that_ends_is_gone() -> None:
    site = Site()
    claims = site.claims_of("w1")
    asyncio.run(claims.drop(asyncio.run(claims.make("x"))))
    assert not held(site.claims_of("w2"), "x")
    assert list(site.store.list("")) == []


class TwoKeepers(RuleBasedStateMachine):
    """Two workers, one message, an unreliable way to the queue, and clocks that stop."""

    def __init__(self) -> None:
        super().__init__()
        self.site = Site()
        self.site.send()
        self.keepers = [self.site.keeper, self.site.keeper_of("w2")]
        self.leases: list[tuple[Lease, int]] = []
        self.stopped = [False, False]

    @rule(who=st.integers(0, 1))
    def receive(self, who: int) -> None:
        if not self.stopped[who]:
            for message in self.site.queue.receive(1, 0, int(SECONDS)):
                held = self.keepers[who].hold(message, self.site.clock.now)
                self.leases.append((held, who))

    @rule(seconds=st.floats(0.1, 100))
    def time_passes(self, seconds: float) -> None:
        self.site.clock.now += seconds

    @rule(who=st.integers(0, 1))
    def keep(self, who: int) -> None:
        if not self.stopped[who]:
            renew(self.keepers[who])

    @rule(who=st.integers(0, 1))
    def stop_or_go_on(self, who: int) -> None:
        self.stopped[who] = not self.stopped[who]

    @rule()
    def cut_or_mend(self) -> None:
        self.site.queue.reachable = not self.site.queue.reachable

    @precondition(lambda self: len(self.leases) > 20)
    @rule()
    def forget(self) -> None:
        self.leases = [(lease, who) for lease, who in self.leases if lease.valid]

    @invariant()
    def one_at_most_believes_to_own_the_job(self) -> None:
        assert sum(lease.valid for lease, _ in self.leases) <= 1


TestTwoKeepers = TwoKeepers.TestCase
TestTwoKeepers.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_message_that_was_on_its_way_for_long_is_asked_about_at_once(site: Site) -> None:
    asked = site.clock.now
    site.clock.now += 1000
    lease = site.keeper.hold(Message("m", "", "unknown", 1), asked)
    assert lease.due_in <= 0
    renew(site.keeper)
    assert not lease.valid
