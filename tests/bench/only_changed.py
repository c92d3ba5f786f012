"""What is done again, and how long that takes, when some or all of many files have changed.

    python -m tests.bench.only_changed [--files 10000]

Each line is a command on the local cloud, with its exit code, the jobs that it has executed (the
script counts them), the files that it has uploaded, and its seconds of wall time. The last is a
second run by another name over the same files.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.local_run import show

SCRIPT = """#!/bin/sh
name="${1##*/}.out"
cp "$1" "$name"
echo >> COUNTED
echo "$name"
"""
SETTINGS = """[run]
name = "many"
command = "./job.sh"
env = "env/"
[report]
html = false
"""


def main() -> None:
    options = make_parser().parse_args()
    with TemporaryDirectory(prefix="only-changed-") as folder:
        bench = Bench(Path(folder))
        bench.make(options.files)
        try:
            measure(bench, options.files)
        finally:
            bench.call("local", "stop")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.only_changed")
    parser.add_argument("--files", type=int, default=10_000)
    return parser


def measure(bench: Bench, files: int) -> None:
    """Run, change something, and run again."""
    bench.step("the first run", 0, files, "run", "--local")
    bench.step("nothing has changed", 0, 0, "run", "--local")
    for number in (1, 17, files // 2):
        (bench.folder / "inputs" / f"{number:06}.txt").write_text("changed\n")
    bench.step("3 files changed, not asked", 2, 0, "run", "--local")
    bench.step("3 files changed", 0, 3, "run", "--local", "--changed", "redo")
    bench.write_script("# another\n")
    bench.step("the script changed, not asked", 2, 0, "run", "--local")
    bench.step("the script changed", 0, files, "run", "--local", "--changed", "redo")
    bench.step("nothing has changed", 0, 0, "run", "--local")
    bench.step("another run", 0, 0, "run", "--local", "--run", "second", "--out", "second")
    bench.step(
        "another run once more", 0, 0, "run", "--local", "--run", "second", "--out", "second"
    )


@dataclass(frozen=True)
class Bench:
    """A project with very many files, on a local cloud of its own."""

    folder: Path

    def make(self, files: int) -> None:
        (self.folder / "inputs").mkdir()
        (self.folder / "env").mkdir()
        for number in range(files):
            (self.folder / "inputs" / f"{number:06}.txt").write_text(f"content of {number}\n")
        (self.folder / "parallelize.toml").write_text(SETTINGS)
        self.write_script("")

    def write_script(self, more: str) -> None:
        script = self.folder / "env" / "job.sh"
        script.write_text(SCRIPT.replace("COUNTED", str(self.folder / "counted")) + more)
        script.chmod(0o755)

    def step(self, what: str, code: int, executed: int, *words: str) -> None:
        """Call a command, and say what it did; fail if that is not what was expected."""
        before, start = self.counted(), time.perf_counter()
        done = self.call(*words)
        took, count = time.perf_counter() - start, self.counted() - before
        sent = sum(map(int, re.findall(r"uploaded (\d+)/\1\b", done.stderr.replace(",", ""))))
        show(
            f"{what:32} exit {done.returncode}  {count:6,} executed  "
            f"{sent:6,} uploaded  {took:6.1f} s"
        )
        for line in done.stderr.splitlines():
            if "out of date" in line:
                show(f"    {line}")
        assert (done.returncode, count) == (code, executed), done.stderr

    def counted(self) -> int:
        place = self.folder / "counted"
        return place.read_bytes().count(b"\n") if place.exists() else 0

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        home = {name: str(self.folder / name) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME")}
        program = Path(sys.executable).with_name("parallelize")
        return subprocess.run(
            [program, *words], cwd=self.folder, env=os.environ | home, text=True, check=False,
            capture_output=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
