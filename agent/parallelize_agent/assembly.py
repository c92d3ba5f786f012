"""Putting a worker together: the one place where its parts are built and passed to each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from parallelize_agent.job.environment import Environments
from parallelize_agent.job.execute import Execute
from parallelize_agent.job.job import Decision, Job
from parallelize_agent.job.judge import Judge
from parallelize_agent.job.pipeline import Pipeline
from parallelize_agent.job.preparation import Preparer
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.job.scratch import ScratchSpace
from parallelize_agent.job.stage_in import StageIn
from parallelize_agent.job.stage_out import StageOut
from parallelize_agent.machine import host
from parallelize_agent.machine.metadata import Metadata
from parallelize_agent.machine.root_setup import NO_ROOT_SETUP, RootSetup
from parallelize_agent.process.cgroup import JobCgroups
from parallelize_agent.process.job_users import JobUsers
from parallelize_agent.queue.acknowledger import Acknowledger
from parallelize_agent.queue.claims import Claims
from parallelize_agent.queue.drain import DrainRule
from parallelize_agent.queue.leases import LeaseKeeper, LeaseTerms
from parallelize_agent.queue.messages import Messages
from parallelize_agent.queue.outage import Outage, OutlastingStore
from parallelize_agent.queue.receiver import Receiver
from parallelize_agent.reporting.circuit_breaker import CircuitBreaker
from parallelize_agent.reporting.fitness import Fitness
from parallelize_agent.reporting.heartbeat import HeartbeatWriter
from parallelize_agent.reporting.metrics import Metrics, Publish
from parallelize_agent.reporting.peers import Peers
from parallelize_agent.reporting.resource_peaks import PeakMeter, read_use
from parallelize_agent.shutdown import Shutdown
from parallelize_agent.worker import Stages, Worker
from parallelize_core.clock import boot_seconds
from parallelize_core.config import AgentConfig
from parallelize_core.cost import hourly_usd
from parallelize_core.errors import ServiceError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.queue import AsyncQueue
from parallelize_core.store import AsyncStore, Store
from parallelize_core.version import VERSION

log = structlog.get_logger()

FILE_THREADS = 4
"""For folders, large files and the environment: more would only wait for one disk."""

Notice = Callable[[], Coroutine[Any, Any, tuple[str, float]]]


@dataclass(frozen=True)
class Instance:
    """What the metadata service says of the machine; empty where there is none.

    `market` is "spot" or "on-demand"; `group_state` is empty outside an Auto Scaling group.
    """

    worker: str
    type: str = ""
    zone: str = ""
    market: str = ""
    group_state: str = ""
    region: str | None = None
    user_data: str = ""


def no_instance() -> Instance:
    """Return what is known of a machine outside EC2."""
    return Instance(host.machine_name())


def read_instance(metadata: Metadata) -> Instance:
    """Ask the metadata service; raises ServiceError if it does not answer."""
    return Instance(
        worker=metadata.get("meta-data/instance-id") or host.machine_name(),
        type=metadata.get("meta-data/instance-type") or "",
        zone=metadata.get("meta-data/placement/availability-zone") or "",
        market=metadata.get("meta-data/instance-life-cycle") or "",
        group_state=metadata.get("meta-data/autoscaling/target-lifecycle-state") or "",
        region=metadata.get("meta-data/placement/region"),
        user_data=metadata.get("user-data") or "",
    )


def identify(config: AgentConfig, instance: Instance, slots: int = 0) -> Heartbeat:
    """Return what of a worker's heartbeat never changes."""
    prices = config.hourly_usd
    return Heartbeat(
        worker=instance.worker,
        state=WorkerState.STARTING,
        started=time.time(),
        seen=time.time(),
        interval_seconds=config.heartbeat_seconds,
        slots=slots,
        type=instance.type,
        zone=instance.zone,
        agent_version=VERSION,
        hourly_usd=hourly_usd(prices, instance.market, instance.type, instance.zone),
        max_cost_usd=config.max_cost_usd,
    )


@dataclass(frozen=True)
class Assembly:
    """What a worker is made of, and how.

    `open_store` opens a bucket for the event loop, `open_rare` one for what is rare and may block;
    `publish` sends metrics, if any are sent.
    """

    config: AgentConfig
    instance: Instance
    work_dir: Path
    open_store: Callable[[str], AsyncStore]
    open_rare: Callable[[str], Store]
    queue: AsyncQueue
    dead_letters: AsyncQueue
    publish: Publish | None = None
    users: JobUsers | None = None
    cgroups: JobCgroups | None = None
    root_setup: RootSetup = NO_ROOT_SETUP
    notice: Notice | None = None
    alive: Callable[[], None] = lambda: None
    clock: Callable[[], float] = boot_seconds
    now: Callable[[], float] = time.time
    files: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(FILE_THREADS, "files")
    )

    async def worker(self) -> Worker:
        """Build a worker that keeps its files below `work_dir`.

        Raises UsageError if the run cannot be worked on here, MissingError if there is no such run.
        """
        config, layout = self.config, self.config.layout
        self.work_dir.mkdir(parents=True, exist_ok=True)
        records = self.open_store(config.bucket)
        run = RunSource(records, layout, config.run_refresh_seconds)
        current = await run.refresh()
        scratch = ScratchSpace(self.work_dir / "jobs", self.users)
        scratch.check()
        preparer = Preparer(scratch, self.cgroups, self._keep_log)
        environments = Environments(
            self.work_dir / "environments", self.open_rare, preparer, self.files
        )
        # Now, and not with the first job: what is wrong with the run itself ends the worker.
        await environments.check(current)
        slots = host.slot_count(
            config.slots, host.logical_cpus(), host.gpu_count(), current.limits.gpus
        )
        return self._connect(run, environments, scratch, slots)

    def _connect(
        self, run: RunSource, environments: Environments, scratch: ScratchSpace, slots: int
    ) -> Worker:
        config, layout, name = self.config, self.config.layout, self.instance.worker
        records, rare = self.open_store(config.bucket), self.open_rare(config.bucket)
        identity = identify(config, self.instance, slots)
        shutdown = Shutdown()
        storage = Outage("S3", lambda: records.head(layout.run_json))
        queueing = Outage("SQS", self.queue.counts)
        peers = Peers(records, layout, name)
        claims = Claims(records, layout, name, config.lease_seconds, self.now)
        terms = LeaseTerms(config.lease_seconds, config.claim_after_seconds)
        keeper = LeaseKeeper(self.queue, terms, claims, clock=self.clock, alive=self.alive)
        acknowledger = Acknowledger(self.queue, keeper.release)
        messages = Messages(self.queue, self.dead_letters, name, keeper, claims, acknowledger)
        open_patient = self._patient(storage)

        def unfit(error: ServiceError) -> None:
            shutdown.decide(error.what, 0, error, unfit=True)

        # These parts tell the worker what happens, which is put together from them.
        def changed() -> None:
            worker.heartbeat.beat()

        def settled(job: Job, decision: Decision) -> None:
            worker.settled(job, decision)

        def describe() -> Heartbeat:
            return worker.describe()

        fitness = Fitness(peers, config.max_unfit, unfit, changed)
        breaker = CircuitBreaker(
            layout,
            records,
            rare,
            self.queue,
            run,
            peers,
            in_hand=lambda: worker.pipeline.size,
            opened=lambda reason: shutdown.decide(f"the run is paused: {reason}"),
        )
        stage_in = StageIn(
            config, name, open_patient, run, claims, environments, scratch, peers, shutdown,
            self.files, host.free_bytes(self.work_dir) - config.disk_reserve_bytes,
        )  # fmt: skip
        stage_out = StageOut(
            config, name, open_patient, run, Judge(name, run, peers, fitness, breaker), messages,
            identity.hourly_usd,
        )  # fmt: skip
        execute = Execute(slots, scratch, environments.read_only, self.cgroups)
        stages = Stages(stage_in, execute, stage_out, scratch, self.files, config.later_seconds)
        pipeline = Pipeline(
            stages,
            slots,
            most_leaving=slots + config.transfers,
            settled=settled,
        )
        outages = (queueing, storage)
        receiver = Receiver(
            config, self.queue, rare, keeper, messages, pipeline, peers, fitness, outages,
            shutdown, self.work_dir, DrainRule(config),
        )  # fmt: skip
        metrics = Metrics(config, rare, self.publish)
        worker = Worker(
            config=config,
            identity=identity,
            shutdown=shutdown,
            run_source=run,
            keeper=keeper,
            acknowledger=acknowledger,
            environments=environments,
            root_setup=self.root_setup,
            execute=execute,
            scratch=scratch,
            pipeline=pipeline,
            receiver=receiver,
            breaker=breaker,
            fitness=fitness,
            outages=outages,
            heartbeat=HeartbeatWriter(
                records,
                layout,
                describe,
                config.heartbeat_seconds,
                metrics.publish_in_thread,
                last_seconds=config.interruption_margin_seconds,
            ),
            meter=PeakMeter(lambda: read_use(self.work_dir)),
            notice=self.notice,
        )
        return worker

    def _patient(self, storage: Outage) -> Callable[[str], AsyncStore]:
        pause = self.config.recovery_seconds
        return lambda bucket: OutlastingStore(self.open_store(bucket), storage, pause)

    def _keep_log(self, environment: str, log_file: Path) -> None:
        """Keep what a set-up has printed; called in a thread."""
        layout = self.config.layout
        try:
            with log_file.open("rb") as file:
                key = layout.setup_log(self.instance.worker, environment)
                self.open_rare(self.config.bucket).put_file(key, file)
        except Exception as error:
            log.warning("output of the set-up not kept", error=str(error) or repr(error))
