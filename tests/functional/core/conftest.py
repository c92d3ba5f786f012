"""The emulators on loopback, and each protocol's implementations as fixtures."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import boto3
import pytest
from tests.bench.small_cloud.process import small_cloud
from tests.conformance.other_server import other_server
from tests.functional.core.loop_thread import LoopQueue, LoopThread
from tests.functional.moto_server import moto_server

from parallelize.local.cloud import LocalCloud, local_cloud
from parallelize_core.async_clients import AsyncClients
from parallelize_core.boto_queue import SQSQueue
from parallelize_core.boto_store import S3Store
from parallelize_core.clients import Clients
from parallelize_core.queue import Queue
from parallelize_core.store import Store
from parallelize_core.testing import (
    AsyncInMemoryQueue,
    AsyncInMemoryStore,
    InMemoryQueue,
    InMemoryStore,
)
from parallelize_core.thread_store import ThreadStore

# A server that is given is asked alone: what the others answer is no news.
SERVERS = ["server", "loop server"]
SMALL = ["small cloud", "loop small cloud"]
LOCAL = ["local cloud", "loop local cloud"]
QUEUES = SERVERS if other_server() else ["memory", "loop memory", *SERVERS, *LOCAL, *SMALL]
STORES = QUEUES


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The URL of a server that lives as long as the tests do: moto's, or the one that is given."""
    if given := other_server():
        yield given
        return
    with moto_server() as url:
        yield url


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A local cloud, which serves S3 and SQS itself."""
    with local_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def small_endpoint() -> Iterator[str]:
    """The URL of the server that benchmarks use."""
    with small_cloud() as cloud:
        yield cloud.url


def clients_for(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Clients:
    """Clients of one of the servers, which is started if need be."""
    if kind == "local cloud":
        cloud: LocalCloud = request.getfixturevalue("cloud")
        return clients_of(cloud.endpoint, monkeypatch, cloud.state.secret)
    fixture = {"server": "endpoint", "small cloud": "small_endpoint"}[kind]
    return clients_of(request.getfixturevalue(fixture), monkeypatch)


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


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    """A loop for what lives on one."""
    thread = LoopThread()
    yield thread
    thread.stop()


@pytest.fixture
def async_clients(clients: Clients, loop_thread: LoopThread) -> Iterator[AsyncClients]:
    """Clients of the server, on a loop; `clients` has set the variables that lead to it."""
    made = loop_thread.call(lambda: AsyncClients.of_session(boto3.Session(region_name="eu-west-1")))
    yield made
    loop_thread.run(made.aclose())


@pytest.fixture(params=QUEUES)
def queue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """An empty queue: the shipped fake, or SQS as the server or the local cloud speak it."""
    kind, on_loop = request.param.removeprefix("loop "), request.param.startswith("loop ")
    thread: LoopThread | None = request.getfixturevalue("loop_thread") if on_loop else None
    if kind == "memory":
        fake = InMemoryQueue()
        yield LoopQueue(AsyncInMemoryQueue(fake), thread) if thread else fake
        return
    clients = clients_for(kind, request, monkeypatch)
    url = clients.sqs.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]
    if thread is None:
        yield SQSQueue(clients.sqs, url)
        return
    made = thread.call(lambda: AsyncClients.of_session(boto3.Session(region_name="eu-west-1")))
    yield LoopQueue(made.queue(url), thread)
    thread.run(made.aclose())


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty bucket: the shipped fake, or S3 as one of the servers speaks it."""
    kind, on_loop = request.param.removeprefix("loop "), request.param.startswith("loop ")
    thread: LoopThread | None = request.getfixturevalue("loop_thread") if on_loop else None
    if kind == "memory":
        fake = InMemoryStore(clock=time.time)
        yield ThreadStore(AsyncInMemoryStore(fake), thread.loop, lambda: fake) if thread else fake
        return
    store = empty_bucket(clients_for(kind, request, monkeypatch))
    if thread is None:
        yield store
        return
    made = thread.call(lambda: AsyncClients.of_session(boto3.Session(region_name="eu-west-1")))
    yield ThreadStore(made.store(store.bucket), thread.loop, lambda: store)
    thread.run(made.aclose())


@pytest.fixture
def loop_store(
    async_clients: AsyncClients, loop_thread: LoopThread, s3_store: S3Store
) -> ThreadStore:
    """The bucket of `s3_store`, on a loop."""
    return ThreadStore(async_clients.store(s3_store.bucket), loop_thread.loop, lambda: s3_store)


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
