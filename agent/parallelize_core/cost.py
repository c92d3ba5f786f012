"""What the workers of a run have cost so far: hours alive, as they say, times the price at launch.

An estimate: AWS bills from the start of the machine, which is a little before the agent's, and
spot prices move while a machine runs. Volumes, requests and transfers are not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def worker_usd(heartbeat: Heartbeat) -> float:
    """Return what a worker has cost until its last heartbeat; nothing if its price is unknown."""
    hours = max(0.0, heartbeat.seen - heartbeat.started) / SECONDS_PER_HOUR
    return hours * (heartbeat.hourly_usd or 0.0)


def spent_usd(heartbeats: Iterable[Heartbeat]) -> float:
    """Return what the workers have cost together."""
    return sum(map(worker_usd, heartbeats))
