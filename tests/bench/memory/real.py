"""Real jobs on a real worker: they take memory for a while, a twentieth of what mapsnap's take.

The worker believes to have the memory of a small machine. A thread stands in for that machine's
kernel: while jobs take more than there is, it ends the largest, and counts that as the kernel does.
"""

from __future__ import annotations

import json
import logging
import math
import random
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import structlog
from tests.functional.agent.bench import SWIFT, Bench, memory_of

from parallelize_agent.memory.admission import Memory
from parallelize_agent.memory.peaks import PeakModel
from parallelize_agent.memory.usage import OomKills, resident_bytes
from parallelize_core.result import Cause
from parallelize_core.run import Limits

SCALE = 20
MACHINE_BYTES = 32 * 10**9 // SCALE
CPUS = 16
SECONDS = 8
"""What a job usually takes: long beside the half second in which it is looked at."""

SPREAD = math.log(5.7 / 1.8) / 2.326

JOB = """
import json, sys, time
job = json.load(open(sys.argv[1]))
taken = bytearray()
for step in range(10):
    taken += b"x" * (job["bytes"] // 10)
    time.sleep(0.03 * job["seconds"])
time.sleep(0.7 * job["seconds"])
"""


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    seconds: float
    failed: int
    killed: int

    def show(self, name: str, jobs: int) -> str:
        """Return a line on it."""
        rate = jobs / self.seconds
        return f"{name:14} {rate:5.2f} jobs/s   {self.killed:3} killed   {self.failed:3} failed"


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def compare(jobs: int) -> None:
    """Run the same jobs with no setting, and with fixed numbers of slots; print the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    learned = run(jobs, None)
    say(learned.show("no setting", jobs))
    fixed = {slots: run(jobs, slots) for slots in (10, 11, 12, 13)}
    for slots, outcome in fixed.items():
        say(outcome.show(f"{slots} slots", jobs))
    best = min(outcome.seconds for outcome in fixed.values() if not outcome.failed)
    say(f"with no setting: {best / learned.seconds:.0%} of the best number of slots with 0 failed")


def run(jobs: int, slots: int | None) -> Outcome:
    """Do the jobs with this number of slots, or as memory allows."""
    chance = random.Random(1)
    with TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        counters = folder / "vmstat"
        counters.write_text("oom_kill 0\n", encoding="ascii")
        bench = Bench(
            folder,
            f'exec {shlex.join([sys.executable, "-c", JOB])} "$1"',
            limits=Limits(),
            config=SWIFT.model_copy(update={"slots": slots or CPUS}),
        )
        bench.add({str(number): _job(chance) for number in range(jobs)})
        memory = memory_of(10**15)
        if slots is None:
            memory = Memory(MACHINE_BYTES, PeakModel(), _free, OomKills(counters))
        began = time.monotonic()
        with _kernel(counters):
            bench.worker(memory=memory).run()
        seconds = time.monotonic() - began
        results = [bench.result(str(number)) for number in range(jobs)]
        attempts = [record for n in range(jobs) for record in bench.attempts(str(n))]
        killed = sum(record.cause in {Cause.MEMORY, Cause.COMMAND} for record in attempts)
        return Outcome(seconds, sum(r.status == "failed" for r in results), killed)


def _job(chance: random.Random) -> bytes:
    size = 1.8e9 / SCALE * math.exp(SPREAD * chance.gauss(0, 1))
    return json.dumps(
        {"bytes": int(size), "seconds": SECONDS * math.exp(0.3 * chance.gauss(0, 1))}
    ).encode()


def _jobs() -> dict[int, int]:
    """Return what each job takes, by its process."""
    return {child.pid: resident_bytes(child.pid) for child in psutil.Process().children()}


def _free() -> int:
    return MACHINE_BYTES - sum(_jobs().values())


@contextmanager
def _kernel(counters: Path) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(counters, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(counters: Path, over: threading.Event) -> None:
    kills = 0
    while not over.wait(0.05):
        try:
            jobs = _jobs()
            if sum(jobs.values()) > 0.96 * MACHINE_BYTES:
                kills += 1
                counters.write_text(f"oom_kill {kills}\n", encoding="ascii")
                psutil.Process(max(jobs, key=lambda pid: jobs[pid])).kill()
        except psutil.Error:
            continue  # it has ended meanwhile
