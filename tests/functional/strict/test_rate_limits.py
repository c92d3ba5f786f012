"""Calls that AWS refuses for their number: every service does, and each command outlasts it."""

import pytest
from botocore import xform_name
from botocore.config import Config
from tests.strict_aws.rules.throttling import DOCUMENTED, RateLimit

from parallelize.fleet.clients import ComputeClients
from parallelize.queues import make_queues
from parallelize_agent.machine.group import leave
from parallelize_agent.reporting.cloud_log import CloudLog
from parallelize_core.clients import Clients, client_config
from parallelize_core.names import Names

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")

A_WHILE = 8.0
"""Less than the eight tries of one call take in all likelihood."""

LONG = 65.0
"""More than they do."""


@pytest.fixture
def others(account):
    """Let others in the account take all calls of these operations for some seconds."""
    rule = account.strict.rule(RateLimit)

    def take(seconds, *names):
        account.strict.refusals.clear()
        for name in names:
            rule.use_up(name, seconds)

    return take


def refused(account):
    return account.strict.refusals[RateLimit.__name__]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_documented_limit_names_its_document(name):
    assert DOCUMENTED[name].source.startswith("https://docs.aws.amazon.com/")


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("autoscaling", "DescribeAutoScalingGroups", "Throttling"),
        ("cloudwatch", "DescribeAlarms", "Throttling"),
        ("cloudformation", "DescribeStacks", "Throttling"),
        ("iam", "ListPolicies", "Throttling"),
        ("logs", "DescribeLogGroups", "ThrottlingException"),
        ("sqs", "ListQueues", "RequestThrottled"),
        ("ssm", "DescribeParameters", "ThrottlingException"),
    ],
)
def test_each_service_refuses_what_are_too_many_calls(account, service, call, code):
    once = Config(user_agent_extra="parallelize", retries={"total_max_attempts": 1})
    client = account.session.client(service, config=once)
    account.strict.rule(RateLimit).use_up(f"{service}.{call}", A_WHILE)
    with pytest.raises(client.exceptions.ClientError) as told:
        getattr(client, xform_name(call))()
    assert told.value.response["Error"]["Code"] == code


GROUP = [f"autoscaling.{name}" for name in (
    "CreateAutoScalingGroup", "DescribeAutoScalingGroups", "EnableMetricsCollection",
    "PutScalingPolicy", "SuspendProcesses",
)]  # fmt: skip


def test_a_group_that_follows_the_queue_is_launched(account, others, parallelize):
    account.prepare("scans")
    others(A_WHILE, *GROUP, "cloudwatch.PutMetricAlarm", "cloudwatch.DescribeAlarms",
           "service-quotas.GetServiceQuota", "sts.GetCallerIdentity")  # fmt: skip
    words = ("--fleet", "persistent", "--autoscale", "--run", "scans")
    code, _, err = parallelize("launch", "2", *words)
    assert code == 0, err
    assert refused(account)
    others(A_WHILE, "autoscaling.DeleteAutoScalingGroup", "autoscaling.DescribeAutoScalingGroups",
           "cloudwatch.DeleteAlarms")  # fmt: skip
    code, _, err = parallelize("kill", "--run", "scans")
    assert code == 0, err
    assert refused(account)
    assert account.machines("scans") == []


def test_the_stack_is_made_and_deleted(account, others, parallelize):
    others(A_WHILE, *(f"cloudformation.{name}" for name in (
        "CreateChangeSet", "DescribeChangeSet", "DescribeStacks", "ExecuteChangeSet",
        "GetTemplateSummary")))  # fmt: skip
    code, _, err = parallelize("setup", "--yes")
    assert code == 0, err
    assert refused(account)
    others(A_WHILE, "cloudformation.DeleteStack", "cloudformation.DescribeStackEvents",
           "iam.ListEntitiesForPolicy", "sts.GetCallerIdentity")  # fmt: skip
    code, _, err = parallelize("setup", "--delete", "--yes", "--force")
    assert code == 0, err
    assert refused(account)


def test_queues_are_made(account, others):
    others(
        A_WHILE,
        *(
            f"sqs.{name}"
            for name in (
                "CreateQueue",
                "GetQueueUrl",
                "SetQueueAttributes",
                "TagQueue",
                "ListQueueTags",
            )
        ),
    )
    ours = Clients.make(account.session).sqs
    make_queues(ours, Names("new"), {"parallelize:run": "new"})
    assert refused(account)


def test_the_images_of_vendors_are_found(account, vendors, others, parallelize):
    account.prepare("scans")
    others(A_WHILE, "ssm.GetParameter")
    code, _, err = parallelize("launch", "1", "--ami", "stock", "--dry-run", "--run", "scans")
    assert code == 0, err
    assert refused(account)


def test_a_worker_leaves_its_group_though_it_is_refused_for_longer_than_one_call_tries(
    account, others, parallelize
):
    account.prepare("scans")
    assert parallelize("launch", "2", "--fleet", "persistent", "--run", "scans")[0] == 0
    [worker, _] = [one["InstanceId"] for one in account.group("scans")["Instances"]]
    others(LONG, "autoscaling.TerminateInstanceInAutoScalingGroup")
    assert leave(ComputeClients.make(account.session).autoscaling, worker)
    assert refused(account)
    assert account.group("scans")["DesiredCapacity"] == 1


def test_a_workers_log_is_copied(account, others):
    logs = account.client("logs")
    logs.create_log_group(logGroupName="/parallelize/agents")
    others(A_WHILE, "logs.CreateLogStream")
    ours = account.session.client("logs", config=client_config())
    copy = CloudLog(ours, "/parallelize/agents", "scans/i-1")
    copy.add("hello")
    copy.start()
    copy.close(60)
    assert refused(account)
    (line,) = logs.get_log_events(logGroupName="/parallelize/agents", logStreamName="scans/i-1")[
        "events"
    ]
    assert line["message"] == "hello"
