"""The outcome of each job, in the columns of GNU parallel's `--joblog`.

https://www.gnu.org/software/parallel/parallel.html
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from parallelize.console import escape
from parallelize.runs.files.written import Written
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


def joblog(run: Run, entries: Iterable[Entry], results: Mapping[str, Result]) -> Iterator[str]:
    """Return the header, and a line for each job with a result, in the order of their ends."""
    numbered = ((entry.number or n, entry) for n, entry in enumerate(entries, 1))
    ended = [(n, entry, results[entry.key]) for n, entry in numbered if entry.key in results]
    yield HEADER
    for number, entry, result in sorted(ended, key=lambda item: (item[2].finished_at, item[0])):
        yield _line(run, number, entry, result)


def _line(run: Run, number: int, entry: Entry, result: Result) -> str:
    code = result.exit_code
    made = sum(output.size for output in result.outputs)
    cells = (
        number,
        escape(result.worker),
        f"{epoch(result.started_at) or 0:.3f}",
        f"{result.usage.seconds:10.3f}",
        entry.size,
        made,
        NEVER_RUN if code is None else max(0, code),
        -code if code is not None and code < 0 else 0,
        escape(command_of(run, entry)),
    )
    return "\t".join(map(str, cells)) + "\n"


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
