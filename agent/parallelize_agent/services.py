"""This worker's connections to AWS: S3 and SQS for the event loop, everything rare in threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from parallelize_agent.assembly import Instance
from parallelize_agent.machine import group
from parallelize_agent.reporting.cloud_log import CloudLog
from parallelize_agent.reporting.metrics import Publisher
from parallelize_agent.shutdown import ShutdownReason
from parallelize_core.async_clients import AsyncClients
from parallelize_core.clients import Clients, client_config, make_session
from parallelize_core.config import AgentConfig
from parallelize_core.layout import group_name
from parallelize_core.queue import AsyncQueue
from parallelize_core.store import AsyncStore, Store

if TYPE_CHECKING:
    import boto3

LOG_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Connections:
    """What a worker uses: `open_store` for the event loop, `open_rare` for threads."""

    open_store: Callable[[str], AsyncStore]
    open_rare: Callable[[str], Store]
    queue: AsyncQueue
    dead_letters: AsyncQueue


@asynccontextmanager
async def connect(config: AgentConfig, instance: Instance) -> AsyncIterator[Connections]:
    """Open the connections of a worker; they are closed at the end."""
    session = _session(config, instance)
    clients = AsyncClients(session)
    rare = cache(lambda bucket: Clients.make(session).store(bucket))
    try:
        yield Connections(
            cache(clients.store),
            rare,
            clients.queue(config.queue_url),
            clients.queue(config.dead_letter_queue_url),
        )
    finally:
        await clients.aclose()


def open_rare(config: AgentConfig, instance: Instance) -> Store:
    """Open the run's bucket for calls that may block."""
    return Clients.make(_session(config, instance)).store(config.bucket)


def make_cloud_log(config: AgentConfig, instance: Instance) -> CloudLog | None:
    """Build the copy of this worker's log, in a stream of its own, if the configuration says so."""
    if not config.log_group:
        return None
    prompt = client_config(read_timeout_seconds=LOG_TIMEOUT_SECONDS, attempts=2)
    client = _session(config, instance).client("logs", config=prompt)
    return CloudLog(client, config.log_group, f"{config.run}/{instance.worker}")


def make_publisher(config: AgentConfig, instance: Instance) -> Publisher | None:
    """Build what sends metrics, if the configuration says so."""
    if not config.metrics:
        return None
    return Publisher(_session(config, instance).client("cloudwatch", config=client_config()))


def leave_group(config: AgentConfig, instance: Instance, reason: ShutdownReason) -> None:
    """Leave the Auto Scaling group, so that nothing takes this worker's place.

    A worker that is unfit may be replaced, unless so many were before it that the run is at fault.
    """
    autoscaling = _session(config, instance).client("autoscaling", config=client_config())
    records, layout, worker = open_rare(config, instance), config.layout, instance.worker
    if reason.unfit and group.may_be_replaced(records, layout, worker):
        return
    failed = reason.error is not None

    def should_rest() -> bool:
        return group.should_rest(records, layout, worker, failed=failed)

    group.hold(autoscaling, group_name(config.run), should_rest)
    group.leave(autoscaling, worker)


def _session(config: AgentConfig, instance: Instance) -> boto3.Session:
    return make_session(config.region or instance.region)
