"""A launch as data: computed from what was asked and what is there, before anything is created."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parallelize.fleet import quotas, stock, tags
from parallelize.fleet.disk import Disk
from parallelize.fleet.facts import Facts, Image, Market, Pool, Quota, Work
from parallelize.fleet.group import group_request
from parallelize.fleet.rates import UnitPrices
from parallelize.fleet.refusals import check_request, check_work
from parallelize.fleet.request import LaunchRequest
from parallelize.fleet.template import disk_of, fleet_request, launch_template
from parallelize_core.cost import price_key
from parallelize_core.errors import CapacityError, LimitError, UsageError

MIN_USEFUL_HOURS = 0.25
"""Workers that would reach the cost limit sooner than this do little more than boot."""


@dataclass(frozen=True)
class FleetPlan:
    """One call of CreateFleet and the launch template it starts from."""

    market: Market
    count: int
    template: dict[str, Any]
    body: dict[str, Any]


@dataclass(frozen=True)
class Beside:
    """What machines of a launch have beside themselves, in USD an hour for all of them.

    `source` says where the prices are from.
    """

    addresses: float
    disks: float
    source: str


@dataclass(frozen=True)
class GroupPlan:
    """An Auto Scaling group and the launch template it starts from."""

    template: dict[str, Any]
    body: dict[str, Any]


@dataclass(frozen=True)
class LaunchPlan:
    """What `execute` will do: a `group`, or `fleets` in order and `fallback` for what they lack."""

    request: LaunchRequest
    region: str
    image: Image
    pools: tuple[Pool, ...]
    quotas: tuple[Quota, ...]
    security_groups: tuple[str, ...]
    """Of the workers; empty for the VPC's default group."""
    absent: tuple[str, ...]
    """The types of the request that the region does not have."""
    user_data: str
    fleets: tuple[FleetPlan, ...]
    fallback: FleetPlan | None
    group: GroupPlan | None
    hourly_usd: tuple[float, float] | None
    """What the machines cost an hour, in the cheapest and in the dearest pool; None if unknown."""
    beside: Beside | None
    """What their addresses and disks cost; None where nothing is charged."""


def plan_launch(facts: Facts, request: LaunchRequest) -> LaunchPlan:
    """Return the plan for a launch.

    Raises NothingToDoError for an empty queue, UsageError for what cannot be meant or is not
    there, CapacityError above the quota, LimitError above the cost limit.
    """
    check_request(request)
    check_work(facts, request)
    image = _image(facts)
    disk = disk_of(request, image)
    disk.check()
    pools = _pools(facts, request, image)
    check_quota(facts, request, pools)
    price = hourly_usd(request, pools)
    check_prices(facts, request, pools)
    charged = None if facts.emulated else facts.prices
    beside = _beside(facts, request, disk, charged) if charged else None
    check_cost(facts, request, price, beside)
    known = {
        "hourly_usd": price_table(pools), "fleet": request.fleet,
        "rates": charged.rates(disk, facts.prepared_usd) if charged else None,
    }  # fmt: skip
    agent = request.agent.model_copy(update=known)
    user_data = stock.user_data(agent, request.bundle) if request.bundle else agent.encode()

    def template(market: Market | None) -> dict[str, Any]:
        return launch_template(request, image, facts.security_groups, market, user_data)

    def fleet(market: Market, count: int, purpose: str) -> FleetPlan:
        body = fleet_request(request, market, count, pools, purpose)
        return FleetPlan(market, count, template(market), body)

    persistent = request.fleet == "persistent"
    return LaunchPlan(
        request,
        facts.region,
        image,
        pools,
        facts.quotas,
        facts.security_groups,
        facts.absent,
        user_data,
        fleets=()
        if persistent
        else tuple(fleet(market, count, market) for market, count in shares(request)),
        fallback=fleet("on-demand", request.count, "fallback") if request.fallback else None,
        group=GroupPlan(template(None), _group_body(request, pools, facts.work))
        if persistent
        else None,
        hourly_usd=price,
        beside=beside,
    )


def _beside(facts: Facts, request: LaunchRequest, disk: Disk, charged: UnitPrices) -> Beside:
    addresses = request.count * charged.address_hour if facts.addresses else 0.0
    return Beside(addresses, request.count * charged.disk_hour(disk), charged.source)


def price_table(pools: Sequence[Pool]) -> dict[str, float]:
    """Return the prices as the agent's configuration has them.

    A pool whose price is not known counts as the dearest one: a cost limit errs on the safe side.
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
    given = tags.run_tags(request.run, request.tags)
    return group_request(request, pools, given, work.waiting)


def shares(request: LaunchRequest) -> Iterator[tuple[Market, int]]:
    """Go through how many machines are wanted from which market."""
    reserved = request.count if request.market == "on-demand" else request.on_demand
    if spot := request.count - reserved:
        yield "spot", spot
    if reserved:
        yield "on-demand", reserved


def hourly_usd(request: LaunchRequest, pools: Sequence[Pool]) -> tuple[float, float] | None:
    """Return the least and the most that the request costs an hour, None if a price is missing."""
    low = high = 0.0
    for market, count in shares(request):
        prices = [price for pool in pools if (price := pool.usd(market)) is not None]
        if not prices:
            return None
        low += count * min(prices)
        high += count * max(prices)
    return low, high


def check_quota(facts: Facts, request: LaunchRequest, pools: Sequence[Pool]) -> None:
    """Refuse what cannot start even on the smallest machines; an unknown quota refuses nothing."""
    by_code = {quota.code: quota for quota in facts.quotas}
    for market, count in shares(request):
        sizes = _smallest(market, pools)
        if any(code is None or code not in by_code for code in sizes):
            continue
        known = [(by_code[code], vcpus) for code, vcpus in sizes.items() if code is not None]
        possible = sum(quota.free // vcpus for quota, vcpus in known)
        if possible < count and not request.force:
            fitting = replace(facts, pools=tuple(pools))
            raise _over_quota(fitting, market, count, possible, known[0])


def check_prices(facts: Facts, request: LaunchRequest, pools: Sequence[Pool]) -> None:
    """Refuse a cost limit that workers would not count towards, since nobody knows their price."""
    if request.max_cost is None or request.force or facts.emulated:
        return
    markets = [market for market, _ in shares(request)]
    markets += ["on-demand"] if request.fallback else []
    if unknown := [market for market in markets if _dearest(market, pools) is None]:
        raise LimitError(
            f"the cost limit of ${request.max_cost:.2f} cannot be kept:"
            f" no {unknown[0]} price is known",
            f"AWS tells none for {', '.join(request.types[:3])} in {facts.region}",
            "allow pricing:GetProducts and ec2:DescribeSpotPriceHistory, or choose other types\n"
            "  (--force launches without the limit)",
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


def _image(facts: Facts) -> Image:
    if facts.image is None:
        raise UsageError(
            f"no parallelize image in account {facts.account} region {facts.region}",
            fix="parallelize image build   (needs Packer)\n"
            "  or:  --ami stock   (agent installed at boot, slower start)",
        )
    return facts.image


def _pools(facts: Facts, request: LaunchRequest, image: Image) -> tuple[Pool, ...]:
    """Return the pools that can run the image, cheapest first."""
    fitting = [pool for pool in facts.pools if image.architecture in pool.type.architectures]
    if not fitting:
        kinds = ", ".join(request.types[:3])
        why = (
            f"{kinds} are not offered in the zones of the subnets"
            if not facts.pools
            else f"the image is for {image.architecture}, and {kinds} are not"
        )
        raise UsageError(f"no machine in {facts.region} fits", why, "choose others with --type")
    market = request.market

    def cheapest_first(pool: Pool) -> tuple[float, str, str]:
        price = pool.usd(market)
        return float("inf") if price is None else price, pool.type.name, pool.zone

    return tuple(sorted(fitting, key=cheapest_first))


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
        f"{market} quota: {count * vcpus} vCPUs asked, {quota.limit} allowed, {quota.used} in use"
        f" ({facts.region}, {quota.code})",
        default,
        f"{now}more: parallelize doctor --request-quota {count * vcpus + quota.used}",
    )


def _only_smallest(vcpus: int, pools: Sequence[Pool]) -> str:
    """Return the flag for a type of N vCPUs, if AWS might take a larger one of the types."""
    small = next((pool.type.name for pool in pools if pool.type.vcpus == vcpus), None)
    larger = any(pool.type.vcpus > vcpus for pool in pools)
    return f" --type {small}" if small and larger else ""
