"""Pausing the run from one of its workers, and counting the marks that are the reason for it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from parallelize_agent.job.run_source import RunSource
from parallelize_agent.queue.lanes import Lanes
from parallelize_core import keys
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import read_parts
from parallelize_core.pause import pause
from parallelize_core.store import AsyncStore, Store

log = structlog.get_logger()

MOST_LISTED = 1000
"""One page of a listing: more is never needed to see whether anything has succeeded."""

STEPS_BACK = 3
STEP_BACK_SECONDS = 0.5
"""How often, and for how long at most, a job steps back if too many come at once."""


@dataclass(frozen=True)
class Pauser:
    """Pauses the run; `in_hand` returns this worker's number of jobs, `opened` gets the reason."""

    layout: RunLayout
    rare: Store
    lanes: Lanes
    run: RunSource
    in_hand: Callable[[], int]
    opened: Callable[[str], None]

    async def pause(self, reason: str) -> None:
        """Pause the run; if it is paused already, that reason stands."""
        log.error("the run is paused", reason=reason)
        await asyncio.to_thread(pause, self.rare, self.layout, reason)
        await self.run.refresh()
        self.opened(self.run.current.paused or reason)

    async def is_at_its_end(self) -> bool:
        """Whether there is nothing left to pause for: no message but those of this worker."""
        in_hand = self.in_hand()  # first: the counts may still include what ends meanwhile
        return await self.lanes.total() <= in_hand

    async def count_files(self) -> int:
        """Return how many files the run has by now."""
        return await asyncio.to_thread(
            lambda: sum(len(part.entries) for part in read_parts(self.rare, self.layout))
        )


async def has_room(
    records: AsyncStore, mark: str, limit: int, count: Callable[[], Awaitable[int]], found: int
) -> bool:
    """Whether a mark is within one and a half times `limit`; it is removed if not.

    `found` marks were counted already. Each of many at once sees all the others. So a crowd steps
    back and returns one by one; those that are let in stay, and all that come later see them.
    """
    for _ in range(STEPS_BACK):
        if found <= limit + limit // 2:
            return True
        await records.delete([mark])
        await asyncio.sleep(random.uniform(0, STEP_BACK_SECONDS))  # noqa: S311 - no secret
        await records.put(mark, b"")
        found = await count()
    if found <= limit + limit // 2:
        return True
    await records.delete([mark])
    return False


async def has_unmarked_result(
    records: AsyncStore,
    layout: RunLayout,
    marks: Collection[str],
    list_again: Callable[[], Awaitable[Collection[str]]],
) -> bool:
    """Whether a file has a result and none of `marks`, which are the names of files."""
    results = await first_keys(records, layout.results.prefix, len(marks) + 1)
    if not _any_unmarked(results, layout, marks):
        return False
    # Or a job has ended meanwhile. Its mark was made before its result, so it is there by now.
    return _any_unmarked(results, layout, await list_again())


def _any_unmarked(results: Sequence[str], layout: RunLayout, marks: Collection[str]) -> bool:
    """Compare by names and by numbers, because jobs may have a mark and no result yet.

    A result with a shortened key does not name its file, and only counts.
    """
    named = (key for key in results if len(key.encode()) < keys.MAX_S3_KEY_BYTES - len(".json"))
    found = (layout.results.relative(key).removesuffix(".json") for key in named)
    return len(results) > len(marks) or not all(name in marks for name in found)


async def first_keys(records: AsyncStore, prefix: str, most: int = MOST_LISTED) -> list[str]:
    """Return the first keys below a prefix, at most `most`."""
    found: list[str] = []
    async for item in records.list(prefix):
        found.append(item.key)
        if len(found) >= most:
            break
    return found
