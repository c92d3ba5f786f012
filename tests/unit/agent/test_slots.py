"""Slots are given in the order of asking, all of them to one that has to be alone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from parallelize_agent.job.slots import Slots

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
