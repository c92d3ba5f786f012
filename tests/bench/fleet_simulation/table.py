"""The table of scales in docs/performance.md, and its chart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.bench.engine.charts import Bar, Chart
from tests.bench.fleet_simulation.fleet import simulate
from tests.bench.fleet_simulation.inputs import DAY, FORMER, HOUR, Design, Inputs, Scale
from tests.bench.fleet_simulation.outcome import Outcome

JOBS = (100, 10_000, 1_000_000, 100_000_000)
WORKERS = (1, 100, 1_000, 10_000)
SECONDS = (1, 60)
START, END = "<!-- simulated -->\n", "<!-- end of simulated -->\n"
HEAD = (
    "| jobs | workers | a job | last result | last worker gone | bottleneck | first limit | "
    "requests a job | requests, $ a million jobs | machines, $ a million jobs |"
)


def scales(slots: int = 4) -> Iterator[Scale]:
    """Go through the scales of the table; `launch` refuses more workers than there are files."""
    for jobs in JOBS:
        for workers in WORKERS:
            if workers <= jobs:
                yield from (Scale(jobs, workers, seconds, slots) for seconds in SECONDS)


def table(inputs: Inputs, slots: int = 4, seed: int = 0) -> Iterator[str]:
    """Return the lines of the table."""
    yield HEAD
    yield f"|{'---:|' * 5}---|---|{'---:|' * 3}"
    for scale in scales(slots):
        yield row(simulate(scale, inputs, seed))


def row(told: Outcome) -> str:
    """Return the line of one run."""
    scale, million = told.scale, 1e6 / told.scale.jobs
    cells = (
        f"{scale.jobs:,}", f"{scale.workers:,}", f"{scale.job_seconds:g} s",
        duration(told.makespan), duration(told.gone), told.bottleneck, told.first_limit or "-",
        f"{told.requests_a_job:.1f}", f"{told.requests_usd * million:,.2f}",
        f"{told.machine_usd * million:,.2f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def duration(seconds: float) -> str:
    """Return a time in a unit in which it is a small number."""
    for unit, size in (("years", 365 * DAY), ("days", DAY), ("h", HOUR), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


def with_table(page: str, inputs: Inputs) -> str:
    """Return the page with the table of these inputs."""
    head, _, rest = page.partition(START)
    _, _, tail = rest.partition(END)
    lines = "\n".join(table(inputs))
    return f"{head}{START}{lines}\n{END}{tail}"


def chart(inputs: Inputs) -> Chart:
    """Return a chart of how long 100 million jobs take, before and after the design changed."""
    return Chart(
        "fleet", "100 million jobs of 1 s: until the last worker has left", "hours",
        tuple(bar for workers in WORKERS[2:] for bar in _bars(workers, inputs)),
    )  # fmt: skip


def _bars(workers: int, inputs: Inputs) -> Iterator[Bar]:
    scale = Scale(JOBS[-1], workers, 1)
    for name, design, kind in (("before", FORMER, "before"), ("after", Design(), "after")):
        told = simulate(scale, replace(inputs, design=design))
        yield Bar(f"{workers:,} workers, {name}", told.gone / HOUR, kind)
    ideal = scale.jobs * scale.job_seconds / (workers * scale.slots)
    yield Bar(f"{workers:,} workers, commands alone", ideal / HOUR, "peer")
