"""What this machine is, as the metadata service says it, and as its heartbeat does."""

from __future__ import annotations

import time
from dataclasses import dataclass

from parallelize_agent.machine import host
from parallelize_agent.machine.group import STATE_PATH
from parallelize_agent.machine.metadata import Metadata
from parallelize_core.config import AgentConfig
from parallelize_core.cost import hourly_usd
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.version import VERSION


@dataclass(frozen=True)
class Instance:
    """What the metadata service says of the machine; empty where there is none.

    `market` is "spot" or "on-demand"; `group_state` is empty outside an Auto Scaling group.
    `has_address` says whether it has a public IPv4 address, which costs something.
    """

    worker: str
    type: str = ""
    zone: str = ""
    market: str = ""
    group_state: str = ""
    region: str | None = None
    has_address: bool = False
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
        group_state=metadata.get(STATE_PATH) or "",
        region=metadata.get("meta-data/placement/region"),
        has_address=bool(metadata.get("meta-data/public-ipv4")),
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
        market=instance.market,
        agent_version=VERSION,
        hourly_usd=hourly_usd(prices, instance.market, instance.type, instance.zone),
        max_cost_usd=config.max_cost_usd,
        lane=config.lane,
    )
