"""The process of the local cloud: its services, instance manager and control, on one port.

    python -m parallelize.local.daemon --state FOLDER [--port PORT] [--owned] [--agent JSON]

With `--idle-seconds` it stops once no machine has run and no command has come for that long.
With `--layer MODULE:NAME` that class wraps all services (see `Layer`): tests put AWS's refusals
there. With `--group-state-after` the metadata service tells a machine that it is in a group only
after that many seconds, as EC2's may.
With `--announce DESCRIPTOR` it closes that descriptor once S3 and SQS answer.
With `--owned`, the local cloud stops at the end of standard input: then its owner is gone.

It is controlled over HTTP, by a few paths in front of the emulated services:

GET  /_parallelize/instances                 the instances
POST /_parallelize/instances/ID/ACTION       interrupt (`{"seconds": 120}`), rebalance, kill,
                                             pause, resume

Each request carries the token of the state file, which only its owner can read.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Protocol

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Request, Response

from parallelize.local.disk import DEFAULT_QUOTA_BYTES, Disk
from parallelize.local.front import Front
from parallelize.local.http import Handler
from parallelize.local.instances import AGENT, SHUTDOWN_GRACE_SECONDS, InstanceManager
from parallelize.local.records import (
    CONTROL_PREFIX,
    OWNERS_KEY,
    REGION,
    STATE_FILE,
    InstanceState,
    InstanceViews,
    state_of_this_process,
)
from parallelize.local.server import Server, Threads
from parallelize.local.sqs.queues import ACCOUNT

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from types_boto3_ec2 import EC2Client


INSTANCES = f"{CONTROL_PREFIX}/instances"


class ControlPlane:
    """A WSGI application that answers paths below CONTROL_PREFIX; `services` answers the rest."""

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
            answered = self._services(environ, start_response)
            if not _only_reads(environ):
                self._manager.look()
            return answered
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


def _only_reads(environ: WSGIEnvironment) -> bool:
    body = environ["wsgi.input"]
    body.seek(0)
    return bool(body.read(len(READS)) == READS)


READS = b"Action=Describe"
"""How a request of EC2's or Auto Scaling's begins that changes nothing."""

IDLE_LOOK_SECONDS = 1.0

IMAGE_NAME = "parallelize-local"
IMAGE_TAG = "parallelize:version"


def main() -> None:
    """Run the local cloud until SIGTERM, or until its owner is gone."""
    options = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # It would log thousands of lines per second, one per request; boto3's are irrelevant here.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    stop = stop_event(owned=options.owned)
    cloud = Cloud(options)
    try:
        cloud.start()
        while not stop.wait(IDLE_LOOK_SECONDS):
            if options.idle_seconds and cloud.idle_seconds() > options.idle_seconds:
                break
    finally:
        cloud.close()


def parse_arguments() -> argparse.Namespace:
    """Return the options; the agent's command is a JSON list."""
    parser = argparse.ArgumentParser(prog="parallelize.local.daemon")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--announce", type=int)
    parser.add_argument("--owned", action="store_true")
    parser.add_argument("--agent", type=json.loads, default=AGENT)
    parser.add_argument("--idle-seconds", type=float, default=0.0)
    parser.add_argument("--grace-seconds", type=float, default=SHUTDOWN_GRACE_SECONDS)
    parser.add_argument("--quota-bytes", type=int, default=DEFAULT_QUOTA_BYTES)
    parser.add_argument("--layer", type=resolve_name, default=NoLayer)
    parser.add_argument("--group-state-after", type=float, default=0.0)
    return parser.parse_args()


class Layer(Protocol):
    """Wraps the services: moto's, and this package's own S3 and SQS."""

    def services(self, services: WSGIApplication) -> WSGIApplication:
        """Return moto wrapped in the layer."""

    def handler(self, handle: Handler) -> Handler:
        """Return S3 or SQS wrapped in the layer."""


class NoLayer:
    """Changes nothing."""

    def services(self, services: WSGIApplication) -> WSGIApplication:
        """Return moto."""
        return services

    def handler(self, handle: Handler) -> Handler:
        """Return S3 or SQS."""
        return handle


class Cloud:
    """What runs in this process; the constructor takes the port, `start` begins to serve.

    S3 and SQS answer first: a client that starts the local cloud sends files while moto loads,
    which takes most of a second of CPU time.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._layer: Layer = options.layer()
        self._options = options
        self._server = Server(options.state, options.port)
        self._folder: Path = options.state
        self._disk = Disk(options.state, options.quota_bytes)
        self._state = state_of_this_process(self._server.port)
        self._threads = Threads(self._server.port)
        self._manager: InstanceManager | None = None

    def start(self) -> None:
        """Serve S3 and SQS, announce it in the state file, then load the other services."""
        secret, others = self._state.secret, self._threads.answer
        front = Front(self._disk, secret, others, self._layer.handler)
        self._server.start(front.handle)
        self._state.write(self._folder)
        if self._options.announce is not None:
            os.close(self._options.announce)
        with uncollected():
            services = self._layer.services(emulated_services())
            register_image()
        self._manager = self._make_manager()
        self._threads.open(ControlPlane(services, self._manager, self._state.token))
        self._manager.start()

    def _make_manager(self) -> InstanceManager:
        options, folder = self._options, fresh_instances_folder(self._folder)
        ec2 = connect_to_ec2(self._state.endpoint, self._state.secret)
        manager = InstanceManager(ec2, folder, self._state, options.agent, options.grace_seconds)
        manager.group_state_after = options.group_state_after
        return manager

    def idle_seconds(self) -> float:
        """Return for how long no machine has run and no command has entered (see `enter`)."""
        state_file = self._folder / STATE_FILE
        views = self._manager.views() if self._manager else []
        if any(view.state is not InstanceState.TERMINATED for view in views):
            state_file.touch()
        return time.time() - state_file.stat().st_mtime

    def close(self) -> None:
        """Switch off every machine, then stop serving."""
        (self._folder / STATE_FILE).unlink(missing_ok=True)
        # Before the server: machines report to EC2 when they power off.
        if self._manager:
            self._manager.close()
        self._server.close()
        self._threads.close()
        self._disk.close()


def emulated_services() -> WSGIApplication:
    """Load moto and return it as a WSGI application; 404 for what it does not support."""
    share_models()
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 - S3 and SQS answer meanwhile
        DomainDispatcherApplication,
        create_backend_app,
    )

    parse_all_user_data()
    services = DomainDispatcherApplication(create_backend_app)
    find = services.get_backend_for_host

    # To find the service of a request, moto lists its own folder: a hundred and eighty stats.
    @cache
    def backend_for_host(host: str | None) -> Any:
        backend = find(host)
        if host and not backend:
            # moto would crash and answer 500; the SDKs take that for a transient fault and retry.
            raise NotFound(f"{host} is not emulated")
        return backend

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            answered: Iterable[bytes] = services(environ, start_response)
        except NotFound as unknown:
            answered = unknown(environ, start_response)
        return answered

    services.get_backend_for_host = backend_for_host  # type: ignore[method-assign]
    return answer


def stop_event(*, owned: bool) -> Event:
    """Return an event that is set when the local cloud must stop."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if owned:
        Thread(target=_wait_for_owner, args=(stop,), daemon=True).start()
    return stop


def _wait_for_owner(stop: Event) -> None:
    while os.read(0, 1024):
        pass
    stop.set()


def fresh_instances_folder(state_folder: Path) -> Path:
    """Return the folder for the instances' folders, emptied of an earlier local cloud's."""
    folder = state_folder / "instances"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def connect_to_ec2(endpoint: str, secret: str) -> EC2Client:
    """Return a client for the emulated EC2."""
    from parallelize_core.clients import session_with_key  # noqa: PLC0415 - loads boto3

    return session_with_key(OWNERS_KEY, secret, REGION).client("ec2", endpoint_url=endpoint)


@contextmanager
def uncollected() -> Iterator[None]:
    """Do not look for garbage in what a block loads, neither now nor later: it stays.

    Otherwise the collector takes a quarter of the time to load moto.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def register_image() -> None:
    """Register the image that `launch` finds by its tag; it runs the agent installed here.

    In moto itself: it is there before the first request is answered.
    """
    from moto.ec2.models import ec2_backends  # noqa: PLC0415

    backend = ec2_backends[ACCOUNT][REGION]
    image = backend.register_image(IMAGE_NAME)
    backend.create_tags([image.id], {IMAGE_TAG: version("parallelize")})


@cache  # a second patch would decode the user data twice
def parse_all_user_data() -> None:
    """Make moto treat all versions of a launch template alike.

    moto 5.2 treats the user data of a template's first version as Base64, which it is, but that of
    later versions as plain text. A group that starts a machine from such a version gets HTTP 500.
    """
    from moto.ec2.models.launch_templates import LaunchTemplate  # noqa: PLC0415
    from moto.ec2.utils import parse_user_data  # noqa: PLC0415

    create = LaunchTemplate.create_version

    def create_version(self: LaunchTemplate, data: dict[str, Any], description: str) -> Any:
        given = data.get("UserData")
        parsed = {**data, "UserData": parse_user_data(given)} if isinstance(given, str) else data
        return create(self, parsed, description)

    LaunchTemplate.create_version = create_version  # type: ignore[method-assign]


def share_models() -> None:
    """Parse each of botocore's models of a service once in this process.

    moto loads that of EC2 four times, three of them for a list of regions; it has 9 MB.
    """
    from botocore.loaders import JSONFileLoader  # noqa: PLC0415

    one = JSONFileLoader()
    load = cache(JSONFileLoader.load_file)

    def load_file(self: JSONFileLoader, file_path: str) -> Any:  # noqa: ARG001
        return load(one, file_path)

    JSONFileLoader.load_file = load_file  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
