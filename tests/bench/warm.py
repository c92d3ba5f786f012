"""What a warm command saves: a start-up of 0.5 s and 5 ms of work a file, with and without it.

    python -m tests.bench.warm --files 5000 --plain 40

CPU of the agent and all that it starts, from its start to the last result. Without `run.serve`
each file costs the start-up, so some are measured and the rest is said by the rule of three.
"""

from __future__ import annotations

import argparse
import sys

import psutil
from tests.bench.engine.bench_run import BenchRun
from tests.bench.engine.worker_process import AGENT, worker
from tests.bench.small_cloud.process import small_cloud

from parallelize_core.run import Serve

LOAD = """#!/usr/bin/env python3
import json, os, sys, time
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
work(0.5)
"""
PLAIN = LOAD + "work(0.005)\n"
WARM = LOAD + "import parallelize\nparallelize.serve(lambda job: work(0.005))\n"
SLOTS = 2


def cpu_seconds(script: str, files: int, serve: Serve | None) -> float:
    """Return what an agent and its commands use for a number of files."""
    with small_cloud() as cloud:
        run = BenchRun.make(cloud, script, serve=serve)
        run.add(files)
        with worker(run, AGENT, run.config(SLOTS), None) as at_work:
            at_work.wait_for(lambda: at_work.done() >= files)
            ended = at_work.cpu()
            living = psutil.Process(at_work.process.pid).children(recursive=True)
            now = [process.cpu_times() for process in living]
            at_work.check_success()
    return ended.own + ended.children + sum(times.user + times.system for times in now)


def main() -> None:
    """Print both, and the ratio."""
    given = make_parser().parse_args()
    each = cpu_seconds(PLAIN, given.plain, None) / given.plain
    warm = cpu_seconds(WARM, given.files, Serve(jobs=given.files))
    sys.stdout.write(
        f"{given.files:,} files: {each * given.files:,.0f} s of CPU without run.serve "
        f"({1000 * each:.0f} ms each, of {given.plain}), {warm:.1f} s with it "
        f"({1000 * warm / given.files:.1f} ms each): ratio {each * given.files / warm:.0f}\n"
    )


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--plain", type=int, default=40)
    return parser


if __name__ == "__main__":
    main()
