"""The lanes of a run as one worker sees them: its own queue, and those to which it moves jobs.

A job is moved by a fresh message on the other queue, after which the old one is deleted. A crash in
between leaves two messages of one job, which is harmless: the conditional result decides. A queue
that refuses, or is gone, is no lane any more, and its jobs stay in the worker's own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from parallelize_agent.reporting.peers import Peers
from parallelize_core import manifest
from parallelize_core.clock import boot_seconds
from parallelize_core.config import SteadyStart
from parallelize_core.errors import AccessError, MissingError, ParallelizeError
from parallelize_core.job import JobMessage
from parallelize_core.lane import TAIL_SHARE, Lane
from parallelize_core.layout import RunLayout
from parallelize_core.queue import AsyncQueue, QueueCounts
from parallelize_core.result import Cause
from parallelize_core.store import Store

log = structlog.get_logger()

MAX_INTERRUPTIONS = 2
"""What was interrupted so often needs a machine that is not taken away."""

TAIL_SECONDS = 30.0
"""How long a look at how many jobs are left, and how many could go to another lane, is believed."""

NONE_LEFT = QueueCounts(0, 0, 0)


@dataclass
class Tail:
    """Tells which of the last jobs go to the steady lane.

    As many as its workers can begin at once. While it has none, one job for each of the machines
    that would be started for it, if `start` says so, and if jobs take long enough: what was done
    here meanwhile would be over before a machine is there.

    `waiting` counts the messages of a lane; `total` tells how many jobs were sent, and is asked
    once there are workers for them, or it is near the end. `chance` draws a number from 0 to 1.
    """

    peers: Peers
    waiting: Callable[[Lane], Awaitable[QueueCounts]]
    total: Callable[[], Awaitable[int]]
    start: SteadyStart | None = None
    clock: Callable[[], float] = boot_seconds
    chance: Callable[[], float] = random.random
    _room: int = 0
    _share: float = 0.0
    _looked: float | None = None

    async def takes(self) -> bool:
        """Whether one more of the last jobs is to go to the steady lane."""
        now = self.clock()
        if self._looked is None or now - self._looked >= TAIL_SECONDS:
            self._looked, self._room = now, 0
            try:
                self._room, self._share = await self._find_room()
            except ParallelizeError as error:
                # No job is handed back for that: it can be done here as well.
                log.warning("the end of the run is not looked for", error=str(error))
        if self._room <= 0 or self.chance() >= self._share:
            return False
        self._room -= 1
        return True

    async def _find_room(self) -> tuple[int, float]:
        """Return how many jobs there is room for, and for which share of those that wait here.

        No room before the end of the run.
        """
        if slots := await self.peers.slots_in(Lane.STEADY):
            return await self._room_there(slots)
        return (await self._room_ahead(self.start), 1.0) if self.start else (0, 0.0)

    async def _room_there(self, slots: int) -> tuple[int, float]:
        here = await self.waiting(Lane.MAIN)
        if not await self._is_end(here):
            return 0, 0.0
        room = slots - (await self.waiting(Lane.STEADY)).total
        # All workers look, and all see the same room: each leaves to the others what is theirs.
        return room, room / max(1, room, here.visible + here.delayed)

    async def _room_ahead(self, start: SteadyStart) -> int:
        past = await self.peers.past()
        if not past.ended or past.busy_seconds / past.ended < start.job_seconds:
            return 0
        here = await self.waiting(Lane.MAIN)
        # How many were sent takes a request for each part of the manifest, of each worker.
        is_far = here.total > 2 * TAIL_SHARE * (past.ended + here.total)
        if is_far or not await self._is_end(here):
            return 0
        return start.workers - (await self.waiting(Lane.STEADY)).total

    async def _is_end(self, here: QueueCounts) -> bool:
        return here.total <= TAIL_SHARE * await self.total()


@dataclass
class Lanes:
    """The queues of a run by lane; `own` is the lane that this worker serves.

    With `tail`, the last jobs of the run are moved as far as others can begin them.
    """

    own: Lane
    queues: Mapping[Lane, AsyncQueue]
    tail: Tail | None = None
    _refused: set[Lane] = field(default_factory=set)

    async def lane_at_receive(self, message: JobMessage) -> Lane:
        """Return the lane in which a job is to be done that this worker has received."""
        if self._leads_to_steady() and (
            message.interrupted >= MAX_INTERRUPTIONS or (self.tail and await self.tail.takes())
        ):
            return Lane.STEADY
        return self.own

    def lane_of_next(self, before: JobMessage, again: JobMessage, cause: Cause | None) -> Lane:
        """Return the lane of the next try, whose message is `again`; `cause` ended the last."""
        if cause is Cause.MEMORY and before.alone and self.has(Lane.LARGE):
            return Lane.LARGE
        if again.interrupted >= MAX_INTERRUPTIONS and self._leads_to_steady():
            return Lane.STEADY
        return self.own

    def watch_tail(
        self, peers: Peers, total: Callable[[], Awaitable[int]], start: SteadyStart | None
    ) -> None:
        """Move the last jobs, too, of the `total` that were sent: this worker may be taken away."""
        if self._leads_to_steady():
            self.tail = Tail(peers, self.count, total, start)

    def has(self, lane: Lane) -> bool:
        """Whether the run has such a lane, as far as its queue is known to work."""
        return lane in self.queues and lane not in self._refused

    async def send(self, lane: Lane, body: str, delay_seconds: int = 0) -> None:
        """Put a message on the queue of a lane, or on this worker's own if that lane is gone."""
        if lane is not self.own:
            try:
                await self.queues[lane].send([body], delay_seconds)
            except (AccessError, MissingError) as error:
                log.warning("a lane takes no jobs", lane=lane, error=str(error))
                self._refused.add(lane)
            else:
                return
        await self.queues[self.own].send([body], delay_seconds)

    async def others(self) -> dict[Lane, QueueCounts]:
        """Count the messages of the other lanes; one whose queue is gone has none."""
        return {lane: await self.count(lane) for lane in self.queues if lane is not self.own}

    async def count(self, lane: Lane) -> QueueCounts:
        """Count the messages of a lane; if its queue is gone it has none."""
        try:
            return await self.queues[lane].counts()
        except (AccessError, MissingError):
            return NONE_LEFT

    async def total(self) -> int:
        """Return about how many messages there are in all lanes; raises as the own queue does."""
        own = await self.queues[self.own].counts()
        return own.total + sum(counts.total for counts in (await self.others()).values())

    def _leads_to_steady(self) -> bool:
        # What is in the large lane needs its memory more than a machine that stays.
        return self.own is Lane.MAIN and self.has(Lane.STEADY)


def one_lane(queue: AsyncQueue) -> Lanes:
    """Return the lanes of a run that has only one queue."""
    return Lanes(Lane.MAIN, {Lane.MAIN: queue})


async def count_sent(store: Store, layout: RunLayout) -> int:
    """Return how many jobs of the run were sent."""
    return await asyncio.to_thread(manifest.count_sent, store, layout)
