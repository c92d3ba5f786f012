"""The rows of the table. Each is measured in rounds; what is compared is measured in turn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.bench.engine import peers
from tests.bench.engine.bench_run import BenchRun
from tests.bench.engine.figures import Figure
from tests.bench.engine.isolation import measure_isolation, why_not_isolated
from tests.bench.engine.measures import (
    NO_OP,
    Cores,
    Rate,
    measure_lines,
    measure_makespan,
    measure_memory,
    measure_rate,
    measure_renewals,
    measure_start,
)
from tests.bench.engine.worker_process import AGENT, PLAIN_LOOP
from tests.bench.small_cloud.process import small_cloud

AGENT_NAME = "agent"
LOOP_NAME = "plain loop"
MIB = "MiB"


@dataclass(frozen=True)
class Effort:
    """How much is done: the defaults are for figures to publish, `tiny()` is for a test."""

    rounds: int = 5
    few: int = 200
    many: int = 1700
    slots: tuple[int, ...] = (2, 16, 64)
    depths: tuple[int, ...] = (100, 10_000, 1_000_000)
    makespans: tuple[tuple[float, float, int, float], ...] = (
        (1.0, 1, 40, 1.035), (0.2, 1, 150, 1.08), (5.0, 10, 10, 1.015),
    )  # fmt: skip
    """Seconds and megabytes of a job, jobs, goal."""
    makespan_rounds: int = 3
    lines: int = 300_000
    stall_slots: int = 64
    stall_seconds: float = 20
    idle_after: int = 200
    starts: int = 10
    peers: bool = True

    @classmethod
    def tiny(cls) -> Effort:
        """Do as little as possible of everything."""
        return cls(
            rounds=1, few=5, many=25, slots=(2,), depths=(30,), makespans=((0.05, 0.1, 3, 9),),
            makespan_rounds=1, lines=300, stall_slots=8, stall_seconds=2, idle_after=5, starts=1,
            peers=False,
        )  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """Where it is measured, and how much."""

    cores: Cores
    effort: Effort

    @property
    def window(self) -> tuple[int, int]:
        """From which count of jobs to which a rate is taken."""
        return self.effort.few, self.effort.many


Rows = Iterator[Figure]


def rates(bench: Bench) -> Rows:
    """CPU for a no-op job by slots, the plain loop in turn, and jobs per second."""
    for slots in bench.effort.slots:
        agent: list[Rate] = []
        loop: list[Rate] = []
        for _ in range(bench.effort.rounds):
            with small_cloud(bench.cores.cloud) as cloud:
                for program, into in ((AGENT, agent), (PLAIN_LOOP, loop)):
                    run, queued = BenchRun.make(cloud, NO_OP), 10 * slots
                    into.append(
                        measure_rate(run, program, bench.cores, slots, bench.window, queued)
                    )
        yield from _rate_figures(slots, agent, loop)


def _rate_figures(slots: int, agent: list[Rate], loop: list[Rate]) -> Rows:
    row = f"CPU of a no-op job, {slots} slots"
    yield Figure(row, AGENT_NAME, "ms", tuple(rate.cpu_ms for rate in agent), 1.0)
    yield Figure(row, LOOP_NAME, "ms", tuple(rate.cpu_ms for rate in loop))
    ratios = tuple(ours.cpu_ms / theirs.cpu_ms for ours, theirs in zip(agent, loop, strict=True))
    yield Figure(f"{row}, over the plain loop's", AGENT_NAME, "times", ratios, 1.5)
    row = f"jobs on one core, commands included, {slots} slots"
    yield Figure(row, AGENT_NAME, "/s", tuple(rate.per_second for rate in agent), 500, True)
    yield Figure(row, LOOP_NAME, "/s", tuple(rate.per_second for rate in loop))
    children = tuple(rate.children_ms for rate in agent)
    yield Figure(f"CPU of the no-op command, {slots} slots", AGENT_NAME, "ms", children)


def depths(bench: Bench) -> Rows:
    """CPU for a no-op job by what is queued, at 16 slots."""
    slots = 16
    for queued in bench.effort.depths:
        found: list[float] = []
        with small_cloud(bench.cores.cloud) as cloud:
            run, first = BenchRun.make(cloud, NO_OP), 0
            for _ in range(bench.effort.rounds):
                rate = measure_rate(run, AGENT, bench.cores, slots, bench.window, queued, first)
                found.append(rate.cpu_ms)
                # Not all that were sent are done; the next inputs must be new ones.
                first += queued + 2 * bench.effort.many
        yield Figure(f"CPU of a no-op job, {queued:,} queued", AGENT_NAME, "ms", tuple(found), 1.0)


def makespans(bench: Bench) -> Rows:
    """Makespan of commands that compute, with 30 ms a request, one slot on one core."""
    for seconds, megabytes, jobs, goal in bench.effort.makespans:
        found: dict[str, list[float]] = {AGENT_NAME: [], "xargs": []}
        with small_cloud(bench.cores.cloud) as cloud:
            cloud.delay(0.03)
            for _ in range(bench.effort.makespan_rounds):
                span = measure_makespan(cloud, bench.cores, seconds, megabytes, jobs)
                found[AGENT_NAME].append(span)
                alone = peers.measure_xargs_makespan(bench.cores, seconds, megabytes, jobs)
                found["xargs"].append(alone)
        row = f"makespan over the ideal, {seconds:g} s and {megabytes:g} MB"
        yield Figure(row, AGENT_NAME, "times", tuple(found[AGENT_NAME]), goal)
        yield Figure(row, "xargs, no S3", "times", tuple(found["xargs"]))


def lines(bench: Bench) -> Rows:
    """CPU for a command that prints much."""
    with small_cloud(bench.cores.cloud) as cloud:
        used = measure_lines(cloud, bench.cores, bench.effort.lines)
    yield Figure(f"CPU for {bench.effort.lines:,} lines on stdout", AGENT_NAME, "s", (used,), 1.0)


def starts(bench: Bench) -> Rows:
    """From the start of an agent to its first receive."""
    with small_cloud(bench.cores.cloud) as cloud:
        measure_start(cloud, bench.cores)
        found = tuple(measure_start(cloud, bench.cores) for _ in range(bench.effort.starts))
    yield Figure("start to first receive", AGENT_NAME, "s", found, 0.2)


def stalls(bench: Bench) -> Rows:
    """How late leases are renewed at full speed."""
    slots = bench.effort.stall_slots
    with small_cloud(bench.cores.cloud) as cloud:
        found = [
            measure_renewals(cloud, bench.cores, slots, bench.effort.stall_seconds)
            for _ in range(bench.effort.rounds)
        ]
    row = f"latest renewal, {slots} slots, leases of 2 s"
    yield Figure(row, AGENT_NAME, "ms", tuple(each.late for each in found), 50)
    expired = tuple(float(each.expired) for each in found)
    yield Figure("leases that ran out meanwhile", AGENT_NAME, "", expired, 0)


def memory(bench: Bench) -> Rows:
    """What an idle agent occupies."""
    with small_cloud(bench.cores.cloud) as cloud:
        found = [
            measure_memory(cloud, bench.cores, bench.effort.idle_after)
            for _ in range(min(3, bench.effort.rounds))
        ]
    yield Figure("memory when idle, resident", AGENT_NAME, MIB, tuple(m.rss for m in found), 60)
    yield Figure("memory when idle, its share", AGENT_NAME, MIB, tuple(m.pss for m in found))


def isolation(bench: Bench) -> Rows:
    """What a job's own user, folders and namespaces cost, as on a worker from the image."""
    if reason := why_not_isolated():
        sys.stderr.write(f"isolation is not measured: {reason}\n")
        return
    found = [measure_isolation(bench.cores, bench.window) for _ in range(bench.effort.rounds)]
    yield Figure("isolation of a job, as in the image", AGENT_NAME, "ms", tuple(found), 4.0)


def others(bench: Bench) -> Rows:
    """Spawning by xargs and GNU parallel, consuming by Celery."""
    if bench.effort.peers:
        yield from peers.measure_peers(bench.cores, bench.effort.rounds, bench.window)


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
