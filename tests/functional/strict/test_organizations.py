"""Accounts of an organization that asks for more than a user's own permissions."""

import json

import pytest
from tests.functional.fleet.calls import ACCOUNT, recorded
from tests.functional.strict.test_stacks import make_vpc
from tests.functional.strict.test_volume_key import act_as_people
from tests.strict_aws.rules.organization import DemandedTags

from parallelize.queues import make_queues
from parallelize_core.clients import Clients
from parallelize_core.names import Names

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")

RUN = ("--run", "scans")


@pytest.fixture
def tagged(account, monkeypatch):
    """An account in which nothing is made without a cost center, and settings that name one."""
    account.strict.world.demanded_tags = frozenset({"cost-center"})
    monkeypatch.setenv("PARALLELIZE_AWS_TAGS", "cost-center=4711")
    return account


def test_what_lacks_the_organizations_tag_is_not_made(tagged, parallelize, monkeypatch):
    monkeypatch.delenv("PARALLELIZE_AWS_TAGS")
    tagged.prepare("scans")
    code, _, err = parallelize("launch", "1", *RUN)
    assert code == 4, err
    assert tagged.machines("scans") == []
    assert tagged.strict.refusals[DemandedTags.__name__]


@pytest.mark.parametrize(
    "words",
    ["setup --yes", "launch 2", "launch 2 --on-demand 1",
     "launch 2 --fleet persistent --autoscale", "doctor"],
)  # fmt: skip
def test_everything_is_made_with_the_organizations_tag(tagged, parallelize, words):
    tagged.prepare("scans")
    code, _, err = parallelize(*words.split(), *RUN)
    assert code == 0 or words == "doctor", err
    assert tagged.strict.refusals[DemandedTags.__name__] == 0


def test_queues_have_their_tags_from_the_first(tagged):
    ours = Clients.make(tagged.session).sqs
    queues = make_queues(ours, Names("new"), {"cost-center": "4711"})
    for queue in (queues.main, queues.dead):
        tags = tagged.client("sqs").list_queue_tags(QueueUrl=queue.url)["Tags"]
        assert tags["cost-center"] == "4711"


def test_the_bucket_that_prep_makes_has_the_tags_in_the_request(tagged, parallelize, tmp_path):
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "a.txt").write_text("a")
    words = ("prep", "--create-bucket", "--bucket", "fresh", "--command", "true", *RUN)
    with recorded() as calls:
        code, _, err = parallelize(*words)
    assert code == 0, err
    (made,) = [call for call in calls if call.operation == "CreateBucket"]
    tags = made.params["CreateBucketConfiguration"]["Tags"]
    assert tags == [{"Key": "cost-center", "Value": "4711"}]


def test_all_that_a_rehearsal_makes_has_the_tags_in_the_request(
    tagged, vendors, queues_by_the_clock, parallelize
):
    with recorded() as calls:
        code, _, err = parallelize("doctor", "--live", "--yes")
    assert code == 0, err
    assert tagged.strict.refusals[DemandedTags.__name__] == 0
    made = {call.operation for call in calls}
    assert {"CreateBucket", "CreateLogGroup", "CreateQueue", "PutMetricAlarm"} <= made


BOUNDARY = "arn:aws:iam::123456789012:policy/bounds"
DEMANDED = ("--set", f"PermissionsBoundary={BOUNDARY}", "--set", "RolePath=/teams/lab/")


@pytest.fixture
def bounded(account):
    """An organization that lets nobody make a role without its boundary, or at another path."""
    account.strict.world.boundary = BOUNDARY
    account.strict.world.role_path = "/teams/lab/"
    return account


def test_a_role_without_the_demanded_boundary_fails_the_setup(bounded, parallelize):
    code, _, err = parallelize("setup", "--yes")
    assert code == 6
    assert "not authorized to perform: iam:Create" in " ".join(err.split())


def test_setup_gives_roles_and_policies_their_boundary_and_path(bounded, parallelize):
    code, _, err = parallelize("setup", "--yes", *DEMANDED)
    assert code == 0, err
    (role,) = bounded.client("iam").list_roles()["Roles"]
    assert role["Path"] == "/teams/lab/"
    found = bounded.client("iam").get_role(RoleName=role["RoleName"])["Role"]
    assert found["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY


def test_the_holders_of_a_policy_at_a_path_are_found_before_the_stack_is_deleted(
    bounded, parallelize
):
    assert parallelize("setup", "--yes", *DEMANDED)[0] == 0
    iam = bounded.client("iam")
    iam.create_user(UserName="anna")
    policy = f"arn:aws:iam::{ACCOUNT}:policy/teams/lab/parallelize-launcher-eu-west-1"
    iam.attach_user_policy(UserName="anna", PolicyArn=policy)
    code, _, err = parallelize("setup", "--delete", "--yes")
    assert code == 2, err
    assert f"--policy-arn {policy}" in " ".join(err.split())


@pytest.fixture
def shared(account, monkeypatch):
    """A VPC of another account, one subnet of which is shared with this one."""
    _, subnet = make_vpc(account)
    account.strict.world.shared_subnets[subnet] = "999999999999"
    monkeypatch.setenv("PARALLELIZE_AWS_SUBNETS", subnet)
    account.prepare("scans")
    return account


def test_workers_start_in_a_shared_subnet_by_the_launchers_policy(shared, parallelize):
    assert parallelize("setup", "--yes")[0] == 0
    act_as_people(shared)
    code, _, err = parallelize("launch", "1", *RUN)
    assert code == 0, err
    assert len(shared.machines("scans")) == 1


def test_a_launch_into_a_shared_vpc_without_the_stacks_group_says_what_makes_it(
    shared, parallelize
):
    code, _, err = parallelize("launch", "1", *RUN)
    assert code == 2
    assert "belongs to account 999999999999" in " ".join(err.split())
    assert "parallelize setup" in err


def test_doctor_does_not_call_routes_missing_that_only_the_owner_sees(shared, parallelize):
    _, out, _ = parallelize("doctor", "--json", *RUN)
    found = {one["check"]: one for one in json.loads(out)["findings"]}["network"]
    assert found["verdict"] == "look", found
    assert "only the owner" in found["text"]


@pytest.mark.parametrize("sandbox", [True, False])
def test_setup_says_if_sms_reaches_verified_numbers_only(account, parallelize, sandbox):
    account.strict.world.sms_sandbox = sandbox
    code, _, err = parallelize("setup", "--yes", "--phone", "+4915112345678")
    assert code == 0, err
    assert ("create-sms-sandbox-phone-number" in err) is sandbox
