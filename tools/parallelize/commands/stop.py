"""`parallelize stop`: drain the run."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.console import say, show_plan
from parallelize.options import NOTHING, SWITCH, Common, DryRun


def stop(
    *,
    wait: Annotated[bool, SWITCH, Parameter(help="Wait until all workers have left.")] = False,
    dry_run: DryRun = False,
    common: Common = NOTHING,
) -> None:
    """Let the run's workers finish what they have begun, and leave; the queue stays as it is.

    `parallelize enqueue` resumes the run.
    """
    from parallelize.context import open_context
    from parallelize.operations import kill as operation
    from parallelize.units import plural

    context = open_context(common)
    before = operation.find(context)
    if dry_run:
        show_plan(operation.planned_drain(context, before))
        return
    operation.drain(context, before)
    say(f"run {context.run} is stopped; parallelize enqueue{context.hint} resumes it")
    if wait:
        for line in operation.await_all(context, before):
            say(line)
    elif before.machines:
        there = plural(len(before.machines), "worker")
        say(f"{there} still there; to watch: parallelize status --watch{context.hint}")
    else:
        say("left: no machine (verified)")
