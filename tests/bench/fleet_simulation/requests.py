"""The requests of a run: what one job asks for, and what a worker asks for while it lives.

They follow docs/protocol.md; `python -m tests.bench.files_per_job` shows where they are made.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

from tests.bench.fleet_simulation.inputs import Costs, Prices, Scale

from parallelize_agent.job.pipeline import horizon_of, places_ahead
from parallelize_agent.queue.acknowledger import LINGER_SECONDS
from parallelize_agent.queue.leases import MAX_ROUND_SECONDS, LeaseTerms
from parallelize_agent.reporting.segments import INTERVAL_SECONDS
from parallelize_core.config import AgentConfig
from parallelize_core.manifest import PART_ENTRIES
from parallelize_core.queue import BATCH

PAGE = 1000
"""Keys of one page of a listing."""

AGENT = AgentConfig(run="r", bucket="b", queue_url="q", dead_letter_queue_url="d")
TERMS = LeaseTerms(AGENT.lease_seconds)


@dataclass(frozen=True)
class Requests:
    """How many of each kind; `lists` cost as much as `puts`."""

    puts: float = 0
    gets: float = 0
    lists: float = 0
    sqs: float = 0
    metrics: float = 0

    def __add__(self, other: Requests) -> Requests:
        return Requests(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def times(self, factor: float) -> Requests:
        """Return these, times a number."""
        return Requests(*(each * factor for each in astuple(self)))

    @property
    def total(self) -> float:
        """How many there are of all kinds."""
        return float(sum(astuple(self)))

    def usd(self, prices: Prices) -> float:
        """Return what they cost."""
        s3 = (self.puts + self.lists) * prices.put + self.gets * prices.get
        return s3 + self.sqs * prices.sqs + self.metrics * prices.metric_call


def ahead(scale: Scale, costs: Costs) -> int:
    """Return how many jobs a worker holds beyond those that it runs."""
    return places_ahead([scale.job_seconds] * scale.slots, horizon_of(costs.request))


def leaving(scale: Scale, costs: Costs) -> float:
    """Return how many jobs of a worker are stored and acknowledged at a time."""
    per_second = scale.slots / scale.job_seconds
    return per_second * (2 * costs.request + LINGER_SECONDS + costs.sqs_request)


def of_a_job(scale: Scale, costs: Costs) -> Requests:
    """Return what a worker asks for to do one job: input, output, result, and its message."""
    per_second = scale.slots / (scale.job_seconds + costs.overhead)
    received = max(1, min(BATCH, (scale.slots + ahead(scale, costs)) // 2))
    deleted = min(float(BATCH), 1 + per_second * LINGER_SECONDS)
    renewals = math.floor(scale.job_seconds / TERMS.renew_after)
    renewed = max(1.0, min(BATCH, scale.slots * MAX_ROUND_SECONDS / TERMS.renew_after))
    return Requests(puts=2, gets=1, sqs=1 / received + 1 / deleted + renewals / renewed)


def of_a_second(*, metrics: bool = True) -> Requests:
    """Return what a worker asks for in each second of its life, beside its jobs."""
    beat = 1 / AGENT.heartbeat_seconds
    told = beat if metrics else 0
    return Requests(
        puts=beat + 1 / INTERVAL_SECONDS,
        gets=1 / AGENT.run_refresh_seconds + told,
        lists=told,
        metrics=told,
    )


def of_a_drain() -> Requests:
    """Return what a worker asks an empty queue until it believes that it is empty."""
    return Requests(sqs=2 * AGENT.drain.samples)


def of_a_look(jobs: int) -> Requests:
    """Return what it takes to compare manifest and results, and to see that all was sent."""
    parts = math.ceil(jobs / PART_ENTRIES)
    return Requests(lists=math.ceil(jobs / PAGE) + 2, gets=4 * parts)


def of_a_wait(seconds: float) -> Requests:
    """Return what a worker asks for while the leader looks: who leads, and what it has said."""
    looks = math.ceil(seconds / AGENT.drain.interval_seconds)
    return Requests(lists=looks, gets=looks, sqs=2 * looks)


def of_the_client(jobs: int) -> Requests:
    """Return what `prep`, `enqueue` and `download` ask for: a file up, its message, one down."""
    return Requests(puts=jobs * (1 + 1 / PAGE), gets=jobs, sqs=jobs / BATCH)


def look_seconds(jobs: int, costs: Costs) -> float:
    """Return how long one worker takes for its look: one page after the other."""
    asked = of_a_look(jobs)
    return asked.lists * costs.listing + asked.gets * costs.request + 2 * jobs * costs.entry_cpu


def wait_seconds(look: float) -> float:
    """Return how long the others wait for a leader whose look takes so long, on average."""
    longest = AGENT.max_idle_seconds - DRAIN_SECONDS
    return min(look + AGENT.drain.interval_seconds / 2, longest)


DRAIN_SECONDS = AGENT.drain.samples * AGENT.drain.interval_seconds
"""How long a worker without work asks before it believes that there is none."""
