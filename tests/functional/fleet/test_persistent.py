"""The life of a persistent fleet, against moto's Auto Scaling."""

import base64

import pytest
from tests.functional.fleet.conftest import BUCKET

from parallelize.context import open_context
from parallelize.operations.crew import launch_missing
from parallelize.operations.status import make_reader
from parallelize.options import Common
from parallelize.runs.state.status import status_of
from parallelize_agent.machine.group import leave
from parallelize_core.config import AgentConfig
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.layout import Location, RunLayout
from parallelize_core.pause import resume


@pytest.fixture
def group(account, parallelize):
    account.prepare("scans")
    code, out, _ = parallelize("launch", "3", "--fleet", "persistent", "--run", "scans")
    assert (code, out) == (0, "parallelize-scans\n")
    return account.group("scans")


def ids(group):
    return [member["InstanceId"] for member in group["Instances"]]


def test_a_group_holds_the_number_of_workers(account, group):
    assert group["MinSize"] == 0
    assert group["DesiredCapacity"] == len(ids(group)) == 3
    assert len(account.machines("scans")) == 3


def test_a_group_does_not_rebalance_its_zones(group):
    assert [one["ProcessName"] for one in group["SuspendedProcesses"]] == ["AZRebalance"]


def test_a_lost_worker_is_replaced(account, group):
    lost = ids(group)[0]
    account.client("ec2").terminate_instances(InstanceIds=[lost])
    left = ids(account.group("scans"))
    assert len(left) == 3
    assert lost not in left


def test_workers_leave_one_by_one_and_the_last_takes_the_group_to_zero(account, group):
    autoscaling = account.client("autoscaling")
    for count, worker in enumerate(ids(group), start=1):
        autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=worker, ShouldDecrementDesiredCapacity=True
        )
        assert account.group("scans")["DesiredCapacity"] == 3 - count
    assert account.machines("scans") == []


def test_launching_again_changes_the_group_that_is_there(account, group, parallelize):
    parallelize("launch", "5", "--fleet", "persistent", "--run", "scans")
    assert account.group("scans")["DesiredCapacity"] == 5


def test_launching_fewer_ends_no_worker_that_is_there(account, group, parallelize):
    parallelize("launch", "1", "--fleet", "persistent", "--run", "scans")
    now = account.group("scans")
    assert now["DesiredCapacity"] == now["MaxSize"] == 3
    assert set(ids(now)) == set(ids(group))


def test_letting_a_fleet_follow_the_queue_ends_no_worker_that_is_there(account, group, parallelize):
    words = ("launch", "5", "--fleet", "persistent", "--autoscale", "--run", "scans")
    assert parallelize(*words)[0] == 0
    now = account.group("scans")
    assert (now["DesiredCapacity"], now["MaxSize"]) == (3, 5)
    assert set(ids(now)) == set(ids(group))


def test_a_price_limit_that_is_no_longer_wanted_is_taken_away(account, parallelize):
    account.prepare("scans")
    words = ("launch", "2", "--fleet", "persistent", "--run", "scans")
    parallelize(*words, "--max-price", "0.05")
    parallelize(*words)
    policy = account.group("scans")["MixedInstancesPolicy"]
    assert not policy["InstancesDistribution"].get("SpotMaxPrice")


@pytest.mark.parametrize("wanted", [5, 1, 0])
def test_scale_brings_the_group_to_the_number_and_keeps_it_there(
    account, group, parallelize, wanted
):
    assert parallelize("scale", str(wanted), "--run", "scans")[0] == 0
    now = account.group("scans")
    assert now["DesiredCapacity"] == now["MaxSize"] == len(ids(now)) == wanted


@pytest.mark.parametrize("wanted", [4, 3, 2])
def test_scale_leaves_no_member_that_hangs(account, group, parallelize, wanted):
    hangs = ids(group)[0]
    account.beat("scans", Heartbeat(
        worker=hangs, state=WorkerState.BUSY, started=0, seen=1, interval_seconds=30,
    ))  # fmt: skip
    assert parallelize("scale", str(wanted), "--run", "scans")[0] == 0
    now = account.group("scans")
    assert now["DesiredCapacity"] == now["MaxSize"] == len(ids(now)) == wanted
    assert hangs not in ids(now)


@pytest.fixture
def tail(account, group, parallelize):
    """Two workers on-demand beside the group's three."""
    words = ("launch", "2", "--fleet", "one-time", "--market", "on-demand", "--run", "scans")
    code, out, _ = parallelize(*words)
    assert code == 0
    return set(out.split())


@pytest.mark.parametrize("wanted", [7, 5, 4])
def test_scale_counts_workers_outside_the_group_too(account, tail, parallelize, wanted):
    assert parallelize("scale", str(wanted), "--run", "scans")[0] == 0
    machines = {machine["InstanceId"] for machine in account.machines("scans")}
    now = account.group("scans")
    assert len(machines) == wanted
    # Nor may the group's alarms or a lost worker bring it above the number.
    assert now["MaxSize"] + len(machines - set(ids(now))) == wanted


def test_a_group_beside_other_workers_is_refused_if_some_would_have_nothing_to_do(
    account, parallelize
):
    account.prepare("scans", files=10)
    assert parallelize("launch", "8", "--run", "scans")[0] == 0
    words = ("--fleet", "persistent", "--run", "scans")
    code, _, err = parallelize("launch", "3", *words)
    assert code == 2
    assert "11 workers for 10 files" in err
    assert parallelize("launch", "2", *words)[0] == 0
    # Its own members it has already.
    assert parallelize("launch", "2", *words)[0] == 0


def test_run_brings_a_group_to_the_number_that_is_wanted(account, group, monkeypatch):
    group_of = {"AutoScalingGroupName": "parallelize-scans"}
    account.client("autoscaling").update_auto_scaling_group(**group_of, DesiredCapacity=2)
    monkeypatch.setenv("PARALLELIZE_WORKERS_FLEET", "persistent")
    monkeypatch.setenv("PARALLELIZE_WORKERS_COUNT", "6")
    context = open_context(Common(run="scans"))
    launch_missing(context, status_of(make_reader(context).snapshot()))
    assert len(account.machines("scans")) == 6


def test_a_stopped_run_replaces_no_worker_that_leaves(account, group, parallelize):
    parallelize("stop", "--run", "scans")
    suspended = {one["ProcessName"] for one in account.group("scans")["SuspendedProcesses"]}
    assert {"Launch", "AlarmNotification"} <= suspended


def test_a_dry_run_of_stop_names_the_group_and_holds_nothing(account, group, parallelize):
    _, _, err = parallelize("stop", "--dry-run", "--run", "scans")
    assert "(dry run) would stop the Auto Scaling group parallelize-scans" in err
    assert suspended(account) == {"AZRebalance"}
    assert account.run("scans").paused == ""


def suspended(account):
    return {one["ProcessName"] for one in account.group("scans")["SuspendedProcesses"]}


def test_enqueue_lets_a_stopped_run_and_its_group_go_on(account, group, parallelize):
    parallelize("stop", "--run", "scans")
    parallelize("enqueue", "--run", "scans")
    assert account.run("scans").paused == ""
    assert suspended(account) == {"AZRebalance"}


def test_enqueue_lets_a_run_without_a_group_go_on(account, parallelize):
    account.prepare("scans", sent=False)
    parallelize("stop", "--run", "scans")
    code, _, err = parallelize("enqueue", "--run", "scans")
    assert code == 0
    assert "resumed run scans" in " ".join(err.split())
    assert "fix:" not in err


def test_scaling_up_lets_a_stopped_group_launch_again(account, group, parallelize):
    parallelize("stop", "--run", "scans")
    assert parallelize("scale", "4", "--run", "scans")[0] == 3  # they would leave at once
    resume(account.store, RunLayout(Location(BUCKET), "scans"))  # as enqueue does
    assert parallelize("scale", "4", "--run", "scans")[0] == 0
    suspended = {one["ProcessName"] for one in account.group("scans")["SuspendedProcesses"]}
    assert suspended == {"AZRebalance"}


def test_kill_takes_the_group_first_so_that_nothing_is_replaced(account, group, parallelize):
    code, _, err = parallelize("kill", "--run", "scans")
    assert code == 0
    assert account.group("scans") is None
    assert account.machines("scans") == []
    assert "(verified)" in err


def test_kill_leaves_another_runs_group_alone(account, group, parallelize):
    account.prepare("other")
    parallelize("launch", "2", "--fleet", "persistent", "--run", "other")
    parallelize("kill", "--run", "scans")
    assert len(ids(account.group("other"))) == 2


def test_scaling_up_refuses_more_workers_than_files_counting_those_there_are(
    account, group, parallelize
):
    code, _, err = parallelize("scale", "11", "--run", "scans")
    assert code == 2
    assert "11 workers for 10 files" in err
    assert len(ids(account.group("scans"))) == 3


def test_scaling_up_refuses_an_empty_queue(account, group, parallelize):
    account.finish("scans")
    code, _, err = parallelize("scale", "4", "--run", "scans")
    assert code == 3
    assert "the queue is empty (10 files done, 0 failed)" in err


def test_scaling_up_refuses_to_go_above_the_cost_limit(account, group, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_WORKERS_MAX_COST", "20")
    account.beat("scans", Heartbeat(
        worker="i-1", state=WorkerState.BUSY, started=0, seen=100 * 3600, interval_seconds=30,
        hourly_usd=0.25,
    ))  # fmt: skip
    code, _, err = parallelize("scale", "4", "--run", "scans")
    assert code == 7
    assert "about $25.00 spent already" in err


def test_scaling_up_refuses_without_an_image(account, group, parallelize):
    account.client("ec2").deregister_image(ImageId=account.image)
    assert parallelize("scale", "4", "--run", "scans")[0] == 2


def test_scaling_up_may_be_forced(account, group, parallelize):
    assert parallelize("scale", "11", "--force", "--run", "scans")[0] == 0
    assert len(ids(account.group("scans"))) == 11


def test_scaling_down_asks_for_nothing(account, group, parallelize):
    account.finish("scans")
    assert parallelize("scale", "1", "--run", "scans")[0] == 0


class TestFollowingTheQueue:
    @pytest.fixture
    def follower(self, account, parallelize):
        account.prepare("scans", files=0)
        words = ("launch", "10", "--fleet", "persistent", "--autoscale", "--run", "scans")
        assert parallelize(*words)[0] == 0
        return account.group("scans")

    def test_it_starts_at_zero_though_the_queue_is_empty(self, follower):
        assert (follower["DesiredCapacity"], follower["MaxSize"]) == (0, 10)

    def test_an_alarm_on_waiting_files_wakes_it(self, account, follower):
        (alarm,) = account.client("cloudwatch").describe_alarms(
            AlarmNames=["parallelize-scans-wake"]
        )["MetricAlarms"]
        policies = account.client("autoscaling").describe_policies(
            AutoScalingGroupName="parallelize-scans"
        )["ScalingPolicies"]
        arns = {policy["PolicyName"]: policy["PolicyARN"] for policy in policies}
        assert alarm["AlarmActions"] == [arns["wake"]]
        assert set(arns) == {"wake", "backlog-per-worker"}

    def test_the_wake_policy_starts_the_first_worker_and_the_last_to_leave_ends_at_zero(
        self, account, follower
    ):
        # moto evaluates no alarm and takes no steps, so the test takes the policy's only step.
        autoscaling = account.client("autoscaling")
        name = {"AutoScalingGroupName": "parallelize-scans"}
        (policy,) = autoscaling.describe_policies(**name, PolicyNames=["wake"])["ScalingPolicies"]
        (step,) = policy["StepAdjustments"]
        wanted = follower["DesiredCapacity"] + step["ScalingAdjustment"]
        autoscaling.set_desired_capacity(**name, DesiredCapacity=wanted)
        (worker,) = ids(account.group("scans"))
        assert leave(autoscaling, worker)
        now = account.group("scans")
        assert (now["DesiredCapacity"], now["MaxSize"], ids(now)) == (0, 10, [])

    def test_a_fleet_that_shall_not_follow_any_more_is_not_woken(
        self, account, follower, parallelize
    ):
        words = ("launch", "2", "--fleet", "persistent", "--force", "--run", "scans")
        assert parallelize(*words)[0] == 0
        assert account.group("scans")["DesiredCapacity"] == 2
        name = {"AutoScalingGroupName": "parallelize-scans"}
        policies = account.client("autoscaling").describe_policies(**name)["ScalingPolicies"]
        alarms = account.client("cloudwatch").describe_alarms()["MetricAlarms"]
        assert policies == []
        assert "parallelize-scans-wake" not in {alarm["AlarmName"] for alarm in alarms}

    def test_kill_takes_the_alarms_along(self, account, follower, parallelize):
        parallelize("kill", "--run", "scans")
        assert account.client("cloudwatch").describe_alarms()["MetricAlarms"] == []


def test_the_workers_of_a_group_have_the_same_configuration(account, group, parallelize):
    words = ("launch", "--print-config", "--fleet", "persistent", "--run", "scans")
    _, printed, _ = parallelize(*words)
    versions = account.client("ec2").describe_launch_template_versions(
        LaunchTemplateName="parallelize-scans"
    )["LaunchTemplateVersions"]
    data = base64.b64decode(versions[0]["LaunchTemplateData"]["UserData"]).decode()
    unpriced = {"hourly_usd": {}, "rates": None}
    found = AgentConfig.decode(data, "user data").model_copy(update=unpriced)
    assert found == AgentConfig.decode(printed, "stdout")
