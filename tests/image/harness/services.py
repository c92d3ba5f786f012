"""What a machine under test finds outside: S3 and SQS, the metadata service, and a run to work on.

All of it is the local cloud's, at the addresses that a machine of its own can reach.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
from moto.backends import get_backend
from tests.functional.container.images import make_certificate, serve_registry, shell_image
from tests.image.harness.machine import Boot, wait_for_power_off
from tests.image.harness.network import HOST, METADATA
from werkzeug.serving import WSGIRequestHandler, make_server

from parallelize.local.daemon import emulated_services
from parallelize.local.facts import ROLE, InstanceFacts, Notices, metadata_of
from parallelize.local.imds import MetadataServer
from parallelize_core.clients import Clients
from parallelize_core.config import AgentConfig, DrainSettings
from parallelize_core.container_image import Image
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Entry, encode_part
from parallelize_core.queue import Queue
from parallelize_core.result import Result
from parallelize_core.run import Environment, Limits, Run, Setup
from parallelize_core.store import Store

PORT, REGISTRY_PORT = 4566, 5000
ENDPOINT = f"http://{HOST}:{PORT}"
REGION = "eu-west-1"
BUCKET = "bench"
CREDENTIALS_PATH = f"/latest/meta-data/iam/security-credentials/{ROLE}"

FACTS = InstanceFacts(
    id="i-0123456789abcdef0", type="c7i.large", image="ami-0123456789abcdef0",
    zone=f"{REGION}a", lifecycle="spot", private_ip="10.0.2.100", tags={}, user_data=None,
)  # fmt: skip


def shell(script: str) -> tuple[str, ...]:
    """Return a command that runs a shell script; the input is its first argument."""
    return ("/bin/sh", "-c", script, "sh")


class Instance:
    """What the metadata service says; tests change it while the machine runs."""

    def __init__(self) -> None:
        self.facts = FACTS
        self.notices = Notices()

    def metadata(self) -> Mapping[str, str]:
        """Return everything, as of now."""
        return metadata_of(self.facts, self.notices, datetime.now(UTC))

    def give(self, user_data: str | None) -> None:
        """Set the user data."""
        self.facts = replace(self.facts, user_data=user_data)

    def announce_interruption(self, seconds: float) -> None:
        """Post a spot notice for a moment some seconds from now."""
        self.notices = Notices(interruption=datetime.now(UTC) + timedelta(seconds=seconds))

    def seconds_left(self) -> float:
        """Return how far away the announced end is."""
        assert self.notices.interruption
        return (self.notices.interruption - datetime.now(UTC)).total_seconds()


@dataclass(frozen=True)
class Bench:
    """A run with its bucket and queues, and the instance that is to work on it."""

    instance: Instance
    clients: Clients
    close_metadata: Callable[[], None]
    environment: Mapping[str, str] = field(
        default_factory=lambda: {"AWS_ENDPOINT_URL": ENDPOINT, "AWS_REGION": REGION}
    )

    @property
    def store(self) -> Store:
        """The run's bucket."""
        return self.clients.store(BUCKET)

    def start_run(
        self,
        name: str,
        command: tuple[str, ...],
        inputs: int,
        limits: Limits | None = None,
        environment: Mapping[str, str] | None = None,
        setup: Setup | None = None,
        image: Image | None = None,
        **settings: Any,
    ) -> RunLayout:
        """Make a run, enqueue its inputs, and configure the instance for it."""
        layout = RunLayout(Location(BUCKET), name)
        run = Run(
            name=name, command=command, input=layout.input,
            output=layout.output, limits=limits or Limits(max_attempts=1), setup=setup,
            image=image, v=2 if image else 1,
            environment=self._pack(layout, environment) if environment else None,
            created_at=datetime.now(UTC).isoformat(),
        )  # fmt: skip
        self.store.put(layout.run_json, run.encode())
        entries = [self._upload(layout, f"{number:03d}.txt") for number in range(inputs)]
        self.store.put(layout.manifest_part(0), encode_part(entries))
        urls = [self.clients.sqs.create_queue(QueueName=f"{name}{end}") for end in ("", "-dead")]
        queue, dead = (url["QueueUrl"] for url in urls)
        self.clients.queue(queue).send([entry.message(name).encode() for entry in entries])
        self.instance.give(agent_config(layout, queue, dead, **settings).encode())
        return layout

    def queue(self, run: str) -> Queue:
        """Return a run's queue."""
        return self.clients.queue(self.clients.sqs.get_queue_url(QueueName=run)["QueueUrl"])

    def results(self, layout: RunLayout) -> dict[str, Result]:
        """Return the results there are, by input key."""
        keys = [item.key for item in self.store.list(layout.results.prefix)]
        found = [Result.decode(self.store.get(key)) for key in keys]
        return {result.key: result for result in found}

    def heartbeat(self, layout: RunLayout) -> Heartbeat | None:
        """Return what the machine's agent said of itself last."""
        key = layout.heartbeat(self.instance.facts.id)
        return Heartbeat.decode(self.store.get(key)) if self.store.head(key) else None

    def output(self, layout: RunLayout, key: str) -> str:
        """Return an output as text."""
        return self.store.get(layout.output.key(key)).decode()

    def _pack(self, layout: RunLayout, files: Mapping[str, str]) -> Environment:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        key = layout.environment("of-the-test")
        return Environment(
            bucket=BUCKET, key=key, identity=self.store.put(key, buffer.getvalue()) or ""
        )

    def setup_logs(self, layout: RunLayout) -> list[str]:
        """Return what set-ups have printed."""
        keys = [item.key for item in self.store.list(layout.setups.prefix)]
        return [self.store.get(key).decode() for key in keys]

    def _upload(self, layout: RunLayout, key: str) -> Entry:
        body = f"input {key}\n".encode()
        etag = self.store.put(layout.input.key(key), body)
        return Entry(key=key, size=len(body), etag=etag or "")


def agent_config(layout: RunLayout, queue: str, dead: str, **settings: Any) -> AgentConfig:
    """Return a configuration with the waits of a test bench."""
    quick: dict[str, Any] = {
        "slots": 2, "lease_seconds": 10, "poll_seconds": 1, "heartbeat_seconds": 1,
        "notice_poll_seconds": 0.5, "stop_grace_seconds": 5,
        "drain": DrainSettings(samples=2, interval_seconds=0.2, in_flight_margin_seconds=1),
    }  # fmt: skip
    return AgentConfig(
        run=layout.run, bucket=layout.base.bucket, queue_url=queue, dead_letter_queue_url=dead,
        **(quick | settings),
    )  # fmt: skip


@contextmanager
def bench() -> Iterator[Bench]:
    """Serve all of it; to be called inside the private network."""
    instance = Instance()
    with ExitStack() as running, ExitStack() as metadata:
        _serve(running)
        metadata.callback(MetadataServer(instance, (METADATA, 80)).close)
        session = boto3.Session("local", "local", region_name=REGION)
        clients = Clients(
            session.client("s3", endpoint_url=ENDPOINT),
            session.client("sqs", endpoint_url=ENDPOINT),
        )
        clients.s3.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield Bench(instance, clients, metadata.close)


def _serve(running: ExitStack) -> None:
    _forget_everything()
    server = make_server(HOST, PORT, emulated_services(), threaded=True, request_handler=_Quiet)
    running.callback(server.server_close)
    thread = Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    running.callback(thread.join)
    running.callback(server.shutdown)


def _forget_everything() -> None:
    # The emulator's state belongs to the process, not to a server.
    for backend in ("s3", "sqs", "ec2"):
        get_backend(backend).reset()


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: an agent asks all the time."""


@dataclass(frozen=True)
class Pulled:
    """A run whose image a booted machine had to pull, by its digest, and how it ended."""

    digest: str
    fetched: int
    """How often its largest part was asked for."""
    results: dict[str, Result]

    @property
    def ends(self) -> set[tuple[str, str, bool]]:
        """How jobs ended, in which image, and whether they found its variable."""
        return {(one.status, one.image, "blue" in one.log) for one in self.results.values()}


def pull_there(boot: Boot, services: Bench, folder: Path, seconds: float, **more: Any) -> Pulled:
    """Have a machine do jobs in an image from a registry on its network, which it has to trust.

    Root puts the registry's certificate where skopeo looks for it, as `workers.root_setup` does it.
    """
    certificate = make_certificate(folder, f"IP:{HOST}")
    with serve_registry(
        folder / "registry", at=f"{HOST}:{REGISTRY_PORT}", certificate=certificate
    ) as registry:
        made = shell_image(folder / "image", env=["COLOUR=blue"])
        image = registry.image(made, "lab/shell")
        place = f"/etc/containers/certs.d/{registry.host}"
        trust = f"mkdir -p {place}\ncat >{place}/ca.crt <<'.'\n{certificate.file.read_text()}.\n"
        layout = services.start_run(
            "pulled", ("sh", "-c", "echo $COLOUR"), inputs=3, image=image,
            root_setup=f"#!/bin/sh -e\n{trust}", **more,
        )  # fmt: skip
        wait_for_power_off(boot(), seconds)
        (largest, *_) = sorted(made.manifest["layers"], key=lambda one: -one["size"])
        fetched = [line for line in registry.lines('"GET /v2') if largest["digest"] in line]
        return Pulled(made.digest, len(fetched), services.results(layout))
