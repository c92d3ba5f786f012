"""What the agent itself does for one job on its machine, part by part, in CPU time.

    python -m tests.bench.job_costs [--rounds 500] [--folder /dev/shm]

The command is `true`; its own time is in none of the figures but in those of `run()`, where the
time of the bare `subprocess` call is printed beside it. Medians, in milliseconds. The log goes to
stderr, which is best led to /dev/null.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import structlog

from parallelize_agent.cli import configure_log
from parallelize_agent.job.outputs import find_outputs
from parallelize_agent.job.scratch import JobFolder, ScratchSpace
from parallelize_agent.process import tree as process_tree
from parallelize_agent.process.command import Command, Execution
from parallelize_core import segment
from parallelize_core.clock import utc_now
from parallelize_core.job import JobMessage
from parallelize_core.result import Output, Result, Usage

LOG_LINE = b"2026-01-01 00:00:00 INFO step %d done, loss=0.12345\n"
LINES = 300_000
MD5, SHA256 = "0" * 32, "0" * 64

log = structlog.get_logger()


def made(space: ScratchSpace, key: str) -> JobFolder:
    """Make the folders of a job."""
    folder = space.reserve(key)
    space.make(folder)
    return folder


class Parts:
    """The time of each part, round after round."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    @contextmanager
    def timed(self, part: str, clock: Callable[[], float] = time.thread_time) -> Iterator[None]:
        started = clock()
        yield
        self._seconds.setdefault(part, []).append(clock() - started)

    def lines(self) -> Iterator[str]:
        for part, seconds in self._seconds.items():
            yield f"{part:52} {median(seconds) * 1000:8.3f} ms"


def command(job: JobFolder, *argv: str) -> Command:
    return Command(
        argv=argv,
        folder=job.scratch,
        environ={"PATH": os.environ["PATH"]},
        marker=f"PARALLELIZE_SCRATCH={job.scratch}",
    )


def one_job(parts: Parts, space: ScratchSpace, environment: Path) -> None:
    with parts.timed("scratch folder made, furnished, removed"):
        job = made(space, "a/b.txt")
        space.furnish(job, environment)
        space.remove(job)
    job = made(space, "a/b.txt")
    space.furnish(job, environment)
    with parts.timed("run() of `true`, wall clock", time.perf_counter):
        Execution(command(job, "/bin/true"), job.stdout, job.log).run()
    with parts.timed("run() of `true`, CPU of its thread"):
        Execution(command(job, "/bin/true"), job.stdout, job.log).run()
    with parts.timed("subprocess.run() of `true`, wall clock", time.perf_counter):
        subprocess.run(["/bin/true"], stdin=subprocess.DEVNULL, check=True)
    with parts.timed("look for orphans"):
        process_tree.end_orphans(0, f"PARALLELIZE_SCRATCH={job.scratch}")
    (job.scratch / "out.txt").write_text("x" * 1000)
    job.stdout.write_text("out.txt\n")
    with parts.timed("outputs found (one of 1,000 bytes)"):
        find_outputs(job.stdout, job.scratch, environment)
    space.remove(job)


def many_lines(parts: Parts, space: ScratchSpace) -> None:
    job = made(space, "chatty")
    (job.scratch / "out.txt").touch()
    printed = job.root / "printed"
    printed.write_bytes(b"".join(LOG_LINE % n for n in range(LINES)) + b"out.txt\n")
    with parts.timed(f"{LINES:,} lines read from the command"):
        Execution(command(job, "/bin/cat", str(printed)), job.stdout, job.log).run()
    with parts.timed(f"outputs found in {LINES:,} lines"):
        find_outputs(job.stdout, job.scratch, None)
    space.remove(job)


def paper_work(parts: Parts) -> None:
    """What is read, written down and said of a job."""
    body = JobMessage(run="run", key="a/b.txt", size=1000, etag=MD5).encode()
    with parts.timed("message read"):
        message = JobMessage.decode(body)
    with parts.timed("result made and encoded, for its own object and a segment"):
        result = Result(
            run="run", key=message.key, attempt=1, worker="w-1", started_at=utc_now(),
            finished_at=utc_now(), exit_code=0, usage=Usage(seconds=1.0, cpu_seconds=0.1),
            log="out.txt\n", environment=SHA256, status="succeeded", input_size=message.size,
            input_etag=message.etag, outputs=(Output(key="b", size=1, sha256=SHA256, etag=MD5),),
        )  # fmt: skip
        result.encode()
        segment.encode_line(result, MD5)
    with parts.timed("line of the log"):
        log.info("job settled", key=message.key, attempt=1, decision="succeeded", seconds=1.0)


async def ways(parts: Parts, rounds: int) -> None:
    """What it takes to have something done in a thread, both threads together."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(rounds):
            with parts.timed("way to a thread and back", time.process_time):
                await loop.run_in_executor(pool, int)


def main() -> int:
    options = make_parser().parse_args()
    process_tree.adopt_orphans()
    configure_log("w-1")
    parts = Parts()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        environment = Path(folder) / "environment"
        environment.mkdir()
        (environment / "job.sh").touch()
        space = ScratchSpace(Path(folder) / "jobs")
        for _ in range(options.rounds):
            one_job(parts, space, environment)
            paper_work(parts)
        asyncio.run(ways(parts, options.rounds))
        many_lines(parts, space)
    sys.stdout.write("".join(f"{line}\n" for line in parts.lines()))
    return 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
