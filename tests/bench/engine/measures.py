"""What is measured of a worker: each function makes one measurement, in the units it names."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench.engine.bench_run import BenchRun
from tests.bench.engine.worker_process import AGENT, Memory, Worker, worker
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
"""Uses the processor for so many seconds, the start of its interpreter included."""

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
    """What jobs took in a window: CPU in milliseconds a job, and jobs a second."""

    cpu_ms: float
    children_ms: float
    per_second: float


def measure_rate(
    run: BenchRun, program: Sequence[str], cores: Cores, slots: int, window: tuple[int, int],
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
    marks = []
    for jobs in window:
        at_work.wait_for(lambda jobs=jobs: count() >= jobs)  # type: ignore[misc]
        marks.append((at_work.done(), at_work.cpu(), time.monotonic()))
    (done, cpu, at), (done_later, cpu_later, at_later) = marks
    jobs, used = done_later - done, cpu_later.since(cpu)
    return Rate(1000 * used.own / jobs, 1000 * used.children / jobs, jobs / (at_later - at))


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


def measure_makespan(
    cloud: CloudProcess, cores: Cores, seconds: float, megabytes: float, jobs: int
) -> float:
    """Let an agent with one slot compute; return its makespan over the commands' own seconds."""
    run = BenchRun.make(cloud, COMPUTE.format(seconds=seconds), int(megabytes * 1e6))
    run.add(jobs)
    with worker(run, AGENT, run.config(1), cores.worker) as at_work:
        at_work.wait_for(lambda: at_work.done() >= jobs)
        stats = run.stats()
    span: float = stats["last_deleted_at"] - stats["first_received_at"]
    return span / (seconds * jobs)


def measure_lines(cloud: CloudProcess, cores: Cores, lines: int) -> float:
    """Return the agent's CPU seconds for one job that prints so many lines."""
    run = BenchRun.make(cloud, PRINT.format(lines=lines))
    run.add(3)
    with worker(run, AGENT, run.config(1), cores.worker) as at_work:
        at_work.wait_for(lambda: at_work.done() >= 1)
        before = at_work.cpu()
        at_work.wait_for(lambda: at_work.done() >= 3)
        return at_work.cpu().since(before).own / 2


def measure_start(cloud: CloudProcess, cores: Cores) -> float:
    """Return the seconds from an agent's start to its first receive."""
    run = BenchRun.make(cloud, NO_OP)
    run.add(1)
    cloud.forget()
    with worker(run, AGENT, run.config(2), cores.worker) as at_work:
        at_work.wait_for(lambda: "ReceiveMessage" in cloud.stats()["calls"])
        first: float = cloud.stats()["calls"]["ReceiveMessage"]["first_at"]
    return first - at_work.started_at


def measure_memory(cloud: CloudProcess, cores: Cores, jobs: int) -> Memory:
    """Return what an agent occupies that has done some jobs and now waits for the next."""
    run = BenchRun.make(cloud, NO_OP)
    run.add(jobs)
    run.add(1, jobs, delay_seconds=900)
    with worker(run, AGENT, run.config(2), cores.worker) as at_work:
        at_work.wait_for(lambda: at_work.done() >= jobs)
        time.sleep(2)
        return at_work.memory()


@dataclass(frozen=True)
class Renewals:
    """How a worker at full speed renewed leases of two seconds; milliseconds.

    `late` is by how much the latest renewal exceeded the usual one; `expired` counts leases.
    """

    usual: float
    late: float
    expired: int


def measure_renewals(cloud: CloudProcess, cores: Cores, slots: int, seconds: float) -> Renewals:
    """Let four jobs hold their leases while the other slots work at full speed."""
    run = BenchRun.make(cloud, HOLD)
    supply = Supply(run, 10 * slots)
    supply.top_up()
    config = run.config(slots, lease_seconds=STALL_LEASE_SECONDS)
    with worker(run, AGENT, config, cores.worker) as at_work:
        at_work.wait_for(lambda: supply.top_up() >= 10 * slots)
        end = time.monotonic() + seconds
        at_work.wait_for(lambda: supply.top_up() >= 0 and time.monotonic() > end)
        stats = run.stats()
    gaps = [1000 * gap for gap in stats["unrenewed_seconds"]]
    usual = statistics.median(gaps)
    return Renewals(usual, max(gaps) - usual, stats["expired"])
