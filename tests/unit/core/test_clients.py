"""Which region and endpoint the clients use."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from parallelize_core.clients import READ_TIMEOUT_SECONDS, Clients, make_session
from parallelize_core.config import AgentConfig
from parallelize_core.transport.endpoints import region_from

EVERY_VARIABLE = {
    "PARALLELIZE_REGION": "eu-west-1",
    "AWS_REGION": "eu-west-2",
    "AWS_DEFAULT_REGION": "eu-west-3",
}


@pytest.mark.parametrize("missing", range(3))
def test_the_first_variable_in_the_order_wins(missing: int) -> None:
    left = dict([*EVERY_VARIABLE.items()][missing:])
    name, region = next(iter(left.items()))
    assert region_from(left) == (region, name)


def test_an_empty_variable_says_nothing() -> None:
    environ = {"PARALLELIZE_REGION": "", "AWS_REGION": "eu-west-2"}
    assert region_from(environ) == ("eu-west-2", "AWS_REGION")
    assert region_from({}) is None


def test_a_region_that_is_given_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert make_session("us-east-1").region_name == "us-east-1"
    assert make_session().region_name == "eu-west-2"


def test_a_region_of_the_environment_wins_over_the_profiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[profile lab]\nregion = us-west-2\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert make_session(profile="lab").region_name == "us-west-2"
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert make_session(profile="lab").region_name == "eu-west-2"


@pytest.mark.parametrize(
    ("variable", "services"),
    [("AWS_ENDPOINT_URL", {"s3", "sqs"}), ("AWS_ENDPOINT_URL_SQS", {"sqs"})],
)
def test_standard_variables_lead_to_another_endpoint(
    monkeypatch: pytest.MonkeyPatch, variable: str, services: set[str]
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    clients = Clients.make(boto3.Session(region_name="eu-west-1"))
    found = {"s3": clients.s3.meta.endpoint_url, "sqs": clients.sqs.meta.endpoint_url}
    assert {name for name, url in found.items() if url == "http://127.0.0.1:9"} == services


def test_an_answer_may_take_longer_than_the_longest_poll() -> None:
    poll = AgentConfig.model_fields["poll_seconds"].metadata
    longest = max(getattr(limit, "le", 0) for limit in poll)
    assert longest < READ_TIMEOUT_SECONDS
