"""What AWS charges for a worker besides its machine: address, disk, requests, metrics and log.

Rates are in US dollars. For monthly prices, a month has 730 hours.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from parallelize_core.clients import RequestCounts
from parallelize_core.record import Contract

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
