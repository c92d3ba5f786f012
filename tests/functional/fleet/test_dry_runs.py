"""EC2's dry runs, by Stubber: moto allows everything."""

import boto3
import pytest
from botocore.stub import Stubber
from tests.functional.fleet.conftest import REGION

from parallelize.fleet.dry_runs import Answers, ask, start
from parallelize_core.errors import AccessError
from parallelize_core.names import Names

SCANS = Names("scans")
TAGS = {"parallelize:managed": "true"}
MACHINE = start(
    "ami-1", "c7i.xlarge", "subnet-1", "parallelize-agent-eu-west-1", market="spot", given=TAGS
)
CALLS = ("describe_instances", "describe_images", "create_launch_template", "run_instances")


@pytest.fixture
def asked():
    """Say what is known if EC2 answers the four calls with these codes."""

    def answer(*codes):
        ec2 = boto3.client(
            "ec2", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
        )
        with Stubber(ec2) as stub:
            for name, code in zip(CALLS, codes, strict=True):
                stub.add_client_error(name, code)
            found = ask(ec2, SCANS, TAGS, MACHINE)
            stub.assert_no_pending_responses()
        return found

    return answer


def test_what_would_have_succeeded_is_not_refused(asked):
    assert asked(*["DryRunOperation"] * 4) == Answers()


def test_a_start_that_is_not_allowed_is_named(asked):
    codes = ["DryRunOperation"] * 3
    assert asked(*codes, "UnauthorizedOperation") == Answers(refused=("ec2:RunInstances",))


def test_a_role_that_is_not_there_yet_says_nothing_about_permissions(asked):
    found = asked(*["DryRunOperation"] * 3, "InvalidParameterValue")
    assert found == Answers(untried=("ec2:RunInstances",))


def test_a_start_for_which_there_is_no_image_is_not_tried(account):
    assert ask(account.client("ec2"), SCANS, TAGS, None).untried == ("ec2:RunInstances",)


def test_any_other_error_is_not_taken_for_an_answer(asked):
    with pytest.raises(AccessError):
        asked("RequestExpired", *["DryRunOperation"] * 3)


def test_a_start_is_asked_for_with_our_tag_on_everything_and_the_workers_role():
    kinds = {one["ResourceType"] for one in MACHINE["TagSpecifications"]}
    assert kinds == {"instance", "volume", "network-interface", "spot-instances-request"}
    assert MACHINE["IamInstanceProfile"] == {"Name": "parallelize-agent-eu-west-1"}
    assert MACHINE["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_an_on_demand_machine_has_no_spot_request_to_tag():
    request = start("ami-1", "c7i.xlarge", "subnet-1", "role", market="on-demand", given=TAGS)
    assert "InstanceMarketOptions" not in request
    kinds = {one["ResourceType"] for one in request["TagSpecifications"]}
    assert "spot-instances-request" not in kinds
