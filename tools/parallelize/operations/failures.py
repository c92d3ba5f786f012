"""`parallelize failures`: which files failed, and why."""

from __future__ import annotations

from collections.abc import Sequence

from parallelize.console import WIDTH, answer, answer_json, columns, say, shown
from parallelize.context import open_context
from parallelize.options import NOTHING, Common
from parallelize.runs.failed import as_json, group, see_one
from parallelize.runs.ownership import say_whose
from parallelize.runs.record import load_run
from parallelize.runs.results import failed_results
from parallelize.runs.silent import advice, find_silent, told_silent
from parallelize_core.result import Result

NAMES_SHOWN = 10


def failures(*, json: bool = False, common: Common = NOTHING) -> None:
    """List the files that failed, grouped by how they ended; tell of those without an output."""
    context = open_context(common)
    run = load_run(context.store, context)
    say_whose(context)
    found = failed_results(context.store, context.layout)
    if json:
        answer_json([as_json(result) for result in found])
        return
    if not found:
        say("no file has failed")
    for line in listing(found, columns()):
        answer(line)
    for line in next_steps(found, context.hint) if found else ():
        say(line)
    silent = find_silent(context.store, context.layout, run)
    for line in (*told_silent(silent), *advice(silent)):
        say(line)


def listing(results: Sequence[Result], width: int = WIDTH) -> list[str]:
    """Return each group with the names of its files, in lines of at most `width` columns."""
    lines = []
    for item in group(results):
        lines.append(f"{len(item.keys):,}  {item.label}  {shown(item.words, width - 20)}")
        lines += [f"   {shown(key, width - 3)}" for key in item.keys[:NAMES_SHOWN]]
        if len(item.keys) > NAMES_SHOWN:
            lines.append(f"   and {len(item.keys) - NAMES_SHOWN:,} more (all: --json)")
    return lines


def next_steps(results: Sequence[Result], hint: str) -> list[str]:
    """Return how to see one failure, and how to try again; `hint` ends each command."""
    return [
        f"see one:   {see_one(results[0].key, hint)}",
        f"again:     parallelize retry{hint}, then parallelize launch{hint}",
    ]
