"""One local cloud for the whole folder, with a stand-in for the agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
import pytest
from tests.functional.local.helpers import AGENT_OPTIONS, client_arguments

from parallelize.local.cloud import LocalCloud, local_cloud

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_sqs import SQSClient


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    folder = tmp_path_factory.mktemp("cloud")
    with local_cloud(folder, daemon_options=AGENT_OPTIONS) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def sqs(cloud: LocalCloud) -> SQSClient:
    return boto3.client("sqs", **client_arguments(cloud))


@pytest.fixture(scope="session")
def ec2(cloud: LocalCloud) -> EC2Client:
    return boto3.client("ec2", **client_arguments(cloud))


@pytest.fixture
def queue(sqs: SQSClient) -> str:
    """The URL of a new queue."""
    return sqs.create_queue(QueueName=f"q-{uuid4()}")["QueueUrl"]
