"""What benchmarks ask of the small cloud, beyond what tests/functional/core holds it to."""

from __future__ import annotations

import time
from collections.abc import Iterator

import boto3
import pytest
from tests.bench.small_cloud.cloud import Fill
from tests.bench.small_cloud.process import REGION, CloudProcess, small_cloud

from parallelize_core.clients import Clients
from parallelize_core.queue import Queue


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudProcess]:
    with small_cloud() as started:
        for name, value in started.environ.items():
            monkeypatch.setenv(name, value)
        yield started


@pytest.fixture
def clients(cloud: CloudProcess) -> Clients:
    return Clients.make(boto3.Session(region_name=REGION))


@pytest.fixture
def queue(cloud: CloudProcess, clients: Clients) -> Queue:
    return clients.queue(cloud.create_queue("jobs"))


def test_inputs_and_messages_put_in_at_once_are_those_of_s3_and_sqs(
    cloud: CloudProcess, clients: Clients, queue: Queue
) -> None:
    cloud.fill(Fill("bucket", "in/{n}.txt", "content", "jobs", "job {n}", count=3, first=7))
    assert [message.body for message in queue.receive(10, 0, 60)] == [
        "job 00000007", "job 00000008", "job 00000009",
    ]  # fmt: skip
    assert clients.store("bucket").get("in/00000008.txt") == b"content"


def test_what_was_called_and_done_can_be_asked_and_forgotten(
    cloud: CloudProcess, queue: Queue
) -> None:
    queue.send(["one", "two"])
    [message, _] = queue.receive(10, 0, 60)
    queue.delete([message.receipt])
    stats = cloud.stats()
    assert {name: call["count"] for name, call in stats["calls"].items()} == {
        "CreateQueue": 1, "SendMessageBatch": 1, "ReceiveMessage": 1, "DeleteMessageBatch": 1,
    }  # fmt: skip
    found = stats["queues"]["jobs"]
    assert (found["received"], found["deleted"], found["leased"]) == (2, 1, 1)
    cloud.forget()
    assert cloud.stats()["calls"] == {}


def test_each_renewal_tells_how_long_the_lease_had_gone_without(
    cloud: CloudProcess, queue: Queue
) -> None:
    queue.send(["one"])
    [message] = queue.receive(1, 5, 60)
    before = time.monotonic()
    queue.extend([message.receipt], 60)
    queue.extend([message.receipt], 60)
    took = time.monotonic() - before
    first, second = cloud.stats()["queues"]["jobs"]["unrenewed_seconds"]
    assert first > 0
    assert 0 < second < took


def test_a_request_takes_as_long_as_it_is_told_to(cloud: CloudProcess, queue: Queue) -> None:
    cloud.delay(0.2)
    before = time.monotonic()
    queue.counts()
    assert time.monotonic() - before >= 0.2
