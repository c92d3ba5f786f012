"""One search of any size: `python -m tests.model --executions 3 --outputs 2 --crashes 1`.

Prints how many states there are, and the shortest way to what is wrong; exit status 1 if
anything is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

import structlog
from tests.model.agent import Agent, make_work
from tests.model.search import Luck, Search

BAD_LUCK = tuple(kind.name for kind in fields(Luck))


def main() -> int:
    """Search, print what is wrong, and return the exit status."""
    options = make_parser().parse_args()
    luck = Luck(**{name: getattr(options, name) for name in BAD_LUCK})
    with tempfile.TemporaryDirectory() as folder, structlog.testing.capture_logs():
        agent = Agent(make_work(Path(folder), options.executions, options.outputs), options.workers)
        outcome = Search(agent, luck, options.executions).run()
    verdict = outcome.violation or "nothing is wrong"
    lines = (f"{outcome.states:,} states: {verdict}", *(f"  {step}" for step in outcome.steps))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 1 if outcome.violation else 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--executions", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0, help="0: one for each execution")
    parser.add_argument("--outputs", type=int, default=1)
    for name in BAD_LUCK:
        parser.add_argument(f"--{name}", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
