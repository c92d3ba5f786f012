"""How many small calls of a group are made at a time: one, or all while the process only waits."""

from __future__ import annotations

import asyncio
import resource

import pytest

from parallelize.wire import AT_ONCE, BUSY_SHARE, FILES, LOOK_SECONDS, TOGETHER_SECONDS, Pace

SECONDS = 30.0


class Process:
    """A clock, and the processor time of a process that works for a share of each second."""

    def __init__(self, share: float) -> None:
        self.now = 100.0
        self.share = share
        self.worked = 7.0

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        self.worked += self.share * seconds

    def pace(self) -> Pace:
        return Pace(lambda: self.now, lambda: self.worked)


def most_at_once(pace: Pace, items: int, process: Process) -> int:
    """Return how many calls were under way at a time, each of which takes longer than a look."""
    running = most = 0

    async def call(_: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        process.go_on(2 * LOOK_SECONDS)
        running -= 1

    asyncio.run(pace.each(call, range(items)))
    return most


def test_calls_go_one_after_the_other_while_the_process_works() -> None:
    process = Process(share=BUSY_SHARE + 0.1)
    assert most_at_once(process.pace(), 8, process) == 1


def test_once_the_process_waits_the_rest_of_a_group_goes_together() -> None:
    process = Process(share=BUSY_SHARE - 0.1)
    assert most_at_once(process.pace(), 8, process) == 7


def test_a_process_that_works_again_makes_one_call_after_the_other() -> None:
    process = Process(share=0.1)
    pace = process.pace()
    process.go_on(1)
    assert pace.waits
    process.share = 1.0
    process.go_on(TOGETHER_SECONDS)
    assert not pace.waits


def test_calls_that_keep_a_process_busy_together_go_on_together_for_some_time() -> None:
    process = Process(share=0.1)
    pace = process.pace()
    process.go_on(1)
    assert pace.waits
    process.share = 1.0
    process.go_on(TOGETHER_SECONDS / 2)
    assert pace.waits


def test_a_short_time_says_nothing() -> None:
    process = Process(share=0.0)
    pace = process.pace()
    process.go_on(LOOK_SECONDS / 2)
    assert not pace.waits


@pytest.mark.parametrize(("descriptors", "most"), [(256, 2), (64, 1), (2048, 7)])
def test_connections_leave_descriptors_for_files(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    process = Process(share=0.0)
    assert most_at_once(process.pace(), 8, process) == most
    assert most * AT_ONCE + FILES <= max(descriptors, AT_ONCE + FILES)


def test_every_item_is_done_once() -> None:
    process, done = Process(share=0.0), list[int]()

    async def call(item: int) -> None:
        process.go_on(1)
        done.append(item)

    asyncio.run(process.pace().each(call, range(8)))
    assert sorted(done) == list(range(8))


def test_an_error_cancels_what_is_under_way() -> None:
    process, cancelled = Process(share=0.0), list[int]()

    async def call(item: int) -> None:
        process.go_on(1)
        if item == 7:
            raise OSError("gone")
        try:
            await asyncio.sleep(SECONDS if item else 0)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    with pytest.raises(OSError, match="gone"):
        asyncio.run(process.pace().each(call, range(8)))
    assert sorted(cancelled) == list(range(1, 7))
