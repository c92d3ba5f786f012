"""`parallelize prep`: upload inputs and environment, and list the jobs."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer_json, say, show_plan
from parallelize.options import (
    NO_WORK,
    NOT_SAID,
    NOTHING,
    SWITCH,
    Common,
    DryRun,
    Finished,
    Json,
    Work,
)


def prep(
    *,
    work: Work = NO_WORK,
    create_bucket: Annotated[
        bool, SWITCH, Parameter(help="Create the bucket if there is none.")
    ] = False,
    finished: Finished = NOT_SAID,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Upload the inputs and the environment, and write the list of jobs."""
    from parallelize.context import open_context
    from parallelize.operations import prep as operation

    context = open_context(common, {**work.flags(), **finished.flags()})
    if dry_run:
        show_plan(operation.planned(context), json=json)
        return
    done = operation.prepare(context, create_bucket=create_bucket)
    say(done.line)
    if json:
        answer_json(done.as_json())
