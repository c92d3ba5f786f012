"""What EC2 is asked to start, by a fleet, a single call or an Auto Scaling group; rules on that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moto.ec2.models import ec2_backends
from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule, World


@dataclass(frozen=True)
class Pool:
    """A way in which machines may start: a type in a subnet, from a launch template's content."""

    type: str
    subnet: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Start:
    """What is to start. `by` is the access key of who asks, empty for Auto Scaling's own role."""

    region: str
    count: int
    pools: tuple[Pool, ...]
    spot: bool = False
    by: str = ""

    @property
    def types(self) -> list[str]:
        """The types that are named, in order; requirements name none."""
        return [pool.type for pool in self.pools if pool.type]


@dataclass(frozen=True)
class Fault:
    """Why EC2 starts nothing: its code, and its words."""

    code: str
    words: str


class MachineRule(Rule):
    """A rule about machines to start, by any call or by Auto Scaling itself.

    A fleet has a fault among its errors, and a single call ends with it; Auto Scaling tells it
    among the group's activities (`tests.strict_aws.rules.groups.GroupActivity`).
    """

    def fault(self, start: Start) -> Fault | None:
        """Return why EC2 starts none of it, None if it does."""

    def see(self, start: Start, id_: str) -> None:
        """Look at a machine that has started."""

    def before(self, call: Call) -> dict[str, Any] | None:
        start = asked(self.world, call)
        fault = start and self.fault(start)
        if not fault:
            return None
        if call.operation == "RunInstances":
            raise Refusal(fault.code, fault.words)
        return {"Errors": [{"ErrorCode": fault.code, "ErrorMessage": fault.words}]}

    def watches(self, call: Call) -> bool:
        return starts_machines(call)

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        if start := asked(self.world, call):
            for id_ in started(result):
                self.see(start, id_)
        return None


def starts_machines(call: Call) -> bool:
    """Whether machines may come of a call; a dry run has no other answer than an error."""
    return call.name in {"ec2.CreateFleet", "ec2.RunInstances"} and not call.get("DryRun")


def started(result: Mapping[str, Any]) -> Iterator[str]:
    """Go through the ids of the machines that a fleet, or a single call, has started."""
    for one in result.get("Instances", ()):
        yield from one.get("InstanceIds") or [one["InstanceId"]]


def asked(world: World, call: Call) -> Start | None:
    """Return what a call asks to start, None if it starts nothing."""
    if not starts_machines(call):
        return None
    if call.operation == "RunInstances":
        pool = Pool(call.get("InstanceType") or "", call.get("SubnetId") or "", call.params)
        market = (call.get("InstanceMarketOptions") or {}).get("MarketType")
        count = int(call.get("MaxCount") or 1)
        return Start(call.region, count, (pool,), market == "spot", call.access_key)
    wanted = call.params["TargetCapacitySpecification"]
    return Start(
        call.region,
        int(wanted["TotalTargetCapacity"]),
        tuple(_of_fleet(ec2_backends[world.account][call.region], call)),
        wanted.get("DefaultTargetCapacityType") == "spot",
        call.access_key,
    )


def _of_fleet(backend: Any, call: Call) -> Iterator[Pool]:
    for config in call.get("LaunchTemplateConfigs") or ():
        data = content(backend, config.get("LaunchTemplateSpecification") or {})
        for one in config.get("Overrides") or ({},):
            yield Pool(one.get("InstanceType", ""), one.get("SubnetId", ""), data)


def of_group(group: Any, count: int) -> Start | None:
    """Return what a group of moto's starts now, by its policy; None without one of mixed types."""
    if not (policy := group.mixed_instances_policy):
        return None
    own, distribution = policy["LaunchTemplate"], policy.get("InstancesDistribution") or {}
    on_demand = int(distribution.get("OnDemandBaseCapacity") or 0)
    above = int(distribution.get("OnDemandPercentageAboveBaseCapacity", 100))
    pools = [
        Pool(one.get("InstanceType", ""), subnet, content(group.ec2_backend, _template(own, one)))
        for one in own.get("Overrides") or ({},)
        for subnet in str(group.vpc_zone_identifier or "").split(",")
    ]
    spot = above < 100 and int(group.desired_capacity or 0) > on_demand
    return Start(group.region, count, tuple(pools), spot)


def _template(own: Mapping[str, Any], override: Mapping[str, Any]) -> Mapping[str, Any]:
    named = override.get("LaunchTemplateSpecification") or own["LaunchTemplateSpecification"]
    return dict(named)


def content(backend: Any, named: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is in a version of a launch template; empty if EC2 does not know it."""
    template = backend.launch_templates.get(named.get("LaunchTemplateId"))
    return dict(template.get_version(named["Version"]).data) if template else {}


def first(faults: Iterable[Fault | None]) -> Fault | None:
    """Return the first fault there is."""
    return next(filter(None, faults), None)
