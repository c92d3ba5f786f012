"""`parallelize setup` against moto's CloudFormation, and the template by itself."""

import json
import re
from pathlib import Path

import pytest
from cfnlint.api import lint_all
from cfnlint.decode import decode_str
from moto.cloudformation.models import cloudformation_backends
from tests.functional.fleet.calls import recorded

from parallelize import cli, stack
from parallelize.context import open_context
from parallelize.fleet.alarms import dead_letters_alarm, old_message_alarm, topic_arn
from parallelize.operations.setup import stack_parameters
from parallelize.options import Common
from parallelize.stack.deploy import Stack
from parallelize_core.names import Names

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
    assert "cannot ask for confirmation" in err
    assert account.client("iam").list_roles()["Roles"] == []


def test_setup_makes_a_private_encrypted_bucket(deployed):
    s3, name = deployed.client("s3"), "parallelize-123456789012-eu-west-1-an"
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_a_bucket_that_outlives_the_stack_keeps_its_policy():
    """A later setup finds the bucket there, and so makes it no policy."""
    document, _ = decode_str(stack.template())
    bucket, policy = (document["Resources"][name] for name in ("Bucket", "BucketPolicy"))
    for rule in ("DeletionPolicy", "UpdateReplacePolicy"):
        assert policy[rule] == bucket[rule]
        assert policy[rule].startswith("Retain")


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


@pytest.fixture(scope="module")
def descriptions(alarms):
    """What the mails say, of the stack's alarms and of a run's."""
    of_run = [make(Names("scans"), "arn:topic") for make in (old_message_alarm, dead_letters_alarm)]
    return [
        *(alarm["AlarmDescription"]["Fn::Sub"] for alarm in alarms),
        *(alarm["AlarmDescription"] for alarm in of_run),
    ]


def test_every_alarm_has_its_place_in_the_runbook(descriptions):
    runbook = (Path(__file__).parents[3] / "docs/runbook.md").read_text()
    sections = {line.removeprefix("## ") for line in runbook.splitlines() if line[:3] == "## "}
    assert len(descriptions) == 6
    assert {text.rpartition("#")[2] for text in descriptions} <= sections
    assert all(re.search(r"(\$\{RunbookUrl\}|docs/runbook\.md)#", text) for text in descriptions)


def test_every_alarm_says_what_to_do_without_a_page_to_open(descriptions):
    commands = {word for text in descriptions for word in re.findall(r"`parallelize (\w+)", text)}
    assert all("`parallelize " in text for text in descriptions)
    assert commands <= {command.name for command in cli.COMMANDS}


@pytest.mark.parametrize("make", [old_message_alarm, dead_letters_alarm])
def test_an_alarm_of_a_queue_stays_as_it_is_while_sqs_tells_nothing(make):
    """With the last worker the calls to the queue end, and after hours so may its metrics."""
    alarm = make(Names("scans"), "arn:topic")
    assert alarm["Namespace"] == "AWS/SQS"
    assert alarm["TreatMissingData"] == "ignore"


def test_every_alarm_of_the_stack_tells_the_topic(alarms):
    assert [alarm["AlarmActions"] for alarm in alarms] == [[{"Ref": "Topic"}]] * len(alarms)


def test_the_alarm_of_a_launch_tells_the_stacks_topic(deployed):
    (topic,) = deployed.client("sns").list_topics()["Topics"]
    assert topic["TopicArn"] == topic_arn("aws", "eu-west-1", "123456789012", Names())


def test_the_agents_log_group_is_the_one_that_launches_name_and_forgets_in_time(deployed):
    (group,) = deployed.client("logs").describe_log_groups()["logGroups"]
    assert group["logGroupName"] == Names().log_group
    assert group["retentionInDays"] == 30


def test_the_workers_security_group_lets_nobody_in(deployed):
    (group,) = deployed.client("ec2").describe_security_groups(
        Filters=[{"Name": "group-name", "Values": ["parallelize-worker-*"]}]
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
        Filters=[{"Name": "group-name", "Values": ["parallelize-worker-*"]}]
    )["SecurityGroups"]
    assert version["LaunchTemplateData"]["SecurityGroupIds"] == [group["GroupId"]]
    profile = version["LaunchTemplateData"]["IamInstanceProfile"]
    assert profile == {"Name": "parallelize-agent-eu-west-1"}


@pytest.fixture
def told(account, parallelize, monkeypatch):
    """Make the stack with an e-mail and a VPC; then say what another `setup` asks for."""
    monkeypatch.setenv("PARALLELIZE_BUCKET", "auto")
    vpc = account.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    parallelize("setup", "--yes", "--email", "ana@example.org", "--set", f"VpcId={vpc}")

    def again(*words):
        with recorded() as calls:
            code, _, err = parallelize("setup", "--yes", *words)
        assert code == 0, err
        (call,) = [call for call in calls if call.operation == "CreateChangeSet"]
        return {
            one["ParameterKey"]: one.get("ParameterValue", "as before")
            for one in call.params["Parameters"]
        }

    return again


def test_what_is_not_said_again_stays_as_it_was_said_before(told):
    values = told("--set", "ReadableObjects=arn:aws:s3:::data/*")
    assert values["ReadableObjects"] == "arn:aws:s3:::data/*"
    assert values["Email"] == values["VpcId"] == "as before"


def test_an_empty_value_takes_back_what_was_said_before(told):
    assert told("--email", "")["Email"] == ""


def test_the_stacks_own_bucket_is_still_its_own_at_the_next_setup(told):
    assert told("--email", "")["CreateBucket"] == "true"


def test_a_parameter_that_the_stack_does_not_have_is_refused_with_the_nearest(account, parallelize):
    code, _, err = parallelize("setup", "--yes", "--set", "Emial=ana@example.org")
    assert code == 2
    assert "did you mean Email?" in err


def moto_stack(account):
    found = cloudformation_backends["123456789012"]["eu-west-1"].stacks.values()
    (only,) = [one for one in found if one.name == "parallelize"]
    return only


@pytest.fixture
def failed(account):
    """A stack whose making has failed, as CloudFormation leaves it behind."""
    topic = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    account.client("cloudformation").create_stack(StackName="parallelize", TemplateBody=topic)
    moto_stack(account).status = "ROLLBACK_COMPLETE"
    return account


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "DELETE_FAILED"])
def test_a_stack_that_failed_is_removed_and_made_again(failed, parallelize, status):
    before = moto_stack(failed)
    before.status = status
    code, _, err = parallelize("setup", "--yes")
    assert code == 0, err
    assert f"has failed: {status}" in err
    assert moto_stack(failed).stack_id != before.stack_id
    assert moto_stack(failed).status == "CREATE_COMPLETE"


def test_a_dry_run_only_says_that_a_failed_stack_would_be_made_again(failed, parallelize):
    code, _, err = parallelize("setup", "--dry-run")
    assert code == 0
    assert "(dry run) would delete the stack parallelize, and create it again" in err
    assert moto_stack(failed).status == "ROLLBACK_COMPLETE"


def test_a_dry_run_does_not_see_to_the_end_of_a_deletion(failed, parallelize):
    moto_stack(failed).status = "DELETE_IN_PROGRESS"
    with recorded() as calls:
        code, _, err = parallelize("setup", "--dry-run")
    assert code == 0
    assert "(dry run) would wait until the stack parallelize is gone" in err
    assert "DeleteStack" not in {call.operation for call in calls}


def test_a_failed_stack_has_no_outputs_and_says_why(failed, parallelize):
    code, _, err = parallelize("setup", "--outputs")
    assert code == 3
    assert "ROLLBACK_COMPLETE" in err


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        ("UPDATE_IN_PROGRESS", "parallelize setup   again"),
        ("UPDATE_ROLLBACK_FAILED", "aws cloudformation continue-update-rollback"),
    ],
)
def test_a_stack_that_cannot_be_changed_now_is_left_alone(deployed, parallelize, status, fix):
    moto_stack(deployed).status = status
    code, _, err = parallelize("setup", "--yes", "--email", "ana@example.org")
    assert code == 6
    assert fix in err
    assert moto_stack(deployed).status == status


def test_only_a_bucket_that_the_stack_makes_gets_a_policy_from_it():
    """A bucket has one policy: making a second is an error, and would roll the stack back."""
    document, _ = decode_str(stack.template())
    assert document["Resources"]["Bucket"]["Condition"] == "MakesBucket"
    assert document["Resources"]["BucketPolicy"]["Condition"] == "MakesBucket"


def test_setup_says_that_the_policy_of_a_bucket_that_was_there_is_not_its_own(
    account, parallelize, monkeypatch
):
    _, _, err = parallelize("setup", "--dry-run")
    assert "bucket bucket exists already; setup leaves its policy unchanged" in err
    monkeypatch.setenv("PARALLELIZE_BUCKET", "auto")
    _, _, err = parallelize("setup", "--dry-run")
    assert "is there already" not in err


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


def test_the_stack_is_not_deleted_while_a_group_sleeps_that_would_wake_without_its_role(
    deployed, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "bucket")
    deployed.prepare("scans", files=0)
    words = ("launch", "9", "--fleet", "persistent", "--autoscale", "--run", "scans")
    assert parallelize(*words)[0] == 0
    assert deployed.machines("scans") == []
    code, _, err = parallelize("setup", "--delete", "--yes", "--force")
    assert code == 2
    assert "1 group may start workers: parallelize-scans" in err
    assert "parallelize kill --run scans" in err


@pytest.mark.parametrize("queue", ["parallelize-scans", "parallelize-scans-dead"])
def test_the_stack_is_not_deleted_while_a_run_has_messages_unless_forced(
    deployed, parallelize, queue
):
    sqs = deployed.client("sqs")
    url = sqs.create_queue(QueueName=queue)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    code, _, err = parallelize("setup", "--delete", "--yes")
    assert code == 2
    assert "queues of scans hold 1 message" in err
    assert parallelize("setup", "--delete", "--yes", "--force")[0] == 0


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


def test_an_unchanged_stack_is_left_alone_and_a_dry_run_says_so(account, parallelize):
    assert parallelize("setup", "--yes")[0] == 0
    code, _, err = parallelize("setup", "--dry-run")
    assert code == 0, err
    assert err.splitlines()[-1].endswith("nothing was changed")
    assert "would" not in err
