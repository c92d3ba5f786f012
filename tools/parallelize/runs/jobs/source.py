"""What the settings say the jobs are: files, rows, lines, a grid, groups of files.

Most runs have a job for each file, so the modules for rows and groups are imported when needed.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from parallelize.console import escape
from parallelize.context import Context
from parallelize.runs.inputs.local_inputs import LINES, FoundInputs, is_sheet, spooled_inputs
from parallelize.runs.jobs.spec import (
    FOLDER,
    LINE,
    FileRef,
    Grouped,
    Jobs,
    JobSpec,
    Listed,
    below,
    row_name,
)
from parallelize.units import parse_size
from parallelize_core.errors import UsageError
from parallelize_core.files import variable_name

if TYPE_CHECKING:
    from parallelize.runs.jobs.groups import Pattern, Sized
    from parallelize.runs.jobs.sheet import Sheet

Sent = Callable[[], Container[str]]
"""Returns the keys of the files that already belong to jobs."""

NOTHING = FoundInputs(())


class Shape(NamedTuple):
    """What jobs look like: a single file each (`plain`), or with these columns."""

    columns: tuple[str, ...] = ()
    plain: bool = True


class Rows(NamedTuple):
    """Jobs that are listed somewhere, and the local files that they need."""

    jobs: Jobs
    found: FoundInputs


@dataclass(frozen=True)
class Grid:
    """Variables with their values; the last variable changes fastest."""

    axes: Mapping[str, tuple[str, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the variables."""
        return tuple(self.axes)

    def __iter__(self) -> Iterator[JobSpec]:
        """Go through all combinations, one job each."""
        for values in itertools.product(*self.axes.values()):
            variables = dict(zip(self.axes, values, strict=True))
            name = row_name(variables, ())
            yield JobSpec(name, (), variables, name)


@dataclass(frozen=True)
class Times:
    """Other jobs, each repeated for every combination of a grid."""

    jobs: Jobs
    grid: Grid

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all variables and files."""
        return (*self.jobs.columns, *self.grid.columns)

    def __iter__(self) -> Iterator[JobSpec]:
        """Go through all combinations, job by job."""
        for job in self.jobs:
            for point in self.grid:
                variables = {**job.variables, **point.variables}
                where = f"{job.where or job.name}, {point.name}"
                yield JobSpec(below(job.name, point.name), job.files, variables, where)


def shape_of(context: Context) -> Shape:
    """Return what the settings' jobs look like; UsageError if two columns are the same variable."""
    run = context.settings.run
    shaped = _names_rows(run.inputs) or run.grid or run.group is not None
    return Shape(_columns(context), plain=False) if shaped else Shape()


def has_rows(context: Context) -> bool:
    """Whether the jobs are listed: in a sheet, as lines, or as a grid alone."""
    return _names_rows(context.settings.run.inputs) or _grid_alone(context)


def _columns(context: Context) -> tuple[str, ...]:
    run = context.settings.run
    columns = (*_own_columns(context), *run.grid)
    taken: dict[str, str] = {}
    for column in columns:
        twin = taken.setdefault(variable_name(column), column)
        if twin != column or columns.count(column) > 1:
            raise UsageError(
                f"{escape(column)} and {escape(twin)} are one variable",
                f"{variable_name(column)}, of the inputs and of run.grid",
                "give one of them another name",
            )
    return columns


def read_jobs(context: Context) -> Rows:
    """Read the listed jobs; UsageError, which names the row, if something is wrong."""
    spec = context.settings.run.inputs
    if _grid_alone(context):
        return Rows(Grid(context.settings.run.grid), NOTHING)
    from parallelize.runs.jobs.sheet import LineJobs, Lines, read_rows

    if spec.startswith(LINES):
        lines = LineJobs(Lines(spec.removeprefix(LINES), context.folder))
        return Rows(_times(context, lines), NOTHING)
    rows = read_rows(_sheet(context))
    files = spooled_inputs()
    files.extend(rows.found())
    return Rows(_times(context, rows), FoundInputs(files))


def group(context: Context, files: Iterable[Sized], sent: Sent) -> Grouped:
    """Return the jobs for files; files that were `sent` already stay in their packs."""
    run = context.settings.run
    if run.group is None:
        each = (JobSpec(file.key, (FileRef(file.key),), {}, file.key) for file in files)
        return Grouped(_times(context, Listed((), each)))
    from parallelize.runs.jobs.groups import by_folder, by_pattern, packed

    if run.group == FOLDER:
        grouped = by_folder(files)
    elif (pattern := _pattern(run.group)) is not None:
        grouped = by_pattern(files, pattern)
        _check_some(run.group, grouped)
    else:
        known = sent()
        count, size = _pack_of(run.group)
        if run.grid:
            raise UsageError(
                "run.group of a number or a size is for files alone, not for a grid", None,
                "leave out run.grid, or group by a pattern or by folder",
            )  # fmt: skip
        grouped = packed((file for file in files if file.key not in known), count, size)
    return Grouped(_times(context, grouped.jobs), grouped.ungrouped)


def is_pack(context: Context) -> bool:
    """Whether files are merely packed together, so that each stays in its pack."""
    setting = context.settings.run.group
    return setting is not None and setting != FOLDER and _pattern(setting) is None


def _check_some(setting: str | int, grouped: Grouped) -> None:
    if not any(True for _ in grouped.jobs):
        raise UsageError(
            f'no input matches run.group = "{escape(str(setting))}"',
            f"for example {escape(grouped.ungrouped[0])}" if grouped.ungrouped else None,
            "a pattern must match the end of an input's path below run.inputs",
        )


def _own_columns(context: Context) -> tuple[str, ...]:
    run = context.settings.run
    if _grid_alone(context):
        return ()
    if run.inputs.startswith(LINES):
        columns: tuple[str, ...] = (LINE,)
    elif is_sheet(run.inputs):
        columns = tuple(column.name for column in _sheet(context).header)
    elif run.group is None:
        return ()
    else:
        pattern = _pattern(run.group)
        return pattern.names if pattern else (FOLDER,) * (run.group == FOLDER)
    if run.group is not None:
        raise UsageError(
            "run.group is for files, and the inputs are rows", f"run.inputs = {escape(run.inputs)}",
            "a row may have several files, each in a column of its own",
        )  # fmt: skip
    return columns


def _names_rows(spec: str) -> bool:
    return spec.startswith(LINES) or is_sheet(spec)


def _grid_alone(context: Context) -> bool:
    """Whether there is a grid, and the settings say nothing about inputs."""
    run = context.settings.run
    unsaid = context.resolved.source("run.inputs") == "default"
    return bool(run.grid) and (
        not run.inputs.strip() or (unsaid and not context.path(run.inputs).exists())
    )


def _times(context: Context, jobs: Jobs) -> Jobs:
    grid = context.settings.run.grid
    return Times(jobs, Grid(grid)) if grid else jobs


def _sheet(context: Context) -> Sheet:
    from parallelize.runs.jobs.sheet import Sheet

    return Sheet(context.path(context.settings.run.inputs.removeprefix("@")))


def _pattern(setting: str | int) -> Pattern | None:
    if not isinstance(setting, str) or not ("{" in setting or "*" in setting):
        return None
    from parallelize.runs.jobs.groups import Pattern

    try:
        return Pattern.parse(setting)
    except ValueError as error:
        raise UsageError(f"run.group: {error}") from None


def _pack_of(setting: str | int) -> tuple[int | None, int | None]:
    """Return how many files, or how many bytes, a job may have at most."""
    text = str(setting)
    try:
        count, size = (int(text), None) if text.isdecimal() else (None, parse_size(text))
    except ValueError:
        count = size = 0
    if not (count or size):
        raise UsageError(
            f'run.group = "{escape(text)}" groups no files', None,
            'write "{sample}_R{n}.fastq.gz", "folder", a number of files, or a size like "64MiB"',
        )  # fmt: skip
    return count, size


def s3_names(jobs: Jobs) -> Iterator[tuple[str, str]]:
    """Yield the full S3 names that jobs use, and where each is used."""
    for job in jobs:
        for file in job.files:
            if file.key.startswith("s3://"):
                yield file.key, job.where
