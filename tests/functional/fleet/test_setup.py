"""`parallelize setup` against moto's CloudFormation, and the template by itself."""

import json
import re
from pathlib import Path

import pytest
from cfnlint.api import lint_all
from cfnlint.decode import decode_str

from parallelize import stack
from parallelize.context import open_context
from parallelize.fleet.alarms import old_message_alarm, topic_arn
from parallelize.options import Common
from parallelize.settings import WorkersTable
from parallelize.setup import stack_parameters
from parallelize.stack.deploy import Stack

# moto deploys what it knows of the template, and says what it does not.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")


@pytest.fixture
def deployed(account, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "auto")
    code, _, err = parallelize("setup", "--yes")
    assert code == 0, err
    return account


def test_the_template_has_no_mistake_that_cfn_lint_knows():
    # Errors and warnings; the I rules are hints about matters of taste.
    found = [match for match in lint_all(stack.template()) if match.rule.id[0] in "EW"]
    assert found == []


def test_the_template_is_printed_as_it_is(parallelize):
    code, out, _ = parallelize("setup", "--print-template")
    assert code == 0
    assert out.strip() == stack.template().strip()


def test_a_dry_run_lists_the_changes_and_leaves_nothing_behind(account, parallelize):
    code, _, err = parallelize("setup", "--dry-run")
    assert code == 0
    assert "(dry run) would add AgentRole (AWS::IAM::Role)" in err
    stacks = account.client("cloudformation").list_stacks(
        StackStatusFilter=["REVIEW_IN_PROGRESS", "CREATE_COMPLETE"]
    )
    assert stacks["StackSummaries"] == []
    assert account.client("iam").list_roles()["Roles"] == []


def test_setup_asks_before_it_changes_anything(account, parallelize):
    code, _, err = parallelize("setup")
    assert code == 2
    assert "nobody is there to be asked" in err
    assert account.client("iam").list_roles()["Roles"] == []


def test_setup_makes_a_private_encrypted_bucket(deployed):
    s3, name = deployed.client("s3"), "parallelize-123456789012-eu-west-1-an"
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


@pytest.mark.parametrize(("bucket", "made"), [("bucket", "false"), ("another", "true")])
def test_a_bucket_that_prep_has_made_is_adopted_and_not_made_again(account, bucket, made):
    context = open_context(Common(bucket=bucket))
    parameters = stack_parameters(context, Stack(account.client("cloudformation"), "parallelize"))
    assert parameters["BucketName"] == bucket
    assert parameters["CreateBucket"] == made


@pytest.fixture(scope="module")
def alarms():
    """The properties of the stack's alarms; moto makes none of them."""
    document, faults = decode_str(stack.template())
    assert not faults
    return [
        resource["Properties"]
        for resource in document["Resources"].values()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    ]


def test_every_alarm_has_its_place_in_the_runbook(alarms):
    runbook = (Path(__file__).parents[3] / "docs/runbook.md").read_text()
    sections = {line.removeprefix("## ") for line in runbook.splitlines() if line[:3] == "## "}
    described = [alarm["AlarmDescription"]["Fn::Sub"] for alarm in alarms]
    described.append(old_message_alarm("scans", "arn:topic")["AlarmDescription"])
    assert len(described) == 6
    assert {text.rpartition("#")[2] for text in described} <= sections
    assert all(re.search(r"(\$\{RunbookUrl\}|docs/runbook\.md)#", text) for text in described)


def test_every_alarm_of_the_stack_tells_the_topic(alarms):
    assert [alarm["AlarmActions"] for alarm in alarms] == [[{"Ref": "Topic"}]] * len(alarms)


def test_the_alarm_of_a_launch_tells_the_stacks_topic(deployed):
    (topic,) = deployed.client("sns").list_topics()["Topics"]
    assert topic["TopicArn"] == topic_arn("aws", "eu-west-1", "123456789012")


def test_the_agents_log_group_is_the_one_that_launches_name_and_forgets_in_time(deployed):
    (group,) = deployed.client("logs").describe_log_groups()["logGroups"]
    assert group["logGroupName"] == WorkersTable().log_group
    assert group["retentionInDays"] == 30


def test_the_workers_security_group_lets_nobody_in(deployed):
    (group,) = deployed.client("ec2").describe_security_groups(
        Filters=[{"Name": "group-name", "Values": ["parallelize-worker"]}]
    )["SecurityGroups"]
    assert group["IpPermissions"] == []


def test_a_worker_role_can_be_assumed_by_machines_only(deployed):
    (role,) = deployed.client("iam").list_roles()["Roles"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "ec2.amazonaws.com"}


def test_workers_find_the_stacks_profile_by_its_name(deployed, parallelize):
    profiles = deployed.client("iam").list_instance_profiles()["InstanceProfiles"]
    assert [profile["InstanceProfileName"] for profile in profiles] == [
        "parallelize-agent-eu-west-1"
    ]


def test_workers_are_launched_into_the_stacks_security_group(deployed, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "bucket")
    deployed.prepare("scans")
    parallelize("launch", "1", "--run", "scans")
    (version,) = deployed.client("ec2").describe_launch_template_versions(
        LaunchTemplateName="parallelize-scans"
    )["LaunchTemplateVersions"]
    (group,) = deployed.client("ec2").describe_security_groups(
        Filters=[{"Name": "group-name", "Values": ["parallelize-worker"]}]
    )["SecurityGroups"]
    assert version["LaunchTemplateData"]["SecurityGroupIds"] == [group["GroupId"]]
    profile = version["LaunchTemplateData"]["IamInstanceProfile"]
    assert profile == {"Name": "parallelize-agent-eu-west-1"}


def test_outputs_without_a_stack_have_nothing_to_show(account, parallelize):
    code, _, err = parallelize("setup", "--outputs")
    assert code == 3
    assert "parallelize setup" in err


def test_the_stack_is_not_deleted_while_a_worker_lives_on_its_role(
    deployed, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "bucket")
    deployed.prepare("scans")
    parallelize("launch", "1", "--run", "scans")
    code, _, err = parallelize("setup", "--delete", "--yes")
    assert code == 2
    assert "1 worker of scans still run" in err
    assert "parallelize kill --run scans" in err


def test_deleting_the_stack_says_that_the_bucket_stays(deployed, parallelize):
    code, _, err = parallelize("setup", "--delete", "--yes")
    assert code == 0
    assert "bucket parallelize-123456789012-eu-west-1-an stays" in err
    assert deployed.client("iam").list_roles()["Roles"] == []


def test_parameters_that_are_none_are_refused(account, parallelize):
    assert parallelize("setup", "--set", "Email", "--dry-run")[0] == 2


def test_outputs_are_json_for_other_tools(deployed, parallelize):
    _, out, _ = parallelize("setup", "--outputs", "--json")
    assert isinstance(json.loads(out), dict)
