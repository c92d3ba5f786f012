"""`parallelize scale N`: bring the number of the run's workers to N."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer, say, show_plan
from parallelize.options import NOTHING, Common, DryRun, Force, LaneName
from parallelize_core.errors import UsageError
from parallelize_core.lane import Lane


def scale(
    count: Annotated[int, Parameter(help="The number of workers to have.")],
    *,
    lane: LaneName = "main",
    dry_run: DryRun = False,
    force: Force = False,
    common: Common = NOTHING,
) -> None:
    """Start or end workers until the run has COUNT of them.

    Idle workers leave first. A worker that leaves returns its unfinished files to
    the queue; this does not count as an attempt.
    """
    from parallelize.context import open_context
    from parallelize.fleet.show import describe_outcome
    from parallelize.operations import scale as operation

    if count < 0:
        raise UsageError("scale takes a number of workers, 0 or more")
    context = open_context(common).in_lane(Lane(lane))
    scaling = operation.make_plan(context, count, force=force)
    if dry_run:
        show_plan(operation.planned(scaling))
        if scaling.launch and not scaling.group:
            say("nothing was created")
        return
    if outcome := operation.scale(context, scaling):
        for line in describe_outcome(outcome):
            say(line)
        for name in outcome.names:
            answer(name)
        outcome.check()
