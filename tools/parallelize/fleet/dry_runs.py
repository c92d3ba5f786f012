"""Would EC2 let us? Asked with dry runs, which change nothing and need no permission to ask.

CreateFleet has one, too, but wants a launch template that is there; that of RunInstances is asked
for what a fleet starts: machines with our tags, from an image, in a subnet, with the workers' role.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from parallelize.fleet import tags
from parallelize.fleet.facts import Market
from parallelize.fleet.template import TAGGED
from parallelize_core import aws_errors

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client

OURS = tags.as_list({tags.MANAGED: "true"})


def start(image: str, kind: str, subnet: str, profile: str, market: Market) -> dict[str, Any]:
    """Return the RunInstances request for one machine as `launch` starts them."""
    spot: dict[str, Any] = {"InstanceMarketOptions": {"MarketType": "spot"}}
    tagged = (*TAGGED, "spot-instances-request") if market == "spot" else TAGGED
    return {
        "ImageId": image,
        "InstanceType": kind,
        "SubnetId": subnet,
        "IamInstanceProfile": {"Name": profile},
        "MinCount": 1,
        "MaxCount": 1,
        "TagSpecifications": [{"ResourceType": name, "Tags": OURS} for name in tagged],
        **(spot if market == "spot" else {}),
    }


def refused(ec2: EC2Client, start: Mapping[str, Any] | None) -> list[str]:
    """Return the actions that EC2 would refuse us; `start` is None if nothing can be started."""
    template = {"ResourceType": "launch-template", "Tags": OURS}
    calls: dict[str, Callable[[], object]] = {
        "ec2:DescribeInstances": lambda: ec2.describe_instances(DryRun=True),
        "ec2:DescribeImages": lambda: ec2.describe_images(Owners=["self"], DryRun=True),
        "ec2:CreateLaunchTemplate": lambda: ec2.create_launch_template(
            LaunchTemplateName="parallelize-doctor",
            LaunchTemplateData={"EbsOptimized": True},
            TagSpecifications=[template],  # type: ignore[list-item]
            DryRun=True,
        ),
    }
    if start:
        calls["ec2:RunInstances"] = lambda: ec2.run_instances(**start, DryRun=True)
    return [action for action, call in calls.items() if _is_refused(call)]


def _is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] == "UnauthorizedOperation":
            return True
        if aws_errors.explain(error):
            raise
        # DryRunOperation, or such as a role that the stack has yet to make: nothing is refused.
    return False
