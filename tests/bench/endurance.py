"""One agent does thousands of tiny jobs in one life: what of it grows?

    python -m tests.bench.endurance [JOBS]

Prints a table of the agent's process at rest after a tenth, a half and all of the jobs: memory,
the blocks of it that Python has in use, threads, descriptors, children, and what lies in its
scratch space. Queue and store are in memory, in a process of their own: one of the children.
"""

from __future__ import annotations

import argparse
import gc
import logging
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import IO, Any

import psutil
import structlog
from tests.functional.agent.bench import SWIFT, Bench, until
from tests.functional.agent.live import at_work
from tests.functional.agent.threaded import PromptQueue

from parallelize_agent.process import tree as process_tree
from parallelize_core.config import DrainSettings
from parallelize_core.store import ObjectInfo
from parallelize_core.testing import InMemoryStore

JOBS = 10_000
COMMAND = 'wc -c < "$1" > "$(basename "$1").n"; echo "$(basename "$1").n"'
STAYS = SWIFT.model_copy(update={"drain": DrainSettings(samples=10**9)})
MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """The process at rest, after a number of jobs; memory in bytes."""

    jobs: int
    seconds: float
    memory: int
    blocks: int
    threads: int
    descriptors: int
    children: int
    scratch: int


class Bucket(InMemoryStore):
    """The store, in its own process."""

    def keys(self, prefix: str, *, folder_only: bool) -> list[ObjectInfo]:
        return list(self.list(prefix, folder_only=folder_only))


class Cloud(BaseManager):
    """The process of the queue and the store."""


Cloud.register("Bucket", Bucket)
Cloud.register("Queue", PromptQueue)


class RemoteStore:
    """The way from the agent's process to the store's; files travel as bytes."""

    bucket = "bucket"

    def __init__(self, store: Any) -> None:
        self._store = store
        self.get, self.head, self.delete = store.get, store.head, store.delete
        self.put = store.put

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        return path.write_bytes(self.get(key))

    def put_file(self, key: str, file: IO[bytes], *options: Any) -> str | None:
        file.seek(0)
        etag: str | None = self.put(key, file.read(), *options)
        return etag

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        return iter(self._store.keys(prefix, folder_only=folder_only))


def measure(checkpoints: Sequence[int], folder: Path) -> Iterator[Sample]:
    """Let one agent work, and look at it when it has done a number of jobs."""
    with Cloud(ctx=get_context("spawn")) as cloud:
        yield from _measure(checkpoints, folder, cloud)


def _measure(checkpoints: Sequence[int], folder: Path, cloud: Any) -> Iterator[Sample]:
    bench = Bench(folder, COMMAND, config=STAYS, store=RemoteStore(cloud.Bucket()))  # type: ignore[arg-type]
    bench.queue = cloud.Queue()
    worker, done, started = bench.worker(), 0, time.monotonic()
    with at_work(worker):
        for checkpoint in checkpoints:
            bench.add({f"{number % 100}/{number}": b"x" for number in range(done, checkpoint)})
            done = checkpoint
            until(lambda: not bench.queue.counts().total, seconds=3600)
            until(lambda: worker.describe().done == done)  # noqa: B023 - asked at once
            yield look(done, time.monotonic() - started, folder)


def look(jobs: int, seconds: float, folder: Path) -> Sample:
    process = psutil.Process()
    jobs_folder = folder / "w1" / "jobs"
    gc.collect()
    return Sample(
        jobs,
        seconds,
        process.memory_info().rss,
        sys.getallocatedblocks(),
        threading.active_count(),
        process.num_fds(),
        len(process.children(recursive=True)),
        sum(path.parent != jobs_folder for path in jobs_folder.rglob("*")),
    )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    jobs = make_parser().parse_args().jobs
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    process_tree.adopt_orphans()
    folder = Path(tempfile.mkdtemp(prefix="endurance-"))
    say("| jobs | seconds | memory MiB | blocks | threads | descriptors | children | scratch |")
    say("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for sample in measure([jobs // 10, jobs // 2, jobs], folder):
        say(
            f"| {sample.jobs:,} | {sample.seconds:.0f} | {sample.memory / MIB:.1f} | "
            f"{sample.blocks:,} | {sample.threads} | {sample.descriptors} | {sample.children} | "
            f"{sample.scratch} |"
        )
    shutil.rmtree(folder)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.endurance")
    parser.add_argument("jobs", type=int, nargs="?", default=JOBS)
    return parser


if __name__ == "__main__":
    main()
