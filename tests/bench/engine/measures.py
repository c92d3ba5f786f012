"""What is measured of a worker: each function makes one measurement, in the units it names."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.engine.bench_run import BenchRun
from tests.bench.engine.worker_process import Cpu, Memory, Program, Worker, busy_seconds, worker
from tests.bench.small_cloud.process import CloudProcess

NO_OP = '#!/bin/sh\nread -r line < "$1"\necho "$line" > out.txt\necho out.txt\n'
"""Reads a line, writes a file, names it."""

COMPUTE = """#!/usr/bin/python3 -IS
import os, sys, time
content = open(sys.argv[1], "rb").read()
while time.process_time() < {seconds}:
    pass
open("out.bin", "wb").write(content)
os.write(1, b"out.bin\\n")
os._exit(0)
"""
"""Uses the processor for a number of seconds, the start of its interpreter included."""

PRINT = '#!/bin/sh\nseq -f "step %.0f of 300000: loss 0.123, 17 files/s" {lines}\n'
HOLD = NO_OP + 'case "$1" in *0000000[0-3].txt) exec sleep 600 ;; esac\n'
"""As NO_OP, but the first four never end, so their leases are renewed all the time."""

HOLDING = 4
STALL_LEASE_SECONDS = 2


@dataclass(frozen=True)
class Cores:
    """The processor of the worker and its commands, and that of the cloud; None for any."""

    worker: int | None
    cloud: int | None


@dataclass(frozen=True)
class Rate:
    """What jobs took in a window: CPU in milliseconds a job, and jobs a second.

    `others` is the share of the worker's processor that neither it nor its commands have used, 0
    to 1: the more it is, the less `per_second` says.
    """

    cpu_ms: float
    children_ms: float
    per_second: float
    others: float = 0.0


def measure_rate(
    run: BenchRun, program: Program, cores: Cores, slots: int, window: tuple[int, int],
    queued: int, first: int = 0,
) -> Rate:  # fmt: skip
    """Let a worker do jobs of which `queued` always wait; measure between two counts of jobs."""
    before = run.stats()["deleted"]
    supply = Supply(run, queued, first)
    supply.top_up()
    with worker(run, program, run.config(slots), cores.worker) as at_work:
        return measure_window(at_work, supply.top_up, (before + window[0], before + window[1]))


def measure_window(at_work: Worker, count: Callable[[], int], window: tuple[int, int]) -> Rate:
    """Measure a worker between two counts of jobs; `count` returns how many are done."""
    marks: list[tuple[int, Mark]] = []
    for jobs in window:
        at_work.wait_for(lambda jobs=jobs: count() >= jobs)  # type: ignore[misc]
        if marks and at_work.done() <= marks[0][0]:
            # More were done before the first look than the window has.
            at_work.wait_for(lambda: at_work.done() > marks[0][0])
        marks.append((at_work.done(), Mark.take(at_work)))
    (done, mark), (done_later, mark_later) = marks
    jobs, used = done_later - done, mark_later.cpu.since(mark.cpu)
    rate = jobs / (mark_later.at - mark.at)
    at_work.check_success()
    others = mark_later.others_since(mark)
    return Rate(1000 * used.own / jobs, 1000 * used.children / jobs, rate, others)


@dataclass(frozen=True)
class Mark:
    """A moment: what a worker has used, and how long its processor has been busy, in seconds."""

    at: float
    cpu: Cpu
    busy: float

    @classmethod
    def take(cls, at_work: Worker) -> Mark:
        """Look at a worker now."""
        return cls(time.monotonic(), at_work.cpu(), busy_seconds(at_work.core))

    def others_since(self, former: Mark) -> float:
        """Return the share of the processor's time that others have used."""
        used = self.cpu.since(former.cpu)
        others = self.busy - former.busy - used.own - used.children
        return max(0.0, others / (self.at - former.at))


@dataclass
class Supply:
    """Keeps `queued` messages waiting; inputs count from `sent`."""

    run: BenchRun
    queued: int
    sent: int = 0

    def top_up(self) -> int:
        """Send what is missing; return how many messages have been acknowledged."""
        stats = self.run.stats()
        if (missing := self.queued - stats["visible"]) > 0:
            self.run.add(missing, self.sent)
            self.sent += missing
        deleted: int = stats["deleted"]
        return deleted


@dataclass(frozen=True)
class Makespan:
    """A makespan over the commands' own seconds, and the share that `others` had (see Rate)."""

    ratio: float
    others: float


def measure_makespan(
    cloud: CloudProcess, program: Program, cores: Cores, seconds: float, megabytes: float, jobs: int
) -> Makespan:
    """Let an agent with one slot compute, from its first receive to its last acknowledgement."""
    run = BenchRun.make(cloud, COMPUTE.format(seconds=seconds), int(megabytes * 1e6))
    run.add(jobs)
    with worker(run, program, run.config(1), cores.worker) as at_work:
        mark = Mark.take(at_work)
        at_work.wait_for(lambda: at_work.done() >= jobs)
        others = Mark.take(at_work).others_since(mark)
        at_work.check_success()
        stats = run.stats()
    span: float = stats["last_deleted_at"] - stats["first_received_at"]
    return Makespan(span / (seconds * jobs), others)


def measure_lines(cloud: CloudProcess, program: Program, cores: Cores, lines: int) -> float:
    """Return the agent's CPU seconds for one job that prints `lines` lines."""
    run = BenchRun.make(cloud, PRINT.format(lines=lines))
    run.add(1)
    with worker(run, program, run.config(1), cores.worker) as at_work:
        at_work.wait_for(lambda: at_work.done() >= 1)
        before = at_work.cpu()
        run.add(1, first=1)
        at_work.wait_for(lambda: at_work.done() >= 2)
        used = at_work.cpu().since(before).own
        at_work.check_success()
    return used


@dataclass(frozen=True)
class Start:
    """From an agent's start to its first receive, in seconds: by the clock, and of CPU."""

    clock: float
    cpu: float


def measure_start(cloud: CloudProcess, program: Program, cores: Cores) -> Start:
    """Start an agent, and see when it asks for messages."""
    run = BenchRun.make(cloud, NO_OP)
    cloud.forget()
    with worker(run, program, run.config(2), cores.worker) as at_work:
        at_work.wait_for(lambda: "ReceiveMessage" in cloud.stats()["calls"])
        used = at_work.cpu().own
        first: float = cloud.stats()["calls"]["ReceiveMessage"]["first_at"]
    return Start(first - at_work.started_at, used)


def measure_memory(cloud: CloudProcess, program: Program, cores: Cores, jobs: int) -> Memory:
    """Return what an agent occupies that has done some jobs and now waits for the next."""
    run = BenchRun.make(cloud, NO_OP)
    run.add(jobs)
    run.add(1, jobs, delay_seconds=900)
    with worker(run, program, run.config(2), cores.worker) as at_work:
        at_work.wait_for(lambda: at_work.done() >= jobs)
        polls = cloud.stats()["calls"]["ReceiveMessage"]["count"]
        at_work.wait_for(lambda: cloud.stats()["calls"]["ReceiveMessage"]["count"] > polls + 1)
        return at_work.memory()


@dataclass(frozen=True)
class Renewals:
    """How a worker at full speed renewed leases of two seconds; milliseconds.

    `late` is by how much the latest renewal exceeded the usual one; `expired` counts leases.
    """

    usual: float
    late: float
    expired: int


def measure_renewals(
    cloud: CloudProcess, program: Program, cores: Cores, slots: int, seconds: float
) -> Renewals:
    """Let four jobs hold their leases while the other slots work at full speed."""
    run = BenchRun.make(cloud, HOLD)
    supply = Supply(run, 10 * slots)
    supply.top_up()
    config = run.config(slots, lease_seconds=STALL_LEASE_SECONDS)
    with worker(run, program, config, cores.worker) as at_work:
        at_work.wait_for(lambda: supply.top_up() >= 10 * slots)
        end = time.monotonic() + seconds
        at_work.wait_for(lambda: supply.top_up() >= 0 and time.monotonic() > end)
        stats = run.stats()
    gaps = [1000 * gap for gap in stats["unrenewed_seconds"]]
    usual = statistics.median(gaps)
    return Renewals(usual, max(gaps) - usual, stats["expired"])
