"""What a launch has to know before it can be planned: plain values, however they were read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parallelize.fleet.placement import Placement
from parallelize.fleet.rates import UnitPrices

Market = Literal["spot", "on-demand"]

IMAGES_FOR = ("x86_64", "arm64")
"""What images with an agent, and vendors' plain ones, are made for."""


@dataclass(frozen=True)
class InstanceType:
    """A kind of machine; memory in bytes."""

    name: str
    vcpus: int
    memory_bytes: int
    architectures: tuple[str, ...] = ("x86_64",)
    gpus: int = 0
    """Of NVIDIA's, which are those that a worker gives to jobs."""

    @property
    def architecture(self) -> str:
        """What an image for it is made for; 32 bits, which some types can do as well, for none."""
        return next((one for one in IMAGES_FOR if one in self.architectures), self.architectures[0])


@dataclass(frozen=True)
class Pool:
    """Machines of one type in one zone, and what one costs there in USD an hour, if known."""

    type: InstanceType
    zone: str
    subnet: str
    spot_usd: float | None = None
    on_demand_usd: float | None = None
    by_table: bool = False
    """Whether AWS has told no on-demand price, so that one can only be of the shipped table."""

    def usd(self, market: Market) -> float | None:
        """Return the price of a machine-hour in `market`, or None if it is not known."""
        return self.spot_usd if market == "spot" else self.on_demand_usd


@dataclass(frozen=True)
class Interruptions:
    """How many of a run's spot workers in a pool were interrupted recently, and of how many."""

    type: str
    zone: str
    interrupted: int
    workers: int

    @property
    def share(self) -> float:
        """How many of them, between 0 and 1."""
        return self.interrupted / self.workers


@dataclass(frozen=True)
class Image:
    """A machine image; `version` is the agent's inside it, empty for a stock image."""

    id: str
    architecture: str
    root_device: str
    version: str = ""
    created: str = ""
    root_gib: int = 0
    """The size of its root snapshot, which no root volume may be smaller than; 0 if not known."""


@dataclass(frozen=True)
class Quota:
    """How many vCPUs of one class may run in a market at once, and how many do now."""

    code: str
    limit: int
    used: int

    @property
    def free(self) -> int:
        """How many more vCPUs may be started."""
        return max(0, self.limit - self.used)


@dataclass(frozen=True)
class Work:
    """What there is to do; without need only `waiting` is counted."""

    waiting: int
    done: int = 0
    failed: int = 0
    unsent: int = 0
    """Jobs of the manifest that were never enqueued."""
    paused: str = ""


@dataclass(frozen=True)
class Facts:
    """Everything that `plan_launch` looks at."""

    account: str
    region: str
    image: Image | None
    pools: tuple[Pool, ...]
    work: Work
    others: tuple[Image, ...] = ()
    """Images for machines that `image` is not made for."""
    absent: tuple[str, ...] = ()
    """The types that were asked for and that the region does not have."""
    security_groups: tuple[str, ...] = ()
    quotas: tuple[Quota, ...] = ()
    workers: int = 0
    """Of the run, in whatever fleet."""
    loose: int = 0
    """Those of them that are in no group."""
    spent_usd: float = 0.0
    prepared_usd: float = 0.0
    """What of it was paid for sending inputs and messages, before there was a worker."""
    history: tuple[Interruptions, ...] = ()
    """Of each pool that had spot workers of the run within some hours."""
    placement: Placement | None = None
    """EC2's placement score; None if it was not asked."""
    prices: UnitPrices | None = None
    """Prices of all that is charged besides machines; None where nothing is."""
    addresses: bool = False
    """Whether machines get public addresses in some subnet."""
    emulated: bool = False
    """Whether this is not AWS, so that nothing costs anything."""
