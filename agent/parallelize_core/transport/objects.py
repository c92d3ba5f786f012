"""Requests for a bucket's objects, without the parts that the endpoint adds."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from parallelize_core.bucket_terms import NO_TERMS, Terms
from parallelize_core.parts import ObjectPart
from parallelize_core.store import Condition, checked_metadata
from parallelize_core.transport import listing
from parallelize_core.transport.client import Request
from parallelize_core.transport.connection import Body, FileBody, Patience
from parallelize_core.transport.endpoints import Endpoint
from parallelize_core.transport.signing import UNSIGNED_PAYLOAD

ANSWER_SECONDS = 20.0
"""For S3 to begin its response: usually tens of milliseconds, seconds at bad times."""

COMPLETE_SECONDS = 300.0
"""For S3 to join an object's parts, which "could take several minutes".

https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
"""

Headers = list[tuple[str, str]]

QUICK = Patience(ANSWER_SECONDS)
"""For everything but joining an object's parts."""

# While S3 works, it sends white space from time to time.
_PUTTING_TOGETHER = Patience(COMPLETE_SECONDS, progress_seconds=COMPLETE_SECONDS, progress_bytes=1)


class Payload(NamedTuple):
    """A body, with what the headers state about it; `crc32` is empty if it is not sent."""

    content: Body
    crc32: str
    digest: str

    @classmethod
    def of(cls, content: bytes, endpoint: Endpoint, sha256: str = "") -> Payload:
        """Compute what the endpoint needs to know about a body; megabytes take milliseconds.

        If `sha256` is given, it is signed, so that S3 refuses a body that has another.
        """
        sum_ = zlib.crc32(content).to_bytes(4, "big") if endpoint.sends_checksums else b""
        signs = endpoint.signs_bodies or not endpoint.sends_checksums
        digest = sha256 or (hashlib.sha256(content).hexdigest() if signs else UNSIGNED_PAYLOAD)
        return cls(content, base64.b64encode(sum_).decode(), digest)

    @classmethod
    def of_file(
        cls, body: FileBody, endpoint: Endpoint, whole: hashlib._Hash | None = None
    ) -> Payload:
        """Compute what the endpoint needs to know about part of a file, which is not kept.

        Its bytes also go into `whole`, the hash of the whole file.
        """
        crc32, sha256 = 0, hashlib.sha256()
        signs = endpoint.signs_bodies or not endpoint.sends_checksums
        digests = [*([sha256] if signs else ()), *([whole] if whole else ())]
        for piece in body.pieces():
            crc32 = zlib.crc32(piece, crc32) if endpoint.sends_checksums else 0
            for digest in digests:
                digest.update(piece)
        sum_ = crc32.to_bytes(4, "big") if endpoint.sends_checksums else b""
        signed = sha256.hexdigest() if signs else UNSIGNED_PAYLOAD
        return cls(body, base64.b64encode(sum_).decode(), signed)


class ObjectRequests:
    """Builds the requests of one bucket."""

    def __init__(self, bucket: str, terms: Terms = NO_TERMS) -> None:
        self._bucket = bucket
        self._always, self._making = terms.reading(bucket), terms.writing(bucket)

    def get(
        self, key: str, etag: str = "", part: ObjectPart | None = None, *, checked: bool = True
    ) -> Request:
        """Read an object or a part of it; only this version, if `etag` is given."""
        headers: Headers = []
        if etag:
            headers.append(("if-match", f'"{etag}"'))
        if part is not None:
            headers.append(("range", f"bytes={part.start}-{part.start + part.size - 1}"))
        if checked:
            headers.append(("x-amz-checksum-mode", "ENABLED"))
        return self._request("GET", key, headers)

    def head(self, key: str) -> Request:
        """Ask for an object's headers."""
        return self._request("HEAD", key)

    def put(
        self, key: str, payload: Payload, condition: Condition, metadata: Mapping[str, str] | None
    ) -> Request:
        """Write a whole object."""
        headers = [*_conditions(condition), *_metadata(metadata), *self._making]
        return self._with_payload(self._request("PUT", key, headers), payload)

    def delete(self, key: str) -> Request:
        """Delete an object."""
        return self._request("DELETE", key)

    def page(self, prefix: str, after: str, token: str, delimiter: str) -> Request:
        """List a page of the keys that start with `prefix`."""
        request = self._request("GET", "", query=listing.query(prefix, after, token, delimiter))
        request.where = self.where(prefix)
        return request

    def begin(self, key: str, metadata: Mapping[str, str] | None) -> Request:
        """Begin a multipart upload."""
        return self._request("POST", key, [*_metadata(metadata), *self._making], "uploads=")

    def part(self, key: str, upload: str, number: int, payload: Payload) -> Request:
        """Write a part."""
        query = f"partNumber={number}&{_upload(upload)}"
        return self._with_payload(self._request("PUT", key, query=query), payload)

    def complete(
        self, key: str, upload: str, etags: Sequence[str], condition: Condition
    ) -> Request:
        """Join the parts into an object."""
        parts = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{etag}"</ETag></Part>'
            for number, etag in enumerate(etags, 1)
        )
        namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
        body = f'<CompleteMultipartUpload xmlns="{namespace}">{parts}</CompleteMultipartUpload>'
        request = self._request("POST", key, _conditions(condition), _upload(upload))
        content = body.encode()
        request.body, request.patience = content, _PUTTING_TOGETHER
        request.digest = hashlib.sha256(content).hexdigest()
        request.retries_conflicts = False
        return request

    def abort(self, key: str, upload: str) -> Request:
        """Remove the parts of an upload."""
        return self._request("DELETE", key, query=_upload(upload))

    def where(self, key: str) -> str:
        """Name an object for people."""
        return f"s3://{self._bucket}/{key}"

    def _request(
        self, method: str, key: str, headers: Iterable[tuple[str, str]] = (), query: str = ""
    ) -> Request:
        return Request(method, key, self.where(key), QUICK, query, [*headers, *self._always])

    @staticmethod
    def _with_payload(request: Request, payload: Payload) -> Request:
        request.body, request.digest = payload.content, payload.digest
        if payload.crc32:
            request.headers.append(("x-amz-checksum-crc32", payload.crc32))
            request.headers.append(("x-amz-sdk-checksum-algorithm", "CRC32"))
        return request


def _upload(upload: str) -> str:
    return f"uploadId={quote(upload, safe='')}"


def _conditions(condition: Condition) -> Headers:
    if condition.absent:
        return [("if-none-match", "*")]
    return [] if condition.etag is None else [("if-match", f'"{condition.etag}"')]


def _metadata(metadata: Mapping[str, str] | None) -> Headers:
    return [(f"x-amz-meta-{name.lower()}", v) for name, v in checked_metadata(metadata).items()]
