"""`parallelize clean`: delete what a run has made."""

from __future__ import annotations

from parallelize.console import answer_json, confirm, say, show_plan
from parallelize.options import NOTHING, WHAT, Common, DryRun, Json, What


def clean(
    *,
    what: What = WHAT,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """End the run's workers, delete its queues and all it keeps in S3, outputs included."""
    from parallelize.context import open_context
    from parallelize.operations import clean as operation
    from parallelize.runs.record.ownership import check_origin

    context = open_context(common)
    if dry_run:
        show_plan(operation.planned(context, keep_outputs=what.keep_outputs), json=json)
        return
    check_origin(context)
    plan = operation.make_plan(context, keep_outputs=what.keep_outputs)
    for line in operation.told(plan, context, will="will"):
        say(line)
    operation.check_workers(plan, context.run, force=what.force)
    confirm(f'Delete all of this for run "{context.run}"?', yes=what.yes)
    cleaned = operation.clean(context, plan)
    say(cleaned.line)
    if json:
        answer_json(cleaned.as_json())
