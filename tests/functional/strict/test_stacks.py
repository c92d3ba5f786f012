"""Stacks as CloudFormation and IAM have them: attached policies, named groups, slow deletion."""

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.functional.fleet.calls import recorded
from tests.functional.fleet.conftest import REGION
from tests.strict_aws.rules.groups import DeletedGroup

from parallelize import stack
from parallelize.operations.setup import holders
from parallelize_core.names import FIRST

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")


@pytest.fixture
def deployed(account, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "auto")
    code, _, err = parallelize("setup", "--yes")
    assert code == 0, err
    return account


@pytest.fixture
def attached(deployed):
    """Let somebody hold the launcher's policy."""
    iam = deployed.client("iam")
    iam.create_user(UserName="anna")
    arn = next(one["Arn"] for one in iam.list_policies(Scope="Local")["Policies"]
               if "launcher" in one["PolicyName"])  # fmt: skip
    iam.attach_user_policy(UserName="anna", PolicyArn=arn)
    return arn


def ours():
    return boto3.client("cloudformation", REGION, config=Config(user_agent_extra="parallelize"))


def test_a_stack_whose_policy_somebody_holds_is_not_deleted(deployed, attached):
    ours().delete_stack(StackName=FIRST)
    told = ours().describe_stacks(StackName=FIRST)["Stacks"][0]["StackStatus"]
    assert told == "DELETE_FAILED"


def test_setup_delete_says_who_holds_a_policy_and_deletes_nothing(deployed, attached, parallelize):
    code, _, err = parallelize("setup", "--delete", "--yes")
    assert code == 2, err
    assert "attached to: user anna" in " ".join(err.split())
    command = f"aws iam detach-user-policy --user-name anna --policy-arn {attached}"
    assert command in " ".join(err.split())
    assert holders(deployed.client("iam"), attached) == [("user", "anna")]
    told = ours().describe_stacks(StackName=FIRST)["Stacks"][0]["StackStatus"]
    assert told == "CREATE_COMPLETE"


def test_setup_delete_waits_until_the_stack_is_gone(deployed, parallelize):
    code, _, err = parallelize("setup", "--delete", "--yes")
    assert code == 0
    assert "DELETE_IN_PROGRESS" in err
    assert "deleted the stack" in err


def test_setup_delete_is_not_held_up_by_a_group_that_is_still_being_deleted(account, parallelize):
    assert parallelize("setup", "--yes")[0] == 0
    account.prepare("scans", sent=True)
    assert parallelize("launch", "1", "--fleet", "persistent", "--run", "scans")[0] == 0
    assert parallelize("kill", "--run", "scans")[0] == 0
    assert account.strict.rule(DeletedGroup).windows.is_open("parallelize-scans")
    code, _, err = parallelize("setup", "--delete", "--yes", "--force")
    assert code == 0, err


FIXED = stack.template().replace("-worker-${VpcId}", "-worker")


def test_a_named_security_group_cannot_be_moved_to_another_vpc(deployed):
    with pytest.raises(ClientError, match="custom-named resource"):
        ours().create_change_set(
            StackName=FIRST, ChangeSetName="c", ChangeSetType="UPDATE",
            TemplateBody=FIXED, Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": "VpcId", "ParameterValue": "vpc-0123456789abcdef0"}],
        )  # fmt: skip


def make_vpc(account):
    """Make a second VPC with a subnet, and return their ids."""
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    place = {"CidrBlock": "10.1.0.0/24", "AvailabilityZone": "eu-west-1a"}
    return vpc, ec2.create_subnet(VpcId=vpc, **place)["Subnet"]["SubnetId"]


def test_the_stack_moves_to_another_vpc(deployed, parallelize, monkeypatch):
    vpc, subnet = make_vpc(deployed)
    monkeypatch.setenv("PARALLELIZE_AWS_SUBNETS", subnet)
    with recorded() as calls:
        code, _, err = parallelize("setup", "--dry-run")
    assert code == 0, err
    (call,) = [call for call in calls if call.operation == "CreateChangeSet"]
    assert {"ParameterKey": "VpcId", "ParameterValue": vpc} in call.params["Parameters"]


def test_workers_in_another_vpc_have_the_stacks_group_there(account, parallelize, monkeypatch):
    vpc, subnet = make_vpc(account)
    monkeypatch.setenv("PARALLELIZE_AWS_SUBNETS", subnet)
    assert parallelize("setup", "--yes")[0] == 0
    account.prepare("scans")
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 0, err
    (machine,) = account.machines("scans")
    assert machine["VpcId"] == vpc
    (version,) = account.client("ec2").describe_launch_template_versions(
        LaunchTemplateName="parallelize-scans"
    )["LaunchTemplateVersions"]
    (group,) = account.client("ec2").describe_security_groups(
        GroupIds=version["LaunchTemplateData"]["SecurityGroupIds"]
    )["SecurityGroups"]
    assert (group["GroupName"], group["VpcId"]) == (f"parallelize-worker-{vpc}", vpc)
