"""`--grid lr=0.1,0.01 seed=1..5`: a job for each combination, alone or for each other job."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from parallelize.runs.jobs.spec import Jobs, JobSpec, below, row_name


@dataclass(frozen=True)
class Grid:
    """Variables and the values that each of them takes; the last changes fastest."""

    axes: Mapping[str, tuple[str, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the variables."""
        return tuple(self.axes)

    def __iter__(self) -> Iterator[JobSpec]:
        """Go through all combinations, a job of each."""
        for values in itertools.product(*self.axes.values()):
            variables = dict(zip(self.axes, values, strict=True))
            name = row_name(variables, ())
            yield JobSpec(name, (), variables, name)


@dataclass(frozen=True)
class Times:
    """Other jobs, each with every combination of a grid."""

    jobs: Jobs
    grid: Grid

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all variables and files."""
        return (*self.jobs.columns, *self.grid.columns)

    def __iter__(self) -> Iterator[JobSpec]:
        """Go through all combinations, those of one job after those of another."""
        for job in self.jobs:
            for point in self.grid:
                variables = {**job.variables, **point.variables}
                where = f"{job.where or job.name}, {point.name}"
                yield JobSpec(below(job.name, point.name), job.files, variables, where)
