"""A launch as data, computed from the request and the facts before anything is created."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parallelize.fleet import quotas, stock, tags
from parallelize.fleet.disk import Disk
from parallelize.fleet.facts import Facts, Image, Interruptions, Market, Pool, Quota, Work
from parallelize.fleet.group import group_request
from parallelize.fleet.machine_table import untold
from parallelize.fleet.placement import Placement
from parallelize.fleet.pool_choice import (
    Asked,
    Dear,
    asked_pools,
    by_image,
    fitting,
    too_dear,
    too_few_gpus,
    unfit,
)
from parallelize.fleet.rates import UnitPrices
from parallelize.fleet.refusals import check_request, check_work
from parallelize.fleet.request import LaunchRequest, shares
from parallelize.fleet.template import disk_of, fleet_request, launch_template
from parallelize_core.config import AgentConfig
from parallelize_core.cost import price_key
from parallelize_core.errors import CapacityError, LimitError, UsageError

MIN_USEFUL_HOURS = 0.25
"""Workers that reach the cost limit sooner than this do little more than boot."""


@dataclass(frozen=True)
class FleetPlan:
    """One CreateFleet call, and the launch templates it starts from.

    Each template is for one image, and for the part of the request at the same index.
    """

    market: Market
    count: int
    templates: tuple[dict[str, Any], ...]
    body: dict[str, Any]


@dataclass(frozen=True)
class Beside:
    """What is charged besides a launch's machines, in USD an hour for all of them.

    `source` says where the prices are from.
    """

    addresses: float
    disks: float
    source: str


@dataclass(frozen=True)
class GroupPlan:
    """An Auto Scaling group, and the launch templates it starts from.

    `of_type` is the index of each type's template; the first template is the group's own.
    """

    templates: tuple[dict[str, Any], ...]
    of_type: dict[str, int]
    body: dict[str, Any]


@dataclass(frozen=True)
class LaunchPlan:
    """What `execute` will do: create a `group`, or `fleets` in order and then `fallback`."""

    request: LaunchRequest
    region: str
    images: tuple[Image, ...]
    """One per architecture of the pools, that of the cheapest pool first."""
    pools: tuple[Pool, ...]
    """All pools that are asked in any market, cheapest first."""
    quotas: tuple[Quota, ...]
    security_groups: tuple[str, ...]
    """The workers' groups; empty for the VPC's default group."""
    absent: tuple[str, ...]
    """Requested types that the region does not have."""
    unfit: tuple[str, ...]
    """Types whose architecture has no image."""
    too_few_gpus: tuple[str, ...]
    """Types that have fewer GPUs than a job needs."""
    user_data: str
    """For machines from the first image."""
    fleets: tuple[FleetPlan, ...]
    fallback: FleetPlan | None
    group: GroupPlan | None
    hourly_usd: tuple[float, float] | None
    """What the machines cost an hour in the cheapest and the dearest pool; None if unknown."""
    beside: Beside | None
    """What their addresses and disks cost; None if nothing is charged."""
    dear: Dear | None
    """The price that must fall before anything starts; None if none."""
    left_out: tuple[Interruptions, ...]
    """Why spot pools that could be asked are not."""
    placement: Placement | None
    """How likely the spot market is to have the machines; None if EC2 was not asked."""


@dataclass(frozen=True)
class _Calls:
    """The bodies of the calls that start workers; the request's agent knows the prices."""

    facts: Facts
    request: LaunchRequest
    asked: Asked
    images: tuple[Image, ...]

    def fleet(self, market: Market, count: int, purpose: str) -> FleetPlan:
        some = by_image(self.asked[market], self.images)
        wanted = {image: pools for image, pools in some.items() if pools}
        body = fleet_request(self.request, market, count, list(wanted.values()), purpose)
        return FleetPlan(market, count, self._templates(market, wanted), body)

    def group(self, pools: Sequence[Pool]) -> GroupPlan:
        groups = by_image(pools, self.images)
        order = {pool.type.name: n for n, some in enumerate(groups.values()) for pool in some}
        body = _group_body(self.request, pools, self.facts.work)
        return GroupPlan(self._templates(None, groups), order, body)

    def _templates(
        self, market: Market | None, images: Iterable[Image]
    ) -> tuple[dict[str, Any], ...]:
        groups = self.facts.security_groups
        return tuple(
            launch_template(self.request, image, groups, market, self.user_data(image))
            for image in images
        )

    def user_data(self, image: Image) -> str:
        return _user_data(self.request, self.request.agent, image)


def plan_launch(facts: Facts, request: LaunchRequest) -> LaunchPlan:
    """Return the plan for a launch.

    Raises NothingToDoError for an empty queue, UsageError for a request that makes no sense or
    names what does not exist, CapacityError above the quota, LimitError above the cost limit.
    """
    check_request(request)
    check_work(facts, request)
    pools, images = fitting(facts, request)
    disk = _largest_disk(request, images)
    disk.check()
    asked, left_out = asked_pools(facts, request, pools)
    check_quota(facts, request, asked)
    price = hourly_usd(request, asked)
    check_prices(facts, request, pools)
    check_below(facts, request, asked["spot"])
    charged = None if facts.emulated else facts.prices
    beside = _beside(facts, request, disk, charged) if charged else None
    check_cost(facts, request, price, beside)
    known = {
        "hourly_usd": price_table(pools), "fleet": request.fleet,
        "rates": charged.rates(disk, facts.prepared_usd) if charged else None,
    }  # fmt: skip
    agent = request.agent.model_copy(update=known)

    calls = _Calls(facts, replace(request, agent=agent), asked, images)
    persistent = request.fleet == "persistent"
    return LaunchPlan(
        request,
        facts.region,
        images,
        _shown(request, asked),
        facts.quotas,
        facts.security_groups,
        facts.absent,
        unfit(facts, images),
        too_few_gpus(facts, request),
        calls.user_data(images[0]),
        fleets=()
        if persistent
        else tuple(calls.fleet(market, count, market) for market, count in shares(request)),
        fallback=calls.fleet("on-demand", request.count, "fallback") if request.fallback else None,
        group=calls.group(pools) if persistent else None,
        hourly_usd=price,
        beside=beside,
        dear=too_dear(asked["spot"], request.below),
        left_out=left_out,
        placement=facts.placement,
    )


def _shown(request: LaunchRequest, asked: Asked) -> tuple[Pool, ...]:
    markets = [market for market, _ in shares(request)]
    return tuple(asked["spot" if markets == ["spot"] and not request.fallback else "on-demand"])


def _beside(facts: Facts, request: LaunchRequest, disk: Disk, charged: UnitPrices) -> Beside:
    addresses = request.count * charged.address_hour if facts.addresses else 0.0
    return Beside(addresses, request.count * charged.disk_hour(disk), charged.source)


def price_table(pools: Sequence[Pool]) -> dict[str, float]:
    """Return the prices as the agent's configuration has them.

    A pool with an unknown price counts as the dearest: the cost limit errs on the safe side.
    """
    markets: tuple[Market, ...] = ("spot", "on-demand")
    dearest = {market: _dearest(market, pools) for market in markets}
    return {
        price_key(market, pool.type.name, pool.zone): round(price, 5)
        for pool in pools
        for market in markets
        if (price := pool.usd(market) or dearest[market]) is not None
    }


def _dearest(market: Market, pools: Sequence[Pool]) -> float | None:
    return max((price for pool in pools if (price := pool.usd(market))), default=None)


def _group_body(request: LaunchRequest, pools: Sequence[Pool], work: Work) -> dict[str, Any]:
    given = tags.run_tags(request.names, request.tags)
    return group_request(request, pools, given, work.waiting)


def hourly_usd(request: LaunchRequest, asked: Asked) -> tuple[float, float] | None:
    """Return the least and the most that the request costs an hour; None if a price is missing."""
    low = high = 0.0
    for market, count in shares(request):
        prices = [price for pool in asked[market] if (price := pool.usd(market)) is not None]
        if not prices:
            return None
        low += count * min(prices)
        high += count * max(prices)
    return low, high


def check_quota(facts: Facts, request: LaunchRequest, asked: Asked) -> None:
    """Refuse what cannot start even on the smallest machines; an unknown quota refuses nothing."""
    by_code = {quota.code: quota for quota in facts.quotas}
    for market, count in shares(request):
        sizes = _smallest(market, asked[market])
        if any(code is None or code not in by_code for code in sizes):
            continue
        known = [(by_code[code], vcpus) for code, vcpus in sizes.items() if code is not None]
        possible = sum(quota.free // vcpus for quota, vcpus in known)
        if possible < count and not request.force:
            fitting = replace(facts, pools=tuple(asked[market]))
            raise _over_quota(fitting, market, count, possible, known[0])


def check_prices(facts: Facts, request: LaunchRequest, pools: Sequence[Pool]) -> None:
    """Refuse a cost limit that cannot be enforced because a worker's price is unknown."""
    if request.max_cost is None or request.force or facts.emulated:
        return
    markets = [market for market, _ in shares(request)]
    markets += ["on-demand"] if request.fallback else []
    if unknown := [market for market in markets if _dearest(market, pools) is None]:
        raise LimitError(
            f"the cost limit of ${request.max_cost:.2f} cannot be enforced:"
            f" no {unknown[0]} price is known",
            untold(unknown[0], facts.region, request.types),
            "allow pricing:GetProducts and ec2:DescribeSpotPriceHistory, or choose other types\n"
            "  (--force launches without the limit)",
        )


def check_below(facts: Facts, request: LaunchRequest, pools: Sequence[Pool]) -> None:
    """Refuse to wait for a price that AWS does not give."""
    if request.below is not None and _dearest("spot", pools) is None:
        raise UsageError(
            "--when-below cannot tell what to wait for: no spot price is known",
            untold("spot", facts.region, request.types),
            "allow ec2:DescribeSpotPriceHistory, or choose other types",
        )


def check_cost(
    facts: Facts,
    request: LaunchRequest,
    price: tuple[float, float] | None,
    beside: Beside | None,
) -> None:
    """Refuse a launch that the cost limit would end before it has done anything."""
    if request.max_cost is None or request.force:
        return
    hourly = (price[0] if price else 0.0) + (beside.addresses + beside.disks if beside else 0.0)
    least = facts.spent_usd + hourly * MIN_USEFUL_HOURS
    if least >= request.max_cost:
        raise LimitError(
            f"cost limit: ${request.max_cost:.2f}, about ${facts.spent_usd:.2f} spent already",
            f"{request.count} more workers cost about ${hourly:.2f}/h" if price else None,
            "raise workers.max_cost, or launch fewer",
        )


def _user_data(request: LaunchRequest, agent: AgentConfig, image: Image) -> str:
    """Return the user data for a machine from this image; a stock image's installs the agent."""
    bundles = {bundle.architecture: bundle for bundle in request.bundles}
    bundle = bundles.get(image.architecture)
    return stock.user_data(agent, bundle) if bundle else agent.encode()


def _largest_disk(request: LaunchRequest, images: Sequence[Image]) -> Disk:
    return max((disk_of(request, image) for image in images), key=lambda disk: disk.gib)


def _smallest(market: Market, pools: Sequence[Pool]) -> dict[str | None, int]:
    """Return the fewest vCPUs of a machine under each quota."""
    sizes: dict[str | None, int] = {}
    for pool in pools:
        code = quotas.quota_code(market, pool.type.name)
        sizes[code] = min(pool.type.vcpus, sizes.get(code, pool.type.vcpus))
    return sizes


def _over_quota(
    facts: Facts, market: Market, count: int, possible: int, first: tuple[Quota, int]
) -> CapacityError:
    quota, vcpus = first
    only = _only_smallest(vcpus, facts.pools)
    now = f"now:  launch {possible}{only}   ({possible * vcpus} vCPUs)\n  " if possible else ""
    default = f"{quota.limit} is the default of new accounts" if quota.limit == 5 else None
    return CapacityError(
        f"{market} quota: {count * vcpus} vCPUs requested, {quota.limit} allowed,"
        f" {quota.used} in use ({facts.region}, {quota.code})",
        default,
        f"{now}more: parallelize doctor --request-quota {count * vcpus + quota.used}",
    )


def _only_smallest(vcpus: int, pools: Sequence[Pool]) -> str:
    """Return the flag for a type of N vCPUs, if AWS might choose a larger one of the types."""
    small = next((pool.type.name for pool in pools if pool.type.vcpus == vcpus), None)
    larger = any(pool.type.vcpus > vcpus for pool in pools)
    return f" --type {small}" if small and larger else ""
