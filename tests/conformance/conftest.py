"""The endpoint that stands for AWS: the one in CONFORMANCE_ENDPOINT, else the local cloud's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.other_server import other_server

from parallelize.local.cloud import local_cloud


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[str, str]]:
    """Where it is, and the secret key that it takes."""
    if given := other_server():
        yield given, "test"
        return
    with local_cloud() as cloud:
        yield cloud.endpoint, cloud.state.secret


@pytest.fixture(scope="session")
def endpoint(server: tuple[str, str]) -> str:
    return server[0]


@pytest.fixture(scope="session")
def secret(server: tuple[str, str]) -> str:
    return server[1]
