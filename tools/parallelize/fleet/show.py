"""A launch plan and its outcome, in words; the plan also as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from parallelize.fleet import quotas
from parallelize.fleet.execute import LaunchOutcome
from parallelize.fleet.facts import Pool
from parallelize.fleet.leftovers import Leftover
from parallelize.fleet.machine_table import described
from parallelize.fleet.placement import BEST
from parallelize.fleet.plan import LaunchPlan
from parallelize.fleet.pool_choice import WINDOW_HOURS
from parallelize.fleet.request import shares
from parallelize.fleet.stock import Bundle
from parallelize.fleet.template import disk_of
from parallelize.units import plural, show_size, show_usd

TYPES_SHOWN = 2
POOLS_SHOWN = 3


def describe_plan(plan: LaunchPlan) -> list[str]:
    """Return the lines that `launch` prints before it starts anything."""
    request = plan.request
    kinds = " + ".join(f"{count:,} {market}" for market, count in shares(request))
    noun = "worker" if request.count == 1 else "workers"
    lines = [
        f"launch {kinds} {noun} in {plan.region} for run {request.names.run}",
        f"  types    {_types(plan)}",
        f"  zones    {', '.join(sorted({pool.zone for pool in plan.pools}))}",
        f"  network  {_network(plan)}",
        *_groups(plan),
        *_quota_lines(plan),
        *describe_placement(plan),
        f"  price    {_price(plan)}",
        *_listed(plan),
        *_waits(plan),
        *_beside(plan),
        *(f"  image    {text}" for text in _images(plan)),
    ]
    if plan.absent:
        lines.append(f"  not here {', '.join(plan.absent)}: {plan.region} does not have them")
    if plan.unfit:
        lines.append(f"  left out {', '.join(plan.unfit)}: no image for their architecture")
    if plan.too_few_gpus:
        lines.append(f"  left out {', '.join(plan.too_few_gpus)}: fewer GPUs than a job needs")
    lines += _interrupted(plan)
    lines += _disk(plan)
    lines += [f"  agent    {_bundle(bundle)}" for bundle in request.bundles]
    if plan.group:
        lines.append(f"  group    {plan.group.body['AutoScalingGroupName']}, replaces lost workers")
    if request.autoscale:
        lines.append(
            f"  follows  the queue: one worker for {request.backlog_per_worker} files,"
            f" {plan.group.body['DesiredCapacity'] if plan.group else 0} at first"
        )
    if plan.fallback:
        lines.append("  fallback on-demand if the spot market has too few")
    return lines


def describe_outcome(outcome: LaunchOutcome) -> list[str]:
    """Return the lines that describe a launch's outcome, without the names of what was created."""
    if not outcome.group:
        return [f"started {len(outcome.started):,} of {plural(outcome.asked, 'worker')}"]
    if outcome.size > outcome.asked:
        return [f"the group has {outcome.size:,} workers already; parallelize scale ends some"]
    return []


def _network(plan: LaunchPlan) -> str:
    if plan.security_groups:
        return f"security group {', '.join(plan.security_groups)}, made by setup: no inbound rules"
    if plan.request.security_groups:
        return "not the VPC's default security group"
    return "the VPC's default security group; parallelize setup makes a closed one"


def describe_placement(plan: LaunchPlan) -> list[str]:
    """Describe EC2's score, and what would raise a low one."""
    if (placement := plan.placement) is None:
        return []
    if placement.score is None:
        return [f"  score    not known ({placement.why})"]
    told = f"  score    {placement.score} of {BEST} for {plural(placement.count, 'spot machine')}"
    if not placement.is_low:
        return [f"{told}, by EC2"]
    return [f"{told}: few may start; more types or fewer workers help"]


def _groups(plan: LaunchPlan) -> list[str]:
    given = ", ".join(plan.request.security_groups)
    return [f"  groups   {given}, of workers.security_groups"] if given else []


def _interrupted(plan: LaunchPlan) -> list[str]:
    """Describe the spot pools that are left out, and why."""
    lines = [
        f"  left out {one.type} in {one.zone}: {one.interrupted} of {plural(one.workers, 'worker')}"
        f" interrupted within {WINDOW_HOURS} h"
        for one in plan.left_out[:POOLS_SHOWN]
    ]
    more = len(plan.left_out) - POOLS_SHOWN
    return [*lines, f"           and {plural(more, 'more pool')}"] if more > 0 else lines


def _disk(plan: LaunchPlan) -> list[str]:
    """Describe a disk that differs from the default of the settings or of EBS."""
    disk = max((disk_of(plan.request, image) for image in plan.images), key=lambda one: one.gib)
    parts = [f"{disk.gib} GiB"]
    parts += [f"{disk.iops:,} IOPS"] if disk.iops else []
    parts += [f"{disk.throughput:,} MiB/s"] if disk.throughput else []
    if disk.gib > plan.request.disk.gib:
        parts.append("as large as the image's")
    return [f"  disk     {', '.join(parts)}"] if len(parts) > 1 else []


def describe_leftovers(found: Sequence[Leftover]) -> list[str]:
    """Return a line for each leftover of a run, with its age and cost."""
    if not found:
        return ["no machine, group or volume of any run is left"]
    return [
        f"left by run {one.run}: {one.kind} {one.id}, {one.hours:.0f} h old{_worth(one)}"
        for one in found
    ]


def _worth(one: Leftover) -> str:
    return "" if one.usd is None else f", at most {show_usd(one.usd)}"


def _types(plan: LaunchPlan) -> str:
    names = list(dict.fromkeys(pool.type.name for pool in plan.pools))
    shown = ", ".join(names[:TYPES_SHOWN])
    more = f" and {len(names) - TYPES_SHOWN} more" if len(names) > TYPES_SHOWN else ""
    return f"{shown}{more} (cheapest first)"


def _quota_lines(plan: LaunchPlan) -> list[str]:
    known = {quota.code: quota for quota in plan.quotas}
    lines = []
    for market, count in shares(plan.request):
        quota = known.get(quotas.quota_code(market, plan.pools[0].type.name) or "")
        vcpus = count * min(pool.type.vcpus for pool in plan.pools)
        text = (
            f"{vcpus:,} of {quota.free:,} free {market} vCPUs ({quota.code})"
            if quota
            else f"{vcpus:,} {market} vCPUs; the quota is not known"
        )
        lines.append(f"  quota    {text}")
    return lines


def _price(plan: LaunchPlan) -> str:
    request = plan.request
    if plan.hourly_usd is None:
        text = "not known; to see it, allow pricing:GetProducts and ec2:DescribeSpotPriceHistory"
    else:
        low, high = (show_usd(amount) for amount in plan.hourly_usd)
        text = f"{low if low == high else f'{low} to {high}'}/h together now"
    stops = [f"${request.max_cost:.2f}"] if request.max_cost else []
    if request.agent.max_runtime_seconds:
        stops.append(f"{request.agent.max_runtime_seconds / 3600:g} h")
    return f"{text}, stops at {' or '.join(stops)}" if stops else text


def _listed(plan: LaunchPlan) -> list[str]:
    """Say which prices AWS did not give."""
    markets = {market for market, _ in shares(plan.request)}
    listed = [pool for pool in plan.pools if pool.by_table and pool.on_demand_usd is not None]
    return [f"           on demand: {described()}"] if "on-demand" in markets and listed else []


def _waits(plan: LaunchPlan) -> list[str]:
    """Say which price the launch waits for, or that only pools below it are asked."""
    if plan.request.below is None:
        return []
    limit = f"{price(plan.request.below)}/h"
    if not plan.dear:
        return [f"  below    {limit}: {plural(len(plan.pools), 'pool')} now"]
    return [
        f"  waits    until a spot worker costs less than {limit}; now {cheapest(plan.dear.pools)}"
    ]


def cheapest(pools: Sequence[Pool]) -> str:
    """Return the lowest spot price of pools, and its zone; at least one pool has a price."""
    usd, kind, zone = min(
        (pool.spot_usd, pool.type.name, pool.zone) for pool in pools if pool.spot_usd is not None
    )
    return f"{price(usd)}/h ({kind} in {zone})"


def price(amount: float) -> str:
    """Return a machine-hour's price, as precise as AWS gives it."""
    return f"${amount:.4f}".rstrip("0").rstrip(".")


def _beside(plan: LaunchPlan) -> list[str]:
    """Describe the charges for addresses and disks, and what only the run will show."""
    if plan.beside is None:
        return []
    kinds = {"addresses": plan.beside.addresses, "disks": plan.beside.disks}
    parts = [f"{show_usd(amount)}/h {name}" for name, amount in kinds.items() if amount]
    return [
        f"  plus     {', '.join(parts)}",
        "           and requests, metrics and logs, as used",
        f"           prices: {plan.beside.source}",
    ]


def _images(plan: LaunchPlan) -> Iterator[str]:
    for image in plan.images:
        agent = f" parallelize {image.version}" if image.version else ""
        built = f" (built {image.created})" if image.created else ""
        kind = f" for {image.architecture}" if len(plan.images) > 1 else ""
        yield f"{image.id}{agent}{built}{kind}"


def _bundle(bundle: Bundle) -> str:
    where = "is in the bucket" if bundle.sent else "will be sent first"
    return f"for {bundle.system}, {show_size(len(bundle.body))}, {where}"


def plan_as_json(plan: LaunchPlan) -> dict[str, Any]:
    """Return what `launch` would do; an unknown price or score is null, never 0."""
    request, group, beside = plan.request, plan.group, plan.beside
    return {
        "schema": 1,
        "dry_run": True,
        "run": request.names.run,
        "region": plan.region,
        "asked": dict(shares(request)),
        "fallback": request.fallback,
        "group": group.body["AutoScalingGroupName"] if group else None,
        "pools": [_pool_json(pool) for pool in plan.pools],
        "images": [{"id": one.id, "architecture": one.architecture} for one in plan.images],
        "hourly_usd": list(plan.hourly_usd) if plan.hourly_usd else None,
        "beside_hourly_usd": round(beside.addresses + beside.disks, 6) if beside else None,
        "max_cost_usd": request.max_cost,
        "quotas": [vars(one) | {"free": one.free} for one in plan.quotas],
        "placement_score": plan.placement.score if plan.placement else None,
        "not_in_region": list(plan.absent),
        "without_image": list(plan.unfit),
        "too_few_gpus": list(plan.too_few_gpus),
        "interrupted_often": [vars(one) for one in plan.left_out],
        "waits_below_usd": plan.dear.below if plan.dear else None,
    }


def _pool_json(pool: Pool) -> dict[str, Any]:
    return {
        "type": pool.type.name,
        "zone": pool.zone,
        "spot_usd": pool.spot_usd,
        "on_demand_usd": pool.on_demand_usd,
    }
