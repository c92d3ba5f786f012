"""Persistent fleets: an Auto Scaling group that replaces lost workers, and may grow from zero.

Workers leave it by themselves: each one that leaves lowers the group's size by one, so that it is
not replaced, and the last takes it to zero.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from parallelize.console import say
from parallelize.fleet import tags
from parallelize.fleet.facts import Pool
from parallelize.fleet.request import LaunchRequest
from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError, UsageError, code_of
from parallelize_core.names import Names
from parallelize_core.outlast import (
    BUSY_GROUP,
    DELETED_GROUP,
    GROUP_PROFILE,
    GROUP_TEMPLATE,
    outlast,
    pauses,
)
from parallelize_core.pause import HELD_PROCESSES

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient

MAX_TYPES = 40
"""https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-mixed-instances-groups.html"""

NO_SUCH_MEMBER = "ValidationError"
"""AWS's error code for an instance that is in no group."""

ENDED_ACTIVITIES = {"Successful", "Failed", "Cancelled"}
"""https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_Activity.html"""

SUSPENDED = ("AZRebalance",)
"""Rebalancing would terminate a worker in mid-job only to balance the zones."""


PATIENCE_SECONDS = 30.0
"""A machine is pending for about ten seconds, and in service once it runs."""


@dataclass(frozen=True)
class Group:
    """An Auto Scaling group as it is; `members` are the ids of instances in service or starting."""

    name: str
    desired: int
    created: datetime
    members: tuple[str, ...] = ()
    suspended: tuple[str, ...] = ()
    in_service: int = 0


@dataclass(frozen=True)
class Staffing:
    """How many machines of a group are in service, and AWS's message if it could not start more."""

    in_service: int
    refusal: str = ""


def first_size(request: LaunchRequest, waiting: int) -> int:
    """Return how many workers a group starts with; one that follows the queue, as many as it needs.

    The alarm that wakes a group adds one worker at a time, and takes minutes for each step.
    """
    if not request.autoscale:
        return request.count
    return min(request.count, math.ceil(waiting / request.backlog_per_worker))


def group_request(
    request: LaunchRequest, pools: Sequence[Pool], given: Mapping[str, str], waiting: int
) -> dict[str, Any]:
    """Return a CreateAutoScalingGroup request without the launch templates' ids and versions."""
    types = list(dict.fromkeys(pool.type.name for pool in pools))
    if len(types) > MAX_TYPES:
        raise UsageError(f"an Auto Scaling group takes {MAX_TYPES} types, not {len(types)}")
    return {
        "AutoScalingGroupName": request.names.group,
        "MinSize": 0,
        "MaxSize": request.count,
        "DesiredCapacity": first_size(request, waiting),
        "VPCZoneIdentifier": ",".join(sorted({pool.subnet for pool in pools})),
        "MixedInstancesPolicy": {
            "LaunchTemplate": {"Overrides": [{"InstanceType": name} for name in types]},
            "InstancesDistribution": _distribution(request),
        },
        "Tags": [
            {
                "Key": key, "Value": value, "PropagateAtLaunch": True,
                "ResourceId": request.names.group, "ResourceType": "auto-scaling-group",
            }
            for key, value in sorted(given.items())
        ],
    }  # fmt: skip


def _distribution(request: LaunchRequest) -> dict[str, Any]:
    on_demand_only = request.market == "on-demand"
    found: dict[str, Any] = {
        "OnDemandBaseCapacity": request.on_demand,
        # AWS's default is 100, which means everything on-demand.
        "OnDemandPercentageAboveBaseCapacity": 100 if on_demand_only else 0,
        "OnDemandAllocationStrategy": "lowest-price",
        "SpotAllocationStrategy": "price-capacity-optimized",
    }
    if request.max_price and not on_demand_only:
        found["SpotMaxPrice"] = f"{request.max_price:.4f}"
    return found


def ensure_group(autoscaling: AutoScalingClient, body: dict[str, Any]) -> int:
    """Create the group, or update it without losing workers; return its size."""
    whole, name = dict(body), body["AutoScalingGroupName"]
    found = find(autoscaling, name)
    if found is None:
        create(autoscaling, whole)
    else:
        outlast(BUSY_GROUP, partial(_tag, autoscaling, whole.pop("Tags")), say)
        whole = _no_smaller(whole, found)
        _from_template(partial(_update, autoscaling, **whole))
        resume(autoscaling, name)
    outlast(BUSY_GROUP, lambda: _settle(autoscaling, name), say)
    return int(whole["DesiredCapacity"])


def create(autoscaling: AutoScalingClient, body: dict[str, Any]) -> None:
    """Create a group, once a former one of the same name is gone."""
    outlast(DELETED_GROUP, lambda: _from_template(partial(_create, autoscaling, body)), say)


def _from_template(call: Callable[[], None]) -> None:
    """Make a call that names a launch template; the template and its profile may be new."""
    outlast(GROUP_PROFILE, lambda: outlast(GROUP_TEMPLATE, call, say), say)


@translated("Auto Scaling")
def _create(autoscaling: AutoScalingClient, body: dict[str, Any]) -> None:
    autoscaling.create_auto_scaling_group(**body)


@translated("Auto Scaling")
def _tag(autoscaling: AutoScalingClient, given: Sequence[Any]) -> None:
    autoscaling.create_or_update_tags(Tags=given)


@translated("Auto Scaling")
def _settle(autoscaling: AutoScalingClient, name: str) -> None:
    autoscaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=list(SUSPENDED))
    autoscaling.enable_metrics_collection(
        AutoScalingGroupName=name, Metrics=["GroupInServiceInstances"], Granularity="1Minute"
    )


def _update(autoscaling: AutoScalingClient, **changes: Any) -> None:
    """Update a group, once it has finished what it is doing."""

    @translated("Auto Scaling")
    def update() -> None:
        autoscaling.update_auto_scaling_group(**changes)

    outlast(BUSY_GROUP, update, say)


def _no_smaller(body: dict[str, Any], found: Group) -> dict[str, Any]:
    """Change a group's request so that it ends no worker; `scale` is the way to have fewer."""
    policy = body["MixedInstancesPolicy"]
    # Omitted fields stay as they are; an empty price limit removes the old one.
    distribution = {"SpotMaxPrice": "", **policy["InstancesDistribution"]}
    return {
        **body,
        "MaxSize": max(body["MaxSize"], found.desired),
        "DesiredCapacity": max(body["DesiredCapacity"], found.desired),
        "MixedInstancesPolicy": {**policy, "InstancesDistribution": distribution},
    }


def find(autoscaling: AutoScalingClient, name: str) -> Group | None:
    """Return a group by its name, or None if it does not exist or is being deleted."""
    return next(iter(_called(autoscaling, [name])), None)


def find_of_run(autoscaling: AutoScalingClient, names: Names) -> list[Group]:
    """Return the groups of a run's lanes."""
    return _called(autoscaling, [each.group for each in names.of_each_lane])


@translated("Auto Scaling")
def _called(autoscaling: AutoScalingClient, names: Sequence[str]) -> list[Group]:
    groups = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=list(names))
    return [_group(item) for item in groups["AutoScalingGroups"] if not _is_going(item)]


def _is_going(item: Any) -> bool:
    # Only a group that is being deleted has a status: "Delete in progress".
    return "Status" in item


@translated("Auto Scaling")
def find_all(autoscaling: AutoScalingClient, names: Names) -> list[Group]:
    """Return the groups of all runs of a stack, except those that are being deleted."""
    pages = autoscaling.get_paginator("describe_auto_scaling_groups").paginate(
        Filters=[{"Name": f"tag:{tags.MANAGED}", "Values": [names.managed]}]
    )
    return [
        _group(item) for page in pages for item in page["AutoScalingGroups"] if not _is_going(item)
    ]


def last_refusal(autoscaling: AutoScalingClient, name: str) -> str | None:
    """Return why the group's last attempt to start or end a machine failed; None if it did not.

    An unfinished attempt says nothing: a group that cannot start machines keeps trying.
    """
    last = last_attempt(autoscaling, name)
    return _refusal(last) if last else None


def _refusal(activity: Any) -> str | None:
    if activity["StatusCode"] == "Successful":
        return None
    return str(activity.get("StatusMessage") or activity["StatusCode"])


@translated("Auto Scaling")
def last_attempt(autoscaling: AutoScalingClient, name: str) -> Any | None:
    """Return the group's last activity that has ended, as AWS describes it."""
    told = autoscaling.describe_scaling_activities(AutoScalingGroupName=name, MaxRecords=20)
    return next((one for one in told["Activities"] if one["StatusCode"] in ENDED_ACTIVITIES), None)


def await_workers(autoscaling: AutoScalingClient, name: str, former: Any | None) -> Staffing:
    """Poll a group until its machines are in service; say so if AWS could not start them all.

    Polls for at most `PATIENCE_SECONDS`: a group retries in other zones and from other pools.
    `former` is the last attempt from before, which says nothing about this one.
    """
    begun = time.monotonic()
    for pause in pauses():
        found = find(autoscaling, name)
        if found is None:
            return Staffing(0)
        if found.in_service >= found.desired:
            return Staffing(found.in_service)
        if time.monotonic() - begun >= PATIENCE_SECONDS:
            last = last_attempt(autoscaling, name)
            is_former = last and former and last["ActivityId"] == former["ActivityId"]
            why = _refusal(last) if last and not is_former else None
            return Staffing(found.in_service, why or "")
        time.sleep(pause)
    raise AssertionError("pauses do not end")


def hold(autoscaling: AutoScalingClient, name: str) -> None:
    """Stop the group from starting machines; its workers continue."""
    outlast(BUSY_GROUP, lambda: _hold(autoscaling, name), say)


@translated("Auto Scaling")
def _hold(autoscaling: AutoScalingClient, name: str) -> None:
    autoscaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=list(HELD_PROCESSES))


def resume(autoscaling: AutoScalingClient, name: str) -> None:
    """Allow the group to start workers again."""
    outlast(BUSY_GROUP, lambda: _resume(autoscaling, name), say)


@translated("Auto Scaling")
def _resume(autoscaling: AutoScalingClient, name: str) -> None:
    autoscaling.resume_processes(AutoScalingGroupName=name, ScalingProcesses=list(HELD_PROCESSES))


def resize(autoscaling: AutoScalingClient, name: str, count: int) -> None:
    """Let the group grow to `count` workers; it only shrinks when members leave."""
    _update(autoscaling, AutoScalingGroupName=name, MaxSize=count, DesiredCapacity=count)
    resume(autoscaling, name)


def limit(autoscaling: AutoScalingClient, name: str, count: int) -> None:
    """Cap the group at `count` workers from now on."""
    _update(autoscaling, AutoScalingGroupName=name, MaxSize=count)


def release(autoscaling: AutoScalingClient, members: Sequence[str]) -> None:
    """Terminate members, and lower the group's size by each, so that none is replaced.

    A member that has already left by itself has lowered it already.
    """
    for member in members:
        try:
            outlast(BUSY_GROUP, partial(_release, autoscaling, member), say)
        except ParallelizeError as error:
            if code_of(error) != NO_SUCH_MEMBER:
                raise


@translated("Auto Scaling")
def _release(autoscaling: AutoScalingClient, member: str) -> None:
    autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=member, ShouldDecrementDesiredCapacity=True
    )


def delete(autoscaling: AutoScalingClient, name: str) -> bool:
    """Delete a group with its machines; return whether it existed.

    AWS answers before the group is deleted, and keeps its name in use until then.
    """
    if find(autoscaling, name) is None:
        return False
    outlast(BUSY_GROUP, lambda: _delete(autoscaling, name), say)
    return True


@translated("Auto Scaling")
def _delete(autoscaling: AutoScalingClient, name: str) -> None:
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)


def _group(item: Any) -> Group:
    states = [member.get("LifecycleState") for member in item.get("Instances", ())]
    return Group(
        name=item["AutoScalingGroupName"],
        desired=item["DesiredCapacity"],
        created=item["CreatedTime"],
        members=tuple(member["InstanceId"] for member in item.get("Instances", ())),
        suspended=tuple(one["ProcessName"] for one in item.get("SuspendedProcesses", ())),
        in_service=states.count("InService"),
    )
