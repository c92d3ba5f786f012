"""Workers leave their Auto Scaling group as the agent does it, against moto and Stubber."""

import boto3
import pytest
from botocore.stub import Stubber
from tests.functional.fleet.conftest import REGION

from parallelize_agent.group import leave

REQUEST = {"InstanceId": "i-1", "ShouldDecrementDesiredCapacity": True}


def test_each_worker_that_leaves_lowers_the_group_and_the_last_takes_it_to_zero(
    account, parallelize
):
    account.prepare("scans")
    parallelize("launch", "3", "--fleet", "persistent", "--run", "scans")
    autoscaling = account.client("autoscaling")
    members = [member["InstanceId"] for member in account.group("scans")["Instances"]]
    for left, worker in zip((2, 1, 0), members, strict=True):
        assert leave(autoscaling, worker)
        assert account.group("scans")["DesiredCapacity"] == left
    assert account.machines("scans") == []


@pytest.fixture
def stubbed():
    client = boto3.client(
        "autoscaling", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(client) as stub:
        yield client, stub


def test_a_group_that_is_busy_is_asked_again(stubbed):
    client, stub = stubbed
    name = "terminate_instance_in_auto_scaling_group"
    stub.add_client_error(name, "ScalingActivityInProgress", "busy", 400, expected_params=REQUEST)
    stub.add_response(name, {}, REQUEST)
    assert leave(client, "i-1")


@pytest.mark.parametrize("code", ["ValidationError", "AccessDenied"])
def test_a_worker_that_cannot_leave_its_group_says_so_and_goes_on(stubbed, code):
    client, stub = stubbed
    stub.add_client_error("terminate_instance_in_auto_scaling_group", code, "no", 400)
    assert not leave(client, "i-1")
