"""`parallelize enqueue`: put the jobs without a result on the queue."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer_json, say, show_plan
from parallelize.options import NOTHING, Common, DryRun, Json
from parallelize_core.errors import UsageError


def enqueue(
    *,
    limit: Annotated[int | None, Parameter(help="Send at most N jobs.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Put the jobs that have no result on the queue; nothing is put there twice."""
    from parallelize.context import open_context
    from parallelize.operations import enqueue as operation

    if limit is not None and limit < 1:
        raise UsageError("--limit must be at least 1")
    context = open_context(common)
    if dry_run:
        show_plan(operation.planned(context, limit), json=json)
        return
    done = operation.send_jobs(context, limit)
    say(done.line)
    if json:
        answer_json({"schema": 1, **done._asdict()})
