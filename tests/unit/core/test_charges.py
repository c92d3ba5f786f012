"""What is charged beside machines, and what of it a process has asked for."""

from __future__ import annotations

from io import BytesIO

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from urllib3 import HTTPResponse

from parallelize_core.charges import Rates, charges
from parallelize_core.clients import RequestCounts
from parallelize_core.config import AgentConfig

RATES = Rates(
    address_hour=0.005, disk_hour=0.0055, metrics_hour=0.0025, s3_write=5e-6, s3_read=4e-7,
    sqs=4e-7, metrics_call=1e-5, log_gb=0.5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("method", "query", "writes", "reads"),
    [
        ("PUT", "", 1, 0),
        ("PUT", "partNumber=1&uploadId=u", 1, 0),
        ("POST", "uploads=", 1, 0),
        ("GET", "", 0, 1),
        ("HEAD", "", 0, 1),
        ("GET", "list-type=2&prefix=runs%2F", 1, 0),
        ("DELETE", "", 0, 0),
        ("POST", "delete=", 0, 0),
    ],
)
def test_a_request_to_s3_is_counted_as_s3_charges_for_it(method, query, writes, reads):
    counts = RequestCounts()
    counts.count("s3", method, query, 0)
    assert (counts.s3_writes, counts.s3_reads) == (writes, reads)


@pytest.mark.parametrize(("size", "charged"), [(0, 1), (65_535, 1), (65_536, 2), (200_000, 4)])
def test_a_request_to_sqs_is_charged_by_chunks_of_64_kib(size, charged):
    counts = RequestCounts()
    counts.count("sqs", "POST", "", size)
    assert counts.sqs == charged


def test_a_worker_is_charged_for_address_disk_requests_metrics_and_log():
    counts = RequestCounts(s3_writes=1000, s3_reads=1000, sqs=500, metrics=120, log_bytes=2 * 10**8)
    found = charges(RATES, counts, 2.0, has_address=True)
    assert found.address_usd == pytest.approx(0.010)
    assert found.disk_usd == pytest.approx(0.011)
    assert found.requests_usd == pytest.approx(0.005 + 0.0004 + 0.0002)
    assert found.monitoring_usd == pytest.approx(0.0012 + 0.1)
    assert found.total == pytest.approx(0.1278)


def test_a_worker_without_a_public_address_pays_for_none():
    assert charges(RATES, RequestCounts(), 2.0, has_address=False).address_usd == 0


def test_a_million_tiny_files_cost_what_their_requests_cost():
    """Two writes, three reads and half a call of SQS a file, as a worker makes them."""
    million = RequestCounts(s3_writes=2_000_000, s3_reads=3_000_000, sqs=500_000)
    assert charges(RATES, million, 0.0, has_address=True).total == pytest.approx(11.4)


def test_rates_come_through_the_configuration():
    config = AgentConfig(
        run="r", bucket="b", queue_url="q", dead_letter_queue_url="d", rates=RATES
    )  # fmt: skip
    assert AgentConfig.decode(config.encode(), "user data").rates == RATES


@pytest.fixture(params=["boto3", "botocore"])
def make_client(request):
    """Make clients whose requests reach nobody, and watch them."""

    def make(service, counts):
        if request.param == "boto3":
            made = boto3.Session("a", "b", region_name="eu-west-1").client
        else:
            session = botocore.session.Session()
            session.set_credentials("a", "b")
            session.set_config_variable("region", "eu-west-1")
            made = session.create_client
        client = made(service)
        counts.watch(client)

        def reply(request, **_):
            return AWSResponse(request.url, 200, {}, HTTPResponse(BytesIO(), preload_content=False))

        client.meta.events.register("before-send", reply)
        return client

    return make


def test_what_boto3_sends_is_counted_by_service(make_client):
    counts = RequestCounts()
    make_client("s3", counts).put_object(Bucket="b", Key="k", Body=b"x")
    make_client("s3", counts).head_object(Bucket="b", Key="k")
    make_client("logs", counts).put_log_events(
        logGroupName="g", logStreamName="s", logEvents=[{"timestamp": 1, "message": "x" * 500}]
    )
    assert (counts.s3_writes, counts.s3_reads) == (1, 1)
    assert 500 < counts.log_bytes < 800
