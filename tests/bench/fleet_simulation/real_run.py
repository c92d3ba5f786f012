"""A small run, simulated, and measured with real agents on the small cloud of the benches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from tests.bench.engine.bench_run import BenchRun
from tests.bench.engine.worker_process import AGENT, worker
from tests.bench.fleet_simulation.fleet import simulate
from tests.bench.fleet_simulation.inputs import HOUR, Inputs, Limits, Prices, Scale
from tests.bench.fleet_simulation.requests import Requests, of_a_job, of_a_second
from tests.bench.small_cloud.process import small_cloud

COMMAND = "#!/bin/sh\nsleep {seconds}\necho done > out.txt\necho out.txt\n"
KINDS: Mapping[str, tuple[str, ...]] = {
    "puts": ("PutObject",),
    "gets": ("GetObject", "HeadObject"),
    "lists": ("ListObjectsV2",),
    "sqs": (
        "ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch",
        "SendMessageBatch", "GetQueueAttributes",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Small:
    """What a small run came to: seconds from the first receive to the last delete, requests."""

    makespan: float
    requests: Requests


def simulated(scale: Scale, inputs: Inputs) -> Small:
    """Return what the simulation says of workers that are there already, and are left alone."""
    here = replace(
        inputs,
        costs=replace(inputs.costs, boot=0.0, isolation=0.0, sqs_request=inputs.costs.request),
        limits=Limits(launch_burst=scale.workers, interruptions_per_hour=0.0),
    )
    told = simulate(scale, here)
    jobs = of_a_job(scale, here.costs).times(scale.jobs)
    beside = of_a_second(metrics=False).times(scale.workers * told.makespan)
    return Small(told.makespan, jobs + beside)


def measured(scale: Scale, delay_seconds: float) -> Small:
    """Let real agents do the jobs; each request takes `delay_seconds`."""
    with small_cloud() as cloud, ExitStack() as stack:
        run = BenchRun.make(cloud, COMMAND.format(seconds=scale.job_seconds))
        cloud.delay(delay_seconds)
        config = run.config(scale.slots)
        agents = [
            stack.enter_context(worker(run, AGENT, config, None)) for _ in range(scale.workers)
        ]
        for number, agent in enumerate(agents, 1):
            agent.wait_for(lambda number=number: polls(cloud.stats()) >= number)  # type: ignore[misc]
        cloud.forget()
        run.add(scale.jobs)
        agents[0].wait_for(lambda: agents[0].done() >= scale.jobs)
        stats = cloud.stats()
        agents[0].check_success()
    queue = stats["queues"][run.name]
    span = queue["last_deleted_at"] - queue["first_received_at"]
    return Small(span, counted(stats["calls"]))


def polls(stats: Any) -> int:
    """Return how often messages were asked for."""
    return int(stats["calls"].get("ReceiveMessage", {"count": 0})["count"])


def counted(calls: Mapping[str, Mapping[str, float]]) -> Requests:
    """Return calls by operation as requests by kind; raise KeyError for one of no kind."""
    kinds = {operation: kind for kind, operations in KINDS.items() for operation in operations}
    counts = dict.fromkeys(KINDS, 0.0)
    for operation, call in calls.items():
        counts[kinds[operation]] += call["count"]
    return Requests(**counts)


@dataclass(frozen=True)
class Compared:
    """One figure: as it was simulated, and as it was measured."""

    name: str
    simulated: float
    measured: float

    @property
    def ratio(self) -> float:
        """How many times as much was measured as was simulated; infinite if none was simulated."""
        return self.measured / self.simulated if self.simulated else math.inf

    @property
    def line(self) -> str:
        """The figure in a line."""
        return (
            f"{self.name:32} {self.simulated:12.4g} {self.measured:12.4g} {self.ratio:8.2f} times"
        )


def compared(scale: Scale, ours: Small, theirs: Small, prices: Prices) -> Iterator[Compared]:
    """Go through the figures of a run that was simulated (`ours`) and measured (`theirs`)."""
    yield Compared("makespan, s", ours.makespan, theirs.makespan)
    for kind in KINDS:
        counts = [getattr(run.requests, kind) / scale.jobs for run in (ours, theirs)]
        if any(counts):
            yield Compared(f"{kind} a job", *counts)
    totals = [run.requests.total / scale.jobs for run in (ours, theirs)]
    yield Compared("requests a job", *totals)
    costs = [run.requests.usd(prices) / scale.jobs * 1e6 for run in (ours, theirs)]
    yield Compared("requests, $ a million jobs", *costs)
    hours = [scale.workers * run.makespan / HOUR for run in (ours, theirs)]
    dollars = [each * prices.machine_hour / scale.jobs * 1e6 for each in hours]
    yield Compared("machines, $ a million jobs", *dollars)
