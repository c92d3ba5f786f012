"""How long `run --local` takes for many tiny files, beside xargs with the same command.

    python -m tests.bench.local_run [--files 2000] [--rounds 3]

Both process each file by a shell script that copies it, two at a time. What `run --local` takes
includes the start of the local cloud, uploads, results, downloads and the report; xargs reads and
writes the files in place. They take turns, and the ratio is of one round.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

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
    parser = argparse.ArgumentParser(prog="python -m tests.bench.local_run")
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for _ in range(options.rounds):
        with TemporaryDirectory(prefix="local-run-") as folder:
            xargs, ours = measure(Path(folder), options.files)
        ratios.append(ours / xargs)
        show(f"xargs {xargs:6.1f} s   run --local {ours:6.1f} s   {ours / xargs:5.2f} times")
    show(f"median {median(ratios):.2f} times")


def measure(folder: Path, files: int) -> tuple[float, float]:
    """Return the seconds of xargs and those of `run --local`."""
    make_project(folder, files)
    environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    parallelize = [str(Path(sys.executable).with_name("parallelize"))]
    try:
        xargs = timed(["sh", "-c", XARGS], folder, environ)
        ours = timed([*parallelize, "run", "--local"], folder, environ)
    finally:
        subprocess.run([*parallelize, "local", "stop"], env=environ, check=True)
    assert len([*(folder / "copies").iterdir()]) == files
    assert sum(path.is_file() for path in (folder / "out").rglob("*")) >= files
    return xargs, ours


def make_project(folder: Path, files: int) -> None:
    for name in ("inputs", "env", "copies"):
        (folder / name).mkdir()
    for number in range(files):
        (folder / "inputs" / f"{number:06}.txt").write_text(f"content of {number}\n")
    script = folder / "env" / "job.sh"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    (folder / "parallelize.toml").write_text(SETTINGS)


def timed(command: list[str], folder: Path, environ: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
