"""A chaos run of any size: `python -m tests.chaos --seed 1 --jobs 3000 --faults 300`.

Exit status 1 if the checker found anything. With --keep the project, the machines' consoles, the
list of faults as they happened and the jobs' journal stay in a folder, whose name is printed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.chaos.bench import Plan, run_plan


def main() -> int:
    """Run, print the figures, and return the exit status."""
    options = make_parser().parse_args()
    plan = Plan(
        seed=options.seed,
        jobs=options.jobs,
        faults=options.faults,
        span_seconds=options.faults * options.pace,
        agents=options.agents,
        lease_seconds=options.lease,
        job_seconds=options.job_seconds,
        outage_seconds=options.outage,
        then=options.then,
        warm=options.warm,
    )
    plans = (replace(plan, seed=plan.seed + number) for number in range(options.runs))
    return max(run_one(one, keep=options.keep) for one in plans)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--agents", type=int, default=6)
    parser.add_argument("--lease", type=int, default=12, help="seconds")
    parser.add_argument("--pace", type=float, default=1.5, help="seconds between two faults")
    parser.add_argument("--job-seconds", type=float, default=1.0, help="on average")
    parser.add_argument("--outage", type=float, default=120, help="seconds, once, for all agents")
    parser.add_argument("--then", action="store_true", help="with a merge over all results")
    parser.add_argument("--warm", action="store_true", help="with warm commands (run.serve)")
    parser.add_argument("--runs", type=int, default=1, help="one after the other, by their seeds")
    parser.add_argument("--keep", action="store_true", help="keep the files")
    return parser


def run_one(plan: Plan, *, keep: bool) -> int:
    """Run one plan, print its figures, and return 1 if anything is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-")).resolve()
    try:
        verdict = run_plan(plan, folder)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.writelines(f"{line}\n" for line in verdict.lines())
    if keep:
        sys.stdout.write(f"{folder}\n")
    sys.stdout.flush()
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
