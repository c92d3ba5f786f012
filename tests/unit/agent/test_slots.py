"""Slots are given in the order of asking, all of them to one that has to be alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from parallelize_agent.job.slots import Slots


@dataclass
class Line:
    """Asks for slots in threads, one after the other."""

    slots: Slots
    pool: ThreadPoolExecutor

    def ask(
        self, *, alone: bool = False, wanted: Callable[[], bool] = lambda: True
    ) -> Future[tuple[int, ...]]:
        asked = threading.Event()

        def first_ask() -> bool:
            asked.set()
            return wanted()

        future = self.pool.submit(self.slots.take, alone=alone, wanted=first_ask)
        while not asked.wait(0.01) and not future.done():
            pass
        return future


@pytest.fixture
def line() -> Line:
    return Line(Slots(2), ThreadPoolExecutor(8))


def test_slots_are_numbered_and_given_once(line: Line) -> None:
    assert {line.ask().result(5), line.ask().result(5)} == {(0,), (1,)}
    third = line.ask()
    line.slots.give((1,))
    assert third.result(5) == (1,)


def test_one_that_must_be_alone_waits_for_all_and_gets_all(line: Line) -> None:
    line.ask().result(5)
    line.ask().result(5)
    alone = line.ask(alone=True)
    line.slots.give((0,))
    assert not alone.done()
    line.slots.give((1,))
    assert alone.result(5) == (0, 1)


def test_those_who_come_later_do_not_starve_it_and_are_not_starved(line: Line) -> None:
    line.ask().result(5)
    alone = line.ask(alone=True)
    later, again = line.ask(), line.ask(alone=True)
    assert not later.done()  # although a slot is free
    line.slots.give((0,))
    line.slots.give(alone.result(5))
    assert later.result(5) == (0,)
    line.slots.give((0,))
    assert again.result(5) == (0, 1)


def test_who_is_not_wanted_any_more_leaves_the_line(line: Line) -> None:
    line.ask().result(5)
    wanted = [True]
    alone = line.ask(alone=True, wanted=lambda: bool(wanted))
    later = line.ask()
    wanted.clear()
    line.slots.wake()
    assert alone.result(5) == ()
    assert later.result(5) == (1,)
