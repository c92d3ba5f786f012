"""The fakes' own conveniences; what they promise as a queue and a store is tested with the real."""

from __future__ import annotations

from parallelize_core.testing import InMemoryQueue

LEASE_SECONDS = 120


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_runs_out_by_the_clock_that_was_given() -> None:
    clock = Clock()
    queue = InMemoryQueue(clock)
    queue.send(["one"])
    [message] = queue.receive(1, 0, LEASE_SECONDS)
    clock.now = LEASE_SECONDS - 0.1
    assert queue.receive(1, 0, LEASE_SECONDS) == []
    clock.now = LEASE_SECONDS
    assert [again.id for again in queue.receive(1, 0, LEASE_SECONDS)] == [message.id]


def test_a_delay_ends_by_the_clock_that_was_given() -> None:
    clock = Clock()
    queue = InMemoryQueue(clock)
    queue.send(["later"], delay_seconds=900)
    clock.now = 900
    assert queue.counts().visible == 1


def test_the_bodies_of_all_messages_can_be_looked_at() -> None:
    queue = InMemoryQueue()
    queue.send(["leased", "waiting"])
    queue.receive(1, 0, LEASE_SECONDS)
    assert queue.bodies() == ["leased", "waiting"]
