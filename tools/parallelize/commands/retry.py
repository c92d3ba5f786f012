"""`parallelize retry`: send failed jobs again."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.completers import complete_file
from parallelize.console import answer_json, say, show_plan
from parallelize.options import NOTHING, SWITCH, Common, DryRun, Json


def retry(
    *files: Annotated[
        str,
        Parameter(
            name="FILE",
            help="Inputs, or the ends of their keys. [default: all that failed]",
            completer=complete_file,
        ),
    ],
    again: Annotated[
        bool, SWITCH, Parameter(help="Also send named files that succeeded or have no result yet.")
    ] = False,
    silent: Annotated[
        bool, SWITCH, Parameter(help="Also send the files that succeeded but produced no output.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Send failed jobs again: all of them, or those of the named files.

    A named file that succeeded is sent, too, if it has no output, or if an output
    is missing or damaged. If the environment or the command has changed here, the
    new one is used.
    """
    from parallelize.context import open_context
    from parallelize.operations import retry as operation

    context = open_context(common)
    if dry_run:
        show_plan(operation.planned(context, files, again=again, silent=silent), json=json)
        return
    done = operation.retry_jobs(context, files, again=again, silent=silent)
    say(done.line)
    if json:
        answer_json({"schema": 1, **vars(done)})
