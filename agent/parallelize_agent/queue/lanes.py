"""The lanes of a run as one worker sees them: its own queue, and those to which it moves jobs.

A job is moved by a fresh message on the other queue, after which the old one is deleted. A crash in
between leaves two messages of one job, which is harmless: the conditional result decides. A queue
that refuses, or is gone, is no lane any more, and its jobs stay in the worker's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from parallelize_agent.reporting.peers import Peers
from parallelize_core.clock import boot_seconds
from parallelize_core.errors import AccessError, MissingError, ParallelizeError
from parallelize_core.job import JobMessage
from parallelize_core.lane import Lane
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import part_places, read_cursor
from parallelize_core.queue import AsyncQueue, QueueCounts
from parallelize_core.result import Cause
from parallelize_core.store import Store

log = structlog.get_logger()

MAX_INTERRUPTIONS = 2
"""What was interrupted so often needs a machine that is not taken away."""

TAIL_SHARE = 0.01
"""The last jobs of a run, of all: for those an interruption delays the end of everything."""

TAIL_SECONDS = 30.0
"""How long a look at how many jobs are left, and how many could go to another lane, is believed."""

NONE_LEFT = QueueCounts(0, 0, 0)


@dataclass
class Tail:
    """Tells which of the last jobs the workers of the steady lane can begin at once.

    `waiting` counts the messages of a lane; `total` tells how many jobs were sent, and is asked
    once there are workers for them.
    """

    peers: Peers
    waiting: Callable[[Lane], Awaitable[QueueCounts]]
    total: Callable[[], Awaitable[int]]
    clock: Callable[[], float] = boot_seconds
    _room: int = 0
    _looked: float | None = None

    async def takes(self) -> bool:
        """Whether one more of the last jobs is to go to the steady lane."""
        now = self.clock()
        if self._looked is None or now - self._looked >= TAIL_SECONDS:
            self._looked, self._room = now, 0
            try:
                self._room = await self._find_room()
            except ParallelizeError as error:
                # No job is handed back for that: it can be done here as well.
                log.warning("the end of the run is not looked for", error=str(error))
        self._room -= 1
        return self._room >= 0

    async def _find_room(self) -> int:
        """Return how many jobs the steady workers could begin; 0 before the end of the run."""
        slots = await self.peers.slots_in(Lane.STEADY)
        if not slots:
            return 0
        left = (await self.waiting(Lane.MAIN)).total
        if left > TAIL_SHARE * await self.total():
            return 0
        return max(0, slots - (await self.waiting(Lane.STEADY)).total)


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

    def watch_tail(self, peers: Peers, total: Callable[[], Awaitable[int]]) -> None:
        """Move the last jobs, too, of the `total` that were sent: this worker may be taken away."""
        if self._leads_to_steady():
            self.tail = Tail(peers, self.count, total)

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
    return await asyncio.to_thread(_count_sent, store, layout)


def _count_sent(store: Store, layout: RunLayout) -> int:
    numbers: Sequence[int] = [number for number, _ in part_places(store, layout)]
    return sum(read_cursor(store, layout, number).sent for number in numbers)
