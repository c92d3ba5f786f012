"""The rules in front of the local cloud's own S3 and SQS."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.functional.fleet.iam import deploy
from tests.strict_aws.server import Account

from parallelize.local.cloud import LocalCloud, local_cloud
from parallelize.local.records import REGION
from parallelize_core.outlast import NEW_QUEUE

STRICT = ("--layer", "tests.strict_aws.server:Strict")
JUDGED = ("--layer", "tests.strict_aws.server:Judged")
RUN = "runs/scans"
OURS = Config(user_agent_extra="parallelize", retries={"total_max_attempts": 1})


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with local_cloud(daemon_options=STRICT) as cloud:
        yield cloud


@pytest.fixture
def client(cloud: LocalCloud) -> Callable[..., Any]:
    """Build clients; with `OURS`, as the project's own are, which the layer looks at."""
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": cloud.state.secret}
    return lambda service, config=OURS: boto3.client(
        service, REGION, endpoint_url=cloud.endpoint, config=config, **keys
    )


def code(call: Callable[..., Any], **params: Any) -> str:
    with pytest.raises(ClientError) as told:
        call(**params)
    return told.value.response["Error"]["Code"].rpartition(".")[2]


def test_a_queue_is_not_there_in_its_first_second_and_is_later(client):
    sqs = client("sqs")
    url = sqs.create_queue(QueueName="new")["QueueUrl"]
    wanted = {"QueueUrl": url, "AttributeNames": ["QueueArn"]}
    assert code(sqs.get_queue_attributes, **wanted) in NEW_QUEUE.codes
    # Who is not looked at sees what is there.
    assert client("sqs", None).get_queue_attributes(**wanted)["Attributes"]


def test_a_queues_name_stays_taken_after_its_deletion(client):
    sqs, tests_own = client("sqs"), client("sqs", None)
    url = tests_own.create_queue(QueueName="old")["QueueUrl"]
    sqs.delete_queue(QueueUrl=url)
    assert code(sqs.create_queue, QueueName="old") == "QueueDeletedRecently"


def test_a_service_that_signs_by_another_name_is_answered(client):
    """An error of the layer's own would be tried again, for up to a minute at each launch."""
    quotas = client("service-quotas")
    wanted = {"ServiceCode": "ec2", "QuotaCode": "L-34B43A08"}
    assert code(quotas.get_service_quota, **wanted) == "NoSuchResourceException"


def test_a_long_poll_is_answered_behind_the_layer_too(client):
    sqs = client("sqs")
    url = client("sqs", None).create_queue(QueueName="poll")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="a")
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    assert message["Body"] == "a"


def test_limits_of_the_model_are_kept_in_front_of_sqs(client):
    sqs = client("sqs")
    url = client("sqs", None).create_queue(QueueName="limits")["QueueUrl"]
    wanted = {"QueueUrl": url, "MessageSystemAttributeNames": ["Nonsense"]}
    assert code(sqs.receive_message, **wanted) == "InvalidParameterValue"


def test_limits_of_the_model_are_kept_in_front_of_s3(client):
    s3 = client("s3")
    s3.create_bucket(Bucket="limits")
    wanted = {"Bucket": "limits", "Key": "k"}
    assert code(s3.put_object, **wanted, ServerSideEncryption="rot13") == "InvalidArgument"
    lines = {"Objects": [{"Key": str(number)} for number in range(1001)]}
    assert code(s3.delete_objects, Bucket="limits", Delete=lines) == "MalformedXML"
    s3.put_object(**wanted, Body=b"x")
    assert s3.delete_objects(Bucket="limits", Delete={"Objects": [{"Key": "k"}]})["Deleted"]


def test_a_bucket_of_another_owner_than_expected_is_refused(client):
    s3 = client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    wanted = {"Bucket": "bucket", "Key": "k"}
    assert code(s3.get_object, **wanted, ExpectedBucketOwner="111111111111") == "AccessDenied"
    assert s3.get_object(**wanted)["Body"].read() == b"x"


def test_a_refused_head_has_a_status_and_no_body(client):
    s3 = client("s3")
    s3.create_bucket(Bucket="other")
    assert code(s3.head_bucket, Bucket="other", ExpectedBucketOwner="111111111111") == "403"
    assert s3.head_bucket(Bucket="other")


@pytest.fixture(scope="module")
def judged() -> Iterator[LocalCloud]:
    with local_cloud(daemon_options=JUDGED) as cloud:
        yield cloud


@pytest.fixture
def as_user(judged: LocalCloud) -> Callable[..., Any]:
    """Build clients of a key: of the user `local`, or of one that IAM does not know."""
    return lambda service, key="local": boto3.client(
        service, REGION, endpoint_url=judged.endpoint, config=OURS,
        aws_access_key_id=key, aws_secret_access_key=judged.state.secret,
    )  # fmt: skip


@pytest.fixture
def bucket(as_user) -> str:
    name = f"parallelize-123456789012-{REGION}-an"
    as_user("s3", "administrator").create_bucket(Bucket=name)
    return name


def test_the_user_of_the_local_cloud_has_the_rights_of_submitters_and_launchers(as_user, bucket):
    s3 = as_user("s3")
    s3.put_object(Bucket=bucket, Key=f"{RUN}/input/a", Body=b"x")
    assert code(s3.put_object, Bucket=bucket, Key="a", Body=b"x") == "AccessDenied"
    assert code(s3.create_bucket, Bucket="another") == "AccessDenied"
    assert code(as_user("sqs").create_queue, QueueName="payments") == "AccessDeniedException"


def test_a_copy_takes_the_right_to_read_and_to_write(as_user, bucket):
    s3, to = as_user("s3"), {"Bucket": bucket, "Key": f"{RUN}/output/b"}
    as_user("s3", "administrator").put_object(Bucket=bucket, Key="private", Body=b"x")
    s3.put_object(Bucket=bucket, Key=f"{RUN}/output/a", Body=b"x")
    s3.copy_object(**to, CopySource={"Bucket": bucket, "Key": f"{RUN}/output/a"})
    refused = {"CopySource": {"Bucket": bucket, "Key": "private"}}
    assert code(s3.copy_object, **to, **refused) == "AccessDenied"


def test_of_many_keys_those_that_may_not_be_deleted_are_named(as_user, bucket):
    administrator = as_user("s3", "administrator")
    keys = ("private", f"{RUN}/input/a")
    for key in keys:
        administrator.put_object(Bucket=bucket, Key=key, Body=b"x")
    wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
    told = as_user("s3").delete_objects(Bucket=bucket, Delete=wanted)["Errors"]
    assert {one["Key"]: one["Code"] for one in told}["private"] == "AccessDenied"
    administrator.head_object(Bucket=bucket, Key="private")


def test_a_key_of_a_role_without_its_machines_session_may_do_nothing(as_user, bucket):
    s3 = as_user("s3", "ASIALOCALCLOUD000000")
    assert code(s3.get_object, Bucket=bucket, Key=f"{RUN}/input/a") == "AccessDenied"


@pytest.mark.filterwarnings("ignore:Tried to parse")
def test_the_policies_that_judge_are_those_that_setup_makes(account, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "auto")
    by_setup = deploy(account, parallelize)
    Account().set_up("parallelize")
    iam = account.client("iam")
    for role, policy in by_setup.items():
        arn = f"arn:aws:iam::123456789012:policy/parallelize-{role}-{REGION}"
        judging = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
        here = json.dumps(policy).replace(account.session.region_name, REGION)
        assert without_role(json.dumps(judging["Document"])) == without_role(here)


def without_role(policy: str) -> str:
    """Leave out what CloudFormation adds to the name of the role."""
    return re.sub(r"AgentRole-\w+", "AgentRole", policy)
