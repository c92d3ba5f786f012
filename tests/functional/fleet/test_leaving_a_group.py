"""Workers leave their Auto Scaling group as the agent does it, against moto and Stubber."""

import time

import boto3
import pytest
from botocore.stub import Stubber
from tests.functional.fleet.conftest import BUCKET, REGION

from parallelize.fleet.group import release
from parallelize_agent.machine.group import hold, leave, should_rest
from parallelize_core.errors import RefusedError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.layout import Location, RunLayout
from parallelize_core.pause import HELD_PROCESSES, pause, resume

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


LAYOUT = RunLayout(Location(BUCKET), "scans")
GROUP = "parallelize-scans"


@pytest.fixture
def fleet(account, parallelize):
    account.prepare("scans")
    parallelize("launch", "3", "--fleet", "persistent", "--autoscale", "--run", "scans")
    return account


def held(account):
    found = {one["ProcessName"] for one in account.group("scans")["SuspendedProcesses"]}
    return set(HELD_PROCESSES) <= found


def rests(account, *, failed):
    return should_rest(account.store, LAYOUT, "i-mine", failed=failed)


def beat(account, worker, state=WorkerState.BUSY):
    now = time.time()
    account.beat("scans", Heartbeat(
        worker=worker, state=state, started=now, seen=now, interval_seconds=30,
    ))  # fmt: skip


def test_a_paused_run_starts_no_workers_for_the_files_it_leaves_on_the_queue(fleet):
    pause(fleet.store, LAYOUT, "too much has failed")
    hold(fleet.client("autoscaling"), GROUP, lambda: rests(fleet, failed=False))
    assert held(fleet)


def test_a_run_that_goes_on_starts_workers(fleet):
    hold(fleet.client("autoscaling"), GROUP, lambda: rests(fleet, failed=False))
    assert not held(fleet)


def test_a_run_that_is_resumed_while_a_worker_leaves_is_not_held(fleet):
    pause(fleet.store, LAYOUT, "stopped")
    looks = []

    def rest():
        looks.append(rests(fleet, failed=False))
        # Between the worker's look and its call: the person's resumption comes too early.
        resume(fleet.store, LAYOUT)
        return looks[-1]

    hold(fleet.client("autoscaling"), GROUP, rest)
    assert looks == [True, False]
    assert not held(fleet)


def test_a_fleet_whose_last_worker_has_failed_starts_no_more_of_them(fleet):
    beat(fleet, "i-mine", WorkerState.FAILED)
    beat(fleet, "i-other", WorkerState.LEFT)
    assert rests(fleet, failed=True)


def test_one_worker_that_fails_beside_others_does_not_hold_the_fleet(fleet):
    beat(fleet, "i-other")
    assert not rests(fleet, failed=True)


@pytest.mark.parametrize("failed", [True, False])
def test_what_cannot_be_read_holds_the_fleet_only_if_the_worker_has_failed(fleet, failed):
    fleet.store.delete([LAYOUT.run_json])
    assert rests(fleet, failed=failed) is failed


def test_a_group_that_may_not_be_held_is_left_all_the_same(stubbed):
    client, stub = stubbed
    stub.add_client_error("suspend_processes", "AccessDenied", "no", 403)
    stub.add_response("terminate_instance_in_auto_scaling_group", {}, REQUEST)
    hold(client, GROUP, lambda: True)
    assert leave(client, "i-1")


def test_releasing_a_member_that_has_left_by_itself_goes_on_with_the_others(stubbed):
    client, stub = stubbed
    name = "terminate_instance_in_auto_scaling_group"
    stub.add_client_error(name, "ValidationError", "Instance Id not found - No managed instance")
    stub.add_response(name, {}, {**REQUEST, "InstanceId": "i-2"})
    release(client, ["i-1", "i-2"])
    stub.assert_no_pending_responses()


def test_releasing_members_without_the_permission_is_an_error(stubbed):
    client, stub = stubbed
    stub.add_client_error("terminate_instance_in_auto_scaling_group", "AccessDenied", "no", 403)
    with pytest.raises(RefusedError):
        release(client, ["i-1"])
