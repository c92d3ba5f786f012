"""What runs left behind in an account that costs money, or may again.

For `doctor`, and for `clean --dry-run` over all runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from parallelize.fleet import group as groups
from parallelize.fleet import instances, tags
from parallelize.fleet.clients import ComputeClients
from parallelize_core.aws_errors import translated
from parallelize_core.names import Names

GP3_USD_PER_GIB_MONTH = 0.08
"""In us-east-1; other regions differ by up to a half. https://aws.amazon.com/ebs/pricing/"""

HOURS_PER_MONTH = 730


@dataclass(frozen=True)
class Leftover:
    """A resource with a run's tag; `usd` is its approximate cost so far, None if not known."""

    kind: str
    id: str
    run: str
    hours: float
    usd: float | None = None


def find_leftovers(
    clients: ComputeClients,
    names: Names,
    now: datetime,
    prices: Mapping[str, float] | None = None,
) -> list[Leftover]:
    """List the machines, unattached volumes and groups of all runs of a stack, oldest first.

    `prices` are USD an hour by machine type.
    """
    every = names.of_all_runs
    found = [
        *_machines(clients, every, now, prices or {}), *_volumes(clients, every, now),
        *_groups(clients, every, now),
    ]  # fmt: skip
    return sorted(found, key=lambda one: -one.hours)


def _machines(
    clients: ComputeClients, every: Names, now: datetime, prices: Mapping[str, float]
) -> list[Leftover]:
    return [
        Leftover(
            "machine", machine.id, machine.run, hours := _hours(machine.launched, now),
            hours * prices[machine.type] if machine.type in prices else None,
        )
        for machine in instances.find(clients.ec2, every)
    ]  # fmt: skip


@translated("EC2")
def _volumes(clients: ComputeClients, every: Names, now: datetime) -> list[Leftover]:
    wanted: Any = [*tags.filters(every), {"Name": "status", "Values": ["available"]}]
    pages = clients.ec2.get_paginator("describe_volumes").paginate(Filters=wanted)
    return [_volume(item, now) for page in pages for item in page["Volumes"]]


def _volume(item: Any, now: datetime) -> Leftover:
    hours = _hours(item["CreateTime"], now)
    usd = item["Size"] * GP3_USD_PER_GIB_MONTH * hours / HOURS_PER_MONTH
    run = tags.as_dict(item.get("Tags")).get(tags.RUN, "")
    return Leftover("volume", item["VolumeId"], run, hours, usd)


def _groups(clients: ComputeClients, every: Names, now: datetime) -> list[Leftover]:
    # A group costs only its machines, which are listed separately.
    return [
        Leftover("group", group.name, every.run_of(group.name), _hours(group.created, now))
        for group in groups.find_all(clients.autoscaling, every)
    ]


def _hours(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds() / 3600)
