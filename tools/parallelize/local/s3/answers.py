"""How S3 formats its answers and errors.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote
from xml.sax.saxutils import escape

from parallelize.local.http import Response

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_PLAIN = re.compile(r"[A-Za-z0-9/*._~-]*")
_CONTROLS = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;", '"': "&quot;"}

MESSAGES = {
    "BadDigest": "The digest or checksum that you specified did not match what was received.",
    "BucketNotEmpty": "The bucket that you tried to delete is not empty.",
    "EntityTooSmall": "A part other than the last is smaller than 5 MiB.",
    "InvalidPart": "A part was not found, or its ETag is different.",
    "InvalidPartOrder": "The list of parts was not in ascending order.",
    "InvalidRange": "The requested range is not satisfiable.",
    "KeyTooLongError": "The key has more than 1,024 bytes.",
    "MetadataTooLarge": "The metadata headers exceed 2,048 bytes.",
    "NoSuchBucket": "The specified bucket does not exist.",
    "NoSuchKey": "The specified key does not exist.",
    "NoSuchUpload": "The specified upload does not exist.",
    "NotImplemented": "The local cloud does not support this call of S3.",
    "PreconditionFailed": "At least one of the preconditions you specified did not hold.",
    "QuotaExceeded": (
        "The local cloud's quota is used up. `parallelize local status` shows what it keeps, "
        "`parallelize clean --local` removes a run's files."
    ),
    "XAmzContentSHA256Mismatch": "The body is not the one whose SHA-256 was signed.",
}


class S3Error(Exception):
    """An error response; `code` is S3's name for the error."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message or MESSAGES.get(code, code)

    @property
    def response(self) -> Response:
        """The error in S3's form."""
        inner = f"<Code>{self.code}</Code><Message>{escape(self.message)}</Message>"
        return Response(self.status, f"{_HEAD}<Error>{inner}</Error>".encode())


_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


def xml(name: str, inner: str) -> Response:
    """Return an XML response with a root element of this name."""
    return Response(body=f'{_HEAD}<{name} xmlns="{NAMESPACE}">{inner}</{name}>'.encode())


def text(content: str) -> str:
    """Return a text as the content of an element."""
    return escape(content, _CONTROLS)


def url(content: str) -> str:
    """Return a key encoded as S3 does for `encoding-type=url`."""
    # A page of a listing has a thousand, most of which need no encoding.
    return content if _PLAIN.fullmatch(content) else quote(content, safe="/*-._")


def iso(at: float) -> str:
    """Return a time, given in seconds since 1970, in the form of S3's XML."""
    return _iso_second(int(at))


@lru_cache(maxsize=4096)
def _iso_second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
