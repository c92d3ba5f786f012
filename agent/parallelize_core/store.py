"""The one boundary to S3: what the rest of the system may ask of a bucket."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, Protocol

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    FlexibleChecksumError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from parallelize_core.errors import ChangedError, MissingError, ServiceError, UsageError
from parallelize_core.parts import PART_BYTES, ObjectPart, at_once, parts_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

DELETE_BATCH = 1000
"""https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html"""

MAX_METADATA_BYTES = 2048
"""Names and values together, all ASCII.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
"""

_CHUNK_BYTES = 1024 * 1024
_BROKEN_BODY = (
    ConnectionClosedError, FlexibleChecksumError, IncompleteReadError, ReadTimeoutError,
    ResponseStreamingError,
)  # fmt: skip


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing or a HEAD says; `size` in bytes, `etag` without quotes."""

    key: str
    size: int
    etag: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Condition:
    """When a write may happen: only if there is no object yet, or only over this version."""

    absent: bool = False
    etag: str | None = None


ALWAYS = Condition()
IF_ABSENT = Condition(absent=True)


class Store(Protocol):
    """One bucket.

    Reads raise MissingError when there is no object. Writes answer the new ETag, or None when
    their condition did not hold; a write that arrived, but whose answer was lost and which was
    therefore sent again, also finds that. Writes raise UsageError for metadata that S3 refuses.
    """

    bucket: str

    def get(self, key: str) -> bytes:
        """Return a small object's content."""

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        """Write an object to `path`, return its bytes; ChangedError if it is not `etag`."""

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or answer None if there is none."""

    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write a small object."""

    def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write an object of any size from an open file, from its start."""

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        """List the keys that start with `prefix`; with `folder_only`, none with a further /."""

    def folders(self, prefix: str) -> Iterator[str]:
        """List what follows `prefix` up to the next /, each once, without what lies below."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are no error."""

    def delete_version(self, key: str, etag: str) -> bool:
        """Delete an object if it is still this version; say whether there is none now.

        So a delete that arrived, but whose answer was lost and which was sent again, is told right.
        """


class AsyncStore(Protocol):
    """One bucket, for an event loop: what `Store` says holds here, too.

    A call that is cancelled ends at once, and leaves nothing half done that others can see.
    """

    bucket: str

    async def get(self, key: str) -> bytes:
        """Return a small object's content."""

    async def get_file(self, key: str, path: Path, etag: str = "") -> int:
        """Write an object to `path`, return its bytes; ChangedError if it is not `etag`."""

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        """Return an object's content, or None if it has more than `limit` bytes."""

    async def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or answer None if there is none."""

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write a small object."""

    async def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write an object of any size from an open file, from its start."""

    def list(self, prefix: str, *, folder_only: bool = False) -> AsyncIterator[ObjectInfo]:
        """List the keys that start with `prefix`; with `folder_only`, none with a further /."""

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are no error."""


def checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return `metadata` as S3 takes it; raise UsageError if it does not."""
    whole = "".join(name + value for name, value in (metadata or {}).items())
    if not whole.isascii() or len(whole) > MAX_METADATA_BYTES:
        raise UsageError(
            "an object's metadata is refused", f"S3 takes {MAX_METADATA_BYTES:,} bytes of ASCII"
        )
    return dict(metadata or {})


def _code(error: BaseException) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else ""


def _is_conflict(error: BaseException) -> bool:
    # 409: another conditional write to this key is under way, so the answer is not known yet.
    return _code(error) in {"ConditionalRequestConflict", "OperationAborted"}


class _BrokenAnswerError(ServiceError):
    """A connection that ends within the headers: for HTTP that is an answer of 200, and whole."""


def _field(answer: Any, name: str) -> Any:
    """Return what every answer of this kind has; raise an error that may pass if it is cut."""
    if name not in answer:
        raise _BrokenAnswerError("an answer of S3 breaks off", f"it has no {name}")
    return answer[name]


_settled = retry(
    retry=retry_if_exception(_is_conflict),
    stop=stop_after_attempt(8),
    wait=wait_random_exponential(multiplier=0.1, max=5),
    reraise=True,
)
_whole_body = retry(
    # botocore retries a request, but not a body that breaks off while it is being read.
    retry=retry_if_exception(lambda error: isinstance(error, (*_BROKEN_BODY, _BrokenAnswerError))),
    stop=stop_after_attempt(5),
    wait=wait_random_exponential(multiplier=0.1, max=5),
    reraise=True,
)


def _write(descriptor: int, content: bytes, offset: int) -> int:
    """Write all of `content`, which one call need not do; return its length."""
    left = memoryview(content)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written
    return len(content)


class S3Store:
    """A bucket in S3, or in anything that speaks its protocol.

    The threads of `pool` transfer the parts of large objects; it may be shared, but not with tasks
    that wait for a transfer.
    """

    def __init__(self, client: S3Client, bucket: str, pool: Executor) -> None:
        self._client = client
        self.bucket = bucket
        self._pool = pool

    @_whole_body
    def get(self, key: str) -> bytes:
        """Return a small object's content."""
        with self._told(key):
            answer = self._client.get_object(Bucket=self.bucket, Key=key)
            _field(answer, "ContentLength")
            return answer["Body"].read()

    @_whole_body
    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        """Write an object to `path`, return its bytes; ChangedError if it is not `etag`."""
        match: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {}
        with self._told(key):
            answer = self._client.get_object(Bucket=self.bucket, Key=key, **match)
        length: int = _field(answer, "ContentLength")
        if length > PART_BYTES:
            answer["Body"].close()
            return self._get_parts(key, path, length, _field(answer, "ETag"))
        with path.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                file.write(chunk)
            size = file.tell()
        if size != length:
            raise ServiceError(f"s3://{self.bucket}/{key} broke off after {size:,} bytes")
        return size

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or answer None if there is none."""
        try:
            answer = self._client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if _code(error) in {"404", "NoSuchKey", "NotFound"}:
                return None
            raise
        etag = _field(answer, "ETag").strip('"')
        return ObjectInfo(key, _field(answer, "ContentLength"), etag, answer["Metadata"])

    @_settled
    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write a small object."""
        return self._put(key, body, condition, metadata)

    @_settled
    def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write an object of any size from an open file, from its start."""
        if file.seek(0, os.SEEK_END) >= PART_BYTES:
            return self._put_parts(key, file, condition, metadata)
        file.seek(0)
        return self._put(key, file.read(), condition, metadata)

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        """List the keys that start with `prefix`; with `folder_only`, none with a further /."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, Delimiter="/" if folder_only else ""
        )
        for page in pages:
            _field(page, "IsTruncated")
            for item in page.get("Contents", ()):
                yield ObjectInfo(item["Key"], item["Size"], item["ETag"].strip('"'))

    def folders(self, prefix: str) -> Iterator[str]:
        """List what follows `prefix` up to the next /, each once, without what lies below."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, Delimiter="/"
        )
        for page in pages:
            _field(page, "IsTruncated")
            for item in page.get("CommonPrefixes", ()):
                yield item["Prefix"].removeprefix(prefix).removesuffix("/")

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are no error."""
        pending = list(keys)
        for start in range(0, len(pending), DELETE_BATCH):
            batch = [{"Key": key} for key in pending[start : start + DELETE_BATCH]]
            answer = self._client.delete_objects(
                Bucket=self.bucket,
                Delete={"Objects": batch, "Quiet": True},  # type: ignore[typeddict-item]
            )
            if failed := answer.get("Errors"):
                first = failed[0]
                raise ServiceError(
                    f"{len(failed)} objects of s3://{self.bucket} could not be deleted",
                    f"first: {first.get('Key')}: {first.get('Message')}",
                )

    @_settled
    def delete_version(self, key: str, etag: str) -> bool:
        """Delete an object if it is still this version; say whether there is none now.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
        """
        try:
            self._client.delete_object(Bucket=self.bucket, Key=key, IfMatch=f'"{etag}"')
        except ClientError as error:
            if not _unmet(error, Condition(etag=etag)):
                raise
            return self.head(key) is None
        return True

    def _put(
        self, key: str, body: bytes, condition: Condition, metadata: Mapping[str, str] | None
    ) -> str | None:
        try:
            answer = self._client.put_object(
                Bucket=self.bucket, Key=key, Body=body, Metadata=checked_metadata(metadata),
                **_conditions(condition),
            )  # fmt: skip
        except ClientError as error:
            if _unmet(error, condition):
                return None
            raise
        return str(_field(answer, "ETag")).strip('"')

    def _put_parts(
        self, key: str, file: IO[bytes], condition: Condition, metadata: Mapping[str, str] | None
    ) -> str | None:
        upload = self._client.create_multipart_upload(
            Bucket=self.bucket, Key=key, Metadata=checked_metadata(metadata)
        )["UploadId"]
        name: dict[str, Any] = {"Bucket": self.bucket, "Key": key, "UploadId": upload}
        reading = Lock()

        def send(part: ObjectPart) -> Any:
            with reading:
                file.seek(part.start)
                content = file.read(part.size)
            answer = self._client.upload_part(**name, PartNumber=part.number, Body=content)
            return {"PartNumber": part.number, "ETag": _field(answer, "ETag")}

        try:
            parts = at_once(self._pool, send, parts_of(file.seek(0, os.SEEK_END)))
            done = self._client.complete_multipart_upload(
                **name, MultipartUpload={"Parts": parts}, **_conditions(condition)
            )
        except BaseException as error:
            # Parts without an object cost money for ever, so they go whatever the reason was.
            # If that fails too, the bucket's lifecycle rule removes them; say the first reason.
            with suppress(BotoCoreError, ClientError):
                self._client.abort_multipart_upload(**name)
            if isinstance(error, ClientError) and _unmet(error, condition):
                return None
            raise
        return str(_field(done, "ETag")).strip('"')

    def _get_parts(self, key: str, path: Path, size: int, etag: str) -> int:
        with path.open("wb") as file:
            at_once(
                self._pool,
                lambda part: self._get_part(key, part, etag, file.fileno()),
                parts_of(size),
            )
        return size

    @_whole_body
    def _get_part(self, key: str, part: ObjectPart, etag: str, descriptor: int) -> None:
        bounds = f"bytes={part.start}-{part.start + part.size - 1}"
        with self._told(key):
            answer = self._client.get_object(
                Bucket=self.bucket, Key=key, Range=bounds, IfMatch=etag
            )
        if _field(answer, "ContentLength") != part.size:
            raise ServiceError(f"s3://{self.bucket}/{key}: S3 sent other bytes than {bounds}")
        offset = part.start
        for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
            offset += _write(descriptor, chunk, offset)

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        where = f"s3://{self.bucket}/{key}"
        try:
            yield
        except ClientError as error:
            if _code(error) in {"404", "NoSuchKey"}:
                raise MissingError(f"{where} does not exist") from error
            if _code(error) in {"PreconditionFailed", "412"}:
                raise ChangedError(f"{where} has changed since it was listed") from error
            raise


def _unmet(error: ClientError, condition: Condition) -> bool:
    """Whether a write failed because its condition did not hold."""
    if condition.etag is not None and _code(error) in {"NoSuchKey", "404"}:
        return True
    return _code(error) in {"PreconditionFailed", "412"}


def _conditions(condition: Condition) -> dict[str, Any]:
    if condition.absent:
        return {"IfNoneMatch": "*"}
    return {} if condition.etag is None else {"IfMatch": f'"{condition.etag}"'}
