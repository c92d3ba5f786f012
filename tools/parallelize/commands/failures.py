"""`parallelize failures`: which files failed, and why."""

from __future__ import annotations

from parallelize.console import answer, answer_json, columns, say
from parallelize.options import NOTHING, Common, Json


def failures(*, json: Json = False, common: Common = NOTHING) -> None:
    """List the files that failed, grouped by how they ended, and those without an output."""
    from parallelize.context import open_context
    from parallelize.runs.record.ownership import loaded, look_up, tell_whose
    from parallelize.runs.results.failed import as_json, listing, next_steps
    from parallelize.runs.results.results import failed_results
    from parallelize.runs.results.silent import advice, find_silent, told_silent
    from parallelize.together import Together

    context = open_context(common)
    store, layout = context.store, context.layout
    calls = Together(store)
    there, failed = look_up(calls, store, layout), calls.list(layout.failures.prefix)
    silent_ones = calls.list(layout.silences.prefix)
    run = loaded(store, there())
    tell_whose(context, there())
    found = failed_results(store, layout, failed())
    if json:
        answer_json([as_json(result) for result in found])
        return
    if not found:
        say("no file has failed")
    for line in listing(found, columns()):
        answer(line)
    for line in next_steps(found, context.hint) if found else ():
        say(line)
    silent = find_silent(store, layout, run, silent_ones())
    for line in (*told_silent(silent), *advice(silent)):
        say(line)
