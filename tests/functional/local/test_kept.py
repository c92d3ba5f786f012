"""What the local cloud keeps: all that a client was told is done, however the process ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.functional.local.helpers import AGENT_OPTIONS, client_arguments, until

from parallelize.local.cloud import LocalCloud, attach, start, stop
from parallelize.local.disk import FILES, Disk, kept_in
from parallelize.local.s3.answers import S3Error
from parallelize.local.s3.objects import Objects

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient

LARGE = 200_000
QUOTA = 300_000


def clients(cloud: LocalCloud) -> tuple[S3Client, SQSClient]:
    arguments = client_arguments(cloud)
    return boto3.client("s3", **arguments), boto3.client("sqs", **arguments)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    yield start(tmp_path, daemon_options=AGENT_OPTIONS)
    if running := attach(tmp_path):
        stop(running)


def kill(cloud: LocalCloud) -> None:
    os.kill(cloud.state.pid, signal.SIGKILL)
    until(lambda: not cloud.state.is_current())


@pytest.mark.parametrize("end", [stop, kill])
def test_what_was_done_is_there_after_the_next_start(
    cloud: LocalCloud, end: Callable[[LocalCloud], None]
) -> None:
    s3, sqs = clients(cloud)
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="small", Body=b"small", Metadata={"m": "1"})
    s3.put_object(Bucket="kept", Key="large", Body=b"x" * LARGE)
    s3.put_object(Bucket="kept", Key="gone", Body=b"")
    s3.delete_object(Bucket="kept", Key="gone")
    queue = sqs.create_queue(QueueName="kept", Attributes={"VisibilityTimeout": "77"})["QueueUrl"]
    for body in ("leased", "deleted", "waiting"):
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    leased, deleted = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=2)["Messages"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=deleted["ReceiptHandle"])
    end(cloud)

    again = start(cloud.state_dir, daemon_options=AGENT_OPTIONS)
    assert again.endpoint == cloud.endpoint
    s3, sqs = clients(again)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="kept")["Contents"]] == [
        "large", "small",
    ]  # fmt: skip
    assert s3.get_object(Bucket="kept", Key="large")["Body"].read() == b"x" * LARGE
    assert s3.head_object(Bucket="kept", Key="small")["Metadata"] == {"m": "1"}
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert found["VisibilityTimeout"] == "77"
    assert (
        found["ApproximateNumberOfMessages"], found["ApproximateNumberOfMessagesNotVisible"]
    ) == ("1", "1")  # fmt: skip
    [waiting] = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert waiting["Body"] == "waiting"
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=leased["ReceiptHandle"])
    kept = kept_in(cloud.state_dir)
    assert kept is not None
    assert (kept.objects, kept.used_bytes, kept.messages) == (2, LARGE + len("small"), 1)


def test_a_file_that_nothing_refers_to_is_removed_at_the_next_start(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    orphan = disk.path(disk.write_file(b"written, and then the power went"))
    disk.close()
    Disk(tmp_path).close()
    assert not orphan.exists()


def test_an_object_that_is_replaced_leaves_no_file(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    objects = Objects(disk)
    for body in (b"a" * LARGE, b"b" * LARGE):
        there = objects.find("bucket", "key")
        objects.put("bucket", "key", objects.store(body, "etag", {}), there)
    assert len([*(tmp_path / FILES).glob("*/*")]) == 1
    objects.delete("bucket", "key")
    assert not [*(tmp_path / FILES).glob("*/*")]
    assert disk.used_bytes == 0


def test_more_than_the_quota_is_refused_and_what_is_there_stays(tmp_path: Path) -> None:
    disk = Disk(tmp_path, QUOTA)
    objects = Objects(disk)
    objects.put("bucket", "first", objects.store(b"a" * LARGE, "etag", {}), None)
    with pytest.raises(S3Error, match="QuotaExceeded"):
        objects.put("bucket", "second", objects.store(b"b" * LARGE, "etag", {}), None)
    assert objects.find("bucket", "first") is not None
    assert disk.used_bytes == LARGE


def test_a_client_is_told_that_the_quota_is_used_up_and_what_to_do(tmp_path: Path) -> None:
    options = (*AGENT_OPTIONS, "--quota-bytes", str(QUOTA))
    cloud = start(tmp_path, daemon_options=options)
    try:
        s3, _ = clients(cloud)
        s3.create_bucket(Bucket="full")
        with pytest.raises(ClientError, match="parallelize clean") as refused:
            s3.put_object(Bucket="full", Key="k", Body=b"x" * (QUOTA + 1))
        assert refused.value.response["Error"]["Code"] == "QuotaExceeded"
    finally:
        stop(cloud)
