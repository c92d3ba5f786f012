"""The door of the local cloud: who gets in, before anything is looked at.

Requests to the emulated services have to be signed with the secret key of the state file, as AWS
demands it of its own; those about the local cloud itself carry the token of the same file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from parallelize.local.loopback import foreign
from parallelize.local.records import CONTROL_PREFIX
from parallelize.local.signature import SignedRequest, is_signed

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

UNSIGNED = "SignatureDoesNotMatch"
WHY = "not signed with the key of the local cloud that runs; parallelize local start prints it"


class Gate:
    """A WSGI application that lets the owner's own requests through to `inner`."""

    def __init__(self, inner: WSGIApplication, secret: str) -> None:
        self._inner = inner
        self._secret = secret

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or refuse it."""
        request = Request(environ)
        if why := foreign(request.headers.get("Origin"), request.headers.getlist("Host")):
            return Response(f"{why}\n", 403)(environ, start_response)
        about_us = environ["PATH_INFO"].startswith(f"{CONTROL_PREFIX}/")
        if not about_us and not is_signed(_signed(request), self._secret):
            return _unsigned(request)(environ, start_response)
        return self._inner(environ, start_response)


def _signed(request: Request) -> SignedRequest:
    path, _, query = request.environ["REQUEST_URI"].partition("?")
    names = {name.lower() for name, _ in request.headers}
    headers = {name: ",".join(request.headers.getlist(name)) for name in names}
    return SignedRequest(request.method, path, query, headers, _body(request))


def _body(request: Request) -> bytes:
    """Return a body that the signature has to cover; the services will read it again."""
    if "X-Amz-Content-Sha256" in request.headers:
        return b""
    body = request.get_data(cache=False)
    request.environ["wsgi.input"] = io.BytesIO(body)
    return body


def _unsigned(request: Request) -> Response:
    """Refuse in the form that the SDKs read: JSON, the XML of EC2's kind, or that of S3."""
    kind = request.headers.get("Content-Type", "")
    if "json" in kind:
        body = json.dumps({"__type": UNSIGNED, "message": WHY})
        return Response(body, 403, content_type="application/json")
    error = f"<Error><Code>{UNSIGNED}</Code><Message>{WHY}</Message></Error>"
    if "form-urlencoded" in kind:
        error = f"<Response><Errors>{error}</Errors></Response>"
    return Response(error, 403, content_type="text/xml")
