"""What EC2 says of a launch's chances, and what a plan makes of it."""

import boto3
import pytest
from botocore.stub import Stubber
from tests.unit.fleet.examples import facts, request

from parallelize.fleet.placement import Placement, ask
from parallelize.fleet.plan import plan_launch
from parallelize.fleet.show import describe_plan
from parallelize_core.clients import client_config

TYPES = ["c6i.xlarge", "c7i.xlarge", "m6i.xlarge"]


@pytest.fixture
def ec2():
    return boto3.Session("a", "b", region_name="eu-west-1").client(
        "ec2", config=client_config(attempts=1)
    )


LOW = "  score    3 of 10 for 8 spot machines: few may start; more types or fewer workers help"


def asked(count):
    return {
        "InstanceTypes": TYPES, "TargetCapacity": count, "TargetCapacityUnitType": "units",
        "SingleAvailabilityZone": False, "RegionNames": ["eu-west-1"],
    }  # fmt: skip


@pytest.mark.parametrize(("count", "rounded"), [(1, 1), (3, 4), (4, 4), (1000, 1024)])
def test_launches_of_about_one_size_are_one_question(ec2, count, rounded):
    with Stubber(ec2) as stub:
        score = {"Region": "eu-west-1", "Score": 7}
        stub.add_response(
            "get_spot_placement_scores", {"SpotPlacementScores": [score]}, asked(rounded)
        )
        # In whatever order, and however often, the settings name them.
        assert ask(ec2, "eu-west-1", reversed([*TYPES, *TYPES]), count) == Placement(rounded, 7)


@pytest.mark.parametrize(
    "code",
    ["UnauthorizedOperation", "MaxConfigLimitExceeded", "InvalidAction", "RequestLimitExceeded"],
)
def test_a_score_that_ec2_refuses_is_not_known_and_no_error(ec2, code):
    with Stubber(ec2) as stub:
        stub.add_client_error("get_spot_placement_scores", code)
        assert ask(ec2, "eu-west-1", TYPES, 4) == Placement(4, None, code)


def test_an_answer_without_a_score_is_not_known_and_no_error(ec2):
    with Stubber(ec2) as stub:
        stub.add_response("get_spot_placement_scores", {"SpotPlacementScores": []})
        assert ask(ec2, "eu-west-1", TYPES, 4) == Placement(4, None, "EC2 gives none")


@pytest.mark.parametrize(
    ("placement", "told"),
    [
        (Placement(1, 9), "  score    9 of 10 for 1 spot machine, by EC2"),
        (Placement(64, 4), "  score    4 of 10 for 64 spot machines, by EC2"),
        (Placement(8, 3), LOW),
        (Placement(64, None, "InvalidAction"), "  score    not known (InvalidAction)"),
    ],
)
def test_a_plan_tells_the_score_and_what_makes_a_low_one_better(placement, told):
    assert told in describe_plan(plan_launch(facts(placement=placement), request()))


def test_a_plan_without_a_score_says_nothing_of_it():
    lines = describe_plan(plan_launch(facts(), request()))
    assert not any("score" in line for line in lines)
