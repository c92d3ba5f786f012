"""The endpoint that stands for AWS: the one in CONFORMANCE_ENDPOINT, else the local cloud's."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from parallelize.local.cloud import local_cloud


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    if given := os.environ.get("CONFORMANCE_ENDPOINT"):
        yield given
        return
    with local_cloud() as cloud:
        yield cloud.endpoint
