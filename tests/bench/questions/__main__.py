"""Five questions about what does one command on many files, asked of ours and of its peers.

    python -m tests.bench.questions [--only first ...] [--files 400] [--rounds 1] [--json FILE]
    python -m tests.bench.questions --write     # the table and charts of docs, from the figures

Everything takes turns in one run, with two commands at once, files on a memory file system, S3 and
SQS of the small cloud. BENCH_PEERS names the folder of a virtual environment's programs, in which
`pip install awscli 'celery[sqs]' hyperqueue boto3` has put the peers; xargs and GNU parallel are
the system's. The questions:

    enqueued    files put on the queue in a second, and CPU of one
    first       seconds from the start of a worker to its first file done
    overhead    milliseconds of CPU for a file with a command that does nothing, all processes
    share       CPU that the commands want themselves, in percent of all that the worker takes
    recovery    seconds from a kill to the end of the file that was under way, elsewhere
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.client.__main__ import CLIENT
from tests.bench.client.enqueue import measure_enqueue
from tests.bench.engine.bench_run import BenchRun
from tests.bench.engine.figures import Figure, Report, describe_machine
from tests.bench.engine.measures import COMPUTE, NO_OP
from tests.bench.questions import consumers, starters
from tests.bench.questions.page import FIGURES, write
from tests.bench.small_cloud.process import CloudProcess, small_cloud

COMMAND_SECONDS = 0.2
FEW = 6
"""Files for what takes some seconds for each."""

SLOW = '#!/bin/sh\ntouch "$PWD/begun"\nsleep 5\n' + NO_OP.removeprefix("#!/bin/sh\n")


@dataclass(frozen=True)
class Questions:
    """How they are asked: of how many files, how often, on which core."""

    files: int
    rounds: int
    core: int | None
    cloud_core: int | None

    def enqueued(self, cloud: CloudProcess) -> Iterator[Figure]:
        """Files put on the queue in a second."""
        count = 100 * self.files
        clients = {"parallelize": CLIENT}
        for each in measure_enqueue(cloud, clients, count, self.rounds, None):
            yield Figure(ENQUEUED, each.who, "/s", (each.per_second,))
            yield Figure("CPU of a file enqueued", each.who, "ms", (each.cpu_ms,))
        for consumer in consumers.consumers():
            if consumer.python:
                run = BenchRun.make(cloud, NO_OP)
                yield Figure(
                    ENQUEUED, consumer.name, "/s", (self.files / consumer.send(run, self.files),)
                )

    def first(self, cloud: CloudProcess) -> Iterator[Figure]:
        """Seconds to the first file, and what a file costs that does nothing."""
        for name, taken in self._each(cloud, NO_OP, starters.NO_OP, self.files):
            yield Figure(FIRST, name, "s", tuple(one.first_seconds for one in taken))
            cpu = tuple(1000 * one.cpu_seconds / one.count for one in taken)
            yield Figure(OVERHEAD, name, "ms", cpu)
            if name == "HyperQueue":
                rates = tuple(one.count / float(one.said.split()[-1]) for one in taken)
                yield Figure(ENQUEUED, name, "/s", rates)

    def share(self, cloud: CloudProcess) -> Iterator[Figure]:
        """What the commands want of the CPU that is taken, in percent."""
        ours = COMPUTE.format(seconds=COMMAND_SECONDS)
        theirs = starters.COMPUTE.format(seconds=COMMAND_SECONDS)
        for name, taken in self._each(cloud, ours, theirs, max(20, self.files // 10)):
            shares = [100 * COMMAND_SECONDS * one.count / one.cpu_seconds for one in taken]
            yield Figure(SHARE, name, "%", tuple(shares), more_is_better=True)

    def recovery(self, cloud: CloudProcess) -> Iterator[Figure]:
        """Seconds from a kill to the end of the file that was under way."""
        for consumer in consumers.consumers():
            for told, row in ((True, TOLD), (False, KILLED)):
                seconds = consumers.measure_recovery(consumer, SLOW, cloud, self.core, told=told)
                yield Figure(row, consumer.name, "s", (seconds,))
        again = SLOW.replace('"$1"', "input").replace("out.txt", '"out/$1"', 1)
        again = again.rpartition("echo")[0]
        for starter in starters.starters(cloud):
            if starter.name in AGAIN:
                seconds = starters.measure_recovery(starter, again, cloud, self.core)
                yield Figure(KILLED, starter.name, "s", (seconds,))

    def _each(
        self, cloud: CloudProcess, ours: str, theirs: str, count: int
    ) -> Iterator[tuple[str, list[starters.Took]]]:
        found: dict[str, list[starters.Took]] = {}
        for _ in range(self.rounds):
            for consumer in consumers.consumers():
                took = consumers.measure(consumer, ours, count, cloud, self.core)
                found.setdefault(consumer.name, []).append(took)
            for starter in starters.starters(cloud):
                some = min(count, FEW) if starter.few else count
                took = starters.measure(starter, theirs, some, cloud, self.core)
                found.setdefault(starter.name, []).append(took)
        yield from found.items()


ENQUEUED = "files enqueued"
FIRST = "launch to first file"
OVERHEAD = "CPU for a file, command included"
SHARE = "share of CPU in commands of 0.2 s"
KILLED = "recovery after a kill"
TOLD = "recovery after a notice"
AGAIN = {"GNU parallel", "shell loop like dsub"}
"""What goes on where it was when somebody starts it again."""

ROWS: dict[str, Callable[[Questions, CloudProcess], Iterator[Figure]]] = {
    "enqueued": Questions.enqueued,
    "first": Questions.first,
    "share": Questions.share,
    "recovery": Questions.recovery,
}


def main() -> None:
    options = make_parser().parse_args()
    if options.write:
        write(Report.read(FIGURES))
        return
    allowed = sorted(os.sched_getaffinity(0))
    cloud_core = allowed[-1] if len(allowed) > 1 else None
    questions = Questions(options.files, options.rounds, allowed[0], cloud_core)
    report = Report(["parallelize"], describe_machine())
    with small_cloud(cloud_core) as cloud:
        cloud.put("bench", "warm", b"")
        for name in options.only or ROWS:
            for figure in ROWS[name](questions, cloud):
                report.figures.append(figure)
                sys.stdout.write(f"{figure.line}\n")
                sys.stdout.flush()
                if options.json:
                    options.json.write_text(report.encode() + "\n")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.questions")
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="QUESTION")
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--write", action="store_true", help=f"the page, from {FIGURES}")
    return parser


if __name__ == "__main__":
    main()
