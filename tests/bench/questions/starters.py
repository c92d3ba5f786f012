"""What starts commands itself, without a queue in a service: from its start to its end.

Each gets a script that takes a number, reads `input` and leaves `out/NUMBER`. The loop that is
like dsub's fetches the input and stores the output of each file by the AWS CLI.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.engine.worker_process import SCRATCH, inherited, pinned
from tests.bench.small_cloud.process import CloudProcess

SLOTS = 2
LOOK_SECONDS = 0.002
PEERS = "BENCH_PEERS"
"""Names the folder of a virtual environment's programs: aws, celery, hyperqueue's python."""

NO_OP = '#!/bin/sh\nread -r line < input\necho "$line" > "out/$1"\n'
COMPUTE = """#!/usr/bin/python3 -IS
import os, sys, time
content = open("input", "rb").read()
while time.process_time() < {seconds}:
    pass
open(f"out/{{sys.argv[1]}}", "wb").write(content)
os._exit(0)
"""

LOOP = """
one() {{
  aws s3 ls "$place/out/$1" > listed || {{
    aws s3 cp --quiet "$place/input" "input.$1"
    ./job.sh "$1"
    aws s3 cp --quiet "out/$1" "$place/out/$1"
  }}
}}
place=s3://bench/loop{mark}
aws s3 cp --quiet input "$place/input"
while read -r number; do
  while [ "$(jobs -rp | wc -l)" -ge {slots} ]; do wait -n; done
  one "$number" &
done < numbers
wait
"""
"""`dsub --skip` in a few lines: a file whose output is there is not done again."""


@dataclass(frozen=True)
class Took:
    """What a program took for `count` files: seconds, its first file, CPU seconds of all."""

    count: int
    first_seconds: float
    seconds: float
    cpu_seconds: float
    said: str = ""


@dataclass(frozen=True)
class Starter:
    """A program that starts commands."""

    name: str
    command: tuple[str, ...]
    """In it, COUNT stands for the number of files."""
    few: bool = False
    """Whether it takes too long for many files."""


def starters(cloud: CloudProcess) -> Iterator[Starter]:
    """Go through those that are there; say which are not."""
    peers = Path(os.environ.get(PEERS, "/nowhere"))
    given = f"xargs -P{SLOTS} -n1 ./job.sh < numbers"
    yield Starter("xargs", ("sh", "-c", given))
    if shutil.which("parallel"):
        logged = f"parallel --resume --joblog log -j{SLOTS} ./job.sh < numbers"
        yield Starter("GNU parallel", ("sh", "-c", logged))
    if list(peers.parent.glob("lib/python*/site-packages/hyperqueue")):
        script = str(Path(__file__).with_name("hyperqueue_peer.py"))
        yield Starter("HyperQueue", (str(peers / "python"), script, "COUNT"))
    if (peers / "aws").is_file():
        loop = LOOP.format(slots=SLOTS, mark=time.monotonic_ns())
        yield Starter("shell loop like dsub", ("bash", "-c", loop), few=True)
    else:
        sys.stderr.write(f"{PEERS} names no folder with aws: peers are left out\n")


@contextmanager
def workplace(script: str, count: int) -> Iterator[Path]:
    """Make a folder with a script, its input, the numbers of the files, and a place for outputs."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as name:
        folder = Path(name)
        (folder / "input").write_text("x" * 1023 + "\n")
        (folder / "numbers").write_text("".join(f"{number}\n" for number in range(count)))
        (folder / "job.sh").write_text(script)
        (folder / "job.sh").chmod(0o755)
        (folder / "out").mkdir()
        yield folder


def start(
    starter: Starter, folder: Path, count: int, cloud: CloudProcess, core: int | None
) -> subprocess.Popen[str]:
    """Start it, in a group of its own."""
    words = [word.replace("COUNT", str(count)) for word in starter.command]
    path = f"{os.environ.get(PEERS, '')}:{os.environ['PATH']}"
    return subprocess.Popen(
        pinned(core, *words), cwd=folder, text=True, process_group=0,
        env=inherited() | cloud.environ | {"HOME": str(folder), "PATH": path},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def measure(
    starter: Starter, script: str, count: int, cloud: CloudProcess, core: int | None
) -> Took:
    """Let it do all files; SystemExit if one is missing."""
    with workplace(script, count) as folder:
        began = time.perf_counter()
        process = start(starter, folder, count, cloud, core)
        first = _first(folder, process, began)
        assert process.stdout
        said = process.stdout.read()
        _, _, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = 0
        done = len(list((folder / "out").iterdir()))
        if done != count:
            sys.exit(f"{starter.name} has done {done} of {count} files")
    return Took(count, first, seconds, used.ru_utime + used.ru_stime, said)


def measure_recovery(starter: Starter, script: str, cloud: CloudProcess, core: int | None) -> float:
    """Kill it with its commands while it does its only file, start it again; seconds from then."""
    with workplace(script, 1) as folder:
        process = start(starter, folder, 1, cloud, core)
        while not (folder / "begun").exists():
            time.sleep(LOOK_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
        killed = time.perf_counter()
        process.wait()
        again = start(starter, folder, 1, cloud, core)
        _first(folder, again, killed)
        seconds = time.perf_counter() - killed
        again.wait()
    return seconds


def _first(folder: Path, process: subprocess.Popen[str], began: float) -> float:
    out = folder / "out"
    while not any(file.stat().st_size for file in out.iterdir()):
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            sys.exit("it ended without a file done")
        time.sleep(LOOK_SECONDS)
    return time.perf_counter() - began
