"""What the client costs, beside its peers in the same run.

    python -m tests.bench.client [--only small --only queue ...] [--rounds 3] [--json FILE]
    python -m tests.bench.client --client before=OLD/bin/parallelize --client after=...

Everything is measured from outside, from a program's start to its end: any version of the client
can be measured. S3 and SQS are the small cloud on another core; files are on a memory file system.
Peers are taken from the folder that BENCH_PEERS names; one that is not there is left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.client.enqueue import measure_enqueue
from tests.bench.client.figures import HEAD, Figure, Report
from tests.bench.client.memory import measure_memory
from tests.bench.client.reading import measure_listing, measure_reading
from tests.bench.client.scene import MIB
from tests.bench.client.transfers import Load, measure_transfers
from tests.bench.engine.figures import describe_machine
from tests.bench.small_cloud.process import small_cloud

FEW = 5

CLIENT = str(Path(sys.executable).with_name("parallelize"))


@dataclass(frozen=True)
class Bench:
    """What is measured, how often, and the cores of clients and of the cloud."""

    clients: dict[str, str]
    rounds: int
    core: int | None
    cloud_core: int | None
    count: int
    size: int
    delay: float = 0.0
    tls: bool = False
    tiny: bool = False

    def transfers(self, count: int, size: int) -> Iterator[Figure]:
        """Files up and down."""
        load = Load(FEW, min(size, MIB)) if self.tiny else Load(count, size)
        with small_cloud(self.cloud_core, tls=self.tls) as cloud:
            cloud.delay(self.delay)
            yield from measure_transfers(cloud, self.clients, load, self.rounds, self.core)

    def enqueue(self) -> Iterator[Figure]:
        """Jobs onto a queue."""
        with small_cloud(self.cloud_core) as cloud:
            count = self.count or 40_000
            yield from measure_enqueue(cloud, self.clients, count, self.rounds, self.core)

    def reading(self) -> Iterator[Figure]:
        """What tells of a run."""
        yield from measure_reading(self.clients, self.count or 40_000, self.core, self.cloud_core)

    def listing(self) -> Iterator[Figure]:
        """The state of a long run over a slow network."""
        yield from measure_listing(
            self.clients, self.count or 1_000_000, self.core, self.cloud_core
        )

    def memory(self) -> Iterator[Figure]:
        """What grows with the number of jobs, if anything does."""
        yield from measure_memory(self.clients, self.count or 150_000, self.core, self.cloud_core)


ROWS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "small": lambda bench: bench.transfers(bench.count or 2000, bench.size),
    "many": lambda bench: bench.transfers(bench.count or 20_000, bench.size),
    "medium": lambda bench: bench.transfers(300, MIB),
    "large": lambda bench: bench.transfers(2, 512 * MIB),
    "queue": Bench.enqueue,
    "reading": Bench.reading,
    "listing": Bench.listing,
    "memory": Bench.memory,
}


def main() -> None:
    options = make_parser().parse_args()
    allowed = sorted(os.sched_getaffinity(0))
    cloud_core = allowed[-1] if len(allowed) > 1 else None
    # Otherwise clients may use all cores, as s5cmd does.
    core = allowed[0] if options.one_core else None
    clients = dict(options.client) if options.client else {"parallelize": CLIENT}
    rounds, count = (1, FEW) if options.tiny else (options.rounds, options.count)
    bench = Bench(
        clients, rounds, core, cloud_core, count, options.size, options.delay, options.tls,
        options.tiny,
    )  # fmt: skip
    report = Report(describe_machine())
    _say(", ".join(f"{name} {value}" for name, value in report.machine.items()))
    _say(HEAD)
    for name in options.only or ROWS:
        for figure in ROWS[name](bench):
            report.figures.append(figure)
            _say(figure.line)
            if options.json:
                options.json.write_text(report.encode() + "\n")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.client")
    parser.add_argument("--client", action="append", type=_named, metavar="NAME=PROGRAM")
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=0, help="of files, jobs or results")
    parser.add_argument("--size", type=int, default=4096, help="bytes of each small file")
    parser.add_argument(
        "--delay", type=float, default=0.0, metavar="SECONDS",
        help="how long the server takes for each request of a transfer",
    )  # fmt: skip
    parser.add_argument("--tls", action="store_true", help="make transfers over TLS, as with AWS")
    parser.add_argument(
        "--one-core", action="store_true", help="give a client one core, and no other"
    )
    parser.add_argument("--tiny", action="store_true", help="do as little as possible")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


def _named(text: str) -> tuple[str, str]:
    name, _, program = text.partition("=")
    # Absolute, because it is started in another folder.
    return name, str(Path(program).absolute()) if "/" in program else program


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
