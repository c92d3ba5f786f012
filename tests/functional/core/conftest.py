"""The emulators on loopback, and each protocol's implementations as fixtures."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer
from tests.conformance.other_server import other_server

from parallelize.local.cloud import LocalCloud, local_cloud
from parallelize_core.clients import Clients
from parallelize_core.queue import Queue, SQSQueue
from parallelize_core.store import S3Store, Store
from parallelize_core.testing import InMemoryQueue, InMemoryStore

# A server that is given is asked alone: what the others answer is no news.
QUEUES = ["server"] if other_server() else ["memory", "server", "local cloud"]
STORES = ["server"] if other_server() else ["memory", "server"]


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The URL of a server that lives as long as the tests do: moto's, or the one that is given."""
    if given := other_server():
        yield given
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A local cloud, which has a queue of its own in the place of moto's."""
    with local_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


def clients_of(endpoint: str, monkeypatch: pytest.MonkeyPatch, secret: str = "testing") -> Clients:
    """Clients as the program builds them; only standard variables lead to the emulator."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    return Clients.make(boto3.Session(region_name="eu-west-1"))


@pytest.fixture
def clients(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Clients:
    """Clients of the server."""
    return clients_of(endpoint, monkeypatch)


@pytest.fixture(params=QUEUES)
def queue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """An empty queue: the shipped fake, or SQS as the server or the local cloud speak it."""
    if request.param == "memory":
        return InMemoryQueue()
    if request.param == "server":
        clients = clients_of(request.getfixturevalue("endpoint"), monkeypatch)
    else:
        cloud: LocalCloud = request.getfixturevalue("cloud")
        clients = clients_of(cloud.endpoint, monkeypatch, cloud.state.secret)
    return SQSQueue(clients.sqs, clients.sqs.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"])


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    """An empty bucket: the shipped fake, or S3 as the server speaks it."""
    if request.param == "memory":
        return InMemoryStore()
    clients: Clients = request.getfixturevalue("clients")
    return empty_bucket(clients)


@pytest.fixture
def s3_store(clients: Clients) -> S3Store:
    """An empty bucket in the server, for what only a real client can show."""
    return empty_bucket(clients)


def empty_bucket(clients: Clients) -> S3Store:
    bucket = f"bucket-{uuid.uuid4().hex}"
    clients.s3.create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    return S3Store(clients.s3, bucket, clients.parts)
