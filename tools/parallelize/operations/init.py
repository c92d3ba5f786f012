"""Makes a new project folder. It overwrites nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from parallelize.console import escape, some
from parallelize_core.errors import UsageError

TOML = """\
schema = 1

[run]
# name  = "scans"               # default: this folder's name
inputs  = "inputs/"             # a folder, a glob, @list.txt or s3://bucket/prefix/
# exclude = ["*.log", "old/"]   # skip these; .DS_Store and the like are always skipped
command = "./job.sh"            # called as: ./job.sh INPUT ; prints the files it made
# shell = true                  # a shell reads the command; the input is "$1" in it
env     = "env/"                # what the command needs, itself included
timeout = "30m"                 # per file
attempts = 3                    # then the file counts as failed
# setup = "./setup.sh"          # once per worker, before its first job; may add to env/
# halt = "5%"                   # pause the run when 5% of the files, or a number, have failed
# require_output = true         # fail a command that makes no file; false: accept it
# memory_per_job = "2GiB"
# gpus_per_job   = 1

[output]
# to     = "s3://bucket/out/"   # default: with the run's other data
# name   = "{dir}/{stem}{suffix}"   # also {run} and {hash}
# on_clash = "fail"             # or "suffix", "replace"
# collect = "*.png"             # outputs whose names the command does not print

[aws]
# profile = "lab"               # AWS_PROFILE overrides it
# region  = "eu-west-1"         # AWS_REGION overrides it
# bucket  = "auto"              # the one that `parallelize setup` makes
# tags    = { project = "scans" }

[workers]
count   = 2
# types = ["c7i.xlarge", "c6i.xlarge", "m6i.xlarge"]
# slots = "auto"                # files at once per worker: one per vCPU; or 4, or "2x"
# market = "spot"               # or "on-demand"
# max_hours = 12                # then a worker shuts itself down
# max_cost  = 20.0              # US dollars, estimated

[report]
# html = false                  # `run` writes no NAME-report.html at its end
"""

JOB = """\
#!/bin/sh
# Called with one input file; prints the name of each file it makes. Logs go to stderr.
set -eu
input=$1
name=$(basename "$input")
wc -c < "$input" > "$name.size"
echo "$name.size"
"""


def make(folder: Path, contents: Mapping[str, bytes], *, example: bool) -> None:
    """Write a project into a folder; unless it is the example, add a folder for its inputs."""
    write(folder, contents)
    if not example:
        (folder / "inputs").mkdir(exist_ok=True)


def contents_for(folder: Path, *, example: bool) -> dict[str, bytes]:
    """Return the names and contents of a project; UsageError if the folder has one of them."""
    contents = dict(example_files() if example else blank_files())
    check_absent(folder, contents)
    return contents


def blank_files() -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of a project without inputs."""
    yield "parallelize.toml", TOML.encode()
    yield "env/job.sh", JOB.encode()


def example_files() -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the example that ships with the package."""
    yield from _below(files("parallelize") / "example", "")


def check_absent(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Raise UsageError if something would be overwritten, before anything is written."""
    if there := [name for name in contents if os.path.lexists(folder / name)]:
        raise UsageError(
            f"{escape(str(folder))} has a project already", some(there),
            "give an empty folder: parallelize init DIR",
        )  # fmt: skip


def write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write new files; make scripts executable, because a wheel may have lost their mode."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(content)
        if content.startswith(b"#!"):
            path.chmod(path.stat().st_mode | 0o111)


def _below(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir() and item.name != "__pycache__":
            yield from _below(item, f"{prefix}{item.name}/")
        elif item.is_file():
            yield prefix + item.name, item.read_bytes()
