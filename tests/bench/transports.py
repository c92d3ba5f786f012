"""What a small call to S3 or SQS costs the one who makes it, in CPU, by several libraries.

    python -m tests.bench.transports [--calls 3000] [--rounds 3] [--json FILE]

Each candidate gets an object of 1 KiB, receives ten messages and sends ten, one call after the
other over a connection that it keeps. All sign: boto3 and obstore by themselves, the others with
this project's signer. Each runs in a process of its own on one core, the server on another. What is
not installed is left out, and named. niquests puts its own urllib3 in the place of the other's,
unless it is installed so:

    URLLIB3_NO_OVERRIDE=1 pip install --no-binary urllib3-future niquests
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.transport_candidates import CANDIDATES, CANNOT


@dataclass(frozen=True)
class Measured:
    """CPU in microseconds for a call, by its kind; None for what a candidate cannot do."""

    name: str
    version: str
    cpu: dict[str, float | None]


KINDS = ("get", "receive", "send")


async def measure(name: str, port: int, calls: int) -> Measured:
    """Return what a candidate's calls cost; its first ones are not counted."""
    call, version = CANDIDATES[name](port)
    cpu: dict[str, float | None] = {}
    for kind in KINDS:
        try:
            for _ in range(200):
                await call(kind)
            before = time.process_time()
            for _ in range(calls):
                await call(kind)
            cpu[kind] = (time.process_time() - before) / calls * 1e6
        except NotImplementedError:
            cpu[kind] = None
    return Measured(name, version, cpu)


@contextmanager
def serving(core: int) -> Any:
    """Run the server on a core, and give its port."""
    server = subprocess.Popen(
        ["taskset", "-c", str(core), sys.executable, "-m", "tests.bench.transport_server"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()


def run_one(name: str, port: int, calls: int, core: int) -> Measured | str:
    """Measure a candidate in a process of its own; answer why not, if it cannot be."""
    done = subprocess.run(
        [
            "taskset", "-c", str(core), sys.executable, "-m", "tests.bench.transports",
            "--one", name, "--port", str(port), "--calls", str(calls),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return Measured(**json.loads(done.stdout))


def compare(calls: int, rounds: int) -> tuple[list[Measured], dict[str, str]]:
    """Measure all candidates in turn, `rounds` times; return medians, and who was left out."""
    cores = sorted(os.sched_getaffinity(0))
    found: dict[str, list[Measured]] = {}
    missing: dict[str, str] = {}
    with serving(cores[-1]) as port:
        for _ in range(rounds):
            for name in CANDIDATES.keys() - missing.keys():
                one = run_one(name, port, calls, cores[0])
                if isinstance(one, str):
                    missing[name] = one
                else:
                    found.setdefault(name, []).append(one)
    return [middle(found[name]) for name in CANDIDATES if name in found], missing


def middle(several: list[Measured]) -> Measured:
    cpu: dict[str, float | None] = {}
    for kind in KINDS:
        costs = [cost for one in several if (cost := one.cpu[kind]) is not None]
        cpu[kind] = median(costs) if costs else None
    return Measured(several[0].name, several[0].version, cpu)


def table(measured: list[Measured]) -> str:
    lines = ["| | get | receive 10 | send 10 | cannot |", "|---|---:|---:|---:|---|"]
    for one in measured:
        costs = " | ".join("-" if (c := one.cpu[kind]) is None else f"{c:.0f}" for kind in KINDS)
        lines.append(f"| {one.name} {one.version} | {costs} | {CANNOT[one.name]} |")
    return "\n".join(lines)


def main() -> None:
    options = make_parser().parse_args()
    if options.one:
        one = asyncio.run(measure(options.one, options.port, options.calls))
        sys.stdout.write(json.dumps(vars(one)) + "\n")
        sys.stdout.flush()
        os._exit(0)  # some candidates leave threads that do not end
    measured, missing = compare(options.calls, options.rounds)
    sys.stdout.write("CPU for a call, in microseconds\n\n" + table(measured) + "\n")
    for name, why in missing.items():
        sys.stdout.write(f"{name} is left out: {why}\n")
    if options.json:
        options.json.write_text(json.dumps([vars(one) for one in measured], indent=1))


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
