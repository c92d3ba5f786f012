"""The stack's policies: what they allow and refuse."""

import json

import pytest
from cfnlint.decode import decode_str
from tests.functional.fleet.calls import (
    ACCOUNT,
    REGION,
)
from tests.functional.fleet.iam import actions, allows, as_list, deploy

from parallelize import stack
from parallelize.fleet.permissions import Where, asks
from parallelize_core.layout import Location, RunLayout
from parallelize_core.names import Names

BUCKET = f"parallelize-{ACCOUNT}-{REGION}-an"
OBJECTS = f"arn:aws:s3:::{BUCKET}"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:parallelize-scans"
EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}"
LOGS = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"
LOG = f"{LOGS}:/parallelize/agents:log-stream"
TOPICS = f"arn:aws:sns:{REGION}:{ACCOUNT}"
GROUP = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:id:autoScalingGroupName"
USERS = f"arn:aws:iam::{ACCOUNT}:user"
ALARM = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm"
SOMEBODY_ELSES = {"aws:ResourceAccount": "999999999999"}
OURS = {"aws:ResourceTag/parallelize:managed": "true"}
TAGS = {"parallelize:managed": "true"}
TAGGED = {"aws:RequestTag/parallelize:managed": "true"}

# moto deploys what it knows of the template, and says what it does not.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")


@pytest.fixture
def policies(account, parallelize, monkeypatch):
    """The managed policies by short name, as IAM has them after `setup`."""
    monkeypatch.setenv("PARALLELIZE_BUCKET", "auto")
    return deploy(account, parallelize)


ALLOWED: dict[str, list[tuple[str, str, dict[str, str]]]] = {
    "agent": [
        ("sqs:ReceiveMessage", QUEUE, {}),
        ("sqs:SendMessage", f"{QUEUE}-dead", {}),
        ("s3:GetObject", f"{OBJECTS}/runs/scans/input/a.txt", {}),
        ("s3:GetObject", f"{OBJECTS}/runs/scans/bootstrap/a.zip", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/output/a.csv", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/result/a.txt.json", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/run.json", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/merge.json", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/merge/0123.jsonl", {}),
        # Of many failures at once some step back (reporting/pauser.py).
        ("s3:DeleteObject", f"{OBJECTS}/runs/scans/failed/a.txt", {}),
        ("s3:ListBucket", OBJECTS, {"s3:prefix": "runs/scans/result/"}),
        ("s3:ListBucket", OBJECTS, {}),
        ("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "Parallelize"}),
        ("logs:CreateLogStream", f"{LOG}:scans/i-1", {}),
        ("logs:PutLogEvents", f"{LOG}:scans/i-1", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/told/finished-0.json", {}),
        ("sns:Publish", f"{TOPICS}:parallelize-alarms", {}),
        (
            "autoscaling:TerminateInstanceInAutoScalingGroup",
            f"{GROUP}/parallelize-scans",
            {},
        ),
        ("autoscaling:SuspendProcesses", f"{GROUP}/parallelize-scans", {}),
    ],
    "submitter": [
        ("autoscaling:ResumeProcesses", f"{GROUP}/parallelize-scans", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/input/a.txt", {}),
        ("sqs:SendMessage", QUEUE, {}),
        ("sqs:CreateQueue", QUEUE, {}),
    ],
    "launcher": [
        ("ec2:CreateFleet", f"{EC2}:fleet/f-1", TAGGED),
        ("ec2:RunInstances", f"{EC2}:instance/i-1", TAGGED),
        ("ec2:RunInstances", f"arn:aws:ec2:{REGION}::image/ami-1", {}),
        ("ec2:RunInstances", f"{EC2}:launch-template/lt-1", OURS),
        ("ec2:TerminateInstances", f"{EC2}:instance/i-1", OURS),
        ("ec2:CreateTags", f"{EC2}:instance/i-1", {"ec2:CreateAction": "RunInstances"}),
        ("autoscaling:DeleteAutoScalingGroup", f"{GROUP}/parallelize-scans", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/run.json", {}),
        ("iam:SimulatePrincipalPolicy", f"{USERS}/ana", {"aws:username": "ana"}),
        ("iam:SimulatePrincipalPolicy", f"{USERS}/lab/ana", {"aws:username": "ana"}),
    ],
}

REFUSED = {
    "agent": [
        ("ec2:TerminateInstances", f"{EC2}:instance/i-1", OURS),
        ("ec2:RunInstances", f"{EC2}:instance/i-1", TAGGED),
        ("iam:PassRole", "*", {}),
        ("sqs:DeleteQueue", QUEUE, {}),
        ("sqs:PurgeQueue", QUEUE, {}),
        ("sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:payments", {}),
        ("s3:GetObject", "arn:aws:s3:::somebody-elses/runs/scans/a", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/input/a.txt", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/manifest/000000.jsonl.gz", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/environment/x.zip", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/bootstrap/a.zip", {}),
        ("s3:DeleteObject", f"{OBJECTS}/runs/scans/result/a.txt.json", {}),
        ("s3:ListBucket", OBJECTS, {"s3:prefix": "private/"}),
        ("s3:GetObject", f"{OBJECTS}/runs/scans/run.json", SOMEBODY_ELSES),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/output/a.csv", SOMEBODY_ELSES),
        ("s3:ListBucket", OBJECTS, {"s3:prefix": "runs/scans/result/", **SOMEBODY_ELSES}),
        ("s3:DeleteBucket", OBJECTS, {}),
        ("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AWS/Billing"}),
        ("logs:PutLogEvents", f"{LOGS}:/payments:log-stream:a", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/notify.json", {}),
        ("sns:Publish", f"{TOPICS}:payments", {}),
        ("sns:Subscribe", f"{TOPICS}:parallelize-alarms", {}),
        ("logs:GetLogEvents", f"{LOG}:scans/i-1", {}),
        ("logs:CreateLogGroup", f"{LOGS}:/parallelize/agents", {}),
        ("logs:DeleteLogStream", f"{LOG}:scans/i-1", {}),
        ("autoscaling:TerminateInstanceInAutoScalingGroup", f"{GROUP}/web", {}),
        ("autoscaling:SuspendProcesses", f"{GROUP}/web", {}),
        ("autoscaling:UpdateAutoScalingGroup", f"{GROUP}/parallelize-scans", {}),
    ],
    "submitter": [
        ("autoscaling:ResumeProcesses", f"{GROUP}/web", {}),
        ("autoscaling:UpdateAutoScalingGroup", f"{GROUP}/parallelize-scans", {}),
        ("ec2:CreateFleet", f"{EC2}:fleet/f-1", TAGGED),
        ("iam:PassRole", "*", {}),
        ("s3:PutObject", f"{OBJECTS}/other/a.txt", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/input/a.txt", SOMEBODY_ELSES),
        ("s3:DeleteBucket", OBJECTS, {}),
        ("s3:PutBucketPolicy", OBJECTS, {}),
        ("sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:payments", {}),
    ],
    "launcher": [
        ("ec2:TerminateInstances", f"{EC2}:instance/i-1", {}),
        ("ec2:RunInstances", f"{EC2}:instance/i-1", {}),
        ("ec2:CreateFleet", f"{EC2}:fleet/f-1", {}),
        ("ec2:RunInstances", f"{EC2}:launch-template/lt-1", {}),
        ("ec2:CreateTags", f"{EC2}:instance/i-1", {}),
        ("ec2:StopInstances", f"{EC2}:instance/i-1", OURS),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin",
         {"iam:PassedToService": "ec2.amazonaws.com"}),
        ("autoscaling:DeleteAutoScalingGroup", f"{GROUP}/web", {}),
        ("cloudwatch:DeleteAlarms", f"{ALARM}:web", {}),
        ("cloudwatch:DeleteAlarms", f"{ALARM}:parallelize-cost", {}),
        ("cloudwatch:PutMetricAlarm", f"{ALARM}:parallelize-old-worker", {}),
        ("cloudformation:DescribeStacks",
         f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/payments/1", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/run.json", SOMEBODY_ELSES),
        ("iam:CreateServiceLinkedRole", "*", {"iam:AWSServiceName": "ec2.amazonaws.com"}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/result/a.json", {}),
        ("s3:DeleteObject", f"{OBJECTS}/runs/scans/result/a.json", {}),
        ("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/db/password", {}),
    ],
}  # fmt: skip


def may(policy, action, resource, context):
    """Whether a policy allows a call; a bucket is the account's own unless the context says not."""
    return allows([policy], action, resource, {"aws:ResourceAccount": ACCOUNT, **context})


def test_each_role_may_do_its_part(policies):
    refused = [
        (role, call)
        for role, calls in ALLOWED.items()
        for call in calls
        if not may(policies[role], *call)
    ]
    assert refused == []


def test_no_role_may_do_more(policies):
    allowed = [
        (role, call)
        for role, calls in REFUSED.items()
        for call in calls
        if may(policies[role], *call)
    ]
    assert allowed == []


KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
BY_S3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}


def test_with_a_key_of_ones_own_everybody_may_use_it_through_s3_and_not_otherwise(
    account, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "auto")
    policies = deploy(account, parallelize, "--set", f"KmsKeyArn={KEY}")
    for policy in policies.values():
        for action in ("kms:Decrypt", "kms:GenerateDataKey"):
            assert allows([policy], action, KEY, BY_S3)
            assert not allows([policy], action, KEY)
            assert not allows([policy], action, KEY.replace("1234", "5678"), BY_S3)
        assert {one for one in actions(policy) if one.startswith("kms:")} == {
            "kms:Decrypt", "kms:GenerateDataKey",
        }  # fmt: skip
    rules = account.client("s3").get_bucket_encryption(Bucket=BUCKET)
    (rule,) = rules["ServerSideEncryptionConfiguration"]["Rules"]
    by_default = rule["ApplyServerSideEncryptionByDefault"]
    assert by_default == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}


def test_workers_with_sessions_may_talk_to_session_manager_and_read_no_parameters():
    # moto makes no policy of this kind, so it is read from the template.
    document, _ = decode_str(stack.template())
    policy = document["Resources"]["SessionPolicy"]["Properties"]["PolicyDocument"]
    assert allows([policy], "ssmmessages:OpenDataChannel", "*")
    secret = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/db/password"
    assert not allows([policy], "ssm:GetParameter", secret)
    assert not allows([policy], "ssm:SendCommand", "*")
    # AWS's own policies allow more than their names say, and change.
    assert ":iam::aws:policy/" not in stack.template()


def test_a_bucket_of_another_account_is_allowed_if_the_stack_is_told_whose_it_is(
    account, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "auto")
    agent = deploy(account, parallelize, "--set", "BucketAccount=999999999999")["agent"]
    call = ("s3:GetObject", f"{OBJECTS}/runs/scans/run.json")
    assert may(agent, *call, SOMEBODY_ELSES)
    assert not may(agent, *call, {})


def test_without_a_key_of_ones_own_nobody_may_use_any(policies):
    assert not any("kms" in action for policy in policies.values() for action in actions(policy))


def test_the_launcher_may_give_machines_this_one_role_and_to_ec2_only(policies, account):
    (role,) = account.client("iam").list_roles()["Roles"]
    launcher = [policies["launcher"]]
    to_ec2 = {"iam:PassedToService": "ec2.amazonaws.com"}
    to_lambda = {"iam:PassedToService": "lambda.amazonaws.com"}
    assert allows(launcher, "iam:PassRole", role["Arn"], to_ec2)
    assert not allows(launcher, "iam:PassRole", role["Arn"], to_lambda)


def test_what_doctor_has_simulated_is_what_submitters_and_launchers_may(policies, account):
    (role,) = account.client("iam").list_roles()["Roles"]
    layout = RunLayout(Location(BUCKET), "scans")
    both = [policies["submitter"], policies["launcher"]]
    wanted = asks(Where("aws", REGION, ACCOUNT), layout, Names("scans"), TAGS, role["Arn"])
    calls = [(action, ask.resource, ask.context) for ask in wanted for action in ask.actions]
    assert [call for call in calls if not allows(both, *call)] == []
    assert all(not allows([policies["submitter"]], *call) for call in calls if call[0] in STARTING)


STARTING = {"ec2:CreateFleet", "ec2:RunInstances", "iam:PassRole",
            "autoscaling:CreateAutoScalingGroup"}  # fmt: skip


MAX_POLICY_CHARACTERS = 6144
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""

GOVERNMENT = {"arn:aws:": "arn:aws-us-gov:", REGION: "us-gov-west-1"}
"""What the longest names of AWS's are, instead of those that moto has."""


@pytest.mark.parametrize(
    "words", [(), ("--set", f"KmsKeyArn={KEY}", "--set", f"VolumeKeyArn={KEY}")]
)
def test_every_policy_is_as_short_as_iam_wants_it(account, parallelize, monkeypatch, words):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "b" * 63)
    monkeypatch.setenv("PARALLELIZE_AWS_PREFIX", "department/laboratory/")
    for policy in deploy(account, parallelize, *words).values():
        # IAM does not count white space.
        text = json.dumps(policy, separators=(",", ":"))
        for short, long in GOVERNMENT.items():
            text = text.replace(short, long)
        assert len(text) <= MAX_POLICY_CHARACTERS, len(text)


def test_no_policy_allows_every_action_of_a_service(policies):
    for document in policies.values():
        for statement in document["Statement"]:
            assert not any(action.endswith("*") for action in as_list(statement["Action"]))
