"""What AWS documents and this project counts on or guards against, as the server has it.

Where a server is known to do otherwise, its test is expected to fail: docs/conformance.md.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.conformance.other_server import other_server

from parallelize_core.clients import Clients
from parallelize_core.keys import MAX_S3_KEY_BYTES
from parallelize_core.queue import MAX_DELAY_SECONDS

SERVER = "LocalStack" if other_server() else "local cloud"
HALF_A_DAY = 12 * 60 * 60


def otherwise(server: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(server == SERVER, reason=f"{server} does otherwise")


def refusal(call: Callable[..., object], **arguments: object) -> str:
    """Make a call that has to be refused, and return the code."""
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


@pytest.fixture
def clients(endpoint: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> Clients:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    return Clients.make(boto3.Session(region_name="us-east-1"))


@pytest.fixture
def bucket(clients: Clients) -> str:
    name = f"documented-{uuid4()}"
    clients.s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def queue(clients: Clients) -> str:
    return clients.sqs.create_queue(QueueName=uuid4().hex)["QueueUrl"]


def test_a_key_that_is_too_long_is_refused(clients: Clients, bucket: str) -> None:
    key = "x" * (MAX_S3_KEY_BYTES + 1)
    assert refusal(clients.s3.put_object, Bucket=bucket, Key=key) == "KeyTooLongError"


def test_a_body_that_is_not_what_its_checksum_says_is_refused(
    clients: Clients, bucket: str
) -> None:
    wrong = {"Bucket": bucket, "Key": "key", "Body": b"body", "ChecksumCRC32": "AAAAAA=="}
    assert refusal(clients.s3.put_object, **wrong) == "BadDigest"


def test_an_object_is_whole_whenever_the_sender_of_another_in_its_place_dies(
    clients: Clients, bucket: str
) -> None:
    old, new = b"old" * 1000, b"new" * 900
    keys = [f"key {n}" for n in range(40)]
    for key in keys:
        clients.s3.put_object(Bucket=bucket, Key=key, Body=old)
    for milliseconds, key in enumerate(keys):
        die_sending(clients, bucket, key, new, milliseconds / 2000)
    for key in keys:
        assert clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read() in {old, new}


def die_sending(clients: Clients, bucket: str, key: str, body: bytes, seconds: float) -> None:
    """Send an object and, after so long, reset the connection, as the kernel does for the dead."""
    url = urlsplit(clients.s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": key}))
    head = (
        f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {len(body)}"
    )
    with socket.create_connection((url.hostname, url.port)) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        time.sleep(seconds)
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def test_a_key_may_have_a_newline(clients: Clients, bucket: str) -> None:
    clients.s3.put_object(Bucket=bucket, Key="a\nb", Body=b"body")
    [found] = clients.s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert found["Key"] == "a\nb"


def test_a_quiet_deletion_answers_only_errors(clients: Clients, bucket: str) -> None:
    answer = clients.s3.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "absent"}], "Quiet": True}
    )
    assert not answer.keys() & {"Deleted", "Errors"}


@pytest.mark.parametrize("character", ["\x01", "\ufffe", "\uffff"], ids=ascii)
def test_a_message_with_a_character_that_xml_has_not_is_refused(
    clients: Clients, queue: str, character: str
) -> None:
    given = {"QueueUrl": queue, "MessageBody": f"a{character}b"}
    assert refusal(clients.sqs.send_message, **given) == "InvalidMessageContents"


@otherwise("LocalStack")
def test_a_delay_of_more_than_a_quarter_of_an_hour_is_refused(clients: Clients, queue: str) -> None:
    given = {"QueueUrl": queue, "MessageBody": "a", "DelaySeconds": MAX_DELAY_SECONDS + 1}
    assert refusal(clients.sqs.send_message, **given) == "InvalidParameterValue"


@otherwise("LocalStack")
def test_no_lease_is_longer_than_twelve_hours_since_the_receive(
    clients: Clients, queue: str
) -> None:
    clients.sqs.send_message(QueueUrl=queue, MessageBody="a")
    [message] = clients.sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]
    given = {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]}
    beyond = {**given, "VisibilityTimeout": HALF_A_DAY + 1}
    assert refusal(clients.sqs.change_message_visibility, **beyond) == "InvalidParameterValue"
