"""S3 in memory: buckets, objects, listings, uploads in parts. Signatures are not looked at."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

from tests.bench.small_cloud.http import DATE, STARTED, Request, Response
from tests.bench.small_cloud.listing import KeyIndex, Page, read_page

META = "x-amz-meta-"
COPY_SOURCE = "x-amz-copy-source"
ISO_DATE = datetime.fromtimestamp(STARTED, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
RANGE = re.compile(r"bytes=(\d*)-(\d*)$")
Query = Mapping[str, str]


class S3Error(Exception):
    """An answer that is an error; `code` is S3's word for it."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code

    @property
    def response(self) -> Response:
        """The error as S3 words it."""
        code = escape(self.code)
        return Response(self.status, f"<Error><Code>{code}</Code><Message/></Error>".encode())


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object; `headers` has its ETag, its metadata and what else a GET answers."""

    body: bytes
    etag: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def make(cls, body: bytes, metadata: Mapping[str, str], etag: str = "") -> StoredObject:
        """Make an object; the ETag is the MD5 of its body unless given."""
        etag = etag or _md5(body)
        described = (
            ("ETag", f'"{etag}"'), ("Last-Modified", DATE), ("Accept-Ranges", "bytes"),
            *((META + name, value) for name, value in metadata.items()),
        )  # fmt: skip
        return cls(body, etag, described)


@dataclass
class Upload:
    """An upload in parts that is not complete."""

    key: str
    metadata: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


class Bucket:
    """Objects by key, and an index of the keys in order."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, Upload] = {}
        self._index = KeyIndex()

    def put(self, key: str, stored: StoredObject) -> None:
        """Write an object, whatever was there."""
        if key not in self.objects:
            self._index.add(key)
        self.objects[key] = stored

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        if self.objects.pop(key, None):
            self._index.remove(key)

    def page(self, query: Query) -> Page:
        """Return one page of a listing."""
        return read_page(self._index.keys, query)


class S3:
    """All buckets, by path-style requests."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self._numbers = itertools.count(1)

    def handle(self, operation: str, request: Request) -> Response:
        """Answer one request."""
        bucket, key = split_path(request.path)
        try:
            return self._operations.get(operation, _unknown)(self, request, bucket, key)
        except S3Error as error:
            if request.method == "HEAD":
                return Response(error.status)
            return error.response

    def _bucket(self, name: str) -> Bucket:
        found = self.buckets.get(name)
        if found is None:
            raise S3Error(404, "NoSuchBucket")
        return found

    def _list_buckets(self, request: Request, bucket: str, key: str) -> Response:
        names = "".join(
            f"<Bucket><Name>{name}</Name><CreationDate>{ISO_DATE}</CreationDate></Bucket>"
            for name in self.buckets
        )
        return _xml("ListAllMyBucketsResult", f"<Buckets>{names}</Buckets>")

    def _create_bucket(self, request: Request, bucket: str, key: str) -> Response:
        self.buckets.setdefault(bucket, Bucket())
        return Response(headers=(("Location", f"/{bucket}"),))

    def _head_bucket(self, request: Request, bucket: str, key: str) -> Response:
        self._bucket(bucket)
        return Response(headers=(("x-amz-bucket-region", "us-east-1"),))

    def _get_object(self, request: Request, bucket: str, key: str) -> Response:
        stored = self._bucket(bucket).objects.get(key)
        if stored is None:
            raise S3Error(404, "NoSuchKey")
        match = request.headers.get("if-match")
        if match and match.strip('"') != stored.etag:
            raise S3Error(412, "PreconditionFailed")
        if request.method == "HEAD":
            return Response(200, b"", stored.headers, "binary/octet-stream", len(stored.body))
        return _body(stored, request.headers.get("range", ""))

    def _put_object(self, request: Request, bucket: str, key: str) -> Response:
        into = self._bucket(bucket)
        _check_condition(request, into.objects.get(key))
        stored = StoredObject.make(request.body, _metadata(request))
        into.put(key, stored)
        return Response(headers=stored.headers[:1])

    def _copy_object(self, request: Request, bucket: str, key: str) -> Response:
        of, name = split_path("/" + request.headers[COPY_SOURCE].removeprefix("/"))
        there, into = self._bucket(of).objects.get(name), self._bucket(bucket)
        if there is None:
            raise S3Error(404, "NoSuchKey")
        _check_condition(request, into.objects.get(key))
        wanted = request.headers.get(f"{COPY_SOURCE}-if-match", there.etag)
        if wanted.strip('"') != there.etag:
            raise S3Error(412, "PreconditionFailed")
        into.put(key, StoredObject.make(there.body, _metadata(request), there.etag))
        return _xml("CopyObjectResult", f'<ETag>"{there.etag}"</ETag>')

    def _delete_object(self, request: Request, bucket: str, key: str) -> Response:
        of = self._bucket(bucket)
        _check_condition(request, of.objects.get(key))
        of.delete(key)
        return Response(204)

    def _delete_objects(self, request: Request, bucket: str, key: str) -> Response:
        for name in re.findall(r"<Key>(.*?)</Key>", request.body.decode(), re.DOTALL):
            self._bucket(bucket).delete(unescape(name))
        return _xml("DeleteResult", "")

    def _list_objects(self, request: Request, bucket: str, key: str) -> Response:
        query = _query(request)
        source = self._bucket(bucket)
        page = source.page(query)
        encode = _url if query.get("encoding-type") == "url" else escape
        parts = [_entry(encode(name), source.objects[name]) for name in page.keys]
        parts += [
            f"<CommonPrefixes><Prefix>{encode(folder)}</Prefix></CommonPrefixes>"
            for folder in page.folders
        ]
        return _xml("ListBucketResult", _listing_head(bucket, query, page) + "".join(parts))

    def _create_upload(self, request: Request, bucket: str, key: str) -> Response:
        number = f"upload-{next(self._numbers)}"
        self._bucket(bucket).uploads[number] = Upload(key, _metadata(request))
        return _xml("InitiateMultipartUploadResult", f"<UploadId>{number}</UploadId>")

    def _upload_part(self, request: Request, bucket: str, key: str) -> Response:
        query = _query(request)
        self._upload(bucket, query).parts[int(query["partNumber"])] = request.body
        return Response(headers=(("ETag", f'"{_md5(request.body)}"'),))

    def _complete_upload(self, request: Request, bucket: str, key: str) -> Response:
        query = _query(request)
        upload, into = self._upload(bucket, query), self._bucket(bucket)
        _check_condition(request, into.objects.get(key))
        parts = [upload.parts[number] for number in sorted(upload.parts)]
        stored = StoredObject.make(b"".join(parts), upload.metadata, _etag_of_parts(parts))
        into.put(key, stored)
        del into.uploads[query["uploadId"]]
        named = f'<Key>{escape(key)}</Key><ETag>"{stored.etag}"</ETag>'
        return _xml("CompleteMultipartUploadResult", f"<Bucket>{bucket}</Bucket>{named}")

    def _abort_upload(self, request: Request, bucket: str, key: str) -> Response:
        self._bucket(bucket).uploads.pop(_query(request)["uploadId"], None)
        return Response(204)

    def _list_uploads(self, request: Request, bucket: str, key: str) -> Response:
        listed = "".join(
            f"<Upload><Key>{escape(upload.key)}</Key><UploadId>{number}</UploadId></Upload>"
            for number, upload in self._bucket(bucket).uploads.items()
        )
        return _xml("ListMultipartUploadsResult", f"<IsTruncated>false</IsTruncated>{listed}")

    def _upload(self, bucket: str, query: Query) -> Upload:
        found = self._bucket(bucket).uploads.get(query["uploadId"])
        if found is None:
            raise S3Error(404, "NoSuchUpload")
        return found

    _operations: Mapping[str, Callable[[S3, Request, str, str], Response]] = {
        "ListBuckets": _list_buckets,
        "CreateBucket": _create_bucket,
        "HeadBucket": _head_bucket,
        "GetObject": _get_object,
        "HeadObject": _get_object,
        "PutObject": _put_object,
        "CopyObject": _copy_object,
        "DeleteObject": _delete_object,
        "DeleteObjects": _delete_objects,
        "ListObjectsV2": _list_objects,
        "CreateMultipartUpload": _create_upload,
        "UploadPart": _upload_part,
        "CompleteMultipartUpload": _complete_upload,
        "AbortMultipartUpload": _abort_upload,
        "ListMultipartUploads": _list_uploads,
    }


_BY_PARAMETER = {
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", "uploads"): "ListMultipartUploads",
    ("POST", "delete"): "DeleteObjects",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("PUT", "partNumber"): "UploadPart",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}
_BY_PLACE = {
    "service": {"GET": "ListBuckets"},
    "bucket": {"PUT": "CreateBucket", "HEAD": "HeadBucket"},
    "object": {
        "GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject",
    },
}  # fmt: skip


def _unknown(_: S3, request: Request, bucket: str, key: str) -> Response:
    raise S3Error(501, "NotImplemented")


def operation_of(request: Request) -> str:
    """Return what S3 calls a request; "Unknown" for what is not spoken here."""
    if request.query:
        for (method, parameter), operation in _BY_PARAMETER.items():
            if method == request.method and re.search(rf"\b{parameter}\b", request.query):
                return operation
    if COPY_SOURCE in request.headers:
        return "CopyObject"
    bucket, key = split_path(request.path)
    place = "object" if key else "bucket" if bucket else "service"
    return _BY_PLACE[place].get(request.method, "Unknown")


def split_path(path: str) -> tuple[str, str]:
    """Return the bucket and the key of a path-style request; either may be empty."""
    bucket, _, key = path[1:].partition("/")
    return bucket, unquote(key)


def _query(request: Request) -> Query:
    found = parse_qs(request.query, keep_blank_values=True)
    return {name: values[0] for name, values in found.items()}


def _metadata(request: Request) -> dict[str, str]:
    headers = request.headers.items()
    return {name.removeprefix(META): text for name, text in headers if name.startswith(META)}


def _check_condition(request: Request, there: StoredObject | None) -> None:
    if "if-none-match" in request.headers and there:
        raise S3Error(412, "PreconditionFailed")
    match = request.headers.get("if-match")
    if match and there is None:
        raise S3Error(404, "NoSuchKey")
    if match and there and match.strip('"') != there.etag:
        raise S3Error(412, "PreconditionFailed")


def _body(stored: StoredObject, asked: str) -> Response:
    size = len(stored.body)
    bounds = RANGE.match(asked)
    if not bounds:
        return Response(200, stored.body, stored.headers, "binary/octet-stream")
    first, last = bounds.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start > end:
        raise S3Error(416, "InvalidRange")
    headers = (*stored.headers, ("Content-Range", f"bytes {start}-{end}/{size}"))
    return Response(206, memoryview(stored.body)[start : end + 1], headers, "binary/octet-stream")


def _entry(name: str, stored: StoredObject) -> str:
    return (
        f"<Contents><Key>{name}</Key><LastModified>{ISO_DATE}</LastModified>"
        f"<ETag>&quot;{stored.etag}&quot;</ETag><Size>{len(stored.body)}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def _listing_head(bucket: str, query: Query, page: Page) -> str:
    more = "true" if page.more else "false"
    head = (
        f"<Name>{bucket}</Name><KeyCount>{page.count}</KeyCount><IsTruncated>{more}</IsTruncated>"
    )
    if query.get("encoding-type") == "url":
        head += "<EncodingType>url</EncodingType>"
    if page.more:
        head += f"<NextContinuationToken>{_url(page.token)}</NextContinuationToken>"
    return head


def _xml(name: str, inner: str) -> Response:
    return Response(body=f'<?xml version="1.0" encoding="UTF-8"?><{name}>{inner}</{name}>'.encode())


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _etag_of_parts(parts: Iterable[bytes]) -> str:
    digests = [hashlib.md5(part, usedforsecurity=False).digest() for part in parts]
    return f"{_md5(b''.join(digests))}-{len(digests)}"


def _url(text: str) -> str:
    return quote(text, safe="/")
