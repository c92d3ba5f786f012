"""Checks permissions with EC2's dry runs, which change nothing and need no permission themselves.

CreateFleet has one, too, but needs an existing launch template. So RunInstances is asked to start
what a fleet starts: machines with our tags, from an image, in a subnet, with the workers' role.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parallelize.fleet import tags
from parallelize.fleet.facts import Market
from parallelize.fleet.template import TAGGED
from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError, ServiceError, code_of
from parallelize_core.names import Names

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client

START = "ec2:RunInstances"
ALLOWED, REFUSED = "DryRunOperation", "UnauthorizedOperation"
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""


@dataclass(frozen=True)
class Answers:
    """The actions that EC2 would refuse, and those for which it gave no clear answer."""

    refused: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()


def start(  # noqa: PLR0913 - a machine is made of all of these
    image: str,
    kind: str,
    subnet: str,
    profile: str,
    *,
    market: Market,
    given: Mapping[str, str],
) -> dict[str, Any]:
    """Return the RunInstances request for one machine as `launch` starts it, with tags `given`."""
    spot: dict[str, Any] = {"InstanceMarketOptions": {"MarketType": "spot"}}
    tagged = (*TAGGED, "spot-instances-request") if market == "spot" else TAGGED
    return {
        "ImageId": image,
        "InstanceType": kind,
        "SubnetId": subnet,
        "IamInstanceProfile": {"Name": profile},
        "MinCount": 1,
        "MaxCount": 1,
        "TagSpecifications": [
            {"ResourceType": name, "Tags": tags.as_list(given)} for name in tagged
        ],
        **(spot if market == "spot" else {}),
    }


def ask(
    ec2: EC2Client, names: Names, given: Mapping[str, str], start: Mapping[str, Any] | None
) -> Answers:
    """Return what EC2 would allow; `start` is None if nothing could be started."""
    template = {"ResourceType": "launch-template", "Tags": tags.as_list(given)}
    calls: dict[str, Callable[[], object]] = {
        "ec2:DescribeInstances": lambda: ec2.describe_instances(DryRun=True),
        "ec2:DescribeImages": lambda: ec2.describe_images(Owners=["self"], DryRun=True),
        "ec2:CreateLaunchTemplate": lambda: ec2.create_launch_template(
            LaunchTemplateName=f"{names.stack}-doctor",
            LaunchTemplateData={"EbsOptimized": True},
            TagSpecifications=[template],  # type: ignore[list-item]
            DryRun=True,
        ),
    }
    if start:
        calls[START] = lambda: ec2.run_instances(**start, DryRun=True)
    codes = {action: _code(call) for action, call in calls.items()}
    untried = [action for action, code in codes.items() if code not in {ALLOWED, REFUSED}]
    return Answers(
        refused=tuple(action for action, code in codes.items() if code == REFUSED),
        untried=(*untried, *(() if start else (START,))),
    )


def _code(call: Callable[[], object]) -> str:
    """Return EC2's answer to a dry run, which is always an error."""
    try:
        with translated("EC2"):
            call()
    except ParallelizeError as error:
        # Any other error is the answer to the dry run, or concerns something like a role that the
        # stack has not made yet.
        if code_of(error) != REFUSED and type(error) is not ServiceError:
            raise
        return code_of(error)
    return ALLOWED
