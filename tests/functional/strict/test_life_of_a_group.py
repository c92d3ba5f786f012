"""The life of a persistent fleet where AWS is slow: late metadata, late deletion, unseen deaths."""

import pytest
from botocore.config import Config
from tests.functional.strict.test_first_day import PERSISTENT, refused, why
from tests.strict_aws.rules.groups import BusyGroup, DeletedGroup
from tests.strict_aws.rules.machines import EndedAtOnce
from tests.strict_aws.rules.market import SpotCapacity
from tests.strict_aws.rules.templates import NewTemplate

from parallelize.fleet import group as groups
from parallelize.fleet.clients import ComputeClients
from parallelize_agent.machine.group import is_member, leave


def members(account):
    return [one["InstanceId"] for one in account.group("scans")["Instances"]]


@pytest.fixture
def fleet(account, parallelize):
    """A group of two, whose template EC2 did not know yet, and which was busy at first."""
    account.prepare("scans")
    code, _, err = parallelize("launch", "2", *PERSISTENT)
    assert code == 0, err
    assert refused(account, NewTemplate)
    assert refused(account, BusyGroup)
    return account


def test_it_lives_through_unseen_deaths_late_metadata_and_its_own_slow_deletion(fleet, parallelize):
    # EC2 ends a machine before its first word; the group starts another, and status tells of both.
    lost = members(fleet)[0]
    rule = fleet.strict.rule(EndedAtOnce)
    fleet.client("ec2").terminate_instances(InstanceIds=[lost])
    rule.end("eu-west-1", lost, rule.VOLUMES)
    assert lost not in members(fleet)
    assert len(members(fleet)) == 2
    fleet.strict.world.clock.sleep(5)
    assert why(fleet).startswith("2 machines boot")
    assert why(fleet).endswith(
        f"; EC2 ended 1 machine before the first heartbeat: {lost}, {rule.VOLUMES[1]}"
    )

    # Workers whose metadata service never knew of the group leave it all the same, one by one.
    autoscaling = ComputeClients.make(fleet.session).autoscaling
    for left, worker in zip((1, 0), members(fleet), strict=True):
        assert is_member(True, "", lambda: None)
        assert leave(autoscaling, worker)
        assert fleet.group("scans")["DesiredCapacity"] == left
    assert fleet.machines("scans") == []

    # It is launched once more, killed, and launched while AWS still deletes the former.
    for size in (2, 3):
        code, _, err = parallelize("launch", str(size), *PERSISTENT)
        assert code == 0, err
        assert fleet.group("scans")["DesiredCapacity"] == len(fleet.machines("scans")) == size
        assert parallelize("kill", "--run", "scans")[0] == 0
        assert fleet.machines("scans") == []
    assert "still deleting the run's former Auto Scaling group" in err
    assert refused(fleet, DeletedGroup)


@pytest.fixture
def scans(account):
    account.prepare("scans")
    return account


GROUP = "parallelize-scans"


def test_launch_and_status_tell_that_the_spot_market_has_nothing_for_a_group(scans, parallelize):
    market = scans.strict.rule(SpotCapacity)
    market.over = True
    code, out, err = parallelize("launch", "2", *PERSISTENT)
    assert (code, out) == (5, f"{GROUP}\n"), err
    assert "no Spot capacity available that matches your request" in " ".join(err.split())
    assert "the group has 0 of 2 workers, and keeps trying" in " ".join(err.split())
    assert "no Spot capacity available" in why(scans)
    market.over = False
    assert why(scans) is None
    assert len(scans.machines("scans")) == 2


def test_a_group_keeps_its_workers_on_demand_when_the_spot_market_has_nothing(scans, parallelize):
    scans.strict.rule(SpotCapacity).over = True
    code, _, err = parallelize("launch", "2", "--market", "on-demand", *PERSISTENT)
    assert code == 0, err
    assert len(scans.machines("scans")) == 2


def test_launch_says_why_ec2_ended_the_machines_of_a_group(scans, parallelize):
    scans.strict.rule(EndedAtOnce).end_next(EndedAtOnce.VOLUMES, 100)
    code, _, err = parallelize("launch", "2", *PERSISTENT)
    told = " ".join(err.split())
    assert code == 5, err
    assert "EC2 ended workers as they started: the quota of volumes in eu-west-1 is used up" in told
    assert "Termination Reason: Client.VolumeLimitExceeded" in told
    assert EndedAtOnce.VOLUMES[1] in why(scans)


def test_a_group_whose_first_machines_ended_and_whose_next_did_not_is_a_success(scans, parallelize):
    scans.strict.rule(EndedAtOnce).end_next(EndedAtOnce.SPOT, 2)
    code, _, err = parallelize("launch", "2", *PERSISTENT)
    assert code == 0, err
    assert len(scans.machines("scans")) == 2


def test_launching_again_does_not_tell_an_older_refusal(scans, parallelize):
    market = scans.strict.rule(SpotCapacity)
    market.over = True
    assert parallelize("launch", "2", *PERSISTENT)[0] == 5
    market.over = False
    code, _, err = parallelize("launch", "2", *PERSISTENT)
    assert code == 0, err


def test_launch_says_that_a_groups_subnet_has_too_few_addresses(account, parallelize, monkeypatch):
    account.prepare("scans", files=40)
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    small = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/28", AvailabilityZone="eu-west-1a")
    monkeypatch.setenv("PARALLELIZE_AWS_SUBNETS", small["Subnet"]["SubnetId"])
    code, _, err = parallelize("launch", "20", *PERSISTENT)
    assert code == 5, err
    assert "the subnets have too few free addresses" in err


@pytest.mark.parametrize(
    ("kind", "disk", "words"),
    [
        ("c6a.xlarge", {}, "instance type (c6a.xlarge) is not supported in this region"),
        ("c7g.xlarge", {}, "does not match the architecture 'x86_64'"),
        ("c7i.xlarge", {"VolumeSize": 8}, "expect size >= 15GB"),
        ("c7i.xlarge", {"VolumeSize": 15, "Iops": 8000}, "ratio is too high"),
    ],
)
def test_a_group_is_held_to_the_rules_of_all_machines(
    account, monkeypatch, kind, disk, words
):  # fmt: skip
    region = "eu-north-1"
    monkeypatch.setenv("AWS_REGION", region)
    ec2 = account.session.client("ec2", region_name=region)
    autoscaling = account.session.client(
        "autoscaling", region_name=region, config=Config(user_agent_extra="parallelize")
    )
    image = ec2.register_image(Name="workers", RootDeviceName="/dev/sda1")["ImageId"]
    data = {"ImageId": image}
    if disk:
        data["BlockDeviceMappings"] = [{"DeviceName": "/dev/sda1", "Ebs": disk}]
    made = ec2.create_launch_template(LaunchTemplateName="t", LaunchTemplateData=data)
    named = {"LaunchTemplateId": made["LaunchTemplate"]["LaunchTemplateId"], "Version": "1"}
    template = {"LaunchTemplateSpecification": named, "Overrides": [{"InstanceType": kind}]}
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="g", MinSize=0, MaxSize=1, DesiredCapacity=1,
        AvailabilityZones=[f"{region}a"], MixedInstancesPolicy={"LaunchTemplate": template},
    )  # fmt: skip
    (told,) = autoscaling.describe_scaling_activities(AutoScalingGroupName="g", MaxRecords=1)[
        "Activities"
    ]
    assert told["StatusCode"] == "Failed"
    assert words in told["StatusMessage"]
    assert groups.find(autoscaling, "g").members == ()
