"""What `run` writes beside the outputs: the page on the run, and the list of its jobs."""

from __future__ import annotations

from pathlib import Path

from parallelize.console import say
from parallelize.context import Context
from parallelize.operations.report import write_report
from parallelize.runs.history import read_finished
from parallelize.runs.joblog import joblog, write_lines
from parallelize.runs.merge import all_jobs
from parallelize.runs.record import load_run
from parallelize.runs.snapshot import Snapshot
from parallelize_core.errors import ParallelizeError

REPORTED_FILES = 100_000
"""Of more files nobody waits for a report unasked: all their results are read once more."""


def write_page(context: Context, total: int) -> Path | None:
    """Write the page on the run, if it is wanted; without one the run is no worse."""
    if not context.settings.report.html:
        return None
    if total > REPORTED_FILES:
        say(f"a report on this many files takes a while: parallelize report{context.hint}")
        return None
    try:
        return write_report(context)
    except (OSError, ParallelizeError) as error:
        say(f"no report: {error}".replace("\n", "\n  "))
        return None


def write_joblog(context: Context, snapshot: Snapshot, file: Path) -> None:
    """Write what has become of each job; see `write_lines`."""
    store, layout = context.store, context.layout
    entries = all_jobs(store, layout, snapshot.run)
    results = read_finished(store, snapshot, entries)
    write_lines(file, joblog(load_run(store, context), entries, results))
