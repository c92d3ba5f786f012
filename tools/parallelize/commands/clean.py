"""`parallelize clean`: delete what a run has made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer_json, confirm, say, show_plan
from parallelize.options import NOTHING, SWITCH, Common, DryRun, Force, Json, Yes


@Parameter(name="*")
@dataclass(frozen=True)
class What:
    """What `clean` may delete: `keep_outputs` spares the outputs, `yes` the question.

    `force` deletes the data even if workers outside EC2, which are not ended, need it.
    """

    keep_outputs: Annotated[bool, SWITCH, Parameter(help="Keep the outputs.")] = False
    force: Force = False
    yes: Yes = False


WHAT = What()


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
