"""Why a run stands still, as EC2 tells it, against moto and Stubber."""

from dataclasses import replace
from datetime import UTC, datetime

import boto3
import pytest
from botocore.stub import Stubber
from tests.functional.fleet.conftest import BUCKET, REGION

from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.group import last_refusal
from parallelize.runs.state.snapshot import Reader
from parallelize.runs.state.stall_diagnosis import BOOT_SECONDS, explain, told_by_ec2
from parallelize.runs.state.status import status_of
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.layout import Location, RunLayout
from parallelize_core.names import Names

LAYOUT = RunLayout(Location(BUCKET), "scans")


@pytest.fixture
def scans(account, parallelize):
    account.prepare("scans")
    return account


def why(account, seconds_later=0):
    status = status_of(Reader(account.store, LAYOUT).snapshot())
    later = replace(status, taken_at=status.taken_at + seconds_later)
    return explain(ComputeClients.make(account.session), Names("scans"), later)


def beat(account, worker, seen):
    account.beat("scans", Heartbeat(
        worker=worker, state=WorkerState.BUSY, started=seen, seen=seen, interval_seconds=30,
    ))  # fmt: skip


def test_machines_that_have_not_reported_yet_boot(scans, parallelize):
    parallelize("launch", "2", "--run", "scans")
    assert why(scans).startswith("2 machines boot, for ")


def test_a_machine_that_never_reports_is_named_with_the_way_to_its_console(scans, parallelize):
    parallelize("launch", "1", "--run", "scans")
    [machine] = scans.machines("scans")
    told = why(scans, BOOT_SECONDS + 1)
    assert f"machine {machine['InstanceId']} never reported" in told
    assert f"get-console-output --latest --instance-id {machine['InstanceId']}" in told


def test_a_worker_that_ec2_does_not_know_any_more_is_gone(scans, parallelize):
    parallelize("launch", "1", "--run", "scans")
    [machine] = scans.machines("scans")
    beat(scans, machine["InstanceId"], datetime.now(UTC).timestamp() - 600)
    assert why(scans) is None  # overdue, but there
    scans.client("ec2").terminate_instances(InstanceIds=[machine["InstanceId"]])
    assert "is gone without a last heartbeat" in why(scans)


def test_a_machine_that_is_there_and_silent_for_too_long_hangs(scans, parallelize):
    parallelize("launch", "1", "--run", "scans")
    [machine] = scans.machines("scans")
    beat(scans, machine["InstanceId"], datetime.now(UTC).timestamp() - 3600)
    assert "1 machine hangs" in why(scans)
    assert machine["InstanceId"] in why(scans)


def test_status_says_so(scans, parallelize):
    parallelize("launch", "1", "--run", "scans")
    code, out, _ = parallelize("status", "--run", "scans")
    assert code == 0
    assert "1 machine boots" in out


def test_a_fleet_that_is_held_is_named_with_what_lets_it_go_on(scans, parallelize):
    parallelize("launch", "2", "--fleet", "persistent", "--autoscale", "--run", "scans")
    autoscaling = scans.client("autoscaling")
    group = {"AutoScalingGroupName": "parallelize-scans"}
    autoscaling.update_auto_scaling_group(**group, DesiredCapacity=0)
    autoscaling.suspend_processes(**group, ScalingProcesses=["Launch"])
    assert (
        why(scans) == "its fleet is held and starts no workers; to resume it: parallelize scale N"
    )


def test_a_fleet_that_is_held_for_a_worker_that_failed_says_with_what(scans, parallelize):
    test_a_fleet_that_is_held_is_named_with_what_lets_it_go_on(scans, parallelize)
    scans.beat("scans", Heartbeat(
        worker="i-1", state=WorkerState.FAILED, started=0, seen=1, interval_seconds=30,
        reason="the instance's user data is not an agent configuration: slot",
    ))  # fmt: skip
    told = why(scans)
    assert "user data is not an agent configuration: slot" in told
    assert told.endswith("parallelize scale N")


def test_who_may_not_ask_ec2_is_told_what_the_heartbeats_tell(scans, parallelize, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    code, out, _ = parallelize("status", "--run", "scans")
    assert code == 0
    assert "no worker has reported yet" in out


@pytest.mark.parametrize(
    ("activities", "told"),
    [
        ([{"StatusCode": "Successful"}], None),
        ([{"StatusCode": "InProgress"}], None),
        ([{"StatusCode": "Failed", "StatusMessage": "no capacity"}], "no capacity"),
        ([{"StatusCode": "Cancelled"}], "Cancelled"),
        ([{"StatusCode": "PreInService"}, {"StatusCode": "Failed"}], "Failed"),
        ([{"StatusCode": "Successful"}, {"StatusCode": "Failed"}], None),
    ],
)
def test_why_a_group_cannot_start_machines_is_read_from_what_it_last_tried(activities, told):
    client = boto3.client(
        "autoscaling", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
    )
    required = {
        "ActivityId": "1", "AutoScalingGroupName": "g", "Cause": "c",
        "StartTime": datetime(2026, 11, 20, tzinfo=UTC),
    }  # fmt: skip
    with Stubber(client) as stub:
        stub.add_response(
            "describe_scaling_activities",
            {"Activities": [{**required, **activity} for activity in activities]},
            {"AutoScalingGroupName": "g", "MaxRecords": 20},
        )
        assert last_refusal(client, "g") == told


def test_what_ec2_does_not_tell_is_said_beside_what_the_workers_told(scans, parallelize):
    """An endpoint may serve S3 and SQS only, and answer EC2's calls with something else."""
    client = boto3.client("ec2", REGION, aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stub:
        stub.add_response("describe_instances", {})
        status = status_of(Reader(scans.store, LAYOUT).snapshot())
        told = told_by_ec2(ComputeClients(client, client, client), Names("scans"), status)
    assert told.why == f"{status.why}; EC2 cannot tell more: EC2's answer cannot be understood"
