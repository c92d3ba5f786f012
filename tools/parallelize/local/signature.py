"""Whether a request was signed with our secret key, by AWS's Signature Version 4.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

Only the Authorization header is understood, which is all that our own clients send. A body is
covered by the digest that S3's clients sign, whether or not it is the body's; of all others it is
made of the body itself.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

ALGORITHM = "AWS4-HMAC-SHA256"

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +Credential=(?P<key>[^/,\s]+)/(?P<scope>[^,\s]+), *"
    r"SignedHeaders=(?P<headers>[^,\s]+), *Signature=(?P<signature>[0-9a-f]{64})"
)
_SCOPE = re.compile(r"\d{8}/[^/]+/[^/]+/aws4_request")


@dataclass(frozen=True)
class SignedRequest:
    """A request as it came: the path and the query are still percent-encoded."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case; several of one name are joined by commas."""
    body: bytes = b""


def is_signed(request: SignedRequest, secret: str) -> bool:
    """Whether a request carries a signature that only the owner of `secret` can make."""
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", "").strip())
    if found is None or not _SCOPE.fullmatch(found["scope"]):
        return False
    names = found["headers"].split(";")
    # Without them a signature would hold for any host, and at any time.
    if not {"host", "x-amz-date"} <= set(names) or not set(names) <= request.headers.keys():
        return False
    made = sign(request, names, found["scope"], secret)
    return hmac.compare_digest(made, found["signature"])


def sign(request: SignedRequest, names: list[str], scope: str, secret: str) -> str:
    """Return the signature of a request by its headers `names`."""
    text = "\n".join([
        ALGORITHM, request.headers["x-amz-date"], scope, _digest(_canonical(request, names)),
    ])  # fmt: skip
    return hmac.digest(_signing_key(secret, scope), text.encode(), "sha256").hex()


@lru_cache(maxsize=64)
def _signing_key(secret: str, scope: str) -> bytes:
    """Return the key of a day, a region and a service."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _canonical(request: SignedRequest, names: list[str]) -> bytes:
    pairs = sorted(
        (name, value) for name, _, value in (one.partition("=") for one in _parts(request.query))
    )
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names)
    digest = request.headers.get("x-amz-content-sha256") or _digest(request.body)
    return "\n".join([
        request.method, request.path or "/", "&".join(f"{name}={value}" for name, value in pairs),
        headers, ";".join(names), digest,
    ]).encode()  # fmt: skip


def _parts(query: str) -> list[str]:
    return query.split("&") if query else []


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
