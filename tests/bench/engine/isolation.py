"""What isolating each job from the next costs, as the image's unit has agents do it.

The agent runs as root here, with a second user for its jobs, on a memory file system of its own:
/dev/shm is not the same place to an isolated job.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from tests.bench.engine.bench_run import BenchRun
from tests.bench.engine.measures import NO_OP, Cores, Rate, measure_rate
from tests.bench.engine.worker_process import Program
from tests.bench.small_cloud.process import CloudProcess

SLOTS = 2
ON_OWN_DISK = 'mount -t tmpfs -o mode=755 tmpfs /mnt && exec "$@" --work-dir /mnt/work'
PLAIN: Program = ("unshare", "--mount", "--", "/bin/sh", "-c", ON_OWN_DISK, "sh")
ISOLATED: Program = ("env", "PARALLELIZE_JOB_USER=nobody", *PLAIN)


def why_not_isolated() -> str | None:
    """Return why this machine cannot isolate jobs, or None if it can."""
    if os.geteuid() != 0:
        return "it needs root"
    if not shutil.which("setpriv"):
        return "it needs setpriv"
    attempt = ["unshare", "--mount", "--", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    done = subprocess.run(attempt, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else None


def measure_isolation(
    cloud: CloudProcess, program: Program, cores: Cores, window: tuple[int, int]
) -> float:
    """Return the CPU that it takes, of the agent and of the job together: ms a job."""
    without, isolated = (
        measure_rate(BenchRun.make(cloud, NO_OP), (*prefix, *program), cores, SLOTS, window, 100)
        for prefix in (PLAIN, ISOLATED)
    )
    return _whole(isolated) - _whole(without)


def _whole(rate: Rate) -> float:
    return rate.cpu_ms + rate.children_ms
