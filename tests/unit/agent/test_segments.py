"""The segments that a worker writes, with the shipped store."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping

from parallelize_agent.reporting.segments import FULL, SegmentWriter, pauses
from parallelize_core.layout import Location, RunLayout
from parallelize_core.result import Result
from parallelize_core.segment import read_segment
from parallelize_core.store import ALWAYS, Condition
from parallelize_core.testing import AsyncInMemoryStore

LAYOUT = RunLayout(Location("bucket"), "run")


def result(key: str) -> Result:
    return Result(
        run="run", key=key, attempt=1, worker="w", started_at="", finished_at="", status="succeeded"
    )


def add(writer: SegmentWriter, first: int, count: int) -> None:
    for number in range(first, first + count):
        writer.add(result(str(number)), f"etag-{number}")


def written(store: AsyncInMemoryStore, most: int) -> list[list[str]]:
    """Return the keys of the results in each segment that is stored."""
    wanted = {f"etag-{number}" for number in range(most)}
    places = [info.key for info in store.store.list(LAYOUT.segments.prefix)]
    return [
        [found.key for _, found in read_segment(store.store.get(place), wanted)] for place in places
    ]


def test_a_segment_grows_until_it_is_full_and_then_another_begins() -> None:
    store = AsyncInMemoryStore()
    writer = SegmentWriter(store, LAYOUT, "w", 1)
    for first, count in ((0, 3), (3, FULL), (FULL + 3, 2)):
        add(writer, first, count)
        asyncio.run(writer.write())
    first, second = written(store, FULL + 5)
    assert first == [str(number) for number in range(FULL + 3)]
    assert second == [str(number) for number in range(FULL + 3, FULL + 5)]


class BrokenStore(AsyncInMemoryStore):
    """A bucket that takes nothing for a while."""

    broken = True
    puts = 0

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        self.puts += 1
        if self.broken:
            raise ConnectionError
        return await super().put(key, body, condition, metadata)


def test_what_could_not_be_written_is_written_the_next_time() -> None:
    store = BrokenStore()
    writer = SegmentWriter(store, LAYOUT, "w", 1)
    add(writer, 0, FULL)
    asyncio.run(writer.write())
    add(writer, FULL, 1)
    store.broken = False
    asyncio.run(writer.write())
    assert written(store, FULL + 1) == [[str(n) for n in range(FULL)], [str(FULL)]]


def test_nothing_is_written_while_nothing_comes() -> None:
    store = BrokenStore()
    store.broken = False
    writer = SegmentWriter(store, LAYOUT, "w", 1)
    asyncio.run(writer.write())
    add(writer, 0, 1)
    for _ in range(3):
        asyncio.run(writer.write())
    assert store.puts == 1


def test_a_worker_that_starts_again_leaves_its_former_segments_alone() -> None:
    store = AsyncInMemoryStore()
    for started in (1, 2):
        writer = SegmentWriter(store, LAYOUT, "w", started)
        add(writer, started, 1)
        asyncio.run(writer.write())
    assert written(store, 5) == [["1"], ["2"]]


def test_pauses_grow_from_two_seconds_to_the_longest() -> None:
    first = [*itertools.islice(pauses(60), 30)]
    assert first[:3] == [2, 3, 4.5]
    assert first == sorted(first)
    assert first[10:] == [60] * 20
    assert [*itertools.islice(pauses(1), 3)] == [1, 1, 1]
