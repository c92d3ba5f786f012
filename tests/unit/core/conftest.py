"""Clients that reach nothing: botocore's Stubber answers in AWS's stead."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from botocore.stub import Stubber

from parallelize_core.clients import Clients


@pytest.fixture
def clients() -> Clients:
    """Clients of a made-up account."""
    session = boto3.Session("testing", "testing", region_name="eu-west-1")
    return Clients.make(session)


@pytest.fixture
def s3(clients: Clients) -> Iterator[Stubber]:
    """What S3 will answer; every answer must be asked for."""
    with Stubber(clients.s3) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def sqs(clients: Clients) -> Iterator[Stubber]:
    """What SQS will answer; every answer must be asked for."""
    with Stubber(clients.sqs) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()
