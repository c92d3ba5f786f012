"""Control of the local cloud over HTTP: a few paths in front of the emulated services.

GET  /_parallelize/instances                 the instances
POST /_parallelize/instances/ID/ACTION       interrupt (`{"seconds": 120}`), rebalance, kill,
                                             pause, resume

Each request carries the token of the state file, which only its owner can read.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from parallelize.local.instances import InstanceManager
from parallelize.local.records import CONTROL_PREFIX, InstanceViews

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

INSTANCES = f"{CONTROL_PREFIX}/instances"


class ControlPlane:
    """A WSGI application: requests below CONTROL_PREFIX are answered here, others by `services`."""

    def __init__(self, services: WSGIApplication, manager: InstanceManager, token: str) -> None:
        self._services = services
        self._manager = manager
        self._authorization = f"Bearer {token}"
        self._actions: dict[str, Callable[..., None]] = {
            "interrupt": manager.interrupt,
            "rebalance": manager.recommend_rebalance,
            "kill": manager.kill,
            "pause": manager.pause,
            "resume": manager.resume,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if not environ["PATH_INFO"].startswith(f"{CONTROL_PREFIX}/"):
            return self._services(environ, start_response)
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        authorization = request.headers.get("Authorization", "")
        if not secrets.compare_digest(authorization.encode(), self._authorization.encode()):
            return Response("a token is needed", 401)
        if request.method == "GET" and request.path == INSTANCES:
            views = InstanceViews.dump_json(self._manager.views())
            return Response(views, content_type="application/json")
        if request.method == "POST":
            return self._act(request)
        return Response("no such request", 404)

    def _act(self, request: Request) -> Response:
        instance_id, _, name = request.path.removeprefix(f"{INSTANCES}/").partition("/")
        action = self._actions.get(name)
        if action is None:
            return Response(f"no such action: {name}", 404)
        try:
            action(instance_id, **request.get_json())
        except KeyError:
            return Response(f"no such instance is running: {instance_id}", 404)
        return Response(status=204)
