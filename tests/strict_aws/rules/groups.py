"""Auto Scaling: groups that are being deleted or are busy, policies that are not there yet.

And groups that start machines: these are held to the rules of all machines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.autoscaling.models import FakeAutoScalingGroup, autoscaling_backends
from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Layer, Rule, World
from tests.strict_aws.rules.starts import Fault, MachineRule, Start, of_group

API = "https://docs.aws.amazon.com/autoscaling/ec2/APIReference"

BUSY = {"SetDesiredCapacity", "TerminateInstanceInAutoScalingGroup", "UpdateAutoScalingGroup"}
"""The operations whose model has ScalingActivityInProgress, and that this project makes."""

IN_USE = {"CreateOrUpdateTags", "ResumeProcesses", "SuspendProcesses"}
"""Those whose model has ResourceInUse. botocore makes neither again by itself."""

STARTING = {"CreateAutoScalingGroup", "SetDesiredCapacity", "UpdateAutoScalingGroup",
            "TerminateInstanceInAutoScalingGroup"}  # fmt: skip


def group_of(call: Call) -> str:
    """Return the name of the group that a call is about, empty if it does not say."""
    tagged = next(iter(call.get("Tags") or ()), {})
    return str(call.get("AutoScalingGroupName") or tagged.get("ResourceId") or "")


class DeletedGroup(Rule):
    """A group is deleted with its machines, which takes minutes; its name stays taken."""

    source = f"{API}/API_DeleteAutoScalingGroup.html"
    found = (
        "kill, then launch --fleet persistent: the group's name was still taken; kill, then setup"
        " --delete: a group was said to start workers"
    )

    seconds = 90.0

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.service != "autoscaling" or not self.windows.is_open(group_of(call)):
            return None
        if call.operation == "CreateAutoScalingGroup":
            raise Refusal(
                "AlreadyExists",
                f"A group with the name {group_of(call)} already exists and is pending delete",
            )
        if not call.operation.startswith("Describe"):
            raise Refusal("ValidationError", f"{group_of(call)} is pending delete")
        return None

    def watches(self, call: Call) -> bool:
        return call.operation in {"DeleteAutoScalingGroup", "DescribeAutoScalingGroups"}

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        if call.operation == "DeleteAutoScalingGroup":
            self.windows.open(group_of(call), self.world.seconds(self.seconds))
            return None
        wanted = call.get("AutoScalingGroupNames")
        going = [str(name) for name in self.windows.any_open() if not wanted or name in wanted]
        shown = [_going(name) for name in going]
        return {**result, "AutoScalingGroups": [*result["AutoScalingGroups"], *shown]}


def _going(name: str) -> dict[str, Any]:
    """Describe a group that is being deleted, as far as it must be described."""
    return {
        "AutoScalingGroupName": name, "MinSize": 0, "MaxSize": 0, "DesiredCapacity": 0,
        "DefaultCooldown": 300, "AvailabilityZones": [], "HealthCheckType": "EC2",
        "CreatedTime": datetime(2026, 11, 1, tzinfo=UTC), "Instances": [],
        "Status": "Delete in progress",
    }  # fmt: skip


class NewPolicy(Rule):
    """A policy is not described at once; the answer of PutScalingPolicy has its ARN."""

    source = f"{API}/API_PutScalingPolicy.html"
    found = "launch --autoscale looked a policy up that it had just made, and broke"

    seconds = 2.0

    def watches(self, call: Call) -> bool:
        return call.name in {"autoscaling.PutScalingPolicy", "autoscaling.DescribePolicies"}

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        if call.operation == "PutScalingPolicy":
            key = (group_of(call), call.get("PolicyName"))
            self.windows.open(key, self.world.seconds(self.seconds))
            made = autoscaling_backends[self.world.account][call.region].policies[key[1]]
            return {**result, "PolicyARN": made.arn}  # which moto leaves out
        found = [
            one for one in result["ScalingPolicies"]
            if not self.windows.is_open((one["AutoScalingGroupName"], one["PolicyName"]))
        ]  # fmt: skip
        return {**result, "ScalingPolicies": found}


class BusyGroup(Rule):
    """While a group starts or ends machines, it may refuse to be changed."""

    source = f"{API}/API_UpdateAutoScalingGroup.html"
    found = (
        "scale gave up in the middle, and a worker left without its group; a second launch, stop"
        " and a worker that holds the group of a paused run did not wait"
    )

    seconds = 8.0

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.service != "autoscaling" or call.operation not in BUSY | IN_USE:
            return None
        if self.windows.is_open(self._key(call)):
            code = "ResourceInUse" if call.operation in IN_USE else "ScalingActivityInProgress"
            words = "You cannot change the group while there are scaling activities in progress"
            raise Refusal(code, words)
        return None

    def watches(self, call: Call) -> bool:
        return call.service == "autoscaling" and call.operation in STARTING

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        self.windows.open(self._key(call), self.world.seconds(self.seconds))
        return None

    def _key(self, call: Call) -> str:
        """Return the group; that of a machine is not named, and not looked up."""
        return group_of(call) or "a machine's"


Starter = Callable[[Any, int, dict[str, str]], None]
"""moto's way to let a group start a number of machines, with tags."""


class GroupActivity(Rule):
    """A group tells among its activities what it could not start, and goes on to try."""

    source = (
        "https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-instancelaunchfailure.html"
    )
    found = "launch of a group that could start nothing ended well, and said nothing of it"

    LOOKS = ("DescribeAutoScalingGroups", "DescribeScalingActivities")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._told: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def tell(self, group: str, status: str, words: str) -> None:
        """Let a group have one more activity that has ended."""
        number, now = len(self._told[group]), datetime.now(UTC)
        self._told[group].insert(0, {
            "ActivityId": f"{group}-{number}", "AutoScalingGroupName": group, "StartTime": now,
            "Cause": "a difference between desired and actual capacity", "StatusCode": status,
            "StatusMessage": words, "EndTime": now, "Progress": 100,
        })  # fmt: skip

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.service != "autoscaling" or call.operation not in self.LOOKS:
            return None
        self._try_again(call)
        if call.operation == "DescribeAutoScalingGroups":
            return None
        told = self._told[group_of(call)]
        return {"Activities": told[: int(call.get("MaxRecords") or 100)]}

    def _try_again(self, call: Call) -> None:
        """Let the groups whose last attempt failed make another."""
        groups = autoscaling_backends[self.world.account][call.region].autoscaling_groups
        for group in groups.values():
            last = next(iter(self._told[group.name]), {})
            if last.get("StatusCode") == "Failed" and "Launch" not in group._suspended_processes:
                group.set_desired_capacity(group.desired_capacity)


def starting_by(layer: Layer, begin: Starter) -> Starter:
    """Return how a group of moto's starts machines behind a layer; `begin` is moto's own way."""

    def start(group: Any, count: int, tags: dict[str, str]) -> None:
        asked, told = of_group(group, count), layer.rule(GroupActivity)
        if asked and (fault := _fault(layer, asked)):
            told.tell(group.name, "Failed", f"{fault.words} Launching EC2 instance failed.")
            return
        known = {state.instance.id for state in group.instance_states}
        begin(group, count, tags)
        new = [one for one in group.instance_states if one.instance.id not in known]
        _see(layer, asked, [one.instance.id for one in new])
        for ended in [one for one in new if one.instance.state == "terminated"]:
            group.instance_states.remove(ended)
        told.tell(group.name, *_end(new))

    return start


def _fault(layer: Layer, asked: Start) -> Fault | None:
    for rule in _of_machines(layer):
        if fault := rule.fault(asked):
            layer.refusals[type(rule).__name__] += 1
            rule.acted = True
            return fault
    return None


def _see(layer: Layer, asked: Start | None, ids: list[str]) -> None:
    for rule in _of_machines(layer) if asked else ():
        for id_ in ids:
            rule.see(asked, id_)


def _of_machines(layer: Layer) -> list[MachineRule]:
    return [rule for rule in layer.rules if isinstance(rule, MachineRule)]


def _end(new: list[Any]) -> tuple[str, str]:
    """Return how an activity ended that started these machines: its status, and its words."""
    for one in new:
        if one.instance.state == "terminated":
            reason = one.instance.state_reason.message
            waiting = (
                "Instance became unhealthy while waiting for instance to be in InService state."
            )
            return "Failed", f"{waiting} Termination Reason: {reason}"
    return "Successful", ""


def install(layer: Layer, replace: Callable[[type, str, Starter], None]) -> None:
    """Hold moto's groups to the rules of a layer; `replace` sets an attribute of a class."""
    name = "replace_autoscaling_group_instances"
    replace(FakeAutoScalingGroup, name, starting_by(layer, getattr(FakeAutoScalingGroup, name)))
