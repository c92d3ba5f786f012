"""A run of many workers as events, in cohorts.

A cohort is workers that came at one time. One event is the end of a batch: each slot of a cohort
has done the same number of jobs, one after the other. A batch is a fiftieth of what is left, so
batches shrink to one job a slot at the end, and 100 million jobs are some ten thousand events.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.bench.fleet_simulation import outcome
from tests.bench.fleet_simulation.inputs import HOUR, Inputs, Scale
from tests.bench.fleet_simulation.meters import Partitions
from tests.bench.fleet_simulation.outcome import Outcome
from tests.bench.fleet_simulation.requests import (
    DRAIN_SECONDS,
    ahead,
    leaving,
    look_seconds,
    of_a_drain,
    of_a_job,
    of_a_look,
    of_a_second,
    of_a_wait,
    of_the_client,
    wait_seconds,
)

COHORTS = 64
GRAIN = 50
BATCH_SECONDS = 60.0
MOST_BATCHES = 500
SHARE_THAT_COUNTS = 0.02
"""A limit that costs the slots less than this share of their time is not met."""


@dataclass
class Cohort:
    """Workers that began to receive at `since`, `late` by EC2's doing; the rest is their batch."""

    workers: int
    since: float
    late: float = 0.0
    jobs: int = 0
    begun: float = 0.0
    busy: float = 0.0
    running: float = 1.0
    """The share of the batch's time in which commands run, and do not wait for S3."""
    held: int = 0


def simulate(scale: Scale, inputs: Inputs, seed: int = 0) -> Outcome:
    """Let a fleet do its jobs; the same seed gives the same run."""
    fleet = Fleet(scale, inputs, random.Random(seed))
    fleet.run()
    return fleet.outcome()


def arrivals(workers: int, inputs: Inputs) -> Iterator[Cohort]:
    """Go through the workers as they come: as many as EC2 has tokens for, then one by one."""
    limits = inputs.limits
    size = math.ceil(workers / COHORTS)
    for first in range(0, workers, size):
        last = min(first + size, workers)
        late = max(0, last - limits.launch_burst) / limits.launches_per_second
        yield Cohort(last - first, inputs.costs.boot + late, late)


def poisson(source: random.Random, mean: float) -> int:
    """Return how many of many rare things happen."""
    if mean > 50:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    count, product, least = 0, source.random(), math.exp(-mean)
    while product > least:
        count += 1
        product *= source.random()
    return count


@dataclass
class Fleet:
    """The state of a run: its queue, its workers, its services."""

    scale: Scale
    inputs: Inputs
    random: random.Random
    done: int = 0
    repeated: int = 0
    alive: int = 0
    in_flight: int = 0
    peak: int = 0
    last: float = 0.0
    worker_seconds: float = 0.0
    slot_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    met: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limits, design = self.inputs.limits, self.inputs.design
        self.most_in_flight = limits.in_flight * design.queues
        self.pending = self.scale.jobs
        self.under_way = 0
        # Outputs and results are two places of the bucket for each place of the manifest.
        self.writes = Partitions(
            limits.partition_writes, places=2 * design.spread, split_seconds=limits.split_seconds
        )
        self.reads = Partitions(
            limits.partition_reads, places=design.spread, split_seconds=limits.split_seconds
        )
        self.ahead = ahead(self.scale, self.inputs.costs)
        self.leaving = leaving(self.scale, self.inputs.costs)
        self.events: list[tuple[float, int, Cohort]] = []
        self.coming: list[tuple[float, int]] = []
        self.idle: list[Cohort] = []
        self.pushed = 0
        for cohort in arrivals(self.scale.workers, self.inputs):
            self._arrive(cohort)

    def run(self) -> None:
        """Go through the events until there is nothing left to do, or nobody to do it."""
        while self.events:
            at, _, cohort = heapq.heappop(self.events)
            while self.coming and self.coming[0][0] <= at:
                self.alive += heapq.heappop(self.coming)[1]
            self._settle(at, cohort)
            if cohort.workers and self._gives:
                self._begin(at, cohort)
            elif cohort.workers:
                self.idle.append(cohort)
            self._wake(at)
            assert self.done + self.pending + self.under_way == self.scale.jobs

    def _arrive(self, cohort: Cohort) -> None:
        heapq.heappush(self.coming, (cohort.since, cohort.workers))
        self._push(cohort.since, cohort)

    def _push(self, at: float, cohort: Cohort) -> None:
        heapq.heappush(self.events, (at, self.pushed, cohort))
        self.pushed += 1

    @property
    def _gives(self) -> bool:
        """Whether the queue gives out messages now."""
        return self.pending > 0 and self.in_flight < self.most_in_flight

    def _wake(self, at: float) -> None:
        """Let workers that were given nothing have what there is meanwhile."""
        while self._gives and self.idle:
            self._push(at, self.idle.pop())

    def _begin(self, at: float, cohort: Cohort) -> None:
        """Let a cohort receive a batch, and put its end among the events."""
        free = self.most_in_flight - self.in_flight
        held, busy = self._places(at)
        cycle = self._cycle(held)
        most = max(BATCH_SECONDS / cycle, self.scale.jobs / (self.alive * busy * MOST_BATCHES))
        rounds = min(self.pending / (self.alive * busy * GRAIN), most)
        places = max(1, min(int(cohort.workers * busy), free))
        cohort.jobs = min(self.pending, places * max(1, int(rounds)))
        until = at + math.ceil(cohort.jobs / places) * cycle
        cohort.begun, cohort.busy = at, busy
        cohort.held = min(cohort.jobs, free, math.ceil(cohort.workers * held))
        self.pending -= cohort.jobs
        self.under_way += cohort.jobs
        self.in_flight += cohort.held
        self.peak = max(self.peak, self.in_flight)
        self._account(cohort, until - at)
        end = self._served(at, until, cohort)
        cohort.running = (until - at) / (end - at)
        self._push(end, cohort)

    def _places(self, at: float) -> tuple[float, float]:
        """Return how many jobs a worker may hold, and how many it can run."""
        wanted = self.scale.slots + self.ahead + self.leaving
        held = min(wanted, self.most_in_flight / self.alive)
        needed = self.scale.slots + self.leaving
        if held < needed:
            self.met.setdefault(outcome.IN_FLIGHT, at)
        return held, self.scale.slots * min(1.0, held / needed)

    def _cycle(self, held: float) -> float:
        """Return how long a slot takes for a job; what was not fetched ahead is waited for."""
        costs = self.inputs.costs
        fetched = self.ahead and held >= self.scale.slots + self.ahead
        wait = 0.0 if fetched else costs.sqs_request + costs.request
        return self.scale.job_seconds + costs.overhead + wait

    def _served(self, at: float, until: float, cohort: Cohort) -> float:
        """Return when S3 has served a batch, if that is later than `until`."""
        read = self.reads.take(at, until, cohort.jobs)
        written = self.writes.take(at, until, 2 * cohort.jobs)
        end = max(read, written)
        if end > until:
            name = outcome.READS if read > written else outcome.WRITES
            self.met.setdefault(name, at)
            self.slot_seconds[name] += (end - until) * cohort.workers * cohort.busy
        return end

    def _account(self, cohort: Cohort, seconds: float) -> None:
        """Write down where the slots' time goes in a batch that nothing delays."""
        slots = cohort.workers * self.scale.slots
        commands = cohort.jobs * self.scale.job_seconds
        idle = (self.scale.slots - cohort.busy) * cohort.workers * seconds
        self.slot_seconds[outcome.COMMANDS] += commands
        self.slot_seconds[outcome.IN_FLIGHT] += idle
        self.slot_seconds[outcome.AGENT] += max(0.0, slots * seconds - commands - idle)

    def _settle(self, at: float, cohort: Cohort) -> None:
        """Take the results of a cohort's batch, and the machines that were interrupted in it."""
        if self.alive * of_a_second().metrics > self.inputs.limits.metric_calls:
            self.met.setdefault(outcome.METRICS, at)
        if not cohort.jobs:
            return
        hours = cohort.workers * (at - cohort.begun) / HOUR
        mean = hours * self.inputs.limits.interruptions_per_hour
        lost = min(cohort.workers, poisson(self.random, mean))
        # The notice leaves time for short jobs; longer ones are handed back, and begin again.
        handed_back = self.scale.job_seconds > self.inputs.costs.notice
        running = math.ceil(lost * cohort.busy * cohort.running)
        again = min(cohort.jobs, running) if handed_back else 0
        self.done += cohort.jobs - again
        self.pending += again
        self.repeated += again
        self.under_way -= cohort.jobs
        self.in_flight -= cohort.held
        self.last = max(self.last, at)
        cohort.jobs = cohort.held = 0
        self._lose(at, cohort, lost)

    def _lose(self, at: float, cohort: Cohort, lost: int) -> None:
        cohort.workers -= lost
        self.alive -= lost
        self.worker_seconds += lost * (at - cohort.since + self.inputs.costs.boot)
        if lost and self.inputs.replaced:
            self._arrive(Cohort(lost, at + self.inputs.costs.boot))

    def outcome(self) -> Outcome:
        """Return what became of the run, after its workers have left."""
        costs, prices, jobs = self.inputs.costs, self.inputs.prices, self.scale.jobs
        makespan = self.last + 2 * costs.request
        lookers = self.alive if self.inputs.design.all_look else min(1, self.alive)
        look = self._look(makespan, lookers)
        wait = look if self.inputs.design.all_look else wait_seconds(look)
        self._pay(makespan, wait)
        self.worker_seconds += lookers * (look - wait)
        requests = (
            of_a_job(self.scale, costs).times(self.done + self.repeated)
            + of_a_second().times(self.worker_seconds)
            + of_a_drain().times(self.alive)
            + of_a_look(jobs).times(lookers)
            + of_a_wait(wait).times(self.alive - lookers)
            + of_the_client(jobs)
        )
        return Outcome(
            scale=self.scale,
            done=self.done,
            left=self.pending,
            repeated=self.repeated,
            enqueue=jobs * costs.enqueue_cpu,
            makespan=makespan,
            gone=makespan + DRAIN_SECONDS + max(look, wait if self.alive > lookers else 0),
            worker_seconds=self.worker_seconds,
            peak_in_flight=self.peak,
            partitions=max(self.writes.partitions, self.reads.partitions),
            requests=requests,
            requests_usd=requests.usd(prices),
            machine_usd=self.worker_seconds / HOUR * prices.machine_hour,
            slot_seconds=dict(self.slot_seconds),
            bound=self._bound(),
        )

    def _look(self, at: float, lookers: int) -> float:
        """Return how long a look takes: one page after the other, and as fast as S3 answers all."""
        costs, jobs, limits = self.inputs.costs, self.scale.jobs, self.inputs.limits
        alone = look_seconds(jobs, costs)
        others = (lookers - 1) * of_a_look(jobs).lists / limits.partition_reads
        together = alone if lookers == 1 else max(alone, others)
        if together > alone:
            self.met[outcome.LOOK_READS] = at
        if jobs * costs.key_bytes > costs.memory:
            self.met[outcome.LOOK_MEMORY] = at
        if at > limits.retention:
            self.met[outcome.RETENTION] = limits.retention
        return together

    def _pay(self, makespan: float, wait: float) -> None:
        """Count the time of the workers that are there at the end, and what came before work."""
        boot, slots = self.inputs.costs.boot, self.scale.slots
        for cohort in self.idle:
            end = max(makespan, cohort.since) + DRAIN_SECONDS + wait
            self.worker_seconds += cohort.workers * (end - cohort.since + boot)
            late = min(makespan, cohort.late)
            self.slot_seconds[outcome.BOOT] += boot * cohort.workers * slots
            self.slot_seconds[outcome.LAUNCH] += late * cohort.workers * slots
            if late:
                self.met.setdefault(outcome.LAUNCH, boot)

    def _bound(self) -> dict[str, float]:
        whole = sum(self.slot_seconds.values())
        return {
            name: at
            for name, at in self.met.items()
            if self.slot_seconds.get(name, whole) >= SHARE_THAT_COUNTS * whole
        }
