"""One agent does thousands of tiny jobs in one life: what of it grows?

    python -m tests.bench.endurance [JOBS]

Prints a table of the process at rest after each thousand or so: memory, threads, descriptors,
children, and what lies in its scratch space. Queue and store are in memory and in the same
process, so the store forgets the contents of what it is given; keys and ETags it must remember.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import structlog
from tests.functional.agent.bench import SWIFT, Bench, at_work, until

from parallelize_agent import process_tree
from parallelize_core.config import DrainSettings
from parallelize_core.store import ALWAYS, Condition
from parallelize_core.testing import InMemoryStore

JOBS = 10_000
COMMAND = 'wc -c < "$1" > "$(basename "$1").n"; echo "$(basename "$1").n"'
STAYS = SWIFT.model_copy(update={"drain": DrainSettings(samples=10**9)})
MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """The process at rest, after so many jobs; memory in bytes."""

    jobs: int
    seconds: float
    memory: int
    threads: int
    descriptors: int
    children: int
    scratch: int


class ForgetfulStore(InMemoryStore):
    """Keeps nothing of outputs and results but that they are there."""

    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        small = b"" if "/result/" in key or "/output/" in key else body
        return super().put(key, small, condition, metadata)


def measure(checkpoints: Sequence[int], folder: Path) -> Iterator[Sample]:
    """Let one agent work, and look at it when it has done so many jobs."""
    bench = Bench(folder, COMMAND, config=STAYS, store=ForgetfulStore())
    worker, done, started = bench.worker(), 0, time.monotonic()
    with at_work(worker):
        for checkpoint in checkpoints:
            bench.add({f"{number % 100}/{number}": b"x" for number in range(done, checkpoint)})
            done = checkpoint
            until(lambda: not bench.queue.bodies(), seconds=3600)
            until(lambda: worker.describe().done == done)  # noqa: B023 - asked at once
            yield look(done, time.monotonic() - started, folder)


def look(jobs: int, seconds: float, folder: Path) -> Sample:
    process = psutil.Process()
    jobs_folder = folder / "w1" / "jobs"
    return Sample(
        jobs,
        seconds,
        process.memory_info().rss,
        threading.active_count(),
        process.num_fds(),
        len(process.children(recursive=True)),
        sum(path.parent != jobs_folder for path in jobs_folder.rglob("*")),
    )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    process_tree.adopt_orphans()
    folder = Path(tempfile.mkdtemp(prefix="endurance-"))
    say("| jobs | seconds | memory MiB | threads | descriptors | children | scratch entries |")
    say("|---:|---:|---:|---:|---:|---:|---:|")
    for sample in measure([jobs // 10, jobs // 2, jobs], folder):
        say(
            f"| {sample.jobs:,} | {sample.seconds:.0f} | {sample.memory / MIB:.1f} | "
            f"{sample.threads} | {sample.descriptors} | {sample.children} | {sample.scratch} |"
        )
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
