"""Peers: what others take to start commands, and to take messages from a queue.

xargs and GNU parallel start the same command, with no file from or to anywhere. Celery takes
messages from the same small cloud and starts it in two threads; it lives in a Python of its own,
which BENCH_CELERY names. A peer that is not there is left out, and that is said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.bench.engine.bench_run import BenchRun
from tests.bench.engine.figures import Figure
from tests.bench.engine.measures import COMPUTE, NO_OP, Cores, Makespan, Rate, measure_window
from tests.bench.engine.worker_process import (
    SCRATCH,
    Cpu,
    busy_seconds,
    cpu_of,
    inherited,
    pinned,
    worker,
)
from tests.bench.small_cloud.process import small_cloud

SLOTS = 2
CELERY = "BENCH_CELERY"
SPAWNERS = {
    "xargs": ("xargs", f"-P{SLOTS}", "-n1"),
    "GNU parallel": ("parallel", f"-j{SLOTS}"),
}
POLL_SECONDS = 0.01


def measure_peers(cores: Cores, rounds: int, window: tuple[int, int]) -> Iterator[Figure]:
    """Measure those that are there."""
    for name, command in SPAWNERS.items():
        if not shutil.which(command[0]):
            sys.stderr.write(f"{name} is not measured: it is not installed\n")
            continue
        found = [_spawn(cores, command, window[1]) for _ in range(rounds)]
        yield from _figures("starting a no-op command", name, found)
    if python := os.environ.get(CELERY):
        taken = [_consume(cores, python, window) for _ in range(rounds)]
        yield from _figures("a message and a no-op command, no files", "Celery", taken)
    else:
        sys.stderr.write(f"Celery is not measured: {CELERY} names no Python that has it\n")


def measure_xargs_makespan(cores: Cores, seconds: float, megabytes: float, jobs: int) -> Makespan:
    """Start commands that compute, one at a time, with no file from or to anywhere."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as folder:
        script = _write(folder, COMPUTE.format(seconds=seconds), int(megabytes * 1e6))
        started, busy = time.monotonic(), busy_seconds(cores.worker)
        _run(cores, ("xargs", "-n1", script), folder, jobs)
        took, ideal = time.monotonic() - started, seconds * jobs
        return Makespan(took / ideal, (busy_seconds(cores.worker) - busy - ideal) / took)


def _spawn(cores: Cores, command: tuple[str, ...], jobs: int) -> Rate:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as folder:
        script = _write(folder, NO_OP, 1024)
        started = time.monotonic()
        used = _run(cores, (*command, script), folder, jobs)
        seconds = time.monotonic() - started
    return Rate(1000 * used.own / jobs, 1000 * used.children / jobs, jobs / seconds)


def _run(cores: Cores, command: tuple[str, ...], folder: str, jobs: int) -> Cpu:
    """Run a spawner to its end; return what it used itself, as it was last seen."""
    names = Path(folder, "names")
    names.write_text(f"{folder}/input\n" * jobs)
    used = Cpu(0, 0)
    with names.open("rb") as stdin:
        process = subprocess.Popen(
            pinned(cores.worker, *command), cwd=folder, stdin=stdin, stdout=subprocess.DEVNULL
        )
    while process.poll() is None:
        with suppress(OSError):  # it may end just now
            used = cpu_of(process.pid)
        time.sleep(POLL_SECONDS)
    if process.returncode:
        sys.exit(f"{command[0]} failed")
    return used


def _consume(cores: Cores, python: str, window: tuple[int, int]) -> Rate:
    program = (python, str(Path(__file__).parent / "celery_peer.py"))
    with small_cloud(cores.cloud) as cloud:
        run = BenchRun.make(cloud, NO_OP)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
            config.write(run.config(SLOTS))
            config.flush()
            send = [*program, "send", f"{window[1] + 200}", "--config", config.name]
            subprocess.run([*send, "--work-dir", "/"], env=inherited() | cloud.environ, check=True)
        with worker(run, (*program, "work"), run.config(SLOTS), cores.worker) as at_work:
            return measure_window(at_work, at_work.done, window)


def _write(folder: str, script: str, input_bytes: int) -> str:
    """Put a script and its input into a folder; return the script's path."""
    Path(folder, "input").write_bytes(b"x" * (input_bytes - 1) + b"\n")
    path = Path(folder, "job.sh")
    path.write_text(script)
    path.chmod(0o755)
    return str(path)


def _figures(row: str, name: str, found: list[Rate]) -> Iterator[Figure]:
    yield Figure(f"CPU for {row}", name, "ms", tuple(rate.cpu_ms for rate in found))
    rates, others = tuple(r.per_second for r in found), tuple(r.others for r in found)
    yield Figure(f"{row}, on one core", name, "/s", rates, others=others)
