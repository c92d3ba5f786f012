"""Slots are given in the order of asking, all of them to one that has to be alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from parallelize_agent.job.slots import Slots, SlotThreads

ALL = 2


async def ask(slots: Slots, need: int = 1) -> asyncio.Task[tuple[int, ...]]:
    """Ask for slots, and return when the question is in the line."""
    task = asyncio.create_task(slots.take(need))
    await asyncio.sleep(0)
    return task


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 20))


def test_slots_are_numbered_and_given_once() -> None:
    async def scenario() -> None:
        slots = Slots(ALL)
        assert {await slots.take(1), await slots.take(1)} == {(0,), (1,)}
        third = await ask(slots)
        slots.give((1,))
        assert await third == (1,)

    run(scenario())


def test_one_that_must_be_alone_waits_for_all_and_gets_all() -> None:
    async def scenario() -> None:
        slots = Slots(ALL)
        await slots.take(1)
        await slots.take(1)
        alone = await ask(slots, ALL)
        slots.give((0,))
        await asyncio.sleep(0)
        assert not alone.done()
        slots.give((1,))
        assert await alone == (0, 1)

    run(scenario())


def test_those_that_come_later_do_not_starve_it_and_are_not_starved() -> None:
    async def scenario() -> None:
        slots = Slots(ALL)
        await slots.take(1)
        alone = await ask(slots, ALL)
        later, again = await ask(slots), await ask(slots, ALL)
        assert not later.done()  # although a slot is free
        slots.give((0,))
        slots.give(await alone)
        assert await later == (0,)
        slots.give((0,))
        assert await again == (0, 1)

    run(scenario())


@pytest.mark.parametrize("granted", [False, True], ids=["while it waits", "as it gets them"])
def test_one_that_is_cancelled_leaves_its_place_and_its_slots_to_the_next(granted: bool) -> None:
    async def scenario() -> None:
        slots = Slots(ALL)
        await slots.take(1)
        alone, later = await ask(slots, ALL), await ask(slots)
        if granted:
            slots.give((0,))
        alone.cancel()
        assert await later in {(0,), (1,)}
        assert alone.cancelled()

    run(scenario())


def test_a_thread_returns_and_raises_what_its_work_does() -> None:
    async def scenario() -> None:
        threads = SlotThreads(ALL, lambda: None)
        assert await threads.run(lambda: 1) == 1
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        threads.close()

    run(scenario())


def test_there_are_no_more_threads_than_slots_and_none_too_early() -> None:
    begun: list[str] = []

    async def scenario() -> None:
        threads = SlotThreads(ALL, lambda: begun.append(threading.current_thread().name))
        await threads.run(int)
        await threads.run(int)
        assert begun == ["slot_0"]
        go_on = threading.Event()
        waiting = [asyncio.create_task(threads.run(go_on.wait)) for _ in range(ALL + 1)]
        await asyncio.sleep(0)
        go_on.set()
        assert await asyncio.gather(*waiting) == [True] * (ALL + 1)
        threads.close()

    run(scenario())
    assert begun == ["slot_0", "slot_1"]


def test_work_that_nobody_waits_for_goes_on_and_then_makes_room() -> None:
    async def scenario() -> None:
        threads, go_on = SlotThreads(1, lambda: None), threading.Event()
        given_up = asyncio.create_task(threads.run(go_on.wait))
        await asyncio.sleep(0)
        given_up.cancel()
        next_one = asyncio.create_task(threads.run(lambda: "next"))
        await asyncio.sleep(0)
        assert not next_one.done()
        go_on.set()
        assert await next_one == "next"
        threads.close()

    run(scenario())


def test_threads_end_when_they_are_told_to() -> None:
    found: list[threading.Thread] = []

    async def scenario() -> None:
        threads = SlotThreads(1, lambda: None)
        found.append(await threads.run(threading.current_thread))
        threads.close()

    run(scenario())
    found[0].join(20)
    assert not found[0].is_alive()
