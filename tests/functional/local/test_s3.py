"""The local cloud's S3 through boto3: what a client may rely on, as with AWS."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.functional.local.helpers import client_arguments

from parallelize.local.cloud import LocalCloud
from parallelize.local.s3.answers import S3Error
from parallelize.local.s3.bodies import unchunk

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

PART = 5 * 1024 * 1024


@pytest.fixture(scope="module")
def s3(cloud: LocalCloud) -> S3Client:
    return boto3.client("s3", **client_arguments(cloud))


@pytest.fixture
def bucket(s3: S3Client) -> str:
    name = f"bucket-{uuid4()}"
    s3.create_bucket(Bucket=name)
    return name


def put(s3: S3Client, bucket: str, *keys: str) -> None:
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def code(refused: pytest.ExceptionInfo[ClientError]) -> str:
    return refused.value.response["Error"]["Code"]


def read(s3: S3Client, bucket: str, key: str, **more: str) -> bytes:
    body: bytes = s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()  # type: ignore[arg-type]
    return body


@pytest.mark.parametrize("size", [100, 200_000])
@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=10-19", 10, 20), ("bytes=90-", 90, None), ("bytes=-5", -5, None)],
)
def test_a_range_is_that_part_of_the_body(
    s3: S3Client, bucket: str, size: int, asked: str, start: int, end: int | None
) -> None:
    body = bytes(number % 251 for number in range(size))
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    assert read(s3, bucket, "k", Range=asked) == body[start:end]


def test_a_range_behind_the_end_is_refused(s3: S3Client, bucket: str) -> None:
    put(s3, bucket, "k")
    with pytest.raises(ClientError) as refused:
        read(s3, bucket, "k", Range="bytes=10-")
    assert code(refused) == "InvalidRange"


def test_pages_of_a_listing_have_every_key_and_folder_once(s3: S3Client, bucket: str) -> None:
    put(s3, bucket, "a", "b/1", "b/2", "b", "c/", "c/x/y", "d+ü \n", "e")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1}
    )
    found = [
        entry.get("Key") or entry["Prefix"]
        for page in pages
        for entry in [*page.get("Contents", []), *page.get("CommonPrefixes", [])]
    ]
    assert found == ["a", "b", "b/", "c/", "d+ü \n", "e"]


def test_a_listing_starts_behind_the_key_that_is_named(s3: S3Client, bucket: str) -> None:
    put(s3, bucket, "p/a", "p/b", "p/c", "q")
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="p/", StartAfter="p/a")
    assert [one["Key"] for one in listed["Contents"]] == ["p/b", "p/c"]


def test_a_copy_has_the_body_and_the_metadata_of_its_source(s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="ü a", Body=b"x", Metadata={"m": "1"}, ContentType="a/b")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "ü a"})
    copied = s3.get_object(Bucket=bucket, Key="copy")
    assert (copied["Body"].read(), copied["Metadata"], copied["ContentType"]) == (
        b"x", {"m": "1"}, "a/b",
    )  # fmt: skip


def test_metadata_above_two_kilobytes_is_refused(s3: S3Client, bucket: str) -> None:
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=bucket, Key="k", Metadata={"m": "x" * 2048})
    assert code(refused) == "MetadataTooLarge"


def test_a_delete_by_etag_leaves_another_version_alone(s3: S3Client, bucket: str) -> None:
    put(s3, bucket, "k")
    with pytest.raises(ClientError) as refused:
        s3.delete_object(Bucket=bucket, Key="k", IfMatch='"other"')
    assert code(refused) == "PreconditionFailed"
    assert read(s3, bucket, "k") == b"k"


def parts_of(s3: S3Client, bucket: str, *bodies: bytes) -> tuple[str, list[dict[str, object]]]:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", Metadata={"m": "1"})["UploadId"]
    parts: list[dict[str, object]] = []
    for number, body in enumerate(bodies, 1):
        sent = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    return upload, parts


def complete(
    s3: S3Client, bucket: str, upload: str, parts: list[dict[str, object]], **more: str
) -> str:
    return s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts}, **more,  # type: ignore[typeddict-item, arg-type]
    )["ETag"]  # fmt: skip


def test_an_upload_in_parts_has_the_etag_that_s3_gives(s3: S3Client, bucket: str) -> None:
    bodies = [b"a" * PART, b"b"]
    upload, parts = parts_of(s3, bucket, *bodies)
    etag = complete(s3, bucket, upload, parts)
    digests = b"".join(hashlib.md5(body).digest() for body in bodies)
    assert etag == f'"{hashlib.md5(digests).hexdigest()}-2"'
    found = s3.get_object(Bucket=bucket, Key="k")
    assert (found["Body"].read(), found["Metadata"]) == (b"".join(bodies), {"m": "1"})
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_an_upload_in_parts_never_overwrites_a_first_write(s3: S3Client, bucket: str) -> None:
    upload, parts = parts_of(s3, bucket, b"late")
    put(s3, bucket, "k")
    with pytest.raises(ClientError) as refused:
        complete(s3, bucket, upload, parts, IfNoneMatch="*")
    assert code(refused) == "PreconditionFailed"
    assert read(s3, bucket, "k") == b"k"


@pytest.mark.parametrize(
    ("bodies", "spoil", "wanted"),
    [
        ([b"a", b"b"], lambda parts: parts, "EntityTooSmall"),
        ([b"a"], lambda parts: [{**parts[0], "ETag": '"0"'}], "InvalidPart"),
        ([b"a" * PART, b"b"], lambda parts: parts[::-1], "InvalidPartOrder"),
    ],
)
def test_parts_that_make_no_object_are_refused(
    s3: S3Client, bucket: str, bodies: list[bytes], spoil: object, wanted: str
) -> None:
    upload, parts = parts_of(s3, bucket, *bodies)
    with pytest.raises(ClientError) as refused:
        complete(s3, bucket, upload, spoil(parts))  # type: ignore[operator]
    assert code(refused) == wanted


def test_an_upload_that_is_given_up_is_gone(s3: S3Client, bucket: str) -> None:
    upload, parts = parts_of(s3, bucket, b"a")
    assert len(s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)["Parts"]) == 1
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    with pytest.raises(ClientError) as refused:
        complete(s3, bucket, upload, parts)
    assert code(refused) == "NoSuchUpload"


def test_a_bucket_with_objects_is_not_deleted(s3: S3Client, bucket: str) -> None:
    put(s3, bucket, "k")
    with pytest.raises(ClientError) as refused:
        s3.delete_bucket(Bucket=bucket)
    assert code(refused) == "BucketNotEmpty"


def test_a_body_in_chunks_is_put_together_and_its_trailer_is_read() -> None:
    sent = b"3;chunk-signature=0\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    assert unchunk(sent) == (b"abcde", {"x-amz-checksum-crc32": "AAAAAA=="})


def test_a_body_in_chunks_that_is_cut_off_is_refused() -> None:
    with pytest.raises(S3Error, match="IncompleteBody"):
        unchunk(b"3\r\nabc\r\n")
