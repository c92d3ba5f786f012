from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.fleet.examples import IMAGE, SPOT_STANDARD

from parallelize.doctor import (
    Verdict,
    judge_clock,
    judge_image,
    judge_network,
    judge_quota,
    judge_stack,
)
from parallelize.fleet.facts import Quota

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(0, Verdict.GOOD), (100, Verdict.GOOD), (-200, Verdict.LOOK), (301, Verdict.BAD)],
)
def test_a_clock_may_be_off_by_less_than_what_aws_refuses(seconds, verdict):
    assert judge_clock(NOW, NOW + timedelta(seconds=seconds)).verdict is verdict


class TestImage:
    def test_none_is_bad_and_says_how_to_get_one(self):
        finding = judge_image(None, NOW, "0.1.0")
        assert finding.verdict is Verdict.BAD
        assert "image build" in finding.fix

    def test_a_fresh_one_of_this_version_is_good(self):
        assert judge_image(IMAGE, NOW, "0.1.0").verdict is Verdict.GOOD

    def test_another_version_is_worth_a_look(self):
        assert "has agent 0.1.0, this is 0.2.0" in judge_image(IMAGE, NOW, "0.2.0").text

    def test_an_old_one_is_worth_a_look(self):
        assert "102 days old" in judge_image(IMAGE, NOW + timedelta(days=100), "0.1.0").text


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


def subnet(id_="subnet-1", *, public=True):
    return {"SubnetId": id_, "VpcId": "vpc-1", "MapPublicIpOnLaunch": public}


def table(*routes, subnet_id=None):
    link = {"SubnetId": subnet_id} if subnet_id else {"Main": True}
    return {"VpcId": "vpc-1", "Associations": [link], "Routes": list(routes)}


INTERNET = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1"}
NAT = {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1"}
LOCAL = {"DestinationCidrBlock": "172.31.0.0/16", "GatewayId": "local"}


@pytest.mark.parametrize(
    ("subnets", "tables", "verdict"),
    [
        ([subnet()], [table(LOCAL, INTERNET)], Verdict.GOOD),
        ([subnet(public=False)], [table(LOCAL, NAT)], Verdict.GOOD),
        ([subnet(public=False)], [table(LOCAL, INTERNET)], Verdict.BAD),
        ([subnet()], [table(LOCAL)], Verdict.BAD),
        # A table of the subnet's own hides the VPC's main one.
        ([subnet()], [table(INTERNET), table(LOCAL, subnet_id="subnet-1")], Verdict.BAD),
        ([subnet(), subnet("subnet-2", public=False)], [table(INTERNET)], Verdict.LOOK),
    ],
)
def test_subnets_need_a_way_out(subnets, tables, verdict):
    assert judge_network(subnets, tables).verdict is verdict


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
    finding = judge_stack(status)
    assert finding.verdict is verdict
    assert fix in finding.fix
