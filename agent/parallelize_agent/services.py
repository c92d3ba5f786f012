"""This worker's connections to AWS: S3 and SQS on the event loop, other services in threads.

boto3 is imported when another service is needed: that takes longer than the first receive.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from parallelize_agent.machine import group
from parallelize_agent.machine.metadata import Instance, Metadata
from parallelize_agent.notify.means import Means
from parallelize_agent.reporting.cloud_log import CloudLog
from parallelize_agent.reporting.metrics import Publisher
from parallelize_agent.shutdown import ShutdownReason
from parallelize_core.async_clients import AsyncClients
from parallelize_core.clients import RequestCounts
from parallelize_core.config import AgentConfig
from parallelize_core.lane import Lane
from parallelize_core.queue import AsyncQueue
from parallelize_core.registry import OpenClient
from parallelize_core.store import AsyncStore, Store
from parallelize_core.translated import translated

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_sns import SNSClient

LOG_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Connections:
    """The stores of a worker: `open_store` for the event loop, `open_rare` for threads."""

    open_store: Callable[[str], AsyncStore]
    open_rare: Callable[[str], Store]
    queue: AsyncQueue
    dead_letters: AsyncQueue
    lane_queues: Mapping[Lane, AsyncQueue]


@asynccontextmanager
async def connect(
    config: AgentConfig, instance: Instance, counts: RequestCounts, metadata: Metadata | None
) -> AsyncIterator[Connections]:
    """Open a worker's connections, which count their requests and are closed at the end."""
    region = config.region or instance.region
    read = metadata.get if metadata else None
    clients = AsyncClients.of_region(region, counts, config.terms, read)
    try:
        yield Connections(
            clients.store,
            clients.thread_store,
            clients.queue(config.queue_url),
            clients.queue(config.dead_letter_queue_url),
            {lane: clients.queue(url) for lane, url in config.lane_queue_urls.items()},
        )
    finally:
        await clients.aclose()


def open_rare(config: AgentConfig, instance: Instance) -> Store:
    """Open the run's bucket for calls that may block."""
    from parallelize_core.clients import Clients, make_session  # noqa: PLC0415 - see above

    session = make_session(config.region or instance.region)
    config.terms.install(session.events)
    return Clients.make(session).store(config.bucket)


def make_cloud_log(
    config: AgentConfig, instance: Instance, counts: RequestCounts
) -> CloudLog | None:
    """Create the copy of this worker's log, in its own stream, if the configuration says so."""
    if not config.log_group:
        return None
    client = _client(
        "logs", config, instance, counts, read_timeout_seconds=LOG_TIMEOUT_SECONDS, attempts=2
    )
    return CloudLog(client, config.log_group, f"{config.run}/{instance.worker}")


def make_publisher(
    config: AgentConfig, instance: Instance, counts: RequestCounts
) -> Publisher | None:
    """Create what sends metrics, if the configuration says so."""
    if not config.metrics:
        return None
    return Publisher(lambda: _client("cloudwatch", config, instance, counts), config.names.metrics)


def opener(config: AgentConfig, instance: Instance, counts: RequestCounts) -> OpenClient:
    """Return what creates a service's client in a region other than the worker's own."""

    def open_client(service: str, region: str) -> Any:
        there = config.model_copy(update={"region": region or config.region})
        return _client(service, there, instance, counts)

    return open_client


def find_means(config: AgentConfig, instance: Instance, counts: RequestCounts) -> Means:
    """Return the ways to notify people; nothing is opened before there is a notification."""

    def publish(topic: str, subject: str, text: str) -> None:
        with translated("SNS"):
            client: SNSClient = _client("sns", config, instance, counts)
            client.publish(TopicArn=topic, Subject=subject, Message=text)

    host = urlsplit(os.environ.get("AWS_ENDPOINT_URL") or "").hostname
    return Means(publish, is_local=host in {"127.0.0.1", "::1", "localhost"})


def leave_group(config: AgentConfig, instance: Instance, reason: ShutdownReason) -> None:
    """Leave the Auto Scaling group, so that this worker is not replaced.

    An unfit worker may be replaced, unless too many were unfit before it: then the run is at fault.
    """
    autoscaling: AutoScalingClient = _client("autoscaling", config, instance, RequestCounts())
    records, layout, worker = open_rare(config, instance), config.layout, instance.worker
    if reason.unfit and group.may_be_replaced(records, layout, worker):
        return
    failed = reason.error is not None

    def should_rest() -> bool:
        return group.should_rest(records, layout, worker, failed=failed)

    group.hold(autoscaling, config.names.group, should_rest)
    group.leave(autoscaling, worker)


def _client(
    service: str, config: AgentConfig, instance: Instance, counts: RequestCounts, **limits: Any
) -> Any:
    from parallelize_core.clients import client_config, make_session  # noqa: PLC0415 - see above

    session = make_session(config.region or instance.region)
    client = session.client(service, config=client_config(**limits))  # type: ignore[call-overload]
    counts.watch(client)
    return client
