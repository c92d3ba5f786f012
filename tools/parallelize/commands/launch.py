"""`parallelize launch N`: start workers for the run."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer, answer_json, say, say_plan
from parallelize.options import (
    AS_SET,
    NOTHING,
    SWITCH,
    Common,
    DryRun,
    Force,
    Json,
    LaneName,
    Machines,
)
from parallelize_core.errors import UsageError
from parallelize_core.lane import Lane


def launch(
    count: Annotated[int | None, Parameter(help="How many. [default: workers.count]")] = None,
    *,
    machines: Machines = AS_SET,
    when_below: Annotated[
        float | None,
        Parameter(
            help="Wait until a spot worker costs less than this many USD an hour (a worker, "
            "not a vCPU) in some type and zone; only those types and zones are used."
        ),
    ] = None,
    print_config: Annotated[
        bool, SWITCH, Parameter(help="Print the agent's configuration, and do nothing.")
    ] = False,
    lane: LaneName = "main",
    dry_run: DryRun = False,
    force: Force = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Start COUNT workers for the run.

    Refuses an empty queue, more workers than files, and what is above quota or
    cost limit. With --when-below it waits until the price is right; ctrl-C ends
    the wait.
    """
    from parallelize.context import open_context
    from parallelize.fleet.plan_json import plan_as_json
    from parallelize.fleet.show import describe_outcome, describe_plan
    from parallelize.operations import launch as operation

    if count is not None and count < 1:
        raise UsageError("launch takes a number of workers, at least 1")
    flags = {"workers.count": count, **machines.flags()}
    context = open_context(common, flags).in_lane(Lane(lane))
    if print_config:
        answer(operation.find_config(context).encode(indent=2))
        return
    plan = operation.make_plan(context, below=when_below, force=force)
    if dry_run:
        for line in describe_plan(plan):
            say_plan(line)
        say("nothing was created")
        if json:
            answer_json(plan_as_json(plan))
        return
    launched = operation.launch(context, plan)
    if json:
        answer_json(launched.as_json())
    else:
        for line in describe_outcome(launched.outcome):
            say(line)
        for name in launched.outcome.names:
            answer(name)
    launched.outcome.check()
