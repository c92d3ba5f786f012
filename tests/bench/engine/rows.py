"""The rows of the table. Each is measured in rounds; what is compared is measured in turn."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tests.bench.engine import peers
from tests.bench.engine.bench_run import BenchRun
from tests.bench.engine.figures import Figure
from tests.bench.engine.isolation import measure_isolation, why_not_isolated
from tests.bench.engine.measures import (
    NO_OP,
    Cores,
    Makespan,
    Rate,
    measure_lines,
    measure_makespan,
    measure_memory,
    measure_rate,
    measure_renewals,
    measure_start,
)
from tests.bench.engine.worker_process import PLAIN_LOOP, Program
from tests.bench.small_cloud.process import CloudProcess, small_cloud

T = TypeVar("T")
Rows = Iterator[Figure]

LOOP = "plain loop"
XARGS = "xargs, no S3"
REQUEST_SECONDS = 0.03
DEPTH_SLOTS = 16


@dataclass(frozen=True)
class Spans:
    """Jobs that compute: how long, with how much in and out, how many; what is wanted of them."""

    seconds: float
    megabytes: float
    jobs: int
    goal: float


@dataclass(frozen=True)
class Effort:
    """How much is done: the defaults are for figures to publish, `tiny()` is for a test."""

    rounds: int = 5
    few: int = 100
    many: int = 1100
    slots: tuple[int, ...] = (2, 16, 64)
    depths: tuple[int, ...] = (100, 10_000, 1_000_000)
    spans: tuple[Spans, ...] = (
        Spans(0.2, 1, 100, 1.08), Spans(1, 1, 30, 1.035), Spans(5, 10, 20, 1.015),
    )  # fmt: skip
    lines: int = 300_000
    stall_slots: int = 64
    stall_seconds: float = 15
    idle_after: int = 200
    peers: bool = True

    @classmethod
    def tiny(cls) -> Effort:
        """Do as little as possible of everything but the peers."""
        return cls(
            rounds=1, few=5, many=25, slots=(2,), depths=(30,), spans=(Spans(0.05, 0.1, 3, 9),),
            lines=300, stall_slots=8, stall_seconds=1.5, idle_after=5, peers=False,
        )  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """Whom to measure, where, and how much."""

    agents: Mapping[str, Program]
    cores: Cores
    effort: Effort

    @property
    def window(self) -> tuple[int, int]:
        """From which count of jobs to which a rate is taken."""
        return self.effort.few, self.effort.many

    def each(
        self,
        measure: Callable[[CloudProcess, Program], T],
        others: Mapping[str, Program] | None = None,
    ) -> dict[str, list[T]]:
        """Measure all agents in turn, round by round, on a cloud for each round."""
        found: dict[str, list[T]] = defaultdict(list)
        for _ in range(self.effort.rounds):
            with small_cloud(self.cores.cloud) as cloud:
                for name, program in {**self.agents, **(others or {})}.items():
                    found[name].append(measure(cloud, program))
        return found


def rates(bench: Bench) -> Rows:
    """CPU for a no-op job by slots, the plain loop in turn, and jobs per second."""
    for slots in bench.effort.slots:

        def measure(cloud: CloudProcess, program: Program, slots: int = slots) -> Rate:
            run = BenchRun.make(cloud, NO_OP)
            return measure_rate(run, program, bench.cores, slots, bench.window, 10 * slots)

        yield from _rate_figures(slots, bench.each(measure, {LOOP: PLAIN_LOOP}))


def _rate_figures(slots: int, found: dict[str, list[Rate]]) -> Rows:
    loop = found.pop(LOOP)
    row = f"CPU of a no-op job, {slots} slots"
    for name, rates in found.items():
        yield Figure(row, name, "ms", _cpu(rates), 1.0)
    yield Figure(row, LOOP, "ms", _cpu(loop))
    for name, rates in found.items():
        ratios = [ours / theirs for ours, theirs in zip(_cpu(rates), _cpu(loop), strict=True)]
        yield Figure(f"{row}, over the plain loop's", name, "times", tuple(ratios), 1.5)
    row = f"jobs on one core, commands included, {slots} slots"
    for name, rates in found.items():
        yield Figure(row, name, "/s", _speed(rates), 500, True, _others(rates))
    yield Figure(row, LOOP, "/s", _speed(loop), others=_others(loop))
    # What others do on the processor meanwhile makes the clock's rate smaller, and not this one.
    row = f"jobs per second of CPU, commands included, {slots} slots"
    for name, rates in {**found, LOOP: loop}.items():
        whole = tuple(1000 / (rate.cpu_ms + rate.children_ms) for rate in rates)
        yield Figure(row, name, "/s", whole)


def _cpu(rates: list[Rate]) -> tuple[float, ...]:
    return tuple(rate.cpu_ms for rate in rates)


def _speed(rates: list[Rate]) -> tuple[float, ...]:
    return tuple(rate.per_second for rate in rates)


def _others(found: list[Rate] | list[Makespan]) -> tuple[float, ...]:
    return tuple(each.others for each in found)


def depths(bench: Bench) -> Rows:
    """CPU for a no-op job by what is queued."""
    for queued in bench.effort.depths:
        row = f"CPU of a no-op job, {queued:,} queued"
        for name, cpu in _by_depth(bench, queued).items():
            yield Figure(row, name, "ms", tuple(cpu), 1.0)


def _by_depth(bench: Bench, queued: int) -> dict[str, list[float]]:
    """Let all agents work in turn on one long queue, which takes long to fill."""
    found: dict[str, list[float]] = defaultdict(list)
    with small_cloud(bench.cores.cloud) as cloud:
        run, first = BenchRun.make(cloud, NO_OP), 0
        for _ in range(bench.effort.rounds):
            for name, program in bench.agents.items():
                rate = measure_rate(
                    run, program, bench.cores, DEPTH_SLOTS, bench.window, queued, first
                )
                found[name].append(rate.cpu_ms)
                # Not all that were sent are done; the next inputs must be new ones.
                first += queued + 2 * bench.effort.many
    return found


def lines(bench: Bench) -> Rows:
    """CPU for a command that prints much."""
    count = bench.effort.lines
    found = bench.each(lambda cloud, program: measure_lines(cloud, program, bench.cores, count))
    for name, seconds in found.items():
        yield Figure(f"CPU for {count:,} lines on stdout", name, "s", tuple(seconds), 1.0)


def starts(bench: Bench) -> Rows:
    """From the start of an agent to its first receive."""
    found = bench.each(lambda cloud, program: measure_start(cloud, program, bench.cores))
    for name, starts in found.items():
        clock, cpu = tuple(each.clock for each in starts), tuple(each.cpu for each in starts)
        yield Figure("start to first receive", name, "s", clock, 0.2)
        yield Figure("start to first receive, CPU", name, "s", cpu)


def stalls(bench: Bench) -> Rows:
    """How late leases are renewed at full speed."""
    slots, seconds = bench.effort.stall_slots, bench.effort.stall_seconds
    found = bench.each(
        lambda cloud, program: measure_renewals(cloud, program, bench.cores, slots, seconds)
    )
    row = f"latest renewal, {slots} slots, leases of 2 s"
    for name, renewals in found.items():
        yield Figure(row, name, "ms", tuple(each.late for each in renewals), 50)
        expired = tuple(float(each.expired) for each in renewals)
        yield Figure("leases that ran out meanwhile", name, "", expired, 0)


def memory(bench: Bench) -> Rows:
    """What an idle agent occupies."""
    jobs = bench.effort.idle_after
    found = bench.each(lambda cloud, program: measure_memory(cloud, program, bench.cores, jobs))
    for name, sizes in found.items():
        rss, pss = tuple(each.rss for each in sizes), tuple(each.pss for each in sizes)
        yield Figure("memory when idle, resident", name, "MiB", rss, 60)
        yield Figure("memory when idle, its share", name, "MiB", pss)


def isolation(bench: Bench) -> Rows:
    """What a job's own user, folders and namespaces cost, as on a worker from the image."""
    if reason := why_not_isolated():
        sys.stderr.write(f"isolation is not measured: {reason}\n")
        return
    found = bench.each(
        lambda cloud, program: measure_isolation(cloud, program, bench.cores, bench.window)
    )
    for name, cost in found.items():
        yield Figure("CPU for the isolation of a job", name, "ms", tuple(cost), 4.0)


def others(bench: Bench) -> Rows:
    """Spawning by xargs and GNU parallel, consuming by Celery."""
    if bench.effort.peers:
        yield from peers.measure_peers(bench.cores, bench.effort.rounds, bench.window)


def makespans(bench: Bench) -> Rows:
    """Makespan of commands that compute, one slot on one core."""
    for spans in bench.effort.spans:
        kind = (spans.seconds, spans.megabytes, spans.jobs)
        alone: list[Makespan] = []

        def measure(
            cloud: CloudProcess, program: Program,
            kind: tuple[float, float, int] = kind, alone: list[Makespan] = alone,
        ) -> Makespan:  # fmt: skip
            cloud.delay(REQUEST_SECONDS)
            alone.append(peers.measure_xargs_makespan(bench.cores, *kind))
            return measure_makespan(cloud, program, bench.cores, *kind)

        row = f"makespan over the ideal, {spans.seconds:g} s and {spans.megabytes:g} MB"
        for name, found in bench.each(measure).items():
            ratios = tuple(each.ratio for each in found)
            yield Figure(row, name, "times", ratios, spans.goal, others=_others(found))
        ratios = tuple(each.ratio for each in alone)
        yield Figure(row, XARGS, "times", ratios, others=_others(alone))


ROWS: dict[str, Callable[[Bench], Rows]] = {
    "rates": rates,
    "depths": depths,
    "lines": lines,
    "starts": starts,
    "stalls": stalls,
    "memory": memory,
    "isolation": isolation,
    "others": others,
    "makespans": makespans,
}
