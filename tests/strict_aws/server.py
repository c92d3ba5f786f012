"""The layer in the local cloud: `--layer tests.strict_aws.server:Strict` of its daemon.

It stands in front of moto, and of the local cloud's own S3 and SQS.
Things take a fraction of their time here, because a client really waits for them.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from moto.core.request import Request
from tests.strict_aws.call import Call, Reply, decode
from tests.strict_aws.layer import Layer, World
from tests.strict_aws.plugin import make_layer
from tests.strict_aws.rules import groups
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Response

from parallelize.local import http
from parallelize.local.server import environ_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SCALE = "STRICT_AWS_SCALE"


def behind(layer: Layer, services: WSGIApplication) -> WSGIApplication:
    """Return what answers requests, behind the rules of a layer."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        call = decode(Request(environ))
        if call is None:
            return services(environ, start_response)
        made = layer.answer(call, lambda: _reply(services, environ))
        return Response(made.body, made.status, made.headers)(environ, start_response)

    return answer


class Strict:
    """The rules, in front of all services of a local cloud."""

    def __init__(self) -> None:
        self._layer = make_layer(World(scale=float(os.environ.get(SCALE, "0.1"))))
        groups.install(self._layer, setattr)

    def services(self, services: WSGIApplication) -> WSGIApplication:
        """Return moto behind the rules."""
        return behind(self._layer, services)

    def handler(self, handle: http.Handler) -> http.Handler:
        """Return the local cloud's own S3 or SQS behind the rules."""

        def answer(request: http.Request) -> http.Answer:
            call = decode(Request(environ_of(request, 0)))
            if call is None:
                return handle(request)
            if refused := self._layer.before(call):
                return _response(refused)
            answered = handle(request)
            if isinstance(answered, http.Response):
                return self._looked_at(call, answered)
            return self._later(call, answered)

        return answer

    async def _later(self, call: Call, coming: Coroutine[Any, Any, http.Response]) -> http.Response:
        return self._looked_at(call, await coming)

    def _looked_at(self, call: Call, response: http.Response) -> http.Response:
        body = response.body if isinstance(response.body, bytes) else b""
        reply = Reply(response.status, dict(response.headers), body)
        made = self._layer.after(call, reply)
        return response if made is reply else _response(made)


def _response(reply: Reply) -> http.Response:
    kind = reply.headers.get("Content-Type", "text/xml")
    rest = tuple(one for one in reply.headers.items() if one[0] != "Content-Type")
    return http.Response(reply.status, reply.body, rest, kind)


def _reply(services: Any, environ: WSGIEnvironment) -> Reply:
    body, status, headers = run_wsgi_app(services, environ, buffered=True)
    return Reply(int(status.split()[0]), dict(headers), b"".join(body))
