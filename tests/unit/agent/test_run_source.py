"""A worker's first look at its run, which may not have been recorded yet."""

from __future__ import annotations

import asyncio
import math

import pytest

from parallelize_agent.job.run_source import RunSource
from parallelize_core.config import AgentConfig
from parallelize_core.errors import MissingError
from parallelize_core.layout import Location, RunLayout
from parallelize_core.run import Run
from parallelize_core.testing import AsyncInMemoryStore, InMemoryStore

LAYOUT = RunLayout(Location("bucket"), "scans")
RUN = Run(
    name="scans", command=("./job.sh",), input=LAYOUT.input, output=LAYOUT.output,
    created_at="2027-01-15T08:00:00Z",
)  # fmt: skip


class LateStore(InMemoryStore):
    """A bucket in which the run's record appears at the third look."""

    looks = 3

    def get(self, key: str) -> bytes:
        self.looks -= 1
        if not self.looks:
            self.put(LAYOUT.run_json, RUN.encode())
        return super().get(key)


def config(seconds: float) -> AgentConfig:
    return AgentConfig(
        run="scans", bucket="bucket", queue_url="q", dead_letter_queue_url="d",
        run_within_seconds=seconds,
    )  # fmt: skip


def first(store: InMemoryStore, seconds: float) -> Run:
    source = RunSource(AsyncInMemoryStore(store), LAYOUT, math.inf)
    return asyncio.run(source.first(config(seconds)))


def test_a_worker_that_was_launched_ahead_waits_for_the_record_of_its_run() -> None:
    assert first(LateStore(), 3600) == RUN


def test_a_worker_that_was_not_launched_ahead_does_not_wait() -> None:
    store = LateStore()
    with pytest.raises(MissingError):
        first(store, 0)
    assert store.looks == 2


def test_a_worker_gives_up_on_a_run_that_is_never_recorded() -> None:
    with pytest.raises(MissingError):
        first(InMemoryStore(), 0.1)
