"""Runs of up to 10,000 workers and 100 million jobs, simulated: see docs/performance.md.

    python -m tests.bench.fleet_simulation                  # the table of scales
    python -m tests.bench.fleet_simulation --former         # before the design was changed
    python -m tests.bench.fleet_simulation --queues 2 --slots 16 --launches-per-second 100
    python -m tests.bench.fleet_simulation --real --workers 2 --jobs 200 --job-seconds 1
    python -m tests.bench.fleet_simulation --page           # write table and chart into docs

`--real` lets real agents do the same run on the small cloud of the benches, and compares.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace

from tests.bench.engine.charts import CHARTS, PAGE, draw
from tests.bench.fleet_simulation.inputs import FORMER, Design, Inputs, Limits, Scale
from tests.bench.fleet_simulation.real_run import compared, measured, simulated
from tests.bench.fleet_simulation.table import chart, table, with_table


def main() -> None:
    options = make_parser().parse_args()
    inputs = inputs_of(options)
    if options.page:
        PAGE.write_text(with_table(PAGE.read_text(), Inputs()))
        told = chart(Inputs())
        (CHARTS / f"{told.name}.svg").write_text(draw(told))
        return
    lines = compare(options, inputs) if options.real else table(inputs, options.slots, options.seed)
    for line in lines:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet_simulation")
    parser.add_argument("--former", action="store_true")
    parser.add_argument("--queues", type=int, default=1)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--launches-per-second", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--job-seconds", type=float, default=1)
    return parser


def inputs_of(options: argparse.Namespace) -> Inputs:
    design = replace(FORMER if options.former else Design(), queues=options.queues)
    limits = Limits()
    if options.launches_per_second:
        limits = replace(limits, launches_per_second=options.launches_per_second)
    return Inputs(limits=limits, design=design)


def compare(options: argparse.Namespace, inputs: Inputs) -> Iterator[str]:
    scale = Scale(options.jobs, options.workers, options.job_seconds, options.slots)
    yield f"{'':32} {'simulated':>12} {'measured':>12}"
    real = measured(scale, inputs.costs.request)
    for figure in compared(scale, simulated(scale, inputs), real, inputs.prices):
        yield figure.line


if __name__ == "__main__":
    main()
