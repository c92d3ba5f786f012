"""Sends again what the queue has lost: jobs that were sent, and have neither result nor message.

Messages expire after 14 days at most, and SQS may lose one; the manifest knows better.
"""

from __future__ import annotations

from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry, read_cursor, read_parts, unfinished
from parallelize_core.queue import AsyncQueue
from parallelize_core.store import Store


def missing_jobs(store: Store, layout: RunLayout) -> list[Entry]:
    """Return the jobs that were sent and have no result."""
    return list(unfinished(store, layout))


def all_sent(store: Store, layout: RunLayout) -> bool:
    """Whether `enqueue` has sent every job of the manifest."""
    return all(
        read_cursor(store, layout, part.number).sent >= len(part.entries)
        for part in read_parts(store, layout)
    )


async def send_again(queue: AsyncQueue, run: str, jobs: list[Entry]) -> None:
    """Send fresh messages; receivers first check whether somebody has claimed the job."""
    await queue.send([job.message(run).parked().encode() for job in jobs])
