"""`parallelize repro FILE`: process a job again, here, with the run's own input and environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.completers import complete_file
from parallelize.console import conclude
from parallelize.options import NOTHING, Common, Json


def repro(
    file: Annotated[
        str,
        Parameter(
            name="FILE", help="The input: its key, or the end of it.", completer=complete_file
        ),
    ],
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(help="Where input, environment and outputs go. [default: repro/ in this folder]"),
    ] = None,
    json: Json = False,
    common: Common = NOTHING,
) -> int:
    """Process one file of the run again on this machine, with the run's own environment.

    The run itself is not changed. Exits with 0 if it succeeds here, with 1 if it
    fails.
    """
    from parallelize.context import open_context
    from parallelize.operations.one_file import sentences
    from parallelize.operations.repro import repro as process
    from parallelize.runs.record.ownership import tell_whose

    context = open_context(common)
    tell_whose(context)
    done = process(context, file, out)
    conclude(sentences(done), map(str, done.outputs), done.as_json, json=json)
    return done.exit_code
