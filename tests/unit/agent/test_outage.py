"""What is an outage of a service, and what only the failure of one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from parallelize_agent.queue.outage import Outage
from parallelize_core.errors import MissingError, ThrottledError, UnavailableError


class Service:
    """A service that fails `failures` times with an error, and answers after that."""

    def __init__(self, error: Exception, failures: int = 1) -> None:
        self.error = error
        self.failures = failures
        self.probes = 0

    async def call(self) -> str:
        if self.failures:
            self.failures -= 1
            raise self.error
        return "done"

    async def serves(self) -> None:
        self.probes += 1

    async def fails_once(self) -> None:
        self.probes += 1
        if self.probes == 1:
            raise UnavailableError("all of it is away")


def outlast(service: Service, probe: Callable[[], Awaitable[None]]) -> tuple[str, Outage]:
    async def run() -> tuple[str, Outage]:
        outage = Outage("S3", probe)
        async with asyncio.timeout(5):
            return await outage.outlast(service.call), outage

    return asyncio.run(run())


def test_a_call_that_fails_alone_is_no_outage() -> None:
    service = Service(UnavailableError("this object breaks off"))
    with pytest.raises(UnavailableError, match="this object"):
        outlast(service, service.serves)
    assert service.probes == 1


def test_a_call_that_met_an_outage_is_made_again_when_that_is_over() -> None:
    service = Service(UnavailableError("S3 does not answer"))
    answer, outage = outlast(service, service.fails_once)
    assert answer == "done"
    assert not outage.lasts


def test_a_service_that_throttles_is_not_asked_whether_it_serves_others() -> None:
    service = Service(ThrottledError("slow down"))
    answer, _ = outlast(service, service.serves)
    assert answer == "done"
    assert service.probes == 1, "only to see when it is over"


def test_a_refusal_is_no_outage() -> None:
    service = Service(MissingError("there is no such object"))
    with pytest.raises(MissingError):
        outlast(service, service.serves)
    assert service.probes == 0
