"""A bucket in S3 by boto3, for callers that may block."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from parallelize_core.aws_errors import (
    CHANGED_CODES,
    MISSING_CODES,
    is_broken_body,
    translated,
)
from parallelize_core.errors import (
    MissingError,
    ParallelizeError,
    ServiceError,
    UnavailableError,
    code_of,
)
from parallelize_core.parts import PART_BYTES, ObjectPart, at_once, parts_of
from parallelize_core.store import (
    ALWAYS,
    Condition,
    ObjectInfo,
    Source,
    checked_metadata,
    seconds_of,
)

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

DELETE_BATCH = 1000
"""https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html"""

_CHUNK_BYTES = 1024 * 1024


def _is_conflict(error: BaseException) -> bool:
    # 409: another conditional write to this key is under way, so the answer is not known yet.
    return code_of(error) in {"ConditionalRequestConflict", "OperationAborted"}


class _BrokenAnswerError(UnavailableError):
    """A connection that ended within the headers: HTTP takes that for a complete answer of 200."""


def _field(answer: Any, name: str) -> Any:
    """Return a field that every such answer has; raise a transient error if the answer is cut."""
    if name not in answer:
        raise _BrokenAnswerError("an answer of S3 is incomplete", f"it has no {name}")
    return answer[name]


_settled = retry(
    retry=retry_if_exception(_is_conflict),
    stop=stop_after_attempt(8),
    wait=wait_random_exponential(multiplier=0.1, max=5),
    reraise=True,
)
_whole_body = retry(
    # botocore retries a request, but not a body that breaks off while it is being read.
    retry=retry_if_exception(
        lambda error: isinstance(error, _BrokenAnswerError) or is_broken_body(error)
    ),
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

    The threads of `pool` transfer parts of large objects; share it, but not with tasks that wait
    for a transfer.
    """

    def __init__(self, client: S3Client, bucket: str, pool: Executor) -> None:
        self._client = client
        self.bucket = bucket
        self._pool = pool

    @_whole_body
    def get(self, key: str) -> bytes:
        """Return a small object's content."""
        with self._asked(key):
            answer = self._client.get_object(Bucket=self.bucket, Key=key)
            _field(answer, "ContentLength")
            return answer["Body"].read()

    @_whole_body
    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        """Write an object to `path`, return its bytes; ChangedError if it is not `etag`."""
        match: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {}
        with self._asked(key):
            answer = self._client.get_object(Bucket=self.bucket, Key=key, **match)
            length = int(_field(answer, "ContentLength"))
            body = answer["Body"]
            if length > PART_BYTES:
                body.close()
                etag = str(_field(answer, "ETag"))
        if length > PART_BYTES:
            return self._get_parts(key, path, length, etag)
        with path.open("wb") as file:
            for chunk in self._chunks(key, body):
                file.write(chunk)
            size = file.tell()
        if size != length:
            raise UnavailableError(f"{self._place(key)} was cut off after {size:,} bytes")
        return size

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or answer None if there is none."""
        try:
            with self._asked(key):
                answer = self._client.head_object(Bucket=self.bucket, Key=key)
                etag = _field(answer, "ETag").strip('"')
                return ObjectInfo(key, _field(answer, "ContentLength"), etag, answer["Metadata"])
        except MissingError:
            return None

    @_settled
    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write a small object."""
        return self._put(key, body, condition, checked_metadata(metadata))

    @_settled
    def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write an object of any size from an open file, from its start."""
        checked = checked_metadata(metadata)
        if file.seek(0, os.SEEK_END) >= PART_BYTES:
            return self._put_parts(key, file, condition, checked)
        file.seek(0)
        return self._put(key, file.read(), condition, checked)

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        """List the keys that start with `prefix`; with `folder_only`, none with a further /."""
        for page in self._pages(prefix, "/" if folder_only else ""):
            with self._asked(prefix):
                headers = page.get("ResponseMetadata", {}).get("HTTPHeaders", {})
                listed = seconds_of(headers.get("date", ""))
                found = [_listed(item, listed) for item in page.get("Contents", ())]
            yield from found

    def folders(self, prefix: str) -> Iterator[str]:
        """List what follows `prefix` up to the next /, each once, without what lies below."""
        for page in self._pages(prefix, "/"):
            with self._asked(prefix):
                names = [item["Prefix"] for item in page.get("CommonPrefixes", ())]
                found = [name.removeprefix(prefix).removesuffix("/") for name in names]
            yield from found

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are not an error."""
        pending = iter(keys)
        while batch := list(islice(pending, DELETE_BATCH)):
            self._delete(batch)

    @_settled
    def delete_version(self, key: str, etag: str) -> bool:
        """Delete an object if it is still this version; say whether there is none now.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
        """
        try:
            with self._asked(key):
                self._client.delete_object(Bucket=self.bucket, Key=key, IfMatch=f'"{etag}"')
        except ParallelizeError as error:
            if code_of(error) == "NotImplemented":
                return self._delete_if_same(key, etag)
            if not _unmet(error, Condition(etag=etag)):
                raise
            return self.head(key) is None
        return True

    @_settled
    def copy_from(
        self, source: Source, key: str, metadata: Mapping[str, str] | None = None
    ) -> str | None:
        """Copy a version of an object to a key without an object, without its metadata."""
        try:
            with self._asked(key):
                answer = self._client.copy_object(
                    Bucket=self.bucket, Key=key, IfNoneMatch="*",
                    CopySource={"Bucket": source.bucket, "Key": source.key},
                    CopySourceIfMatch=f'"{source.etag}"',
                    MetadataDirective="REPLACE", Metadata=checked_metadata(metadata),
                    TaggingDirective="REPLACE",  # reading tags would need another permission
                )  # fmt: skip
                return str(_field(answer["CopyObjectResult"], "ETag")).strip('"')
        except ParallelizeError as error:
            if code_of(error) in CHANGED_CODES | MISSING_CODES:
                return None
            raise

    def _delete_if_same(self, key: str, etag: str) -> bool:
        """Do so on a service without conditional deletes; a race is possible during one call."""
        there = self.head(key)
        if there and there.etag == etag:
            self._delete([key])
            return True
        return there is None

    def _delete(self, keys: Sequence[str]) -> None:
        batch: Any = [{"Key": key} for key in keys]
        with self._asked():
            answer = self._client.delete_objects(
                Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True}
            )
            if failed := answer.get("Errors"):
                first = failed[0]
                raise ServiceError(
                    f"{len(failed)} objects of {self._place()} could not be deleted",
                    f"first: {first.get('Key')}: {first.get('Message')}",
                )

    def _pages(self, prefix: str, delimiter: str) -> Iterator[Any]:
        with self._asked(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter=delimiter
            )
            for page in pages:
                _field(page, "IsTruncated")
                yield page

    def _put(
        self, key: str, body: bytes, condition: Condition, metadata: dict[str, str]
    ) -> str | None:
        try:
            with self._asked(key):
                answer = self._client.put_object(
                    Bucket=self.bucket, Key=key, Body=body, Metadata=metadata,
                    **_conditions(condition),
                )  # fmt: skip
                return str(_field(answer, "ETag")).strip('"')
        except ParallelizeError as error:
            if _unmet(error, condition):
                return None
            raise

    def _put_parts(
        self, key: str, file: IO[bytes], condition: Condition, metadata: dict[str, str]
    ) -> str | None:
        with self._asked(key):
            upload = self._client.create_multipart_upload(
                Bucket=self.bucket, Key=key, Metadata=metadata
            )["UploadId"]
        name: dict[str, Any] = {"Bucket": self.bucket, "Key": key, "UploadId": upload}
        reading = Lock()

        def send(part: ObjectPart) -> Any:
            with reading:
                file.seek(part.start)
                content = file.read(part.size)
            return self._put_part(name, part, content)

        try:
            parts = at_once(self._pool, send, parts_of(file.seek(0, os.SEEK_END)))
            return self._complete(name, parts, condition)
        except BaseException as error:
            # Parts without an object cost money forever, so delete them whatever the reason was. If
            # that fails, too, the bucket's lifecycle rule removes them; raise the first error.
            with suppress(ParallelizeError), self._asked(key):
                self._client.abort_multipart_upload(**name)
            if _unmet(error, condition):
                return None
            raise

    def _put_part(self, name: dict[str, Any], part: ObjectPart, content: bytes) -> Any:
        with self._asked(name["Key"]):
            answer = self._client.upload_part(**name, PartNumber=part.number, Body=content)
            return {"PartNumber": part.number, "ETag": _field(answer, "ETag")}

    def _complete(self, name: dict[str, Any], parts: Sequence[Any], condition: Condition) -> str:
        with self._asked(name["Key"]):
            done = self._client.complete_multipart_upload(
                **name, MultipartUpload={"Parts": list(parts)}, **_conditions(condition)
            )
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
        with self._asked(key):
            answer = self._client.get_object(
                Bucket=self.bucket, Key=key, Range=bounds, IfMatch=etag
            )
            body = answer["Body"]
            if _field(answer, "ContentLength") != part.size:
                raise UnavailableError(f"{self._place(key)}: S3 sent other bytes than {bounds}")
        offset = part.start
        for chunk in self._chunks(key, body):
            offset += _write(descriptor, chunk, offset)

    def _chunks(self, key: str, body: Any) -> Iterator[bytes]:
        # The caller uses each chunk outside of this block, so its errors are its own.
        with self._asked(key):
            yield from body.iter_chunks(_CHUNK_BYTES)

    def _asked(self, key: str = "") -> AbstractContextManager[None]:
        return translated("S3", self._place(key))

    def _place(self, key: str = "") -> str:
        return f"s3://{self.bucket}/{key}" if key else f"s3://{self.bucket}"


def _listed(item: Any, listed: float) -> ObjectInfo:
    written = item["LastModified"].isoformat() if "LastModified" in item else ""
    etag = item["ETag"].strip('"')
    return ObjectInfo(item["Key"], item["Size"], etag, written=written, listed=listed)


def _unmet(error: BaseException, condition: Condition) -> bool:
    """Whether a write failed because its condition did not hold."""
    if condition.etag is not None and code_of(error) in MISSING_CODES:
        return True
    return code_of(error) in CHANGED_CODES


def _conditions(condition: Condition) -> dict[str, Any]:
    if condition.absent:
        return {"IfNoneMatch": "*"}
    return {} if condition.etag is None else {"IfMatch": f'"{condition.etag}"'}
