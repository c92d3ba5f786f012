"""The endpoint that stands for AWS: the one in CONFORMANCE_ENDPOINT, else the local cloud's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.other_server import other_server

from parallelize.local.cloud import local_cloud


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    if given := other_server():
        yield given
        return
    with local_cloud() as cloud:
        yield cloud.endpoint
