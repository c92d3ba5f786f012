"""What a run's workers have cost so far: the hours that they report, times the price at launch.

To this come their addresses, disks, requests, metrics and logs (see `charges`). An estimate: AWS
bills from the start of the machine, which is a little before the agent's, and spot prices move
while a machine runs. Storage in S3, transfers, and what other computers ask for are not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parallelize_core.heartbeat import Heartbeat

SECONDS_PER_HOUR = 3600


def price_key(market: str, instance_type: str, zone: str) -> str:
    """Return the name under which AgentConfig.hourly_usd has a price; market as EC2 says it.

    On-demand a type costs the same in all zones of a region.
    """
    return f"{market} {instance_type}" if market == "on-demand" else f"spot {instance_type} {zone}"


def hourly_usd(
    prices: Mapping[str, float], market: str, instance_type: str, zone: str
) -> float | None:
    """Return the price of a machine in USD an hour, or None if it is not known."""
    return prices.get(price_key(market, instance_type, zone))


@dataclass(frozen=True)
class Spent:
    """US dollars by what they were spent on; `monitoring` is metrics and logs."""

    machines: float = 0.0
    addresses: float = 0.0
    disks: float = 0.0
    requests: float = 0.0
    monitoring: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.machines + self.addresses + self.disks + self.requests + self.monitoring


def machine_usd(heartbeat: Heartbeat) -> float:
    """Return what a machine has cost until its heartbeat; nothing if its price is unknown."""
    hours = max(0.0, heartbeat.seen - heartbeat.started) / SECONDS_PER_HOUR
    return hours * (heartbeat.hourly_usd or 0.0)


def worker_usd(heartbeat: Heartbeat) -> float:
    """Return what a worker has cost until its last heartbeat, its machine and the rest."""
    beside = heartbeat.charges.total if heartbeat.charges else 0.0
    return machine_usd(heartbeat) + beside


def spent(heartbeats: Iterable[Heartbeat]) -> Spent:
    """Return what the workers have cost together, by what it was spent on."""
    beats = list(heartbeats)
    beside = [beat.charges for beat in beats if beat.charges]
    return Spent(
        machines=sum(map(machine_usd, beats)),
        addresses=sum(one.address_usd for one in beside),
        disks=sum(one.disk_usd for one in beside),
        requests=sum(one.requests_usd for one in beside),
        monitoring=sum(one.monitoring_usd for one in beside) + _metrics_usd(beats),
    )


def spent_usd(heartbeats: Iterable[Heartbeat]) -> float:
    """Return what the workers have cost together."""
    return spent(heartbeats).total


def _metrics_usd(heartbeats: Iterable[Heartbeat]) -> float:
    """Return what the run's metrics have cost: a metric is billed once, however many publish it."""
    told = [beat for beat in heartbeats if beat.charges and beat.charges.metrics_hour_usd]
    total = until = 0.0
    for beat in sorted(told, key=lambda beat: beat.started):
        new = max(0.0, beat.seen - max(beat.started, until)) / SECONDS_PER_HOUR
        total += new * (beat.charges.metrics_hour_usd if beat.charges else 0.0)
        until = max(until, beat.seen)
    return total
