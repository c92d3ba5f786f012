"""Real jobs on real workers: they take memory for a while, a twentieth of what mapsnap's take.

A worker believes to have the memory of a small machine. A thread stands in for these machines'
kernels: while the jobs of one take more than it has, it ends the largest, and counts that as the
kernel does.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import structlog
from tests.functional.agent.bench import SWIFT, Bench
from tests.functional.agent.live import LiveWorker, at_work

from parallelize_agent.memory.admission import Memory
from parallelize_agent.memory.peaks import PeakModel
from parallelize_agent.memory.usage import OomKills, resident_bytes
from parallelize_core.lane import Lane
from parallelize_core.result import Cause, Result
from parallelize_core.run import Limits

SCALE = 20
GB = 10**9 // SCALE
LARGE_CPUS, LARGE_BYTES = 8, 64 * GB
LONGEST_SECONDS = 3600
"""How long a run may take."""

NO_LIMIT = 10**15
"""What a worker believes to have that is to run a number of jobs at once, whatever they take."""

SPREAD = math.log(5.7 / 1.8) / 2.326

JOB = """
import json, mmap, sys, time
job = json.load(open(sys.argv[1]))
own = int(open("/proc/self/statm").read().split()[1]) * mmap.PAGESIZE
taken = mmap.mmap(-1, max(10 * mmap.PAGESIZE, job["bytes"] - own))
for step in range(10):
    for at in range(step * len(taken) // 10, (step + 1) * len(taken) // 10, mmap.PAGESIZE):
        taken[at] = 1
    time.sleep(0.03 * job["seconds"])
time.sleep(0.7 * job["seconds"])
"""
"""Takes what it is told, page by page: an array that grows takes up to a quarter more."""


@dataclass(frozen=True)
class Fleet:
    """A number of machines of one kind; with `lanes` a large one beside them."""

    workers: int
    cpus: int
    memory: int
    lanes: bool
    seconds: float
    """What a job usually takes."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run: how long it took, and how many jobs were hit by what."""

    seconds: float
    failed: int
    killed: int
    starts: int
    """Of commands that were killed."""
    moved: Sequence[int] = ()
    """What those take that ended on the large machine, in bytes."""
    larger: int = 0
    """How many take more than one of the other machines has."""

    def show(self, name: str, jobs: int) -> str:
        """Return a line on it."""
        moved = ", ".join(f"{size / GB:.1f}" for size in sorted(self.moved))
        lane = f"   {len(self.moved)} in the large lane ({moved} GB)" if self.moved else ""
        return (
            f"{name:14} {jobs / self.seconds:5.2f} jobs/s   {self.failed} failed   {self.killed} "
            f"killed ({self.starts} starts)   {self.larger} larger than a machine{lane}"
        )


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def compare(jobs: int, fleet: Fleet, slots: Sequence[int]) -> None:
    """Run the same jobs with each number of slots, 0 for no setting; print the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    outcomes = dict[int, Outcome]()
    for number in slots:
        outcomes[number] = run(jobs, fleet, number)
        say(outcomes[number].show(f"{number} slots" if number else "no setting", jobs))
    fixed = [one.seconds for number, one in outcomes.items() if number and not one.failed]
    if fixed and 0 in outcomes:
        ratio = min(fixed) / outcomes[0].seconds
        say(f"with no setting: {ratio:.0%} of the best number of slots with 0 failed")


def run(jobs: int, fleet: Fleet, slots: int) -> Outcome:
    """Do the jobs with this number of slots on each worker, or as memory allows if it is 0."""
    chance = random.Random(1)
    sizes = {str(number): _job(chance, fleet.seconds) for number in range(jobs)}
    with TemporaryDirectory(prefix="memory-") as name:
        bench = Bench(
            Path(name),
            f'exec {shlex.join([sys.executable, "-c", JOB])} "$1"',
            limits=Limits(),
            # A busy machine renews late, and is not to look like one that is unfit; and the worker
            # of the large lane has to be there for the last job, too.
            config=SWIFT.model_copy(
                update={
                    "slots": slots or fleet.cpus,
                    "lease_seconds": 60,
                    "max_idle_seconds": LONGEST_SECONDS,
                }
            ),
            lanes=(Lane.LARGE,) if fleet.lanes else (),
        )
        bench.add({key: json.dumps(job).encode() for key, job in sizes.items()})
        machines = Machines(Path(name))
        workers = [
            machines.worker(bench, f"w{number}", fleet.memory, is_limited=not slots)
            for number in range(fleet.workers)
        ]
        if fleet.lanes:
            bench.config = bench.config.model_copy(update={"slots": LARGE_CPUS})
            workers.append(machines.worker(bench, "large", LARGE_BYTES, lane=Lane.LARGE))
        began = time.monotonic()
        with machines.kernel(), at_work(*workers) as there:
            for one in there:
                one.join(LONGEST_SECONDS)
        return _outcome(bench, time.monotonic() - began, fleet, sizes)


def _outcome(
    bench: Bench, seconds: float, fleet: Fleet, jobs: Mapping[str, Mapping[str, float]]
) -> Outcome:
    results: dict[str, Result] = {key: bench.result(key) for key in jobs}
    kills = {
        key: sum(one.cause in {Cause.MEMORY, Cause.COMMAND} for one in bench.attempts(key))
        for key in jobs
    }
    return Outcome(
        seconds,
        failed=sum(one.status == "failed" for one in results.values()),
        killed=sum(map(bool, kills.values())),
        starts=sum(kills.values()),
        moved=[int(jobs[key]["bytes"]) for key, one in results.items() if one.worker == "large"],
        larger=sum(job["bytes"] > fleet.memory for job in jobs.values()),
    )


def _job(chance: random.Random, seconds: float) -> dict[str, float]:
    size = int(1.8 * GB * math.exp(SPREAD * chance.gauss(0, 1)))
    return {"bytes": size, "seconds": seconds * math.exp(0.3 * chance.gauss(0, 1))}


@dataclass
class Machines:
    """The machines that workers below one folder believe to be on, and their kernels."""

    folder: Path
    sizes: dict[str, int] = field(default_factory=dict)
    seen: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """What jobs took when the kernels last looked.

    Workers take it from here: a look at all processes would cost their loops 18 ms of CPU.
    """

    def worker(
        self,
        bench: Bench,
        name: str,
        size: int,
        *,
        is_limited: bool = True,
        lane: Lane = Lane.MAIN,
    ) -> LiveWorker:
        """Make a worker on a machine with `size` bytes, which it knows of if it `is_limited`."""
        self.sizes[name] = size
        self._counters(name).write_text("oom_kill 0\n", encoding="ascii")
        known = size if is_limited else NO_LIMIT

        def free() -> int:
            return known - sum(self.seen.get(name, {}).values())

        kills = OomKills(self._counters(name))
        return bench.worker(name, memory=Memory(known, PeakModel(), free, kills), lane=lane)

    def _counters(self, name: str) -> Path:
        return self.folder / f"{name}.vmstat"

    def jobs(self) -> dict[str, dict[int, int]]:
        """Return by workers what each of their jobs takes, by its process."""
        found = dict[str, dict[int, int]]()
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                place = Path(child.cwd())
                if place.is_relative_to(self.folder):
                    name = place.relative_to(self.folder).parts[0]
                    found.setdefault(name, {})[child.pid] = resident_bytes(child.pid)
        return found

    @contextmanager
    def kernel(self) -> Iterator[None]:
        """End jobs as long as they take more than their machine has."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, over: threading.Event) -> None:
        kills = dict.fromkeys(self.sizes, 0)
        while not over.wait(0.05):
            self.seen = self.jobs()
            for name, jobs in self.seen.items():
                if sum(jobs.values()) > 0.96 * self.sizes[name]:
                    kills[name] += 1
                    self._counters(name).write_text(f"oom_kill {kills[name]}\n", encoding="ascii")
                    with suppress(psutil.Error):  # it has ended meanwhile
                        psutil.Process(max(jobs, key=lambda pid: jobs[pid])).kill()
