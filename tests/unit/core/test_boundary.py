"""The boundary to S3 and SQS: whatever is raised on the way leaves as an error of our tree."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as aws
from tests.unit.core.faults import BREAKDOWNS, Answering, Raising, refusal

from parallelize_core.aws_errors import translated, with_profile
from parallelize_core.boto_queue import SQSQueue
from parallelize_core.boto_store import S3Store
from parallelize_core.errors import (
    AccessError,
    ArchivedError,
    ChangedError,
    MissingError,
    ParallelizeError,
    RefusedError,
    ServiceError,
    ThrottledError,
    UnavailableError,
    UsageError,
)
from parallelize_core.parts import PART_BYTES
from parallelize_core.store import Condition, ObjectInfo

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/queue"
LARGE = bytes(PART_BYTES + 1)


class Body:
    """An object's content, of which only the first bytes come."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def read(self) -> bytes:
        raise self._error

    def iter_chunks(self, _: int) -> Iterator[bytes]:
        yield b"half"
        raise self._error

    def close(self) -> None:
        pass


class LargeObject:
    """Stands in for a client of AWS: an object in two parts, neither of which can be read."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_object(self, **request: Any) -> Any:
        first, last = (
            request.get("Range", f"bytes=0-{PART_BYTES}").removeprefix("bytes=").split("-")
        )
        length = int(last) - int(first) + 1
        return {"ContentLength": length, "ETag": '"etag"', "Body": Body(self._error)}


class Pages:
    """A listing whose second page cannot be read."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def paginate(self, **_: Any) -> Iterator[Mapping[str, Any]]:
        yield {"IsTruncated": True, "Contents": [], "CommonPrefixes": []}
        raise self._error


StoreCall = Callable[[Exception, Path], object]
QueueCall = Callable[[SQSQueue], object]


def store_of(client: Any) -> S3Store:
    return S3Store(client, "bucket", ThreadPoolExecutor(1))


def read_body(error: Exception) -> S3Store:
    answer = {"ContentLength": 100, "ETag": '"etag"', "Body": Body(error)}
    return store_of(Raising(error, get_object=answer))


STORE_CALLS: dict[str, StoreCall] = {
    "get": lambda error, _: store_of(Raising(error)).get("key"),
    "get, body": lambda error, _: read_body(error).get("key"),
    "get_file": lambda error, path: store_of(Raising(error)).get_file("key", path, "etag"),
    "get_file, body": lambda error, path: read_body(error).get_file("key", path),
    "get_file, part": lambda error, path: store_of(LargeObject(error)).get_file("key", path),
    "head": lambda error, _: store_of(Raising(error)).head("key"),
    "put": lambda error, _: store_of(Raising(error)).put("key", b"body"),
    "put_file": lambda error, _: store_of(Raising(error)).put_file("key", io.BytesIO(b"body")),
    "put_file, begin": lambda error, _: store_of(Raising(error)).put_file("key", io.BytesIO(LARGE)),
    "put_file, part": lambda error, _: store_of(
        Raising(error, create_multipart_upload={"UploadId": "1"})
    ).put_file("key", io.BytesIO(LARGE)),
    "put_file, end": lambda error, _: store_of(
        Raising(error, create_multipart_upload={"UploadId": "1"}, upload_part={"ETag": "etag"})
    ).put_file("key", io.BytesIO(LARGE)),
    "list": lambda error, _: list(store_of(Raising(error)).list("")),
    "list, page": lambda error, _: list(
        store_of(Raising(error, get_paginator=Pages(error))).list("")
    ),
    "folders": lambda error, _: list(store_of(Raising(error)).folders("")),
    "folders, page": lambda error, _: list(
        store_of(Raising(error, get_paginator=Pages(error))).folders("")
    ),
    "delete": lambda error, _: store_of(Raising(error)).delete(["key"]),
}

QUEUE_CALLS: dict[str, QueueCall] = {
    "send": lambda queue: queue.send(["body"]),
    "receive": lambda queue: queue.receive(10, 20, 120),
    "extend": lambda queue: queue.extend(["receipt"], 120),
    "delete": lambda queue: queue.delete(["receipt"]),
    "counts": lambda queue: queue.counts(),
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried at once."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.fixture(autouse=True)
def _no_frames_kept() -> Iterator[None]:
    """An error that is raised again keeps the frames of each time, and their bodies."""
    yield
    for error in BREAKDOWNS:
        error.__traceback__ = error.__context__ = None


def by_name(value: object) -> str:
    return type(value).__name__ if isinstance(value, Exception) else str(value)


@pytest.mark.parametrize("error", BREAKDOWNS, ids=by_name)
@pytest.mark.parametrize("call", STORE_CALLS)
def test_whatever_a_call_of_the_store_meets_is_a_service_that_is_not_available(
    call: str, error: Exception, tmp_path: Path
) -> None:
    with pytest.raises(ParallelizeError) as caught:
        STORE_CALLS[call](error, tmp_path / "file")
    assert isinstance(caught.value, UnavailableError)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", BREAKDOWNS, ids=by_name)
@pytest.mark.parametrize("call", QUEUE_CALLS)
def test_whatever_a_call_of_the_queue_meets_is_a_service_that_is_not_available(
    call: str, error: Exception
) -> None:
    client: Any = Raising(error)
    with pytest.raises(ParallelizeError) as caught:
        QUEUE_CALLS[call](SQSQueue(client, URL))
    assert isinstance(caught.value, UnavailableError)
    assert caught.value.__cause__ is error


REFUSALS = [
    (refusal("AccessDenied", 403), RefusedError),
    (refusal("KMS.DisabledException"), RefusedError),
    (refusal("NobodyKnows"), RefusedError),
    (refusal("InvalidObjectState", 403), ArchivedError),
    (refusal("ExpiredToken"), AccessError),
    (refusal("InvalidAccessKeyId", 403), AccessError),
    (aws.NoCredentialsError(), AccessError),
    (aws.CredentialRetrievalError(provider="custom", error_msg="exit 1"), AccessError),
    (refusal("NoSuchBucket", 404), UsageError),
    (refusal("RequestTimeTooSkewed", 403), UsageError),
    (aws.ParamValidationError(report="Invalid bucket name"), UsageError),
    (refusal("SlowDown", 503), ThrottledError),
    (refusal("InternalError", 500), UnavailableError),
    (refusal("NobodyKnows", 502), UnavailableError),
    (refusal("RequestTimeout"), UnavailableError),
    (refusal("400"), UnavailableError),
    (refusal(""), UnavailableError),
]


@pytest.mark.parametrize(("error", "kind"), REFUSALS, ids=str)
@pytest.mark.parametrize("call", STORE_CALLS)
def test_a_refusal_of_the_store_keeps_its_meaning(
    call: str, error: Exception, kind: type[ParallelizeError], tmp_path: Path
) -> None:
    with pytest.raises(ParallelizeError) as caught:
        STORE_CALLS[call](error, tmp_path / "file")
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(("error", "kind"), REFUSALS, ids=str)
@pytest.mark.parametrize("call", QUEUE_CALLS)
def test_a_refusal_of_the_queue_keeps_its_meaning(
    call: str, error: Exception, kind: type[ParallelizeError]
) -> None:
    client: Any = Raising(error)
    with pytest.raises(ParallelizeError) as caught:
        QUEUE_CALLS[call](SQSQueue(client, URL))
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


def test_an_object_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingError, match="s3://bucket/key does not exist"):
        store_of(Raising(refusal("NoSuchKey", 404))).get("key")


def test_an_object_that_is_another_by_now_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChangedError, match="s3://bucket/key has changed"):
        store_of(Raising(refusal("PreconditionFailed", 412))).get_file("key", tmp_path / "f", "old")


def test_an_object_that_may_not_be_read_is_named() -> None:
    with pytest.raises(RefusedError, match="s3://bucket/key: because"):
        store_of(Raising(refusal("AccessDenied", 403))).get("key")


def test_a_queue_that_is_gone_is_missing() -> None:
    client: Any = Raising(refusal("AWS.SimpleQueueService.NonExistentQueue"))
    with pytest.raises(MissingError):
        SQSQueue(client, URL).counts()


def test_a_condition_that_does_not_hold_is_an_answer_and_no_error() -> None:
    store = store_of(Raising(refusal("NoSuchKey", 404)))
    assert store.put("key", b"body", Condition(etag="old")) is None


NONSENSE: list[Any] = [None, [], "text", {}, {"Body": None}, {"Attributes": None, "Failed": [{}]}]


@pytest.mark.parametrize("answer", NONSENSE, ids=str)
@pytest.mark.parametrize("call", QUEUE_CALLS)
def test_an_answer_without_sense_is_no_other_error_of_the_queue(call: str, answer: Any) -> None:
    client: Any = Answering(answer)
    with suppress(ServiceError):  # or it is taken for an answer that says nothing
        QUEUE_CALLS[call](SQSQueue(client, URL))


@pytest.mark.parametrize("answer", NONSENSE, ids=str)
@pytest.mark.parametrize(
    "call",
    [
        lambda store, path: store.get("key"),
        lambda store, path: store.get_file("key", path),
        lambda store, path: store.head("key"),
        lambda store, path: store.put("key", b"body"),
        lambda store, path: store.put_file("key", io.BytesIO(LARGE)),
        lambda store, path: list(store.list("")),
        lambda store, path: list(store.folders("")),
    ],
    ids=["get", "get_file", "head", "put", "put_file", "list", "folders"],
)
def test_an_answer_without_sense_is_a_store_that_is_not_available(
    call: Callable[[S3Store, Path], object], answer: Any, tmp_path: Path
) -> None:
    with pytest.raises(UnavailableError):
        call(store_of(Answering(answer)), tmp_path / "file")


def test_a_file_that_cannot_be_written_is_this_machines_matter(tmp_path: Path) -> None:
    answer = {"ContentLength": 4, "ETag": '"etag"', "Body": Content(b"body")}
    store = store_of(Raising(KeyError(), get_object=answer))
    with pytest.raises(IsADirectoryError):
        store.get_file("key", tmp_path)


def test_a_full_disk_is_this_machines_matter() -> None:
    answer = {"ContentLength": 4, "ETag": '"etag"', "Body": Content(b"body")}
    store = store_of(Raising(KeyError(), get_object=answer))
    with pytest.raises(OSError, match="No space left"):
        store.get_file("key", Path("/dev/full"))


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
def test_a_file_that_cannot_be_read_is_this_machines_matter(size: int) -> None:
    store = store_of(Raising(KeyError(), create_multipart_upload={"UploadId": "1"}))
    with pytest.raises(OSError, match="rotten"):
        store.put_file("key", Rotten(bytes(size)))


class Content(Body):
    """An object's whole content."""

    def __init__(self, content: bytes) -> None:
        super().__init__(KeyError())
        self._content = content

    def iter_chunks(self, _: int) -> Iterator[bytes]:
        yield self._content


class Rotten(io.BytesIO):
    """A file on a disk that does not give its content back."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(5, "rotten")


def test_what_a_listing_is_read_for_keeps_its_own_errors() -> None:
    page = {"IsTruncated": False, "Contents": [{"Key": "a", "Size": 1, "ETag": "e"}]}
    with pytest.raises(ZeroDivisionError):
        _divide(store_of(Answering(page)).list(""))


def _divide(items: Iterator[ObjectInfo]) -> None:
    for item in items:
        raise ZeroDivisionError(item)


def test_being_interrupted_is_no_failure_of_a_service() -> None:
    with pytest.raises(KeyboardInterrupt), translated("S3"):
        raise KeyboardInterrupt


def test_an_error_of_ours_passes_as_it_is() -> None:
    error = MissingError("s3://bucket/key does not exist")
    with pytest.raises(MissingError) as caught, translated("S3", "s3://bucket"):
        raise error
    assert caught.value is error
    assert caught.value.__cause__ is None


def test_a_refusal_of_no_place_is_a_service_that_cannot_do_it() -> None:
    with pytest.raises(ServiceError, match="AWS refused Operation") as caught, translated("EC2"):
        raise refusal("InvalidParameterValue")
    assert type(caught.value) is ServiceError


def test_an_expired_session_is_told_with_its_profile_by_who_knows_it() -> None:
    with pytest.raises(AccessError) as caught, translated("S3", "s3://bucket/key"):
        raise refusal("ExpiredToken")
    assert 'profile "lab"' in with_profile(caught.value, "lab").what
