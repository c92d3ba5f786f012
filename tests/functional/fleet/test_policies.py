"""The stack's policies: what they allow and refuse, and that nobody needs more or has more."""

import asyncio
import json
from pathlib import Path

import boto3
import pytest
from cfnlint.decode import decode_str
from tests.functional.agent.bench import ThreadedQueue, ThreadedStore
from tests.functional.fleet.calls import (
    ACCOUNT,
    REGION,
    needs,
    recorded,
    recorded_answers,
    template_contents,
)
from tests.functional.fleet.iam import allows, as_list, unused

from parallelize import stack
from parallelize.fleet.permissions import Where, asks
from parallelize_agent import services
from parallelize_agent.assembly import Assembly
from parallelize_agent.machine.instance import Instance
from parallelize_agent.shutdown import ShutdownReason
from parallelize_core.charges import RequestCounts
from parallelize_core.clients import Clients, make_session
from parallelize_core.config import AgentConfig
from parallelize_core.layout import Location, RunLayout
from parallelize_core.names import FIRST, Names

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


def deploy(account, parallelize, *words):
    """Make the stack, and return its policies."""
    assert parallelize("setup", "--yes", *words)[0] == 0
    iam = account.client("iam")
    found = {}
    for policy in iam.list_policies(Scope="Local")["Policies"]:
        version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId="v1")
        name = policy["PolicyName"].split("-")[1]
        found[name] = version["PolicyVersion"]["Document"]
    return found


ALLOWED = {
    "agent": [
        ("sqs:ReceiveMessage", QUEUE, {}),
        ("sqs:SendMessage", f"{QUEUE}-dead", {}),
        ("s3:GetObject", f"{OBJECTS}/runs/scans/input/a.txt", {}),
        ("s3:GetObject", f"{OBJECTS}/runs/scans/bootstrap/a.zip", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/output/a.csv", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/result/a.txt.json", {}),
        ("s3:PutObject", f"{OBJECTS}/runs/scans/run.json", {}),
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


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with two inputs, one of which fails, and a command that leaves an output."""
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "good.txt").write_text("good")
    (tmp_path / "inputs" / "bad.txt").write_text("bad")
    (tmp_path / "env").mkdir()
    job = tmp_path / "env" / "job.sh"
    job.write_text('#!/bin/sh\ngrep -q good "$1" || exit 65\ncp "$1" out.txt\necho out.txt\n')
    job.chmod(0o755)
    (tmp_path / "parallelize.toml").write_text(
        '[run]\nname = "scans"\ncommand = "./job.sh"\nenv = "env/"\n'
        'notify = "ana@example.org"\n'
        '[workers]\nami = "stock"\n'
        "[agent]\npoll = 0\ndrain_samples = 1\ndrain_interval = 0\nlease = 30\n"
    )
    return tmp_path


def work(config: AgentConfig, folder: Path) -> None:
    """Be a worker until the run is over."""
    instance = Instance("i-0123", "c7i.xlarge", "eu-west-1a")
    log = services.make_cloud_log(config, instance, RequestCounts())
    assert log
    log.start()
    log.add("a line")
    assert asyncio.run(life(config, instance, folder)).error is None
    log.close(60)


async def life(config: AgentConfig, instance: Instance, folder: Path) -> ShutdownReason:
    """Live a worker's life by boto3's calls, which are those that the loop's clients make."""
    clients = Clients.make(make_session(config.region))
    assembly = Assembly(
        config=config,
        instance=instance,
        work_dir=folder,
        open_store=lambda bucket: ThreadedStore(clients.store(bucket)),
        open_rare=clients.store,
        open_client=services.opener(config, instance, RequestCounts()),
        queue=ThreadedQueue(clients.queue(config.queue_url)),
        dead_letters=ThreadedQueue(clients.queue(config.dead_letter_queue_url)),
        publish=services.make_publisher(config, instance, RequestCounts()),
        means=services.find_means(config, instance, RequestCounts()),
    )
    worker = await assembly.worker()
    return await worker.run()


@pytest.mark.parametrize("stack", [FIRST, "lab"])
def test_the_calls_of_a_whole_run_are_what_the_policies_allow_and_no_less(
    account, project, parallelize, wheels, tmp_path, monkeypatch, stack
):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "auto")
    monkeypatch.setenv("PARALLELIZE_STACK", stack)
    policies = deploy(account, parallelize)
    with recorded() as submitting:
        for words in (["prep"], ["enqueue"]):
            code, _, err = parallelize(*words)
            assert code == 0, err
        with monkeypatch.context() as patch:
            patch.setenv("PARALLELIZE_WORKERS_VCPUS", "4-4")
            code, _, err = parallelize("prep", "--dry-run")
            assert code == 0, err
    _, printed, _ = parallelize("launch", "--print-config")
    with recorded() as working:
        work(AgentConfig.decode(printed, "stdout"), tmp_path / "work")
    with recorded() as fetching:
        assert parallelize("download", "out")[0] == 1  # one of the two files has failed
        parallelize("status", "--json")
        parallelize("failures", "--json")
        parallelize("retry")
    with recorded() as cleaning:
        code, _, err = parallelize("clean", "--yes", "--force")
        assert code == 0, err
    assert (project / "out" / "out.txt").read_text() == "good"
    objects = [call for call in cleaning if call.service in {"s3", "sqs"}]
    check_exact(policies["submitter"], submitting + fetching + objects, SUBMITTER_SELDOM)
    check_exact(policies["agent"], working, AGENT_SELDOM)


AGENT_SELDOM = {
    # Renewal needs a job as long as a lease, parts a file of 16 MiB, claims one of 12 hours.
    "sqs:ChangeMessageVisibility", "s3:AbortMultipartUpload", "s3:DeleteObject",
    # Only in a group.
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "autoscaling:SuspendProcesses", "autoscaling:ResumeProcesses",
}  # fmt: skip
SUBMITTER_SELDOM = {
    "s3:AbortMultipartUpload",
    # Only of a bucket that keeps versions: functional/strict/test_buckets.py.
    "s3:DeleteObjectVersion", "s3:ListBucketVersions",
    # Only for a run that was paused, or that stands still: test_persistent, test_stall_diagnosis.
    "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeScalingActivities",
    "autoscaling:ResumeProcesses", "ec2:DescribeInstances",
}  # fmt: skip


def actions(policy):
    return {one for statement in policy["Statement"] for one in as_list(statement["Action"])}


def check_exact(policy, calls, seldom):
    """Every call is allowed, and what the policy allows is used, apart from what is seldom."""
    wanted = {need for call in calls for need in needs(call)}
    refused = {
        need for need in wanted
        if not allows([policy], need.action, need.resource, dict(need.context))
    }  # fmt: skip
    assert refused == set()
    assert actions(policy) - {need.action for need in wanted} <= seldom


LAUNCHER_SELDOM = {
    # Once in an account, in the name of the first comer.
    "iam:CreateServiceLinkedRole",
    # doctor --request-quota: moto takes no such request, see test_quota_request.
    "servicequotas:RequestServiceQuotaIncrease",
    # doctor: moto's caller is no user of IAM's, and moto has no simulator.
    "iam:SimulatePrincipalPolicy",
}
SELDOM_RESOURCES = {
    # An image's snapshots are not in any call of ours; EC2 asks for them.
    ("StartFrom", "ec2:RunInstances", "snapshot/*"),
    ("StartFrom", "ec2:CreateFleet", "snapshot/*"),
}
LIFE = (
    "launch 2 --run one", "launch 1 --ami ssm:/parallelize/ami --max-cost 9 --run one",
    "launch 1 --ami stock --run one", "launch 1 --ami stock:ubuntu --run one",
    "launch 1 --ami stock:amazon --run one", "scale 1 --run one", "kill --run one",
    "launch 2 --fleet persistent --autoscale --run two",
    "launch 3 --fleet persistent --autoscale --run two", "launch 3 --fleet persistent --run two",
    "scale 3 --run two", "scale 1 --run two", "stop --run two", "kill --run two",
)  # fmt: skip


@pytest.fixture
def launching(account, parallelize, vendors, monkeypatch):
    """What launchers need for all that they do, and the policies, with the run's own bucket."""
    found = deploy(account, parallelize)
    monkeypatch.setenv("PARALLELIZE_WORKERS_KEY_NAME", "ana")
    account.client("ec2").create_key_pair(KeyName="ana")
    account.client("ssm").put_parameter(Name="/parallelize/ami", Value=account.image, Type="String")
    for run in ("one", "two"):
        account.prepare(run)
    with recorded_answers() as (calls, seen):
        parallelize("doctor", "--run", "one")
        for words in LIFE:
            code, _, err = parallelize(*words.split())
            assert code == 0, (words, err)
        with monkeypatch.context() as patch:
            patch.setenv("PARALLELIZE_WORKERS_VCPUS", "4-4")
            # Three types, or EC2 is asked for no score.
            patch.setenv("PARALLELIZE_WORKERS_TYPES", "c7i.xlarge,c6i.xlarge,m6i.xlarge")
            code, _, err = parallelize("launch", "1", "--dry-run", "--run", "one")
            assert code == 0, err
    template_contents(calls, seen)
    roles = {
        profile["InstanceProfileName"]: profile["Roles"][0]["Arn"]
        for profile in account.client("iam").list_instance_profiles()["InstanceProfiles"]
    }
    wanted = {need for call in calls for need in needs(call, seen)}
    return found["launcher"], {
        n._replace(resource=roles.get(n.resource, n.resource)) for n in wanted
    }


def test_a_launchers_calls_are_allowed_with_the_resources_and_tags_that_they_name(launching):
    policy, wanted = launching
    refused = {n for n in wanted if not allows([policy], n.action, n.resource, dict(n.context))}
    assert refused == set()


def test_doctor_looks_for_signs_of_life_with_a_launchers_rights(account, parallelize):
    policy = deploy(account, parallelize)["launcher"]
    account.prepare("one")
    parallelize("launch", "1", "--run", "one")
    with recorded_answers() as (calls, seen):
        parallelize("doctor", "--run", "one")
    wanted = {
        need for call in calls if call.operation != "RunInstances" for need in needs(call, seen)
    }
    assert any(need.resource.endswith("/runs/one/run.json") for need in wanted)
    assert {
        n for n in wanted if not allows([policy], n.action, n.resource, dict(n.context))
    } == set()


def test_nothing_is_granted_to_launchers_that_no_call_of_theirs_takes(launching):
    policy, wanted = launching
    taken = [(need.action, need.resource, dict(need.context)) for need in wanted]
    left = {
        (sid, action, resource)
        for sid, action, resource in unused(policy, taken)
        if action not in LAUNCHER_SELDOM
    }
    superfluous = {one for one in left if not seldom_resource(*one)}
    assert superfluous == set()
    assert actions(policy) - {need.action for need in wanted} == LAUNCHER_SELDOM


def seldom_resource(*grant):
    return any(
        grant[:2] == seldom[:2] and grant[2].endswith(seldom[2]) for seldom in SELDOM_RESOURCES
    )


def test_a_statement_that_is_missing_is_noticed(launching):
    policy, wanted = launching
    for lost in ("EndOurs", "GiveWorkersTheirRole", "OurTemplates", "TagWhatIsBeingMade"):
        less = [one for one in policy["Statement"] if one["Sid"] != lost]
        assert len(less) == len(policy["Statement"]) - 1
        assert any(
            not allows([{"Statement": less}], n.action, n.resource, dict(n.context)) for n in wanted
        ), lost


def test_a_machine_without_our_tag_could_not_be_ended_by_the_same_call(launching):
    policy, wanted = launching
    ended = [need for need in wanted if need.action == "ec2:TerminateInstances"]
    assert ended
    assert not any(allows([policy], need.action, need.resource) for need in ended)


def test_the_recorder_sees_calls_of_new_sessions(account):
    with recorded() as calls:
        boto3.Session(region_name=REGION).client("sqs").list_queues()
    assert [(call.service, call.operation) for call in calls] == [("sqs", "ListQueues")]
    json.dumps([call.params for call in calls])
