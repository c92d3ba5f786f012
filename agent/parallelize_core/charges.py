"""What AWS charges for a worker besides its machine: address, disk, requests, metrics and log.

Rates are in US dollars. For monthly prices, a month has 730 hours.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from parallelize_core.record import Contract

SQS_CHUNK_BYTES = 64 * 1024
"""Each started chunk of a payload is charged as a request: https://aws.amazon.com/sqs/pricing/"""

GB = 10**9


class Rates(BaseModel):
    """The price of one of each, as `launch` found it.

    `address_hour` is for a public IPv4 address, `disk_hour` for the root volume of this launch,
    `metrics_hour` for all the names of metrics that a run's workers publish together. `prepared` is
    what was paid before the launch for sending the run's inputs and messages. The others are for
    one request, and for a GB of log.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    address_hour: float = Field(default=0, ge=0)
    disk_hour: float = Field(default=0, ge=0)
    metrics_hour: float = Field(default=0, ge=0)
    s3_write: float = Field(default=0, ge=0)
    s3_read: float = Field(default=0, ge=0)
    sqs: float = Field(default=0, ge=0)
    metrics_call: float = Field(default=0, ge=0)
    log_gb: float = Field(default=0, ge=0)
    prepared: float = Field(default=0, ge=0)


class Charges(Contract):
    """What a worker has cost besides its machine until its heartbeat, in USD.

    `metrics_hour_usd` is what its run's metrics cost in each hour in which any number of workers
    publishes them; it is not part of `total`.
    """

    address_usd: float = 0.0
    disk_usd: float = 0.0
    requests_usd: float = 0.0
    monitoring_usd: float = 0.0
    metrics_hour_usd: float = 0.0

    @property
    def total(self) -> float:
        """All of this worker's own."""
        return self.address_usd + self.disk_usd + self.requests_usd + self.monitoring_usd


@dataclass
class RequestCounts:
    """The requests that a process has sent to AWS, every attempt, by their price."""

    s3_writes: int = 0
    s3_reads: int = 0
    sqs: int = 0
    metrics: int = 0
    log_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, service: str, method: str, query: str, size: int) -> None:
        """Count a request to a service, as botocore calls it, with a body of `size` bytes."""
        with self._lock:
            if service == "s3":
                self._count_s3(method, query)
            elif service == "sqs":
                self.sqs += 1 + size // SQS_CHUNK_BYTES
            elif service == "cloudwatch":
                self.metrics += 1
            elif service == "cloudwatch-logs":
                self.log_bytes += size

    def _count_s3(self, method: str, query: str) -> None:
        """https://aws.amazon.com/s3/pricing/: deletions are free, listings cost as much as PUT."""
        if method == "DELETE" or query.startswith("delete"):
            return
        if method in {"GET", "HEAD"} and "list-type=" not in query:
            self.s3_reads += 1
        else:
            self.s3_writes += 1

    def watch(self, client: Any) -> None:
        """Count what a client of boto3 or botocore sends from now on."""
        client.meta.events.register("before-send", self._before_send)

    def _before_send(self, request: Any, event_name: str, **_: object) -> None:
        service = event_name.split(".")[1]
        body = request.body
        size = len(body) if service != "s3" and isinstance(body, bytes | str) else 0
        self.count(service, request.method, urlsplit(request.url).query, size)


def charges(rates: Rates, counts: RequestCounts, hours: float, *, has_address: bool) -> Charges:
    """Return what a worker that is `hours` old has cost beside its machine."""
    return Charges(
        address_usd=rates.address_hour * hours if has_address else 0.0,
        disk_usd=rates.disk_hour * hours,
        requests_usd=rates.s3_write * counts.s3_writes
        + rates.s3_read * counts.s3_reads
        + rates.sqs * counts.sqs,
        monitoring_usd=rates.metrics_call * counts.metrics + rates.log_gb * counts.log_bytes / GB,
        metrics_hour_usd=rates.metrics_hour if counts.metrics else 0.0,
    )
