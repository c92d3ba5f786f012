"""The fakes' own conveniences; what they promise as a queue and a store is tested with the real."""

from __future__ import annotations

import asyncio

from parallelize_core.testing import (
    AsyncInMemoryQueue,
    AsyncInMemoryStore,
    InMemoryQueue,
    InMemoryStore,
)

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


def test_a_queue_and_its_twin_for_a_loop_have_the_same_messages() -> None:
    queue = InMemoryQueue()
    twin = AsyncInMemoryQueue(queue)
    queue.send(["one"])
    [message] = asyncio.run(twin.receive(1, 0, LEASE_SECONDS))
    asyncio.run(twin.delete([message.receipt]))
    assert queue.bodies() == []


def test_a_receive_that_waits_lets_other_tasks_send() -> None:
    async def wait_and_send() -> list[str]:
        queue = AsyncInMemoryQueue()
        receiving = asyncio.create_task(queue.receive(1, 20, LEASE_SECONDS))
        await asyncio.sleep(0)
        await queue.send(["late"])
        return [message.body for message in await receiving]

    assert asyncio.run(wait_and_send()) == ["late"]


def test_a_store_and_its_twin_for_a_loop_have_the_same_objects() -> None:
    store = InMemoryStore()
    asyncio.run(AsyncInMemoryStore(store).put("key", b"body"))
    assert store.get("key") == b"body"


def test_an_object_above_the_limit_is_not_read() -> None:
    store = AsyncInMemoryStore()
    asyncio.run(store.put("key", b"body"))
    assert asyncio.run(store.get_within("key", 4)) == b"body"
    assert asyncio.run(store.get_within("key", 3)) is None
