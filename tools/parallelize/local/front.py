"""The front of the local cloud: authenticates requests and routes them to services.

Requests to the services must be signed with the secret key in the state file, by AWS's Signature
Version 4; those about the local cloud itself carry the token in the same file. S3 and SQS are
served here, and who the owner is; `others` serves everything else, including control.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

Only signatures in the Authorization header are supported, which is all that our clients send. For
S3 the signature covers the digest that the client states, whether or not it is the body's; for the
other services the digest is computed from the body.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from functools import lru_cache

from parallelize.local.disk import Disk
from parallelize.local.http import Answer, Handler, Request, Response
from parallelize.local.loopback import foreign
from parallelize.local.records import CONTROL_PREFIX, OWNERS_KEY
from parallelize.local.s3.service import S3
from parallelize.local.sqs.queues import ACCOUNT
from parallelize.local.sqs.service import SQS
from parallelize_core.transport.signing import Signer, Stamp, canonical

ALGORITHM = "AWS4-HMAC-SHA256"

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +Credential=(?P<key>[^/,\s]+)/"
    r"(?P<day>\d{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)/aws4_request, *"
    r"SignedHeaders=(?P<headers>[^,\s]+), *Signature=(?P<signature>[0-9a-f]{64})"
)


def signed_for(request: Request, secret: str) -> str | None:
    """Return for which service a request is signed; None if not by the owner of `secret`."""
    headers = request.headers
    found = _AUTHORIZATION.fullmatch(headers.get("authorization", "").strip())
    if found is None:
        return None
    names = found["headers"].split(";")
    # Without these, a signature would be valid for any host, at any time.
    if not {"host", "x-amz-date"} <= set(names) or not set(names) <= headers.keys():
        return None
    digest = headers.get("x-amz-content-sha256") or hashlib.sha256(request.body).hexdigest()
    signed = [(name, headers[name]) for name in names]
    query = _canonical_query(request.query)
    made = _signer(found["service"], found["region"]).signature(
        canonical(request.method, request.path or "/", query, signed, digest),
        secret,
        Stamp(headers["x-amz-date"], found["day"]),
    )
    return found["service"] if hmac.compare_digest(made, found["signature"]) else None


@lru_cache(maxsize=64)
def _signer(service: str, region: str) -> Signer:
    return Signer(service, region)


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = sorted(
        (name, value) for name, _, value in (one.partition("=") for one in query.split("&"))
    )
    return "&".join(f"{name}={value}" for name, value in pairs)


UNSIGNED = "SignatureDoesNotMatch"
WHY = "not signed with the key of the running local cloud; parallelize local start prints it"

WHO_AM_I = b"Action=GetCallerIdentity&"
OWNER = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
    f"<GetCallerIdentityResult><Arn>arn:aws:sts::{ACCOUNT}:user/moto</Arn>"
    f"<UserId>AKIAIOSFODNN7EXAMPLE</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult>"
    "<ResponseMetadata><RequestId>local</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
)
"""https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"""


class Front:
    """Admits the owner's requests, and routes each to its service.

    S3 and SQS are served as `around` wraps them: tests add more of AWS's refusals there.
    """

    def __init__(
        self,
        disk: Disk,
        secret: str,
        others: Handler,
        around: Callable[[Handler], Handler] = lambda handle: handle,
    ) -> None:
        self._secret = secret
        self._others = others
        self._services = {
            "s3": around(S3(disk).handle),
            "sqs": around(SQS(disk).handle),
            "sts": around(self._identify),
        }

    def handle(self, request: Request) -> Answer:
        """Answer a request, or refuse it."""
        headers = request.headers
        hosts = [headers["host"]] if "host" in headers else []
        if why := foreign(headers.get("origin"), hosts):
            return Response(403, f"{why}\n".encode(), content_type="text/plain")
        if request.path.startswith(f"{CONTROL_PREFIX}/"):
            return self._others(request)
        service = signed_for(request, self._secret)
        if service is None:
            return _unsigned(headers.get("content-type", ""))
        return self._services.get(service, self._others)(request)

    def _identify(self, request: Request) -> Answer:
        """Tell the owner the account, which the bucket is named after; moto knows other users."""
        asked = request.body.startswith(WHO_AM_I)
        if asked and f"Credential={OWNERS_KEY}/" in request.headers["authorization"]:
            return Response(body=OWNER.encode(), content_type="text/xml")
        return self._others(request)


def _unsigned(kind: str) -> Response:
    """Refuse in the form that the SDKs read: JSON, or the XML of EC2's kind or of S3."""
    if "json" in kind:
        body = json.dumps({"__type": UNSIGNED, "message": WHY})
        return Response(403, body.encode(), content_type="application/json")
    error = f"<Error><Code>{UNSIGNED}</Code><Message>{WHY}</Message></Error>"
    if "form-urlencoded" in kind:
        error = f"<Response><Errors>{error}</Errors></Response>"
    return Response(403, error.encode(), content_type="text/xml")
