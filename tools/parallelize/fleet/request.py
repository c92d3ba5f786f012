"""What a user asks of a launch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from parallelize.fleet import tags as fleet_tags
from parallelize.fleet.disk import Disk
from parallelize.fleet.facts import Market
from parallelize.fleet.stock import Bundle
from parallelize_core.config import AgentConfig
from parallelize_core.names import Names


@dataclass(frozen=True)
class LaunchRequest:
    """How many workers to launch, of what kind, and within which limits.

    `max_price` is in USD an hour for one worker, `max_cost` in USD for the whole run. Only spot
    pools below `below` USD an hour are used; while there is none, the plan waits. `on_demand` of
    the `count` workers are on-demand, so that the end of a run cannot be interrupted; with
    `fallback`, workers that the spot market lacks are launched on-demand. With `token`, executing
    the same plan twice starts nothing twice. `bundles` has the agent for machines from a stock
    image, one bundle for each architecture. `topic` is notified when the run's oldest message is
    too old; if empty, there is no such alarm.
    """

    count: int
    agent: AgentConfig
    token: str
    types: tuple[str, ...]
    by_requirements: bool = False
    """Whether EC2 selected the types; then the cheapest are enough."""
    market: Market = "spot"
    fleet: Literal["one-time", "persistent"] = "one-time"
    on_demand: int = 0
    fallback: bool = False
    autoscale: bool = False
    backlog_per_worker: int = 100
    gpus_per_job: int = 0
    """Machines with fewer GPUs are not requested."""
    max_price: float | None = None
    below: float | None = None
    max_cost: float | None = None
    disk: Disk = field(default_factory=Disk)
    shutdown_behavior: Literal["terminate", "stop"] = "terminate"
    instance_profile: str = "parallelize-agent"
    key_name: str | None = None
    security_groups: tuple[str, ...] = ()
    """The workers' groups besides the one that `setup` made."""
    bundles: tuple[Bundle, ...] = ()
    topic: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    force: bool = False

    @property
    def names(self) -> Names:
        """The names of the run's resources in the account."""
        return self.agent.names

    @property
    def tag_list(self) -> list[Any]:
        """The tags of everything created for the run, in AWS's form."""
        return fleet_tags.as_list(fleet_tags.run_tags(self.names, self.tags))


def shares(request: LaunchRequest) -> Iterator[tuple[Market, int]]:
    """Yield how many machines are wanted in each market."""
    reserved = request.count if request.market == "on-demand" else request.on_demand
    if spot := request.count - reserved:
        yield "spot", spot
    if reserved:
        yield "on-demand", reserved
