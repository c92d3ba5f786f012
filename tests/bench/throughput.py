"""What a job costs an agent, beside what its calls to S3 and SQS cost anybody.

    python -m tests.bench.throughput [--jobs 1000] [--rounds 3] [--slots 2]

A real agent process works off tiny jobs (1 KB in, 1 KB out, a shell script) from a local cloud. The
same calls are then made one after the other by a loop with the same clients: for each job a HEAD
for its result, a GET of its input, a PUT each of output and result, and a tenth of a receive and of
a delete. CPU is that of the process itself, its commands apart. Both are taken in turn in each
round, so their ratio is what to look at: the emulated cloud decides how long all of it takes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from parallelize.local.cloud import local_cloud
from parallelize_core.clients import Clients, make_session
from parallelize_core.config import AgentConfig
from parallelize_core.queue import BATCH

BIN = Path(sys.executable).parent
SCRIPT = '#!/bin/sh\nread -r line < "$1"\necho "$line" > out.txt\necho out.txt\n'
BODY = b"x" * 1024
POLL_SECONDS = 0.05
ALL_NAMED = """\
[run]
command = "./job.sh"
env = "env/"
[output]
name = "{dir}/{stem}-{hash}{suffix}"
"""


@dataclass(frozen=True)
class Cost:
    """CPU and wall time for one job, in milliseconds."""

    cpu: float
    wall: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slots", default="2")
    options = parser.parse_args()
    agent, calls = [], []
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder, local_cloud() as cloud:
        environ = {**os.environ, **cloud.environ, "PARALLELIZE_WORKERS_SLOTS": options.slots}
        os.environ.update(cloud.environ)
        for number in range(options.rounds):
            project = make_project(Path(folder, f"round-{number}"), options.jobs)
            agent.append(measure_agent(project, options.jobs, environ))
            calls.append(measure_calls(project.name, options.jobs))
            show(number, agent[-1], calls[-1])
    ratios = sorted(a.cpu / c.cpu for a, c in zip(agent, calls, strict=True))
    say(
        f"CPU of the agent for a job, median: {median(a.cpu for a in agent):.1f} ms, "
        f"{median(ratios):.2f} times that of its calls ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def make_project(folder: Path, jobs: int) -> Path:
    for name, text in {"parallelize.toml": ALL_NAMED, "env/job.sh": SCRIPT}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "env/job.sh").chmod(0o755)
    (folder / "inputs").mkdir()
    for number in range(jobs):
        (folder / "inputs" / f"{number}.txt").write_bytes(BODY)
    return folder


def measure_agent(project: Path, jobs: int, environ: Mapping[str, str]) -> Cost:
    """Let one agent do all jobs; what it takes to start and to leave is not counted."""
    call(project, environ, "prep")
    call(project, environ, "enqueue")
    config = AgentConfig.decode(call(project, environ, "launch", "1", "--print-config"), "it")
    config = config.model_copy(update={"poll_seconds": 1, "metrics": False, "log_group": ""})
    (project / "agent.json").write_text(config.encode())
    log = project / "agent.log"
    with log.open("wb") as out:
        process = psutil.Popen(
            [BIN / "parallelize-agent", "--config", "agent.json", "--work-dir", project / "work"],
            cwd=project, env=dict(environ), stdout=out, stderr=out,
        )  # fmt: skip
        try:
            started = wait_for(log, 1, process)
            ended = wait_for(log, jobs, process)
        finally:
            process.kill()
            process.wait()
    done = jobs - 1
    return Cost((ended[0] - started[0]) * 1000 / done, (ended[1] - started[1]) * 1000 / done)


def wait_for(log: Path, jobs: int, process: psutil.Popen) -> tuple[float, float]:
    """Return the CPU and the wall time, in seconds, when so many jobs are settled."""
    while log.read_bytes().count(b'"job settled"') < jobs:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            sys.exit(f"the agent has left:\n{log.read_text()[-2000:]}")
        time.sleep(POLL_SECONDS)
    times = process.cpu_times()
    return times.user + times.system, time.perf_counter()


def measure_calls(run: str, jobs: int) -> Cost:
    """Make the calls of so many jobs, one after the other."""
    clients = Clients.make(make_session(None, None), 8)
    bucket = clients.s3.list_buckets()["Buckets"][0]["Name"]
    store = clients.store(bucket)
    url = clients.sqs.create_queue(QueueName=f"calls-{run}")["QueueUrl"]
    queue = clients.queue(url)
    names = [f"calls/{run}/{number}" for number in range(jobs)]
    queue.send([json.dumps({"key": name}) for name in names])
    for name in names:
        store.put(name, BODY)
    begun = spent(), time.perf_counter()
    for start in range(0, jobs, BATCH):
        messages = queue.receive(BATCH, 0, 60)
        for name in names[start : start + BATCH]:
            store.head(f"{name}.json")
            store.get(name)
            store.put_file(f"{name}.out", io.BytesIO(BODY))
            store.put(f"{name}.json", BODY)
        queue.delete([message.receipt for message in messages])
    return Cost((spent() - begun[0]) * 1000 / jobs, (time.perf_counter() - begun[1]) * 1000 / jobs)


def spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def call(project: Path, environ: Mapping[str, str], *words: str) -> str:
    done = subprocess.run(
        [BIN / "parallelize", *words],
        cwd=project, env=dict(environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{words}: {done.stderr}")
    return done.stdout


def show(number: int, agent: Cost, calls: Cost) -> None:
    say(
        f"round {number + 1}: agent {agent.cpu:.1f} ms CPU, {1000 / agent.wall:.0f} jobs/s; "
        f"the calls alone {calls.cpu:.1f} ms CPU; ratio {agent.cpu / calls.cpu:.2f}"
    )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
