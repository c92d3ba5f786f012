"""How long `run --local` takes for many tiny files, beside xargs with the same command.

    python -m tests.bench.local_run [--files 2000] [--rounds 3]

Both process each file by a shell script that copies it, two at a time. What `run --local` takes
includes the start of the local cloud, uploads, results, downloads and the report; xargs reads and
writes the files in place. They take turns, and the ratio is of one round. CPU is that of all
processes of each; where others use the cores, its ratio is what to look at.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

from parallelize.local.records import CloudState

AT_ONCE = 2
SCRIPT = """#!/bin/sh
name="${1##*/}.out"
cp "$1" "$name"
echo "$name"
"""
SETTINGS = """[run]
name = "tiny"
command = "./job.sh"
env = "env/"
"""
XARGS = f"cd copies && ls ../inputs | xargs -P{AT_ONCE} -I@ ../env/job.sh ../inputs/@"


def main() -> None:
    options = make_parser().parse_args()
    rounds = []
    for _ in range(options.rounds):
        with TemporaryDirectory(prefix="local-run-") as folder:
            found = measure(Path(folder), options.files)
        rounds.append(found)
        show(
            f"xargs {found.xargs.wall:.1f} s (CPU {found.xargs.cpu:.1f})   "
            f"run --local {found.ours.wall:.1f} s (CPU: client {found.ours.cpu:.1f}, "
            f"cloud {found.cloud_cpu:.1f}, workers and jobs {found.workers_cpu:.1f})   "
            f"{found.ratio:.2f} times, CPU {found.cpu_ratio:.2f} times"
        )
    show(
        f"median {median(found.ratio for found in rounds):.2f} times, "
        f"CPU {median(found.cpu_ratio for found in rounds):.2f} times"
    )


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.local_run")
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, and of CPU of a process and those that it has waited for."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Round:
    """What one round cost."""

    xargs: Cost
    ours: Cost
    cloud_cpu: float
    workers_cpu: float

    @property
    def ratio(self) -> float:
        return self.ours.wall / self.xargs.wall

    @property
    def cpu_ratio(self) -> float:
        return (self.ours.cpu + self.cloud_cpu + self.workers_cpu) / max(self.xargs.cpu, 0.01)


def measure(folder: Path, files: int) -> Round:
    """Let xargs and `run --local` process the same files."""
    make_project(folder, files)
    environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    parallelize = [str(Path(sys.executable).with_name("parallelize"))]
    try:
        xargs = timed(["sh", "-c", XARGS], folder, environ)
        ours = timed([*parallelize, "run", "--local"], folder, environ)
        state = CloudState.read(folder / "state" / "parallelize" / "local")
        assert state
        cloud = psutil.Process(state.pid).cpu_times()
    finally:
        subprocess.run([*parallelize, "local", "stop"], env=environ, check=True)
    assert len([*(folder / "copies").iterdir()]) == files
    assert sum(path.is_file() for path in (folder / "out").rglob("*")) >= files
    return Round(
        xargs, ours, cloud.user + cloud.system, cloud.children_user + cloud.children_system
    )


def make_project(folder: Path, files: int) -> None:
    for name in ("inputs", "env", "copies"):
        (folder / name).mkdir()
    for number in range(files):
        (folder / "inputs" / f"{number:06}.txt").write_text(f"content of {number}\n")
    script = folder / "env" / "job.sh"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    (folder / "parallelize.toml").write_text(SETTINGS)


def timed(command: list[str], folder: Path, environ: dict[str, str]) -> Cost:
    start, before = time.perf_counter(), os.times()
    subprocess.run(command, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user - before.children_user
    return Cost(wall, cpu + after.children_system - before.children_system)


def show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
