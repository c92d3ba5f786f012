"""What takes jobs from a queue: our agent, and a worker of Celery's, on the small cloud."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.engine.bench_run import BASE, BUCKET, BenchRun
from tests.bench.engine.worker_process import AGENT, Program, Worker, inherited, worker
from tests.bench.questions.starters import SLOTS, Took
from tests.bench.small_cloud.process import CloudProcess

from parallelize_core.layout import RunLayout

CELERY_PEER = Path(__file__).parents[1] / "engine" / "celery_peer.py"


@dataclass(frozen=True)
class Consumer:
    """A worker's program; `python` is that of a Celery that sends its messages itself, or empty."""

    name: str
    python: str = ""

    @contextmanager
    def at_work(self, run: BenchRun, core: int | None) -> Iterator[Worker]:
        """Run a worker; its commands are those of the run."""
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            script.write(run.script)
            script.flush()
            program: Program = AGENT
            if self.python:
                program = (self.python, str(CELERY_PEER), "work", "--script", script.name)
            with worker(run, program, run.config(SLOTS), core) as found:
                yield found

    def send(self, run: BenchRun, count: int) -> float:
        """Put jobs on the queue; return for how long Celery took, start included."""
        if not self.python:
            run.add(count)
            return 0.0
        began = time.perf_counter()
        with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
            config.write(run.config(SLOTS))
            config.flush()
            subprocess.run(
                [self.python, str(CELERY_PEER), "send", str(count), "--config", config.name,
                 "--work-dir", "/"],
                env=inherited() | run.cloud.environ, check=True,
            )  # fmt: skip
        return time.perf_counter() - began


def consumers() -> Iterator[Consumer]:
    """Go through those that are there."""
    yield Consumer("parallelize")
    peers = Path(os.environ.get("BENCH_PEERS", "/nowhere"))
    if (peers / "celery").is_file():
        yield Consumer("Celery", str(peers / "python"))


def measure(
    consumer: Consumer, script: str, count: int, cloud: CloudProcess, core: int | None
) -> Took:
    """Let a worker do all jobs, from its start to its last acknowledgement."""
    run = BenchRun.make(cloud, script)
    consumer.send(run, count)
    with consumer.at_work(run, core) as found:
        found.wait_for(lambda: found.done() >= 1)
        first = time.monotonic() - found.started_at
        found.wait_for(lambda: found.done() >= count)
        used, seconds = found.cpu(), time.monotonic() - found.started_at
        found.check_success()
    return Took(count, first, seconds, used.own + used.children)


def measure_recovery(
    consumer: Consumer, script: str, cloud: CloudProcess, core: int | None, *, told: bool
) -> float:
    """End a worker that is at its only job, and start another; seconds until that has done it.

    It is killed, or `told` to leave as a notice of the machine's end tells it.
    """
    run = BenchRun.make(cloud, script)
    consumer.send(run, 1)
    with consumer.at_work(run, core) as first:
        first.wait_for(lambda: run.stats()["leased"] > 0)
        time.sleep(1)  # so that its command has begun
        ended = time.monotonic()
        if told:
            first.process.terminate()
        else:
            first.process.kill()
        with consumer.at_work(run, core) as second:
            second.wait_for(lambda: _is_done(consumer, run))
            return time.monotonic() - ended


def _is_done(consumer: Consumer, run: BenchRun) -> bool:
    """Whether the only job is done: ours acknowledges a message that it hands back, too."""
    if consumer.python:
        return bool(run.stats()["deleted"])
    return bool(run.cloud.keys(BUCKET, RunLayout(BASE, run.name).results.prefix))
