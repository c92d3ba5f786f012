"""What the tests of the local cloud share."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from parallelize.local.cloud import LocalCloud
from parallelize.local.machine import is_alive
from parallelize.local.records import REGION, InstanceState, InstanceView

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client

STAND_IN = Path(__file__).with_name("stand_in_agent.py")
GRACE_SECONDS = 1.0
AGENT_OPTIONS = (
    *("--agent", json.dumps([sys.executable, str(STAND_IN)])),
    *("--grace-seconds", str(GRACE_SECONDS)),
)

T = TypeVar("T")


def until(condition: Callable[[], T | None], seconds: float = 20.0) -> T:
    """Ask again and again until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer


def client_arguments(cloud: LocalCloud) -> dict[str, Any]:
    return {
        "endpoint_url": cloud.endpoint,
        "region_name": REGION,
        "aws_access_key_id": "local",
        "aws_secret_access_key": cloud.state.secret,
    }


def view(cloud: LocalCloud, instance_id: str) -> InstanceView | None:
    return next((view for view in cloud.instances() if view.id == instance_id), None)


def is_terminated(cloud: LocalCloud, instance_id: str) -> bool:
    found = view(cloud, instance_id)
    return found is not None and found.state is InstanceState.TERMINATED


def report(cloud: LocalCloud, instance_id: str) -> dict[str, Any]:
    """What the stand-in agent of an instance says of itself, once it has."""
    return until(lambda: read_report(cloud, instance_id))


def read_report(cloud: LocalCloud, instance_id: str) -> dict[str, Any] | None:
    found = view(cloud, instance_id)
    lines = found.console.read_text().splitlines() if found else []
    return json.loads(lines[0]) if lines else None


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and is_alive(psutil.Process(pid))


def launch_template(ec2: EC2Client, **orders: Any) -> dict[str, str]:
    """A template as `launch` makes one, with orders for the stand-in agent."""
    image = ec2.describe_images(Filters=[{"Name": "tag-key", "Values": ["parallelize:version"]}])
    name = f"template-{os.urandom(4).hex()}"
    data = {
        "ImageId": image["Images"][0]["ImageId"],
        "UserData": base64.b64encode(json.dumps(orders).encode()).decode(),
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    return {"LaunchTemplateName": name, "Version": "$Latest"}


def launch(ec2: EC2Client, **orders: Any) -> str:
    """Launch one spot instance as `launch` does."""
    fleet = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": launch_template(ec2, **orders),
                "Overrides": [{"InstanceType": "c7i.large"}],
            }
        ],
        TargetCapacitySpecification={
            "TotalTargetCapacity": 1,
            "DefaultTargetCapacityType": "spot",
        },
    )
    return fleet["Instances"][0]["InstanceIds"][0]
