"""What the probe of a service says is never taken for what S3 says of one file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.injector import ODD, OF_THE_TREE

from parallelize_agent.queue.outage import Outage
from parallelize_core.errors import RefusedError, UnavailableError
from parallelize_core.store import ObjectInfo
from parallelize_core.testing import InMemoryStore


@pytest.mark.parametrize("error", [*OF_THE_TREE[2:], *ODD], ids=repr)
def test_a_call_fails_with_its_own_error_whatever_the_probe_raises(error: Exception) -> None:
    async def unavailable() -> None:
        raise UnavailableError("this object cannot be read now")

    async def probe() -> None:
        raise error

    async def call() -> None:
        await Outage("S3", probe).outlast(unavailable)

    with pytest.raises(UnavailableError, match="this object"):
        asyncio.run(asyncio.wait_for(call(), 5))


class UnwillingStore(InMemoryStore):
    """Fails to give an input a few times, and meanwhile refuses to describe run.json."""

    failures = 0

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        if key.endswith("/x") and self.failures < 3:
            self.failures += 1
            raise UnavailableError("it breaks off")
        return super().get_file(key, path, etag)

    def head(self, key: str) -> ObjectInfo | None:
        if key.endswith("run.json") and self.failures:
            raise RefusedError("run.json is refused")
        return super().head(key)


def test_a_probe_that_is_refused_is_not_charged_to_the_input(make: MakeBench) -> None:
    bench = make("true", store=UnwillingStore())
    bench.add({"x": b"abc"})
    bench.run()
    assert bench.result("x").status == "succeeded"
