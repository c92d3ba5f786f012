"""What S3 verifies before it accepts a body: length, digests, checksums.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
"""

from __future__ import annotations

import binascii
import hashlib
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping

from parallelize.local.http import Request
from parallelize.local.s3.answers import S3Error

CHECKSUM = "x-amz-checksum-"

_ALGORITHMS: Mapping[str, Callable[[bytes], bytes]] = {
    "crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "sha256": lambda body: hashlib.sha256(body).digest(),
}
"""Those that Python computes fast. Others (crc32c, crc64nvme) are stored as they were sent."""

ALGORITHMS = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")


def take_body(request: Request) -> dict[str, str]:
    """Decode a request's body in place, verify it, and return its checksums as headers.

    Raises S3Error if the body is not what the client states.
    """
    trailers: dict[str, str] = {}
    signed = request.headers.get("x-amz-content-sha256", "")
    if signed.startswith("STREAMING-"):
        request.body, trailers = unchunk(request.body)
        decoded = request.headers.get("x-amz-decoded-content-length")
        if decoded is not None and decoded != str(len(request.body)):
            raise S3Error(400, "IncompleteBody")
    elif signed not in {"", "UNSIGNED-PAYLOAD", hashlib.sha256(request.body).hexdigest()}:
        raise S3Error(400, "XAmzContentSHA256Mismatch")
    _check_md5(request)
    return _checked({**request.headers, **trailers}, request.body)


def compute(algorithm: str, body: bytes) -> str | None:
    """Return a checksum in Base64, or None if it cannot be computed here."""
    digest = _ALGORITHMS.get(algorithm)
    return b64encode(digest(body)).decode() if digest else None


def composite(algorithm: str, checksums: list[str]) -> str | None:
    """Return the checksum of checksums that S3 gives to a multipart upload."""
    whole = compute(algorithm, b"".join(b64decode(one) for one in checksums))
    return f"{whole}-{len(checksums)}" if whole else None


def unchunk(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the content of a body in the encoding `aws-chunked`, and its trailers."""
    parts: list[bytes] = []
    start = 0
    try:
        while size := int(body[start : (end := body.index(b"\r\n", start))].split(b";")[0], 16):
            parts.append(body[end + 2 : end + 2 + size])
            start = end + 2 + size + 2
    except ValueError:
        raise S3Error(400, "IncompleteBody") from None
    lines = body[end + 2 :].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return b"".join(parts), {name.lower(): value.strip() for name, _, value in pairs}


def _check_md5(request: Request) -> None:
    given = request.headers.get("content-md5")
    if given is None:
        return
    try:
        wanted = b64decode(given, validate=True)
    except binascii.Error:
        raise S3Error(400, "InvalidDigest") from None
    if wanted != hashlib.md5(request.body, usedforsecurity=False).digest():
        raise S3Error(400, "BadDigest")


def _checked(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    found = {}
    for algorithm in ALGORITHMS:
        given = headers.get(CHECKSUM + algorithm)
        if given is None:
            continue
        computed = compute(algorithm, body)
        if computed not in {None, given}:
            raise S3Error(400, "BadDigest")
        found[CHECKSUM + algorithm] = given
    return found
