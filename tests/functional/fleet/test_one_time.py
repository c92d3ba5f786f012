"""The life of a run's one-time workers, against moto's EC2."""

import base64
import json
import time

import botocore.handlers
import pytest
from botocore.stub import Stubber
from tests.functional.fleet.conftest import REGION

from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.termination import terminate
from parallelize_core.config import AgentConfig
from parallelize_core.errors import ParallelizeError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.names import Names


@pytest.fixture
def scans(account):
    return account.prepare("scans")


def user_data(account, machine):
    answer = account.client("ec2").describe_instance_attribute(
        InstanceId=machine["InstanceId"], Attribute="userData"
    )
    return base64.b64decode(answer["UserData"]["Value"]).decode()


def test_launch_answers_with_the_ids_of_the_machines(account, scans, parallelize):
    code, out, err = parallelize("launch", "3", "--run", "scans")
    machines = account.machines("scans")
    assert code == 0
    assert sorted(out.split()) == sorted(machine["InstanceId"] for machine in machines)
    assert len(machines) == 3
    assert "started 3 of 3 workers" in err


def test_a_machine_is_spot_tagged_and_from_the_newest_image(account, scans, parallelize):
    parallelize("launch", "1", "--run", "scans")
    (machine,) = account.machines("scans")
    tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
    assert machine["ImageId"] == account.image
    assert machine["InstanceLifecycle"] == "spot"
    assert tags["parallelize:managed"] == "true"


def test_a_machine_finds_the_agents_configuration_in_its_user_data(account, scans, parallelize):
    parallelize("launch", "1", "--run", "scans")
    _, printed, _ = parallelize("launch", "--print-config", "--run", "scans")
    (machine,) = account.machines("scans")
    found = AgentConfig.decode(user_data(account, machine), "user data")
    assert found.queue_url == scans.main.url
    assert found.model_copy(update={"hourly_usd": {}, "rates": None}) == AgentConfig.decode(
        printed, "stdout"
    )


def test_user_data_holds_no_credentials(account, scans, parallelize):
    parallelize("launch", "1", "--run", "scans")
    (machine,) = account.machines("scans")
    credentials = account.session.get_credentials()
    assert credentials.secret_key not in user_data(account, machine)
    assert "key" not in json.loads(user_data(account, machine))


def test_a_dry_run_creates_nothing_and_marks_each_line(account, scans, parallelize):
    code, out, err = parallelize("launch", "3", "--dry-run", "--run", "scans")
    *plan, last = err.splitlines()
    assert (code, out) == (0, "")
    assert last == "nothing was created"
    assert all(line.startswith("(dry run) ") for line in plan)
    assert account.machines("scans") == []
    assert account.client("ec2").describe_launch_templates()["LaunchTemplates"] == []


def test_a_dry_run_answers_in_json_if_that_is_wanted(account, scans, parallelize):
    code, out, err = parallelize("launch", "3", "--dry-run", "--json", "--run", "scans")
    plan = json.loads(out)
    assert (code, plan["run"], plan["asked"], plan["dry_run"]) == (0, "scans", {"spot": 3}, True)
    assert [image["id"] for image in plan["images"]] == [account.image]
    assert err.endswith("nothing was created\n")
    assert account.machines("scans") == []


def test_launching_again_uses_the_same_template(account, scans, parallelize):
    for _ in range(2):
        parallelize("launch", "1", "--run", "scans")
    versions = account.client("ec2").describe_launch_template_versions(
        LaunchTemplateName="parallelize-scans"
    )
    assert len(versions["LaunchTemplateVersions"]) == 1


def test_other_settings_make_a_new_version_of_the_template(
    account, scans, parallelize, monkeypatch
):
    parallelize("launch", "1", "--run", "scans")
    monkeypatch.setenv("PARALLELIZE_AGENT_LEASE", "60s")
    parallelize("launch", "1", "--run", "scans")
    leases = {
        AgentConfig.decode(user_data(account, machine), "").lease_seconds
        for machine in account.machines("scans")
    }
    assert leases == {60, 120}


def test_an_empty_queue_is_refused_with_exit_code_3(account, parallelize):
    account.prepare("empty", files=0)
    code, _, err = parallelize("launch", "1", "--run", "empty")
    assert code == 3
    assert "the queue is empty (0 files done, 0 failed)" in err


def test_a_run_that_is_all_done_is_not_told_to_enqueue_or_retry(account, scans, parallelize):
    account.finish("scans")
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 3
    assert "fix: parallelize download --run scans DIR" in err
    assert "enqueue" not in err
    assert "retry" not in err


def test_the_workers_there_are_count_when_more_are_launched(account, scans, parallelize):
    parallelize("launch", "8", "--run", "scans")
    code, _, err = parallelize("launch", "3", "--run", "scans")
    assert code == 2
    assert "11 workers for 10 files" in err
    assert "fix: launch 2" in err


def test_a_launch_makes_alarms_on_the_runs_own_queues_and_kill_ends_them(
    account, scans, parallelize
):
    parallelize("launch", "1", "--run", "scans")
    cloudwatch = account.client("cloudwatch")
    alarms = cloudwatch.describe_alarms()["MetricAlarms"]
    assert {alarm["Dimensions"][0]["Value"]: alarm["MetricName"] for alarm in alarms} == {
        "parallelize-scans": "ApproximateAgeOfOldestMessage",
        "parallelize-scans-dead": "ApproximateNumberOfMessagesVisible",
    }
    topic = f"arn:aws:sns:{REGION}:123456789012:parallelize-alarms"
    assert [alarm["AlarmActions"] for alarm in alarms] == [[topic]] * 2
    parallelize("kill", "--run", "scans")
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []


def test_without_metrics_a_launch_makes_no_alarm(account, scans, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_WORKERS_METRICS", "false")
    parallelize("launch", "1", "--run", "scans")
    assert account.client("cloudwatch").describe_alarms()["MetricAlarms"] == []


def test_a_queue_that_only_seems_empty_is_not_believed(account, scans, parallelize):
    # SQS counts late, and messages expire; jobs without a result are the truth.
    account.client("sqs").purge_queue(QueueUrl=scans.main.url)
    assert parallelize("launch", "1", "--run", "scans")[0] == 0


def test_a_queue_that_only_seems_to_have_few_messages_is_not_believed(account, scans, parallelize):
    url = {"QueueUrl": scans.main.url}
    for message in account.client("sqs").receive_message(**url, MaxNumberOfMessages=5)["Messages"]:
        account.client("sqs").delete_message(**url, ReceiptHandle=message["ReceiptHandle"])
    assert parallelize("launch", "6", "--run", "scans")[0] == 0
    assert parallelize("launch", "5", "--run", "scans")[0] == 2


def test_a_run_that_was_never_enqueued_has_nothing_to_do(account, parallelize):
    code, _, err = parallelize("launch", "1", "--run", "nobody")
    assert code == 3
    assert "parallelize enqueue" in err


def test_more_workers_than_files_are_refused(account, scans, parallelize):
    assert parallelize("launch", "11", "--run", "scans")[0] == 2
    assert account.machines("scans") == []


def test_a_launch_that_is_interrupted_says_that_workers_may_have_started(
    account, scans, parallelize
):
    def interrupt(parsed, **_):
        if parsed.get("Instances"):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        handlers = [
            *botocore.handlers.BUILTIN_HANDLERS,
            ("after-call.ec2.CreateFleet", interrupt),
        ]
        patch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)
        code, out, err = parallelize("launch", "2", "--run", "scans")
    assert (code, out) == (130, "")
    assert len(account.machines("scans")) == 2
    assert "workers may have started" in err
    assert "parallelize scale N --run scans" in err


def test_a_budget_that_the_heartbeats_say_is_spent_is_refused_with_exit_code_7(
    account, scans, parallelize
):
    beat = Heartbeat(
        worker="i-1", state=WorkerState.BUSY, started=0, seen=100 * 3600, interval_seconds=30,
        hourly_usd=0.25,
    )  # fmt: skip
    account.beat("scans", beat)
    code, _, err = parallelize("launch", "1", "--run", "scans", "--max-cost", "20")
    assert code == 7
    assert "about $25.00 spent already" in err


def test_without_an_image_the_error_says_how_to_get_one(account, scans, parallelize):
    account.client("ec2").deregister_image(ImageId=account.image)
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 2
    assert "no parallelize image in account 123456789012" in err


def test_the_newest_image_wins_and_an_id_or_parameter_overrides_it(account, scans, parallelize):
    account.client("ssm").put_parameter(Name="/our/image", Value=account.image, Type="String")
    other = account.client("ec2").register_image(Name="other")["ImageId"]
    parallelize("launch", "1", "--ami", other, "--run", "scans")
    parallelize("launch", "1", "--ami", "ssm:/our/image", "--run", "scans")
    assert {m["ImageId"] for m in account.machines("scans")} == {other, account.image}


@pytest.mark.parametrize("ami", ["ssm:/nobody/made/this", "stock"])
def test_a_parameter_that_is_not_there_is_named(account, scans, parallelize, wheels, ami):
    code, _, err = parallelize("launch", "1", "--ami", ami, "--run", "scans")
    assert code == 2
    assert "there is no SSM parameter" in err
    assert "/nobody/made/this" in err or "/aws/service/debian" in err


def test_scale_starts_what_is_missing_and_ends_what_is_too_many(account, scans, parallelize):
    for wanted in (2, 5, 1, 0):
        assert parallelize("scale", str(wanted), "--run", "scans")[0] == 0
        assert len(account.machines("scans")) == wanted


def test_scaling_up_keeps_the_number_of_on_demand_workers(account, scans, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_WORKERS_ON_DEMAND", "2")
    for wanted, on_demand in ((1, 1), (2, 2), (4, 2)):
        code, _, err = parallelize("scale", str(wanted), "--run", "scans")
        assert code == 0, err
        machines = account.machines("scans")
        assert len(machines) == wanted
        assert sum("InstanceLifecycle" not in machine for machine in machines) == on_demand


def test_scaling_down_spares_the_worker_that_has_work(account, scans, parallelize):
    parallelize("launch", "3", "--run", "scans")
    busy = account.machines("scans")[1]["InstanceId"]
    beat = Heartbeat(
        worker=busy, state=WorkerState.BUSY, started=0, seen=time.time(), interval_seconds=30,
        running=("a.txt",),
    )  # fmt: skip
    account.beat("scans", beat)
    parallelize("scale", "1", "--run", "scans")
    assert [machine["InstanceId"] for machine in account.machines("scans")] == [busy]


def test_scale_replaces_a_machine_that_hangs(account, scans, parallelize):
    parallelize("launch", "2", "--run", "scans")
    hangs = account.machines("scans")[0]["InstanceId"]
    account.beat("scans", Heartbeat(
        worker=hangs, state=WorkerState.BUSY, started=0, seen=1, interval_seconds=30,
    ))  # fmt: skip
    _, _, err = parallelize("scale", "2", "--dry-run", "--run", "scans")
    assert f"would end {hangs}" in err
    assert len(account.machines("scans")) == 2
    assert parallelize("scale", "2", "--run", "scans")[0] == 0
    there = [machine["InstanceId"] for machine in account.machines("scans")]
    assert len(there) == 2
    assert hangs not in there


def test_a_dry_run_of_scale_ends_nothing(account, scans, parallelize):
    parallelize("launch", "2", "--run", "scans")
    _, _, err = parallelize("scale", "1", "--dry-run", "--run", "scans")
    assert err.startswith("(dry run) would end i-")
    assert len(account.machines("scans")) == 2


def test_stop_asks_the_agents_to_leave_and_leaves_the_machines_to_them(account, scans, parallelize):
    parallelize("launch", "2", "--run", "scans")
    code, _, err = parallelize("stop", "--run", "scans")
    assert code == 0
    assert account.run("scans").paused.startswith("stopped with parallelize stop")
    assert len(account.machines("scans")) == 2
    assert "2 workers still there" in err


def test_a_stopped_run_is_not_launched_for(account, scans, parallelize):
    parallelize("stop", "--run", "scans")
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 3
    assert "the run is paused" in err


def test_kill_ends_this_runs_machines_and_nobody_elses(account, scans, parallelize):
    account.prepare("other")
    ec2 = account.client("ec2")
    foreign = ec2.run_instances(ImageId=account.image, MinCount=1, MaxCount=1)
    parallelize("launch", "3", "--run", "scans")
    parallelize("launch", "2", "--run", "other")
    code, _, err = parallelize("kill", "--run", "scans")
    assert code == 0
    assert "run scans: 3 workers ended" in err
    assert "left: no machine, no group, no volume (verified)" in err
    assert account.machines("scans") == []
    assert len(account.machines("other")) == 2
    mine = ec2.describe_instances(InstanceIds=[foreign["Instances"][0]["InstanceId"]])
    assert mine["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"


@pytest.mark.parametrize("code", ["AccessDenied", "ServiceUnavailable"])
def test_kill_ends_the_machines_although_auto_scaling_does_not_answer(
    account, scans, parallelize, code
):
    parallelize("launch", "3", "--run", "scans")
    clients = ComputeClients.make(account.session)
    with Stubber(clients.autoscaling) as stub:
        stub.add_client_error("describe_auto_scaling_groups", code, "no")
        with pytest.raises(ParallelizeError, match="3 workers were told to end") as told:
            terminate(clients, Names("scans"))
    assert "DescribeAutoScalingGroups" in told.value.what
    assert account.machines("scans") == []


def test_kill_may_be_repeated_and_takes_its_template_away(account, scans, parallelize):
    parallelize("launch", "1", "--run", "scans")
    assert parallelize("kill", "--run", "scans")[0] == 0
    assert parallelize("kill", "--run", "scans")[0] == 0
    assert account.client("ec2").describe_launch_templates()["LaunchTemplates"] == []


def test_a_dry_run_of_kill_names_the_machines_and_ends_none(account, scans, parallelize):
    _, out, _ = parallelize("launch", "2", "--run", "scans")
    _, _, err = parallelize("kill", "--dry-run", "--run", "scans")
    assert all(id_ in err for id_ in out.split())
    assert len(account.machines("scans")) == 2


def test_kill_says_as_json_what_it_ended(account, scans, parallelize):
    _, out, _ = parallelize("launch", "2", "--run", "scans")
    _, answer, _ = parallelize("kill", "--json", "--run", "scans")
    assert json.loads(answer)["ended"] == sorted(out.split())
    assert json.loads(answer)["left"] == []


def test_without_a_default_vpc_the_error_says_what_to_set(account, scans, parallelize):
    ec2 = account.client("ec2")
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 2
    assert "there is no default VPC in this region" in err
    assert "aws.subnets" in err


def test_a_machine_type_that_does_not_exist_is_named(account, scans, parallelize):
    code, _, err = parallelize("launch", "1", "--type", "c7i.enormous", "--run", "scans")
    assert code == 2
    assert "no machine type c7i.enormous" in err


def test_a_type_that_also_runs_32_bits_takes_the_image_of_64(account, scans, parallelize, vendors):
    words = ("launch", "1", "--ami", "stock", "--type", "t2.medium", "--run", "scans")
    code, _, err = parallelize(*words)
    assert code == 0, err
    (machine,) = account.machines("scans")
    assert machine["ImageId"] == vendors["stock", "x86_64"]


def test_of_two_subnets_in_a_zone_the_roomier_is_used(account, scans, parallelize, monkeypatch):
    ec2 = account.client("ec2")
    there = ec2.describe_subnets()["Subnets"][0]
    small = ec2.create_subnet(
        VpcId=there["VpcId"], AvailabilityZone=there["AvailabilityZone"],
        CidrBlock="172.31.250.0/28",
    )["Subnet"]["SubnetId"]  # fmt: skip
    monkeypatch.setenv("PARALLELIZE_AWS_SUBNETS", f"{there['SubnetId']},{small}")
    assert parallelize("launch", "2", "--run", "scans")[0] == 0
    assert {one["SubnetId"] for one in account.machines("scans")} == {there["SubnetId"]}
    [fleet] = ec2.describe_fleets()["Fleets"]
    overrides = [
        override["SubnetId"]
        for config in fleet["LaunchTemplateConfigs"]
        for override in config["Overrides"]
    ]
    assert set(overrides) == {there["SubnetId"]}


def test_machines_are_in_the_security_groups_of_the_settings(
    account, scans, parallelize, monkeypatch
):
    ec2 = account.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="db", Description="d", VpcId=vpc)["GroupId"]
    monkeypatch.setenv("PARALLELIZE_WORKERS_SECURITY_GROUPS", group)
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 0, err
    (version,) = ec2.describe_launch_template_versions(LaunchTemplateName="parallelize-scans")[
        "LaunchTemplateVersions"
    ]
    assert version["LaunchTemplateData"]["SecurityGroupIds"] == [group]


def test_a_security_group_that_is_not_there_or_of_another_vpc_is_named(
    account, scans, parallelize, monkeypatch
):
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    other = ec2.create_security_group(GroupName="db", Description="d", VpcId=vpc)["GroupId"]
    for group, told in (("sg-0123", "there is no security group sg-0123"), (other, f"is in {vpc}")):
        monkeypatch.setenv("PARALLELIZE_WORKERS_SECURITY_GROUPS", group)
        code, _, err = parallelize("launch", "1", "--run", "scans")
        assert code == 2
        assert told in err
    assert account.machines("scans") == []


def test_given_subnets_are_the_only_ones_used(account, scans, parallelize, monkeypatch):
    subnet = account.client("ec2").describe_subnets()["Subnets"][1]
    monkeypatch.setenv("PARALLELIZE_AWS_SUBNETS", subnet["SubnetId"])
    parallelize("launch", "2", "--run", "scans")
    assert {m["SubnetId"] for m in account.machines("scans")} == {subnet["SubnetId"]}
