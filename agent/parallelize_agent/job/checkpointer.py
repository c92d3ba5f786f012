"""When checkpoints of running jobs are stored: periodically, and in time before a shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import structlog

from parallelize_agent.job.checkpoints import Checkpoints, Kept
from parallelize_agent.job.job import Job
from parallelize_agent.job.snapshot import SnapshotError, look
from parallelize_agent.shutdown import Shutdown
from parallelize_core.clock import boot_seconds

log = structlog.get_logger()

LOOK_SECONDS = 1.0

SLACK = 1.25
"""Safety factor on the time to upload the last checkpoints."""


@dataclass
class Checkpointer:
    """Stores the checkpoints of running jobs; `jobs` returns those that have a slot.

    `reserve_seconds` is how much of the time before the end is reserved for the last checkpoints.
    """

    jobs: Callable[[], Sequence[Job]]
    checkpoints: Checkpoints
    shutdown: Shutdown
    clock: Callable[[], float] = boot_seconds
    reserve_seconds: float = 0.0
    _due: dict[Kept, float] = field(default_factory=dict)
    _tasks: set[asyncio.Task[bool]] = field(default_factory=set)

    async def run(self) -> None:
        """Store what is due until the worker shuts down, then everything in time for the end."""
        try:
            while self.shutdown.time_left() is None:
                self._keep_due()
                if self.shutdown.decided is None:
                    await self.shutdown.wait(LOOK_SECONDS)
                else:
                    await asyncio.sleep(LOOK_SECONDS)
            await self._keep_in_time()
        finally:
            for task in self._tasks:
                task.cancel()

    def _keep_due(self) -> None:
        now = self.clock()
        running = self._kept()
        self._due = {
            kept: self._due.get(kept, now + kept.run.checkpoints.every_seconds) for kept in running
        }
        for kept, due in self._due.items():
            if now >= due and not kept.lock.locked():
                self._due[kept] = now + kept.run.checkpoints.every_seconds
                self._begin(kept)

    def _begin(self, kept: Kept) -> asyncio.Task[bool]:
        task = kept.storing = asyncio.create_task(self.checkpoints.keep(kept))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _keep_in_time(self) -> None:
        """Store what exists now, smallest first, leaving time for what is stored last."""
        left = self.shutdown.time_left() or 0.0
        sizes = await asyncio.to_thread(_sizes, self._kept())
        tasks = [self._begin(kept) for kept in sorted(sizes, key=lambda kept: sizes[kept])]
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, left - self._seconds_for(sizes.values())))
        self.reserve_seconds = min(left, self._seconds_for(sizes.values()))
        decided = self.shutdown.decided
        if decided and self.reserve_seconds:
            rest = (self.shutdown.time_left() or 0.0) - self.reserve_seconds
            log.info("time is kept for checkpoints", seconds=round(self.reserve_seconds, 1))
            self.shutdown.decide(decided.reason, max(0.0, rest), imposed=decided.imposed)

    def _seconds_for(self, sizes: Collection[int]) -> float:
        return SLACK * self.checkpoints.speed.seconds_for(sum(sizes))

    def _kept(self) -> list[Kept]:
        staged = [job.staged for job in self.jobs() if job.staged]
        return [one.kept for one in staged if one.kept and not one.kept.closed]


def _sizes(running: Sequence[Kept]) -> dict[Kept, int]:
    """Return the sizes of the checkpoints that can be read."""
    found: dict[Kept, int] = {}
    for kept in running:
        try:
            found[kept] = look(kept.folder.checkpoint, kept.owner).size
        except SnapshotError as error:
            log.warning("checkpoint not seen", key=kept.message.key, error=str(error))
            found[kept] = 0
    return found
