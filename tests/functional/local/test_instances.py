"""Instances of the local cloud: real processes that come and go as EC2 says."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psutil
import pytest
from tests.functional.local.helpers import (
    client_arguments,
    is_terminated,
    launch,
    launch_template,
    report,
    runs,
    until,
    view,
)

from parallelize.local.cloud import LocalCloud
from parallelize.local.instances import InstanceManager
from parallelize.local.records import REGION, state_of_this_process
from parallelize_core.container_image import IMAGES_VARIABLE
from parallelize_core.errors import UsageError
from parallelize_core.installers import OWN_VARIABLES, SETTINGS
from parallelize_core.registry import AUTH_VARIABLE

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client


def ec2_state(ec2: EC2Client, instance_id: str) -> str:
    answer = ec2.describe_instances(InstanceIds=[instance_id])
    return answer["Reservations"][0]["Instances"][0]["State"]["Name"]


def processes(found: dict[str, Any]) -> list[int]:
    return [found["pid"], found["job"], found["orphan"]]


@pytest.fixture
def found(cloud: LocalCloud, ec2: EC2Client) -> dict[str, Any]:
    """What the agent of a new instance says of itself."""
    return report(cloud, launch(ec2, name="some run"))


def test_a_group_starts_what_a_later_version_of_its_template_says(
    cloud: LocalCloud, ec2: EC2Client
) -> None:
    template = launch_template(ec2, name="before")
    data = ec2.describe_launch_template_versions(LaunchTemplateName=template["LaunchTemplateName"])[
        "LaunchTemplateVersions"
    ][0]["LaunchTemplateData"]
    data["UserData"] = base64.b64encode(json.dumps({"name": "now"}).encode()).decode()
    ec2.create_launch_template_version(
        LaunchTemplateName=template["LaunchTemplateName"],
        LaunchTemplateData=data,  # type: ignore[arg-type]
    )
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    name = {"AutoScalingGroupName": template["LaunchTemplateName"]}
    autoscaling = boto3.client("autoscaling", **client_arguments(cloud))
    autoscaling.create_auto_scaling_group(
        **name, MinSize=0, MaxSize=1, DesiredCapacity=1, VPCZoneIdentifier=subnet,
        LaunchTemplate={**template, "Version": "2"},  # type: ignore[typeddict-item]
    )  # fmt: skip
    found = autoscaling.describe_auto_scaling_groups(
        AutoScalingGroupNames=[template["LaunchTemplateName"]]
    )["AutoScalingGroups"][0]["Instances"]
    assert report(cloud, found[0]["InstanceId"])["orders"] == {"name": "now"}
    autoscaling.delete_auto_scaling_group(**name, ForceDelete=True)


def test_an_agent_is_told_what_it_is(cloud: LocalCloud, found: dict[str, Any]) -> None:
    assert found["orders"] == {"name": "some run"}
    assert found["instance_type"] == "c7i.large"
    assert found["region"] == REGION
    assert found["lifecycle"] == "spot"
    shown = view(cloud, found["instance_id"])
    assert shown is not None
    assert (shown.pid, shown.type) == (found["pid"], "c7i.large")
    cloud.kill(found["instance_id"])


def test_an_agent_has_only_what_a_machine_has(cloud: LocalCloud, found: dict[str, Any]) -> None:
    environ = found["environ"]
    # The locale coercion of the interpreter may add LC_CTYPE; a machine has installers on its PATH.
    images = {IMAGES_VARIABLE, AUTH_VARIABLE}  # where a machine's are is known to its agent
    assert set(environ) - {"LC_CTYPE", SETTINGS, *OWN_VARIABLES.values(), *images} == {
        "PATH",
        "HOME",
        "LANG",
        "AWS_ENDPOINT_URL",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    }
    assert environ["AWS_ENDPOINT_URL"] == cloud.endpoint
    assert found["session"] == found["pid"]
    cloud.kill(found["instance_id"])


def test_a_machine_has_the_path_of_the_shell_that_launched_it(
    cloud: LocalCloud, ec2: EC2Client
) -> None:
    path = f"/opt/mine/bin:{os.environ['PATH']}"
    instance_id = launch(ec2, path=path)
    assert report(cloud, instance_id)["environ"]["PATH"] == path
    cloud.kill(instance_id)


@pytest.mark.parametrize("path", ["/a\0/b", 7, ""], ids=["NUL", "number", "empty"])
def test_a_path_that_is_none_leaves_that_of_the_local_cloud(
    cloud: LocalCloud, ec2: EC2Client, path: object
) -> None:
    instance_id = launch(ec2, path=path)
    assert report(cloud, instance_id)["environ"]["PATH"] == os.environ["PATH"]
    cloud.kill(instance_id)


def test_the_instances_of_a_group_have_agents_too(cloud: LocalCloud, ec2: EC2Client) -> None:
    groups = boto3.client("autoscaling", **client_arguments(cloud))
    zones = [f"{REGION}a"]
    template = launch_template(ec2, name="group")
    groups.create_auto_scaling_group(
        AutoScalingGroupName="g",
        MinSize=0,
        MaxSize=1,
        DesiredCapacity=1,
        LaunchTemplate=template,
        AvailabilityZones=zones,
    )
    (instance,) = groups.describe_auto_scaling_instances()["AutoScalingInstances"]
    assert report(cloud, instance["InstanceId"])["orders"] == {"name": "group"}
    groups.terminate_instance_in_auto_scaling_group(
        InstanceId=instance["InstanceId"], ShouldDecrementDesiredCapacity=True
    )
    until(lambda: is_terminated(cloud, instance["InstanceId"]))


def test_an_agent_that_leaves_switches_its_machine_off(cloud: LocalCloud, ec2: EC2Client) -> None:
    found = report(cloud, launch(ec2, exit=True))
    until(lambda: is_terminated(cloud, found["instance_id"]))
    assert ec2_state(ec2, found["instance_id"]) == "terminated"
    assert not any(map(runs, processes(found)))


def test_termination_through_the_api_lets_the_agent_leave(
    cloud: LocalCloud, ec2: EC2Client, found: dict[str, Any]
) -> None:
    ec2.terminate_instances(InstanceIds=[found["instance_id"]])
    until(lambda: is_terminated(cloud, found["instance_id"]))
    assert not any(map(runs, processes(found)))


def test_an_agent_that_does_not_leave_is_killed_after_the_grace_period(
    cloud: LocalCloud, ec2: EC2Client
) -> None:
    found = report(cloud, launch(ec2, ignore_sigterm=True))
    ec2.terminate_instances(InstanceIds=[found["instance_id"]])
    until(lambda: is_terminated(cloud, found["instance_id"]))
    assert not any(map(runs, processes(found)))


def test_an_interruption_ends_in_a_power_cut(
    cloud: LocalCloud, ec2: EC2Client, found: dict[str, Any]
) -> None:
    cloud.interrupt(found["instance_id"], seconds=1)
    assert all(map(runs, processes(found)))
    until(lambda: is_terminated(cloud, found["instance_id"]))
    assert ec2_state(ec2, found["instance_id"]) == "terminated"
    assert not any(map(runs, processes(found)))


def test_a_kill_leaves_nothing(cloud: LocalCloud, ec2: EC2Client, found: dict[str, Any]) -> None:
    cloud.kill(found["instance_id"])
    assert not any(map(runs, processes(found)))
    assert is_terminated(cloud, found["instance_id"])
    assert ec2_state(ec2, found["instance_id"]) == "terminated"


def test_a_paused_instance_stands_still_until_it_is_resumed(
    cloud: LocalCloud, found: dict[str, Any]
) -> None:
    def are_stopped() -> list[bool]:
        stopped = psutil.STATUS_STOPPED
        return [psutil.Process(pid).status() == stopped for pid in processes(found)]

    cloud.pause(found["instance_id"])
    until(lambda: all(are_stopped()))
    cloud.resume(found["instance_id"])
    until(lambda: not any(are_stopped()))
    cloud.kill(found["instance_id"])


@pytest.mark.parametrize("instance_id", ["i-00000000000000000", "no such thing", "a/b"])
def test_an_unknown_instance_is_a_usage_error(cloud: LocalCloud, instance_id: str) -> None:
    with pytest.raises(UsageError, match="no such"):
        cloud.kill(instance_id)


def test_a_terminated_instance_cannot_be_killed_again(
    cloud: LocalCloud, found: dict[str, Any]
) -> None:
    cloud.kill(found["instance_id"])
    with pytest.raises(UsageError, match="no such instance is running"):
        cloud.interrupt(found["instance_id"])


class OneMachine:
    """EC2 with one instance, if it is wanted."""

    def __init__(self) -> None:
        self.wanted = False
        self.terminated: list[str] = []

    def get_paginator(self, name: str) -> OneMachine:
        return self

    def paginate(self, **_: object) -> list[dict[str, Any]]:
        described = {
            "InstanceId": "i-1", "InstanceType": "c5.large", "PrivateIpAddress": "10.0.0.1",
            "ImageId": "ami-1", "Placement": {"AvailabilityZone": "us-east-1a"},
        }  # fmt: skip
        return [{"Reservations": [{"Instances": [described] if self.wanted else []}]}]

    def describe_instance_attribute(self, **_: object) -> dict[str, Any]:
        return {}

    def terminate_instances(self, **asked: list[str]) -> None:
        self.wanted = False
        self.terminated += asked["InstanceIds"]


@pytest.fixture
def one_machine(tmp_path: Path) -> Iterator[tuple[OneMachine, Callable[..., InstanceManager]]]:
    """EC2, and what starts a manager that looks at it only when there is reason to."""
    ec2, managers = OneMachine(), list[InstanceManager]()

    def start(agent: str, grace_seconds: float = 60) -> InstanceManager:
        command, state = [sys.executable, "-c", agent], state_of_this_process(1)
        manager = InstanceManager(ec2, tmp_path, state, command, grace_seconds)  # type: ignore[arg-type]
        manager.poll_seconds = 3600
        manager.start()
        managers.append(manager)
        ec2.wanted = True
        manager.look()
        return manager

    yield ec2, start
    for manager in managers:
        manager.close()


def test_starts_and_ends_of_machines_need_not_wait_for_the_next_poll(
    one_machine: tuple[OneMachine, Callable[..., InstanceManager]],
) -> None:
    ec2, start = one_machine
    start("pass")
    until(lambda: ec2.terminated == ["i-1"])


def test_an_interrupted_machine_ends_in_time_without_a_poll(
    one_machine: tuple[OneMachine, Callable[..., InstanceManager]],
) -> None:
    ec2, start = one_machine
    manager = start("import time; time.sleep(3600)")
    until(lambda: bool(manager.views()))
    manager.interrupt("i-1", seconds=0.2)
    until(lambda: ec2.terminated == ["i-1"])


def test_a_machine_that_ignores_its_power_button_ends_in_time_without_a_poll(
    one_machine: tuple[OneMachine, Callable[..., InstanceManager]],
) -> None:
    ec2, start = one_machine
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    manager = start(f"{ignore} time.sleep(3600)", grace_seconds=0.2)
    until(lambda: any(view.pid for view in manager.views()))
    ec2.wanted = False
    manager.look()
    until(lambda: ec2.terminated == ["i-1"])
