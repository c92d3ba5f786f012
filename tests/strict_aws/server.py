"""The layer in the local cloud: `--layer tests.strict_aws.server:wrap` of its daemon.

Things take a fraction of their time here, because a client really waits for them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from moto.core.request import Request
from tests.strict_aws.call import Reply, decode
from tests.strict_aws.layer import World
from tests.strict_aws.plugin import make_layer
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SCALE = "STRICT_AWS_SCALE"


def wrap(services: WSGIApplication) -> WSGIApplication:
    """Return the emulated services behind the layer."""
    layer = make_layer(World(scale=float(os.environ.get(SCALE, "0.1"))))

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        call = decode(Request(environ))
        if call is None:
            return services(environ, start_response)
        made = layer.answer(call, lambda: _reply(services, environ))
        return Response(made.body, made.status, made.headers)(environ, start_response)

    return answer


def _reply(services: Any, environ: WSGIEnvironment) -> Reply:
    body, status, headers = run_wsgi_app(services, environ, buffered=True)
    return Reply(int(status.split()[0]), dict(headers), b"".join(body))
