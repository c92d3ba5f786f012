"""What a launch must know before it can be planned: plain values, however they were read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parallelize.fleet.placement import Placement
from parallelize.fleet.rates import UnitPrices

Market = Literal["spot", "on-demand"]

IMAGES_FOR = ("x86_64", "arm64")
"""The architectures of images with an agent, and of vendors' plain ones."""


@dataclass(frozen=True)
class InstanceType:
    """A machine type; memory in bytes."""

    name: str
    vcpus: int
    memory_bytes: int
    architectures: tuple[str, ...] = ("x86_64",)
    gpus: int = 0
    """NVIDIA's, the only ones that a worker gives to jobs."""

    @property
    def architecture(self) -> str:
        """The architecture of its images; types that also run 32 bits count as 64-bit."""
        return next((one for one in IMAGES_FOR if one in self.architectures), self.architectures[0])


@dataclass(frozen=True)
class Pool:
    """Machines of one type in one zone, and their price in USD an hour, if known."""

    type: InstanceType
    zone: str
    subnet: str
    spot_usd: float | None = None
    on_demand_usd: float | None = None
    by_table: bool = False
    """Whether AWS gave no on-demand price, so that any price is from the shipped table."""

    def usd(self, market: Market) -> float | None:
        """Return the price of a machine-hour in `market`, or None if it is not known."""
        return self.spot_usd if market == "spot" else self.on_demand_usd


@dataclass(frozen=True)
class Interruptions:
    """A pool's recent spot workers of a run: how many there were, and how many were interrupted."""

    type: str
    zone: str
    interrupted: int
    workers: int

    @property
    def share(self) -> float:
        """The interrupted share, from 0 to 1."""
        return self.interrupted / self.workers


@dataclass(frozen=True)
class Image:
    """A machine image; `version` is that of the agent inside, empty for a stock image."""

    id: str
    architecture: str
    root_device: str
    version: str = ""
    created: str = ""
    root_gib: int = 0
    """The size of its root snapshot, the minimum for a root volume; 0 if not known."""


@dataclass(frozen=True)
class Quota:
    """How many vCPUs of one class may run in a market at once, and how many run now."""

    code: str
    limit: int
    used: int

    @property
    def free(self) -> int:
        """How many more vCPUs may be started."""
        return max(0, self.limit - self.used)


@dataclass(frozen=True)
class Work:
    """What there is to do; only `waiting` is counted unless more is needed."""

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
    """Images for the machines that `image` does not fit."""
    absent: tuple[str, ...] = ()
    """Requested types that the region does not have."""
    security_groups: tuple[str, ...] = ()
    quotas: tuple[Quota, ...] = ()
    workers: int = 0
    """The run's workers, in any fleet."""
    loose: int = 0
    """The run's workers that are in no group."""
    spent_usd: float = 0.0
    prepared_usd: float = 0.0
    """The part of it that was paid for sending inputs and messages, before there was a worker."""
    history: tuple[Interruptions, ...] = ()
    """One for each pool that had spot workers of the run in recent hours."""
    placement: Placement | None = None
    """EC2's placement score; None if not requested."""
    prices: UnitPrices | None = None
    """Prices of everything charged besides machines; None if nothing is."""
    addresses: bool = False
    """Whether machines get public addresses in any subnet."""
    emulated: bool = False
    """Whether this is not AWS, so that nothing costs anything."""
