"""What the agent costs, by every figure that is wanted of it, and its peers in the same run.

    python -m tests.bench.engine [--only rates --only lines ...] [--rounds 5] [--json FILE]
    python -m tests.bench.engine --agent before=OLD/bin/parallelize-agent --agent after=...

Everything is measured from outside: an agent is a process with a configuration, its CPU is what
/proc says, its jobs are what the queue has seen acknowledged; so any version of the agent can be
measured. CPU for a job is that of a window, (later - earlier) / jobs, which leaves out starting
and leaving. S3 and SQS are the small cloud on another core; files are on a memory file system.
Not a test of anything but speed: `--tiny` only shows that all of it still works.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from tests.bench.engine.figures import Report, describe_machine
from tests.bench.engine.measures import Cores
from tests.bench.engine.rows import ROWS, Bench, Effort
from tests.bench.engine.worker_process import AGENT, Program


def main() -> None:
    options = make_parser().parse_args()
    # So that what was started is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    effort = Effort.tiny() if options.tiny else Effort()
    if options.rounds:
        effort = replace(effort, rounds=options.rounds)
    agents = dict(options.agent) if options.agent else {"agent": AGENT}
    bench = Bench(agents, _choose_cores(), effort)
    report = Report(list(agents), describe_machine())
    _say(", ".join(f"{name} {value}" for name, value in report.machine.items()))
    for name in options.only or ROWS:
        for figure in ROWS[name](bench):
            report.figures.append(figure)
            _say(figure.line)
            if options.json:
                options.json.write_text(report.encode() + "\n")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engine")
    parser.add_argument(
        "--agent",
        action="append",
        type=_named,
        metavar="NAME=PROGRAM",
        help="an agent to measure, several in turn (default: the one of this Python)",
    )
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="do as little as possible")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


def _named(text: str) -> tuple[str, Program]:
    name, _, program = text.partition("=")
    return name, (program,)


def _choose_cores() -> Cores:
    """Give the worker and the cloud a core each; this program shares the cloud's."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        _say("there is one core only, so cloud and worker share it: rates say little")
        return Cores(None, None)
    os.sched_setaffinity(0, {allowed[1]})
    return Cores(allowed[0], allowed[1])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
