"""`parallelize logs FILE`: what happened at each attempt at a file, and what it printed."""

from __future__ import annotations

from itertools import chain
from typing import Annotated, Any

from cyclopts import Parameter

from parallelize.completers import complete_file
from parallelize.console import answer, answer_json
from parallelize.options import NOTHING, SWITCH, Common, Json
from parallelize_core.errors import UsageError


def logs(
    file: Annotated[
        str | None, Parameter(help="The input: its key, or the end of it.", completer=complete_file)
    ] = None,
    *,
    setup: Annotated[
        bool, SWITCH, Parameter(help="Show what the set-up printed on each worker instead.")
    ] = False,
    attempt: Annotated[int | None, Parameter(help="Only this attempt, counted from 1.")] = None,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Print the record and the log of every attempt at a file."""
    from parallelize.context import open_context
    from parallelize.runs.record.ownership import tell_whose
    from parallelize.runs.state.attempts import find_setups, read_attempts, report, setup_lines

    context = open_context(common)
    tell_whose(context)
    if setup:
        found = find_setups(context)
        records: list[dict[str, Any]] = [{"name": name, "log": log} for name, log in found.items()]
        lines = setup_lines(found)
    elif file is None:
        raise UsageError("no file named", fix="parallelize logs FILE, or: parallelize logs --setup")
    else:
        attempts = read_attempts(context, file, attempt)
        records = [one.model_dump(mode="json") for one in attempts]
        lines = chain.from_iterable(map(report, attempts))
    if json:
        answer_json(records)
        return
    for line in lines:
        answer(line)
