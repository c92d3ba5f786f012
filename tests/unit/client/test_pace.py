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


@pytest.mark.parametrize(
    ("share", "most"),
    [(BUSY_SHARE + 0.1, 1), (BUSY_SHARE - 0.1, 7)],
    ids=["one after the other while the process works", "the rest together once it waits"],
)
def test_calls_go_together_only_while_the_process_waits(share: float, most: int) -> None:
    process = Process(share)
    assert most_at_once(process.pace(), 8, process) == most


@pytest.mark.parametrize(
    ("seconds", "together"), [(TOGETHER_SECONDS / 2, True), (TOGETHER_SECONDS, False)]
)
def test_calls_that_keep_a_process_busy_together_go_on_together_for_some_time(
    seconds: float, together: bool
) -> None:
    process = Process(share=0.1)
    pace = process.pace()
    process.go_on(1)
    assert pace.waits()
    process.share = 1.0
    process.go_on(seconds)
    assert pace.waits() is together


def test_a_short_time_says_nothing() -> None:
    process = Process(share=0.0)
    pace = process.pace()
    process.go_on(LOOK_SECONDS / 2)
    assert not pace.waits()


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
