"""The worker: one event loop, a task for each part, and one life from start to end.

The same supervision runs while it works and while it drains: its time limit, the pause of the
run, and the parts themselves. A part that dies ends the worker in the same order as any other
reason, and is named in its last heartbeat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from parallelize_agent.container.images import Images
from parallelize_agent.gpu.equipment import Equipment
from parallelize_agent.job import fault
from parallelize_agent.job.checkpointer import Checkpointer
from parallelize_agent.job.environment import Environments
from parallelize_agent.job.execute import Execute
from parallelize_agent.job.job import Decision, DecisionKind, Job, Stage
from parallelize_agent.job.pipeline import Pipeline
from parallelize_agent.job.preparation import Keep
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.job.scratch import ScratchSpace
from parallelize_agent.machine.root_setup import RootSetup
from parallelize_agent.memory.knowledge import Knowledge
from parallelize_agent.notify.teller import Teller
from parallelize_agent.process.isolation import Container
from parallelize_agent.queue.acknowledger import Acknowledger
from parallelize_agent.queue.leases import LeaseKeeper
from parallelize_agent.queue.outage import Outage
from parallelize_agent.queue.receiver import Receiver
from parallelize_agent.reporting.circuit_breaker import CircuitBreaker
from parallelize_agent.reporting.fitness import Fitness
from parallelize_agent.reporting.heartbeat import Counts, HeartbeatWriter
from parallelize_agent.reporting.resource_peaks import PeakMeter
from parallelize_agent.reporting.segments import SegmentWriter
from parallelize_agent.shutdown import Shutdown, ShutdownReason, words
from parallelize_core.charges import Charges
from parallelize_core.clock import boot_seconds
from parallelize_core.config import AgentConfig
from parallelize_core.errors import ServiceError, UnavailableError, UsageError
from parallelize_core.heartbeat import Heartbeat, WorkerState

log = structlog.get_logger()

PREPARING = "setting up"
"""Why a worker does nothing yet."""

SUPERVISION_SECONDS = 1.0
"""How often the worker looks for a reason to shut down that nobody reports."""

REFRESH_SECONDS = 20.0
"""How long reading run.json may take before the next read is due anyway."""

IMAGE_PAUSE_SECONDS = 5.0
"""How long to wait before an unreachable registry is tried again."""

LAST_POLL_SECONDS = 5.0
"""How much longer than its own length the last poll may take."""

STORE_SECONDS = 10.0
"""How long people hear nothing of a pause while the result that caused it is being stored."""


@dataclass
class Worker:
    """One agent's life, from the first receive to the last heartbeat.

    `identity` is the part of the heartbeat that never changes. `charges` returns what the worker
    has cost besides its machine after some hours. `notice` waits for the news that the machine is
    taken away, if that can happen, and returns a reason and the seconds that are left.
    """

    config: AgentConfig
    identity: Heartbeat
    shutdown: Shutdown
    run_source: RunSource
    keeper: LeaseKeeper
    acknowledger: Acknowledger
    environments: Environments
    images: Images
    root_setup: RootSetup
    keep_log: Keep
    execute: Execute
    scratch: ScratchSpace
    pipeline: Pipeline
    knowledge: Knowledge
    checkpointer: Checkpointer
    receiver: Receiver
    breaker: CircuitBreaker
    fitness: Fitness
    outages: tuple[Outage, ...]
    heartbeat: HeartbeatWriter
    segments: SegmentWriter
    equipment: Equipment
    meter: PeakMeter
    charges: Callable[[float], Charges | None]
    teller: Teller
    notice: Callable[[], Coroutine[Any, Any, tuple[str, float]]] | None = None

    def __post_init__(self) -> None:
        self._started_clock = boot_seconds()
        self._counts = Counts()
        self._ready: float | None = None
        self._left = False
        self._draining_since: float | None = None
        self._told = WorkerState.STARTING
        # Bound once: otherwise structlog makes a logger for each job.
        self._log = log.bind()

    async def run(self) -> ShutdownReason:
        """Work until there is a reason to shut down; do so, and return the reason."""
        self.equipment.monitor.start()
        parts = [
            self._watched("lease keeper", self.keeper.run()),
            self._watched("heartbeat", self.heartbeat.run()),
            self._watched("segments", self.segments.run()),
            self._watched("supervision", self._supervise()),
            self._watched("stall meter", self.meter.watch_stalls()),
            self._watched("memory", self.knowledge.run()),
            self._watched("checkpoints", self.checkpointer.run()),
        ]
        if self.notice:
            parts.append(self._watched("notices", self._await_notice(self.notice)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
            receiving = group.create_task(self._watched("receiver", self._prepare_and_receive()))
            telling = group.create_task(self._watched("teller", self._tell_of_pause()))
            await self.shutdown.wait()
            await self._shut_down(receiving)
            await self._await_telling(telling)
            for task in (*tasks, receiving, telling):
                task.cancel()
        self._left = True
        await asyncio.gather(self._write_last_segment(), self.heartbeat.write_last())
        reason = self.shutdown.decided
        assert reason  # noqa: S101 - it is why we are here
        return reason

    async def _write_last_segment(self) -> None:
        """Write the last minute's results together; if that takes too long, each has its own."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.config.interruption_margin_seconds):
                await self.segments.write()

    async def _watched(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        """Run a part; if it dies, for any reason, the worker shuts down in order."""
        try:
            await part
        except Exception as error:
            log.exception("a part died", part=name)
            failure = ServiceError(
                f"the agent's {name} stopped working", repr(error), "see the agent's log"
            )
            self.shutdown.decide(words(failure), 0, failure)

    async def _await_notice(
        self, notice: Callable[[], Coroutine[Any, Any, tuple[str, float]]]
    ) -> None:
        reason, seconds = await notice()
        self.shutdown.decide(reason, seconds, imposed=True)

    async def _prepare_and_receive(self) -> None:
        """Make the machine and the environment ready before any job waits for them."""
        try:
            await self._set_machine_up()
            container = await self._await_image()
            await self.environments.folder(self.run_source.current, container)
        except (UsageError, UnavailableError) as error:
            self.shutdown.decide(words(error), error=error)
        except Exception as error:
            log.warning("environment not ready", error=str(error) or repr(error))
        await self.knowledge.look()
        self._ready = time.time()
        await self.receiver.run()

    async def _await_image(self) -> Container | None:
        """Fetch the run's image, even from a registry that is unreachable for a while.

        No job is received meanwhile, so none is handed back for that. Raises UnavailableError after
        `max_outage_seconds`.
        """
        deadline = boot_seconds() + self.config.max_outage_seconds
        while True:
            try:
                return await self.images.container(self.run_source.current)
            except UnavailableError as error:
                if boot_seconds() >= deadline:
                    raise
                log.warning("image not pulled", error=str(error))
            await asyncio.sleep(min(IMAGE_PAUSE_SECONDS, self.config.max_outage_seconds))

    async def _set_machine_up(self) -> None:
        try:
            await self.root_setup.wait(lambda: self.shutdown.decided is not None)
        finally:
            # After a failure, the machine, and its own log with it, is soon gone.
            if printed := self.root_setup.log:
                await asyncio.to_thread(self.keep_log, "root", printed)

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(min(SUPERVISION_SECONDS, self.config.run_refresh_seconds or 0.1))
            self.meter.look()
            self.knowledge.memory.kills.look()
            self.pipeline.look_again()
            self._look_at_gpus()
            self._look_at_limits()
            if self.run_source.is_stale:
                await self._read_run()
            self._heed_pause()
            self._tell_change()
            for job in self.pipeline.excess():
                job.stop(fault.interrupted("another worker can start it sooner"))

    def _look_at_gpus(self) -> None:
        """Leave at once if a GPU that jobs need is lost: job after job would fail there."""
        if self.equipment.allotment.per_job and (lost := self.equipment.monitor.lost):
            self.fitness.fall_sick("a GPU of this machine was lost", lost)

    def _look_at_limits(self) -> None:
        limit = self.config.max_runtime_seconds
        if limit is not None and boot_seconds() - self._started_clock >= limit:
            grace = self.config.stop_grace_seconds
            self.shutdown.decide(
                "the time limit is reached (workers.max_hours)", grace, imposed=True
            )
        for outage in self.outages:
            if outage.seconds >= self.config.max_outage_seconds:
                error = UnavailableError(
                    f"{outage.service} has been unavailable for {outage.seconds / 60:.0f} minutes",
                    outage.why,
                )
                self.shutdown.decide(error.what, 0, error)

    async def _read_run(self) -> None:
        try:
            async with asyncio.timeout(REFRESH_SECONDS):
                await self.run_source.refresh()
        except Exception as error:
            # The last one that was read still applies.
            log.warning("run.json not read", error=str(error) or repr(error))

    def _heed_pause(self) -> None:
        if paused := self.run_source.current.paused:
            self.shutdown.decide(f"the run is paused: {paused}")

    async def _tell_of_pause(self) -> None:
        await self.shutdown.wait()
        if self.run_source.current.paused:
            # The failure that paused the run is about to be stored, and belongs to the counts.
            leaving = [job.task for job in self.pipeline.jobs(Stage.LEAVING) if job.task]
            if leaving:
                await asyncio.wait(leaving, timeout=STORE_SECONDS)
            await self.teller.tell_paused()

    async def _await_telling(self, telling: asyncio.Task[None]) -> None:
        """Send the notification while there is time; if it is cut off, another worker goes on."""
        while not telling.done() and self.shutdown.time_left() != 0:
            await asyncio.wait({telling}, timeout=SUPERVISION_SECONDS)

    def _tell_change(self) -> None:
        """Send an extra heartbeat when work begins or ends: then people look at `status`."""
        state = self._state()
        if state is not self._told:
            self._told = state
            self.heartbeat.beat()

    def settled(self, job: Job, decision: Decision) -> None:
        """Record a job that has left the pipeline."""
        outcome = job.ran.outcome if job.ran else None
        self._counts.add(job.key, outcome, decision)
        if outcome:
            self.knowledge.note(job.received.message.size, outcome)
        self._log.info(
            "job settled",
            key=job.key,
            attempt=job.received.message.attempt,
            decision=decision.kind.name.lower(),
            cause=decision.cause,
            why=decision.message or None,
            seconds=outcome.usage.seconds if outcome else None,
        )
        if decision.kind is DecisionKind.SUCCEEDED:
            self.fitness.note_success()
            self.breaker.note_success()
        elif decision.setback and not decision.final:
            self.fitness.note_not_done(job.key, decision.message)

    def describe(self) -> Heartbeat:
        """Return the worker's heartbeat."""
        reason = self.shutdown.decided
        why = reason.reason if reason else PREPARING * (self._ready is None)
        error = reason.error if reason else None
        seen = time.time()
        return self.identity.model_copy(
            update={
                "state": self._state(),
                "seen": seen,
                "charges": self.charges(max(0.0, seen - self.identity.started) / 3600),
                "running": tuple(job.key for job in self.pipeline.jobs(Stage.RUNNING)),
                "done": self._counts.done,
                "failed": self._counts.failed,
                "handed_back": self._counts.handed_back,
                "busy_seconds": self._counts.busy_seconds,
                "last_failure": self._counts.last_failure,
                "reason": why or "; ".join(f"{o.service} is unavailable" for o in self._lasting()),
                "fix": (error.fix if error else None) or "",
                "ready": self._ready,
                "leaving": self._draining_since,
                "peaks": self.meter.peaks,
                "gpus": self.equipment.monitor.tell(),
                "memory": self.knowledge.tell(self.pipeline.usable_slots),
                "failed_in_row": self.fitness.failed_in_row,
                "unfit": bool(reason and reason.unfit),
            }
        )

    def _lasting(self) -> list[Outage]:
        return [outage for outage in self.outages if outage.lasts]

    def _state(self) -> WorkerState:
        reason = self.shutdown.decided
        if reason is None and self._ready is None:
            return WorkerState.STARTING
        if reason is None:
            return WorkerState.BUSY if self.pipeline.size else WorkerState.IDLE
        if not self._left:
            return WorkerState.DRAINING
        return WorkerState.FAILED if reason.error else WorkerState.LEFT

    async def _shut_down(self, receiving: asyncio.Task[None]) -> None:
        """Shut down in the only order that loses nothing; no step may take forever.

        The receiver has seen the decision; its last poll may still bring messages, so it is
        awaited before the pipeline is emptied for good. Deletes come after the results they
        follow, leases are kept until the deletes are done, and the last heartbeat comes last: it
        says that this worker cannot be counted on any more. A set-up is stopped first: the
        receiver, or a job on its way in, may be waiting for it.
        """
        self._draining_since = time.time()
        self.environments.stop()
        self.images.stop()
        self.heartbeat.beat()
        log.info("leaving", why=self.shutdown.decided and self.shutdown.decided.reason)
        self._hand_back(Stage.WAITING)
        await self._await_running()
        await asyncio.wait({receiving}, timeout=self.config.poll_seconds + LAST_POLL_SECONDS)
        self._hand_back(None)
        self.fitness.stop()
        margin = self.config.interruption_margin_seconds
        limit = self.run_source.current.limits.grace_seconds + margin
        limit += self.checkpointer.reserve_seconds
        if not await self.pipeline.wait_until_empty(limit):
            log.warning("jobs left to their leases", jobs=len(self.pipeline.jobs()))
            self.pipeline.abandon()
        await asyncio.wait({asyncio.ensure_future(self.acknowledger.finish())}, timeout=margin)
        for outage in self.outages:
            outage.stop()
        busy = {slot for job in self.pipeline.jobs(Stage.RUNNING) for slot in job.slots}
        await self.execute.close(busy, margin)
        self.images.release()
        await asyncio.to_thread(self.scratch.sweep)

    async def _await_running(self) -> None:
        """Let running jobs end while there is time; the time may become shorter meanwhile."""
        while self.pipeline.size and (left := self.shutdown.time_left()) != 0:
            pause = SUPERVISION_SECONDS if left is None else min(left, SUPERVISION_SECONDS)
            await self.pipeline.wait_until_empty(pause)
            self._hand_back(Stage.WAITING)

    def _hand_back(self, stage: Stage | None) -> None:
        reason = self.shutdown.decided.reason if self.shutdown.decided else ""
        for job in self.pipeline.jobs(stage):
            job.stop(fault.interrupted(reason))
