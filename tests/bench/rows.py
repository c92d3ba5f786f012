"""A sheet of a million rows: seconds and memory of `prep`, a first time and with one row more.

`python -m tests.bench.rows [ROWS]` prints a line for each; the local cloud takes what is sent.
"""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from parallelize.local.cloud import local_cloud

ROWS = 1_000_000
PROGRAM = Path(sysconfig.get_path("scripts")) / "parallelize"


def main(rows: int) -> None:
    """Write a sheet, and prepare it twice."""
    with TemporaryDirectory() as folder, local_cloud(Path(folder) / "cloud") as cloud:
        sheet = Path(folder) / "jobs.tsv"
        with sheet.open("w") as file:
            file.write("sample\tlr\tseed\n")
            file.writelines(f"S{n // 100:06d}\t0.{n % 10}\t{n}\n" for n in range(rows))
        environ = {**os.environ, **cloud.environ, "XDG_CONFIG_HOME": folder}
        measure(f"prep of {rows:,} rows", folder, environ)
        with sheet.open("a") as file:
            file.write(f"last\t1\t{rows}\n")
        measure("the same with one more", folder, environ)


def measure(what: str, folder: str, environ: Mapping[str, str]) -> None:
    """Run `prep` in a process of its own; print how long it took, and its largest memory."""
    words = ("prep", "--run", "rows", "--inputs", "@jobs.tsv", "--create-bucket",
             "--command", "echo {sample} {lr} {seed}")  # fmt: skip
    begun = time.monotonic()
    child = os.fork()
    if not child:
        os.chdir(folder)
        os.execve(PROGRAM, [str(PROGRAM), *words], environ)
    _, status, used = os.wait4(child, 0)
    if status:
        sys.exit(f"prep has failed: {status}")
    took, memory = time.monotonic() - begun, used.ru_maxrss / 1024
    cpu = used.ru_utime + used.ru_stime
    sys.stdout.write(f"{what}: {took:.1f} s, {cpu:.1f} s of CPU, {memory:.0f} MiB at most\n")
    sys.stdout.flush()


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rows")
    parser.add_argument("rows", type=int, nargs="?", default=ROWS)
    return parser


if __name__ == "__main__":
    main(make_parser().parse_args().rows)
