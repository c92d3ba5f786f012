"""Putting a worker together: the one place where its parts are built and passed to each other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import boto3
import structlog
from botocore.exceptions import BotoCoreError, ClientError

from parallelize_agent.job.environment import Environments
from parallelize_agent.job.preparation import Keep, Preparer
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.job.scratch import ScratchSpace
from parallelize_agent.machine import host, systemd
from parallelize_agent.machine.metadata import Metadata
from parallelize_agent.machine.root_setup import find_root_setup
from parallelize_agent.process.cgroup import JobCgroups
from parallelize_agent.process.job_users import job_users
from parallelize_agent.queue.acknowledger import Acknowledger
from parallelize_agent.queue.claims import Claims
from parallelize_agent.queue.leases import MARGIN_PER_LEASE, LeaseKeeper, LeaseTerms
from parallelize_agent.reporting.accounts import Accounts, Publisher
from parallelize_agent.reporting.cloud_log import CloudLog
from parallelize_agent.shutdown import words
from parallelize_agent.worker import Worker
from parallelize_agent.workplace import Machine, Services
from parallelize_core.clients import Clients, client_config, make_session
from parallelize_core.config import AgentConfig
from parallelize_core.cost import hourly_usd
from parallelize_core.errors import BOUNDARY_ERRORS, ParallelizeError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.queue import Queue, SQSQueue
from parallelize_core.version import VERSION

log = structlog.get_logger()

OTHER_CONNECTIONS = 8
"""For the receiver, the acknowledger, the heartbeat and the supervision."""

MAX_RENEWAL_SECONDS = 5.0
RENEWAL_ATTEMPTS = 2

LOG_TIMEOUT_SECONDS = 5.0


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


def make_worker(config: AgentConfig, instance: Instance, work_dir: Path) -> Worker:
    """Build a worker that keeps its files below `work_dir`.

    Raises UsageError if the run cannot be worked on here, MissingError if there is no such run.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    session = make_session(config.region or instance.region)
    services = _services(config, session, instance.worker)
    machine = _machine(config, services, instance, work_dir)
    # Now, and not with the first job: what is wrong with the run itself ends the worker at once.
    machine.environments.check(services.run.current())
    return Worker(config, services, machine)


def make_cloud_log(config: AgentConfig, instance: Instance) -> CloudLog | None:
    """Build the copy of this worker's log, in a stream of its own, if the configuration says so."""
    if not config.log_group:
        return None
    session = make_session(config.region or instance.region)
    prompt = client_config(read_timeout_seconds=LOG_TIMEOUT_SECONDS, attempts=2)
    client = session.client("logs", config=prompt)
    return CloudLog(client, config.log_group, f"{config.run}/{instance.worker}")


def tell_failure(config: AgentConfig, instance: Instance, error: ParallelizeError) -> None:
    """Say in S3 why there will be no worker, so that `status` can tell."""
    session = make_session(config.region or instance.region)
    heartbeat = Heartbeat(
        worker=instance.worker,
        state=WorkerState.FAILED,
        started=time.time(),
        seen=time.time(),
        interval_seconds=config.heartbeat_seconds,
        type=instance.type,
        zone=instance.zone,
        reason=words(error),
        agent_version=VERSION,
    )
    try:
        store = Clients.make(session).store(config.bucket)
        store.put(config.layout.heartbeat(instance.worker), heartbeat.encode())
    except (BotoCoreError, ClientError, *BOUNDARY_ERRORS) as unheard:
        log.warning("failure not told", error=str(unheard))


def _services(config: AgentConfig, session: boto3.Session, worker: str) -> Services:
    clients = Clients.make(session, connections=2 * config.transfers + OTHER_CONNECTIONS)
    open_store = cache(clients.store)
    records, queue = open_store(config.bucket), clients.queue(config.queue_url)
    dead_letters = clients.queue(config.dead_letter_queue_url)
    claims = Claims(records, config.layout, worker, config.lease_seconds)
    keeper = LeaseKeeper(
        _prompt_queue(config, session),
        LeaseTerms(config.lease_seconds, config.claim_after_seconds),
        claims,
        alive=lambda: systemd.watchdog(f"serving run {config.run}"),
    )
    return Services(
        queue=queue,
        dead_letters=dead_letters,
        records=records,
        open_store=open_store,
        run=RunSource(records, config.layout, config.run_refresh_seconds),
        claims=claims,
        keeper=keeper,
        acknowledger=Acknowledger(queue, keeper.release),
        accounts=Accounts(config, records, _publisher(config, session)),
    )


def _publisher(config: AgentConfig, session: boto3.Session) -> Publisher | None:
    if not config.metrics:
        return None
    return Publisher(session.client("cloudwatch", config=client_config()))


def _prompt_queue(config: AgentConfig, session: boto3.Session) -> Queue:
    """Return the queue for the keeper: a call that hangs must not let leases run out meanwhile."""
    seconds = min(MAX_RENEWAL_SECONDS, max(1.0, config.lease_seconds * MARGIN_PER_LEASE))
    client = session.client(
        "sqs", config=client_config(read_timeout_seconds=seconds, attempts=RENEWAL_ATTEMPTS)
    )
    return SQSQueue(client, config.queue_url)


def _machine(
    config: AgentConfig, services: Services, instance: Instance, work_dir: Path
) -> Machine:
    gpus = services.run.current().limits.gpus
    scratch = ScratchSpace(work_dir / "jobs", job_users())
    scratch.check()
    cgroups = JobCgroups.claim()
    preparer = Preparer(scratch, cgroups, _keeper_of_logs(services, config, instance.worker))
    return Machine(
        worker=instance.worker,
        work_dir=work_dir,
        slots=host.slot_count(config.slots, host.logical_cpus(), host.gpu_count(), gpus),
        scratch=scratch,
        environments=Environments(work_dir / "environments", services.open_store, preparer),
        cgroups=cgroups,
        root_setup=find_root_setup(config),
        type=instance.type,
        zone=instance.zone,
        hourly_usd=hourly_usd(config.hourly_usd, instance.market, instance.type, instance.zone),
    )


def _keeper_of_logs(services: Services, config: AgentConfig, worker: str) -> Keep:
    def keep(environment: str, log_file: Path) -> None:
        try:
            with log_file.open("rb") as file:
                services.records.put_file(config.layout.setup_log(worker, environment), file)
        except (BotoCoreError, ClientError, *BOUNDARY_ERRORS) as error:
            log.warning("output of the set-up not kept", error=str(error))

    return keep
