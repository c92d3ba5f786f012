"""The lanes of a run as one worker sees them: its own queue, and those to which it moves jobs.

A job is moved by a fresh message on the other queue; then the old one is deleted. A crash in
between leaves two messages for one job, which is harmless: the conditional result decides. A lane
whose queue refuses, or is gone, is no longer used, and its jobs stay in the worker's own.
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
"""A job that was interrupted this often needs a machine that is not taken away."""

TAIL_SECONDS = 30.0
"""How long the last look at the remaining jobs, and the room in another lane, stays valid."""

NONE_LEFT = QueueCounts(0, 0, 0)


@dataclass
class Tail:
    """Decides which of the last jobs go to the steady lane.

    They are as many as its workers can start at once. While it has none, they are one for each of
    the machines that would be started for them, if `start` says so, and if jobs take long enough:
    short jobs would be done here before a machine is ready.

    `waiting` counts the messages of a lane; `total` returns how many jobs were sent, and is called
    only when there are workers for them, or the end is near. `chance` draws a number from 0 to 1.
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
        """Whether one more of the last jobs should go to the steady lane."""
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
        """Return how many jobs there is room for, and for which share of those waiting here.

        There is no room before the end of the run.
        """
        if slots := await self.peers.slots_in(Lane.STEADY):
            return await self._room_there(slots)
        return (await self._room_ahead(self.start), 1.0) if self.start else (0, 0.0)

    async def _room_there(self, slots: int) -> tuple[int, float]:
        here = await self.waiting(Lane.MAIN)
        if not await self._is_end(here):
            return 0, 0.0
        room = slots - (await self.waiting(Lane.STEADY)).total
        # All workers look, and all see the same room: each takes only its share of it.
        return room, room / max(1, room, here.visible + here.delayed)

    async def _room_ahead(self, start: SteadyStart) -> int:
        past = await self.peers.past()
        if not past.ended or past.busy_seconds / past.ended < start.job_seconds:
            return 0
        here = await self.waiting(Lane.MAIN)
        # Counting the sent jobs takes each worker a request for each part of the manifest.
        is_far = here.total > 2 * TAIL_SHARE * (past.ended + here.total)
        if is_far or not await self._is_end(here):
            return 0
        return start.workers - (await self.waiting(Lane.STEADY)).total

    async def _is_end(self, here: QueueCounts) -> bool:
        return here.total <= TAIL_SHARE * await self.total()


@dataclass
class Lanes:
    """The queues of a run by lane; `own` is the lane that this worker serves.

    With `tail`, the last jobs of the run are moved as far as others can start them.
    """

    own: Lane
    queues: Mapping[Lane, AsyncQueue]
    tail: Tail | None = None
    _refused: set[Lane] = field(default_factory=set)

    async def lane_at_receive(self, message: JobMessage) -> Lane:
        """Return the lane in which a received job should be done."""
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
        """Also move the last of the `total` jobs sent: this worker may be taken away."""
        if self._leads_to_steady():
            self.tail = Tail(peers, self.count, total, start)

    def has(self, lane: Lane) -> bool:
        """Whether the run has such a lane, as far as its queue is known to work."""
        return lane in self.queues and lane not in self._refused

    async def send(self, lane: Lane, body: str, delay_seconds: int = 0) -> None:
        """Put a message on a lane's queue, or on this worker's own if that lane is gone."""
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
        """Count the messages of the other lanes; a lane whose queue is gone has none."""
        return {lane: await self.count(lane) for lane in self.queues if lane is not self.own}

    async def count(self, lane: Lane) -> QueueCounts:
        """Count the messages of a lane; none if its queue is gone."""
        try:
            return await self.queues[lane].counts()
        except (AccessError, MissingError):
            return NONE_LEFT

    async def total(self) -> int:
        """Return roughly how many messages all lanes have; raises what the own queue raises."""
        own = await self.queues[self.own].counts()
        return own.total + sum(counts.total for counts in (await self.others()).values())

    def _leads_to_steady(self) -> bool:
        # Jobs in the large lane need its memory more than a machine that stays.
        return self.own is Lane.MAIN and self.has(Lane.STEADY)


def one_lane(queue: AsyncQueue) -> Lanes:
    """Return the lanes of a run that has only one queue."""
    return Lanes(Lane.MAIN, {Lane.MAIN: queue})


async def count_sent(store: Store, layout: RunLayout) -> int:
    """Return how many jobs of the run were sent."""
    return await asyncio.to_thread(manifest.count_sent, store, layout)
