"""What S3 says that no emulator does: conflicts, refused parts, partial deletes."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.stub import Stubber

from parallelize_core.boto_store import DELETE_BATCH, S3Store
from parallelize_core.clients import Clients
from parallelize_core.errors import RefusedError, ServiceError, UsageError
from parallelize_core.parts import PART_BYTES
from parallelize_core.store import IF_ABSENT, Condition, Store

TWO_PARTS = bytes(PART_BYTES + 1)
ETAG = '"0123456789abcdef"'
UPLOAD = {"Bucket": "bucket", "Key": "key", "UploadId": "upload"}


@pytest.fixture
def store(clients: Clients) -> Store:
    # One part after the other: the stubbed answers come in an order.
    return S3Store(clients.s3, "bucket", ThreadPoolExecutor(1))


def put_request(**condition: str) -> dict[str, object]:
    return {"Bucket": "bucket", "Key": "key", "Body": b"body", "Metadata": {}, **condition}


def begin_upload(s3: Stubber, parts: int) -> None:
    s3.add_response("create_multipart_upload", {"UploadId": "upload"})
    for number in range(1, parts + 1):
        s3.add_response("upload_part", {"ETag": f'"part{number}"'})


def complete_request(**condition: str) -> dict[str, object]:
    parts = [{"PartNumber": n, "ETag": f'"part{n}"'} for n in (1, 2)]
    return {**UPLOAD, "MultipartUpload": {"Parts": parts}, **condition}


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_write_that_meets_another_is_tried_again_until_the_answer_is_known(
    s3: Stubber, store: Store, code: str
) -> None:
    request = put_request(IfNoneMatch="*")
    s3.add_client_error("put_object", code, http_status_code=409, expected_params=request)
    s3.add_client_error("put_object", code, http_status_code=409, expected_params=request)
    s3.add_client_error("put_object", "PreconditionFailed", expected_params=request)
    assert store.put("key", b"body", IF_ABSENT) is None


def test_a_write_over_a_version_names_it(s3: Stubber, store: Store) -> None:
    s3.add_response("put_object", {"ETag": ETAG}, put_request(IfMatch='"abc"'))
    assert store.put("key", b"body", Condition(etag="abc")) == "0123456789abcdef"


DELETE = {"Bucket": "bucket", "Key": "key", "IfMatch": '"abc"'}
HEAD = {"ETag": ETAG, "ContentLength": 4, "Metadata": {}}


def test_a_delete_of_a_version_names_it_and_waits_for_a_write_under_way(
    s3: Stubber, store: Store
) -> None:
    s3.add_client_error("delete_object", "ConditionalRequestConflict", http_status_code=409)
    s3.add_response("delete_object", {}, DELETE)
    assert store.delete_version("key", "abc")


@pytest.mark.parametrize("code", ["PreconditionFailed", "NoSuchKey"])
def test_a_delete_that_comes_too_late_looks_what_is_there(
    s3: Stubber, store: Store, code: str
) -> None:
    s3.add_client_error("delete_object", code, expected_params=DELETE)
    s3.add_response("head_object", HEAD)
    assert not store.delete_version("key", "abc")
    s3.add_client_error("delete_object", code, expected_params=DELETE)
    s3.add_client_error("head_object", "404", http_status_code=404)
    assert store.delete_version("key", "abc")


@pytest.mark.parametrize(("there", "deleted"), [("abc", True), ("def", False)])
def test_without_conditional_deletes_a_version_is_looked_at_just_before(
    s3: Stubber, store: Store, there: str, deleted: bool
) -> None:
    s3.add_client_error("delete_object", "NotImplemented", http_status_code=501)
    head = {"ETag": f'"{there}"', "ContentLength": 1, "Metadata": {}}
    s3.add_response("head_object", head)
    if deleted:
        s3.add_response("delete_objects", {})
    assert store.delete_version("key", "abc") is deleted


def test_a_delete_that_is_not_allowed_is_no_unmet_condition(s3: Stubber, store: Store) -> None:
    s3.add_client_error("delete_object", "AccessDenied", http_status_code=403)
    with pytest.raises(RefusedError):
        store.delete_version("key", "abc")


def test_a_refused_write_is_no_unmet_condition(s3: Stubber, store: Store) -> None:
    s3.add_client_error("put_object", "AccessDenied", http_status_code=403)
    with pytest.raises(RefusedError, match="PutObject"):
        store.put("key", b"body", IF_ABSENT)


def test_a_missing_bucket_is_not_taken_for_a_missing_object(s3: Stubber, store: Store) -> None:
    s3.add_client_error("get_object", "NoSuchBucket", http_status_code=404)
    with pytest.raises(UsageError, match="bucket"):
        store.get("key")


@pytest.mark.parametrize(
    ("condition", "sent"),
    [(IF_ABSENT, {"IfNoneMatch": "*"}), (Condition(etag="abc"), {"IfMatch": '"abc"'})],
)
def test_a_file_in_parts_carries_its_condition_when_it_is_completed(
    s3: Stubber, store: Store, condition: Condition, sent: dict[str, str]
) -> None:
    begin_upload(s3, parts=2)
    s3.add_response("complete_multipart_upload", {"ETag": ETAG}, complete_request(**sent))
    assert store.put_file("key", io.BytesIO(TWO_PARTS), condition) == "0123456789abcdef"


def test_a_file_in_parts_that_meets_another_write_is_sent_again_whole(
    s3: Stubber, store: Store
) -> None:
    begin_upload(s3, parts=2)
    s3.add_client_error("complete_multipart_upload", "ConditionalRequestConflict")
    s3.add_response("abort_multipart_upload", {}, UPLOAD)
    begin_upload(s3, parts=2)
    s3.add_response("complete_multipart_upload", {"ETag": ETAG}, complete_request(IfNoneMatch="*"))
    assert store.put_file("key", io.BytesIO(TWO_PARTS), IF_ABSENT) == "0123456789abcdef"


def test_a_part_that_is_refused_leaves_no_parts_behind(s3: Stubber, store: Store) -> None:
    begin_upload(s3, parts=1)
    s3.add_client_error("upload_part", "AccessDenied")
    s3.add_response("abort_multipart_upload", {}, UPLOAD)
    with pytest.raises(RefusedError, match="UploadPart"):
        store.put_file("key", io.BytesIO(TWO_PARTS))


def test_the_reason_of_a_failed_upload_survives_an_abort_that_fails(
    s3: Stubber, store: Store
) -> None:
    begin_upload(s3, parts=1)
    s3.add_client_error("upload_part", "AccessDenied")
    s3.add_client_error("abort_multipart_upload", "NoSuchUpload")
    with pytest.raises(RefusedError, match="UploadPart"):
        store.put_file("key", io.BytesIO(TWO_PARTS))


def test_a_listing_goes_on_to_the_last_page(s3: Stubber, store: Store) -> None:
    first = {"IsTruncated": True, "NextContinuationToken": "more"}
    for page, key in ((first, "a"), ({"IsTruncated": False}, "b")):
        item = {"Key": key, "Size": 1, "ETag": ETAG}
        s3.add_response("list_objects_v2", {**page, "Contents": [item]})
    assert [item.key for item in store.list("")] == ["a", "b"]


def test_more_objects_than_one_call_takes_are_deleted_in_several(s3: Stubber, store: Store) -> None:
    keys = [str(number) for number in range(DELETE_BATCH + 1)]
    for batch in (keys[:DELETE_BATCH], keys[DELETE_BATCH:]):
        delete = {"Objects": [{"Key": key} for key in batch], "Quiet": True}
        s3.add_response("delete_objects", {}, {"Bucket": "bucket", "Delete": delete})
    store.delete(keys)


def test_an_object_that_cannot_be_deleted_is_named(s3: Stubber, store: Store) -> None:
    refused = {"Key": "b", "Code": "AccessDenied", "Message": "Access Denied"}
    s3.add_response("delete_objects", {"Errors": [refused]})
    with pytest.raises(ServiceError, match="b: Access Denied"):
        store.delete(["a", "b"])


def test_a_write_whose_answer_breaks_off_is_an_error_that_may_pass(
    s3: Stubber, store: Store
) -> None:
    s3.add_response("put_object", {})
    with pytest.raises(ServiceError, match="is incomplete"):
        store.put("key", b"body")


def test_a_read_whose_answer_breaks_off_in_its_headers_is_made_again(
    s3: Stubber, store: Store
) -> None:
    """Without a length, an empty body would pass for the whole."""
    s3.add_response("get_object", {"Body": io.BytesIO(b"")})
    s3.add_response("get_object", {"Body": io.BytesIO(b"all"), "ContentLength": 3})
    assert store.get("key") == b"all"
