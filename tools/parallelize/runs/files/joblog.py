"""The outcome of each job, in the columns of GNU parallel's `--joblog`.

https://www.gnu.org/software/parallel/parallel.html
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path

from parallelize.console import escape
from parallelize.runs.files.written import Written
from parallelize.spool import Row, Spooled, Table
from parallelize.units import epoch
from parallelize_core.files import files_of
from parallelize_core.manifest import Entry
from parallelize_core.result import Result
from parallelize_core.run import Run
from parallelize_core.template import Given

HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"

NEVER_RUN = -1
"""GNU parallel's exit value of a job that has none."""


def joblog_at(file: Path) -> Written:
    """Return the file for a list of jobs, which replaces no other file."""
    return Written(file, "the job log", "give another file with --joblog")


def write_lines(file: Path, lines: Iterable[str]) -> None:
    """Write a list of jobs; raise UsageError if it cannot be written, or must not be replaced."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", errors="surrogateescape") as text:
            text.writelines(lines)

    joblog_at(file).put(write)


def joblog(run: Run, entries: Iterable[Entry], results: Iterable[Result]) -> Iterator[str]:
    """Return the header, and a line for each job with a result, in the order of their ends."""
    ended, lines = Table(), Spooled[Row](lambda row: row, lambda *row: row)
    for result in results:
        ended.put(result.key, (result.finished_at, *_cells(result)))
    for n, entry in enumerate(entries, 1):
        if row := ended.get(entry.key):
            number = entry.number or n
            lines.append((row[0], number, _line(run, number, entry, row[1:])))
    yield HEADER
    yield from (line for *_, line in lines.in_order(itemgetter(0, 1)))


def _cells(result: Result) -> Row:
    code = result.exit_code
    return (
        escape(result.worker),
        f"{epoch(result.started_at) or 0:.3f}",
        f"{result.usage.seconds:10.3f}",
        sum(output.size for output in result.outputs),
        NEVER_RUN if code is None else max(0, code),
        -code if code is not None and code < 0 else 0,
    )


def _line(run: Run, number: int, entry: Entry, cells: Row) -> str:
    said = (number, *cells[:3], entry.size, *cells[3:], escape(command_of(run, entry)))
    return "\t".join(map(str, said)) + "\n"


def command_of(run: Run, entry: Entry) -> str:
    """Return a job's command as one would type it in a shell, its files by their keys."""
    files = files_of(entry)
    named = {file.column: file.key for file in files if file.column}
    arguments = [file.key for file in files] or list(entry.variables.values())
    given = Given(arguments, {**entry.variables, **named}, entry.number)
    if not run.template:
        return shlex.join((*run.command, *arguments))
    try:
        return shlex.join(run.grammar.filled(run.command, given))
    except ValueError:
        return shlex.join(run.command)  # it had no value for a placeholder, and so has failed
