"""EC2 and Auto Scaling without a machine: a template, a fleet's dry run, a group of size zero."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from parallelize.context import Context
from parallelize.fleet import describe, distributions, images, instances, termination
from parallelize.fleet import group as groups
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.dry_runs import ALLOWED
from parallelize.fleet.tags import as_list
from parallelize.fleet.template import TAGGED
from parallelize.live.trial import Kind, Seen, Trial
from parallelize_core.errors import UsageError
from parallelize_core.outlast import NEW_TEMPLATE, outlast

CHECK = "fleets"

SMALLEST = ("t3.micro", "t3a.micro", "t2.micro")
"""The cheapest with the gigabyte that a worker needs; every region has at least one."""


def probe(trial: Trial) -> Iterator[Seen]:
    """Create a template, request a fleet from it without starting one, and create a group twice."""
    ec2 = trial.client("ec2")
    kind = describe.find_types(ec2, SMALLEST)[0]
    subnet = describe.find_subnets(ec2, trial.context.settings.aws.subnets)[0]["SubnetId"]
    template = make_template(trial, kind.architecture)
    place = {"InstanceType": kind.name, "SubnetId": subnet}
    code = outlast(NEW_TEMPLATE, lambda: dry_run(trial, template, place), early=_is_too_early)
    yield Seen(CHECK, code == ALLOWED, f"CreateFleet by dry run: {code or 'no answer'}")
    yield make_twice(trial, template, kind.name, subnet)


def image_of(context: Context) -> str:
    """Return the image to start machines from: a vendor's, which every account can use."""
    return images.AUTO if context.is_free else distributions.STOCK


def make_template(trial: Trial, architecture: str) -> str:
    """Create a launch template with a plain image; return its id."""
    wanted = image_of(trial.context)
    image = images.find_image(trial.client("ec2"), trial.client("ssm"), wanted, architecture)
    if image is None:
        raise UsageError("there is no image to start from")
    answer = trial.call(
        "ec2", "create_launch_template", LaunchTemplateName=trial.names.group,
        # An organization may forbid starting machines without its tags, even in a dry run.
        LaunchTemplateData={
            "ImageId": image.id,
            "TagSpecifications": [
                {"ResourceType": kind, "Tags": as_list(trial.tags)} for kind in TAGGED
            ],
        },
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": as_list(trial.tags)}],
    )  # fmt: skip
    return str(answer["LaunchTemplate"]["LaunchTemplateId"])


def dry_run(trial: Trial, template: str, place: dict[str, str]) -> str:
    """Ask whether a fleet of one machine would be started; return the code of EC2's answer."""
    named = {"LaunchTemplateId": template, "Version": "1"}
    body = {
        "DryRun": True,
        "Type": "instant",
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand",
        },
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": named, "Overrides": [place]}],
        "TagSpecifications": [{"ResourceType": "fleet", "Tags": as_list(trial.tags)}],
    }  # fmt: skip
    return trial.code("ec2", "create_fleet", **body)


def _is_too_early(code: str) -> bool:
    return code in NEW_TEMPLATE.codes


def make_twice(trial: Trial, template: str, kind: str, subnet: str) -> Seen:
    """Create a group without machines, delete it, and create it again as soon as AWS allows."""
    autoscaling, name = trial.client("autoscaling"), trial.names.group
    body = group_body(trial, template, kind, subnet)
    groups.ensure_group(autoscaling, body)
    groups.delete(autoscaling, name)
    begun = time.monotonic()
    groups.create(autoscaling, body)
    seconds = time.monotonic() - begun
    there = groups.find(autoscaling, name) is not None
    return Seen(CHECK, there, f"a group that was just deleted: made again after {seconds:.0f} s")


def group_body(trial: Trial, template: str, kind: str, subnet: str) -> dict[str, Any]:
    """Return the request for a group that never has a machine."""
    name = trial.names.group
    return {
        "AutoScalingGroupName": name,
        "MinSize": 0,
        "MaxSize": 0,
        "DesiredCapacity": 0,
        "VPCZoneIdentifier": subnet,
        "MixedInstancesPolicy": {
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "1"},
                "Overrides": [{"InstanceType": kind}],
            },
            "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 100},
        },
        "Tags": [
            {
                "Key": key, "Value": value, "PropagateAtLaunch": True,
                "ResourceId": name, "ResourceType": "auto-scaling-group",
            }
            for key, value in sorted(trial.tags.items())
        ],
    }  # fmt: skip


def find_groups(trial: Trial) -> list[str]:
    """Return the group, even while AWS is deleting it."""
    name = trial.names.group
    answer = trial.call("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[name])
    return [one["AutoScalingGroupName"] for one in answer["AutoScalingGroups"]]


def delete_group(trial: Trial, name: str) -> None:
    """Delete the group, unless AWS is already doing so."""
    groups.delete(trial.client("autoscaling"), name)


def find_templates(trial: Trial) -> list[str]:
    """Return the ids of the launch templates."""
    wanted = [{"Name": "launch-template-name", "Values": [trial.names.group]}]
    answer = trial.call("ec2", "describe_launch_templates", Filters=wanted)
    return [one["LaunchTemplateId"] for one in answer["LaunchTemplates"]]


def delete_template(trial: Trial, id_: str) -> None:
    """Delete a launch template."""
    trial.code("ec2", "delete_launch_template", LaunchTemplateId=id_)


def find_machines(trial: Trial) -> list[str]:
    """Return the machines that exist, or are shutting down."""
    states = (*instances.LIVE, "shutting-down")
    return [one.id for one in instances.find(trial.client("ec2"), trial.names, states)]


def delete_machine(trial: Trial, id_: str) -> None:
    """Terminate a machine."""
    instances.terminate(trial.client("ec2"), [id_])


def find_volumes(trial: Trial) -> list[str]:
    """Return the volumes that are not attached to a machine."""
    clients = ComputeClients(*map(trial.client, ("ec2", "autoscaling", "cloudwatch")))
    return list(termination.loose_volumes(clients, trial.names))


def delete_volume(trial: Trial, id_: str) -> None:
    """Delete a volume."""
    trial.code("ec2", "delete_volume", VolumeId=id_)


KINDS = (
    # First delete what would start machines, then the machines.
    Kind("Auto Scaling group", find_groups, delete_group),
    Kind("machine", find_machines, delete_machine),
    Kind("volume", find_volumes, delete_volume),
    Kind("launch template", find_templates, delete_template),
)
