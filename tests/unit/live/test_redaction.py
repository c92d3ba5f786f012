"""A transcript says nothing of whose account it was, whatever AWS or a setting puts where."""

import json
from datetime import UTC, datetime
from itertools import cycle

import boto3
import pytest

from parallelize.live.redaction import Redactor, code_word

RUN = "live-bcdfghjkmnpq"
ACCOUNT = "123456789012"
BUCKET = "acme-genomics"
SECRETS = (ACCOUNT, BUCKET, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI", "anna", "hunter2", "Manhattan",
           "203.0.113.7", "i-0123456789abcdef0", "example.org")  # fmt: skip
HOSTILE = (
    f"arn:aws:sts::{ACCOUNT}:assumed-role/Admin/anna@example.org",
    f"arn:aws:sqs:eu-west-1:{ACCOUNT}:parallelize-{RUN}",
    f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/parallelize-{RUN}",
    f"{BUCKET}/runs/{RUN}/", f"parallelize-{ACCOUNT}-eu-west-1-an/runs/{RUN}/",
    f"{RUN} of anna@example.org", f"{RUN} AKIAIOSFODNN7EXAMPLE on 203.0.113.7",
    f'{{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:{ACCOUNT}:{RUN}", "n": 1}}',
    f"{RUN} i-0123456789abcdef0", ACCOUNT, "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "anna", "hunter2", "Project Manhattan",
    f"User: arn:aws:iam::{ACCOUNT}:user/anna is not authorized", "203.0.113.7", "example.org",
)  # fmt: skip
DEPTH = 7
"""Deeper than what any of these calls has; some shapes contain themselves."""

CALLS = (
    ("sqs", "CreateQueue"), ("sqs", "SetQueueAttributes"), ("sqs", "TagQueue"),
    ("sqs", "SendMessageBatch"), ("sqs", "ReceiveMessage"), ("sqs", "GetQueueAttributes"),
    ("sqs", "ListQueues"), ("s3", "PutObject"), ("s3", "GetObject"), ("s3", "HeadObject"),
    ("s3", "CompleteMultipartUpload"), ("s3", "ListObjectsV2"), ("s3", "CreateBucket"),
    ("s3", "PutBucketLifecycleConfiguration"), ("ec2", "CreateLaunchTemplate"),
    ("ec2", "DescribeLaunchTemplateVersions"), ("ec2", "CreateFleet"), ("ec2", "DescribeInstances"),
    ("ec2", "DescribeSubnets"), ("ec2", "DescribeImages"), ("ec2", "DescribeSecurityGroups"),
    ("ec2", "DescribeVolumes"), ("ec2", "DescribeSpotPriceHistory"), ("ssm", "GetParameter"),
    ("autoscaling", "CreateAutoScalingGroup"), ("autoscaling", "DescribeAutoScalingGroups"),
    ("cloudwatch", "PutMetricAlarm"), ("cloudwatch", "DescribeAlarms"), ("logs", "PutLogEvents"),
    ("logs", "DescribeLogGroups"), ("sts", "GetCallerIdentity"), ("iam", "GetRole"),
)  # fmt: skip


@pytest.fixture(scope="module")
def models():
    session = boto3.Session("key", "secret", region_name="eu-west-1")
    clients = {service: session.client(service) for service in {one for one, _ in CALLS}}
    return {call: clients[call[0]].meta.service_model.operation_model(call[1]) for call in CALLS}


def hostile(shape, words, depth=0):
    """Make a value of a shape in which every text, also the name of an entry, gives away much."""
    many = HOSTILE[:2] if depth > 3 else HOSTILE
    deeper = depth < DEPTH
    if shape.type_name == "structure":
        members = shape.members.items() if deeper else ()
        return {name: hostile(one, words, depth + 1) for name, one in members}
    if shape.type_name == "list":
        return [hostile(shape.member, words, depth + 1) for _ in many if deeper]
    if shape.type_name == "map":
        return {next(words): hostile(shape.value, words, depth + 1) for _ in many if deeper}
    simple = {"string": next(words), "blob": next(words).encode(), "boolean": True,
              "timestamp": datetime(2026, 11, 29, tzinfo=UTC)}  # fmt: skip
    return simple.get(shape.type_name, int(ACCOUNT))


@pytest.mark.parametrize("call", CALLS, ids=".".join)
@pytest.mark.parametrize("start", range(0, len(HOSTILE), 5))
def test_nothing_that_tells_whose_account_it_is_is_written_down(models, call, start):
    redactor = Redactor(RUN, [ACCOUNT, BUCKET])
    words = cycle(HOSTILE[start:] + HOSTILE[:start])
    for shape in (models[call].input_shape, models[call].output_shape):
        if shape is not None:
            text = json.dumps(redactor.structure(shape, hostile(shape, words)))
            assert [secret for secret in SECRETS if secret in text] == []


def told(models, call, params, redactor=None):
    return (redactor or Redactor(RUN)).structure(models[call].input_shape, params)


def test_what_is_named_after_the_run_and_what_aws_lists_is_kept(models):
    params = {"QueueName": f"parallelize-{RUN}", "Attributes": {"VisibilityTimeout": "30"}}
    assert told(models, ("sqs", "CreateQueue"), params) == params


def test_a_value_has_the_same_stand_in_wherever_it_comes_back(models):
    redactor = Redactor(RUN)
    url = f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/parallelize-{RUN}"
    made = redactor.structure(models["sqs", "CreateQueue"].output_shape, {"QueueUrl": url})
    used = told(models, ("sqs", "TagQueue"), {"QueueUrl": url}, redactor)
    assert made == used == {"QueueUrl": "<QueueUrl 1>"}


def test_a_users_own_tags_are_not_told_neither_name_nor_value(models):
    tags = {"parallelize:run": RUN, "cost-center": "4711"}
    params = {"QueueUrl": "u", "Tags": tags}
    assert told(models, ("sqs", "TagQueue"), params)["Tags"] == {
        "parallelize:run": RUN, "<TagKey 1>": "<TagValue 1>"
    }  # fmt: skip


def test_bodies_are_told_by_their_size_alone(models):
    params = {"Bucket": RUN, "Key": RUN, "Body": b"secret"}
    assert told(models, ("s3", "PutObject"), params)["Body"] == "<6 bytes>"


@pytest.mark.parametrize("code", ["NoSuchKey", "404", "AWS.SimpleQueueService.NonExistentQueue"])
def test_a_code_of_awss_is_kept(code):
    assert code_word(code) == code


@pytest.mark.parametrize("code", [ACCOUNT, f"Denied{ACCOUNT}", "no word", ""])
def test_a_code_that_is_none_of_awss_is_not(code):
    assert code_word(code) == "other"
