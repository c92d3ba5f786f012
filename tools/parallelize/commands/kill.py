"""`parallelize kill`: end the run's machines now, and say what is left."""

from __future__ import annotations

from parallelize.console import answer_json, say, show_plan
from parallelize.options import NOTHING, Common, DryRun, Json


def kill(*, dry_run: DryRun = False, json: Json = False, common: Common = NOTHING) -> None:
    """End the run's workers now. Their unfinished files return to the queue within a lease.

    It touches only what has the run's tag, and is safe to repeat.
    """
    from parallelize.context import open_context
    from parallelize.operations import kill as operation

    context = open_context(common)
    if dry_run:
        show_plan(operation.planned(context), json=json)
        return
    operation.check_owner(context)
    statement = operation.terminate_run(context)
    for line in operation.sentences(statement):
        say(line)
    if json:
        answer_json(operation.record(statement))
    if not statement.clear:
        raise operation.unclear(statement)
