"""When messages are deleted: one that comes alone at once, those that follow it in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.unit.agent.lease_site import Site

from parallelize_agent.queue.acknowledger import LINGER_SECONDS, Acknowledger
from parallelize_agent.queue.leases import Lease
from parallelize_core.testing import AsyncInMemoryQueue, InMemoryQueue


class CountedQueue(AsyncInMemoryQueue):
    """A queue that tells how many messages each call has deleted."""

    def __init__(self, queue: InMemoryQueue) -> None:
        super().__init__(queue)
        self.deleted: list[int] = []

    async def delete(self, receipts: Sequence[str]) -> None:
        self.deleted.append(len(receipts))
        await super().delete(receipts)


class Case:
    """An acknowledger, and as many leases as are wanted."""

    def __init__(self) -> None:
        self.site = Site()
        self.queue = CountedQueue(self.site.queue)
        self.released: list[Lease] = []
        self.acknowledger = Acknowledger(self.queue, self.released.append)

    def acknowledge(self, count: int = 1) -> None:
        for _ in range(count):
            self.site.send()
            self.acknowledger.acknowledge(self.site.receive())


@pytest.fixture
def case() -> Case:
    return Case()


def test_a_message_that_comes_alone_is_deleted_at_once(case: Case) -> None:
    async def jobs() -> None:
        for number in range(1, 3):
            case.acknowledge()
            await asyncio.sleep(0)
            assert case.queue.deleted == [1] * number
            await asyncio.sleep(LINGER_SECONDS)

    asyncio.run(jobs())
    assert len(case.released) == 2
    assert case.site.queue.counts().in_flight == 0


def test_messages_that_follow_one_another_are_deleted_in_batches(case: Case) -> None:
    async def jobs() -> None:
        case.acknowledge(14)
        await asyncio.sleep(0)
        assert case.queue.deleted == [1, 10], "the last three wait for others"
        await case.acknowledger.finish()

    asyncio.run(jobs())
    assert case.queue.deleted == [1, 10, 3]
    assert len(case.released) == 14
