"""The rules in front of the local cloud's own S3 and SQS."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from parallelize.local.cloud import LocalCloud, local_cloud
from parallelize.local.records import REGION
from parallelize_core.outlast import NEW_QUEUE

STRICT = ("--layer", "tests.strict_aws.server:Strict")
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
