"""The circuit breaker: how much it lets through, and what a look costs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.agent.workers import LAYOUT, Scene

from parallelize_agent.job import fault
from parallelize_core.pause import FIRST
from parallelize_core.result import Cause
from parallelize_core.run import Limits
from parallelize_core.store import ObjectInfo
from parallelize_core.testing import AsyncInMemoryStore

FAILED = fault.failed(Cause.COMMAND, "exit 65", final=True)


def admitted(scene: Scene, *keys: str) -> list[bool]:
    """Return which failures may be recorded for good, asked one after the other."""

    async def run() -> list[bool]:
        await scene.run.refresh()
        breaker = scene.breaker()
        return [await breaker.admit(key, FAILED, "") for key in keys]

    return asyncio.run(run())


def marks(scene: Scene) -> set[str]:
    return {item.key for item in scene.store.list(LAYOUT.failures.prefix)}


def test_a_failure_beyond_the_limit_and_half_of_it_is_handed_back() -> None:
    scene = Scene(limits=Limits(halt="4"))
    assert admitted(scene, *(f"f{number}" for number in range(8))) == [True] * 6 + [False] * 2
    assert marks(scene) == {LAYOUT.failure(f"f{number}") for number in range(6)}
    assert scene.opened


def test_the_run_is_paused_when_the_limit_is_reached_and_not_before() -> None:
    scene = Scene(limits=Limits(halt="4"))
    admitted(scene, "f0", "f1", "f2")
    assert scene.opened == []
    admitted(scene, "f3")
    assert "4 of 100 files have failed" in scene.opened[0]


class CountingStore(AsyncInMemoryStore):
    """Counts what a listing of results has yielded."""

    yielded = 0

    async def list(self, prefix: str, *, folder_only: bool = False) -> AsyncIterator[ObjectInfo]:
        async for item in super().list(prefix, folder_only=folder_only):
            self.yielded += prefix == LAYOUT.results.prefix
            yield item


@pytest.mark.parametrize("halt", [None, "50"])
def test_a_look_costs_the_same_however_many_results_there_are(halt: str | None) -> None:
    scene = Scene(limits=Limits(halt=halt))
    for number in range(2000):
        scene.store.put(LAYOUT.result(f"done{number}"), b"{}")
    scene.records = CountingStore(scene.store)
    assert admitted(scene, *(f"f{number}" for number in range(4))) == [True] * 4
    assert scene.records.yielded <= 10


class MeanwhileStore(AsyncInMemoryStore):
    """While results are about to be listed, one more job ends: first its mark is there."""

    mark = LAYOUT.failure("late")

    async def list(self, prefix: str, *, folder_only: bool = False) -> AsyncIterator[ObjectInfo]:
        if prefix == LAYOUT.results.prefix:
            self.store.put(self.mark, b"")
            self.store.put(LAYOUT.result("late"), b"{}")
        async for item in super().list(prefix, folder_only=folder_only):
            yield item


def test_a_failure_that_is_recorded_during_a_look_is_not_taken_for_a_success() -> None:
    scene = Scene()
    for number in range(FIRST):
        scene.store.put(LAYOUT.failure(f"f{number}"), b"")
        scene.store.put(LAYOUT.result(f"f{number}"), b"{}")
    scene.records = MeanwhileStore(scene.store)
    admitted(scene, "next")
    assert "files have all failed" in scene.opened[0]


def test_a_success_without_output_during_a_look_is_not_taken_for_one_with() -> None:
    scene = Scene(limits=Limits(halt_if_silent=True))
    for number in range(FIRST):
        scene.store.put(LAYOUT.silence(f"f{number}"), b"")
        scene.store.put(LAYOUT.result(f"f{number}"), b"{}")
    scene.records = MeanwhileStore(scene.store)
    scene.records.mark = LAYOUT.silence("late")

    async def run() -> bool:
        await scene.run.refresh()
        return await scene.silence().admit("next", [])

    assert asyncio.run(run())
    assert "produced no output" in scene.opened[0]


def test_failures_from_before_the_run_was_resumed_do_not_pause_it_again() -> None:
    scene = Scene(limits=Limits(halt="4"), forgiven=4)
    for number in range(4):
        scene.store.put(LAYOUT.failure(f"old{number}"), b"")
    assert admitted(scene, "f0", "f1", "f2") == [True] * 3
    assert scene.opened == []
    admitted(scene, "f3")
    assert scene.opened
