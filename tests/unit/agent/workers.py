"""Other workers of a run, as their heartbeats show them, and what this one makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable

from parallelize_agent.job.judge import Judge
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.queue.lanes import one_lane
from parallelize_agent.reporting.circuit_breaker import CircuitBreaker
from parallelize_agent.reporting.fitness import Fitness
from parallelize_agent.reporting.pauser import Pauser
from parallelize_agent.reporting.peers import Peers
from parallelize_agent.reporting.silence import SilenceBreaker
from parallelize_core.clock import boot_seconds
from parallelize_core.errors import ServiceError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Entry, encode_part
from parallelize_core.run import Limits, Run
from parallelize_core.testing import AsyncInMemoryQueue, AsyncInMemoryStore, InMemoryStore

NOW = 10_000.0
LAYOUT = RunLayout(Location("bucket"), "r")


def beat(
    worker: str,
    *,
    done: int = 0,
    failed_in_row: int = 0,
    unfit: bool = False,
    running: tuple[str, ...] = (),
) -> Heartbeat:
    return Heartbeat(
        worker=worker, state=WorkerState.BUSY, started=0, seen=NOW, interval_seconds=30,
        done=done, failed_in_row=failed_in_row, unfit=unfit, running=running,
    )  # fmt: skip


class Scene:
    """A run of `files` with the limits and the other workers that a test gives it.

    Its parts belong to one event loop.
    """

    def __init__(
        self,
        *others: Heartbeat,
        limits: Limits | None = None,
        files: int = 100,
        forgiven: int = 0,
    ) -> None:
        self.store = InMemoryStore()
        for other in others:
            self.store.put(LAYOUT.heartbeat(other.worker), other.encode())
        run = Run(
            name="r", command=("c",), input=LAYOUT.input, output=LAYOUT.output,
            created_at="2026-01-01T00:00:00Z", limits=limits or Limits(), forgiven=forgiven,
        )  # fmt: skip
        self.store.put(LAYOUT.run_json, run.encode())
        entries = [Entry(key=f"f{number}", size=0, etag="") for number in range(files)]
        self.store.put(LAYOUT.manifest_part(0), encode_part(entries))
        self.records = AsyncInMemoryStore(self.store)
        self.unfit: list[ServiceError] = []
        self.opened: list[str] = []
        self.peers = Peers(self.records, LAYOUT, "w1", lambda: NOW)
        self.run = RunSource(self.records, LAYOUT, math.inf)
        self.queue = AsyncInMemoryQueue()
        self.queue.queue.send(["one that waits"] * 100)
        self.lanes = one_lane(self.queue)

    def fitness(self, max_unfit: int = 10, clock: Callable[[], float] = boot_seconds) -> Fitness:
        return Fitness(self.peers, max_unfit, self.unfit.append, clock=clock)

    def pauser(self) -> Pauser:
        return Pauser(LAYOUT, self.store, self.lanes, self.run, lambda: 1, self.opened.append)

    def breaker(self) -> CircuitBreaker:
        return CircuitBreaker(LAYOUT, self.records, self.run, self.peers, self.pauser())

    def silence(self) -> SilenceBreaker:
        return SilenceBreaker(LAYOUT, self.records, self.pauser())

    async def judge(self) -> Judge:
        await self.run.refresh()
        breakers = self.breaker(), self.silence()
        return Judge("w1", self.run, self.peers, self.fitness(), *breakers, self.lanes)
