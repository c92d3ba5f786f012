"""What the local cloud changes in the settings, and what counts as AWS."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallelize.context import Context, custom_endpoint, endpoint_banner, with_local_image
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
