"""Assembles a worker: the one place where its parts are created and connected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from parallelize_agent.container.images import Images
from parallelize_agent.gpu import cdi
from parallelize_agent.gpu.equipment import Equipment
from parallelize_agent.gpu.monitor import Monitor, monitor_of_machine
from parallelize_agent.job.checkpointer import Checkpointer
from parallelize_agent.job.checkpoints import Checkpoints
from parallelize_agent.job.environment import Environments
from parallelize_agent.job.execute import Execute
from parallelize_agent.job.job import Decision, Job, Stage
from parallelize_agent.job.judge import Judge
from parallelize_agent.job.pipeline import Pipeline, Stages
from parallelize_agent.job.preparation import Preparer, store_printed
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.job.scratch import ScratchSpace
from parallelize_agent.job.stage_in import StageIn
from parallelize_agent.job.stage_out import StageOut
from parallelize_agent.machine import host
from parallelize_agent.machine.metadata import Instance, identify
from parallelize_agent.machine.root_setup import NO_ROOT_SETUP, RootSetup
from parallelize_agent.memory.admission import Memory, memory_of_machine
from parallelize_agent.memory.knowledge import Knowledge
from parallelize_agent.notify.command import CommandRunner
from parallelize_agent.notify.means import NO_MEANS, Means, Senders
from parallelize_agent.notify.teller import Teller
from parallelize_agent.process.capture import Kept
from parallelize_agent.process.cgroup import JobCgroups
from parallelize_agent.process.job_users import JobUsers
from parallelize_agent.queue.acknowledger import Acknowledger
from parallelize_agent.queue.claims import Claims
from parallelize_agent.queue.drain import DrainRule
from parallelize_agent.queue.lanes import Lanes, count_sent
from parallelize_agent.queue.leases import LeaseKeeper, LeaseTerms
from parallelize_agent.queue.merging import Merging
from parallelize_agent.queue.messages import Messages
from parallelize_agent.queue.outage import Outage, OutlastingStore
from parallelize_agent.queue.receiver import Receiver
from parallelize_agent.reporting.circuit_breaker import CircuitBreaker
from parallelize_agent.reporting.fitness import Fitness
from parallelize_agent.reporting.heartbeat import HeartbeatWriter
from parallelize_agent.reporting.metrics import Metrics, Publish
from parallelize_agent.reporting.pauser import Pauser
from parallelize_agent.reporting.peers import Peers
from parallelize_agent.reporting.resource_peaks import PeakMeter, read_use
from parallelize_agent.reporting.segments import SegmentWriter
from parallelize_agent.reporting.silence import SilenceBreaker
from parallelize_agent.shutdown import Shutdown, words
from parallelize_agent.worker import Worker
from parallelize_core.charges import Charges, charges
from parallelize_core.clients import RequestCounts
from parallelize_core.clock import boot_seconds
from parallelize_core.config import AgentConfig
from parallelize_core.errors import ServiceError, UnavailableError
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.lane import Lane
from parallelize_core.queue import AsyncQueue
from parallelize_core.registry import OpenClient
from parallelize_core.store import AsyncStore, Store

FILE_THREADS = 4
"""For folders, large files and the environment: more would only wait for one disk."""

Notice = Callable[[], Coroutine[Any, Any, tuple[str, float]]]


@dataclass(frozen=True)
class Assembly:
    """What a worker consists of, and how to build it.

    `open_store` opens a bucket for the event loop; `open_rare` opens one for rare, blocking calls.
    `open_client` creates a client for another service in a region; `publish` sends metrics, if
    wanted; `means` are the ways to notify people. `counts` counts this process's requests.
    `lane_queues` are the queues of all lanes, if the run has more than one.
    """

    config: AgentConfig
    instance: Instance
    work_dir: Path
    open_store: Callable[[str], AsyncStore]
    open_rare: Callable[[str], Store]
    open_client: OpenClient
    queue: AsyncQueue
    dead_letters: AsyncQueue
    lane_queues: Mapping[Lane, AsyncQueue] = field(default_factory=dict)
    publish: Publish | None = None
    means: Means = NO_MEANS
    counts: RequestCounts = field(default_factory=RequestCounts)
    users: JobUsers | None = None
    cgroups: JobCgroups | None = None
    root_setup: RootSetup = NO_ROOT_SETUP
    notice: Notice | None = None
    alive: Callable[[], None] = lambda: None
    clock: Callable[[], float] = boot_seconds
    now: Callable[[], float] = time.time
    memory: Memory = field(default_factory=memory_of_machine)
    gpus: Monitor = field(default_factory=monitor_of_machine)
    cdi_folders: Sequence[Path] = cdi.FOLDERS
    files: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(FILE_THREADS, "files")
    )

    async def worker(self) -> Worker:
        """Build a worker that keeps its files below `work_dir`; call this once.

        Waits out an outage of S3. Raises UsageError if the run cannot be worked on here,
        MissingError if there is no such run, UnavailableError after `max_outage_seconds`.
        """
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self._scratch.check()
        try:
            async with asyncio.timeout(self.config.max_outage_seconds):
                run = await self._storage.outlast(lambda: self._run.first(self.config))
                # Now rather than with the first job: an error in the run itself ends the worker.
                await self._storage.outlast(lambda: self._environments.check(run))
        except TimeoutError:
            why = self._storage.why
            raise UnavailableError("S3 has been unavailable since the start", why) from None
        return self._put_together(Equipment.of(self.gpus, run, self.cdi_folders))

    def _put_together(self, equipment: Equipment) -> Worker:
        config = self.config
        slots = equipment.slots(host.slot_count(config.slots, host.logical_cpus()))
        execute = Execute(
            slots, self._scratch, self._environments.read_only, self.cgroups, equipment
        )
        identity = identify(config, self.instance, slots)

        # The parts report to the worker, which is itself made of them.
        def settled(job: Job, decision: Decision) -> None:
            worker.settled(job, decision)

        def describe() -> Heartbeat:
            return worker.describe()

        heartbeat = self._heartbeat(describe)
        fitness = Fitness(self._peers, config.max_unfit, self._end_as_unfit, heartbeat.beat)
        pauser = self._pauser(lambda: worker.pipeline.size)
        breaker = self._breaker(pauser)
        segments = SegmentWriter(
            self._records, config.layout, identity.worker, int(identity.started * 1000)
        )
        judge = self._judge(fitness, breaker, pauser)
        stage_out = self._stage_out(judge, identity.hourly_usd, segments)
        knowledge = self._knowledge()
        stages = self._stages(execute, stage_out, knowledge)
        pipeline = Pipeline(stages, slots, slots + config.transfers, settled, knowledge.memory)
        worker = Worker(
            config=config,
            identity=identity,
            shutdown=self._shutdown,
            run_source=self._run,
            keeper=self._keeper,
            acknowledger=self._acknowledger,
            environments=self._environments,
            images=self._images,
            root_setup=self.root_setup,
            keep_log=self._keep_log,
            execute=execute,
            scratch=self._scratch,
            pipeline=pipeline,
            knowledge=knowledge,
            checkpointer=self._checkpointer(pipeline),
            receiver=self._receiver(pipeline, fitness),
            breaker=breaker,
            fitness=fitness,
            outages=self._outages,
            heartbeat=heartbeat,
            segments=segments,
            equipment=equipment,
            meter=PeakMeter(lambda: read_use(self.work_dir)),
            charges=self._charges,
            teller=self._teller,
            notice=self.notice,
        )
        return worker

    def _heartbeat(self, describe: Callable[[], Heartbeat]) -> HeartbeatWriter:
        config = self.config
        return HeartbeatWriter(
            self._records,
            config.layout,
            describe,
            config.heartbeat_seconds,
            Metrics(config, self._rare, self.publish).publish_in_thread,
            last_seconds=config.interruption_margin_seconds,
        )

    # What several parts share, each made once.

    @cached_property
    def _records(self) -> AsyncStore:
        return self.open_store(self.config.bucket)

    @cached_property
    def _rare(self) -> Store:
        return self.open_rare(self.config.bucket)

    @cached_property
    def _run(self) -> RunSource:
        return RunSource(self._records, self.config.layout, self.config.run_refresh_seconds)

    @cached_property
    def _shutdown(self) -> Shutdown:
        return Shutdown()

    @cached_property
    def _scratch(self) -> ScratchSpace:
        return ScratchSpace(self.work_dir / "jobs", self.users)

    @cached_property
    def _environments(self) -> Environments:
        return Environments(
            self.work_dir / "environments", self.open_rare, self._preparer, self.files
        )

    @cached_property
    def _images(self) -> Images:
        return Images.of_machine(
            self.work_dir,
            self.open_rare,
            self.open_client,
            self._preparer,
            self.files,
            self.config.disk_reserve_bytes,
        )

    @cached_property
    def _preparer(self) -> Preparer:
        return Preparer(self._scratch, self.cgroups, self._keep_log)

    @cached_property
    def _storage(self) -> Outage:
        return Outage("S3", lambda: self._records.head(self.config.layout.run_json))

    @cached_property
    def _outages(self) -> tuple[Outage, Outage]:
        return Outage("SQS", self.queue.counts), self._storage

    @cached_property
    def _peers(self) -> Peers:
        config = self.config
        return Peers(self._records, config.layout, self.instance.worker, lane=config.lane)

    @cached_property
    def _lanes(self) -> Lanes:
        queues = {**self.lane_queues, self.config.lane: self.queue}
        lanes = Lanes(self.config.lane, queues)
        if self.instance.market == "spot":
            start, layout = self.config.steady_start, self.config.layout
            lanes.watch_tail(self._peers, lambda: count_sent(self._rare, layout), start)
        return lanes

    @cached_property
    def _claims(self) -> Claims:
        config, name = self.config, self.instance.worker
        return Claims(self._records, config.layout, name, config.lease_seconds, self.now)

    @cached_property
    def _teller(self) -> Teller:
        command = CommandRunner(self._scratch, self._environments.read_only, self.cgroups)
        send = Senders(self._environments, command, self.means)
        own = self.config, self.instance.worker
        return Teller(*own, self._records, self._rare, self._run, send, self.means)

    @cached_property
    def _keeper(self) -> LeaseKeeper:
        terms = LeaseTerms(self.config.lease_seconds, self.config.claim_after_seconds)
        return LeaseKeeper(self.queue, terms, self._claims, clock=self.clock, alive=self.alive)

    @cached_property
    def _acknowledger(self) -> Acknowledger:
        return Acknowledger(self.queue, self._keeper.release)

    @cached_property
    def _messages(self) -> Messages:
        own = self.instance.worker, self._keeper, self._claims, self._acknowledger
        return Messages(self._lanes, self.dead_letters, *own)

    @cached_property
    def _checkpoints(self) -> Checkpoints:
        store, name = self._open_patient(self.config.bucket), self.instance.worker
        return Checkpoints(store, self.config.layout, name, self.files)

    def _checkpointer(self, pipeline: Pipeline) -> Checkpointer:
        return Checkpointer(lambda: pipeline.jobs(Stage.RUNNING), self._checkpoints, self._shutdown)

    def _judge(self, fitness: Fitness, breaker: CircuitBreaker, pauser: Pauser) -> Judge:
        name, layout = self.instance.worker, self.config.layout
        silence = SilenceBreaker(layout, self._open_patient(self.config.bucket), pauser)
        return Judge(name, self._run, self._peers, fitness, breaker, silence, self._lanes)

    def _stages(self, execute: Execute, stage_out: StageOut, knowledge: Knowledge) -> Stages:
        own = self._scratch, self.files, self.config.later_seconds, knowledge.memory.kills
        return Stages(self._stage_in(), execute, stage_out, *own)

    def _stage_in(self) -> StageIn:
        return StageIn(
            self.config,
            self.instance.worker,
            self._open_patient,
            self._run,
            self._claims,
            self._environments,
            self._images,
            self._scratch,
            self._peers,
            self._shutdown,
            self.files,
            asyncio.Semaphore(self.config.transfers),
            host.free_bytes(self.work_dir) - self.config.disk_reserve_bytes,
            self._lanes,
            self._checkpoints,
        )

    def _stage_out(
        self, judge: Judge, hourly_usd: float | None, segments: SegmentWriter
    ) -> StageOut:
        return StageOut(
            self.config,
            self.instance.worker,
            self._open_patient,
            self._run,
            judge,
            self._messages,
            asyncio.Semaphore(self.config.transfers),
            hourly_usd,
            file=segments.add,
            checkpoints=self._checkpoints,
        )

    def _pauser(self, in_hand: Callable[[], int]) -> Pauser:
        return Pauser(
            self.config.layout,
            self._rare,
            self._lanes,
            self._run,
            in_hand,
            opened=lambda reason: self._shutdown.decide(f"the run is paused: {reason}"),
        )

    def _breaker(self, pauser: Pauser) -> CircuitBreaker:
        layout = self.config.layout
        return CircuitBreaker(layout, self._records, self._run, self._peers, pauser)

    def _receiver(self, pipeline: Pipeline, fitness: Fitness) -> Receiver:
        return Receiver(
            self.config,
            self.queue,
            self._lanes,
            self._rare,
            self._keeper,
            self._messages,
            pipeline,
            self._peers,
            fitness,
            self._outages,
            self._shutdown,
            self.work_dir,
            DrainRule(self.config),
            self._teller,
            Merging(self.config, self.queue, self._records, self._rare, self._run),
        )

    def _knowledge(self) -> Knowledge:
        return Knowledge(
            self.memory,
            lambda: self._run.current.limits.memory_bytes or 0,
            self._peers.memory_peaks,
            self.config.heartbeat_seconds,
        )

    @cached_property
    def _open_patient(self) -> Callable[[str], AsyncStore]:
        outage, pause = self._storage, self.config.recovery_seconds
        return cache(lambda bucket: OutlastingStore(self.open_store(bucket), outage, pause))

    def _end_as_unfit(self, error: ServiceError) -> None:
        self._shutdown.decide(words(error), 0, error, unfit=True)

    def _charges(self, hours: float) -> Charges | None:
        """Return what this worker has cost besides its machine, None if no rates are known."""
        rates, has_address = self.config.rates, self.instance.has_address
        return charges(rates, self.counts, hours, has_address=has_address) if rates else None

    def _keep_log(self, environment: str, printed: Kept) -> None:
        """Store what a set-up printed; called in a thread."""
        key = self.config.layout.setup_log(self.instance.worker, environment)
        store_printed(self.open_rare(self.config.bucket), key, printed)
