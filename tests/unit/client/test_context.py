"""What the local cloud changes in the settings, and what counts as AWS."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from parallelize.context import Context, with_local_image
from parallelize.region import custom_endpoint, endpoint_banner
from parallelize.settings import Resolved, resolve


def resolved(ami: str, cwd: Path) -> Resolved:
    return resolve({"workers.ami": ami}, {}, cwd)


@pytest.mark.parametrize("ami", ["stock", "stock:ubuntu"])
def test_a_run_for_a_vendors_plain_image_can_be_rehearsed_in_the_local_cloud(
    ami: str, tmp_path: Path
) -> None:
    found = with_local_image(resolved(ami, tmp_path))
    assert found.settings.workers.ami == "auto"
    assert found.source("workers.ami") == "the local cloud"


@pytest.mark.parametrize("ami", ["auto", "ami-0123456789abcdef0", "stockholm"])
def test_any_other_image_stays_what_was_asked_for(ami: str, tmp_path: Path) -> None:
    given = resolved(ami, tmp_path)
    assert with_local_image(given) == given


@pytest.mark.parametrize(
    ("endpoint", "ours"),
    [
        ("http://127.0.0.1:4566", True),
        ("https://s3.example.org", True),
        ("https://amazonaws.com.example.org", True),
        ("https://bucket.vpce-0a1b2c3d-4e5f.s3.eu-west-1.vpce.amazonaws.com", False),
        ("https://s3.eu-west-1.amazonaws.com", False),
        ("https://s3.cn-north-1.amazonaws.com.cn", False),
        ("", False),
    ],
)
def test_an_endpoint_of_awss_own_is_not_taken_for_another_service(
    endpoint: str, *, ours: bool
) -> None:
    environ = {"AWS_ENDPOINT_URL_S3": endpoint}
    assert (custom_endpoint(environ) is not None) is ours
    assert bool(endpoint_banner(environ)) is ours


@pytest.mark.parametrize(
    ("variable", "free"),
    [("AWS_ENDPOINT_URL_S3", False), ("AWS_ENDPOINT_URL_EC2", True), ("AWS_ENDPOINT_URL", True)],
)
def test_machines_are_free_where_ec2_is_not_awss_whatever_stores_the_files(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, free: bool
) -> None:
    monkeypatch.setenv(variable, "https://store.example.org")
    assert Context(resolved("auto", tmp_path), "scans").is_free is free


HERE, THERE = "http://127.0.0.1:1", "http://127.0.0.1:2"


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"AWS_ENDPOINT_URL": HERE}, HERE),
        ({"AWS_ENDPOINT_URL_EC2": HERE}, HERE),
        ({"AWS_ENDPOINT_URL_EC2": HERE, "AWS_ENDPOINT_URL": THERE}, HERE),
        ({"AWS_ENDPOINT_URL_S3": HERE}, None),
        ({"AWS_ENDPOINT_URL": HERE, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, None),
        ({"AWS_ENDPOINT_URL": HERE, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"}, HERE),
    ],
)
def test_the_endpoint_of_a_service_is_the_one_that_the_sdk_goes_to(
    environ: dict[str, str], found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    used = boto3.Session(region_name="eu-west-1").client("ec2").meta.endpoint_url
    assert custom_endpoint(environ, "EC2") == found
    assert used == (found or "https://ec2.eu-west-1.amazonaws.com")


def test_each_endpoint_that_is_not_awss_has_a_line_of_its_own() -> None:
    environ = {
        "AWS_ENDPOINT_URL_S3": HERE, "AWS_ENDPOINT_URL_AUTO_SCALING": f"{THERE}/\x1b[31m",
        "AWS_ENDPOINT_URL_SQS": "https://sqs.eu-west-1.amazonaws.com", "AWS_REGION": "eu-west-1",
    }  # fmt: skip
    assert endpoint_banner(environ) == [
        f"note: not AWS: AWS_ENDPOINT_URL_AUTO_SCALING={THERE}/\\x1b[31m",
        f"note: not AWS: AWS_ENDPOINT_URL_S3={HERE}",
    ]
    assert endpoint_banner({**environ, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "TRUE"}) == []
