"""What a person asks of a launch."""

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
    """How many workers, of what kind, within which limits.

    `max_price` is in USD an hour for one worker, `max_cost` in USD for the whole run. Of the spot
    market only pools below `below` USD an hour are asked; while there is none, the plan waits.
    `on_demand` of the `count` workers are on-demand, so that the tail of a run cannot be
    interrupted; `fallback` launches on-demand what the spot market does not give. `token` makes a
    repeated execution of the same plan start nothing twice. `bundles` are the agent for
    machines from a stock image, which has none, one for each architecture. `topic` is told when
    the run's oldest message is too old; empty makes no such alarm.
    """

    count: int
    agent: AgentConfig
    token: str
    types: tuple[str, ...]
    by_requirements: bool = False
    """Whether EC2 has chosen the types; then the cheapest are enough."""
    market: Market = "spot"
    fleet: Literal["one-time", "persistent"] = "one-time"
    on_demand: int = 0
    fallback: bool = False
    autoscale: bool = False
    backlog_per_worker: int = 100
    gpus_per_job: int = 0
    """Machines with fewer are not asked for."""
    max_price: float | None = None
    below: float | None = None
    max_cost: float | None = None
    disk: Disk = field(default_factory=Disk)
    shutdown_behavior: Literal["terminate", "stop"] = "terminate"
    instance_profile: str = "parallelize-agent"
    key_name: str | None = None
    security_groups: tuple[str, ...] = ()
    """Those that workers are in besides the one that `setup` made."""
    bundles: tuple[Bundle, ...] = ()
    topic: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    force: bool = False

    @property
    def names(self) -> Names:
        """What the run that the workers serve is called in the account."""
        return self.agent.names

    @property
    def tag_list(self) -> list[Any]:
        """The tags of everything that is made for the run, as AWS takes them."""
        return fleet_tags.as_list(fleet_tags.run_tags(self.names, self.tags))


def shares(request: LaunchRequest) -> Iterator[tuple[Market, int]]:
    """Go through how many machines are wanted from which market."""
    reserved = request.count if request.market == "on-demand" else request.on_demand
    if spot := request.count - reserved:
        yield "spot", spot
    if reserved:
        yield "on-demand", reserved
