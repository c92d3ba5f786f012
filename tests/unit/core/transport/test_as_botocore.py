"""Requests are botocore's to the last letter of the signature; nothing is sent to see that."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session, get_session
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.transport.botocore_requests import botocores, bucket_of, same

from parallelize_core.parts import ObjectPart
from parallelize_core.store import ALWAYS, IF_ABSENT, Condition
from parallelize_core.transport.client import Request
from parallelize_core.transport.connection import Patience
from parallelize_core.transport.endpoints import Endpoints
from parallelize_core.transport.objects import ObjectRequests, Payload

REGIONS = ["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1"]
BUCKETS = ["bucket", "dotted.bucket", "Old_Bucket"]
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/queue"
BODY = b"body"
CRC32 = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()

ODD_KEYS = [
    "/", "//", "/leading", "trailing/", "a//b", "a/./b", "a/../../b", "..", "~", "-_.~",
    "a+b c%20d", "ünï/界🧬", "?x=1&y", "#f", "a\u2028b", "\x01\x1f\x7f", "\n", "\r\n", "%",
    "=&", "'\"<>", "x" * 1024,
]  # fmt: skip


def a_session(region: str = "eu-west-1", token: str | None = None) -> Session:
    session = get_session()
    session.set_config_variable("region", region)
    session.set_credentials("AKIDEXAMPLE", "secret/+", token)
    return session


SESSION = a_session()
ENDPOINT = bucket_of(SESSION, "bucket")
REQUESTS = ObjectRequests("bucket")


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_odd_key_is_addressed_and_signed_alike(key: str) -> None:
    expected = botocores(SESSION, "get_object", Bucket="bucket", Key=key)
    same(SESSION, expected, REQUESTS.get(key), ENDPOINT)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_key_is_addressed_and_signed_alike(key: str) -> None:
    expected = botocores(SESSION, "head_object", Bucket="bucket", Key=key)
    same(SESSION, expected, REQUESTS.head(key), ENDPOINT)


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("region", REGIONS)
def test_a_bucket_of_any_region_and_style_is_found_alike(region: str, bucket: str) -> None:
    session = a_session(region)
    expected = botocores(session, "get_object", Bucket=bucket, Key="k/e y")
    same(session, expected, ObjectRequests(bucket).get("k/e y"), bucket_of(session, bucket))


def test_an_access_point_is_found_by_its_name_alike() -> None:
    bucket = "arn:aws:s3:us-west-2:123456789012:accesspoint/point"
    expected = botocores(SESSION, "get_object", Bucket=bucket, Key="key")
    same(SESSION, expected, ObjectRequests(bucket).get("key"), bucket_of(SESSION, bucket))


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:5000"},
        {"AWS_ENDPOINT_URL": "http://localhost:5000/below"},
        {"AWS_ENDPOINT_URL": "https://[::1]:8443"},
        {"AWS_ENDPOINT_URL_S3": "https://s3.example.org"},
        {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
    ],
)
@pytest.mark.parametrize("bucket", BUCKETS)
def test_the_variables_for_endpoints_lead_to_the_same_place(
    monkeypatch: pytest.MonkeyPatch, bucket: str, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    session = a_session("us-east-1")
    expected = botocores(session, "head_object", Bucket=bucket, Key="key")
    same(session, expected, ObjectRequests(bucket).head("key"), bucket_of(session, bucket))


@pytest.mark.parametrize("style", ["path", "virtual", "auto"])
def test_a_style_of_address_that_is_set_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, style: str
) -> None:
    config = tmp_path / "config"
    config.write_text(f"[default]\ns3 =\n  addressing_style = {style}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    session = a_session()
    expected = botocores(session, "get_object", Bucket="bucket", Key="key")
    same(session, expected, REQUESTS.get("key"), bucket_of(session, "bucket"))


def test_a_session_token_is_sent_and_signed_alike() -> None:
    session = a_session(token="token/+==")
    expected = botocores(session, "get_object", Bucket="bucket", Key="key")
    assert "x-amz-security-token" in expected.headers
    same(session, expected, REQUESTS.get("key"), ENDPOINT)


def test_a_version_and_a_part_are_asked_for_alike() -> None:
    expected = botocores(
        SESSION, "get_object", Bucket="bucket", Key="key", IfMatch='"etag"', Range="bytes=16-31"
    )
    same(SESSION, expected, REQUESTS.get("key", "etag", ObjectPart(2, 16, 16)), ENDPOINT)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (ALWAYS, {}),
        (IF_ABSENT, {"IfNoneMatch": "*"}),
        (Condition(etag="abc"), {"IfMatch": '"abc"'}),
    ],
)
@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:5000"])
def test_a_write_carries_its_condition_metadata_and_checksum_alike(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, condition: Condition, words: dict[str, str]
) -> None:
    """Botocore is given the checksum: left alone it sends the same one behind the body."""
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    session = a_session()
    metadata = {"input": "a  b/%20", "sha256": " x "}
    expected = botocores(
        session, "put_object", Bucket="bucket", Key="key", Body=BODY, Metadata=metadata,
        ChecksumAlgorithm="CRC32", ChecksumCRC32=CRC32, **words,
    )  # fmt: skip
    where = bucket_of(session, "bucket")
    request = REQUESTS.put("key", Payload.of(BODY, where), condition, metadata)
    same(session, without_expect(expected), request, where)


def test_without_checksums_as_a_rule_a_body_is_signed_and_not_summed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    session = a_session()
    where = bucket_of(session, "bucket")
    expected = botocores(session, "put_object", Bucket="bucket", Key="key", Body=BODY)
    request = REQUESTS.put("key", Payload.of(BODY, where), ALWAYS, None)
    same(session, without_expect(expected), request, where)
    expected = botocores(session, "get_object", Bucket="bucket", Key="key")
    same(session, expected, REQUESTS.get("key", checked=where.checks_checksums), where)


def test_bodies_are_signed_where_the_configuration_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\ns3 =\n  payload_signing_enabled = true\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    where = bucket_of(a_session(), "bucket")
    assert Payload.of(BODY, where).digest == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("prefix", ["", "folder/", "a+b c%20d/\x01", "ünï/界🧬"])
@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_page_of_a_listing_is_asked_for_alike(bucket: str, prefix: str) -> None:
    for after, token, delimiter in (("", "", ""), (f"{prefix}k/k", "", "/"), ("", "to/k=+", "")):
        expected = botocores(
            SESSION, "list_objects_v2", Bucket=bucket, Prefix=prefix, EncodingType="url",
            **({"StartAfter": after} if after else {}),
            **({"ContinuationToken": token} if token else {}),
            **({"Delimiter": delimiter} if delimiter else {}),
        )  # fmt: skip
        request = ObjectRequests(bucket).page(prefix, after, token, delimiter)
        same(SESSION, expected, request, bucket_of(SESSION, bucket))


def test_an_upload_in_parts_is_asked_for_alike() -> None:
    upload = {"Bucket": "bucket", "Key": "k/e y", "UploadId": "up+/load=="}
    payload = Payload.of(BODY, ENDPOINT)
    parts = {"Parts": [{"PartNumber": n, "ETag": f'"etag{n}"'} for n in (1, 2)]}
    metadata = {"input": "x"}
    for expected, request in (
        (
            botocores(
                SESSION, "create_multipart_upload", Bucket="bucket", Key="k/e y", Metadata=metadata
            ),
            REQUESTS.begin("k/e y", metadata),
        ),
        (
            botocores(
                SESSION, "upload_part", **upload, PartNumber=2, Body=BODY,
                ChecksumAlgorithm="CRC32", ChecksumCRC32=CRC32,
            ),
            REQUESTS.part("k/e y", "up+/load==", 2, payload),
        ),
        (
            botocores(
                SESSION, "complete_multipart_upload", **upload, MultipartUpload=parts,
                IfNoneMatch="*",
            ),
            REQUESTS.complete("k/e y", "up+/load==", ["etag1", "etag2"], IF_ABSENT),
        ),
        (
            botocores(SESSION, "abort_multipart_upload", **upload),
            REQUESTS.abort("k/e y", "up+/load=="),
        ),
        (
            botocores(SESSION, "delete_object", Bucket="bucket", Key="k/e y"),
            REQUESTS.delete("k/e y"),
        ),
    ):  # fmt: skip
        same(SESSION, without_expect(expected), request, ENDPOINT)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:5000", "https://sqs.example.org/sub"])
def test_a_queue_is_asked_alike(
    monkeypatch: pytest.MonkeyPatch, region: str, endpoint: str
) -> None:
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", endpoint)
    session = a_session(region, "token")
    expected = botocores(session, "receive_message", QueueUrl=QUEUE, MaxNumberOfMessages=10)
    body = json.dumps({"QueueUrl": QUEUE, "MaxNumberOfMessages": 10}).encode()
    request = Request(
        "POST", "", "queue", Patience(1), "",
        [
            ("x-amz-target", "AmazonSQS.ReceiveMessage"),
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amzn-query-mode", "true"),
        ],
        body, hashlib.sha256(body).hexdigest(),
    )  # fmt: skip
    same(session, expected, request, Endpoints(lambda: session).of_queues(QUEUE))


def without_expect(sent: Any) -> Any:
    """A body of bytes is sent without a question, unless it is long."""
    headers = {name: value for name, value in sent.headers.items() if name != "expect"}
    return type(sent)(sent.method, sent.scheme, sent.path, sent.query, headers)
