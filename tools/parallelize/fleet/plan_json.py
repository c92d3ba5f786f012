"""A launch plan as JSON has it, for `launch --dry-run --json`."""

from __future__ import annotations

from typing import Any

from parallelize.fleet.facts import Pool
from parallelize.fleet.plan import LaunchPlan
from parallelize.fleet.request import shares


def plan_as_json(plan: LaunchPlan) -> dict[str, Any]:
    """Return what `launch` would do; a price or score that is not known is null, never 0."""
    request, group, beside = plan.request, plan.group, plan.beside
    return {
        "schema": 1,
        "dry_run": True,
        "run": request.names.run,
        "region": plan.region,
        "asked": dict(shares(request)),
        "fallback": request.fallback,
        "group": group.body["AutoScalingGroupName"] if group else None,
        "pools": [_pool(pool) for pool in plan.pools],
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


def _pool(pool: Pool) -> dict[str, Any]:
    return {
        "type": pool.type.name,
        "zone": pool.zone,
        "spot_usd": pool.spot_usd,
        "on_demand_usd": pool.on_demand_usd,
    }
