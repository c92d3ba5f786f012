"""The front of the local cloud: authenticates requests and routes them to services.

Requests to its services have to be signed with the secret key of the state file, as AWS demands it
of its own; those about the local cloud itself carry the token of the same file. S3 and SQS are
served here; all others, and control, are behind `others`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from parallelize.local.disk import Disk
from parallelize.local.http import Answer, Handler, Request, Response
from parallelize.local.loopback import foreign
from parallelize.local.records import CONTROL_PREFIX
from parallelize.local.s3.service import S3
from parallelize.local.signature import SignedRequest, is_signed
from parallelize.local.sqs.service import SQS

UNSIGNED = "SignatureDoesNotMatch"
WHY = "not signed with the key of the local cloud that runs; parallelize local start prints it"

_SERVICE = re.compile(r"Credential=[^/]+/\d{8}/[^/]+/(?P<name>[^/]+)/aws4_request")


class Front:
    """Admits the owner's requests, and routes each to its service.

    S3 and SQS are served as `around` makes them: a test puts more of AWS's refusals there.
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
        self._services = {"s3": around(S3(disk).handle), "sqs": around(SQS(disk).handle)}

    def handle(self, request: Request) -> Answer:
        """Answer a request, or refuse it."""
        headers = request.headers
        hosts = [headers["host"]] if "host" in headers else []
        if why := foreign(headers.get("origin"), hosts):
            return Response(403, f"{why}\n".encode(), content_type="text/plain")
        if request.path.startswith(f"{CONTROL_PREFIX}/"):
            return self._others(request)
        if not is_signed(_signed(request), self._secret):
            return _unsigned(headers.get("content-type", ""))
        named = _SERVICE.search(headers["authorization"])
        return self._services.get(named["name"] if named else "", self._others)(request)


def _signed(request: Request) -> SignedRequest:
    return SignedRequest(request.method, request.path, request.query, request.headers, request.body)


def _unsigned(kind: str) -> Response:
    """Refuse in the form that the SDKs read: JSON, the XML of EC2's kind, or that of S3."""
    if "json" in kind:
        body = json.dumps({"__type": UNSIGNED, "message": WHY})
        return Response(403, body.encode(), content_type="application/json")
    error = f"<Error><Code>{UNSIGNED}</Code><Message>{WHY}</Message></Error>"
    if "form-urlencoded" in kind:
        error = f"<Response><Errors>{error}</Errors></Response>"
    return Response(403, error.encode(), content_type="text/xml")
