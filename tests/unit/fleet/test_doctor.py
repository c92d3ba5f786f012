from dataclasses import replace
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.stub import Stubber
from tests.unit.fleet.examples import IMAGE, SPOT_STANDARD, kind

from parallelize.fleet import call_limits
from parallelize.fleet.call_limits import CallLimits, find_call_limits
from parallelize.fleet.facts import Quota
from parallelize.fleet.leftovers import Leftover
from parallelize.fleet.network import Network
from parallelize.operations.doctor import called_besides
from parallelize.operations.findings import (
    Verdict,
    judge_clock,
    judge_containers,
    judge_disks,
    judge_gpus,
    judge_image,
    judge_leftovers,
    judge_network,
    judge_own_gpus,
    judge_quota,
    judge_requests,
    judge_stack,
)
from parallelize.setting_tables import WorkersTable

KINDS = [kind()]
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(0, Verdict.GOOD), (100, Verdict.GOOD), (-200, Verdict.LOOK), (301, Verdict.BAD)],
)
def test_a_clock_may_be_off_by_less_than_what_aws_refuses(seconds, verdict):
    assert judge_clock(NOW, NOW + timedelta(seconds=seconds)).verdict is verdict


class TestImage:
    def test_none_is_bad_and_says_how_to_get_one(self):
        finding = judge_image(None, KINDS, NOW, "0.1.0")
        assert finding.verdict is Verdict.BAD
        assert "image build" in finding.fix

    def test_a_fresh_one_of_this_version_is_good(self):
        assert judge_image(IMAGE, KINDS, NOW, "0.1.0").verdict is Verdict.GOOD

    def test_another_version_is_worth_a_look(self):
        assert (
            "has agent 0.1.0, but this is version 0.2.0"
            in judge_image(IMAGE, KINDS, NOW, "0.2.0").text
        )

    def test_an_old_one_is_worth_a_look(self):
        finding = judge_image(IMAGE, KINDS, NOW + timedelta(days=100), "0.1.0")
        assert "102 days old" in finding.text

    def test_one_that_no_machine_of_the_settings_can_run_is_bad(self):
        finding = judge_image(IMAGE, [kind("c7g.xlarge", architecture="arm64")], NOW, "0.1.0")
        assert finding.verdict is Verdict.BAD
        assert "is for x86_64, not for c7g.xlarge" in finding.text

    def test_one_that_some_of_the_machines_can_run_is_good(self):
        mixed = [kind("c7g.xlarge", architecture="arm64"), *KINDS]
        assert judge_image(IMAGE, mixed, NOW, "0.1.0").verdict is Verdict.GOOD


class TestQuota:
    def test_room_for_the_workers_is_good(self):
        assert judge_quota([Quota(SPOT_STANDARD, 16, 8)], "spot", 8).verdict is Verdict.GOOD

    def test_too_little_room_says_what_to_ask_for(self):
        finding = judge_quota([Quota(SPOT_STANDARD, 5, 0)], "spot", 8)
        assert finding.verdict is Verdict.BAD
        assert "as in new accounts" in finding.text
        assert finding.fix.endswith("--request-quota 64")

    def test_an_unreadable_quota_is_no_verdict(self):
        assert judge_quota([], "spot", 8).verdict is Verdict.LOOK


class TestDisks:
    def test_room_for_the_workers_disks_is_good(self):
        assert judge_disks(51200, 1200, 50_000).verdict is Verdict.GOOD

    def test_disks_beyond_the_quota_are_bad_and_it_is_said_what_to_ask_for(self):
        finding = judge_disks(51200, 51000, 250)
        assert finding.verdict is Verdict.BAD
        assert finding.text == "200 of 51,200 GiB of gp3 storage are free; this run needs 250"
        assert "gp3" in finding.fix


class TestRequests:
    def test_what_ec2_lets_start_at_once_is_good_with_the_quota_of_calls(self):
        finding = judge_requests(CallLimits(50, 5.0), 1000)
        assert finding.verdict is Verdict.GOOD
        assert "1,000 machines at once, 2 a second after that" in finding.text
        assert "CreateFleet 50 times at once, 5 times a second" in finding.text

    def test_a_quota_that_cannot_be_read_is_said_and_stands_in_nobodys_way(self):
        finding = judge_requests(None, 2)
        assert finding.verdict is Verdict.GOOD
        assert "the quota of CreateFleet's calls cannot be read" in finding.text

    def test_thousands_take_their_time_and_it_is_said_how_long(self):
        finding = judge_requests(None, 5000)
        assert finding.verdict is Verdict.LOOK
        assert "5,000 workers take about 33 minutes to start" in finding.text
        assert "AWS Support" in finding.fix


def test_the_limits_of_calls_are_found_by_their_names():
    client = boto3.Session("a", "b", region_name="eu-west-1").client("service-quotas")
    names = {call_limits.AT_ONCE: 50.0, call_limits.PER_SECOND: 5.0, "Other quota": 1.0}
    with Stubber(client) as stub:
        for number, (name, value) in enumerate(names.items()):
            last = number == len(names) - 1
            page = {"Quotas": [{"QuotaName": name, "Value": value}]}
            stub.add_response("list_service_quotas", page if last else {**page, "NextToken": name})
        assert find_call_limits(client) == CallLimits(50, 5.0)


def test_limits_that_are_not_listed_are_not_known():
    client = boto3.Session("a", "b", region_name="eu-west-1").client("service-quotas")
    with Stubber(client) as stub:
        stub.add_response("list_service_quotas", {"Quotas": []})
        assert find_call_limits(client) is None


def left(kind="machine", id_="i-1", run="scans", hours=2.0):
    return Leftover(kind, id_, run, hours)


class TestLeftovers:
    def test_a_worker_at_work_is_none(self):
        finding = judge_leftovers([left()], ours={"scans"}, working={"i-1"})
        assert finding.verdict is Verdict.GOOD
        assert "1 machine working" in finding.text
        assert not finding.fix

    def test_a_machine_without_a_sign_of_life_is_one(self):
        found = [left(), left(id_="i-2", run="old", hours=9.0)]
        finding = judge_leftovers(found, ours={"scans", "old"}, working={"i-1"})
        assert finding.verdict is Verdict.LOOK
        assert finding.fix == "parallelize kill --run old"

    def test_a_machine_that_may_still_boot_is_none(self):
        finding = judge_leftovers([left(hours=0.1)], ours={"scans"}, working=set())
        assert finding.verdict is Verdict.GOOD

    def test_a_loose_volume_is_one(self):
        found = [left("volume", "vol-1", hours=0.1)]
        assert judge_leftovers(found, ours={"scans"}, working=set()).verdict is Verdict.LOOK

    def test_a_group_that_sleeps_is_none(self):
        finding = judge_leftovers([left("group", hours=0.0)], ours={"scans"}, working=set())
        assert finding.verdict is Verdict.GOOD

    def test_nobody_is_told_to_kill_a_run_of_which_nothing_is_known(self):
        finding = judge_leftovers([left()], ours=set(), working=set())
        assert finding.verdict is Verdict.LOOK
        assert "kill" not in finding.fix


def subnet(id_="subnet-1", *, public=True):
    return {"SubnetId": id_, "VpcId": "vpc-1", "MapPublicIpOnLaunch": public}


def table(*routes, subnet_id=None):
    link = {"SubnetId": subnet_id} if subnet_id else {"Main": True}
    found = {"VpcId": "vpc-1", "RouteTableId": "rtb-1"}
    return found | {"Associations": [link], "Routes": list(routes)}


INTERNET = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1"}
NAT = {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1"}
LOCAL = {"DestinationCidrBlock": "172.31.0.0/16", "GatewayId": "local"}


@pytest.mark.parametrize(
    ("subnets", "tables", "verdict"),
    [
        ([subnet()], [table(LOCAL, INTERNET)], Verdict.GOOD),
        ([subnet(public=False)], [table(LOCAL, INTERNET)], Verdict.BAD),
        ([subnet()], [table(LOCAL)], Verdict.BAD),
        # A table of the subnet's own hides the VPC's main one.
        ([subnet()], [table(INTERNET), table(LOCAL, subnet_id="subnet-1")], Verdict.BAD),
        ([subnet(), subnet("subnet-2", public=False)], [table(INTERNET)], Verdict.LOOK),
        # What a route led to has been deleted.
        ([subnet(public=False)], [table(LOCAL, NAT | {"State": "blackhole"})], Verdict.BAD),
        ([subnet()], [table(LOCAL, INTERNET | {"State": "blackhole"})], Verdict.BAD),
        ([subnet()], [table(LOCAL, INTERNET | {"State": "active"})], Verdict.GOOD),
    ],
)
def test_subnets_need_a_way_out(subnets, tables, verdict):
    assert judge_network(Network(subnets, tables)).verdict is verdict


def test_a_nat_gateway_without_the_free_way_to_s3_is_a_finding_with_the_command_that_makes_it():
    network = Network([subnet(public=False)], [table(LOCAL, NAT)], region="eu-west-1")
    finding = judge_network(network)
    assert finding.verdict is Verdict.LOOK
    assert "$0.045 a GB" in finding.text
    assert "--vpc-id vpc-1 --route-table-ids rtb-1" in finding.fix
    assert "com.amazonaws.eu-west-1.s3" in finding.fix


def test_a_nat_gateway_beside_an_endpoint_of_s3_is_good():
    network = Network([subnet(public=False)], [table(LOCAL, NAT)], [S3])
    assert judge_network(network).verdict is Verdict.GOOD


def test_routes_that_only_a_shared_subnets_owner_can_see_are_not_called_missing():
    finding = judge_network(Network([subnet()], []))
    assert finding.verdict is Verdict.LOOK
    assert "only the owner" in finding.text


def endpoint(service, kind="Interface", **other):
    found = {"ServiceName": f"com.amazonaws.eu-west-1.{service}", "VpcEndpointType": kind,
             "VpcId": "vpc-1", "State": "available", "PrivateDnsEnabled": kind == "Interface",
             "RouteTableIds": ["rtb-1"] if kind == "Gateway" else []}  # fmt: skip
    return found | other


S3, SQS = endpoint("s3", "Gateway"), endpoint("sqs")


@pytest.mark.parametrize(
    ("endpoints", "verdict"),
    [
        ([S3, SQS], Verdict.GOOD),
        ([endpoint("s3"), SQS], Verdict.GOOD),
        ([S3], Verdict.BAD),
        ([SQS], Verdict.BAD),
        ([S3, endpoint("sqs", PrivateDnsEnabled=False)], Verdict.BAD),
        ([S3, endpoint("sqs", State="pending")], Verdict.BAD),
        ([S3, endpoint("sqs", VpcId="vpc-2")], Verdict.BAD),
        ([endpoint("s3", "Gateway", RouteTableIds=["rtb-2"]), SQS], Verdict.BAD),
    ],
)
def test_a_vpc_with_endpoints_only_needs_those_of_s3_and_sqs(endpoints, verdict):
    tables = [table(LOCAL)]
    assert judge_network(Network([subnet()], tables, endpoints)).verdict is verdict


def test_only_the_endpoints_that_are_missing_are_asked_for():
    finding = judge_network(Network([subnet()], [table(LOCAL)], [SQS]))
    assert finding.fix.endswith("VPC endpoints for s3")


def test_workers_that_could_not_tell_how_they_do_are_worth_a_look():
    tables = [table(LOCAL)]
    besides = called_besides(WorkersTable(fleet="persistent"))
    finding = judge_network(Network([subnet()], tables, [S3, SQS, endpoint("logs")]), besides)
    assert finding.verdict is Verdict.LOOK
    assert "but not autoscaling, monitoring" in finding.text
    assert judge_network(Network([subnet()], [table(INTERNET)]), besides).verdict is Verdict.GOOD


@pytest.mark.parametrize(
    ("status", "verdict", "fix"),
    [
        (None, Verdict.BAD, "parallelize setup"),
        ("REVIEW_IN_PROGRESS", Verdict.BAD, "parallelize setup"),
        ("ROLLBACK_COMPLETE", Verdict.BAD, "parallelize setup"),
        ("CREATE_IN_PROGRESS", Verdict.BAD, "wait"),
        ("UPDATE_IN_PROGRESS", Verdict.LOOK, "wait"),
        ("UPDATE_ROLLBACK_FAILED", Verdict.BAD, "continue-update-rollback"),
        ("UPDATE_ROLLBACK_COMPLETE", Verdict.LOOK, "parallelize setup"),
        ("CREATE_COMPLETE", Verdict.GOOD, ""),
    ],
)
def test_only_a_stack_that_was_made_is_good(status, verdict, fix):
    finding = judge_stack("parallelize", status)
    assert finding.verdict is verdict
    assert fix in finding.fix


@pytest.mark.parametrize(
    ("gpus", "verdict"), [((1, 4), Verdict.GOOD), ((1, 0), Verdict.LOOK), ((0,), Verdict.BAD)]
)
def test_machine_types_should_have_the_gpus_that_a_job_needs(gpus, verdict):
    kinds = [replace(kind(f"g{n}.xlarge"), gpus=n) for n in gpus]
    found = judge_gpus(kinds, 1)
    assert found.verdict is verdict
    assert ("g0.xlarge" in found.text) == (0 in gpus)


@pytest.mark.parametrize(
    ("found", "answers", "described", "verdict", "fix"),
    [
        (2, True, True, Verdict.GOOD, ""),
        (0, True, True, Verdict.BAD, "run on AWS"),
        (2, False, True, Verdict.BAD, "NVIDIA's driver"),
        (2, True, False, Verdict.BAD, "nvidia-ctk cdi generate"),
    ],
)
def test_this_machine_should_have_the_gpus_that_a_job_needs(
    found, answers, described, verdict, fix
):
    finding = judge_own_gpus(found, 2, answers=answers, described=described)
    assert finding.verdict is verdict
    assert fix in finding.fix


@pytest.mark.parametrize(
    ("missing", "allowed", "verdict", "text"),
    [
        ([], True, Verdict.GOOD, "skopeo is installed"),
        (["skopeo"], True, Verdict.BAD, "skopeo not installed here"),
        ([], False, Verdict.BAD, "no user namespaces"),
    ],
)
def test_this_machine_should_have_what_containers_take(missing, allowed, verdict, text):
    finding = judge_containers(missing, allowed=allowed)
    assert finding.verdict is verdict
    assert text in finding.text
    assert bool(finding.fix) == (verdict is Verdict.BAD)
