"""The receive loop: takes messages for free places, and notices when the run is over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog

from parallelize_agent.job.job import Received
from parallelize_agent.job.pipeline import Pipeline
from parallelize_agent.machine import host
from parallelize_agent.notify.teller import Teller
from parallelize_agent.queue.drain import DrainRule, Step
from parallelize_agent.queue.lanes import Lanes
from parallelize_agent.queue.leases import LeaseKeeper
from parallelize_agent.queue.merging import Merging, Standing
from parallelize_agent.queue.messages import Messages
from parallelize_agent.queue.outage import Outage
from parallelize_agent.reporting.fitness import Fitness
from parallelize_agent.reporting.peers import ALL_DONE, ALL_SENT_DONE, Peers
from parallelize_agent.shutdown import Shutdown
from parallelize_core.clock import utc_now
from parallelize_core.config import AgentConfig
from parallelize_core.errors import AccessError, DecodeError, MissingError, ServiceError
from parallelize_core.job import JobMessage
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry, read_cursor, read_parts, unfinished
from parallelize_core.queue import BATCH, AsyncQueue, Message, QueueCounts
from parallelize_core.store import Store

log = structlog.get_logger()

WAIT_SECONDS = 1.0
"""How long the loop waits for a place, or after an error, before it tries again."""

MAX_ODD_ROUNDS = 10
"""After more unexpected errors than this, something is wrong with this worker."""

MIB = 2**20

NOTHING = QueueCounts(0, 0, 0)


@dataclass
class Receiver:
    """Receives until the worker shuts down.

    A poll that is under way then is awaited, and its messages are handed back: SQS leases
    messages to a poll even if nobody listens any more.
    """

    config: AgentConfig
    queue: AsyncQueue
    lanes: Lanes
    rare: Store
    keeper: LeaseKeeper
    messages: Messages
    pipeline: Pipeline
    peers: Peers
    fitness: Fitness
    outages: tuple[Outage, ...]
    shutdown: Shutdown
    work_dir: Path
    drain: DrainRule
    teller: Teller
    merging: Merging
    _refused: str = ""
    """Why the queue returns nothing, as long as it refuses or is gone."""
    _odd_rounds: int = 0

    async def run(self) -> None:
        """Receive until the decision to shut down."""
        self.drain.reset()
        while not self.shutdown.decided:
            try:
                await self._round()
            except DecodeError as error:
                # The manifest itself: nobody can tell any more when the run is over.
                self.shutdown.decide(f"{error.what}: {error.why}", error=error)
            except ServiceError as error:
                log.warning("not received", error=str(error))
                await self.shutdown.wait(WAIT_SECONDS)
            except Exception:
                self._odd_rounds += 1
                if self._odd_rounds > MAX_ODD_ROUNDS:
                    raise
                log.exception("a receive round failed")
                await self.shutdown.wait(WAIT_SECONDS)

    async def _round(self) -> None:
        places = await self._places()
        if not places:
            return
        asked = self.keeper.clock()
        messages = await self._receive(min(places, BATCH))
        for message in messages:
            await self._take(message, asked)
        if messages or self.keeper.held:
            self.drain.reset()
        elif not self.shutdown.decided:
            await self._consider_leaving()

    async def _places(self) -> int:
        """Return how many jobs may be received; waits for a while if there is no place now."""
        if self.fitness.suspect or self.fitness.sick or any(o.lasts for o in self.outages):
            self.drain.reset()
            await self.shutdown.wait(WAIT_SECONDS)
            return 0
        places = await self.pipeline.wait_for_place(WAIT_SECONDS)
        if not places or self.shutdown.decided or not await self._has_disk():
            return 0
        return places

    async def _receive(self, places: int) -> list[Message]:
        """Receive messages; a queue that refuses, or is gone, returns none."""
        config = self.config
        queue = self.outages[0]
        try:
            messages = await queue.outlast(
                lambda: self.queue.receive(places, config.poll_seconds, config.lease_seconds)
            )
        except (AccessError, MissingError) as error:
            if not self._refused:
                log.error("the queue gives nothing", error=str(error))
            self._refused = error.what
            await self.shutdown.wait(WAIT_SECONDS)
            return []
        self._refused = ""
        return messages

    async def _take(self, message: Message, asked: float) -> None:
        lease = self.keeper.hold(message, asked)
        try:
            job = self._decode(message.body)
            if message.receives > 1:
                job = job.after_interruptions(message.receives - 1)
            received = Received(job, lease, utc_now())
        except DecodeError as error:
            log.error("message rejected", message=message.id, why=error.why)
            await self.messages.reject(lease, f"{error.what}: {error.why}")
            return
        self.pipeline.add(received, self.shutdown.decided)

    def _decode(self, body: str) -> JobMessage:
        job = JobMessage.decode(body)
        if job.run != self.config.run:
            raise DecodeError("a message is on the wrong queue", body, f"its run is {job.run}")
        return job

    async def _has_disk(self) -> bool:
        free, reserve = host.free_bytes(self.work_dir), self.config.disk_reserve_bytes
        if free >= reserve:
            return True
        if not self.pipeline.size:
            error = ServiceError(
                f"the disk is full although no job is running: {free // MIB:,} MiB are free, "
                f"and {reserve // MIB:,} are kept in reserve (agent.disk_reserve)"
            )
            self.shutdown.decide(error.what, error=error)
        await self.shutdown.wait(WAIT_SECONDS)
        return False

    async def _consider_leaving(self) -> None:
        # A queue that returns nothing may as well be empty: the results show if the run is over.
        counts = NOTHING if self._refused else await self.queue.counts()
        others = {} if counts.total else await self.lanes.others()
        left = [lane for lane, found in others.items() if found.total]
        if not counts.total and not left and await self._goes_on():
            return
        step = self.drain.next_step(counts, left)
        if step is Step.GIVE_UP:
            why = f"; {self._refused}" if self._refused else ""
            self.shutdown.decide(f"idle for too long (agent.max_idle){why}")
        elif step is Step.HAND_OVER and not await self.peers.keeps_lane():
            self.shutdown.decide("other workers have the last files")
        elif step is Step.LEAVE_TO_LANE:
            # The leader, too: the workers that do these jobs will see the end of the run.
            self.shutdown.decide(f"what is left waits in another lane ({', '.join(left)})")
        elif step is Step.CHECK:
            await self._check_truth()
        if self.config.poll_seconds == 0:
            await self.shutdown.wait(WAIT_SECONDS)

    async def _goes_on(self) -> bool:
        """Enqueue the merge as soon as the leader sees the last result.

        The results tell whether it is due, so there is no need to wait for the counts to settle.
        """
        if self.merging.is_wanted and await self.peers.leads():
            return await self._puts_merge() is Standing.PUT
        return False

    async def _puts_merge(self) -> Standing:
        standing = await self.merging.put_if_due()
        if standing is Standing.PUT:
            self.drain.reset()
        return standing

    async def _check_truth(self) -> None:
        """Check whether the run is over: the leader looks, and the others follow it.

        A look lists every result. If all workers looked, that would cost more than everything else;
        so the others look only if the leader says nothing for long.
        """
        # The leader looks after several samples, so its report is newer than our first sample.
        reason = await self.peers.found_done(self.drain.empty_seconds)
        if reason:
            self.shutdown.decide(reason)
        elif await self.peers.leads():
            await self._look_for_missing(leads=True)
        elif self.drain.leader_is_late:
            await self._look_for_missing(leads=False)

    async def _look_for_missing(self, *, leads: bool) -> None:
        layout = self.config.layout
        missing = await asyncio.to_thread(missing_jobs, self.rare, layout)
        if not missing:
            await self._end(leads=leads)
        elif leads and not self._refused:
            log.warning("jobs without result or message are sent again", jobs=len(missing))
            await send_again(self.queue, self.config.run, missing)
            self.drain.reset()

    async def _end(self, *, leads: bool) -> None:
        """Leave, because no result is missing, unless the merge is still to come."""
        standing = await self._puts_merge()
        if standing is Standing.PUT:
            return
        if standing is Standing.LEFT:
            if leads and not self._refused:
                log.warning("the merge has neither result nor message, and is sent again")
                await self.merging.send_again()
                self.drain.reset()
            return
        sent = await asyncio.to_thread(all_sent, self.rare, self.config.layout)
        # Before the others hear of it and leave: one of them would have to notify people instead.
        await self.teller.tell_finished()
        self.shutdown.decide(ALL_DONE if sent else ALL_SENT_DONE)


def missing_jobs(store: Store, layout: RunLayout) -> list[Entry]:
    """Return the jobs that were sent and have no result.

    Messages expire after 14 days at most, and SQS may lose one; the manifest knows better.
    """
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
