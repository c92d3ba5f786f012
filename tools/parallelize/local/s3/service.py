"""S3 as the local cloud serves it: path-style requests, one namespace of buckets, no versions.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Coroutine, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes
from xml.etree import ElementTree

from parallelize.local.disk import INLINE_BYTES, Disk
from parallelize.local.http import Answer, Request, Response
from parallelize.local.s3 import buckets, listing
from parallelize.local.s3.answers import S3Error, iso, text, xml
from parallelize.local.s3.bodies import CHECKSUM, take_body
from parallelize.local.s3.objects import (
    Objects,
    StoredObject,
    answer,
    check_write,
    described,
    matches,
)
from parallelize.local.s3.uploads import Uploads

MAX_KEY_BYTES = 1024
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""

MAX_DELETED = 1000
COPY_SOURCE = "x-amz-copy-source"

Query = Mapping[str, str]


class S3:
    """All buckets."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._buckets = buckets.Buckets(disk)
        self._objects = Objects(disk)
        self._uploads = Uploads(disk, self._objects)

    def handle(self, request: Request) -> Answer:
        """Answer one request."""
        try:
            answered = self._handle(request)
        except S3Error as error:
            return _refusal(request, error)
        return answered if isinstance(answered, Response) else _refused(request, answered)

    def _handle(self, request: Request) -> Answer:
        bucket, key = split_path(request.path)
        query = dict(parse_qsl(request.query, keep_blank_values=True)) if request.query else {}
        checksums = take_body(request) if request.body else {}
        if not bucket:
            return self._buckets.list(request)
        if key:
            self._buckets.check(bucket)
            if len(key.encode()) > MAX_KEY_BYTES:
                raise S3Error(400, "KeyTooLongError")
            return self._of_object(request, bucket, key, query, checksums)
        return self._of_bucket(request, bucket, query)

    def _of_bucket(self, request: Request, bucket: str, query: Query) -> Answer:
        if request.method == "GET" and "list-type" in query:
            self._buckets.check(bucket)
            page = listing.read_page(self._objects, bucket, query)
            return xml("ListBucketResult", listing.render(bucket, query, page))
        if request.method == "GET" and "uploads" in query:
            self._buckets.check(bucket)
            return self._uploads.list_uploads(bucket, query)
        if request.method == "POST" and "delete" in query:
            self._buckets.check(bucket)
            return self._delete_many(request, bucket)
        return self._buckets.handle(request, bucket, query)

    def _of_object(
        self,
        request: Request,
        bucket: str,
        key: str,
        query: Query,
        checksums: Mapping[str, str],
    ) -> Answer:
        method = request.method
        if query.keys() & {"uploads", "uploadId"}:
            return self._of_upload(request, bucket, key, query, checksums)
        if query.keys() - {"x-id", "response-content-type"}:
            raise S3Error(501, "NotImplemented")
        if method in {"GET", "HEAD"}:
            stored = self._objects.find(bucket, key)
            if stored is None:
                raise S3Error(404, "NoSuchKey")
            return answer(self._objects, stored, request)
        if method == "DELETE":
            check_write(request, self._objects.find(bucket, key))
            self._objects.delete(bucket, key)
            return Response(204)
        if method != "PUT":
            raise S3Error(405, "MethodNotAllowed")
        if COPY_SOURCE in request.headers:
            return self._copy(request, bucket, key)
        return self._put(request, bucket, key, {**described(request), **checksums})

    def _of_upload(
        self,
        request: Request,
        bucket: str,
        key: str,
        query: Query,
        checksums: Mapping[str, str],
    ) -> Answer:
        match request.method:
            case "POST" if "uploads" in query:
                return self._uploads.create(request, bucket, key)
            case "POST":
                return self._uploads.complete(request, bucket, key, query)
            case "PUT" if COPY_SOURCE not in request.headers:
                return self._uploads.put_part(request, bucket, key, query, checksums)
            case "GET":
                return self._uploads.list_parts(bucket, key, query)
            case "DELETE":
                return self._uploads.abort(bucket, key, query)
        raise S3Error(501, "NotImplemented")

    def _put(self, request: Request, bucket: str, key: str, headers: dict[str, str]) -> Answer:
        there = self._objects.find(bucket, key)
        check_write(request, there)
        if len(request.body) > INLINE_BYTES:
            return self._put_later(request, bucket, key, headers)
        stored = self._stored(request.body, headers)
        self._objects.put(bucket, key, stored, there)
        return _written(stored)

    async def _put_later(
        self, request: Request, bucket: str, key: str, headers: dict[str, str]
    ) -> Response:
        """Write a large body off the loop; the conditions are checked once more afterwards."""
        stored = await asyncio.to_thread(self._stored, request.body, headers)
        try:
            there = self._objects.find(bucket, key)
            check_write(request, there)
            self._objects.put(bucket, key, stored, there)
        except BaseException:
            self._disk.remove_file(stored.file)
            raise
        return _written(stored)

    def _stored(self, body: bytes, headers: dict[str, str]) -> StoredObject:
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return self._objects.store(body, etag, headers)

    async def _copy(self, request: Request, bucket: str, key: str) -> Response:
        source = self._source(request)
        replaced = request.headers.get("x-amz-metadata-directive", "COPY") == "REPLACE"
        headers = described(request) if replaced else dict(source.headers)
        request.body = await asyncio.to_thread(self._objects.read, source)
        written = await self._put_later(request, bucket, key, headers)
        etag = dict(written.headers)["ETag"].strip('"')
        return xml(
            "CopyObjectResult",
            f"<ETag>&quot;{etag}&quot;</ETag><LastModified>{iso(time.time())}</LastModified>",
        )

    def _source(self, request: Request) -> StoredObject:
        bucket, key = split_path("/" + request.headers[COPY_SOURCE].lstrip("/"))
        self._buckets.check(bucket)
        source = self._objects.find(bucket, key)
        if source is None:
            raise S3Error(404, "NoSuchKey")
        wanted = request.headers.get(f"{COPY_SOURCE}-if-match")
        if wanted is not None and not matches(wanted, source):
            raise S3Error(412, "PreconditionFailed")
        return source

    def _delete_many(self, request: Request, bucket: str) -> Response:
        entries, quiet = _deletions(request.body)
        parts = []
        with self._disk.transaction():
            for key, etag in entries:
                there = self._objects.find(bucket, key) if etag else None
                if etag and there and not matches(etag, there):
                    parts.append(
                        f"<Error><Key>{text(key)}</Key><Code>PreconditionFailed</Code>"
                        "<Message>its ETag is different</Message></Error>"
                    )
                    continue
                self._objects.delete(bucket, key)
                parts += [] if quiet else [f"<Deleted><Key>{text(key)}</Key></Deleted>"]
        return xml("DeleteResult", "".join(parts))


async def _refused(request: Request, answering: Coroutine[Any, Any, Response]) -> Response:
    try:
        return await answering
    except S3Error as error:
        return _refusal(request, error)


def _refusal(request: Request, error: S3Error) -> Response:
    return Response(error.status) if request.method == "HEAD" else error.response


def _written(stored: StoredObject) -> Response:
    checksums = [pair for pair in stored.headers.items() if pair[0].startswith(CHECKSUM)]
    return Response(headers=(("ETag", f'"{stored.etag}"'), *checksums))


def _deletions(body: bytes) -> tuple[list[tuple[str, str]], bool]:
    """Return the keys to delete with the ETags required of them, and whether to be quiet."""
    try:
        asked = ElementTree.fromstring(body)  # noqa: S314 - a request of the owner's own
    except ElementTree.ParseError:
        raise S3Error(400, "MalformedXML") from None
    entries = [
        (one.findtext("{*}Key", ""), one.findtext("{*}ETag", ""))
        for one in asked.findall("{*}Object")
    ]
    if not 1 <= len(entries) <= MAX_DELETED or not all(key for key, _ in entries):
        raise S3Error(400, "MalformedXML")
    return entries, asked.findtext("{*}Quiet") == "true"


def split_path(path: str) -> tuple[str, str]:
    """Return the bucket and the key of a path-style request; either may be empty."""
    bucket, _, key = path[1:].partition("/")
    if "%" not in key:
        return bucket, key.encode("latin-1").decode("utf-8", "replace")
    try:
        return bucket, unquote_to_bytes(key).decode()
    except UnicodeDecodeError:
        raise S3Error(400, "InvalidURI") from None
